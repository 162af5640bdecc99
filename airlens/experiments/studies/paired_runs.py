"""Differences between two ways to train, over training seeds and over test problems.

The model of one setting: the value of a problem after a run is the sum of the arm (fixed), the
problem, arm × problem, the run (a seed of an arm) and the rest, all but the first random. Every run
answers the same problems, so the components are those of REML in closed form: mean squares of runs
and of runs × problems.

A difference of two arms varies because of the problems (the spread of its gaps over problems,
P - 1 degrees of freedom) and because of the runs. The variance of runs is pooled over the arms of
one kind, those that train on the same data with every seed and those that draw other data: few
seeds of one arm say little about it, those of all arms together do. An arm whose runs vary out of
line with its kind stands alone. Both parts enter an interval with their own degrees of freedom
(:mod:`airlens.statistics.estimates`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from airlens.statistics.estimates import ALPHA, Estimate, Source, margin
from airlens.statistics.grids import variances
from airlens.statistics.several import holm

Array = NDArray[np.float64]
LEAST_SEEDS = 3  # ours: with fewer no difference is tested
OUT_OF_LINE = 0.01  # ours: level of the test that takes an arm out of the pool of its kind
POWER = 0.8


class RunVariance(NamedTuple):
    """How much runs of an arm vary.

    Attributes:
        run: variance of a run's mean that no problem explains; NaN with one run.
        noise: variance of a run's mean because of run × problem.
        df: degrees of freedom of ``run``.
        pool: name of the arms that it is pooled over.
    """

    run: float
    noise: float
    df: float
    pool: str


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean difference of two arms; the first source is the problems, the others are runs.

    Attributes:
        n_seeds: runs of the arm that has fewer.
        noise: the part of the problems' variance that more runs reduce.
    """

    n_seeds: int = 1
    noise: float = 0.0

    def p(self, null: float = 0.0) -> float:
        """Two-sided p of no difference; NaN with fewer than ``LEAST_SEEDS`` seeds."""
        return super().p(null) if self.n_seeds >= LEAST_SEEDS else float("nan")

    def with_seeds(self, n: int) -> tuple[Source, ...]:
        """The variances to expect with ``n`` runs of each arm."""
        problems, *runs = self.sources
        fewer = self.n_seeds / n
        more = max(0.0, problems.var - self.noise) + self.noise * fewer
        df = (n - 1) / (self.n_seeds - 1)
        return Source(more, problems.df), *(Source(s.var * fewer, s.df * df) for s in runs)

    def smallest_seen(self, alpha: float = ALPHA, n_seeds: int | None = None) -> float:
        """Smallest true difference that ``n_seeds`` seeds detect with 80 % power at ``alpha``."""
        n = self.n_seeds if n_seeds is None else n_seeds
        if self.n_seeds < 2 or n < 2:
            return float("nan")
        return detectable(self.with_seeds(n), alpha)

    def seeds_needed(self, size: float, alpha: float = ALPHA, most: int = 200) -> float:
        """Seeds per arm needed to detect a difference of ``size``; NaN: more than ``most``.

        NaN also where more seeds cannot help because the problems are too few.
        """
        if self.n_seeds < 2 or not self.smallest_seen(alpha, most) <= size:
            return float("nan")
        low, high = LEAST_SEEDS - 1, most  # it falls with every seed
        while high - low > 1:
            middle = (low + high) // 2
            seen = self.smallest_seen(alpha, middle) <= size
            low, high = (low, middle) if seen else (middle, high)
        return float(high)


def detectable(sources: Sequence[Source], alpha: float = ALPHA, power: float = POWER) -> float:
    """The true value that a test at ``alpha`` finds with this power, by the noncentral t."""
    from scipy.optimize import brentq
    from scipy.stats import nct

    total = sum(s.var for s in sources)
    if not total > 0:
        return float("nan")
    error = float(np.sqrt(total))
    limit = margin(sources, alpha) / error
    df = total**2 / sum(s.var**2 / s.df for s in sources)  # Satterthwaite's, for the spread of t

    def missing(size: float) -> float:
        return float(nct.sf(limit, df, size) - power)

    high = limit + 1
    while missing(high) < 0:
        high *= 2
    return float(brentq(missing, 0, high)) * error


def run_variances(
    values: Mapping[str, Array],
    weights: Array | None = None,
    drawn: Collection[str] = (),
) -> dict[str, RunVariance]:
    """How much runs of each arm vary, pooled over the arms of its kind.

    Args:
        values: [n_seeds, n_problems] of each arm, the same problems in the same order.
        weights: [n_problems], see :func:`paired_runs`.
        drawn: the arms that train on other data with every seed.
    """
    found: dict[str, RunVariance] = {}
    for kind in ("drawn", "fixed"):
        arms = [arm for arm in values if (arm in drawn) == (kind == "drawn")]
        squares = {arm: _mean_squares(values[arm], weights) for arm in arms}
        many = {arm: own for arm, own in squares.items() if own.df > 0}
        for pool, members in _pools(many, kind):
            df = sum(many[arm].df for arm in members)
            run, noise = (
                sum(getattr(many[arm], name) * many[arm].df for arm in members) / df
                for name in ("run", "noise")
            )
            shared = RunVariance(max(0.0, run - noise), noise, df, pool)
            found |= dict.fromkeys(members, shared)
            if pool == kind:  # an arm with one run varies as its kind does
                found |= {arm: shared for arm in arms if arm not in many}
    unknown = RunVariance(float("nan"), float("nan"), 0, "")
    return {arm: found.get(arm, unknown) for arm in values}


