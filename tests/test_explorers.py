"""The explorers' callbacks, driven in Python on a tiny model."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explore_tiny import HEADS, HOSTILE, LAYERS, tiny_model, tiny_probes, tiny_traces

import airlens as al
from airlens.detectors.answer_attention import answer_attention
from airlens.detectors.attention_patterns import SIZE, small_patterns
from airlens.errors import ConfigError
from airlens.heads import Head
from airlens.step_influence.single_heads import (
    by_step,
    heads_of_step,
    single_heads,
    step_attribution,
)
from airlens.traces.step import Step
from airlens.views.explorers.continuation import compare, continuation, encode_prompt, next_tokens
from airlens.views.explorers.head_patterns import MOST_TOKENS, HeadPatterns
from airlens.views.figures.head_attention import answer_attention_map
from airlens.views.figures.labels import number, percent
from airlens.views.figures.next_tokens import next_token_bars


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def probes(model: Any) -> al.ProbeSet:
    return tiny_probes(model.tokenizer)


@pytest.fixture(scope="module")
def view(model: Any, probes: al.ProbeSet) -> al.HeadExplorer:
    scores = al.retrieval_scores(model, probes, progress=False)
    return al.HeadExplorer(model, scores, probes, new_tokens=3)


@pytest.fixture
def trace_view(model: Any) -> al.TraceExplorer:
    return al.TraceExplorer(model, tiny_traces(), "L0H1, L1H2")


# Under the explorers ----------------------------------------------------------------------------


def test_attention_rows_are_those_of_the_model(model: Any, probes: al.ProbeSet) -> None:
    probe = probes[0]
    found = answer_attention(model, probe)
    _, cache = model.run_with_cache(torch.tensor([probe.tokens]))
    start, stop = probe.answer
    for layer in range(LAYERS):
        wanted = cache[f"blocks.{layer}.attn.hook_pattern"][0, :, start - 1 : stop - 1].numpy()
        np.testing.assert_allclose(found.pattern[layer], wanted, atol=2e-3)
    frame = found.frame(Head(1, 2), around=5)
    assert set(frame["position"]) == set(range(probe.needle[0] - 5, probe.needle[1] + 5))
    sums = frame.groupby("answer")["attention"].sum() + frame.groupby("answer")["outside"].first()
    np.testing.assert_allclose(sums, 1, atol=1e-2)


@pytest.mark.parametrize(("count", "size"), [(50, 8), (5, 8)])
def test_small_patterns_are_means_over_blocks_of_tokens(
    model: Any, probes: al.ProbeSet, count: int, size: int
) -> None:
    tokens = probes[0].tokens[:count]
    found = small_patterns(model, tokens, size)
    _, cache = model.run_with_cache(torch.tensor([tokens]))
    edges, blocks = found.edges, min(size, count)
    assert list(edges[[0, -1]]) == [0, count] and len(edges) == blocks + 1
    assert np.ptp(np.diff(edges)) <= 1
    for layer in range(LAYERS):
        whole = cache[f"blocks.{layer}.attn.hook_pattern"][0].numpy()
        for head in range(HEADS):
            wanted = np.zeros((blocks, blocks))
            for i in range(blocks):
                for j in range(blocks):
                    rows = whole[head, edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
                    wanted[i, j] = np.mean([sum(row) for row in rows])
            np.testing.assert_allclose(found.shares[layer, head], wanted, atol=1e-5)
            later = range(1, count)
            for name, key in (("first", lambda t: 0), ("itself", lambda t: t)):
                mean = np.mean([whole[head, t, key(t)] for t in later])
                assert getattr(found, name)[layer, head] == pytest.approx(mean, abs=1e-5)
            mean = np.mean([whole[head, t, t - 1] for t in later])
            assert found.before[layer, head] == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(found.shares.sum(-1), 1, atol=1e-4)


def test_one_token_has_no_pattern(model: Any) -> None:
    with pytest.raises(ConfigError, match="two tokens"):
        small_patterns(model, [5])


def test_copied_is_what_the_retrieval_score_counts(model: Any, probes: al.ProbeSet) -> None:
    scores = al.retrieval_scores(model, probes, progress=False)
    for i, probe in enumerate(probes):
        found = answer_attention(model, probe)
        for layer in range(LAYERS):
            for head in range(HEADS):
                share = np.mean(found.copied(Head(layer, head)))
                assert share == pytest.approx(float(scores.samples[i, layer, head]))


def test_single_heads_are_the_influence_of_one_head(model: Any) -> None:
    trace = tiny_traces()[0]
    alone = single_heads(model, trace, "L0H1, L2H3")
    for name in ("L0H1", "L2H3"):
        wanted = al.influence(model, trace, name, controls=0, progress=False)
        mine = alone[alone["name"] == name]
        np.testing.assert_allclose(mine["delta"], wanted.tokens["delta"], atol=1e-5)
        steps = by_step(mine)["delta"]
        np.testing.assert_allclose(steps, wanted.steps["delta"], atol=1e-5)


def test_a_step_has_the_attribution_of_the_whole_trace(model: Any) -> None:
    trace = tiny_traces()[0]
    parts = [step_attribution(model, trace, step) for step in range(3)]
    whole = al.head_influence(model, trace, "attribution", progress=False)
    for part, n, wanted in zip(parts, whole.steps["n_tokens"], whole.step_scores, strict=True):
        np.testing.assert_allclose(part / n, wanted, rtol=1e-4, atol=1e-6)
    one = replace(trace, steps=(Step(trace.response, 0, len(trace.response)),))
    screened = al.head_influence(model, one, "screened", top=3, progress=False)
    assert {*heads_of_step(model, one, 0, 3)} == {*screened.ranked()}
    with pytest.raises(ConfigError, match="no token"):
        heads_of_step(model, trace, 3, 1)


def test_continuation_is_greedy_and_ablation_changes_it(model: Any) -> None:
    tokens = encode_prompt(model, "Count: one two three")
    written = continuation(model, tokens, 4)
    ids = list(tokens)
    for token in written:
        assert token == int(model(torch.tensor([ids]))[0, -1].argmax())
        ids.append(token)
    every = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    found = compare(model, tokens, al.HeadSet.parse(every), "zero", max_new_tokens=4)
    assert found.base == written
    assert found.divergence is not None
    assert list(found.frame()["same"])[: found.divergence] == [True] * found.divergence
    nothing = compare(model, tokens, al.HeadSet(()), max_new_tokens=4)
    assert nothing.divergence is None


def test_next_tokens_are_probabilities(model: Any) -> None:
    tokens = encode_prompt(model, "abc")
    written = continuation(model, tokens, 2)
    frame = next_tokens(model, tokens, written, al.HeadSet.parse("L0H1"), k=3)
    assert frame.groupby("position")["written"].sum().tolist() == [1, 1]
    first = frame[frame["position"] == 0].set_index("token_id")["p_base"]
    wanted = model(torch.tensor([tokens]))[0, -1].softmax(-1)
    assert first.max() == pytest.approx(float(wanted.max()), abs=1e-5)
    assert first.idxmax() == int(wanted.argmax())


def test_an_empty_prompt_is_an_error(model: Any) -> None:
    with pytest.raises(ConfigError, match="empty"):
        encode_prompt(model, "  ")


@pytest.mark.parametrize("draw", [answer_attention_map, next_token_bars])
def test_figures_of_nothing_say_so(draw: Any) -> None:
    assert draw(pd.DataFrame()).layout.annotations[0].text


def test_attention_figure_escapes_and_limits() -> None:
    row = {"predicts": "<b>", "token": "</s>", "attention": 0.5, "in_needle": True, "most": True}
    rows = [row | {"answer": i, "position": 3, "copied": True, "outside": 0.5} for i in range(40)]
    fig = answer_attention_map(pd.DataFrame(rows), "L0H1", rows=8)
    assert len(fig.data[0].z) == 8
    assert fig.layout.xaxis.ticktext[0] == "&lt;/s&gt;"
    words = fig.layout.title.text.replace("<br>", " ")
    assert "first 8 of 40" in words
    assert "copies 40 of 40" in words  # what is not drawn counts too


# HeadExplorer -----------------------------------------------------------------------------------


def test_heads_are_shown_and_measured_at_once(view: al.HeadExplorer) -> None:
    assert view.worker.note.value == view.looker.note.value == ""
    assert len(view.map.values) == LAYERS * HEADS
    assert len(view.frame("attention")) > 0
    assert set(view.frame("ablation")["heads"]) >= {"top", "random", "needle removed"}
    for what in ("heads", "attention", "ablation"):
        assert view.figure(what).data


def test_the_patterns_of_all_heads_are_read_when_they_are_asked_for(
    model: Any, probes: al.ProbeSet
) -> None:
    scores = al.retrieval_scores(model, probes, progress=False)
    view = al.HeadExplorer(model, scores, probes, new_tokens=3)
    small = view.patterns.map
    assert small.picture == "" and view.patterns.place.children == ()
    assert view.frame("patterns").empty
    assert "Patterns" not in str(view.static_body())
    view.patterns.button.value = True
    assert view.patterns.worker.note.value == "" and view.patterns.place.children == (small,)
    assert (len(small.rows), len(small.cols)) == (HEADS, LAYERS)
    frame = view.frame("patterns").set_index("name")
    assert len(frame) == LAYERS * HEADS
    note = small.notes[2 * LAYERS + 1]  # head 2 of layer 1
    assert note.startswith(f"L1H2   retrieval score {number(scores.scores[1, 2])}")
    assert f"{percent(frame.loc['L1H2', 'first'])} goes to the first token" in note
    with pytest.importorskip("PIL.Image").open(
        io.BytesIO(base64.b64decode(small.picture))
    ) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (HEADS * (SIZE + 1), LAYERS * (SIZE + 1), 4)
    wanted = small_patterns(model, probes[0].tokens).shares[1, 2]
    tile = pixels[2 * (SIZE + 1) :, SIZE + 1 :][:SIZE, :SIZE, 3]
    expected = np.where(np.tri(SIZE), 20 + 235 * np.sqrt(wanted), 0)
    np.testing.assert_allclose(tile, expected, atol=1.01)
    assert "Layers across" in str(view.static_body())
    # A click looks at a head, Shift and a click chooses it.
    small.picked = [2 * LAYERS + 1, 0, 1]
    assert str(view.head) == "L1H2" and small.current == 2 * LAYERS + 1
    other = next(h for h in map(Head._make, np.ndindex(LAYERS, HEADS)) if h not in view.heads)
    small.picked = [other.head * LAYERS + other.layer, 1, 2]
    assert other in view.heads
    assert sorted(small.marked) == sorted(h.head * LAYERS + h.layer for h in view.heads)
    # They follow the probe, and go when they are not wanted.
    before = small.picture
    view.probe.value = 1
    assert probes[1].id in small.title and small.picture != before
    view.patterns.button.value = False
    assert view.patterns.place.children == ()
    view.probe.value = 2
    assert probes[2].id not in small.title


def test_patterns_that_cannot_be_read_say_so(model: Any, probes: al.ProbeSet) -> None:
    taken: list[Any] = []
    found = HeadPatterns(model, HOSTILE, lambda: (HOSTILE, [5]), lambda *all: taken.append(all))
    found.button.value = True
    assert "two tokens" in found.worker.note.value
    assert (found.map.hint, found.map.rows) == ("Nothing was read.", [])
    found.offer("long", lambda: ("long", [5] * (MOST_TOKENS + 7)))
    found.of.value = "long"
    assert f"the first {MOST_TOKENS:,} of {MOST_TOKENS + 7:,}" in found.map.title
    found.map.picked = [1, 1, 1]
    assert taken == [(Head(1, 0), True)]


def test_a_click_looks_and_a_shift_click_adds(view: al.HeadExplorer) -> None:
    before = view.heads
    view.map.picked = [6, 0, 101]
    assert str(view.head) == view.typed.value == "L1H2"
    assert view.heads == before
    assert "L1H2 copies" in view.figure("attention").layout.title.text
    index = next(i for i in range(12) if Head(*divmod(i, HEADS)) not in before)
    view.map.picked = [index, 1, 102]
    assert len(view.heads) == len(before) + 1
    assert index in view.map.marked
    view.map.picked = [index, 1, 103]
    assert view.heads.heads == before.heads


def test_slider_text_and_map_agree(view: al.HeadExplorer) -> None:
    view.slider.value = 3
    assert view.heads.heads == view.scores_now().top(3).heads
    assert view.set_text.value == str(view.heads)
    view.set_text.value = "L2H1, L0H0"
    assert view.slider.value == 2
    assert view.heads.names() == ["L2H1", "L0H0"]
    assert view.map.marked == [9, 0]
    rows = view.frame("ablation")
    wanted = rows[(rows["set"] == "L2H1, L0H0") & (rows["heads"] == "chosen")]
    model, probes = view.model, view.probes.subset([0, 1])
    with al.ablated(model, "L2H1, L0H0"):
        assert wanted["nll"].iloc[0] == pytest.approx(al.copy_accuracy(model, probes).nll, abs=1e-4)


def test_a_head_that_is_not_there_is_told(view: al.HeadExplorer) -> None:
    for text in ("L99H0", HOSTILE):
        view.set_text.value = text
        assert 'role="alert"' in view.worker.note.value
        assert "<script" not in view.worker.note.value
    shown = str(view.heads)
    for text in (shown, HOSTILE, "L0H0"):  # for what is shown already there is nothing to measure
        view.set_text.value = text
        assert ('role="alert"' in view.worker.note.value) == (text == HOSTILE)


def test_another_mode_is_measured_again(view: al.HeadExplorer) -> None:
    view.mode.value = "zero"
    assert "zero" in set(view.frame("ablation").query("k > 0")["mode"])
    view.mode.value = "uniform"


def test_another_detector_is_run_when_it_is_chosen(model: Any, probes: al.ProbeSet) -> None:
    scores = al.retrieval_scores(model, probes, progress=False)
    view = al.HeadExplorer(model, scores, probes, new_tokens=2, detectors=["induction", "locos"])
    assert view.detector.options == ("retrieval", "induction", "locos")
    assert view.frame("probes")["probe"].tolist() == [p.id for p in probes]
    view.detector.value = "induction"
    wanted = al.detect(model, probes, "induction", progress=False)
    np.testing.assert_allclose(view.map.values, wanted.scores.ravel(), atol=1e-6)
    assert view.heads.heads == wanted.top(len(view.heads)).heads
    # Its probes are not those whose attention is shown.
    assert not set(view.frame("probes")["probe"]) & {p.id for p in probes}
    view.detector.value = "retrieval"
    assert view.map.title.startswith("retrieval")


def test_a_detector_that_fails_is_told_and_not_chosen(
    model: Any, probes: al.ProbeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConfigError(HOSTILE)

    monkeypatch.setattr("airlens.views.explorers.head_explorer.detect", fail)
    scores = al.retrieval_scores(model, probes, progress=False)
    view = al.HeadExplorer(model, scores, probes, new_tokens=2)
    view.detector.value = "qrhead"
    assert 'role="alert"' in view.detecting.note.value
    assert "<script" not in view.detecting.note.value
    assert view.detector.value == "retrieval"
    with pytest.raises(ConfigError, match="detector='no'"):
        al.HeadExplorer(model, scores, probes, detectors=["no"])


# TraceExplorer ----------------------------------------------------------------------------------


def test_a_trace_is_scored_and_coloured(trace_view: al.TraceExplorer) -> None:
    trace = trace_view.trace
    wanted = al.influence(trace_view.model, trace, "L0H1, L1H2", controls=1, progress=False)
    pd.testing.assert_frame_equal(trace_view.frame("tokens"), wanted.tokens)
    assert "".join(trace_view.text.texts) == trace.prompt + trace.response
    assert [side["step"] for side in trace_view.text.sides] == [-1, 0, 1, 2]
    assert trace_view.figure("steps").data
    assert trace_view.figure("tokens").data


def test_a_step_then_a_head_recolours(trace_view: al.TraceExplorer) -> None:
    all_heads = list(trace_view.text.values)
    trace_view.text.picked = [1, 1]
    assert trace_view.text.current == trace_view.map.column == 1
    assert set(trace_view.map.rows) == {"L0H1", "L1H2"}
    name = trace_view.map.rows[1]
    trace_view.map.picked = [len(trace_view.map.cols), 0, 1]
    alone = trace_view.frame("head_tokens").query("name == @name")["delta"]
    prompt = trace_view.text.steps.count(-1)
    np.testing.assert_allclose(trace_view.text.values[prompt:], alone, rtol=1e-5)
    assert trace_view.text.values[:prompt] == [None] * prompt
    assert name in trace_view.text.label
    assert trace_view.figure("heads").data
    trace_view.all_heads.click()
    assert trace_view.text.values == all_heads


def test_a_step_may_be_asked_of_all_heads(model: Any) -> None:
    view = al.TraceExplorer(model, tiny_traces(), "L0H1", controls=0, most=4)
    assert view.frame("heads").empty
    assert "no" in view.figure("heads").layout.annotations[0].text
    view.alone.of.value = True
    view.text.picked = [2, 1]
    assert view.worker.note.value == ""
    names = heads_of_step(model, view.trace, 2, 4).names()
    assert sorted(view.map.rows) == sorted(names)
    assert view.frame("heads")["name"].nunique() == 4
    # A cell of another step: the map stays, and the text is coloured by that head.
    view.map.picked = [0, 0, 1]
    assert sorted(view.map.rows) == sorted(names)
    assert f"{view.map.rows[0]} alone" in view.text.label
    view.alone.of.value = False
    assert view.map.rows == ["L0H1"]


def test_another_engine_can_be_plugged_in(model: Any) -> None:
    called = []

    def mine(*given: Any, **named: Any) -> pd.DataFrame:
        called.append(named)
        return single_heads(*given, **named)

    view = al.TraceExplorer(model, tiny_traces(), "L0H1", controls=0, measure_heads=mine)
    view.text.picked = [0, 1]
    view.text.picked = [1, 2]
    assert called == [{"mode": "uniform", "template": "auto"}]


def test_early_answers_stand_above_the_text_when_asked_for(model: Any) -> None:
    answered = al.Trace("a", "Add.", "2 + 2 = 4.\nThen 7.\n#### 7").with_steps("line")
    view = al.TraceExplorer(model, [answered, *tiny_traces()], "L0H1, L1H2")
    assert view.answers.track.cuts == [] and view.frame("early").empty
    assert "gain" not in [value for _, value in view.colour.options]
    view.answers.button.value = True
    assert view.answers.worker.note.value == ""
    wanted = al.early_answers(model, answered, "L0H1, L1H2", controls=1, progress=False)
    pd.testing.assert_frame_equal(view.frame("early"), wanted.steps)
    assert view.answers.track.cuts == [-1, 0, 1, 2]
    assert view.answers.track.answer == "7"
    view.answers.track.picked = [1, 1]
    assert view.text.current == view.map.column == view.answers.track.current == 1
    view.answers.track.picked = [-1, 2]
    assert view.text.current == -1
    view.colour.value = "gain"
    shown = [v for v, step in zip(view.text.values, view.text.steps, strict=True) if step == 1]
    assert shown == pytest.approx([wanted.steps["gain"][2]] * len(shown)) and shown
    assert [number["name"] for number in view.text.numbers][0] == "AIS"
    assert view.figure("early").data and view.figure("gains").data
    view.trace_picker.value = 1  # it names no answer
    assert view.answers.track.cuts == view.text.numbers == []
    assert "no answer" in view.answers.track.empty
    assert view.colour.value == "delta"
    view.answers.button.value = False
    view.trace_picker.value = 0
    assert view.answers.track.cuts == []


def test_colours_splitters_and_pasting(trace_view: al.TraceExplorer) -> None:
    for value in ("ais", "nll_base", "entropy", "delta_control"):
        trace_view.colour.value = value
        assert any(v is not None for v in trace_view.text.values)
    trace_view.splitter.value = "sentence"
    assert trace_view.worker.note.value == ""
    trace_view.response.value = "One.\n\nTwo."
    trace_view.add.click()
    assert trace_view.trace.id == "pasted 1"
    assert "".join(trace_view.text.texts) == "One.\n\nTwo."
    trace_view.response.value = " "
    trace_view.add.click()
    assert "paste a response" in trace_view.worker.note.value


def test_a_long_trace_is_windowed(model: Any) -> None:
    trace = al.Trace("long", "", "word " * 400).with_steps("auto")
    view = al.TraceExplorer(model, trace, "L0H1", controls=0)
    assert len(view.text.texts) == 2000


# AblationLab ------------------------------------------------------------------------------------


def test_both_texts_and_the_likely_tokens(model: Any) -> None:
    lab = al.AblationLab(model, "L0H1, L1H0, L2H2", HOSTILE, new_tokens=4)
    assert lab.worker.note.value in ("", '<span style="opacity:.75">both texts are the same</span>')
    assert lab.result is not None
    assert lab.base.name == "all heads"
    assert lab.base.texts == list(lab.result.base_texts)
    assert lab.other.texts == list(lab.result.ablated_texts)
    assert (lab.base.split if lab.base.split >= 0 else None) == lab.result.divergence
    assert set(lab.frame().columns) >= {"position", "p_base", "p_ablated"}
    last = len(lab.base.texts) - 1
    lab.base.picked = [last, 1]
    assert lab.base.current == last
    assert f"position {last} " in lab.figure().layout.title.text
    lab.prompt.value = ""
    lab.run.click()
    assert "prompt is empty" in lab.worker.note.value


def test_nothing_of_one_trace_stands_under_the_name_of_another(model: Any) -> None:
    seen: list[tuple[list[str], str, str, list[Any]]] = []
    view = al.TraceExplorer(model, tiny_traces(), "L0H1", controls=0)
    start = view.worker.start

    def look(work: Any, done: Any, **how: Any) -> None:
        seen.append((view.text.texts, view.text.empty, view.said.value, view.sources.arcs.units))
        start(work, done, **how)

    view.worker.start = look
    view.trace_picker.value = 1
    assert seen == [([], "scoring hostile …", "", [])]
    assert view.text.texts
    assert view.sources.arcs.units
    view.trace_picker.value = 0  # known already: shown at once
    assert len(seen) == 1
    assert view.trace.response in "".join(view.text.texts)


def test_a_score_that_failed_is_asked_for_again(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]

    def scored(*given: Any, **named: Any) -> Any:
        if broken:
            raise ConfigError("not now")
        return al.influence(*given, **named)

    monkeypatch.setattr("airlens.views.explorers.trace_explorer.influence", scored)
    view = al.TraceExplorer(model, tiny_traces(), "L0H1", controls=0)
    assert view.text.empty == "a is not scored."
    assert "not now" in view.worker.note.value
    assert view.worker.again.layout.display == ""
    broken.clear()
    view.worker.again.click()
    assert view.worker.again.layout.display == "none"
    assert view.trace.response in "".join(view.text.texts)
