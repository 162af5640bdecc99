"""What a score adds to the heuristics: cross-validated logistic models with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from airlens.statistics.auroc import auroc_difference, wins_of

from .auroc_tables import KEY, Cell, cells, is_control
from .heuristics import HEURISTICS

MIN_SOURCES = 10  # ours: fewer traces are too few to cross-validate a model on
FOLDS = 5


def gain_table(values: pd.DataFrame, losses: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Gain in AUROC of a logistic model of heuristics and score over one of the heuristics alone.

    Both models are fitted by grouped cross-validation (standardised features) and compared by the
    AUROC of their predictions for held-out traces; with several draws of heads, the mean over
    draws. The interval is over traces and draws, with the models as they were fitted.

    Returns:
        kind, score, mode, heads, auroc_free (heuristics alone), auroc_with, gain, lo, hi, p, n,
        draws; for the scores that are no heuristics, and kinds with at least `MIN_SOURCES` traces.
    """
    rows = []
    everything: dict[str, dict[tuple[str, str, str], Cell]] = {}
    for kind, key, cell in cells(values, losses):
        everything.setdefault(kind, {})[key] = cell
    for kind, by_key in everything.items():
        free = {key[0]: cell for key, cell in by_key.items() if key[0] in HEURISTICS}
        for key, cell in by_key.items():
            if key[0] not in HEURISTICS and len(cell.sources) >= MIN_SOURCES:
                found = _gain(cell, list(free.values()), seed, is_control(key[2]))
                rows.append({"kind": kind, **dict(zip(KEY, key, strict=True)), **found})
    columns = ["kind", *KEY, "auroc_free", "auroc_with", "gain", "lo", "hi", "p", "n", "draws"]
    return pd.DataFrame(rows, columns=columns)


def _gain(cell: Cell, free: Sequence[Cell], seed: int, control: bool) -> dict[str, Any]:
    common = set(cell.sources).intersection(*(other.sources for other in free))
    sources = sorted(common)
    features = [_column(other, sources, 0) for other in free]
    alone = wins_of(*_held_out(np.stack(features, axis=1), seed))
    with_it = [
        wins_of(*_held_out(np.stack([*features, _column(cell, sources, i)], axis=1), seed))
        for i in range(len(cell.real))
    ]
    found = auroc_difference(np.stack(with_it), alone[None], random_draws=control)
    lo, hi = found.interval()
    return {
        "auroc_free": found.second.value,
        "auroc_with": found.first.value,
        "gain": found.value,
        "lo": lo,
        "hi": hi,
        "p": found.p(),
        "n": found.clusters,
        "draws": found.draws,
    }


def _column(cell: Cell, sources: Sequence[str], draw: int) -> np.ndarray:
    """A feature of the real steps, then of the planted ones: [2 S]."""
    place = {source: i for i, source in enumerate(cell.sources)}
    rows = [place[source] for source in sources]
    return np.concatenate([cell.real[draw][rows], cell.planted[draw][rows]])


def _held_out(features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logit of "real" for each real [S] and planted [S] step, from a model of the other traces."""
    n = len(features) // 2
    predicted = held_out(features, np.repeat([1, 0], n), np.tile(np.arange(n), 2), seed)
    return predicted[:n], predicted[n:]


def held_out(
    features: np.ndarray, label: np.ndarray, group: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Logit of a label for each row, from a logistic model of the other groups.

    Args:
        features: [n, f]; standardised here.
        label: [n], 0 or 1.
        group: [n], the trace of each row.
        seed: of the assignment of groups to `FOLDS` folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names, place = np.unique(group, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))[place]
    predicted = np.zeros(len(features))
    folds = GroupKFold(min(FOLDS, len(names)))
    for train, test in folds.split(features, label, shuffled):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(features[train], label[train])
        predicted[test] = model.decision_function(features[test])
    return predicted
