"""The state of a workspace as an address: taken up in another one, with one's own trace in it."""

from __future__ import annotations

import asyncio
import json
import zlib
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs

import pytest
from explore_tiny import HOSTILE, tiny_model, tiny_probes, tiny_traces
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import airlens as al
from airlens.errors import AirlensError, ConfigError, DataError
from airlens.views.explorers.address import (
    MOST_BYTES,
    MOST_TEXT,
    pack,
    read_address,
    unpack,
    write_address,
)
from airlens.views.explorers.workspace import HEADS, LAB, PINNED, SELECTION, TRACE

HEADS_B = "L0H1, L1H2"


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def scores(model: Any) -> al.HeadScores:
    return al.retrieval_scores(model, tiny_probes(model.tokenizer), progress=False)


@pytest.fixture
def made(model: Any, scores: al.HeadScores) -> Any:
    """What makes a workspace of the tiny model and its two traces."""

    def make(heads: Any = HEADS_B, **how: Any) -> al.Workspace:
        known = {"scores": scores, "probes": tiny_probes(model.tokenizer)}
        return al.Workspace(model, tiny_traces(), heads, **{**known, **how})

    return make


def view_of(space: al.Workspace) -> al.TraceExplorer:
    assert space.trace_view is not None
    return space.trace_view


