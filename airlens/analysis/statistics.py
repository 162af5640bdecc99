"""Rank correlations and bootstrap intervals that several tables share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
N_BOOT = 1000
GROUPS = 3  # ours: fewest groups whose resampling gives an interval
LEAST = 5  # ours: with fewer values a correlation is NaN


def jaccard(a: Iterable[Hashable], b: Iterable[Hashable], *, empty: float = 1.0) -> float:
    """Size of the intersection over size of the union; ``empty`` where both sets are.

    >>> jaccard("abc", "bcd")
    0.5
    """
    one, other = set(a), set(b)
    return len(one & other) / len(one | other) if one or other else empty


def ranks(values: Array) -> Array:
    """Ranks from 1 along the last axis, the mean rank for ties."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=-1), dtype=np.float64)


def pearson(x: Array, y: Array) -> Array:
    """Correlation along the last axis; NaN where a side is constant."""
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    size = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(size > 1e-12, (x * y).sum(axis=-1) / size, np.nan))


def spearman(x: Array, y: Array, least: int = 3) -> float:
    """Spearman's ρ over the pairs where both are known; NaN where it is undefined."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < least:
        return float("nan")
    return float(pearson(ranks(x[both]), ranks(y[both])))


def rank_residual(values: Array, on: Sequence[Array]) -> Array:
    """Residual of the ranks of ``values`` after a linear fit on the ranks of ``on``.

    NaN where any of them is; the residual has mean 0.
    """
    ok = np.isfinite([values, *on]).all(axis=0)
    left = np.full(len(values), np.nan)
    if ok.any():
        target, *others = (ranks(column[ok]) for column in (values, *on))
        design = np.stack([np.ones(len(target)), *others], axis=1)
        fit, *_ = np.linalg.lstsq(design, target, rcond=None)
        left[ok] = target - design @ fit
    return left


def partial_spearman(x: Array, y: Array, given: Sequence[Array]) -> float:
    """Spearman's ρ of x and y given others: the correlation of the rank residuals of both."""
    ok = np.isfinite(x) & np.isfinite(y)
    for other in given:
        ok &= np.isfinite(other)
    if ok.sum() < LEAST + len(given):
        return float("nan")
    rest = [other[ok] for other in given]
    left, right = rank_residual(x[ok], rest), rank_residual(y[ok], rest)
    # Where the others determine a side completely, what is left is rounding noise.
    if min(left.std(), right.std()) < 1e-6 * len(left):
        return float("nan")
    return float(pearson(left, right))


def spearman_interval(
    x: Array, y: Array, *, n_boot: int = N_BOOT, seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's ρ and its 95 % bootstrap interval over pairs."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < LEAST:
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(x), size=(n_boot, len(x)))
    lo, hi = interval(pearson(ranks(x[drawn]), ranks(y[drawn])))
    return spearman(x, y), lo, hi


def interval(values: Array) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of the finite values; NaN without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    lo, hi = np.quantile(known, [0.025, 0.975])
    return float(lo), float(hi)


def mean_interval(
    values: pd.Series, groups: pd.Series, *, n_boot: int = N_BOOT, seed: int = 0
) -> tuple[float, float, float]:
    """The mean over all values, and its 95 % bootstrap interval over whole groups.

    The interval is NaN with fewer than `GROUPS` groups: too few to resample.
    """
    value = values.to_numpy(np.float64)
    known = np.isfinite(value)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    value, mean = value[known], float(value[known].mean())
    place, names = pd.factorize(groups.to_numpy()[known], sort=True)
    n = len(names)
    if n < GROUPS:
        return mean, float("nan"), float("nan")
    drawn = _counts_of_seed(n, n_boot, seed)
    lo, hi = interval((drawn @ np.bincount(place, value)) / (drawn @ np.bincount(place)))
    return mean, lo, hi


def bootstrap_counts(n: int, n_boot: int, seed: int | np.random.Generator) -> Array:
    """How often each of ``n`` units is in each bootstrap sample, fp64 [n_boot, n].

    A mean over each sample is then one matrix product.
    """
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_boot)
    return counts.astype(np.float64)


# Tables have many rows over the same traces. Only for seeds that are numbers: a generator moves on.
_counts_of_seed = lru_cache(maxsize=8)(bootstrap_counts)
