"""Splitters: nothing is lost, whatever the text, and the cuts are where a reader would cut."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlens.errors import ConfigError
from airlens.traces.align_steps import align_steps
from airlens.traces.step import Step
from airlens.traces.steps import auto_how, split_steps
from airlens.traces.trace import Trace

HOW = ("auto", "paragraph", "line", "sentence")
# Text in which separators are common, beside any text at all.
MARKS = [". ", "! ", "?", "...", "…", "。", "3.14", "e.g. ", "Dr. ", "A. ", "1. ", "”", ")", "\\]"]
SPACES = ["\n", "\n\n", " ", "\t", "\r\n", "\u2028", "\x1c"]
PIECES = st.sampled_from([*MARKS, *SPACES, "So", "x", "é", "👋", "**", "\ufeff"])
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text()


def texts(steps: tuple[Step, ...]) -> list[str]:
    return [step.text for step in steps]


def check_cover(response: str, steps: tuple[Step, ...]) -> None:
    Trace("id", "", response, steps=steps)  # offsets are right, nothing is empty
    assert "".join(texts(steps)) == response
    assert bool(steps) == bool(response)


@given(TEXTS, st.sampled_from(HOW))
def test_every_character_is_in_one_step(response: str, how: str) -> None:
    steps = split_steps(response, how)
    check_cover(response, steps)
    if response.strip():
        assert all(step.text.strip() for step in steps)


@given(TEXTS, st.sampled_from(["", "x", r"\s", r"(?=S)", r"\b", r"\n|$", ".*"]))
def test_any_pattern_covers_too(response: str, pattern: str) -> None:
    check_cover(response, split_steps(response, "regex", pattern))


@given(TEXTS, st.sampled_from(HOW))
def test_cutting_a_step_again_changes_nothing_but_sentences(response: str, how: str) -> None:
    if how in ("paragraph", "line"):
        for step in split_steps(response, how):
            assert texts(split_steps(step.text, how)) == [step.text]


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("paragraph", ["One\nline\n\n", "  Two"]),
        ("paragraph", ["\n\n  One\n \t\n\n", "Two\n\n"]),
        ("paragraph", ["One\r\n\r\n", "Two\r\n"]),
        ("line", ["One\n", "  two\n\n", "three\n"]),
        ("line", ["\nOne\r\n", "two"]),
        ("auto", ["One. Two\nthree\n\n", "four"]),
        ("auto", ["One. Two\n", "three\n\n"]),
        ("auto", ["One. ", "Two\n"]),
        ("auto", [" \n "]),
    ],
)
def test_lines_and_paragraphs(how: str, parts: list[str]) -> None:
    assert texts(split_steps("".join(parts), how)) == parts


def test_auto_takes_the_coarsest_cut_there_is() -> None:
    assert [auto_how(text) for text in ("a\n\nb", "a\nb\n\n", "a. b\n", "")] == [
        "paragraph",
        "line",
        "sentence",
        "sentence",
    ]


@pytest.mark.parametrize(
    "parts",
    [
        ["Pi is 3.14. ", "So r = 2.5 cm."],
        ["Use primes, e.g. 2, 3 or i.e. Odd ones. ", "Good."],
        ["Dr. Fu Manchu met Prof. A. Turing vs. Mr. Ex. ", "They talked."],
        ["See Fig. 3 and Eq. (2), No. 5. ", "Then stop."],
        ["Is it no. ", "Yes."],
        ["Apples, pears, etc. are fruit. ", "Nuts etc. ", "They are not."],
        ["Smith et al. (2020) say so. ", "Fine."],
        ["Hmm... wait, 1, 2, ... , 9. ", "Well... ", "No."],
        ["Hmm… wait. ", "Hmm… ", "No."],
        ["Really?! ", "Yes! ", "ok?"],
        ['"Why?" he asked. ', '"So." ', "Then “done.” ", "End."],
        ["(It is so.) ", "[Or not.] ", "**Bold.** ", "Next."],
        ["There are 5! ways and n! orders. ", "So 5! ", "But no!"],
        ["= 8!. ", "But wait, is it?"],
        ["1. First do this. ", "2. Then that. ", "- 3. Also."],
        ["The point is P. ", "So we go."],
        ["By George R. R. Martin it is. ", "Yes."],
        ["A line\n", "Another line that was\nwrapped here. ", "End"],
        ["A line\n\n", "another paragraph"],
        ["彼は来た。", "本当？", "はい！」", "終わり"],
        ["यह है। ", "ठीक।"],
        ["Visit example.com/a.b? ", "No, v1.2.3 is out."],
        ["We have \\( x = 1. \\) and so. ", "\\[ y = 2 \\]\n", "Then."],
        ["Wait. ", "👋 Hello 👋. ", "Bye."],
    ],
)
def test_sentences(parts: list[str]) -> None:
    assert texts(split_steps("".join(parts), "sentence")) == parts


def test_patterns_end_or_begin_a_step() -> None:
    response = "Step 1: a; b. Step 2: c"
    assert texts(split_steps(response, "regex", r"(?=Step \d)")) == ["Step 1: a; b. ", "Step 2: c"]
    assert texts(split_steps(response, "regex", re.compile(r";\s*"))) == [
        "Step 1: a; ",
        "b. Step 2: c",
    ]


@pytest.mark.parametrize(
    ("how", "pattern"), [("word", None), ("regex", None), ("line", "x"), ("regex", "(")]
)
def test_bad_splitters_are_refused(how: str, pattern: str | None) -> None:
    with pytest.raises(ConfigError):
        split_steps("a", how, pattern)


@pytest.mark.parametrize("unit", ["\n", ".", ". ", "!)", " \n", "a\n", "1. ", "\n ", "e.g. ", '"'])
def test_time_is_linear_in_the_text(unit: str) -> None:
    start = time.perf_counter()
    for how in HOW:
        check_cover(unit * 50_000, split_steps(unit * 50_000, how))
    assert time.perf_counter() - start < 10  # a quadratic splitter takes minutes


def test_given_steps_are_found_in_order() -> None:
    response = "  So x = 1. Hmm.  Then\n y = 2. So x = 1. Done"
    given_texts = ["So x = 1.", "Then y = 2.", "So x = 1."]
    steps, unaligned = align_steps(response, given_texts, ["a", None, "b"])
    assert texts(steps) == ["  So x = 1. Hmm.  ", "Then\n y = 2. ", "So x = 1. Done"]
    assert [step.label for step in steps] == ["a", None, "b"]
    assert unaligned == []
    check_cover(response, steps)


@pytest.mark.parametrize(
    ("given_texts", "found", "unaligned"),
    [
        (["One.", "Never.", "Two."], ["One. ", "Two. Three. Four."], [1]),
        (["Four.", "One.", "Two.", "Three."], ["One. ", "Two. ", "Three. Four."], [0]),
        (["One.", "Four.", "Two.", "Three."], ["One. ", "Two. ", "Three. Four."], [1]),
        (["", " ", "Two."], ["One. Two. Three. Four."], [0, 1]),
        (["Never."], ["One. Two. Three. Four."], [0]),
        ([], ["One. Two. Three. Four."], []),
        (["one."], ["One. Two. Three. Four."], [0]),
    ],
)
def test_what_is_not_found_is_reported(
    given_texts: list[str], found: list[str], unaligned: list[int]
) -> None:
    steps, missing = align_steps("One. Two. Three. Four.", given_texts)
    assert (texts(steps), missing) == (found, unaligned)


def test_a_label_goes_with_its_text_and_not_with_a_guess() -> None:
    steps, missing = align_steps("One. Two.", ["Never.", "Two."], ["x", "y"])
    assert [(step.text, step.label) for step in steps] == [("One. Two.", "y")]
    assert missing == [0]
    steps, missing = align_steps("One. Two.", ["Never."], ["x"])
    assert [(step.text, step.label) for step in steps] == [("One. Two.", None)]


def test_labels_are_as_many_as_texts() -> None:
    with pytest.raises(ConfigError):
        align_steps("One.", ["One."], [])


@given(TEXTS, st.lists(TEXTS, max_size=6))
def test_alignment_covers_and_loses_no_text(response: str, given_texts: list[str]) -> None:
    steps, unaligned = align_steps(response, given_texts)
    check_cover(response, steps)
    placed = len(given_texts) - len(unaligned)
    assert len(steps) == (max(placed, 1) if response else 0)


@given(TEXTS, st.sampled_from(["line", "sentence"]), st.data())
def test_steps_taken_from_a_response_are_found_again(
    response: str, how: str, data: st.DataObject
) -> None:
    steps = split_steps(response, how)
    assert align_steps(response, texts(steps)) == (steps, [])
    squeezed = [" ".join(step.text.split()) for step in steps]
    if all(squeezed):
        assert align_steps(response, squeezed)[1] == []
        kept = data.draw(st.lists(st.sampled_from(squeezed), max_size=3)) if squeezed else []
        check_cover(response, align_steps(response, kept)[0])
