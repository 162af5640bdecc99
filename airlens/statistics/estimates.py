"""An estimate, its interval and its p value, from the sources of its variance.

Measurements come in clusters (problems, traces, needles, probes), and controls in draws of random
heads. Clusters and draws are both samples, so both are sources of variance, each with its own
degrees of freedom. Intervals are made in four ways:

- a mean: value ± margin, margin² = Σ t² var over the sources, t being Student's with the degrees of
  freedom of that source (Graybill & Wang 1980; "square and add", Zou & Donner 2008). It is exact
  where one source dominates, and needs no estimated degrees of freedom, which are too many where a
  source with few happens to look small.
- a share or an AUROC: Wilson's interval, with as many observations as have the variance found
  between clusters, and Student's t in place of the normal quantile. It stays inside [0, 1], and has
  a width where the share is 0 or 1.
- a difference of two AUROCs on the same clusters: from the limits of both and their correlation
  (Newcombe 1998), draws of heads added as above.
- a correlation: Fisher's z, with the jackknife over clusters.

A p value is where the interval just excludes the null. What has no variance has no interval: NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
LEAST_CLUSTERS = 8  # ours: with fewer clusters there is an interval but no verdict
LEAST_DRAWS = 3  # ours: with fewer draws of random heads there is no verdict about them
NOTHING = (float("nan"), float("nan"))
SMALLEST_P = 1e-15


class Source(NamedTuple):
    """A source of variance: the variance of the estimate because of it, degrees of freedom."""

    var: float
    df: float


def student(alpha: float, df: float) -> float:
    """The two-sided quantile of Student's t; NaN without degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - alpha / 2)) if df > 0 else float("nan")


def margin(sources: Sequence[Source], alpha: float = ALPHA) -> float:
    """Half the width of an interval of a mean; NaN where a variance is unknown, or all are 0.

    >>> round(margin([Source(0.25, 9)]), 3)
    1.131
    """
    total = sum(source.var for source in sources)
    if not total > 0:
        return float("nan")
    squares = [student(alpha, s.df) ** 2 * s.var for s in sources if s.var > 0 or s.var != s.var]
    return float(np.sqrt(sum(squares)))


