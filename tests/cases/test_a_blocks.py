"""Code between fences and display mathematics stay whole under steps."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import airlens as al
from airlens.step_sources.source_units import unit_table, units_of
from airlens.traces.blocks import blocks
from airlens.traces.encoding import encode_trace
from airlens.traces.steps import auto_how, split_steps

CODE = "```python\nx = 1. It is.\n\nprint(x)\n```"
MATHS = "\\[\nx = 3. \\\\\n\ny = 4. Z\n\\]"
WHOLE = [
    CODE,
    "~~~\na. B.\n\nc\n~~~",
    "````md\n```\nA. B.\n\n```\n````",
    "  ```\n  a. B.\n\n  c\n  ```",
    "- ```sh\n  a. B.\n\n  c\n  ```",
    "1. ```\n   a. B.\n\n   c\n   ```",
    "> ```\n> a. B.\n>\n\n> c\n> ```",
    "```\nnever closed. It\n\nruns on. To the end.",
    MATHS,
    "\\[ a = 1. \nB \\]",
    "$$\na = 1.\n\nB = 2. C\n$$",
    "$$ a = 1.\nB $$",
    "\\begin{align}\na &= 1. \\\\\n\nB &= 2. C\n\\end{align}",
    "\\begin{align*}\n\\begin{cases}\na. B\n\\end{cases}\n\n\\end{align*}",
]


@pytest.mark.parametrize("block", WHOLE)
@pytest.mark.parametrize("how", ["auto", "paragraph", "line", "sentence"])
def test_a5_a_block_is_in_one_step(how: str, block: str) -> None:
    text = f"First we look.\n\n{block}"
    if "never closed" not in block:
        text += "\n\nThen we are done. It is 4.\n"
    steps = split_steps(text, how)
    assert "".join(step.text for step in steps) == text
    assert sum(block.strip(" ->1.") in step.text for step in steps) == 1
    assert steps[0].text.strip() == "First we look."
    raw = split_steps(text, "raw-" + (auto_how(text) if how == "auto" else how))
    assert len(raw) > len(steps) or (how != "sentence" and "\n\n" not in block)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $$5.\n\nIt costs $$6. Dear.",
        "A \\[ is never closed.\n\nB.",
        "A \\[ x. \\[ y \\] B.\n\nC.",
        "\\begin{align} x.\n\nB.",
        "A line break \\\\[2pt] here.\n\nB \\] c.",
        "Write ``` for code, they say.\n\nB.",
        "Use `x`. Or ``y``.\n\nB.",
        "a ~~~ b\n\nc ~~~ d",
        "```x```. Yes.\n\nB.",
    ],
)
def test_a5_what_is_no_block_is_cut(text: str) -> None:
    assert len(split_steps(text, "paragraph")) == 2
    inside = [text[a:b] for a, b in blocks(text)]
    assert all("\n" not in part for part in inside)


def test_a5_code_that_begins_within_a_line() -> None:
    text = "Run this: ```py\na = 1\n\nb = 2\n```\n\nDone."
    assert [step.text for step in split_steps(text)] == [text[:-5], "Done."]


def test_a5_auto_looks_outside_of_blocks() -> None:
    assert auto_how(f"First. {MATHS} Then. Last.") == "sentence"
    assert auto_how(f"First.\n{CODE}\nThen.") == "line"
    assert auto_how(f"{CODE}\n\nThen.") == "paragraph"


def test_a5_an_option_cuts_blocks_too() -> None:
    assert len(split_steps(CODE, "raw-line")) == 4 - 1 + 1
    assert len(split_steps(CODE, "line")) == 1
    trace = al.Trace("1", "Q", CODE)
    assert len(trace.with_steps("raw-paragraph").steps) == 2
    assert len(trace.with_steps("paragraph").steps) == 1


def test_a5_blocks_of_the_prompt_are_one_source(tokenizer: object) -> None:
    trace = al.Trace("1", f"What does this print? Think.\n{CODE}\nGo on.", "It is 1.")
    units = unit_table(units_of(encode_trace(tokenizer, trace, "plain")))  # type: ignore[arg-type]
    texts = [text.strip() for text in units.query("kind == 'prompt'")["text"]]
    assert texts == ["What does this print?", "Think.", CODE, "Go on."]


PARTS = st.sampled_from(
    [*"ab. \n\t", "\n\n", "A. B", "```", "~~~", "$$", "\\[", "\\]", "\\begin{a}", "\\end{a}", "é😀"]
)


@given(st.lists(PARTS, max_size=30).map("".join))
def test_a5_steps_join_to_any_text(text: str) -> None:
    whole = [*blocks(text)]
    assert all(a < b for a, b in whole)
    assert all(b <= c for (_, b), (c, _) in pairwise(whole))
    for how in ("auto", "paragraph", "line", "sentence"):
        steps = split_steps(text, how)
        assert "".join(step.text for step in steps) == text
        cuts = {step.start for step in steps}
        assert not any(a < cut < b for cut in cuts for a, b in whole)


@pytest.mark.parametrize(
    "part", ["\\[ ", "$$\n\n", "\\begin{a} ", "a ```x\n", "~~~ ", "```\n", "$$ "]
)
def test_a5_long_texts_take_no_time(part: str) -> None:
    begin = time.perf_counter()
    list(blocks(part * 40_000))
    assert time.perf_counter() - begin < 3