def _mean_squares(values: Array, weights: Array | None) -> RunVariance:
    """Mean squares of an arm's runs, and of runs × problems, of the mean of one run."""
    own, size = _per_problem(values, weights)
    n, p = own.shape
    if n < 2 or p < 2:
        return RunVariance(float("nan"), float("nan"), 0, "")
    away = own - own.mean(axis=0)
    means = away.mean(axis=1, keepdims=True)
    rest = away - means * size
    noise = float((rest**2).sum()) / ((n - 1) * (p - 1)) / p
    return RunVariance(float((means**2).sum()) / (n - 1), noise, n - 1, "")


def _pools(many: Mapping[str, RunVariance], kind: str) -> Iterator[tuple[str, list[str]]]:
    """The arms pooled under the name of their kind, and those that stand alone.

    Cochran's test: the arm with the largest mean square against the others.
    """
    from scipy.stats import f

    left = list(many)
    while len(left) > 2:
        worst = max(left, key=lambda arm: many[arm].run)
        others = [many[arm] for arm in left if arm != worst]
        df = sum(own.df for own in others)
        pooled = sum(own.run * own.df for own in others) / df
        if not pooled > 0:
            break
        p = len(left) * f.sf(many[worst].run / pooled, many[worst].df, df)
        if p >= OUT_OF_LINE:
            break
        left.remove(worst)
        yield worst, [worst]
    if left:
        yield kind, left


def _per_problem(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Values whose mean over problems is the arm's number, and the problems' relative sizes."""
    own = np.asarray(values, np.float64)
    if weights is None:
        return own, np.ones(own.shape[1])
    size = np.asarray(weights, np.float64)
    return own / size.mean(), size / size.mean()


def difference(
    ours: Array,
    theirs: Array,
    of_runs: tuple[RunVariance, RunVariance],
    weights: Array | None = None,
) -> Difference:
    """Mean of ``ours`` minus that of ``theirs``.

    Args:
        ours: [n_seeds, n_problems].
        theirs: [n_seeds, n_problems], perhaps of other seeds; the columns are the same problems.
        of_runs: of either arm, from :func:`run_variances`.
        weights: as in :func:`paired_runs`.
    """
    (one, size), (other, _) = _per_problem(ours, weights), _per_problem(theirs, weights)
    gap = one.mean(axis=0) - other.mean(axis=0)
    value, n = float(gap.mean()), len(gap)
    parts: dict[str, Source] = {}
    for own, values in zip(of_runs, (one, other), strict=True):
        known = parts.get(own.pool, Source(0.0, own.df))
        parts[own.pool] = Source(known.var + own.run / len(values), own.df)
    problems = variances((gap - value * size)[:, None])[0]
    noise = sum(v.noise / len(x) for v, x in zip(of_runs, (one, other), strict=True))
    seeds = min(len(one), len(other))
    return Difference(
        value, (problems, *parts.values()), n, n_seeds=seeds, noise=min(noise, problems.var)
    )


def paired_runs(ours: Array, theirs: Array, weights: Array | None = None) -> Difference:
    """Mean of ``ours - theirs``, where no other arms tell how much runs vary.

    Args:
        ours: [n_seeds, n_problems].
        theirs: [n_seeds, n_problems]; the columns are the same problems.
        weights: [n_problems]: the mean is sum(gap) / sum(weights), as of NLL over tokens; None: a
            mean over problems.
    """
    both = {"ours": np.asarray(ours, np.float64), "theirs": np.asarray(theirs, np.float64)}
    known = run_variances(both, weights)
    return difference(both["ours"], both["theirs"], (known["ours"], known["theirs"]), weights)


def difference_rows(
    pairs: Sequence[tuple[dict[str, Any], Difference]], alpha: float = ALPHA
) -> pd.DataFrame:
    """A table of differences, tested together; those that cannot be tested count nowhere.

    Args:
        pairs: the names of a row (columns and values), and its difference.
        alpha: probability of any false finding in the table.

    Returns:
        The names, then difference, lo, hi (95 %, each row alone), n_seeds, p, p_holm, decided,
        smallest_seen (80 % power at the first step of Holm), seeds_needed (an arm, to decide a
        difference as large as the one seen).
    """
    tested = [gap.p() if not gap.why_no_verdict else float("nan") for _, gap in pairs]
    corrected = holm(tested)
    strict = alpha / max(1, int(np.isfinite(tested).sum()))
    rows = []
    for (names, gap), p, p_holm in zip(pairs, tested, corrected, strict=True):
        lo, hi = gap.interval(alpha)
        row = {**names, "difference": gap.value, "lo": lo, "hi": hi, "n_seeds": gap.n_seeds}
        row |= {"p": p, "p_holm": p_holm, "decided": bool(p_holm <= alpha)}
        row["smallest_seen"] = gap.smallest_seen(strict)
        row["seeds_needed"] = gap.seeds_needed(abs(gap.value), strict)
        rows.append(row)
    return pd.DataFrame(rows)
