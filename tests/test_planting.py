"""What is planted, where, and how well it is matched."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlens.errors import ConfigError, DataError
from airlens.experiments.validity.planting import (
    KINDS,
    LOSS_MATCHED,
    plant,
    planted_info,
    put,
    real_of,
)
from airlens.experiments.validity.planting_texts import (
    NUMBER,
    other_number,
    with_wrong_numbers,
    with_wrong_result,
)
from airlens.traces.load import load_traces
from airlens.traces.steps import split_steps
from airlens.traces.trace import Trace
from airlens.traces.write_traces import save_traces


def traces(n: int = 6) -> list[Trace]:
    rng = random.Random(0)
    found = []
    for i in range(n):
        a, b, c = (rng.randint(11, 99) for _ in range(3))
        prompt = (
            f"Ann number {i} buys {a} red pens at a shop in town. Then she buys {b} blue pens "
            f"from her friend Bo. Cy has {c} green ones. How many pens do they have together?"
        )
        response = (
            f"First count the red and the blue pens of Ann number {i}.\n"
            f"Ann number {i} has {a} + {b} = {a + b} pens of both colours in all.\n"
            f"Together with Cy that makes {a + b} + {c} = {a + b + c} pens for everybody.\n"
            f"#### {a + b + c}"
        )
        found.append(Trace(f"t{i}", prompt, response, "pens", split_steps(response, "line")))
    return found


def text_of(trace: Trace) -> str:
    return trace.steps[planted_info(trace)["step"]].text.strip()


def test_every_kind_is_planted_and_nothing_else_changes(tokenizer: Any) -> None:
    sources = {trace.id: trace for trace in traces()}
    planted = plant(list(sources.values()), tokenizer)
    kinds = [kind for kind in KINDS if kind not in LOSS_MATCHED]
    assert [planted_info(t)["kind"] for t in planted[: len(kinds)]] == kinds
    for trace in planted:
        info = planted_info(trace)
        source = sources[info["source"]]
        assert trace.prompt == source.prompt
        assert trace.steps[info["step"]].label == "planted"
        before = [s.text for s in source.steps[: info["step"]]]
        assert [s.text for s in trace.steps[: info["step"]]] == before
        assert real_of(trace).response == source.response


def test_planted_text_stands_in_the_prompt_only_where_it_is_a_restatement(tokenizer: Any) -> None:
    for trace in plant(traces(), tokenizer):
        leaks = text_of(trace) in trace.prompt
        assert leaks == (planted_info(trace)["kind"] == "restated")


def test_kinds_are_what_they_say(tokenizer: Any) -> None:
    sources = traces()
    planted = plant(sources, tokenizer)
    by_id = {trace.id: trace for trace in sources}
    for trace in planted:
        info, text = planted_info(trace), text_of(trace)
        own, real = by_id[info["source"]], info["real"].strip()
        kind = info["kind"]
        if kind == "repeated":
            assert text in own.response[: own.response.index(real)]
        elif kind == "other":
            others = [s.text.strip() for t in sources if t.id != own.id for s in t.steps]
            assert text in others
            assert text not in own.response
        elif kind in ("wrong_result", "wrong_numbers"):
            assert NUMBER.sub("N", text) == NUMBER.sub("N", real)
            changed = sum(
                a != b for a, b in zip(NUMBER.findall(text), NUMBER.findall(real), strict=True)
            )
            assert changed == (1 if kind == "wrong_result" else len(NUMBER.findall(real)))
        assert text != real


def test_length_is_matched(tokenizer: Any) -> None:
    for trace in plant(traces(), tokenizer, kinds=["irrelevant", "other", "memorised"]):
        info = planted_info(trace)
        count = len(tokenizer(text_of(trace), add_special_tokens=False)["input_ids"])
        assert count == info["n_tokens"]
        assert abs(info["n_tokens"] - info["n_tokens_real"]) <= 0.1 * info["n_tokens_real"] + 2


def test_loss_is_matched_among_the_candidates(tokenizer: Any) -> None:
    """With the loss of a text given by its letters, no candidate is nearer than the planted one."""
    asked: dict[str, list[tuple[str, float]]] = {}

    def letters(text: str) -> float:
        return sum(map(ord, text)) / len(text)

    def loss_of(trace: Trace, step: int, texts: Any) -> list[float]:
        asked[trace.id] = [(text, letters(text)) for text in texts]
        return [letters(text) for text in texts]

    for trace in plant(traces(), tokenizer, kinds=["irrelevant_loss"], loss_of=loss_of):
        info = planted_info(trace)
        (_, real), *others = asked[info["source"]]
        assert info["loss_real"] == real
        best = min(abs(loss - real) for _, loss in others)
        assert abs(letters(text_of(trace)) - real) == best


def test_same_seed_same_set_and_the_order_of_traces_changes_no_planting(tokenizer: Any) -> None:
    first = plant(traces(), tokenizer, seed=3)
    again = plant(traces(), tokenizer, seed=3)
    assert first == again
    assert first != plant(traces(), tokenizer, seed=4)
    fewer = plant(traces(), tokenizer, seed=3, n=2)
    assert fewer == first[: len(fewer)]


def test_a_saved_set_is_read_by_others(tokenizer: Any, tmp_path: Any) -> None:
    planted = plant(traces(), tokenizer, n=3)
    path = save_traces(planted, tmp_path / "planted.jsonl")
    back = load_traces(path)
    assert [t.response for t in back] == [t.response for t in planted]
    assert [t.steps for t in back] == [t.steps for t in planted]
    assert [planted_info(t) for t in back] == [planted_info(t) for t in planted]


def test_after_leaves_the_real_step_where_it_is(tokenizer: Any) -> None:
    for trace in plant(traces(), tokenizer, place="after"):
        info = planted_info(trace)
        assert trace.steps[info["step"] - 1].text == info["real"]
        sources = {t.id: t.response for t in traces()}
        assert real_of(trace).response == sources[info["source"]]


def test_what_cannot_be_done_is_said(tokenizer: Any) -> None:
    short = Trace("a", "Why?", "Because.", "", split_steps("Because."))
    with pytest.raises(DataError, match="three steps"):
        plant([short], tokenizer)
    with pytest.raises(ConfigError, match="use one of"):
        plant(traces(), tokenizer, kinds=["nonsense"])
    with pytest.raises(ConfigError, match="instead"):
        plant(traces(), tokenizer, place="beside")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no planted trace"):
        planted_info(short)
    assert with_wrong_result("no number", random.Random(0)) is None
    assert with_wrong_numbers("only 1", random.Random(0)) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 99))
def test_another_number_has_the_same_form(value: int, seed: int) -> None:
    for text in (str(value), f"{value:,}", f"{value}.5"):
        other = other_number(text, random.Random(seed))
        assert other != text
        assert len(other) == len(text)
        assert NUMBER.fullmatch(other)
        assert other[0] != "0" or text[0] == "0"


def test_the_result_is_what_follows_the_equals_sign() -> None:
    changed = with_wrong_result("He has 3 + 4 = 7 of 9 pens.", random.Random(1))
    assert changed is not None
    assert changed.startswith("He has 3 + 4 = ")
    assert changed.endswith(" of 9 pens.")
    assert "= 7 " not in changed


def test_a_step_is_put_in_place() -> None:
    trace = traces(1)[0]
    planted = put(trace, 1, "Nothing happens.", "irrelevant")
    assert planted.steps[1].text == "Nothing happens.\n"
    assert planted.steps[2].text == trace.steps[2].text
    assert planted.id == "t0/irrelevant"
