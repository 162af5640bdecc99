"""Spearman's ρ, plain and partial, and the interval of a correlation over clusters."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .estimates import Correlation, Source

Array = NDArray[np.float64]
LEAST = 5  # ours: with fewer values a correlation is NaN
GROUPS = 200  # ours: of more pairs, so many random groups are left out one by one


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


def correlation_of(
    x: Array, y: Array, correlate: Callable[[Array, Array, NDArray[np.intp]], float] | None = None
) -> Correlation:
    """A correlation of pairs, with the jackknife of its Fisher's z.

    Args:
        x: [n]; pairs with a NaN are left out. Each pair is a unit of its own.
        y: [n].
        correlate: of (x, y, places in the arrays given); default: Spearman's ρ.
    """
    place = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    n = len(place)
    if n < LEAST:
        return Correlation(float("nan"), (), n)
    of = correlate or (lambda left, right, _: spearman(left, right))
    whole = of(x[place], y[place], place)
    if not abs(whole) < 1:
        return Correlation(whole, (), n)
    groups = min(n, GROUPS)
    group = np.random.default_rng(0).permutation(n) % groups
    kept = [place[group != i] for i in range(groups)]
    rest = np.asarray([of(x[some], y[some], some) for some in kept])
    with np.errstate(divide="ignore"):
        z = np.arctanh(rest)
    var = (groups - 1) / groups * float(((z - z.mean()) ** 2).sum()) if abs(z).max() < 9 else np.nan
    return Correlation(whole, (Source(var, groups - 1),), n)
