"""The strongest step above its control, and the sentence that says so: where every view opens."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .labels import known, percent, shorten
from .step_maps import row_dicts
from .style import floats

FEWEST = 5
"""Scored tokens of a step: in fewer, the relative rise of a mean is mostly noise."""


@dataclass(frozen=True)
class StrongestStep:
    """A step whose AIS is above that of random heads, or that was scored without such.

    Attributes:
        id: of its trace.
        step: its number.
        label: what it does; empty where that is not known.
        ais: relative rise of its loss without the critical heads.
        control: the same without random heads, the mean over draws; NaN where there are none.
    """

    id: str
    step: int
    label: str
    ais: float
    control: float


def strongest_step(steps: pd.DataFrame) -> StrongestStep | None:
    """The step whose AIS is highest above that of its random heads.

    Considered are steps of at least `FEWEST` scored tokens (all, where no step has so many) whose
    AIS is above zero and above the random heads' mean by more than one standard deviation over
    draws. Where no random heads were measured, the step of the highest AIS.

    Args:
        steps: ``Influence.steps``, of one trace or of many.

    Returns:
        None where no step is above its control.
    """
    if steps.empty or "ais" not in steps:
        return None
    if "n_tokens" in steps and bool((steps["n_tokens"] >= FEWEST).any()):
        steps = steps[steps["n_tokens"] >= FEWEST]
    ais, control, spread = (
        pd.Series(floats(steps, name), index=steps.index)
        for name in ("ais", "ais_control", "ais_control_std")
    )
    above = ais - control.fillna(0.0)
    rows = steps[(ais > 0) & (above > spread.fillna(0.0))]
    if rows.empty:
        return None
    row = row_dicts(rows.loc[[above[rows.index].idxmax()]])[0]
    return StrongestStep(
        str(row.get("id", "")),
        int(row["step"]),
        str(row["label"]) if known(row.get("label")) else "",
        float(row["ais"]),
        float(row["ais_control"]) if known(row.get("ais_control")) else float("nan"),
    )


def said_of(found: StrongestStep | None, n_heads: int, where: str) -> str:
    """A sentence of what was found.

    Args:
        found: of :func:`strongest_step`.
        n_heads: how many heads were ablated together.
        where: what was looked at, such as "these 3 traces" or "this trace".
    """
    heads = f"{n_heads} head" + "s" * (n_heads != 1)
    if found is None:
        return (
            f"No step of {where} stands above its control: without the {heads} its loss rises no "
            "more than without random ones"
        )
    name = f"step {found.step}" + (f" ({shorten(found.label, 30)})" if found.label else "")
    begin = f"Without {heads} the loss of {name} {_moves(found.ais)}"
    if found.control != found.control:
        return f"{begin}; random heads were not measured"
    return f"{begin}, without {n_heads} random ones it {_moves(found.control)}"


def _moves(ais: float) -> str:
    return f"{'rises' if ais >= 0 else 'falls'} by {percent(abs(ais))}".replace(" %", "\u00a0%")