def other_model() -> Any:
    """A model of another shape, whose tokens are words."""
    words = ["<unk>", "<s>", "First", "Then", "The", "answer", "is", "2", "4", "3", "7", "+", "="]
    tokenizer = Tokenizer(models.WordLevel({x: i for i, x in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", pad_token="<s>"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(fast), max_position_embeddings=512, **sizes, **heads)
    return al.load_model(LlamaForCausalLM(config), tokenizer=fast, device="cpu")


# The line of text ------------------------------------------------------------------------------


@given(st.text(), st.text())
def test_a_trace_in_a_link_is_whole_or_not_there(prompt: str, response: str) -> None:
    prompt, response = (x.encode(errors="replace").decode() for x in (prompt, response))
    trace = al.Trace("a", prompt, response)
    text = pack(trace)
    assert text == "" or unpack(text) == trace
    assert len(text) <= MOST_TEXT


def test_a_damaged_or_monstrous_trace_is_refused() -> None:
    text = pack(al.Trace("a", "Add.", "One. Two. Three. Four."))
    bomb = urlsafe_b64encode(zlib.compress(b" " * (MOST_BYTES + 1))).decode()
    for wrong in (text[:-9], text[:20], "%%%", "é", bomb, pack.__name__):
        with pytest.raises(DataError, match="damaged"):
            unpack(wrong)


@given(st.dictionaries(st.sampled_from(["trace", "heads", "pinned"]), st.text(min_size=1)))
def test_an_address_is_read_as_it_was_written(state: dict[str, str]) -> None:
    state = {k: v.encode(errors="replace").decode().replace(", ", ",") for k, v in state.items()}
    text = write_address(state, {})
    assert text.isascii()
    assert not set(text) & set(' "<>`#')
    assert read_address(f"http://127.0.0.1:8866/?a=b#{text}") == state


def test_what_an_address_does_not_know_is_left_out_and_no_number_is_named() -> None:
    assert read_address("#trace=a&utm_source=x&step=3") == {"trace": "a", "step": 3}
    with pytest.raises(ConfigError, match="step=three"):
        read_address("#step=three")


# One workspace's state in another ----------------------------------------------------------------


def test_a_link_to_one_step_of_ones_own_trace_opens_there(made: Any, model: Any) -> None:
    space = made(new_tokens=24)
    view = view_of(space)
    view.prompt.value, view.response.value = "Sum?", f"2 + 2 is 4.\n{HOSTILE}\nSo 4."
    view.add.click()
    view.set_text.value = "L2H0, L0H0"
    view.mode.value = "zero"
    view.colour.value = "nll_base"
    view.sources.measure.value = "attention"
    view.sources.threshold.value = 0.4 * view.sources.threshold.max
    last = max(view.text.steps)
    view.go_to(last)
    space.tabs.selected_index = PINNED
    link = f"http://127.0.0.1:8866/#{space.address()}"
    said = parse_qs(space.address())
    assert said["trace"] == ["pasted 1"]
    assert said["step"] == [str(last)]
    assert said["heads"] == ["L2H0,L0H0"]
    assert said["least"] == ["20"]
    assert "show" not in said  # it is as at first

    there = made(heads=None, state=link)
    assert there.scorer.note.value == ""
    seen = view_of(there)
    assert seen.trace == view.trace
    assert there.tabs.selected_index == PINNED
    assert there.address() == space.address()
    assert (seen.text.current, str(seen.heads)) == (last, "L2H0, L0H0")
    assert seen.sources.measure.value == "attention"
    assert seen.colour.value == "nll_base"
    # The same link again: nothing is added twice.
    there.restore(link)
    assert len(seen.traces) == 3


def test_the_heads_of_a_link_save_the_search(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: Any, **__: Any) -> None:
        raise AssertionError("heads were looked for")

    monkeypatch.setattr("airlens.views.explorers.workspace.retrieval_scores", search)
    space = al.Workspace(model, tiny_traces(), state="heads=L1H1&trace=hostile&step=0")
    assert str(view_of(space).heads) == "L1H1"
    assert view_of(space).trace.id == "hostile"


def test_a_name_that_is_taken_by_another_text_gets_a_name_of_its_own(made: Any) -> None:
    here, there = made(), made()
    for space, text in ((here, "Here."), (there, "There.")):
        view_of(space).response.value = text
        view_of(space).add.click()
    there.restore(here.address())
    assert [x.id for x in there.added] == ["pasted 1", "pasted 1 (2)"]
    assert view_of(there).trace.response == "Here."
    there.restore(here.address())
    assert len(there.added) == 2


def test_going_back_restores_what_was_shown(made: Any) -> None:
    space = made()
    view, first = view_of(space), space.address()
    before = space.state()
    view.set_text.value = "L2H3"
    view.trace_picker.value = 1
    view.colour.value = "ais"
    view.sources.choose(0)
    space.tabs.selected_index = PINNED
    space.pinned.pin.click()
    assert space.kept.address == space.address() != first
    space.kept.wanted = [first, 1.0]
    assert space.state() | {"asked": 0} == before
    assert space.kept.address == first


def test_a_prompt_unit_and_a_source_are_part_of_it(made: Any) -> None:
    space = made()
    view = view_of(space)
    unit = min(view.text.steps)
    view.go_to(2, unit)
    assert view.text.focus == [2, unit]
    again = made(state=space.address())
    assert view_of(again).text.focus == [2, unit]
    view.go_to(-1, unit)
    again.restore(space.address())
    assert (view_of(again).text.current, view_of(again).text.focus) == (-1, [-1, unit])
    for step, source in ((99, None), (1, 2), (1, -99)):
        view.go_to(step, source)
        assert view.text.focus == []


def test_what_a_link_cannot_have_here_is_said(made: Any) -> None:
    space = made()
    space.restore("trace=elsewhere&step=2&heads=L0H1,L1H2&model=big&beside=bigger&tab=99")
    said = space.scorer.note.value
    for words in ("elsewhere", "load its file", "with the model big", "beside="):
        assert words in said
    assert view_of(space).trace.id == "a"
    with pytest.raises(AirlensError):
        made(heads=None, state="heads=L99H0&trace=a")
    space.kept.restored = json.dumps({"address": "step=x"})
    assert "should be a number" in space.scorer.note.value


def test_one_message_of_a_person_is_one_place_to_come_back_to(made: Any) -> None:
    """Also where many values change: a trace, its step, its threshold."""
    told = []

    async def main() -> None:
        space = made()
        view = view_of(space)
        space.kept.observe(lambda change: told.append(change["new"]), "address")

        async def done() -> None:
            workers = (view.worker, view.sources.worker)
            for _ in range(2):
                while any(x.job is not None and not x.job.settled for x in workers):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)

        await done()
        for trace in (1, 0, 1):  # measured, then from memory
            told.append("")
            view.trace_picker.value = trace
            await done()
        told.append("")
        view.text.picked = [0, 1.0]
        await done()

    asyncio.run(main())
    parts = "|".join(told).split("||")
    assert [part.count("trace=") for part in parts] in ([1, 1, 1, 1, 0], [1, 1, 1, 1, 1])


# Another model -----------------------------------------------------------------------------------


def test_another_model_is_compared_by_step(made: Any, model: Any) -> None:
    other = other_model()
    space = made(beside=other, beside_heads="L1H0", controls=0)
    space.tabs.selected_index = PINNED
    pinned = space.pinned
    assert pinned is not None
    assert pinned.whose.layout.display == ""
    step = view_of(space).text.current
    pinned.whose.value = 1
    assert pinned.set_text.value == "L1H0"
    assert view_of(space).text.current == pinned.text.current == step >= 0
    trace = view_of(space).trace
    mine = al.influence(other, trace, "L1H0", controls=0, progress=False)
    here = al.influence(model, trace, HEADS_B, controls=0, progress=False)
    frame = pinned.frame()
    assert frame["ais_a"].tolist() == pytest.approx(mine.steps["ais"].tolist())
    assert frame["ais_b"].tolist() == pytest.approx(here.steps["ais"].tolist())
    assert len(mine.tokens) < len(here.tokens)
    assert "compare steps, not tokens" in pinned.about.value
    assert f"{len(mine.tokens)} tokens of its own" in pinned.about.value
    pinned.text.picked = [1, 1.0]
    assert view_of(space).text.current == 1
    address = space.address()
    assert "beside=" in address
    pinned.random.click()
    assert not set(pinned.heads) & {al.Head(1, 0)}
    pinned.pin.click()  # the heads of B are of B's model
    assert (pinned.whose.value, pinned.set_text.value) == (0, HEADS_B)
    assert pinned.frame()["ais_b_minus_a"].tolist() == [0.0] * len(here.steps)
    space.restore(address)
    assert (pinned.whose.value, pinned.set_text.value) == (1, "L1H0")


def test_the_heads_of_another_model_are_found_when_they_are_needed(made: Any) -> None:
    space = made(beside=tiny_model(), top=2, controls=0)
    space.tabs.selected_index = PINNED
    assert space.pinned.heads is None
    space.pinned.whose.value = 1
    assert len(space.pinned.heads) == 2
    assert "the same tokens as B" in space.pinned.about.value
    with pytest.raises(ConfigError, match="beside="):
        made(beside_heads="L0H0")


# One head set in all views -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_head_set_chosen_in_one_view_reaches_all(made: Any) -> None:
    space = made(new_tokens=3)
    for tab in (HEADS, LAB, SELECTION, PINNED, TRACE):
        space.tabs.selected_index = tab
    heads = space.head_view
    assert heads is not None
    heads.map.picked = [11, 1, 1.0]  # L2H3 is taken in
    heads.map.picked = [1, 1, 2.0]  # L0H1 is left out
    names = str(heads.heads)
    assert set(heads.heads) == set(al.HeadSet.parse("L1H2, L2H3"))
    view = view_of(space)
    assert str(view.heads) == names
    assert view.sources.result.provenance["heads"] == heads.heads.names()
    assert names in space.pinned.names.value
    space.tabs.selected_index = LAB
    assert str(space.lab.result.heads) == names
    assert space.lab.other.name.startswith("without 2 heads")
    space.tabs.selected_index = SELECTION
    assert space.selection_view.influence.provenance["heads"] == heads.heads.names()
    # From the trace to the map of heads.
    view.set_text.value = "L1H1"
    assert heads.map.marked == [5]
    assert heads.slider.value == 1


# A page of one's own trace -----------------------------------------------------------------------


def test_the_trace_that_is_shown_is_saved_as_a_page(made: Any) -> None:
    space = made()
    sent: list[Any] = []
    space.kept.send = lambda content, buffers=(): sent.append((content, *buffers))
    view = view_of(space)
    view.response.value = "a/b: 2 + 2 = 4.\nThen 4 + 4 = 8."
    view.add.click()
    view.go_to(0)
    space.kept.asked += 1
    content, data = sent[0]
    assert content == {"name": "airlens-pasted-1.html"}
    html = data.decode()
    assert html.startswith("<!doctype html>")
    assert "Then 4 + 4 = 8." not in html or "<script>" not in view.response.value
    assert space.kept.told == ""
