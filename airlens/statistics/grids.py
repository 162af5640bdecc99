"""Means over clusters, and over draws of random heads: from rows to a grid to an estimate.

A grid is fp64 [clusters, draws]: the mean of each cluster's rows under each draw. Every cluster
counts the same in the estimate, however many rows it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .estimates import UNKNOWN, Estimate, Proportion, ProportionDifference, Source

Array = NDArray[np.float64]
ROUNDING = 1e-10  # a spread under this share of the values is rounding


def grid_of(values: ArrayLike, clusters: ArrayLike, draws: ArrayLike | None = None) -> pd.DataFrame:
    """The mean value of each cluster (rows, sorted) under each draw (columns, sorted).

    Values that are not finite are left out; a cluster without a value under some draw is too.

    >>> grid_of([1.0, 3.0, 5.0], ["a", "a", "b"])[0].tolist()
    [2.0, 5.0]
    """
    value = np.asarray(values, np.float64)
    known = np.isfinite(value)
    row, names = pd.factorize(np.asarray(clusters)[known], sort=True)
    given = np.zeros(len(value), int) if draws is None else np.asarray(draws)
    column, drawn = pd.factorize(given[known], sort=True)
    shape = (len(names), len(drawn))
    place = row * shape[1] + column
    size = int(np.prod(shape))
    count = np.bincount(place, minlength=size).reshape(shape)
    total = np.bincount(place, value[known], minlength=size).reshape(shape)
    whole = (count > 0).all(axis=1)
    return pd.DataFrame(total[whole] / count[whole], index=names[whole], columns=drawn)


def ratio_grid(sums: Array, sizes: Array) -> Array:
    """A grid whose means are ratios of sums: linearised, [clusters, draws].

    Args:
        sums: [clusters, draws], such as NLL summed over tokens.
        sizes: [clusters], such as tokens.
    """
    ratio = sums.sum(axis=0) / sizes.sum()
    return np.asarray(ratio + (sums - ratio * sizes[:, None]) / sizes.mean())


def variances(grid: Array) -> tuple[Source, ...]:
    """The sources of the variance of a grid's mean: clusters, and draws where there are several.

    Two-way random effects by moments. The variance of the draws is what remains of that between
    their means once the spread of single cells is taken off.
    """
    n, k = grid.shape
    if n < 2:
        return (Source(float("nan"), 0),)
    least = (ROUNDING * float(np.abs(grid).max())) ** 2
    of_clusters = float(grid.mean(axis=1).var(ddof=1)) / n
    between = Source(of_clusters if of_clusters > least else 0.0, n - 1)
    if k < 2:
        return (between,)
    cells = grid - grid.mean(axis=1, keepdims=True) - grid.mean(axis=0) + grid.mean()
    noise = float((cells**2).sum()) / ((n - 1) * (k - 1)) / (n * k)
    of_draws = float(grid.mean(axis=0).var(ddof=1)) / k
    return (between, Source(max(0.0, of_draws - noise), k - 1))


def mean_of(grid: Any, *, random_draws: bool = False) -> Estimate:
    """The mean of a grid [clusters, draws].

    Args:
        grid: an array or the frame of :func:`grid_of`.
        random_draws: the columns are draws of random heads, so a single one decides nothing.
    """
    values, draws = _checked(grid, random_draws)
    if not len(values):
        return UNKNOWN
    return Estimate(float(values.mean()), variances(values), len(values), draws)


def proportion_of(
    grid: Any, *, most: float = float("inf"), random_draws: bool = False
) -> Proportion:
    """The mean of a grid of values in [0, 1], worth ``most`` observations at most."""
    values, draws = _checked(grid, random_draws)
    if not len(values):
        return Proportion(float("nan"))
    return Proportion(float(values.mean()), variances(values), len(values), draws, most)


def proportion_difference(
    first: Any,
    second: Any,
    *,
    values: tuple[float, float] | None = None,
    most: Callable[[float, int], float] = lambda value, n: float("inf"),
    random_draws: bool = False,
) -> ProportionDifference:
    """The mean of a grid minus that of another of the same clusters, both of values in [0, 1].

    Args:
        first: [clusters, draws].
        second: [clusters, draws]; where both have several draws, the same ones.
        values: the means, where they are known more exactly.
        most: observations that a share of so many clusters is worth at most.
        random_draws: one of them is of random heads.
    """
    (one, a), (other, b) = (_checked(grid, random_draws) for grid in (first, second))
    n = len(one)
    means = values or (float(one.mean()) if n else np.nan, float(other.mean()) if n else np.nan)
    value, draws = means[0] - means[1], max(a, b)
    if not n:
        return ProportionDifference(value, (), n, draws)
    shares = [
        Proportion(mean, variances(grid.mean(axis=1, keepdims=True)), n, most=most(mean, n))
        for mean, grid in zip(means, (one, other), strict=True)
    ]
    both = np.stack([one.mean(axis=1), other.mean(axis=1)])
    alike = float(np.corrcoef(both)[0, 1]) if n > 1 and (both.std(axis=1) > 1e-9).all() else 0.0
    of_draws = variances(one - other)[1:]
    return ProportionDifference(value, of_draws, n, draws, shares[0], shares[1], alike)


def _checked(grid: Any, random_draws: bool) -> tuple[Array, int]:
    values = np.asarray(grid, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    return values, values.shape[1] if random_draws or values.shape[1] > 1 else 0
