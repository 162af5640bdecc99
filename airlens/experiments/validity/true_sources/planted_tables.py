"""How well scores find planted sources: AUROC and precision at 1, with intervals over traces.

Every trace counts the same; for random heads the draws are in the interval too.

Of one step, AUROC is the probability that its true source has a higher value than another unit
before it, ties half; precision at 1 is whether the unit with the highest value is the true source
(units that tie share it). A control with several draws of heads is the mean over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.experiments.validity.auroc_tables import is_control
from airlens.statistics.grids import grid_of, proportion_of
from airlens.traces.trace import Trace

from .measured_pairs import KEY, keys_of, score_columns
from .planted_traces import DISTANCES, DISTRACTORS

KINDS = (*DISTRACTORS, "rest")


def use_scores(pairs: pd.DataFrame, traces: Sequence[Trace]) -> pd.DataFrame:
    """AUROC and precision at 1 for each step with a true source, and each score.

    The units compared are the steps before; if the true source is in the prompt, also the prompt's.

    Args:
        pairs: with the column true and the columns of `score_columns`.
        traces: planted ones.

    Returns:
        id, step, distance (a range of `DISTANCES`, or "prompt"), wording, score, heads, draw,
        auroc, p1, chance (of precision at 1), and for each kind of distractor, and the rest of the
        steps, the share that the true source is above of, ties half; NaN where there are none.
    """
    by_id = {trace.id: trace for trace in traces}
    columns = score_columns(pairs)
    names = [c.name for c in columns]
    parts = []
    for _, part in pairs.groupby(["id", "step"], sort=False):
        name, step = str(part["id"].iloc[0]), int(part["step"].iloc[0])
        true = part["true"].to_numpy()
        source = part["source"].to_numpy()
        if not true.any():
            continue
        # If the source is in the prompt, the prompt's units are candidates too.
        allowed = source >= (0 if source[true].min() >= 0 else source.min())
        if not (allowed & ~true).any():
            continue
        trace = by_id[name]
        values = part[names].to_numpy(np.float64)[allowed]
        found = _against(values, true[allowed])
        known: Mapping[str, Any] = trace.step_meta[step]
        kinds = {kind: np.isin(source[allowed], known.get(kind, ())) for kind in DISTRACTORS}
        kinds["rest"] = ~np.any([*kinds.values(), true[allowed]], axis=0)
        above = {k: _above(values, true[allowed], where) for k, where in kinds.items()}
        first = {"id": name, "step": step, "wording": str(trace.meta.get("wording", ""))}
        first["distance"] = distance_range(step, source[true])
        parts.append(pd.DataFrame({**keys_of(columns), **first, **found, **above}))
    return pd.concat(parts, ignore_index=True)


def distance_range(step: int, sources: np.ndarray) -> str:
    """The range of `DISTANCES` of the nearest source; "prompt", or "farther"."""
    if sources.max() < 0:
        return "prompt"
    distance = step - int(sources.max())
    return next((name for name, inside in DISTANCES.items() if distance in inside), "farther")


def _above(values: np.ndarray, true: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of others that the true ones are above of, ties half, for each column of ``values``."""
    if not others.any():
        return np.full(values.shape[1], np.nan)
    difference = values[true][:, None] - values[others][None]
    with np.errstate(invalid="ignore"):
        wins = np.where(np.isnan(difference), np.nan, (np.sign(difference) + 1) / 2)
    known = np.isfinite(wins)
    count = known.sum(axis=(0, 1))
    total = np.where(known, wins, 0).sum(axis=(0, 1))
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _against(values: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    known = np.isfinite(values)
    full = np.where(known, values, -np.inf)
    best = (full == full.max(axis=0)) & known
    hit = (best & true[:, None]).sum(axis=0) / np.maximum(best.sum(axis=0), 1)
    return {
        "auroc": _above(values, true, ~true),
        "p1": np.where(known[true].any(axis=0), hit, np.nan),
        "chance": true.mean(),
    }


def planted_table(uses: pd.DataFrame) -> pd.DataFrame:
    """Means over traces, by distance and wording, from :func:`use_scores`.

    Returns:
        wording ("all", "repeated", "own"), distance (a range of `DISTANCES`, "all" of them, or
        "prompt"), score, heads, auroc, lo, hi, p (of 0.5), p1, p1_lo, p1_hi, p1_p (of chance),
        chance, n (uses), n_traces, draws (of random heads).
    """
    rows = []
    for where, part in _slices(uses):
        for key, own in part.groupby(KEY, sort=False):
            own = own[own["auroc"].notna()]
            if own.empty:
                continue
            row = {**where, **dict(zip(KEY, key, strict=True))}
            chance = float(grid_of(own["chance"], own["id"]).to_numpy().mean())
            for value, ends, null in (("auroc", "", 0.5), ("p1", "p1_", chance)):
                row |= _mean(own, value, ends, null)
            n = len(own) // own["draw"].nunique()
            rows.append({**row, "chance": chance, "n": n, "n_traces": own["id"].nunique()})
    return pd.DataFrame(rows)


def _mean(own: pd.DataFrame, value: str, ends: str = "", null: float = 0.5) -> dict[str, Any]:
    """A mean over traces with its interval, its p value of ``null``, and the draws."""
    random_draws = is_control(str(own["heads"].iloc[0]))
    grid = grid_of(own[value], own["id"], own["draw"])
    found = proportion_of(grid, random_draws=random_draws)
    lo, hi = found.interval()
    row = {value: found.value, f"{ends}lo": lo, f"{ends}hi": hi, f"{ends}p": found.p(null)}
    return {**row, "draws": found.draws}


def _slices(uses: pd.DataFrame) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Uses by wording and by distance, all of either first."""
    found = []
    for wording in ("all", *dict.fromkeys(uses["wording"])):
        some = uses if wording == "all" else uses[uses["wording"] == wording]
        for distance in ("all", *DISTANCES, "prompt"):
            in_steps = distance == "all"
            chosen = some["distance"] != "prompt" if in_steps else some["distance"] == distance
            if chosen.any():
                found.append(({"wording": wording, "distance": distance}, some[chosen]))
    return found


def distractor_table(uses: pd.DataFrame) -> pd.DataFrame:
    """How often the true source is above each kind of distractor, and above the other steps.

    Returns:
        kind, score, heads, above (share of them that the true source is above of, ties half; mean
        over traces), lo, hi, p (of 0.5), n (uses), n_traces, draws; from :func:`use_scores`,
        without uses of the prompt.
    """
    rows = []
    in_steps = uses[uses["distance"] != "prompt"]
    for kind in KINDS:
        for key, own in in_steps[in_steps[kind].notna()].groupby(KEY, sort=False):
            row = {"kind": kind, **dict(zip(KEY, key, strict=True))}
            row |= _mean(own.assign(above=own[kind]), "above")
            n = len(own) // own["draw"].nunique()
            rows.append({**row, "n": n, "n_traces": own["id"].nunique()})
    return pd.DataFrame(rows)
