"""How well scores find labelled dependencies: AUROC, and gain over the controls.

AUROC is the probability that a true pair has a higher value than another pair, ties half: over all
pairs of a trace at once, or over the pairs of one step; then the mean over the traces of a problem,
then over problems: a trace with one true pair counts as much as one with many. Intervals are over
problems, and over draws of random heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from airlens.experiments.validity.added_value import MIN_SOURCES, held_out
from airlens.experiments.validity.auroc_tables import is_control
from airlens.experiments.validity.labelled import problem_of
from airlens.statistics.correlations import ranks
from airlens.statistics.grids import grid_of, mean_of, proportion_of

from .measured_pairs import KEY, keys_of, score_columns
from .true_pairs import TEXT

BEYOND = (0, 3, 8)  # ours: minimum distances, in steps, at which pairs are evaluated


def trace_scores(pairs: pd.DataFrame, beyond: Sequence[int] = BEYOND) -> pd.DataFrame:
    """AUROC of the true pairs of each trace among its pairs of steps, for each score.

    Args:
        pairs: with the column true and the columns of `score_columns`; the prompt is left out.
        beyond: evaluate only pairs more than this many steps apart.

    Returns:
        id, beyond, compared ("all pairs", or "same step": the mean over steps), score, heads, draw,
        auroc, n_true. A score that is missing for some pair is left out for that trace.
    """
    columns = score_columns(pairs)
    names = [c.name for c in columns]
    parts = []
    for name, trace in pairs[pairs["source"] >= 0].groupby("id", sort=False):
        for least in beyond:
            part = trace[trace["distance"] > least]
            true = part["true"].to_numpy()
            if not true.any() or true.all():
                continue
            values = part[names].to_numpy(np.float64)
            step = part["step"].to_numpy()
            for compared, found in (
                ("all pairs", _auroc(values, true)),
                ("same step", _within(values, true, step)),
            ):
                first = {"id": name, "beyond": least, "compared": compared}
                own = {"auroc": found, "n_true": int(true.sum())}
                parts.append(pd.DataFrame({**keys_of(columns), **first, **own}))
    table = pd.concat(parts, ignore_index=True)
    return table[table["auroc"].notna()].reset_index(drop=True)


def _auroc(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """AUROC of each column, from ranks; NaN where a value is missing."""
    n = int(true.sum())
    if not n or n == len(true):
        return np.full(values.shape[1], np.nan)
    rank = ranks(values.T)[:, true].sum(axis=1)
    found = (rank - n * (n + 1) / 2) / (n * (len(true) - n))
    return np.asarray(np.where(np.isfinite(values).all(axis=0), found, np.nan))


def _within(values: np.ndarray, true: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Mean over steps of the AUROC among the pairs of one step."""
    found = [_auroc(values[step == s], true[step == s]) for s in np.unique(step[true])]
    known = [row for row in found if not np.isnan(row).all()]
    return np.mean(known, axis=0) if known else np.full(values.shape[1], np.nan)


def labelled_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over problems of :func:`trace_scores`.

    Args:
        scores: with the column problem, which traces of one problem share (default: the id).

    Returns:
        traces ("all", or "knocked out": those of which knockouts are known), beyond, compared,
        score, heads, auroc, lo, hi, p (of 0.5), n (problems), n_traces, n_true (pairs), draws (of
        random heads).
    """
    rows = []
    knocked = set(scores.loc[scores["score"] == "knockout", "id"])
    chosen = {"all": scores}
    if knocked and knocked != set(scores["id"]):
        chosen["knocked out"] = scores[scores["id"].isin(knocked)]
    for traces, part in chosen.items():
        for key, own in part.groupby(["beyond", "compared", *KEY], sort=False):
            grid = grid_of(own["auroc"], problem_of(own), own["draw"])
            found = proportion_of(grid, random_draws=is_control(str(key[-1])))
            lo, hi = found.interval()
            counted = own[own["draw"] == own["draw"].min()]
            row = {"traces": traces, **dict(zip(["beyond", "compared", *KEY], key, strict=True))}
            row |= {"auroc": found.value, "lo": lo, "hi": hi, "p": found.p(0.5)}
            row |= {"n": found.clusters, "n_traces": len(counted)}
            rows.append({**row, "n_true": int(counted["n_true"].sum()), "draws": found.draws})
    return pd.DataFrame(rows)


def gain_table(gains: pd.DataFrame) -> pd.DataFrame:
    """Means over problems of :func:`trace_gains`.

    Returns:
        beyond, score, heads, auroc_free, auroc_with, gain (means over problems of AUROC over all
        pairs), lo, hi, p (of the gain), n (problems), n_traces; empty for no gains.
    """
    rows = []
    for key, own in gains.groupby(["beyond", *KEY], sort=False):
        found = mean_of(grid_of(own["with"] - own["free"], problem_of(own)))
        means = {c: mean_of(grid_of(own[c], problem_of(own))).value for c in ("free", "with")}
        lo, hi = found.interval()
        row = dict(zip(["beyond", *KEY], key, strict=True))
        row |= {f"auroc_{name}": value for name, value in means.items()}
        row |= {"gain": found.value, "lo": lo, "hi": hi, "p": found.p(), "n": found.clusters}
        rows.append({**row, "n_traces": own["id"].nunique()})
    names = ["beyond", *KEY, "auroc_free", "auroc_with", "gain", "lo", "hi", "p", "n", "n_traces"]
    return pd.DataFrame(rows, columns=names)


def trace_gains(
    pairs: pd.DataFrame, beyond: Sequence[int] = BEYOND, *, seed: int = 0
) -> pd.DataFrame:
    """What a score adds to a logistic model of the controls that need no model (`TEXT`).

    Both models are fitted on the other traces
    (:func:`airlens.experiments.validity.added_value.held_out`). Of random heads the first draw is
    taken.

    Args:
        pairs: with the column true and the columns of `score_columns`; the prompt is left out.
        beyond: evaluate only pairs more than this many steps apart.
        seed: of the assignment of traces to folds.

    Returns:
        id, beyond, score, heads, draw, free and with (AUROC over all pairs of the trace, of the
        controls alone and with the score); empty with fewer than `MIN_SOURCES` traces.
    """
    columns = score_columns(pairs)
    parts = []
    for least in beyond:
        part = pairs[(pairs["source"] >= 0) & (pairs["distance"] > least)]
        true, group = part["true"].to_numpy(), part["id"].to_numpy()
        if part.loc[true, "id"].nunique() < MIN_SOURCES:
            continue
        base = part[[c.name for c in columns if c.score in TEXT]].to_numpy(np.float64)
        alone = _by_trace(held_out(base, true, group, seed), true, group)
        for c in columns:
            if not c.heads or c.draw:
                continue
            value = part[c.name].to_numpy(np.float64)[:, None]
            if not np.isfinite(value).all():
                continue
            both = held_out(np.concatenate([base, value], axis=1), true, group, seed)
            frame = pd.DataFrame({"free": alone, "with": _by_trace(both, true, group)}).dropna()
            named = frame.rename_axis("id").reset_index()
            parts.append(named.assign(beyond=least, score=c.score, heads=c.heads, draw=c.draw))
    names = ["id", "free", "with", "beyond", *KEY, "draw"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def _by_trace(values: np.ndarray, true: np.ndarray, group: np.ndarray) -> pd.Series:
    return pd.Series(
        {name: _auroc(values[group == name, None], true[group == name])[0] for name in set(group)}
    ).sort_index()
