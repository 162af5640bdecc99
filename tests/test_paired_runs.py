"""Differences over seeds and problems, against REML, simulations and known numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from airlens.experiments.studies.paired_runs import (
    Difference,
    RunVariance,
    detectable,
    difference,
    difference_rows,
    paired_runs,
    run_variances,
)
from airlens.statistics.estimates import Source
from airlens.statistics.several import holm


def study(
    rng: np.random.Generator,
    arms: int,
    seeds: int,
    problems: int,
    share: float,
    noise: float = 1.0,
) -> dict[str, np.ndarray]:
    """Arms that do not differ, whose runs make this share of the variance of a difference."""
    of_problems = 2 / problems + 2 * noise**2 / (seeds * problems)
    of_runs = share / (1 - share) * of_problems * seeds / 2
    hard = 2 * rng.normal(size=problems)
    return {
        f"arm {i}": hard
        + rng.normal(size=problems)
        + np.sqrt(of_runs) * rng.normal(size=(seeds, 1))
        + noise * rng.normal(size=(seeds, problems))
        for i in range(arms)
    }


def gaps_of(values: dict[str, np.ndarray]) -> list[Difference]:
    known = run_variances(values)
    first = next(iter(values))
    return [
        difference(own, values[first], (known[arm], known[first]))
        for arm, own in values.items()
        if arm != first
    ]


def test_variances_are_those_of_reml() -> None:
    """Every run answers the same problems: moments and the mixed model agree to the digit."""
    statsmodels = pytest.importorskip("statsmodels.formula.api")
    values = study(np.random.default_rng(1), 3, 4, 12, 0.5, noise=0.4)
    rows = [
        {"arm": arm, "run": f"{arm} {i}", "problem": f"p{j}", "both": f"{arm} p{j}", "y": y}
        for arm, grid in values.items()
        for i, row in enumerate(grid)
        for j, y in enumerate(row)
    ]
    parts = {name: f"0 + C({name})" for name in ("run", "problem", "both")}
    frame = pd.DataFrame(rows).assign(one=1)
    fit = statsmodels.mixedlm("y ~ C(arm)", frame, groups="one", vc_formula=parts).fit(reml=True)
    found = run_variances(values)["arm 0"]
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert found.run == pytest.approx(reml["run"], rel=1e-3)
    assert found.noise * 12 == pytest.approx(fit.scale, rel=1e-3)
    assert found.df == 3 * 3
    # The mixed model pools arm × problem over arms, a difference here has its own.
    gaps = gaps_of(values)
    pooled = np.mean([gap.sources[0].var for gap in gaps])
    assert pooled + gaps[0].sources[1].var == pytest.approx(
        fit.bse["C(arm)[T.arm 1]"] ** 2, rel=0.3
    )


def test_one_problem_each_is_the_paired_t_test() -> None:
    """Without a spread of runs, the difference is the t test over problems."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(1, 30)), rng.normal(size=(1, 30))
    runs = RunVariance(0.0, 0.0, 9, "fixed")
    gap = difference(ours, theirs, (runs, runs))
    test = ttest_rel(ours[0], theirs[0])
    low, high = test.confidence_interval()
    assert gap.interval() == pytest.approx((low, high))
    assert Difference.__mro__[1].p(gap) == pytest.approx(test.pvalue, rel=1e-6)


def test_weights_make_it_a_mean_over_tokens() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(size=(3, 40)), rng.normal(size=(3, 40))
    size = rng.integers(1, 9, 40).astype(float)
    found = paired_runs(ours, theirs, size)
    assert found.value == pytest.approx((ours - theirs).mean(axis=0).sum() / size.sum())
    alike = paired_runs(ours * 5, theirs * 5, np.full(40, 5.0))
    plain = paired_runs(ours, theirs)
    assert alike.value == pytest.approx(plain.value)
    assert alike.interval() == pytest.approx(plain.interval())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_as_they_say_and_findings_are_as_rare(seeds: int, share: float) -> None:
    """`benchmarks/coverage.py` has the whole table."""
    rng = np.random.default_rng(1)
    inside, false = [], 0
    for _ in range(150):
        gaps = gaps_of(study(rng, 8, seeds, 50, share))
        inside += [gap.interval()[0] <= 0 <= gap.interval()[1] for gap in gaps]
        strict = [gap.interval(0.05 / len(gaps)) for gap in gaps]
        false += any(low > 0 or high < 0 for low, high in strict)
    assert 0.92 < np.mean(inside) < 0.98
    assert false / 150 < 0.09


