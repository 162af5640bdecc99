"""Figures of where steps fetch from."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from explore_tiny import HOSTILE
from fake_sources import Tables, fake_sources, long_trace

import airlens as al
from airlens.errors import DataError
from airlens.views.figures.arcs import source_arcs
from airlens.views.figures.fact_paths import fact_path
from airlens.views.figures.source_matrix import places, step_sources, unit_names
from airlens.views.figures.style import COLOURS


@pytest.fixture(scope="module")
def tables() -> Tables:
    trace, prompt = long_trace(steps=12, words=9)
    return fake_sources(trace, prompt[:3])


def test_the_map_is_the_table(tables: Tables) -> None:
    fig = step_sources(tables.pairs, "attention", tables.units)
    assert len(fig.data) == 2
    for panel, column in zip(fig.data, ("attention", "attention_control"), strict=True):
        grid = np.array(panel.z, dtype=float)
        assert grid.shape == (12, 15)
        assert np.isnan(grid[np.triu_indices(12, 0)[0], 3 + np.triu_indices(12, 0)[1]]).all()
        for row in tables.pairs.sample(20, random_state=0).to_dict("records"):
            assert grid[row["step"], row["source"] + 3] == pytest.approx(row[column])
    assert fig.data[0].zmax == fig.data[1].zmax
    best = tables.pairs.loc[tables.pairs["attention"].idxmax()]
    assert f"step {best['step']} from step {best['source']}" in fig.layout.title.text


def test_without_a_control_there_is_one_map(tables: Tables) -> None:
    fig = step_sources(tables.pairs.assign(copies_control=np.nan), units=tables.units)
    assert len(fig.data) == 1
    assert "random" not in fig.layout.title.text


def test_arcs_lead_from_a_step_to_its_sources(tables: Tables) -> None:
    fig = source_arcs(tables.pairs, tables.units, "attention", top=10)
    ours = [trace for trace in fig.data if trace.name == "critical heads"]
    assert len(ours) == 10
    best = tables.pairs.nlargest(10, "attention")
    ends = {(round(trace.x[0]) - 3, round(trace.x[-1]) - 3) for trace in ours}
    assert ends == set(zip(best["source"], best["step"], strict=True))
    assert all(min(trace.y) >= 0 for trace in ours)
    control = [trace for trace in fig.data if str(trace.name).startswith("random")]
    least = best["attention"].min()
    assert len(control) == min(10, (tables.pairs["attention_control"] >= least).sum()) > 0
    assert all(max(trace.y) <= 0 for trace in control)
    one = source_arcs(tables.pairs, tables.units, "attention", step=7)
    assert {round(t.x[-1]) - 3 for t in one.data if t.name == "critical heads"} == {7}


@pytest.mark.parametrize("draw", [step_sources, source_arcs])
def test_nothing_to_show_is_said(draw: object, tables: Tables) -> None:
    assert callable(draw)
    assert draw(pd.DataFrame()).layout.annotations[0].text
    assert "nobody" in draw(tables.pairs, id="nobody").layout.annotations[0].text
    assert draw(tables.pairs, value="knockout").layout.annotations[0].text
    with pytest.raises(DataError, match="needs the column"):
        draw(tables.pairs.drop(columns="copies"))


def test_text_of_a_trace_is_escaped() -> None:
    trace = al.Trace(HOSTILE, HOSTILE, f"{HOSTILE}\n{HOSTILE}").with_steps("line")
    tables = fake_sources(trace, [HOSTILE])
    for fig in (
        step_sources(tables.pairs, units=tables.units),
        source_arcs(tables.pairs, tables.units),
    ):
        text = fig.to_json()
        assert "\\u003cimg" not in text and "<img" not in text
        assert "&lt;img" in text


def test_units_are_named_in_the_order_of_the_text() -> None:
    assert unit_names([-2, -1, 0, 1]) == {-2: "p1", -1: "p2", 0: "0", 1: "1"}
    assert unit_names([-1, 0], long=True) == {-1: "prompt 1", 0: "step 0"}
    assert places(15, 20, 3) == list(range(15))
    assert places(163, 10, 13) == [0, 13, 33, 53, 73, 93, 113, 133, 153]


def followed(source: Tables, **options: object) -> al.Paths:
    steps = source.steps.assign(n_tokens=99)
    events = source.events
    note = {"controls": [["L0H0"]]}
    drawn = events.assign(draw=0)[["id", "draw", "head", "pos", "source_index", "weight"]]
    sources = al.Sources(source.units, source.tokens, source.pairs, steps, events, note, drawn)
    return al.paths(sources, **options)  # type: ignore[arg-type]


def test_a_path_is_drawn_copy_by_copy(tables: Tables) -> None:
    word = tables.events["token"].str.strip().value_counts().index[0]
    found = followed(tables, start=word)
    fig = fact_path(found.hops, tables.tokens, found.ends)
    own = found.hops[found.hops["set"] == "top"]
    assert len(own) > 1
    order = sorted({*own["step"], *own["source"]})
    lines = [trace for trace in fig.data if trace.line.color == COLOURS["ablated"]]
    drawn = [(order[round(trace.y[0])], order[round(trace.y[-1])]) for trace in lines]
    assert drawn == list(zip(own["source"], own["step"], strict=True))
    assert all(max(trace.x) <= 0 for trace in lines)
    assert len(fig.data) == 2 * len(own)  # the random heads of this test copy the same
    texts = [note.text for note in fig.layout.annotations]
    bold = [re.findall("<b>(.*?)</b>", text) for text in texts[: len(order)]]
    assert all([part.strip() for part in parts] == [word] for parts in bold)
    plain = [re.sub("<.*?>", "", text) for text in texts[: len(order)]]
    unit = tables.units.set_index("unit")["text"][order[0]].strip()
    assert unit[:60] in plain[0]
    assert texts[-1] == f"<i>{found.ends['why'].iloc[0]}</i>"
    assert f"from step {own['step'].max()} back to" in fig.layout.title.text


def test_a_path_that_is_none_is_said(tables: Tables) -> None:
    found = followed(tables, start="So", step=0)
    assert found.hops.empty
    assert "nothing is copied" in fact_path(found.hops).layout.annotations[0].text
    assert fact_path(pd.DataFrame()).layout.annotations[0].text
    hops = followed(tables, start=9).hops
    random = hops[hops["set"] != "top"]
    assert "no copy of the critical heads" in fact_path(random).layout.annotations[0].text
    with pytest.raises(DataError, match="needs the column"):
        fact_path(hops.drop(columns="source"))


def test_text_on_a_path_is_escaped() -> None:
    trace = al.Trace(HOSTILE, HOSTILE, f"{HOSTILE}\n{HOSTILE}").with_steps("line")
    source = fake_sources(trace, [HOSTILE])
    found = followed(source, start=int(source.events["pos"].iloc[-1]))
    for fig in (fact_path(found.hops, source.tokens, found.ends), fact_path(found.hops)):
        text = fig.to_json()
        assert "\\u003cimg" not in text and "<img" not in text
        assert "&lt;img" in text
