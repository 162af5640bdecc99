"""Differences over seeds and problems, against exact resampling, loops and known numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from airlens.training.paired_runs import Difference, difference_rows, holm, paired_runs


def exact_variances(gap: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """Variance over all resamples of (seeds and problems, problems alone), each equally likely."""
    seeds, problems = range(gap.shape[0]), range(gap.shape[1])
    both, one = [], []
    for drawn in product(problems, repeat=len(problems)):
        weight = sum(size[j] for j in drawn)
        one.append(sum(gap[i][j] for i in seeds for j in drawn) / len(seeds) / weight)
        for runs in product(seeds, repeat=len(seeds)):
            both.append(sum(gap[i][j] for i in runs for j in drawn) / len(seeds) / weight)
    return float(np.var(both)), float(np.var(one))


def test_variances_of_all_resamples() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    size = np.array([1.0, 2.0, 4.0, 3.0])
    found = paired_runs(ours, theirs, size, draws=60_000)
    both, problems = exact_variances(ours - theirs, size)
    assert found.value == pytest.approx((ours - theirs).mean(axis=0).sum() / 10)
    assert found.var_problems == pytest.approx(problems, rel=0.03)
    assert found.var_seeds == pytest.approx((both - problems) * 3 / 2, rel=0.08)


def test_against_a_loop_with_shares() -> None:
    """A second way: draw seeds and problems one by one; 0/1 outcomes as of answers."""
    rng = np.random.default_rng(0)
    ours = (rng.random((5, 30)) < 0.7).astype(float)
    theirs = (rng.random((5, 30)) < 0.5).astype(float)
    found = paired_runs(ours, theirs, draws=8000)
    means = []
    for _ in range(8000):
        runs, problems = rng.integers(0, 5, 5), rng.integers(0, 30, 30)
        means.append(np.mean([[ours[i, j] - theirs[i, j] for j in problems] for i in runs]))
    assert found.var_seeds * 4 / 5 + found.var_problems == pytest.approx(np.var(means), rel=0.1)


def test_pairs_of_equal_runs_have_no_error() -> None:
    runs = np.random.default_rng(0).random((4, 10))
    same = paired_runs(runs, runs)
    assert (same.value, same.error, same.p) == (0.0, 0.0, 1.0)
    # A gap that is the same everywhere is sure, whatever the problems.
    sure = paired_runs(runs + 0.25, runs)
    assert sure.value == pytest.approx(0.25)
    assert sure.error == pytest.approx(0.0, abs=1e-9)
    assert sure.p < 1e-6


def test_false_findings_are_as_rare_as_said() -> None:
    """No difference: the 95 % interval leaves 0 out in about 5 % of studies."""
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        hard = rng.normal(size=24)
        ours, theirs = (
            rng.normal(size=(5, 1)) * 0.5 + hard + rng.normal(size=(5, 24)) for _ in "ab"
        )
        lo, hi = paired_runs(ours, theirs, draws=400).interval()
        missed += not lo <= 0 <= hi
    assert missed / 300 < 0.08


def test_one_seed_decides_nothing() -> None:
    gap = paired_runs(np.ones((1, 20)), np.zeros((1, 20)))
    assert np.isnan(gap.p)
    assert np.isnan(gap.interval()).all()
    table = difference_rows([({"arm": "a"}, gap)])
    assert not table["decided"].any()


def test_holm_by_known_numbers() -> None:
    # Those of R's p.adjust(c(.01, .02, .03, .04, .05), "holm") and of its help page's order.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.001, 0.9]) == pytest.approx([0.08, 0.003, 0.9])
    with_unknown = holm([0.01, float("nan"), 0.04])
    assert with_unknown[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_unknown[1])


def test_power_by_simulation() -> None:
    """A difference of the size that is said to be seen is found in about 80 % of studies."""
    known = Difference(0.0, 6, var_seeds=0.09 / 6, var_problems=0.0)
    size = known.smallest_seen()
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(2000):
        values = rng.normal(size, 0.3, 6)
        t = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(6))
        found += t > 2.571  # Student's t, 5 degrees of freedom
    assert 0.74 < found / 2000 < 0.86


def test_seeds_needed() -> None:
    gap = Difference(0.1, 4, var_seeds=0.01, var_problems=0.0)
    n = gap.seeds_needed(0.1)
    assert gap.smallest_seen(n_seeds=int(n)) <= 0.1 < gap.smallest_seen(n_seeds=int(n) - 1)
    # More seeds do not help where the problems are too few.
    assert np.isnan(Difference(0.1, 4, 0.01, 0.04).seeds_needed(0.1))