def test_arms_that_draw_their_data_vary_on_their_own() -> None:
    rng = np.random.default_rng(0)
    values = study(rng, 9, 5, 40, 0.5)
    values["arm 0"] = values["arm 0"] + 3 * rng.normal(size=(5, 1))
    known = run_variances(values, drawn=["arm 0"])
    assert known["arm 0"].pool == "drawn"
    assert known["arm 0"].df == 4
    assert {known[f"arm {i}"].df for i in range(1, 9)} == {32}
    assert known["arm 0"].run > 10 * known["arm 1"].run
    gap = difference(values["arm 1"], values["arm 0"], (known["arm 1"], known["arm 0"]))
    assert [source.df for source in gap.sources] == [39, 32, 4]


def test_an_arm_out_of_line_stands_alone() -> None:
    rng = np.random.default_rng(0)
    values = study(rng, 9, 5, 40, 0.5)
    quiet = run_variances(values)
    assert {own.pool for own in quiet.values()} == {"fixed"}
    values["arm 4"] = values["arm 4"] + 5 * rng.normal(size=(5, 1))
    known = run_variances(values)
    assert known["arm 4"].pool == "arm 4"
    assert known["arm 4"].df == 4
    assert known["arm 1"].df == 32


def test_an_arm_with_one_run_varies_as_its_kind() -> None:
    values = study(np.random.default_rng(0), 4, 3, 30, 0.5)
    values["arm 3"] = values["arm 3"][:1]
    known = run_variances(values)
    assert known["arm 3"] == known["arm 1"]
    gap = difference(values["arm 3"], values["arm 0"], (known["arm 3"], known["arm 0"]))
    assert np.isfinite(gap.interval()).all()
    assert np.isnan(gap.p())  # one seed
    alone = run_variances({"a": values["arm 3"], "b": values["arm 3"]})
    assert np.isnan(alone["a"].run)


def test_what_does_not_vary_is_undefined() -> None:
    runs = np.random.default_rng(0).random((4, 10))
    for by in (0.0, 0.25):
        same = paired_runs(runs + by, runs)
        assert same.value == pytest.approx(by)
        assert np.isfinite(same.p()) or np.isnan(same.interval()).all()
    sure = paired_runs(np.ones((4, 10)), np.zeros((4, 10)))
    assert np.isnan(sure.interval()).all()
    assert sure.why_no_verdict


def test_one_seed_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    gap = paired_runs(rng.random((1, 20)) + 5, rng.random((1, 20)))
    assert np.isnan(gap.p())
    assert np.isnan(gap.interval()).all()
    table = difference_rows([({"arm": "a"}, gap)])
    assert not table["decided"].any()


def test_what_is_not_tested_counts_nowhere() -> None:
    """Neither in Holm's correction nor in the level at which the power is said."""
    rng = np.random.default_rng(0)
    gap = paired_runs(rng.random((3, 20)) + 0.1, rng.random((3, 20)))
    alone = difference_rows([({"arm": "a"}, gap)]).iloc[0]
    untested = paired_runs(rng.random((1, 20)), rng.random((1, 20)))
    beside = difference_rows([({"arm": "a"}, gap), ({"arm": "b"}, untested)]).iloc[0]
    for name in ("p_holm", "smallest_seen"):
        assert alone[name] == beside[name]


def test_holm_by_known_numbers() -> None:
    # Those of R's p.adjust(c(.01, .02, .03, .04, .05), "holm") and of its help page's order.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.001, 0.9]) == pytest.approx([0.08, 0.003, 0.9])
    with_unknown = holm([0.01, float("nan"), 0.04])
    assert with_unknown[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_unknown[1])


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(50) ** 3
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


@pytest.mark.parametrize("df", [2, 6, 60])
def test_power_by_simulation(df: int) -> None:
    """A difference of the size that is said to be seen is found in about 80 % of studies."""
    size = detectable([Source(1.0, df)], alpha=0.01)
    rng = np.random.default_rng(0)
    error = np.sqrt(rng.chisquare(df, 20_000) / df)
    from scipy.stats import t

    found = np.abs(size + rng.normal(size=20_000)) > t.isf(0.005, df) * error
    assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_seeds_needed() -> None:
    sources = (Source(0.0001, 99), Source(0.01, 30))
    gap = Difference(0.2, sources, 100, n_seeds=4)
    n = gap.seeds_needed(0.2)
    assert gap.smallest_seen(n_seeds=int(n)) <= 0.2 < gap.smallest_seen(n_seeds=int(n) - 1)
    # More seeds do not help where the problems are too few.
    few = (Source(0.04, 99), Source(0.01, 30))
    assert np.isnan(Difference(0.1, few, 100, n_seeds=4).seeds_needed(0.1))
