"""D9, D10, D15: what ``select`` takes, and what it says where it cannot do what was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import airlens as al
from airlens.errors import AirlensError, ConfigError, DataError, HeadError
from airlens.heads import Head, HeadSet
from airlens.selection import contrast


def frame(n: int = 10, start: int = 0, **columns: Any) -> pd.DataFrame:
    ids = [f"s{start + i:04}" for i in range(n)]
    given = {"id": ids, "domain": "a", "ais": np.arange(n, dtype=float), "n_tokens": 5}
    return pd.DataFrame({**given, **columns})


def test_d10_two_results_concatenated() -> None:
    both = pd.concat([frame(6), frame(6, start=6)])
    assert not both.index.is_unique
    chosen = al.select(both, top=3, within=None)
    plain = al.select(both.reset_index(drop=True), top=3, within=None)
    assert chosen.ids == plain.ids == ["s0005", "s0011", "s0004"]
    assert list(chosen.samples.index) == list(both.index)
    for options in ({"length_matched": True}, {"tokens": 20}, {"by": "random"}):
        again = al.select(both, **{"top": 0.5, **options})  # type: ignore[arg-type]
        assert again.ids == al.select(both.reset_index(drop=True), **{"top": 0.5, **options}).ids  # type: ignore[arg-type]
    named = both.set_axis([f"row {i % 4}" for i in range(12)])
    assert al.select(named, top=3, within=None, residual_on=["n_tokens"]).ids


BAD_FRAMES = [
    (pd.concat([frame(3), frame(3)]), "'s0000' is there more than once"),
    (frame(3).drop(columns="id"), "field 'id': no such column"),
    (pd.concat([frame(3), frame(3)], axis=1), "field 'id': two columns have this name"),
    (frame(3, id=["a", None, "b"]), "a row has no id"),
    (pd.DataFrame(), "no such column"),
    (frame(3).to_dict("records"), "found a list"),
    (None, "found a NoneType"),
]


@pytest.mark.parametrize(("samples", "said"), BAD_FRAMES)
def test_d10_what_is_no_table_of_samples(samples: Any, said: str) -> None:
    with pytest.raises(AirlensError, match=said):
        al.select(samples, within=None)


def test_d10_an_empty_table_has_an_empty_selection() -> None:
    for options in ({}, {"tokens": 5}, {"length_matched": True}, {"by": "random"}):
        chosen = al.select(frame(0), **options)  # type: ignore[arg-type]
        assert chosen.ids == [] and list(chosen.samples.columns[-3:]) == [
            *("selector", "rank_in_group", "selected")
        ]


def test_d10_a_step_of_each_id_once() -> None:
    steps = pd.concat([frame(3, step=0), frame(3, step=1)])
    assert len(al.select(steps, top=2, within=None).chosen) == 2


def test_d10_ids_of_several_kinds() -> None:
    mixed = frame(4, id=[1, "b", 2.5, ("x",)], ais=1.0)
    assert len(al.select(mixed, top=2).ids) == 2
    assert al.select(frame(12, id=range(12), ais=1.0), top=3).ids == [0, 1, 2]


HEADS = [
    [(np.int64(3), np.int32(1))],
    np.array([[3, 1]]),
    Head(3, 1),
    [Head(np.int64(3), 1)],  # type: ignore[arg-type]
    ["L3H1"],
    " L3H1, ",
    "3.1",
]


@pytest.mark.parametrize("given", HEADS, ids=str)
def test_d10_heads_of_numpy_and_single_ones(given: Any) -> None:
    found = HeadSet.parse(given)
    assert found.names() == ["L3H1"]
    assert all(type(part) is int for part in found.heads[0])


NO_HEADS: list[Any] = [[5], 5, np.int64(3), None, [None], [(1, 2, 3)], [(1.5, 2)], [("a", "b")]]
NO_HEADS += [[(True, 1)], "L1", ["L1H2", ""], [{}], 2.5, [[]]]


@pytest.mark.parametrize("given", NO_HEADS, ids=str)
def test_d10_no_heads(given: Any) -> None:
    with pytest.raises(HeadError, match=r"cannot read a head from .*; write"):
        HeadSet.parse(given)


def test_d10_the_constructor_reads_heads_by_the_same_rule() -> None:
    for given in (5, (5,), ((1.5, 2),)):
        with pytest.raises(HeadError, match="cannot read a head"):
            HeadSet(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["min_loss", "at_most"])
def test_d9_a_bound_that_is_no_number(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=nan: give a number"):
        al.select(frame(), **{name: float("nan")})


def notes(samples: pd.DataFrame, **options: Any) -> str:
    return "; ".join(al.select(samples, **options).notes)


def test_d15_groups_too_small_for_their_share() -> None:
    many = frame(1000, domain=[f"d{i}" for i in range(1000)])
    chosen = al.select(many, top=0.2)
    assert len(chosen.ids) == 1000
    assert list(chosen.notes) == chosen.provenance["notes"]
    assert chosen.notes[0].startswith("1,000 of 1,000 groups ('d0', 'd1', 'd2', …) have less than")
    assert "and gave one: 1,000 of 1,000 rows are kept" in chosen.notes[0]
    mixed = frame(11, domain=["big"] * 10 + ["small"])
    assert "1 of 2 groups ('small') has less than one row" in notes(mixed, top=0.2)


def test_d15_nothing_to_say() -> None:
    assert al.select(frame(), top=0.2).notes == ()
    assert al.select(frame(domain=["a", "b"] * 5), top=1, quotas={"a": 2}).notes == ()


def test_d15_quotas_and_counts_that_cannot_be_met() -> None:
    two = frame(domain=["a"] * 3 + ["b"] * 7)
    assert "1 of 2 groups ('a') has fewer rows to choose from than are wanted (3 for 5)" in notes(
        two, top=1, quotas={"a": 5}
    )
    assert "(10 for 20): 10 of 10 rows are kept" in notes(two, top=20, within=None)
    lost = two.assign(ais=[np.nan, np.nan, 1.0, *range(7)])
    assert "('a') has fewer rows to choose from than are wanted (1 for 2)" in notes(lost, top=2)


def test_d15_a_group_without_any_score() -> None:
    lost = frame(domain=["a"] * 3 + ["b"] * 7, ais=[np.nan] * 3 + [*range(7)])
    said = notes(lost, top=0.5)
    assert "no value of 'ais': 3 rows of 10, which are not chosen" in said
    assert "1 of 2 groups ('a') has no row that can be chosen" in said
    assert set(al.select(lost, top=0.5).chosen["domain"]) == {"b"}


def test_d15_ties_and_constant_scores() -> None:
    same = frame(ais=1.0)
    assert al.select(same, top=3).ids == ["s0000", "s0001", "s0002"]
    assert "left out by the order of ids: 7 rows" in notes(same, top=3)
    assert "order of ids" not in notes(same, top=1.0)
    assert "order of ids: 1 row" in notes(frame(4, ais=[3.0, 2.0, 2.0, 1.0]), top=2)


def test_d15_a_budget_that_fits_nothing_of_a_group() -> None:
    two = frame(domain=["a"] * 2 + ["b"] * 8, n_tokens=[50, 50, *[1] * 8])
    assert "('a') has no row that fits into its share of the tokens" in notes(two, tokens=40)


def test_d15_barred_rows_are_counted() -> None:
    assert "barred by min_loss or at_most: 4 rows" in notes(frame(loss_base=range(10)), min_loss=4)


def test_ifd_over_one_is_said_and_can_be_left_out() -> None:
    high = frame(ifd=np.linspace(0.2, 2.0, 10), domain="")
    assert "IFD over 1, which Cherry LLM's code drops: 3 rows" in notes(high, by="ifd", top=3)
    chosen = al.select(high, by="ifd", top=3, at_most=1.0)
    assert chosen.chosen["ifd"].max() <= 1 and len(chosen.ids) == 3
    assert "barred by min_loss or at_most: 5 rows" in chosen.notes[0]


def test_a_bound_is_one_on_the_score_also_where_the_lowest_are_kept() -> None:
    rows = frame(rsr=[5.0, 3.0, 4.0, *[9.0] * 7], domain="")
    chosen = al.select(rows, by="rsr", top=3, at_most=4.5)
    assert sorted(chosen.chosen["rsr"]) == [3.0, 4.0]
    assert "barred by min_loss or at_most: 8 rows" in chosen.notes[0]


@pytest.mark.parametrize("dtype", [object, "str"])
def test_a_table_of_lengths_counts_samples_without_a_domain(dtype: Any) -> None:
    names = pd.Series(["maths"] * 5 + [None] * 5, dtype=dtype)
    table = contrast.length_table(frame(domain=names, n_tokens=range(1, 11)), ["length"], 0.2)
    assert table["domain"].tolist() == ["all", "", "maths"]
    assert table["selected"].tolist() == [7.5, 10.0, 5.0]
    assert table["not_selected"].tolist() == [5.0, 7.5, 2.5]


def test_d15_a_missing_group_column_is_named() -> None:
    with pytest.raises(DataError, match="'topic': no such column to select within"):
        al.select(frame(), within="topic")
    with pytest.raises(ConfigError, match="give one text"):
        al.select(frame(), within=["domain"])  # type: ignore[arg-type]
