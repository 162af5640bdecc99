"""Bootstrap samples, for what has no formula: the ranks of heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
N_BOOT = 1000


def bootstrap_counts(n: int, n_boot: int, seed: int | np.random.Generator) -> Array:
    """How often each of ``n`` units is in each bootstrap sample, fp64 [n_boot, n].

    A mean over each sample is then one matrix product.
    """
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_boot)
    return counts.astype(np.float64)


def middle_range(values: Array) -> tuple[float, float]:
    """The 2.5 and 97.5 % quantiles of the finite values; NaN without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    lo, hi = np.quantile(known, [0.025, 0.975])
    return float(lo), float(hi)
