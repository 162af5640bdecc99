"""Which findings hold on every model: sentences filled from the table of a comparison.

Each finding has a rule about a number: it is under or over a limit, or a correlation is near 0. On
each model it holds, fails or is undecided, with Holm's correction over all findings and models
(:mod:`airlens.statistics.verdicts`). What only describes a model, such as how deep its top heads
lie, is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from airlens.experiments.validity.claims import WEAK, number
from airlens.statistics.verdicts import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    claims_table,
    greater,
    within,
)

Row = Mapping[Any, Any]


class Finding(NamedTuple):
    """A sentence, the rows it is about, and the rule that makes a claim of one row."""

    sentence: str
    measure: str
    heads: str
    rule: Callable[[str, Row, str], Claim]


def below(sentence: str, row: Row, evidence: str) -> Claim:
    """The number is under 0."""
    turned = {**row, "value": -row["value"]}
    return greater(sentence, turned, evidence, value="value")


def above(null: float) -> Callable[[str, Row, str], Claim]:
    """The number is over ``null``, of which the row's p value is."""
    return lambda said, row, evidence: greater(said, row, evidence, value="value", null=null)


def weak(sentence: str, row: Row, evidence: str) -> Claim:
    """A correlation is near 0."""
    return within(sentence, {**row, "rho": row["value"]}, evidence, WEAK)


def findings(table: pd.DataFrame) -> Iterator[Finding]:
    """All findings that a comparison's table can decide."""
    pairs = table[["measure", "heads"]].drop_duplicates()
    for measure, heads in pairs.itertuples(index=False):
        if heads.startswith("top - "):
            control = heads.removeprefix("top - ")
            rest = f"falls further without the top heads than without {control} ones"
            rule: Callable[[str, Row, str], Claim] = below
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
        holds on one and fails on another, "no verdict" where it could be tested on none, else
        "undecided"), and evidence: each model's number with its interval, n, and the verdict on it.
    """
    found = list(findings(table))
    claims: list[Claim] = []
    place: list[tuple[int, str]] = []
    for i, finding in enumerate(found):
        same = (table["measure"] == finding.measure) & (table["heads"] == finding.heads)
        for row in table[same].to_dict("records"):
            evidence = f"{row['model']} {number(row, 'value', form='.3g')}, n = {row['n']}"
            claims.append(finding.rule(finding.sentence, row, evidence))
            place.append((i, str(row["model"])))
    each = claims_table(claims).assign(finding=[i for i, _ in place])
    each["said"] = each["evidence"] + ": " + each["verdict"]
    rows = [
        (finding.sentence, _verdict(list(own["verdict"])), "; ".join(own["said"]))
        for i, finding in enumerate(found)
        for own in [each[each["finding"] == i]]
    ]
    return pd.DataFrame(rows, columns=["claim", "verdict", "evidence"])


def _verdict(said: list[str]) -> str:
    if len(set(said)) == 1:
        return f"{said[0]} on all" if said[0] in (HOLDS, FAILS) else said[0]
    return "differs" if {HOLDS, FAILS} <= set(said) else UNDECIDED
