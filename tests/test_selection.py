"""Selection: by every selector, within groups, with ties and missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlens.errors import ConfigError, DataError
from airlens.selection.overlap import overlap
from airlens.selection.select import SELECTORS, select


def frame(n: int = 10, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": [f"s{i}" for i in range(n)], "domain": ["a", "b"] * (n // 2)}
    names = ("ais", "delta", "ais_control", "n_tokens", "loss_base", "entropy", "ifd")
    for name in (*names, "gain", "depends", "ais_novel", "rsr", "lalp", "fai", "waad", "circuit"):
        columns[name] = rng.permutation(n).astype(float)
    return pd.DataFrame(columns)


@pytest.mark.parametrize("by", sorted(SELECTORS))
def test_the_highest_are_kept(by: str) -> None:
    column, sign = SELECTORS[by].column, SELECTORS[by].sign
    samples = frame()
    chosen = select(samples, by, 3, within=None)
    expected = (samples[column] * sign).sort_values(ascending=False).index[:3]
    assert chosen.ids == list(samples["id"][expected])


def test_within_domain_ranks_only_within() -> None:
    samples = frame()
    samples.loc[samples["domain"] == "b", "ais"] += 100
    chosen = select(samples, "ais", 0.4)
    assert chosen.chosen["domain"].value_counts().to_dict() == {"a": 2, "b": 2}
    assert select(samples, "ais", 0.4, within=None).chosen["domain"].unique().tolist() == ["b"]


def test_no_row_is_dropped_and_nan_is_never_selected() -> None:
    samples = frame()
    samples.loc[:7, "ais"] = np.nan
    result = select(samples, "ais", 5, within=None)
    assert len(result.samples) == 10
    assert sorted(result.ids) == ["s8", "s9"]
    assert sorted(result.samples["rank_in_group"]) == list(range(1, 11))


def test_random_is_seeded_and_does_not_depend_on_row_order() -> None:
    samples = frame()
    first = select(samples, "random", 0.4, seed=1).ids
    shuffled = samples.sample(frac=1, random_state=3)
    assert set(select(shuffled, "random", 0.4, seed=1).ids) == set(first)
    assert set(select(samples, "random", 0.4, seed=2).ids) != set(first)


def test_any_numeric_column_can_rank() -> None:
    samples = frame().assign(mine=range(10))
    assert select(samples, "mine", 1, within=None).ids == ["s9"]


@pytest.mark.parametrize("bad", [{"by": "no"}, {"by": "id"}, {"top": 0}, {"top": 1.5}])
def test_bad_arguments(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"by=|top="):
        select(frame(), **bad)


def test_missing_group_column() -> None:
    with pytest.raises(DataError, match="'topic'"):
        select(frame(), within="topic")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.floats(0.01, 1))
def test_counts_and_thresholds(values: list[int], top: float) -> None:
    samples = pd.DataFrame({"id": [f"{i:02}" for i in range(len(values))], "ais": values})
    result = select(samples, "ais", top, within=None)
    assert len(result.ids) == max(1, round(len(values) * top))
    kept = result.samples.loc[result.samples["selected"], "ais"]
    left = result.samples.loc[~result.samples["selected"], "ais"]
    assert left.empty or kept.min() >= left.max()


def test_overlap_is_jaccard() -> None:
    samples = frame().assign(length=0.0)
    samples["n_tokens"] = samples["ais"]
    samples["loss_base"] = -samples["ais"]
    table = overlap(samples, ("ais", "length", "loss"), (0.4,), within=None)
    values = table.set_index(["a", "b"])["jaccard"]
    assert values["ais", "length"] == 1
    assert values["ais", "loss"] == 0
    assert len(table) == 9


# --- quotas, budgets, lengths


@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
@settings(max_examples=25, deadline=None)
def test_length_matched_takes_the_same_share_of_each_stretch(seed: int, top: float) -> None:
    samples = frame(200, seed)
    chosen = select(samples, "ais", top, length_matched=True).chosen
    for domain, rows in samples.groupby("domain"):
        kept = chosen[chosen["domain"] == domain]
        assert len(kept) == max(1, round(top * len(rows)))
        bins = min(10, len(kept))  # tenths, or as many stretches as samples are wanted
        stretch = rows["n_tokens"].rank().sub(1).mul(bins).floordiv(len(rows))
        counts = stretch.loc[kept.index].value_counts().reindex(range(bins), fill_value=0)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10])
def test_a_few_are_the_best_of_as_many_stretches(k: int) -> None:
    samples = frame(100).assign(n_tokens=np.arange(100.0))
    chosen = select(samples, "loss", k, within=None, length_matched=True).chosen
    stretch = np.floor(samples["n_tokens"] * k / 100)
    best = samples.loc[samples.groupby(stretch)["loss_base"].idxmax()]
    assert set(chosen["id"]) == set(best["id"])


def test_what_is_left_over_is_spread_over_the_lengths() -> None:
    samples = frame(100).assign(n_tokens=np.arange(100.0))
    chosen = select(samples, "loss", 14, within=None, length_matched=True).chosen
    counts = np.floor(chosen["n_tokens"] / 10).value_counts().sort_index()
    assert (len(chosen), set(counts)) == (14, {1, 2})
    halves = counts.iloc[:5].sum(), counts.iloc[5:].sum()
    assert abs(halves[0] - halves[1]) <= 1


def test_within_a_tenth_the_best_are_kept() -> None:
    samples = frame(200)
    chosen = select(samples, "ais", 0.3, within=None, length_matched=True).samples
    tenth = chosen["n_tokens"].rank().sub(1).floordiv(20)
    for _, rows in chosen.groupby(tenth):
        assert rows.loc[rows["selected"], "ais"].min() > rows.loc[~rows["selected"], "ais"].max()


def test_quotas_rule_their_domain_only() -> None:
    samples = frame(40)
    chosen = select(samples, "ais", 0.5, quotas={"a": 3}).chosen
    assert chosen["domain"].value_counts().to_dict() == {"b": 10, "a": 3}
    none = select(samples, "ais", 0.5, quotas={"a": 0}).chosen
    assert none["domain"].unique().tolist() == ["b"]
    with pytest.raises(ConfigError, match="none of: a, b"):
        select(samples, "ais", quotas={"c": 3})


@given(st.integers(1, 30_000), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_token_budget_is_never_exceeded(budget: int, matched: bool, grouped: bool) -> None:
    samples = frame(200)
    within = "domain" if grouped else None
    chosen = select(samples, tokens=budget, within=within, length_matched=matched).chosen
    assert chosen["n_tokens"].sum() <= budget


def test_a_token_budget_is_filled_from_the_best() -> None:
    samples = frame(200).assign(n_tokens=10)
    chosen = select(samples, tokens=305, within=None)
    assert chosen.ids == select(samples, top=30, within=None).ids


def test_a_loss_floor_keeps_the_certain_out() -> None:
    samples = frame(20)
    chosen = select(samples, "loss_low", 5, within=None, min_loss=7.0).chosen
    assert sorted(chosen["loss_base"]) == [7, 8, 9, 10, 11]


def test_random_is_compared_by_several_draws() -> None:
    samples = frame().assign(n_tokens=lambda x: x["ais"])
    table = overlap(samples, ("ais", "random"), (0.4,), within=None, seed=3)
    row = table.set_index(["a", "b"]).loc[("ais", "random")]
    drawn = [set(select(samples, "random", 0.4, within=None, seed=3 + i).ids) for i in range(3)]
    best = set(select(samples, "ais", 0.4, within=None).ids)
    shares = [len(best & d) / len(best | d) for d in drawn]
    assert row["jaccard"] == pytest.approx(sum(shares) / 3)
    assert (row["lo"], row["hi"]) == (min(shares), max(shares))
    itself = table.set_index(["a", "b"]).loc[("random", "random"), "jaccard"]
    pairs = [(0, 1), (0, 2), (1, 2)]
    want = [len(drawn[a] & drawn[b]) / len(drawn[a] | drawn[b]) for a, b in pairs]
    assert itself == pytest.approx(sum(want) / 3)
