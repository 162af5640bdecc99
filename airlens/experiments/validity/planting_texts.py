"""Texts that can stand in for a step: changed numbers, memorised sequences, paraphrases."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from airlens.traces.steps import split_steps

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")

_DIGITS = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30"
_COUNT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = "January February March April May June July August September October November December"
SEQUENCES: dict[str, list[str]] = {
    "weekdays": _DAYS.split() * 4,
    "months": _MONTHS.split() * 2,
    "alphabet": list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "counting": _COUNT.split(),
    "numbers": _DIGITS.split()[1:],
}

# Replacements of a paraphrase: whole words only, each at most once.
_SWAPS = (
    (r"each", "apiece"),
    (r"every day", "daily"),
    (r"per", "for every"),
    (r"buys", "purchases"),
    (r"bought", "purchased"),
    (r"has(?= (?:\d|an? |some|many|several|two|three))", "owns"),
    (r"had(?= (?:\d|an? |some|many|several|two|three))", "owned"),
    (r"gets", "receives"),
    (r"got", "received"),
    (r"gives", "hands over"),
    (r"gave", "handed over"),
    (r"makes", "produces"),
    (r"needs", "requires"),
    (r"wants", "would like"),
    (r"sells", "is selling"),
    (r"costs", "is priced at"),
    (r"there are", "one finds"),
    (r"takes", "uses"),
    (r"many", "a lot of"),
    (r"twice", "two times"),
    (r"half", "one half"),
    (r"then", "afterwards"),
    (r"also", "in addition"),
)
_LEADS = ("We know that {}", "So {}", "Given is that {}", "As said, {}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SMALL = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
_FUNCTION_WORDS = frozenset(
    _words(
        "the a an he she they it there in on at if his her their this that each every we you for "
        "after before when while all one two three as by from with of some both its our"
    )
)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, without the whitespace around them."""
    return [step.text.strip() for step in split_steps(text, "sentence") if step.text.strip()]


def statements(prompt: str) -> list[str]:
    """Sentences of a question that state something rather than ask."""
    return [text for text in sentences_of(prompt) if not text.endswith("?")]


def other_number(text: str, rng: random.Random) -> str:
    """Another number written with as many digits and the same commas and points."""
    while True:
        drawn = [rng.choice("0123456789") if char.isdigit() else char for char in text]
        if drawn[0] == "0" and text[0] != "0":
            drawn[0] = rng.choice("123456789")
        if "".join(drawn) != text:
            return "".join(drawn)


def with_wrong_result(text: str, rng: random.Random) -> str | None:
    """The step with its result changed: the number after the last "=", else the last number.

    None where there is no number.
    """
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    equals = text.rfind("=")
    after = [match for match in found if match.start() > equals >= 0]
    match = after[0] if after else found[-1]
    return text[: match.start()] + other_number(match.group(), rng) + text[match.end() :]


def with_wrong_numbers(text: str, rng: random.Random) -> str | None:
    """The step with every number changed; None where there are fewer than two."""
    if len(NUMBER.findall(text)) < 2:
        return None
    return NUMBER.sub(lambda match: other_number(match.group(), rng), text)


def memorised() -> Iterator[str]:
    """Text that any model has memorised: weekdays, months, the alphabet, counting, in any length.

    Each begins at its first item or at one of the next three.
    """
    for items in SEQUENCES.values():
        for start in range(4):
            for stop in range(start + 3, len(items) + 1):
                yield ", ".join(items[start:stop]) + "."


def paraphrases(prompt: str, rng: random.Random) -> list[str]:
    """Statements of the question in other words: a lead, other verbs, small numbers in words.

    A rule-based rewording (ours): the facts stay, the surface changes in a few places.
    """
    return [_paraphrase(text, rng) for text in statements(prompt)]


def _paraphrase(sentence: str, rng: random.Random) -> str:
    body = sentence.rstrip(".!")
    for pattern, words in _SWAPS:
        body = re.sub(rf"\b{pattern}\b", words, body, count=1)
    body = re.sub(r"(?<![\d.,$])\b(\d{1,2})\b(?![\d.,%/:])", _in_words, body)
    first, _, rest = body.partition(" ")
    if first.lower() in _FUNCTION_WORDS:
        body = f"{first.lower()} {rest}"
    return rng.choice(_LEADS).format(body) + "."


def _in_words(match: re.Match[str]) -> str:
    value = int(match.group())
    return _SMALL[value] if value < len(_SMALL) else match.group()