def mean_limits(samples: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % limits of means over the first axis; NaN with one sample, or where all are alike."""
    n = len(samples)
    if n < 2:
        return np.full(samples.shape[1:], np.nan), np.full(samples.shape[1:], np.nan)
    mean, spread = (getattr(samples.astype(np.float64), of)(axis=0) for of in ("mean", "std"))
    wide = student(ALPHA, n - 1) * np.where(spread > 0, spread, np.nan) / np.sqrt(n - 1)
    return mean - wide, mean + wide


def share_limits(samples: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % limits of means of values in [0, 1]: Wilson's (:class:`Proportion`), which stay inside.

    >>> [round(float(limit), 3) for limit in share_limits(np.array([0.7, 1.0, 1.0]))]
    [0.266, 0.996]
    """
    low, high = mean_limits(samples)
    p, wide = samples.astype(np.float64).mean(axis=0), (high - low) / 2
    spread = wide**2 / (p * (1 - p))  # t² / n of Wilson's, with n = p (1 - p) / variance
    middle = (p + spread / 2) / (1 + spread)
    half = np.sqrt(wide**2 + spread**2 / 4) / (1 + spread)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        sources: of its variance.
        clusters: how many clusters it is of.
        draws: how many draws of random heads; 0 where none has a part in it.
    """

    value: float
    sources: tuple[Source, ...] = ()
    clusters: int = 0
    draws: int = 0

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The limits of the two-sided interval at 1 - ``alpha``; NaN where they are undefined."""
        wide = margin(self.sources, alpha)
        return self.value - wide, self.value + wide

    def p(self, null: float = 0.0) -> float:
        """Two-sided p of a true value of ``null``: where the interval just excludes it."""
        from scipy.optimize import brentq

        if not np.isfinite(self.interval()).all():
            return float("nan")
        if self.value == null:
            return 1.0
        end = 0 if self.value > null else 1

        def beyond(log_alpha: float) -> float:
            """How far the limit on the side of ``null`` is from it, towards the value."""
            limit = self.interval(float(np.exp(log_alpha)))[end]
            return limit - null if end == 0 else null - limit

        low, high = float(np.log(SMALLEST_P)), -1e-9
        if beyond(low) > 0:
            return SMALLEST_P
        if beyond(high) <= 0:
            return 1.0
        return float(np.exp(brentq(beyond, low, high, xtol=1e-7)))

    @property
    def why_no_verdict(self) -> str:
        """Why nothing may be decided from it; empty where something may."""
        if not np.isfinite(self.value):
            return "nothing was measured"
        if self.clusters < LEAST_CLUSTERS:
            return f"{self.clusters} of at least {LEAST_CLUSTERS} independent units"
        if 0 < self.draws < LEAST_DRAWS:
            return f"{self.draws} of at least {LEAST_DRAWS} draws of random heads"
        return "" if np.isfinite(self.interval()).all() else "no interval: it does not vary"


UNKNOWN = Estimate(float("nan"))


@dataclass(frozen=True)
class Proportion(Estimate):
    """A share, or a mean of values in [0, 1], such as an AUROC.

    Attributes:
        most: observations that it can be worth at most; infinite: as many as its variance says.
    """

    most: float = float("inf")

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Wilson's interval for the effective number of observations."""
        p = min(max(self.value, 0.0), 1.0)
        if not np.isfinite(self.value) or self.clusters < 2:
            return NOTHING
        var = sum(source.var for source in self.sources)
        if p in (0.0, 1.0):
            # Nothing is known of how clusters differ: each counts as one observation.
            n, t = float(self.clusters), student(alpha, self.clusters - 1)
        elif var > 0:
            n, t = min(p * (1 - p) / var, self.most), margin(self.sources, alpha) / np.sqrt(var)
        else:
            n, t = self.most, student(alpha, self.clusters - 1)
        if not (np.isfinite(n) and np.isfinite(t)):
            return NOTHING
        middle = (p + t**2 / (2 * n)) / (1 + t**2 / n)
        wide = t / (1 + t**2 / n) * np.sqrt(p * (1 - p) / n + (t / n) ** 2 / 4)
        low, high = float(middle - wide), float(middle + wide)
        return max(0.0, low) if p > 0 else 0.0, min(1.0, high) if p < 1 else 1.0


@dataclass(frozen=True)
class ProportionDifference(Estimate):
    """A difference of two shares of the same clusters; ``sources``: what draws of heads add.

    Attributes:
        first, second: the shares, by their clusters alone.
        correlation: of the two, over clusters.
    """

    first: Proportion = Proportion(float("nan"))
    second: Proportion = Proportion(float("nan"))
    correlation: float = 0.0

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Newcombe's hybrid interval, with the draws added as independent variance."""
        (lo_a, hi_a), (lo_b, hi_b) = (s.interval(alpha) for s in (self.first, self.second))
        a, b = self.first.value, self.second.value
        extra = margin(self.sources, alpha) ** 2 if any(s.var for s in self.sources) else 0.0
        down = _joined(a - lo_a, hi_b - b, self.correlation) + extra
        up = _joined(hi_a - a, b - lo_b, self.correlation) + extra
        return self.value - float(np.sqrt(down)), self.value + float(np.sqrt(up))


def _joined(a: float, b: float, correlation: float) -> float:
    return max(a * a + b * b - 2 * correlation * a * b, 0.0)


@dataclass(frozen=True)
class Correlation(Estimate):
    """A correlation; ``sources`` are of its Fisher's z."""

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The limits z ± margin as correlations; NaN where it is 1 or -1, or undefined."""
        if not abs(self.value) < 1:
            return NOTHING
        z, wide = np.arctanh(self.value), margin(self.sources, alpha)
        return float(np.tanh(z - wide)), float(np.tanh(z + wide))
