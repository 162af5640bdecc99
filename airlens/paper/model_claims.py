"""Which findings hold on every model: sentences filled from the table of a comparison.

Each finding has a rule about an interval: it holds where the whole interval is on one side of a
limit, fails where it is on the other side, and is undecided where it contains the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
FEW = 0.1  # of the heads; ours, after Wu et al. §3: "less than 5 %"
WEAK = 0.3  # of |ρ|; ours, as in `airlens.validity.claims`
Row = Mapping[Any, Any]


class Finding(NamedTuple):
    """A sentence, the rows it is about, and the rule that decides it for one row."""

    sentence: str
    measure: str
    heads: str
    rule: Callable[[Row], str]


def below(limit: float) -> Callable[[Row], str]:
    """All of the interval lies under ``limit``."""
    return lambda row: _side(row["hi"] < limit, row["lo"] > limit)


def above(limit: float) -> Callable[[Row], str]:
    """All of the interval lies over ``limit``."""
    return lambda row: _side(row["lo"] > limit, row["hi"] < limit)


def weak(row: Row) -> str:
    """All of a correlation's interval is near 0."""
    inside = max(abs(row["lo"]), abs(row["hi"])) < WEAK
    return _side(inside, row["lo"] > WEAK or row["hi"] < -WEAK)


def _side(holds: bool, fails: bool) -> str:
    return HOLDS if holds else FAILS if fails else UNDECIDED


def findings(table: pd.DataFrame) -> Iterator[Finding]:
    """All findings that a comparison's table can decide."""
    pairs = table[["measure", "heads"]].drop_duplicates()
    for measure, heads in pairs.itertuples(index=False):
        if measure.startswith("share of heads"):
            yield Finding(f"fewer than {FEW:.0%} of the heads retrieve", measure, heads, below(FEW))
        elif measure == "mean depth of the top heads":
            yield Finding("the top heads lie in the upper half", measure, heads, above(0.5))
        elif heads.startswith("top - "):
            control = heads.removeprefix("top - ")
            rest = f"falls further without the top heads than without {control} ones"
            rule = below(0)
            if measure.startswith("NLL"):
                rest, rule = rest.replace("falls further", "rises further"), above(0)
            yield Finding(f"{measure} {rest}", measure, heads, rule)
        elif measure.startswith("AUROC") and " by AIS" in measure and heads == "top":
            kind = measure.split(" over ")[1].split(" by AIS")
            where = " at equal base loss" if kind[1] else ""
            sentence = f"AIS ranks real steps above {kind[0]}{where}"
            yield Finding(sentence, measure, heads, above(0.5))
        elif measure.startswith("ρ of AIS") and heads == "top":
            sentence = f"AIS goes only weakly with {measure.split(' and ')[1]}"
            yield Finding(sentence, measure, heads, weak)


def comparison_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The findings, and on which models each holds.

    Args:
        table: from :func:`airlens.compare_models`.

    Returns:
        One row per finding: claim, verdict ("holds on all", "fails on all", "differs" where it
        holds on one and fails on another, else "undecided"), and evidence: each model's number
        with its interval, n, and the rule's verdict.
    """
    rows = []
    for finding in findings(table):
        same = (table["measure"] == finding.measure) & (table["heads"] == finding.heads)
        said, evidence = [], []
        for row in table[same].to_dict("records"):
            said.append(finding.rule(row) if np.isfinite(row["lo"]) else UNDECIDED)
            numbers = f"{row['value']:.3g} [{row['lo']:.3g}, {row['hi']:.3g}]"
            evidence.append(f"{row['model']} {numbers}, n = {row['n']}: {said[-1]}")
        rows.append((finding.sentence, _verdict(said), "; ".join(evidence)))
    return pd.DataFrame(rows, columns=["claim", "verdict", "evidence"])


def _verdict(said: list[str]) -> str:
    if len(set(said)) == 1 and said[0] != UNDECIDED:
        return f"{said[0]} on all"
    return "differs" if {HOLDS, FAILS} <= set(said) else UNDECIDED
