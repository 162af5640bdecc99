"""Differences between two ways to train, over training seeds and over test problems.

A difference has two sources of uncertainty, seeds and problems. Both are resampled, crossed (the
problems are the same for every seed). A bootstrap over n seeds underestimates their standard
deviation by the factor sqrt((n - 1) / n), and its tails are too thin: that part is corrected, and
the interval is Student's with n - 1 degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from airlens.analysis.statistics import bootstrap_counts

Array = NDArray[np.float64]
DRAWS = 4000  # of a bootstrap
LEAST_SEEDS = 3  # ours: with fewer no difference is tested
ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """A mean difference and its variances.

    Attributes:
        value: mean over seeds and problems.
        n_seeds: pairs of runs.
        var_seeds: variance of ``value`` because of the seeds; NaN with one.
        var_problems: variance because of the problems.
    """

    value: float
    n_seeds: int
    var_seeds: float
    var_problems: float

    @property
    def error(self) -> float:
        """Standard error; NaN with one seed."""
        return float(np.sqrt(self.var_seeds + self.var_problems))

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Two-sided interval at 1 - ``alpha``; NaN with one seed."""
        wide = _t(1 - alpha / 2, self.n_seeds - 1) * self.error
        return self.value - wide, self.value + wide

    @property
    def p(self) -> float:
        """Two-sided p of no difference; NaN with fewer than ``LEAST_SEEDS`` seeds."""
        from scipy.stats import t

        if self.n_seeds < LEAST_SEEDS:
            return float("nan")
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * t.sf(abs(self.value) / self.error, self.n_seeds - 1))

    def smallest_seen(self, alpha: float = ALPHA, n_seeds: int | None = None) -> float:
        """Smallest true difference that ``n_seeds`` seeds detect with 80 % power at ``alpha``."""
        n = self.n_seeds if n_seeds is None else n_seeds
        if self.n_seeds < 2 or n < 2:
            return float("nan")
        error = np.sqrt(self.var_seeds * self.n_seeds / n + self.var_problems)
        return float((_t(1 - alpha / 2, n - 1) + _t(POWER, n - 1)) * error)

    def seeds_needed(self, size: float, alpha: float = ALPHA, most: int = 200) -> float:
        """Seeds per arm needed to detect a difference of ``size``; NaN: more than ``most``.

        NaN also where more seeds cannot help because the problems are too few.
        """
        for n in range(LEAST_SEEDS, most + 1):
            if self.smallest_seen(alpha, n) <= size:
                return float(n)
        return float("nan")


def paired_runs(
    ours: Array, theirs: Array, weights: Array | None = None, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Mean of ``ours - theirs``, with the variances by crossed resampling of seeds and problems.

    Args:
        ours: [n_seeds, n_problems]; the rows of both are the same seeds in the same order, the
            columns the same problems.
        theirs: likewise.
        weights: [n_problems]: the mean is sum(gap) / sum(weights), as of NLL over tokens; None: a
            mean over problems.
        draws: of each bootstrap.
        seed: of the draws.
    """
    gap = np.asarray(ours, float) - np.asarray(theirs, float)
    size = np.ones(gap.shape[1]) if weights is None else np.asarray(weights, float)
    rng = np.random.default_rng(seed)
    n_seeds, n_problems = gap.shape
    problems = bootstrap_counts(n_problems, draws, rng)
    by_problem = (problems @ gap.mean(axis=0)) / (problems @ size)
    spread = float("nan")
    if n_seeds > 1:
        both = _resample_both(gap, size, problems, rng)
        # The variance that seeds add to that of the problems, corrected for the small number of
        # seeds.
        extra = max(0.0, float(both.var() - by_problem.var()))
        spread = extra * n_seeds / (n_seeds - 1)
    value = float(gap.mean(axis=0).sum() / size.sum())
    return Difference(value, n_seeds, spread, float(by_problem.var()))


def _resample_both(gap: Array, size: Array, problems: Any, rng: np.random.Generator) -> Array:
    """Means over resampled seeds and resampled problems: [draws]."""
    n_seeds = len(gap)
    seeds = bootstrap_counts(n_seeds, len(problems), rng) / n_seeds
    return np.asarray(((seeds @ gap) * problems).sum(axis=1) / (problems @ size))


def holm(p: Sequence[float]) -> Array:
    """P values corrected for multiple tests (Holm 1979); NaN stays NaN, and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    found = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return found


def difference_rows(
    pairs: Sequence[tuple[dict[str, Any], Difference]], alpha: float = ALPHA
) -> pd.DataFrame:
    """A table of differences, tested together.

    Args:
        pairs: the names of a row (columns and values), and its difference.
        alpha: probability of any false finding in the table.

    Returns:
        The names, then difference, lo, hi (95 %, each row alone), n_seeds, p, p_holm, decided,
        smallest_seen (80 % power at the first step of Holm), seeds_needed (an arm, to decide a
        difference as large as the one seen).
    """
    corrected = holm([gap.p for _, gap in pairs])
    strict = alpha / max(1, len(pairs))
    rows = []
    for (names, gap), p_holm in zip(pairs, corrected, strict=True):
        lo, hi = gap.interval(alpha)
        row = {**names, "difference": gap.value, "lo": lo, "hi": hi, "n_seeds": gap.n_seeds}
        row |= {"p": gap.p, "p_holm": p_holm, "decided": bool(p_holm < alpha)}
        row["smallest_seen"] = gap.smallest_seen(strict)
        row["seeds_needed"] = gap.seeds_needed(abs(gap.value), strict)
        rows.append(row)
    return pd.DataFrame(rows)


def _t(q: float, df: int) -> float:
    from scipy.stats import t

    return float(t.ppf(q, df)) if df > 0 else float("nan")
