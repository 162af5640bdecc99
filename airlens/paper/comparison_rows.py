"""Rows of a comparison of models: one a measure and set of heads, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from airlens.analysis.statistics import N_BOOT, bootstrap_counts, interval
from airlens.step_influence import Influence


def group_rows(
    measure: str,
    values: dict[str, np.ndarray],
    unit: str,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A row for every group of heads, and one for the difference of top heads to each control.

    Args:
        measure: its name.
        values: by group, [draws, units].
        unit: name of a unit.
        weights: of the units in the mean, such as tokens; default: equal.
        seed: of the bootstrap.
    """
    found = dict(values)
    if "top" in values:
        for control in ("random", "layer-matched"):
            if control in values:
                found[f"top - {control}"] = values["top"] - values[control]
    rows = []
    for group, grid in found.items():
        size = np.ones(grid.shape[1]) if weights is None else weights
        value = float((grid @ size).mean() / size.sum())
        lo, hi = _interval(grid, size, seed)
        rows.append(measure_row(measure, group, value, lo, hi, grid.shape[1], unit, len(grid)))
    return rows


def _interval(grid: np.ndarray, size: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the weighted mean of [draws, units], both drawn anew."""
    draws, units = grid.shape
    if units < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    of_units = bootstrap_counts(units, N_BOOT, rng) * size
    of_draws = bootstrap_counts(draws, N_BOOT, rng) / draws
    sums = np.einsum("bd,du,bu->b", of_draws, grid, of_units, optimize=True)
    return interval(sums / of_units.sum(axis=1))


def loss_rows(result: Influence, seed: int = 0) -> list[dict[str, Any]]:
    """Response NLL of each domain (nats per token): base, top, layer-matched, differences."""
    rows: list[dict[str, Any]] = []
    for domain, part in result.samples.groupby("domain", sort=False):
        ids = part["id"].tolist()
        own = result.controls[result.controls["id"].isin(ids)]
        values = {
            "base": part["loss_base"].to_numpy(np.float64)[None],
            "top": part["loss_ref"].to_numpy(np.float64)[None],
        }
        if len(own):
            grid = own.pivot(index="draw", columns="id", values="loss_control")[ids]
            values["layer-matched"] = grid.to_numpy(np.float64)
        tokens = part["n_tokens"].to_numpy(np.float64)
        rows += group_rows(f"NLL, {domain}", values, "traces", weights=tokens, seed=seed)
    return rows


def measure_row(
    measure: str, heads: str, value: float, lo: float, hi: float, n: int, unit: str, draws: int
) -> dict[str, Any]:
    """One row of the table; ``n`` units of the kind ``unit``."""
    numbers = {"value": value, "lo": lo, "hi": hi, "n": n}
    return {"measure": measure, "heads": heads, **numbers, "unit": unit, "draws": draws}
