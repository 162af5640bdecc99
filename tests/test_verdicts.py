"""What may be said of a number: claims, their p values, and Holm's correction over a table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from airlens.statistics.estimates import LEAST_CLUSTERS, LEAST_DRAWS
from airlens.statistics.verdicts import Claim, claims_table, greater, why_not, within

P = st.floats(1e-6, 0.999)


def row(values: np.ndarray, **more: object) -> dict[str, object]:
    """A row of a table: the mean, its two-sided p by scipy, and the number of units."""
    found = stats.ttest_1samp(values, 0.0)
    return {"mean": values.mean(), "p": float(found.pvalue), "n": len(values), **more}


@settings(max_examples=25)
@given(st.lists(st.tuples(P, st.booleans()), min_size=1, max_size=12))
def test_verdicts_are_those_of_statsmodels(cases: list[tuple[float, bool]]) -> None:
    sides = [(p / 2, 1 - p / 2) if up else (1 - p / 2, p / 2) for p, up in cases]
    claims = [Claim(f"claim {i}", *pair, "") for i, pair in enumerate(sides)]
    table = claims_table(claims)
    decided, corrected, *_ = multipletests([p for p, _ in cases], alpha=0.05, method="holm")
    assume(np.abs(corrected - 0.05).min() > 1e-9)  # there the last digit decides
    np.testing.assert_allclose(table["p_holm"], corrected)
    wanted = [
        ("holds" if up else "fails") if now else "undecided"
        for (_, up), now in zip(cases, decided, strict=True)
    ]
    assert list(table["verdict"]) == wanted
    assert list(table["holds"]) == [verdict == "holds" for verdict in wanted]


def test_a_p_value_at_the_level_is_decided() -> None:
    """A test at level .05 rejects at p <= .05, alone and after Holm (as statsmodels does)."""
    level = Claim("a", 0.025, 0.975, "")
    assert list(claims_table([level])["verdict"]) == ["holds"]
    assert multipletests([0.05], alpha=0.05, method="holm")[0].all()


def test_the_same_evidence_holds_alone_and_not_among_many() -> None:
    claim = Claim("a", 0.01, 0.99, "")
    assert list(claims_table([claim])["verdict"]) == ["holds"]
    among = [claim, *(Claim(f"b{i}", 0.4, 0.6, "") for i in range(9))]
    assert claims_table(among)["verdict"].iloc[0] == "undecided"


def test_a_claim_without_a_test_is_no_test() -> None:
    claim = Claim("a", 0.01, 0.99, "")
    untold = [Claim(f"b{i}", 1e-9, 1.0, "it is", "too few") for i in range(9)]
    table = claims_table([claim, *untold])
    assert list(table["verdict"]) == ["holds", *["no verdict"] * 9]
    assert table["p_holm"].iloc[0] == pytest.approx(0.02)  # of one test, not of ten
    assert table["evidence"].iloc[1] == "it is (too few)"
    assert table["p"].iloc[1:].isna().all()


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_greater_takes_the_side_that_the_number_is_on(shift: float) -> None:
    values = np.random.default_rng(0).normal(shift, 1.0, 20)
    one = greater("above", row(values), "", value="mean")
    assert one.against == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert one.favour == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue)
    assert claims_table([one])["verdict"].iloc[0] == ("holds" if shift > 0 else "fails")


def test_few_units_or_few_draws_decide_nothing() -> None:
    values = np.random.default_rng(0).normal(5.0, 0.1, LEAST_CLUSTERS)
    assert why_not(row(values)) == ""
    assert "independent units" in why_not(row(values[:-1]))
    assert "draws of random heads" in why_not(row(values, draws=LEAST_DRAWS - 1))
    assert why_not(row(values, draws=LEAST_DRAWS)) == ""
    assert why_not(row(values) | {"p": np.nan}) == "the interval is undefined"
    few = greater("above", row(values[:-1]), "", value="mean")
    assert claims_table([few])["verdict"].iloc[0] == "no verdict"


@pytest.mark.parametrize(
    ("rho", "half", "verdict"),
    [(0.0, 0.1, "holds"), (0.0, 0.5, "undecided"), (0.9, 0.1, "fails"), (-0.9, 0.1, "fails")],
)
def test_a_correlation_is_small_where_its_whole_interval_is(
    rho: float, half: float, verdict: str
) -> None:
    middle = np.arctanh(rho)
    ends = {"lo": np.tanh(middle - half), "hi": np.tanh(middle + half)}
    claim = within("small", {"rho": rho, "n": 40, **ends}, "", 0.3)
    assert claims_table([claim])["verdict"].iloc[0] == verdict


def test_no_claims_make_an_empty_table() -> None:
    table = claims_table([])
    assert table.empty
    assert list(table) == ["claim", "verdict", "holds", "evidence", "p", "p_holm"]


def test_true_nulls_are_rarely_decided() -> None:
    """Of tables of ten claims that are all on the edge, 5 % or fewer decide any."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        rows = [row(rng.normal(0.0, 1.0, 12)) for _ in range(10)]
        table = claims_table(greater(f"{i}", r, "", value="mean") for i, r in enumerate(rows))
        wrong += bool(table["verdict"].isin(["holds", "fails"]).any())
    assert stats.binomtest(wrong, 200, 0.05, alternative="greater").pvalue > 0.01
