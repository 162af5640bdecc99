"""Overlap of the samples that different selectors choose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from airlens.arguments import checked
from airlens.shares import Share

from .select import TOP, Selection, select

RANDOM_SEEDS = 3  # ours: draws of the random selector that others are compared with


def choices(
    samples: pd.DataFrame,
    by: str,
    top: Share = TOP,
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> list[Selection]:
    """The selections of a selector, for comparisons: one, or for ``random`` one per seed."""
    seeds = range(seed, seed + RANDOM_SEEDS) if by == "random" else [seed]
    return [select(samples, by, top, within=within, seed=each) for each in seeds]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, lowest and highest of several draws; one value has no range (NaN)."""
    mean = float(np.mean(values)) if len(values) else float("nan")
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    return mean, float(min(values)), float(max(values))


@checked
def overlap(
    samples: pd.DataFrame,
    selectors: Sequence[str] = ("ais", "random", "length", "loss", "entropy", "ais_control"),
    tops: Sequence[float] = (TOP,),
    *,
    within: str | None = "domain",
    seed: int = 0,
) -> pd.DataFrame:
    """Jaccard index of the selections of each pair of selectors: a, b, top, jaccard, lo, hi.

    With ``random`` the Jaccard is the mean over its draws, lo and hi their range; random with
    itself is one draw against another. A selector with itself is 1.
    """
    rows = []
    codes, names = pd.factorize(samples["id"])
    for top in tops:
        chosen = {
            by: [
                _mask(c, codes, len(names))
                for c in choices(samples, by, top, within=within, seed=seed)
            ]
            for by in selectors
        }
        for name in selectors:
            draws = [_jaccard(a, b) for a, b in combinations(chosen[name], 2)]
            rows.append((name, name, top, *spread(draws or [1.0])))
        for a, b in combinations(selectors, 2):
            pairs = product(chosen[a], chosen[b])
            shares = spread([_jaccard(one, two) for one, two in pairs])
            rows += [(a, b, top, *shares), (b, a, top, *shares)]
    return pd.DataFrame(rows, columns=["a", "b", "top", "jaccard", "lo", "hi"])


def _mask(chosen: Selection, codes: np.ndarray, count: int) -> np.ndarray:
    """Which of ``count`` ids are chosen; ``codes``: the id of each sample, as a number."""
    mask = np.zeros(count, dtype=bool)
    mask[codes[chosen.samples["selected"].to_numpy(dtype=bool)]] = True
    return mask


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shared over all that either keeps; NaN where neither keeps any."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else float("nan")
