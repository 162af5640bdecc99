"""Heads, head sets, scores and controls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlens.errors import DataError, HeadError
from airlens.heads import Head, HeadScores, HeadSet, load_heads, parse_head, random_heads
from airlens.statistics.grids import proportion_of


def scores_of(values: list[list[float]]) -> HeadScores:
    array = np.asarray(values, dtype=np.float32)
    return HeadScores(array, np.stack([array, array]), copy_accuracy=0.5)


@pytest.mark.parametrize("text", ["L18H6", "l18h6", " L18 H6 ", "18.6", "18-6"])
def test_parse_head(text: str) -> None:
    assert parse_head(text) == Head(18, 6)
    assert str(parse_head(text)) == "L18H6"


@pytest.mark.parametrize("text", ["", "L18", "H6", "L1H2H3", "head"])
def test_parse_head_refuses(text: str) -> None:
    with pytest.raises(HeadError, match="L18H6"):
        parse_head(text)


def test_head_set_reads_text_and_pairs() -> None:
    assert HeadSet.parse("L2H1, L0H3").names() == ["L2H1", "L0H3"]
    assert HeadSet.parse([(2, 1), "L0H3"]).by_layer() == {0: [3], 2: [1]}
    assert len(HeadSet.parse("L2H1 L2H1")) == 1
    assert len(HeadSet.parse("")) == 0


def test_top_breaks_ties_by_layer_then_head() -> None:
    scores = scores_of([[0.1, 0.5], [0.5, 0.5], [0.0, 0.2]])
    assert scores.top(2).names() == ["L0H1", "L1H0"]
    assert scores.top(1.0).names()[-1] == "L2H0"
    assert scores.top(0.05).names() == ["L0H1"]


@pytest.mark.parametrize("k", [0, 7, -0.1, 1.5])
def test_top_out_of_range(k: float) -> None:
    with pytest.raises(HeadError, match="from 1 to 6"):
        scores_of([[0.1, 0.5], [0.5, 0.5], [0.0, 0.2]]).top(k)


def test_save_and_load(tmp_path: Path) -> None:
    scores = scores_of([[0.25, 0.5], [0.75, float("nan")]])
    path = scores.save(tmp_path / "heads.json", top=2)
    record = json.loads(path.read_text())
    assert [(r["layer"], r["head"]) for r in record["top"]] == [(1, 0), (0, 1)]
    assert [r["score"] for r in record["heads"]] == [0.75, 0.5, 0.25, None]
    assert record["copy_accuracy"] == 0.5
    np.testing.assert_array_equal(HeadScores.load(path).scores, scores.scores)
    assert load_heads(path).names() == ["L1H0", "L0H1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"heads": 1, "shape": [1, 1], "top": [3]}'])
def test_load_refuses_other_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "heads.json"
    path.write_text(text)
    for load in (HeadScores.load, load_heads):
        with pytest.raises(DataError, match=r"heads\.json"):
            load(path)


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="airlens heads"):
        load_heads(tmp_path / "none.json")


def test_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(0)
    samples = rng.random((40, 2, 3)).astype(np.float32)
    scores = HeadScores(samples.mean(axis=0), samples)
    lo, hi = scores.interval()
    assert (lo < scores.scores).all() and (scores.scores < hi).all()
    # Independent: 95 % interval of a mean is about ±1.96 standard errors.
    expected = 2 * 1.96 * samples.std(axis=0) / np.sqrt(40)
    np.testing.assert_allclose(hi - lo, expected, rtol=0.15)


def test_the_interval_of_a_share_stays_a_share() -> None:
    samples = np.array([0.698, 1.0, 1.0], dtype=np.float32)[:, None, None]
    lo, hi = (float(limit[0, 0]) for limit in HeadScores(samples.mean(axis=0), samples).interval())
    # Independent: the package's own interval of a share, one head at a time.
    assert (lo, hi) == pytest.approx(proportion_of(samples[:, 0].astype(float)).interval())
    assert 0 < lo < 0.899 < hi <= 1
    # What is no share keeps the interval of a mean.
    other = HeadScores(samples.mean(axis=0), samples, detector="causal")
    assert float(other.interval()[1][0, 0]) > 1.2


def test_a_score_that_never_varies_has_no_interval() -> None:
    samples = np.array([[[0.0, 1.0, 0.5]]] * 4, dtype=np.float32)
    assert np.isnan(HeadScores(samples[0], samples).interval()).all()


@given(
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=12),
    st.integers(0, 1000),
    st.booleans(),
)
def test_controls_are_disjoint_and_as_many(
    pairs: set[tuple[int, int]], seed: int, same_layers: bool
) -> None:
    heads = HeadSet(tuple(Head(*p) for p in sorted(pairs)))
    first = random_heads((5, 6), heads, draws=3, seed=seed, same_layers=same_layers)
    again = random_heads((5, 6), heads, draws=3, seed=seed, same_layers=same_layers)
    assert [d.heads for d in first] == [d.heads for d in again]
    for draw in first:
        assert len(draw) == len(heads)
        assert not set(draw) & set(heads)
        draw.check(5, 6)


def test_same_layer_control_keeps_the_layers() -> None:
    heads = HeadSet.parse("L1H0, L1H1, L3H2")
    for draw in random_heads((5, 6), heads, draws=5):
        assert sorted(h.layer for h in draw) == [1, 1, 3]


def test_full_layer_falls_back_to_the_nearest() -> None:
    heads = HeadSet(tuple(Head(2, h) for h in range(4)))
    for draw in random_heads((5, 4), heads, draws=5):
        assert {h.layer for h in draw} <= {1, 3}


def test_no_room_for_a_control() -> None:
    heads = HeadSet(tuple(Head(0, h) for h in range(3)))
    with pytest.raises(HeadError, match="only 1 others"):
        random_heads((1, 4), heads)
