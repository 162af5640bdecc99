"""Cut a response into steps: by paragraph, line, sentence or pattern.

Every function here puts every character of the response into exactly one step. A separator
belongs to the step before it, whitespace at the very start to the first step.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from functools import partial

from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.registry import Registry

from .blocks import blocks
from .sentences import cut_sentences
from .step import Step, cut_at

# Cuts a response into steps that join to it; `split_steps` is one.
Splitter = Callable[[str], tuple[Step, ...]]

# The separators run up to the last newline, so that an indentation stays with its own line.
_PARAGRAPH = re.compile(r"\n\s*\n")
_LINE = re.compile(r"\n(?:\s*\n)?")


@checked
def split_steps(
    response: str, how: str = "paragraph", pattern: str | re.Pattern[str] | None = None
) -> tuple[Step, ...]:
    r"""Split a response into steps, which together are the response.

    Args:
        response: any text.
        how: "paragraph" (at blank lines), "line", "sentence", "auto": the coarsest of these that
            the response has (see `auto_how`); "regex" (a step ends where ``pattern`` ends); or one
            that was registered (:mod:`airlens.plugins`). Code between fences and display
            mathematics (:mod:`airlens.traces.blocks`) stay whole; "raw-paragraph", "raw-line",
            "raw-sentence" and patterns cut them too.
        pattern: for "regex". A pattern that matches nothing but a place, such as
            ``(?=Step \d)``, cuts there.

    Returns:
        Steps without labels that join to ``response``; none is blank unless the response is.
        Empty only for an empty response.

    Raises:
        ConfigError: an unknown ``how``, a pattern that is missing, superfluous or malformed, or a
            registered splitter whose steps do not join to the response.

    >>> [step.text for step in split_steps("Dr. No is 5. So 5! = 120.", "sentence")]
    ['Dr. No is 5. ', 'So 5! = 120.']
    """
    if (how == "regex") != (pattern is not None):
        raise ConfigError("a pattern is given with how='regex', and only then")
    if pattern is not None:
        try:
            return _cut_after(re.compile(pattern), response)
        except re.error as error:
            reason = f"the pattern {pattern!r} is no regular expression: {error}"
            raise ConfigError(reason) from error
    steps = tuple(SPLITTERS.find(how, also=("regex",))(response))
    if how not in SPLITTERS.own and "".join(step.text for step in steps) != response:
        raise ConfigError(f"the steps of splitter {how!r} do not join to the response; see cut_at")
    return steps


def auto_how(response: str) -> str:
    """How "auto" splits: by paragraph if a blank line separates text, by line if a newline does.

    Code between fences and display mathematics count as words.
    """
    parts, at = list[str](), 0
    for start, end in blocks(response):
        parts += [response[at:start], "x"]
        at = end
    text = "".join([*parts, response[at:]]).strip()
    if _PARAGRAPH.search(text):
        return "paragraph"
    return "line" if "\n" in text else "sentence"


def _auto(response: str) -> tuple[Step, ...]:
    return SPLITTERS.own[auto_how(response)](response)


def _with_blocks(how: str, response: str) -> tuple[Step, ...]:
    """Steps of a kind that cuts everything, those within a block joined again."""
    steps: tuple[Step, ...] = SPLITTERS.own[f"raw-{how}"](response)
    whole = [*blocks(response)]
    if not whole:
        return steps
    first = [start for start, _ in whole]

    def inside(place: int) -> bool:
        i = bisect_left(first, place) - 1
        return i >= 0 and place < whole[i][1]

    return cut_at(response, (step.start for step in steps if not inside(step.start)))


def _cut_after(separator: re.Pattern[str], response: str) -> tuple[Step, ...]:
    """Steps that end where a match of the separator ends."""
    return cut_at(response, (match.end() for match in separator.finditer(response)))


# "regex", which needs a pattern, is known to `split_steps` alone.
SPLITTERS: Registry[Splitter] = Registry(
    "splitter",
    "airlens.splitters",
    {
        "auto": _auto,
        **{how: partial(_with_blocks, how) for how in ("paragraph", "line", "sentence")},
        "raw-paragraph": partial(_cut_after, _PARAGRAPH),
        "raw-line": partial(_cut_after, _LINE),
        "raw-sentence": cut_sentences,
    },
)
