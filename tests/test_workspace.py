"""The workspace, driven in Python on a tiny model: asking, one state, A beside B, a reload."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explore_tiny import HOSTILE, save_tiny, tiny_model, tiny_probes, tiny_traces

import airlens as al
from airlens.detectors.attention_patterns import small_patterns
from airlens.errors import ConfigError, WriteError
from airlens.traces.encoding import encode_trace
from airlens.views.explorers.model_heads import kept_scores
from airlens.views.explorers.workspace import HEADS, LAB, PINNED, SELECTION, TRACE


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def scores(model: Any) -> al.HeadScores:
    return al.retrieval_scores(model, tiny_probes(model.tokenizer), progress=False)


@pytest.fixture
def space(model: Any, scores: al.HeadScores) -> al.Workspace:
    probes = tiny_probes(model.tokenizer)
    return al.Workspace(
        model, tiny_traces(), "L0H1, L1H2", scores=scores, probes=probes, new_tokens=6
    )


def view_of(space: al.Workspace) -> al.TraceExplorer:
    assert space.trace_view is not None
    return space.trace_view


def greedy(model: Any, prompt: str, n: int) -> list[int]:
    """What the model writes, a full pass for each token."""
    ids = model.tokenizer(prompt)["input_ids"]
    start = len(ids)
    while len(ids) < start + n:
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == model.tokenizer.eos_token_id:
            break
    return ids[start:]


def test_what_the_model_writes_becomes_the_trace_in_colour(space: al.Workspace) -> None:
    space.question.text.value = "Count"
    space.question.write.click()
    wanted = greedy(space.model, "Count\n", 6)
    assert space.question.written == wanted
    view = view_of(space)
    trace = view.trace
    assert (trace.id, trace.prompt) == ("question 1", "Count")
    assert trace.response == space.model.tokenizer.decode(wanted, skip_special_tokens=True)
    beside = al.influence(space.model, trace, "L0H1, L1H2", controls=1, progress=False)
    np.testing.assert_allclose(view.frame()["delta"], beside.tokens["delta"])
    assert view.sources.result is not None
    space.question.text.value = " "
    space.question.write.click()
    assert "prompt is empty" in space.question.worker.note.value


def test_tokens_are_shown_as_they_come_and_kept_after_a_cancel(space: al.Workspace) -> None:
    question, seen = space.question, list[int]()
    question.text.value, question.length.value = "Count", 400

    async def main() -> None:
        question.write.click()
        while len(seen) < 400 and not (seen and seen[-1] > 3):
            await asyncio.sleep(0.01)
            seen.append(len(question.written))
        question.worker.cancel.click()
        while question.worker.job is not None and not question.worker.job.settled:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    written = list(question.written)
    assert 3 < len(written) < 400
    assert written == greedy(space.model, "Count\n", len(written))
    assert "cancelled" in question.worker.note.value
    assert question.shown.value.startswith('<div class="airlens-written"')
    assert view_of(space).trace.id == "a"
    assert question.keep.layout.display == ""
    question.keep.click()
    assert view_of(space).trace.prompt == "Count"


def test_heads_are_looked_for_where_none_are_given(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlens.views.explorers.model_heads.PROBE_TOKENS", 2500)
    space = al.Workspace(model, tiny_traces(), top=2, controls=0)
    assert space.finder.note.value == ""
    assert space.scores is not None
    assert view_of(space).heads.heads == space.scores.top(2).heads


@pytest.mark.slow
def test_views_are_made_when_their_tab_is_opened_and_share_one_state(space: al.Workspace) -> None:
    view = view_of(space)
    assert space.head_view is space.lab is space.selection_view is space.pinned is None
    for tab in (HEADS, LAB, SELECTION):
        space.tabs.selected_index = tab
    assert space.head_view is not None
    assert space.lab is not None
    assert space.selection_view is not None
    space.head_view.slider.value = 3  # chosen in one view
    names = str(space.head_view.heads)
    assert view.set_text.value == space.lab.set_text.value == names
    assert view.heads.heads == space.head_view.heads.heads
    space.lab.mode.value = "zero"
    assert view.mode.value == space.head_view.mode.value == "zero"
    assert "zero" in view.text.legend
    made = space.selection_view
    ids = made.samples["id"].tolist()
    made.points.picked = [ids.index("hostile"), 1]
    assert view.trace.id == "hostile"


def test_the_patterns_of_all_heads_are_those_of_the_shown_trace(space: al.Workspace) -> None:
    view = view_of(space)
    space.tabs.selected_index = HEADS
    assert space.head_view is not None
    found = space.head_view.patterns
    found.button.value = True
    assert found.of.options == ("the probe", "the trace")
    for index in (0, 1):
        view.trace_picker.value = index
        found.of.value = "the trace"
        tokens = encode_trace(space.model.tokenizer, view.trace).tokens
        assert f"{view.trace.id}, {len(tokens)} tokens" in found.map.title
        wanted = small_patterns(space.model, tokens)
        np.testing.assert_allclose(found.frame()["first"], wanted.first.ravel())


def test_pinned_heads_are_shown_beside_others_on_the_same_trace(space: al.Workspace) -> None:
    view = view_of(space)
    space.tabs.selected_index = PINNED
    pinned = space.pinned
    assert pinned is not None
    assert pinned.text.texts == []
    pinned.pin.click()
    before = al.influence(space.model, view.trace, "L0H1, L1H2", controls=1, progress=False)
    assert pinned.frame()["ais_b_minus_a"].tolist() == [0.0] * len(view.trace.steps)
    view.set_text.value = "L2H0"  # B alone changes
    after = al.influence(space.model, view.trace, "L2H0", controls=1, progress=False)
    frame = pinned.frame()
    np.testing.assert_allclose(frame["ais_a"], before.steps["ais"])
    np.testing.assert_allclose(frame["ais_b"], after.steps["ais"])
    np.testing.assert_allclose(pinned.text.values, before.tokens["delta"], atol=1e-6)
    assert pinned.text.bound == view.text.bound
    pinned.text.picked = [1, 1.0]  # a click in A is one in B
    assert view.text.current == pinned.text.current == view.map.column == 1
    view.colour.value = "ais"
    assert pinned.text.bound == view.text.bound
    view.trace_picker.value = 1
    assert "onerror" in "".join(pinned.text.texts)
    pinned.random.click()
    assert pinned.heads is not None
    assert len(pinned.heads) == 1
    assert not set(pinned.heads) & set(view.heads)
    pinned.set_text.value = HOSTILE
    assert 'role="alert"' in pinned.worker.note.value


def test_a_file_is_loaded_and_its_first_trace_shown(space: al.Workspace, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"id": f"mine {i}", "prompt": "p", "response": f"One {i}. Two."} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    space.question.path.value = str(file)
    space.question.load.click()
    view = view_of(space)
    assert view.trace.id == "mine 0"
    assert len(view.traces) == 5
    space.question.path.value = str(tmp_path / "no.jsonl")
    space.question.load.click()
    assert 'role="alert"' in space.question.loader.note.value


def test_a_page_that_is_loaded_again_has_its_state(
    space: al.Workspace, model: Any, scores: al.HeadScores
) -> None:
    space.question.text.value = "Count"
    space.question.write.click()
    view = view_of(space)
    view.set_text.value = "L2H0, L0H0"
    view.colour.value = "nll_base"
    view.sources.choose(0)
    space.tabs.selected_index = PINNED
    assert space.pinned is not None
    space.pinned.set_text.value = "L1H1"
    view.sources.threshold.value = view.sources.threshold.max / 5
    for tab in (0, PINNED):
        space.tabs.selected_index = tab
        assert json.loads(space.kept.state)["tab"] == tab
    state = space.state()
    assert json.loads(space.kept.state) == state

    again = al.Workspace(
        model, tiny_traces(), "L0H1, L1H2", scores=scores, probes=tiny_probes(model.tokenizer)
    )
    assert again.kept.name == space.kept.name
    again.kept.restored = space.kept.state
    assert again.scorer.note.value == ""
    assert again.state() == state
    assert again.pinned is not None
    assert "".join(again.pinned.text.texts) == view.trace.response
    # Another model, or other heads given: nothing is taken over.
    assert al.Workspace(model, tiny_traces(), "L0H0").kept.name != space.kept.name
    again.kept.restored = '{"heads": "L99H0"}'
    assert view_of(again).set_text.value
    again.kept.restored = "no json"
    assert 'role="alert"' in again.scorer.note.value


def test_what_it_leaves_in_a_notebook_is_its_trace(space: al.Workspace) -> None:
    html = space.static_html()
    assert "What Workspace showed last" in html
    assert html.count('<div class="step">') == len(view_of(space).trace.steps)
    assert space.tabs.selected_index == TRACE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the tiny model, to be loaded by its name."""
    return str(save_tiny(tmp_path_factory.mktemp("tiny")))


