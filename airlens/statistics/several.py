"""Many tests in one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """P values corrected for multiple tests (Holm 1979).

    What could not be tested (NaN) is no test: it stays NaN, and is not counted.
    """
    values = np.asarray(p, dtype=np.float64)
    found = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return found
