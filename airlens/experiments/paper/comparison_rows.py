"""Rows of a comparison of models: one a measure and set of heads, with intervals.

Intervals are over units (probes, needles, traces) and, for random heads, over draws of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from airlens.control_kinds import CONTROL_KINDS
from airlens.experiments.validity.auroc_tables import is_control
from airlens.statistics.estimates import Estimate
from airlens.statistics.grids import grid_of, mean_of, proportion_of, ratio_grid
from airlens.step_influence.influence import Influence


def unit_values(
    measure: str,
    values: dict[str, np.ndarray],
    unit: str,
    clusters: list[str],
    sizes: np.ndarray | None = None,
) -> pd.DataFrame:
    """Measurements of units under each set of heads, as rows.

    Args:
        measure: its name.
        values: by set of heads, [draws, units].
        unit: name of an independent unit.
        clusters: of each column the unit that it belongs to.
        sizes: of each column its weight in the mean, such as tokens; default: a mean over units.

    Returns:
        measure, heads, draw, unit, cluster, value, size (NaN where every unit counts the same).
    """
    parts = []
    for heads, grid in values.items():
        for draw, row in enumerate(grid):
            part = {"measure": measure, "heads": heads, "draw": draw, "unit": unit}
            size = np.full(len(row), np.nan) if sizes is None else sizes
            parts.append(pd.DataFrame({**part, "cluster": clusters, "value": row, "size": size}))
    return pd.concat(parts, ignore_index=True)


def group_rows(units: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for every measure and set of heads, and for the top heads minus each control.

    Args:
        units: from :func:`unit_values`.
    """
    rows = []
    for measure, part in units.groupby("measure", sort=False):
        grids = {str(heads): _grid(own) for heads, own in part.groupby("heads", sort=False)}
        unit, inside = str(part["unit"].iloc[0]), part["value"].between(0, 1).all()
        plain = proportion_of if inside and part["size"].isna().all() else mean_of
        for heads, grid in grids.items():
            found: Estimate = plain(grid, random_draws=is_control_set(heads))
            rows.append(measure_row(str(measure), heads, found, unit))
        for control in (name for name in CONTROL_KINDS if name in grids and "top" in grids):
            found = mean_of(grids["top"] - grids[control], random_draws=True)
            rows.append(measure_row(str(measure), f"top - {control}", found, unit))
    return rows


def is_control_set(heads: str) -> bool:
    """Whether a set of heads, or one side of a difference, was drawn at random."""
    return is_control(heads) and any(name in heads for name in CONTROL_KINDS)


def _grid(own: pd.DataFrame) -> np.ndarray:
    """[clusters, draws], of which the mean is taken."""
    if own["size"].isna().all():
        return grid_of(own["value"], own["cluster"], own["draw"]).to_numpy()
    keys = [own["cluster"], own["draw"]]
    sums = (own["value"] * own["size"]).groupby(keys).sum().unstack()
    sizes = own["size"].groupby(keys).sum().unstack()
    return ratio_grid(sums.to_numpy(), sizes.to_numpy()[:, 0])


def loss_values(result: Influence) -> pd.DataFrame:
    """Response NLL of each trace, by domain (nats per token): base, top, same_layers."""
    parts = []
    for domain, part in result.samples.groupby("domain", sort=False):
        ids = part["id"].tolist()
        own = result.controls[result.controls["id"].isin(ids)]
        values = {
            "base": part["loss_base"].to_numpy(np.float64)[None],
            "top": part["loss_ref"].to_numpy(np.float64)[None],
        }
        if len(own):
            grid = own.pivot(index="draw", columns="id", values="loss_control")[ids]
            values["same_layers"] = grid.to_numpy(np.float64)
        tokens = part["n_tokens"].to_numpy(np.float64)
        parts.append(unit_values(f"NLL, {domain}", values, "traces", ids, tokens))
    return pd.concat(parts, ignore_index=True)


def measure_row(
    measure: str, heads: str, found: Estimate, unit: str, null: float = 0.0
) -> dict[str, Any]:
    """One row of the table; n units of the kind ``unit``, p of a true value of ``null``."""
    lo, hi = found.interval()
    numbers = {"value": found.value, "lo": lo, "hi": hi, "p": found.p(null), "n": found.clusters}
    return {"measure": measure, "heads": heads, **numbers, "unit": unit, "draws": found.draws}