async def until(done: Any) -> None:
    while not done():
        await asyncio.sleep(0.01)


def test_a_question_may_be_asked_before_the_model_is_loaded(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path))

    async def main() -> al.Workspace:
        space = al.Workspace(folder, tiny_traces(), top=2, controls=0, new_tokens=6)
        assert not space.loaded
        with pytest.raises(ConfigError, match="not loaded"):
            _ = space.model
        shown = space.tabs.children[TRACE].children[0].value
        assert "is being loaded" in shown
        assert "onerror" not in shown  # the first trace; the other one would be escaped
        assert tiny_traces()[0].response.split("\n")[0] in shown
        space.question.text.value = "Count"
        space.question.write.click()
        assert "as soon as the model is loaded" in space.question.worker.note.value
        await until(lambda: space.trace_view is not None and space.trace_view.result is not None)
        return space

    space = asyncio.run(main())
    assert space.question.written == greedy(space.model, "Count\n", 6)
    assert view_of(space).trace.prompt == "Count"
    beside = al.load_model(folder)
    scores = al.retrieval_scores(beside, space.probes, progress=False)
    assert view_of(space).heads.heads == scores.top(2).heads
    assert space.called == beside.cfg.model_name


def test_a_state_that_is_asked_for_early_is_taken_up(folder: str) -> None:
    async def main() -> al.Workspace:
        space = al.Workspace(folder, tiny_traces(), "L0H0", controls=0)
        space.kept.restored = json.dumps({"heads": "L1H2", "trace": "hostile", "step": 0})
        await until(lambda: view_of(space).sources.result is not None if space.loaded else False)
        return space

    state = asyncio.run(main()).state()
    assert (state["heads"], state["trace"], state["step"]) == ("L1H2", "hostile", 0)


