"""The claims that a validation may support, as sentences filled from its tables.

Each claim has a rule: a number is above chance, above that of random heads on the same steps, or
near zero. :mod:`airlens.statistics.verdicts` says which hold, with Holm's correction over each
table; the evidence is the number with its own 95 % interval. A claim that fails or is undecided is
a result too: its sentence may not be stated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from airlens.control_kinds import CONTROL_WORDS
from airlens.statistics.verdicts import Claim, claims_table, greater, within

AIR = ("ais", "delta", "ais_novel")
WEAK = 0.3  # of |ρ|; ours
HALF = 0.5
NAMES = {"ais": "AIS", "delta": "Δ", "ais_novel": "Novel AIS"}


def number(row: Mapping[Any, Any], value: str = "auroc", ends: str = "", form: str = ".2f") -> str:
    """A number and its interval: ``0.96 [0.90, 0.99]``."""
    lo, hi = float(row[f"{ends}lo"]), float(row[f"{ends}hi"])
    if not np.isfinite([lo, hi]).all():
        return f"{row[value]:{form}} [undefined]"
    return f"{row[value]:{form}} [{lo:{form}}, {hi:{form}}]"


def planted_claims(
    table: pd.DataFrame, equal: pd.DataFrame, gain: pd.DataFrame, differences: pd.DataFrame
) -> pd.DataFrame:
    """Claims about planted steps, for each mode, score and kind.

    Args:
        table: from :func:`airlens.experiments.validity.auroc_table`.
        equal: the same among steps of equal base loss.
        gain: from :func:`airlens.experiments.validity.gain_table`.
        differences: from :func:`airlens.experiments.validity.auroc_tables.difference_table`.

    Returns:
        What :func:`airlens.statistics.verdicts.claims_table` gives.
    """
    return claims_table(_planted(table, equal, gain, differences))


def _planted(
    table: pd.DataFrame, equal: pd.DataFrame, gain: pd.DataFrame, differences: pd.DataFrame
) -> Iterator[Claim]:
    own = table[(table["heads"] == "top") & table["score"].isin(AIR)]
    for row in own.to_dict("records"):
        name = f"{NAMES[row['score']]} ({row['mode']})"
        said = f"{name} ranks real steps above {row['kind']} ones"
        yield greater(said, row, f"AUROC {number(row)}, n = {row['n']}", value="auroc", null=0.5)
        for other in _same(equal, row, heads="top"):
            evidence = f"AUROC {number(other)}, n = {other['n']}, {other['pairs']} pairs"
            if "caliper" in other:
                evidence += f" within {other['caliper']:g} nats"
            also = f"{said}, also at equal base loss"
            yield greater(also, other, evidence, value="auroc", null=0.5)
        for other in _same(differences, row, against="same_layers"):
            evidence = f"{other['auroc']:.2f} against {other['auroc_control']:.2f}, difference "
            evidence += f"{number(other, 'difference', form='+.2f')}, {other['draws']} draws"
            better = f"{said}, better than {CONTROL_WORDS['same_layers']} do on average"
            yield greater(better, other, evidence, value="difference")
        for other in _same(gain, row, heads="top"):
            evidence = f"gain {number(other, 'gain', form='+.2f')} over {other['auroc_free']:.2f}"
            yield greater(f"{said} beyond the free heuristics", other, evidence, value="gain")


def _same(table: pd.DataFrame, row: Mapping[Any, Any], **more: str) -> list[dict[Any, Any]]:
    """The rows of a table of the same kind, score and mode."""
    if table.empty:
        return []
    wanted = {name: row[name] for name in ("kind", "score", "mode")} | more
    same = np.all([table[name] == value for name, value in wanted.items()], axis=0)
    return list(table[same].to_dict("records"))


def labelled_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about labelled traces, from the tables of `labelled_report`."""
    return claims_table(_labelled(tables))


def _labelled(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    for row in tables["differences"].to_dict("records"):
        said = (
            f"{NAMES[row['value']]} ({row['mode']}) of {row['label']} steps is above random heads"
        )
        evidence = f"{row['mean']:.2f} against {row['mean_control']:.2f}, difference "
        evidence += f"{number(row, 'difference', form='+.2f')}, {row['n_problems']} problems"
        evidence += f", {row['draws']} draws"
        yield greater(said, row, evidence, value="difference", n="n_problems")
    for row in tables.get("importance", pd.DataFrame()).to_dict("records"):
        if row["score"] in AIR:
            said = f"{NAMES[row['score']]} ({row['mode']}) goes along with {row['importance']}"
            of = f"{row['n_problems']} problems, {row['n_traces']} traces"
            evidence = f"mean ρ {number(row, 'rho')}, {of}"
            yield greater(said, row, evidence, value="rho", n="n_problems")
            evidence = f"mean partial ρ {number(row, 'partial', 'partial_')}, {of}"
            said += " beyond length, position, loss, entropy and overlap"
            yield greater(said, row, evidence, value="partial", p="partial_p", n="n_problems")


def confound_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about weak correlations of a sample score, from the tables of `confound_report`."""
    return claims_table(_confounds(tables["confounds"]))


def _confounds(table: pd.DataFrame) -> Iterator[Claim]:
    for row in table[table["score"].isin(AIR)].to_dict("records"):
        if row["group"] == "all" or str(row["group"]).startswith("within "):
            where = "over all samples" if row["group"] == "all" else f"{row['group']}"
            name = f"{NAMES[row['score']]} ({row['mode']})"
            said = f"{name} goes only weakly with {row['against']} {where} (|ρ| under {WEAK})"
            yield within(said, row, f"ρ {number(row, 'rho')}, n = {row['n']}", WEAK)


def head_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about single heads, from the tables of `head_report`.

    A claim about every head holds where it holds for each, so the least favourable head decides.
    """
    return claims_table(_heads(tables))


def _heads(tables: Mapping[str, pd.DataFrame]) -> Iterator[Claim]:
    found = tables["leave_one_out"]
    if len(found):
        said = "no single head carries half of the rise in loss"
        text = f"carries {{share}} of it ({found['mode'].iloc[0]})"
        yield _every(found, said, text, "share", HALF, "half_p", len(found))
    idle = tables["idle"]
    modes = [str(n).removeprefix("delta_") for n in idle if str(n).startswith("delta_")]
    for mode in modes if len(idle) else ():
        said = f"random heads are a fair control under {mode} ablation"
        limit, tried = float(idle["limit"].iloc[0]), int(idle["tried"].iloc[0])
        text = f"outside the set, alone costs {{share}} nats a token, limit {limit:.2f}"
        value, p, ends = f"delta_{mode}", f"limit_p_{mode}", f"{mode}_"
        yield _every(idle, said, text, value, limit, p, tried, ends)


def _every(
    table: pd.DataFrame,
    said: str,
    text: str,
    value: str,
    limit: float,
    p: str,
    tried: int,
    ends: str = "",
) -> Claim:
    """The claim that a number of every head is under a limit: by the one nearest to it.

    That some head is over it was looked for in ``tried`` heads.
    """
    rows = table.to_dict("records")
    each = [greater(said, {**row, "gap": limit - row[value]}, "", value="gap", p=p) for row in rows]
    worst = max(rows, key=lambda row: float(row[value]))
    evidence = f"{worst['name']} {text.format(share=number(worst, value, ends))}, n = {worst['n']}"
    against = max(claim.against for claim in each)
    favour = min(1.0, tried * min(claim.favour for claim in each))
    unknown = next((claim.why_not for claim in each if claim.why_not), "")
    return Claim(said, against, favour, evidence, unknown)
