"""How well scores find planted sources: AUROC and precision at 1, with intervals over traces.

Of one step, AUROC is the probability that its true source has a higher value than another unit
before it, ties half; precision at 1 is whether the unit with the highest value is the true source
(units that tie share it). A control with several draws of heads is the mean over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.analysis.statistics import N_BOOT, mean_interval
from airlens.trace import Trace

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


def planted_table(uses: pd.DataFrame, *, n_boot: int = N_BOOT, seed: int = 0) -> pd.DataFrame:
    """Means over uses by distance and wording, from :func:`use_scores`.

    Returns:
        wording ("all", "repeated", "own"), distance (a range of `DISTANCES`, "all" of them, or
        "prompt"), score, heads, auroc, lo, hi, p1, p1_lo, p1_hi, chance, n (uses), n_traces, draws.
    """
    rows = []
    for where, part in _slices(uses):
        for key, own in part.groupby(KEY, sort=False):
            own = own[own["auroc"].notna()]
            if own.empty:
                continue
            row = {**where, **dict(zip(KEY, key, strict=True))}
            for value, ends in (("auroc", ("lo", "hi")), ("p1", ("p1_lo", "p1_hi"))):
                found = mean_interval(own[value], own["id"], n_boot=n_boot, seed=seed)
                row |= dict(zip((value, *ends), found, strict=True))
            draws = own["draw"].nunique()
            row |= {"chance": own["chance"].mean(), "n": len(own) // draws}
            row |= {"n_traces": own["id"].nunique(), "draws": draws}
            rows.append(row)
    return pd.DataFrame(rows)


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


def distractor_table(uses: pd.DataFrame, *, n_boot: int = N_BOOT, seed: int = 0) -> pd.DataFrame:
    """How often the true source is above each kind of distractor, and above the other steps.

    Returns:
        kind, score, heads, above (share of them that the true source is above of, ties half), lo,
        hi, n (uses), n_traces, draws; from :func:`use_scores`, without uses of the prompt.
    """
    rows = []
    in_steps = uses[uses["distance"] != "prompt"]
    for kind in KINDS:
        for key, own in in_steps[in_steps[kind].notna()].groupby(KEY, sort=False):
            found = mean_interval(own[kind], own["id"], n_boot=n_boot, seed=seed)
            draws = own["draw"].nunique()
            row = {"kind": kind, **dict(zip(KEY, key, strict=True))}
            row |= dict(zip(("above", "lo", "hi"), found, strict=True))
            row |= {"n": len(own) // draws, "n_traces": own["id"].nunique(), "draws": draws}
            rows.append(row)
    return pd.DataFrame(rows)