def test_heads_found_before_are_read_on_the_same_weights_only(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path))
    model = al.load_model(folder)
    probes = tiny_probes(model.tokenizer)
    first, before = kept_scores(model, probes)
    assert before == ""
    np.testing.assert_allclose(first.scores, al.retrieval_scores(model, probes).scores, atol=1e-4)

    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    with monkeypatch.context() as patch:
        patch.setattr("airlens.views.explorers.model_heads.retrieval_scores", fails)
        again, before = kept_scores(al.load_model(folder), probes)
        assert before == first.provenance["time"]
        assert again.top(3).heads == first.top(3).heads
        other = al.load_model(folder)
        other.original_model.model.embed_tokens.weight.data[5, 0] += 1e-3
        with pytest.raises(AssertionError, match="measured again"):
            kept_scores(other, probes)


def test_pinned_heads_that_are_not_there_are_told(folder: str) -> None:
    space = al.Workspace(al.load_model(folder), tiny_traces(), "L0H1, L1H2", controls=0)
    space.pin("L99H0", False)
    assert space.pinned is not None and "alert" in space.pinned.worker.note.value


def test_heads_are_found_where_nothing_can_be_kept(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path / "file"))
    model = al.load_model(folder)
    probes = tiny_probes(model.tokenizer)
    known = al.retrieval_scores(model, probes, progress=False).scores
    for _ in range(2):
        scores, before = kept_scores(model, probes)
        assert before == ""
        np.testing.assert_array_equal(scores.scores, known)

    def full(*_: Any) -> Any:
        raise WriteError(tmp_path, OSError(28, "No space left on device"))

    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path))
    monkeypatch.setattr(al.HeadScores, "save", full)
    np.testing.assert_array_equal(kept_scores(model, probes)[0].scores, known)


def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    space = al.Workspace(str(tmp_path / "nothing"), tiny_traces())
    assert not space.loaded
    assert "no such folder" in space.finder.note.value
    assert "is not loaded" in space.tabs.children[TRACE].children[0].value
