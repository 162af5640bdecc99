"""The benchmark against scores whose AUROC is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from airlens.experiments.validity import auroc, auroc_table, gain_table
from airlens.experiments.validity.claims import planted_claims
from airlens.experiments.validity.heuristics import HEURISTICS, overlap

KINDS = ("irrelevant", "other")


def planted_set(n: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores "label", "negative", "noise", "echo" (the loss again) and noise as heuristics."""
    rng = np.random.default_rng(seed)
    values, items = [], []
    for kind in ("real", *KINDS):
        for source in range(n):
            loss = float(rng.normal(1.0 if kind == "real" else 1.5, 0.6))
            items.append({"source": f"s{source}", "kind": kind, "loss": loss})
            label = float(kind == "real")
            scores = {"label": label, "negative": -label, "noise": rng.normal(), "echo": -loss}
            rows = [(name, "uniform", "top", 0, value) for name, value in scores.items()]
            rows += [("drawn", "uniform", "random", d, rng.normal()) for d in range(3)]
            free = {"loss": loss} | {name: rng.normal() for name in HEURISTICS if name != "loss"}
            rows += [(name, "", "", 0, value) for name, value in free.items()]
            values += [(f"s{source}", kind, *row) for row in rows]
    columns = ["source", "kind", "score", "mode", "heads", "draw", "value"]
    return pd.DataFrame(values, columns=columns), pd.DataFrame(items)


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return planted_set()


def test_known_answers(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = auroc_table(*tables).set_index(["kind", "score"])
    for kind in KINDS:
        # No failure in 40 traces is no certainty: each counts as one observation.
        assert tuple(table.loc[(kind, "label"), ["auroc", "hi"]]) == (1, 1)
        assert 0.85 < table.loc[(kind, "label"), "lo"] < 0.95
        assert tuple(table.loc[(kind, "negative"), ["auroc", "lo"]]) == (0, 0)
        assert 0.05 < table.loc[(kind, "negative"), "hi"] < 0.15
        for score in ("noise", "drawn", "length"):
            row = table.loc[(kind, score)]
            assert row["lo"] < 0.5 < row["hi"]
    assert table.loc[("other", "drawn"), "draws"] == 3
    assert set(table["n"]) == {40}


def test_it_is_the_usual_auroc(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    values, losses = tables
    table = auroc_table(values, losses).set_index(["kind", "score"])
    part = values[(values["score"] == "noise") & values["kind"].isin(["real", "other"])]
    expected = roc_auc_score(part["kind"] == "real", part["value"])
    assert table.loc[("other", "noise"), "auroc"] == pytest.approx(expected)
    assert auroc(np.array([1.0, 2.0]), np.array([1.0])) == 0.75
    assert np.isnan(auroc(np.zeros(0), np.zeros(1)))


def test_intervals_are_those_of_a_bootstrap_over_traces() -> None:
    """Against a slow bootstrap that draws the traces themselves."""
    values, losses = planted_set(n=15)
    row = auroc_table(values, losses).set_index(["kind", "score"])
    row = row.loc[("other", "echo")]
    grid = values[values["score"] == "echo"].pivot(index="source", columns="kind", values="value")
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2000):
        drawn = grid.iloc[rng.integers(len(grid), size=len(grid))]
        found.append(auroc(drawn["real"].to_numpy(), drawn["other"].to_numpy()))
    lo, hi = np.quantile(found, [0.025, 0.975])
    # Of 15 traces the bootstrap covers too seldom: Wilson's with Student's t is somewhat wider.
    assert lo - 0.06 < row["lo"] < lo + 0.03
    assert hi - 0.03 < row["hi"] < hi + 0.06


def test_at_equal_loss_the_loss_itself_says_little(
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    free = auroc_table(*tables).set_index(["kind", "score"])
    equal = auroc_table(*tables, equal_loss=True).set_index(["kind", "score"])
    assert free.loc[("other", "echo"), "auroc"] > 0.65
    alone = equal.loc[("other", "echo")]
    assert alone["lo"] <= 0.5 <= alone["hi"]
    assert equal.loc[("other", "label"), "auroc"] == 1
    assert (equal["pairs"] < free["pairs"]).all()


def test_same_seed_same_table(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, again = (auroc_table(*tables) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_gain_is_for_what_the_heuristics_lack() -> None:
    values, losses = planted_set()
    gain = gain_table(values, losses).set_index(["kind", "score"])
    for kind in KINDS:
        assert gain.loc[(kind, "label"), "auroc_with"] == 1
        assert gain.loc[(kind, "label"), "lo"] > 0
        assert gain.loc[(kind, "echo"), "gain"] == pytest.approx(0, abs=0.03)
    assert not set(gain.index.get_level_values(1)) & set(HEURISTICS)


def test_a_value_that_is_missing_takes_its_trace_out(
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    values, losses = tables
    values = values.copy()
    gone = (values["score"] == "label") & (values["source"] == "s0") & (values["kind"] == "other")
    values.loc[gone, "value"] = np.nan
    table = auroc_table(values, losses).set_index(["kind", "score"])
    assert table.loc[("other", "label"), "n"] == 39
    assert table.loc[("irrelevant", "label"), "n"] == 40


def test_claims_follow_the_tables() -> None:
    row = {"kind": "other", "score": "ais", "mode": "mean", "n": 40, "pairs": 1600}
    top = {**row, "heads": "top", "auroc": 0.9, "lo": 0.8, "hi": 0.95, "p": 1e-9}
    equal = {**top, "auroc": 0.5, "lo": 0.4, "hi": 0.6, "p": 1.0, "caliper": 0.1}
    gain = {**row, "heads": "top", "auroc_free": 0.9, "gain": 0.05, "lo": 0.01, "hi": 0.1}
    against = {**row, "against": "same_layers", "auroc": 0.9, "auroc_control": 0.85, "draws": 3}
    against |= {"difference": 0.05, "lo": -0.05, "hi": 0.15, "p": 0.4}
    tables = ([top], [equal], [gain | {"p": 0.001}], [against])
    claims = planted_claims(*(pd.DataFrame(t) for t in tables))
    assert list(claims["holds"]) == [True, False, False, True]
    assert list(claims["verdict"]) == ["holds", "undecided", "undecided", "holds"]
    assert "0.85, difference +0.05 [-0.05, +0.15], 3 draws" in claims["evidence"][2]


def test_overlap_counts_distinct_word_pairs() -> None:
    assert overlap("a b c", "x a b y") == 0.5
    assert overlap("a", "a") == 0
    assert overlap("12 pens", "He has 12 pens.") == 1
    assert overlap("1 pen", "11 pens") == 0
