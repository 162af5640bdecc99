"""A token belongs to the step of its first non-blank character (method page, steps)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import word_tokenizer
from hypothesis import given
from hypothesis import strategies as st

import airlens as al
from airlens.step_sources.source_units import unit_table, units_of
from airlens.traces.encoding import encode_trace
from airlens.views.figures.step_maps import row_dicts

TEXT = "Ann has 3 apples. Bert buys 4 more. So 7."


@pytest.fixture(scope="module")
def words() -> Any:
    return word_tokenizer(2000)


def by_hand(trace: al.Trace, start: int, end: int) -> int:
    """The step of the first character that is no blank, or of the first one of all."""
    text = trace.response
    at = next((i for i in range(start, end) if not text[i].isspace()), start)
    steps = trace.whole_steps()
    return next(i for i, step in enumerate(steps) if step.start <= at < step.end)


def test_a1_a_word_counts_to_its_own_sentence(words: Any) -> None:
    trace = al.Trace("1", "How many?", TEXT).with_steps("sentence")
    encoded = encode_trace(words, trace, "plain")
    texts = [trace.response[a:b] for a, b in encoded.offsets.tolist()]
    first = {step: texts[list(encoded.step).index(step)].strip() for step in range(3)}
    assert [trace.steps[i].text.split()[0].startswith(first[i]) for i in range(3)] == [True] * 3
    assert first[1][0] == "B" and first[2][0] == "S"


@given(text=st.text(st.sampled_from("ab.1 \n\t\u3000é√"), max_size=40))
@pytest.mark.parametrize("how", ["sentence", "line", "paragraph"])
def test_a1_by_the_rule_for_any_text(words: Any, how: str, text: str) -> None:
    trace = al.Trace("1", "Q", text).with_steps(how)
    encoded = encode_trace(words, trace, "plain")
    want = [by_hand(trace, a, b) for a, b in encoded.offsets.tolist()]
    assert encoded.step.tolist() == want
    assert (np.diff(encoded.step) >= 0).all()


def test_a1_blanks_alone_count_to_the_step_in_which_they_begin(tokenizer: Any) -> None:
    trace = al.Trace("1", "Q", "One.\n \n Two.").with_steps("paragraph")
    assert [step.text for step in trace.steps] == ["One.\n \n", " Two."]
    encoded = encode_trace(tokenizer, trace, "plain")  # a token a byte
    assert encoded.step.tolist() == [0] * 7 + [1] * 5


def test_a1_sentences_of_the_prompt_by_the_same_rule(words: Any) -> None:
    trace = al.Trace("1", TEXT, "It is 7.")
    units = units_of(encode_trace(words, trace, "plain"))
    text = units.encoded.prefix
    for row in row_dicts(unit_table(units).query("kind == 'prompt'")):
        span = units.encoded.spans[row["first"] : row["last"] + 1]
        held = "".join(text[a:b] for a, b in span.tolist())
        # All but the first token of the sequence, which is a sink.
        assert held.strip() == row["text"].strip() or row["first"] == 1
