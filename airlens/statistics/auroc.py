"""AUROC of real over planted values of the same clusters, and differences of two.

The probability that a value drawn from one side is higher than one from the other, ties half. Both
sides come from the same clusters, and a pair may be of two clusters; the variance is the jackknife
over clusters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .estimates import Proportion, ProportionDifference
from .grids import proportion_difference, variances

Array = NDArray[np.float64]
# Ours, by simulation: the least variance that one cluster is taken to have, and the most
# observations that it counts for where the AUROC is near 0 or 1. A jackknife under these is luck.
LEAST_VARIANCE = 0.02
WORTH = 2.5


def auroc(real: ArrayLike, planted: ArrayLike) -> float:
    """P(a real value is higher than a planted one), ties half; NaN where either is empty.

    >>> auroc([3, 2], [1, 2])
    0.875
    """
    wins = wins_of(real, planted)
    return float(wins.mean()) if wins.size else float("nan")


def wins_of(real: ArrayLike, planted: ArrayLike) -> Array:
    """[R, P]: 1 where the real value is higher, 0.5 where equal."""
    difference = np.asarray(real, np.float64)[:, None] - np.asarray(planted, np.float64)[None, :]
    return np.asarray((np.sign(difference) + 1) / 2)


def pseudo_values(wins: Array, allowed: Array | None = None) -> Array:
    """Jackknife pseudo-values of the AUROC, a row a cluster that has a pair: [clusters, draws].

    Args:
        wins: [draws, n, n], row i and column i of one cluster.
        allowed: [n, n]: 1 for the pairs that count; None: all.
    """
    wins = np.asarray(wins, np.float64).reshape(-1, *np.shape(wins)[-2:])
    pairs = np.ones(wins.shape[1:]) if allowed is None else np.asarray(allowed, np.float64)
    used = pairs.any(axis=0) | pairs.any(axis=1)
    n, hits = int(used.sum()), wins * pairs
    if n < 2:
        return np.empty((0, len(wins)))
    whole = hits.sum(axis=(1, 2)) / pairs.sum()
    left = hits.sum(axis=(1, 2))[:, None] - _of_each(hits)[:, used]
    count = pairs.sum() - _of_each(pairs[None])[0, used]
    with np.errstate(invalid="ignore", divide="ignore"):
        without = np.where(count > 0, left / count, whole[:, None])
    return np.asarray((n * whole[:, None] - (n - 1) * without).T)


def _of_each(table: Array) -> Array:
    """The sum over row i and column i, the diagonal once: [draws, n]."""
    diagonal = np.einsum("dii->di", table)
    return np.asarray(table.sum(axis=2) + table.sum(axis=1) - diagonal)


def auroc_of(
    wins: Array, allowed: Array | None = None, *, random_draws: bool = False
) -> Proportion:
    """AUROC of the pairs ``allowed``, a mean over draws; see :func:`pseudo_values`."""
    found, draws = pseudo_values(wins, allowed), _draws(wins, random_draws)
    if not len(found):
        return Proportion(_value(wins, allowed), (), len(found), draws)
    value, n = _value(wins, allowed), len(found)
    return Proportion(value, variances(found), n, draws, most_of(value, n))


def auroc_difference(
    first: Array, second: Array, allowed: Array | None = None, *, random_draws: bool = False
) -> ProportionDifference:
    """AUROC of ``first`` minus that of ``second``, wins of the same clusters.

    Args:
        first: [draws, n, n].
        second: [draws, n, n]; where both have draws, the same ones.
        allowed: [n, n], see :func:`pseudo_values`.
        random_draws: one of them is of random heads.
    """
    values = (_value(first, allowed), _value(second, allowed))
    draws = max(_draws(first, random_draws), _draws(second, random_draws))
    return proportion_difference(
        pseudo_values(first, allowed),
        pseudo_values(second, allowed),
        values=values,
        most=most_of,
        random_draws=draws > 0,
    )


def most_of(value: float, clusters: int) -> float:
    """How many observations an AUROC of so many clusters is worth at most."""
    return clusters * max(WORTH, value * (1 - value) / LEAST_VARIANCE)


def _value(wins: Array, allowed: Array | None) -> float:
    pairs = np.ones(np.shape(wins)[-2:]) if allowed is None else np.asarray(allowed, np.float64)
    hits = np.asarray(wins, np.float64).reshape(-1, *pairs.shape) * pairs
    return float(hits.sum() / len(hits) / pairs.sum()) if pairs.sum() else float("nan")


def _draws(wins: Array, random_draws: bool) -> int:
    count = len(wins) if np.ndim(wins) == 3 else 1
    return count if random_draws or count > 1 else 0
