"""The claims that a validation supports, as sentences filled from its tables.

Each claim has a rule. It holds if the interval of its number excludes "no effect", or, where a
score should be unrelated to something, if the whole interval is near zero; the evidence is the
number itself. A claim that fails is a result too: its sentence may not be stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["claim", "holds", "evidence"]
AIR = ("ais", "delta")
WEAK = 0.3  # of |ρ|; ours
NAMES = {"ais": "AIS", "delta": "Δ"}
Claim = tuple[str, bool, str]


def _frame(rows: Iterable[Claim]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS)


def _number(row: Mapping[Any, Any], value: str = "auroc") -> str:
    return f"{row[value]:.2f} [{row['lo']:.2f}, {row['hi']:.2f}]"


def planted_claims(table: pd.DataFrame, equal: pd.DataFrame, gain: pd.DataFrame) -> pd.DataFrame:
    """Claims about planted steps, for each mode, score and kind.

    Args:
        table: from :func:`airlens.validity.auroc_table`.
        equal: the same among steps of equal base loss.
        gain: from :func:`airlens.validity.gain_table`.

    Returns:
        claim, holds, evidence.
    """
    rows: list[Claim] = []
    own = table[(table["heads"] == "top") & table["score"].isin(AIR)]
    for (score, mode), part in own.groupby(["score", "mode"], sort=False):
        name = f"{NAMES[str(score)]} ({mode})"
        for row in part.to_dict("records"):
            kind = row["kind"]
            said = f"{name} ranks real steps above {kind} ones"
            rows.append((said, bool(row["lo"] > 0.5), f"AUROC {_number(row)}, n = {row['n']}"))
            for found, what in (
                (equal, "also at equal base loss"),
                (table, "better than layer-matched random heads"),
            ):
                rows += _beside(found, row, f"{said}, {what}", found is table)
            rows += _gained(gain, row, f"{said} beyond the free heuristics")
    return _frame(rows)


def _beside(table: pd.DataFrame, row: Mapping[Any, Any], said: str, control: bool) -> list[Claim]:
    """The claim at equal loss, or against the control: intervals must not overlap."""
    heads = "layer-matched" if control else "top"
    same = (table["kind"] == row["kind"]) & (table["score"] == row["score"])
    same &= (table["mode"] == row["mode"]) & (table["heads"] == heads)
    if not same.any():
        return []
    other = table[same].iloc[0].to_dict()
    if not np.isfinite(other["auroc"]):
        return [(said, False, "no steps of equal loss")]
    if control:
        evidence = f"AUROC {_number(row)} against {_number(other)}"
        return [(said, bool(row["lo"] > other["hi"]), evidence)]
    evidence = f"AUROC {_number(other)}, {other['pairs']} pairs"
    return [(said, bool(other["lo"] > 0.5), evidence)]


def _gained(gain: pd.DataFrame, row: Mapping[Any, Any], said: str) -> list[Claim]:
    if gain.empty:
        return []
    same = (gain["kind"] == row["kind"]) & (gain["score"] == row["score"])
    same &= (gain["mode"] == row["mode"]) & (gain["heads"] == "top")
    if not same.any():
        return []
    found = gain[same].iloc[0].to_dict()
    value = f"gain {found['gain']:+.2f} [{found['lo']:+.2f}, {found['hi']:+.2f}]"
    return [(said, bool(found["lo"] > 0), f"{value} over {found['auroc_free']:.2f}")]


def labelled_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about labelled traces, from the tables of `labelled_report`."""
    rows: list[Claim] = []
    functions = tables["functions"]
    for (mode, value), part in functions[functions["value"].isin(AIR)].groupby(["mode", "value"]):
        for row in part.to_dict("records"):
            control = functions[
                (functions["mode"] == mode)
                & (functions["label"] == row["label"])
                & (functions["value"] == f"{value}_control")
            ]
            if len(control):
                other = control.iloc[0].to_dict()
                said = f"{NAMES[str(value)]} ({mode}) of {row['label']} steps is above the control"
                evidence = f"mean {_number(row, 'mean')} against {_number(other, 'mean')}"
                rows.append((said, bool(row["lo"] > other["hi"]), evidence))
    for row in tables.get("importance", pd.DataFrame()).to_dict("records"):
        if row["score"] in AIR:
            said = f"{NAMES[row['score']]} ({row['mode']}) goes along with {row['importance']}"
            evidence = f"mean ρ {_number(row, 'rho')}, {row['n_traces']} traces"
            rows.append((said, bool(row["lo"] > 0), evidence))
            given = f"{row['partial']:.2f} [{row['partial_lo']:.2f}, {row['partial_hi']:.2f}]"
            said += " beyond length, position, loss, entropy and overlap"
            rows.append((said, bool(row["partial_lo"] > 0), f"mean partial ρ {given}"))
    return _frame(rows)


def confound_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about weak correlations of a sample score, from the tables of `confound_report`."""
    rows: list[Claim] = []
    table = tables["confounds"]
    for row in table[table["score"].isin(AIR)].to_dict("records"):
        if row["group"] == "all" or str(row["group"]).startswith("within "):
            where = "over all samples" if row["group"] == "all" else f"{row['group']}"
            name = f"{NAMES[row['score']]} ({row['mode']})"
            weak = bool(max(abs(row["lo"]), abs(row["hi"])) < WEAK)
            said = f"{name} goes only weakly with {row['against']} {where} (|ρ| under {WEAK})"
            rows.append((said, weak, f"ρ {_number(row, 'rho')}, n = {row['n']}"))
    return _frame(rows)


def head_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims about single heads, from the tables of `head_report`."""
    rows: list[Claim] = []
    found = tables["leave_one_out"]
    if len(found):
        first = found.iloc[0]
        rise = float(first["delta_all"])
        share = float(first["drop"]) / rise if rise > 0 else float("nan")
        evidence = f"without {first['name']} the rise of {rise:.2f} nats falls by {share:.0%}"
        evidence += f" ({first['mode']})" if rise > 0 else ": there is no rise"
        rows.append(
            ("no single head carries half of the rise in loss", bool(share < 0.5), evidence)
        )
    idle = tables["idle"]
    names = [str(name) for name in idle]
    modes = [name.removeprefix("delta_") for name in names if name.startswith("delta_")]
    if len(idle):
        worst = idle.iloc[0]
        costs = ", ".join(f"{worst[f'delta_{mode}']:+.2f} {mode}" for mode in modes)
        limit = float(found["delta_all"].iloc[0]) if len(found) else 0.0
        for mode in modes:
            said = f"random heads are a fair control under {mode} ablation"
            cost = float(idle[f"delta_{mode}"].max())
            evidence = f"{worst['name']}, outside the set, alone costs {costs} nats a token"
            rows.append((said, cost < max(0.1, 0.5 * limit), evidence))
    return _frame(rows)
