"""What fills the views of sources, and TraceExplorer's use of them, driven in Python."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explore_tiny import HOSTILE, tiny_model, tiny_traces
from fake_sources import HEADS, Tables, fake_sources
from views_page import traits_of

import airlens as al
from airlens.errors import ConfigError
from airlens.views.explorers import source_traits as st

PROMPT = ["There are 12 apples and 7 pears. ", "How many? "]
RESPONSE = "We have 12 apples. \nThen 7 pears. \nSo 12 plus 7 makes 19."


@pytest.fixture(scope="module")
def trace() -> al.Trace:
    return al.Trace("a", "".join(PROMPT), RESPONSE).with_steps("line")


@pytest.fixture(scope="module")
def tables(trace: al.Trace) -> Tables:
    return fake_sources(trace, PROMPT)


@pytest.fixture(scope="module")
def views(tables: Tables) -> dict[str, dict[str, Any]]:
    return traits_of(tables, RESPONSE)


def test_the_prompt_stands_above_the_response(views: dict[str, dict[str, Any]]) -> None:
    text = views["text"]
    assert "".join(text["texts"]) == "".join(PROMPT) + RESPONSE
    assert sorted(set(text["steps"])) == [-2, -1, 0, 1, 2]
    assert text["steps"] == sorted(text["steps"])
    assert [side["name"] for side in text["sides"][:2]] == ["prompt 1", "prompt 2"]
    lengths = {len(text[name]) for name in ("texts", "steps", "notes", "values")}
    assert len(lengths) == 1
    prompt = sum(step < 0 for step in text["steps"])
    assert text["values"][:prompt] == [None] * prompt


def test_events_join_the_pieces_that_hold_the_same_word(
    views: dict[str, dict[str, Any]], tables: Tables
) -> None:
    text = views["text"]
    pieces, sources, heads, weights = text["events"]
    assert len(pieces) == len(tables.events) > 4
    assert text["heads"] == sorted(HEADS, key=lambda name: int(name[1:].split("H")[0]))
    for piece, source in zip(pieces, sources, strict=True):
        assert source < piece
        assert text["texts"][piece].strip() == text["texts"][source].strip()
    first = tables.events.iloc[0]
    assert (text["heads"][heads[0]], weights[0]) == (first["head"], round(first["weight"], 2))


def test_what_is_copied_from_the_template_is_left_out(tables: Tables) -> None:
    events = tables.events.assign(source_index=0)
    found = st.event_traits([], [], tables.tokens, events)
    assert found["events"] == []


def test_pairs_are_those_of_the_table(views: dict[str, dict[str, Any]], tables: Tables) -> None:
    steps, sources, values, controls = views["text"]["pairs"]
    table = tables.pairs.set_index(["step", "source"])
    for step, source, value, control in zip(steps, sources, values, controls, strict=True):
        assert value == pytest.approx(table.loc[(step, source), "copies"], rel=1e-2)
        assert control == pytest.approx(table.loc[(step, source), "copies_control"], rel=1e-2)
    assert len(steps) == ((table["copies"] > 0) | (table["copies_control"] > 0)).sum()
    assert views["arcs"]["pairs"] == views["text"]["pairs"]
    assert views["arcs"]["units"] == [-2, -1, 0, 1, 2]
    assert st.most(tables.pairs) == pytest.approx(
        tables.pairs[["copies", "copies_control"]].max().max()
    )


def test_the_map_has_the_prompt_first_and_nothing_above_the_diagonal(
    views: dict[str, dict[str, Any]], tables: Tables
) -> None:
    grid = views["matrix"]
    assert grid["rows"] == ["0", "1", "2"]
    assert grid["cols"] == ["p1", "p2", "0", "1", "2"]
    width = len(grid["cols"])
    assert all(cell % width - 2 < cell // width for cell in grid["at"])
    assert len(grid["at"]) == len(tables.pairs) == 2 + 3 + 4
    values = dict(zip(grid["at"], grid["values"], strict=True))
    wanted = tables.pairs.set_index(["step", "source"])["copies"]
    assert values[2 * width + 0] == pytest.approx(wanted[(2, -2)], rel=1e-2)
    few = st.matrix_traits(tables.pairs, tables.units, every=False)
    assert 0 < len(few["at"]) < len(grid["at"])
    assert all(v or c for v, c in zip(few["values"], few["controls"], strict=True))


def test_a_measure_that_is_not_known_gives_empty_views(tables: Tables) -> None:
    assert st.pair_traits(tables.pairs, "knockout")["pairs"] == [[], [], [], []]
    assert st.matrix_traits(tables.pairs, tables.units, "knockout")["at"] == []
    assert st.most(tables.pairs, "knockout") == 0


def test_traits_are_plain_json() -> None:
    trace = al.Trace(HOSTILE, HOSTILE, HOSTILE).with_steps("line")
    found = traits_of(fake_sources(trace, [HOSTILE]), HOSTILE)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "".join(found["text"]["texts"]) == HOSTILE * 2


# TraceExplorer ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture
def explorer(model: Any) -> al.TraceExplorer:
    return al.TraceExplorer(model, tiny_traces(), "L0H1, L1H2")


def test_the_explorer_shows_what_sources_measures(explorer: al.TraceExplorer) -> None:
    wanted = al.sources(explorer.model, explorer.trace, explorer.heads, controls=1, progress=False)
    pd.testing.assert_frame_equal(explorer.frame("sources"), wanted.pairs)
    pd.testing.assert_frame_equal(explorer.frame("events"), wanted.events)
    pd.testing.assert_frame_equal(explorer.frame("units"), wanted.units)
    assert explorer.text.pairs == st.pair_traits(wanted.pairs)["pairs"]
    assert len(explorer.text.events[0]) == len(wanted.events)
    assert explorer.sources.arcs.units == sorted(wanted.units["unit"])
    assert explorer.figure("sources").data
    with pytest.raises(ConfigError, match="units"):
        explorer.frame("nothing")
    with pytest.raises(ConfigError, match="arcs"):
        explorer.figure("nothing")


def test_a_step_is_chosen_in_text_arcs_and_map_at_once(explorer: al.TraceExplorer) -> None:
    arcs, pairs = explorer.sources.arcs, explorer.sources.map
    for number, view in enumerate((explorer.text, arcs), start=1):
        view.picked = [number, 1]
        assert explorer.text.current == arcs.current == pairs.row == number
        assert explorer.map.column == number
        assert explorer.text.focus == []
    width = len(pairs.cols)
    pairs.picked = [2 * width, 0, 1]
    assert explorer.text.current == arcs.current == pairs.row == 2
    assert explorer.text.focus == [2, arcs.units[0]] == [2, -1]
    assert (pairs.current, pairs.column) == (2 * width, 0)
    # A click in the text that was made before, and comes after: the kernel was busy.
    explorer.text.set_state({"current": 1, "focus": [], "picked": [1, 0.5]})
    assert explorer.text.current == arcs.current == pairs.row == explorer.map.column == 2
    assert explorer.text.focus == [2, -1]
    # What the text locks: a source of the step, or a later step that uses it.
    explorer.text.set_state({"current": 2, "focus": [2, 1]})
    assert explorer.text.current == arcs.current == pairs.row == explorer.map.column == 2
    assert pairs.column == arcs.units.index(1)
    pairs.picked = [2 * width, 0, 1.5]
    # Above the diagonal there is nothing to choose.
    pairs.picked = [width - 1, 0, 2]
    assert explorer.text.focus == [2, -1]
    explorer.text.told = "Copied by step 2"
    assert pairs.told == "Copied by step 2"


def test_another_measure_threshold_and_set_of_heads(explorer: al.TraceExplorer) -> None:
    found = explorer.sources
    found.measure.value = "attention"
    steps, sources, values, _ = explorer.text.pairs
    table = explorer.frame("sources").set_index(["step", "source"])["attention"]
    np.testing.assert_allclose(
        values, [table[pair] for pair in zip(steps, sources, strict=True)], rtol=1e-2
    )
    assert found.threshold.max == pytest.approx(st.most(explorer.frame("sources"), "attention"))
    found.threshold.value = found.threshold.max / 2
    found.strongest.value, found.show.value = 3, "control"
    for view in (explorer.text, found.arcs):
        assert (view.threshold, view.strongest) == (found.threshold.value, 3)
        assert view.show == found.map.show == "control"


def test_knockout_is_measured_when_asked_for(explorer: al.TraceExplorer) -> None:
    found = explorer.sources
    assert explorer.frame("sources")["knockout"].isna().all()
    found.measure.value = "knockout"
    assert found.knock.layout.display == ""
    assert "knockout" in found.map.hint
    found.measure.value = "knockout_kl"
    assert found.knock.layout.display == "" and "knockout" in found.map.hint
    for figure in (found.figure(), found.arcs_figure()):
        assert figure.layout.annotations[0].text.startswith(("no pair", "no source with a value"))
    found.measure.value = "knockout"
    assert found.map.at == []
    found.knock.click()
    assert found.worker.note.value == ""
    assert found.knock.layout.display == "none"
    table = explorer.frame("sources")
    assert table["measured"].any()
    assert len(found.map.at) == table["knockout"].notna().sum()
    assert found.map.signed
    found.measure.value = "knockout_kl"
    assert found.knock.layout.display == "none"
    assert len(found.map.at) == table["knockout_kl"].notna().sum() > 0
    assert not found.map.signed


def test_sources_are_kept_and_asked_for_again_after_a_cancel(model: Any) -> None:
    asked: list[Any] = []

    def measure(*given: Any, **named: Any) -> al.Sources:
        asked.append(named["measures"])
        if len(asked) == 1:
            raise ConfigError(HOSTILE)
        return al.sources(*given, **named)

    view = al.TraceExplorer(model, tiny_traces(), "L0H1", measure_sources=measure)
    assert view.frame("sources").empty
    assert view.figure("sources").layout.annotations
    assert "<script" not in view.sources.worker.note.value
    view.text.picked = [0, 1]
    assert not view.frame("sources").empty
    view.trace_picker.value = 1
    view.trace_picker.value = 0
    view.text.picked = [1, 2]
    assert asked == [("copies", "attention")] * 3


def test_the_map_has_the_steps_of_the_text_and_previews_in_it(model: Any) -> None:
    explorer = al.TraceExplorer(model, tiny_traces(), "L0H1, L1H2", controls=1)
    found, text = explorer.sources.map, explorer.text
    assert found.sides == text.sides and len(found.sides) > 0
    assert found.name == explorer.trace.id
    assert found.finding and found.finding in explorer.said.value
    assert [word for word in found.words if word] and len(found.words) == len(found.cols)
    found.hovered = [1, 0]
    assert text.preview == [1, 0] and text.focus == []
    found.hovered = []
    assert text.preview == []


def test_the_static_form_has_both_ends_of_a_step(explorer: al.TraceExplorer) -> None:
    pairs = explorer.frame("sources")
    used = pairs[(pairs["copies"] > 0) & (pairs["source"] >= 0)]
    source = int(used["source"].iloc[0])
    explorer.text.picked = [source, 1]
    html = str(explorer.static_body())
    words = html.partition(f"The later steps that most use step {source}")[2]
    assert words
    best = used[used["source"] == source].sort_values("copies", ascending=False)
    assert words.count("<tr>") == 1 + min(len(best), 5)
    assert f"<td>step {best['step'].iloc[0]}" in words.replace("Step", "step")
    explorer.text.picked = [max(explorer.text.steps), 2]
    assert "that most use" not in str(explorer.static_body())
