"""Cut a response into steps: by paragraph, line, sentence or pattern.

Every function here puts every character of the response into exactly one step. A separator
belongs to the step before it, whitespace at the very start to the first step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from .errors import ConfigError
from .registry import Registry


@dataclass(frozen=True)
class Step:
    """One step of a response.

    Args:
        text: the characters ``response[start:end]``.
        start: first character, counted in the response.
        end: one past the last character.
        label: what kind of step it is, where the data say so.
    """

    text: str
    start: int
    end: int
    label: str | None = None


# Cuts a response into steps that join to it; `split_steps` is one.
Splitter = Callable[[str], tuple[Step, ...]]

# The separators run up to the last newline, so that an indentation stays with its own line.
_PARAGRAPH = re.compile(r"\n\s*\n")
_LINE = re.compile(r"\n(?:\s*\n)?")

# What may end a sentence: Western marks with the quotes and brackets that close after them, marks
# that need no space after them (CJK, Devanagari, Arabic), and a newline.
_CLOSERS = r"[\"'”’»›)\]}*_`]*"
_WIDE = r"[。！？｡।؟]+[」』”’）】》\"')\]]*"
_MARK = re.compile(rf"(?P<mark>[.!?…]+){_CLOSERS}|(?P<wide>{_WIDE})|(?P<newline>\n\s*)")
_SPACE = re.compile(r"\s*")
# The word that a full stop ends: letters, with full stops inside it as in "e.g".
_LAST_WORD = re.compile(r"(?:[^\W\d_]+\.)*[^\W\d_]+\Z")
_WORD_BEFORE = re.compile(r"(\S+)\s+\Z")
# "1.", "(a).", "- 2.", "**3.**": a number at the start of a list item, not a sentence.
_LIST_MARKER = re.compile(r"[\s\-*#>(_]*(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})[.)][\s*_)]*\Z")
_MARKER_LENGTH = 16
# With these no sentence begins.
_CLOSING = re.compile(r"\\?[)\]}]|[,;:%]")
_OPENERS = "\"'“‘«¿¡「『"
_FACTORIAL = re.compile(r"(?:[\d)\]}]|\b[A-Za-z])\Z")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Abbreviations after which a sentence goes on, and those that may also end it.
_GOES_ON = _words(
    "dr mr mrs ms prof st rev gen col sgt capt lt hon sen rep gov mt e.g i.e eg ie cf viz vs resp "
    "fig figs eq eqs ex thm lem prop cor def sec ch chap vol pp ed eds no nos approx ca"
)
_MAY_END = _words(
    "etc al inc ltd co corp jr sr bros dept est min max a.m p.m u.s u.k u.n ph.d m.d b.a m.a "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
# Of those, the ones that are also words: "The answer is no." They go on only before a number.
_ALSO_WORDS = _words("no nos ex ed mt co prop def sec min max mar dec")


def split_steps(
    response: str, how: str = "paragraph", pattern: str | re.Pattern[str] | None = None
) -> tuple[Step, ...]:
    r"""Split a response.

    Args:
        response: any text.
        how: "paragraph" (at blank lines), "line", "sentence", "regex" (a step ends where
            ``pattern`` ends), "auto": the coarsest of the first three that the response has
            (see `auto_how`), or one that was registered (:mod:`airlens.plugins`).
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
            raise ConfigError(
                f"the pattern {pattern!r} is no regular expression: {error}"
            ) from error
    steps = tuple(SPLITTERS.find(how, also=("regex",))(response))
    if how not in SPLITTERS.own and "".join(step.text for step in steps) != response:
        raise ConfigError(f"the steps of splitter {how!r} do not join to the response; see cut_at")
    return steps


def _auto(response: str) -> tuple[Step, ...]:
    return SPLITTERS.own[auto_how(response)](response)


def _sentences(response: str) -> tuple[Step, ...]:
    return cut_at(response, _sentence_starts(response))


def _cut_after(separator: re.Pattern[str], response: str) -> tuple[Step, ...]:
    """Steps that end where a match of the separator ends."""
    return cut_at(response, (match.end() for match in separator.finditer(response)))


# "regex", which needs a pattern, is known to `split_steps` alone.
SPLITTERS: Registry[Splitter] = Registry(
    "splitter",
    "airlens.splitters",
    {
        "auto": _auto,
        "paragraph": partial(_cut_after, _PARAGRAPH),
        "line": partial(_cut_after, _LINE),
        "sentence": _sentences,
    },
)


def auto_how(response: str) -> str:
    """How "auto" splits: by paragraph if a blank line separates text, by line if a newline does."""
    text = response.strip()
    if _PARAGRAPH.search(text):
        return "paragraph"
    return "line" if "\n" in text else "sentence"


def cut_at(response: str, starts: Iterable[int]) -> tuple[Step, ...]:
    """Steps that begin at the given characters (ascending); a blank one joins the one before."""
    if not response:
        return ()
    cuts = [0]
    text = _skip_space(response, 0)
    for start in starts:
        if start <= text:
            continue  # what precedes is blank: it opens the next step
        text = _skip_space(response, start)
        if text == len(response):
            break  # what follows is blank: it ends this step
        cuts.append(start)
    ends = [*cuts[1:], len(response)]
    return tuple(Step(response[a:b], a, b) for a, b in zip(cuts, ends, strict=True))


def _skip_space(response: str, position: int) -> int:
    space = _SPACE.match(response, position)
    return space.end() if space else position


def _sentence_starts(response: str) -> Iterator[int]:
    """Where sentences after the first begin; a heuristic, without dependencies."""
    last = 0
    for match in _MARK.finditer(response):
        start = _skip_space(response, match.end())
        if last < start < len(response) and _ends_sentence(response, last, match, start):
            yield start
            last = start


def _ends_sentence(response: str, last: int, match: re.Match[str], start: int) -> bool:
    """Whether the sentence from ``last`` ends with ``match``; the next would be at ``start``."""
    after = response[start]
    mark, gap = match["mark"], match["newline"] or response[match.end() : start]
    if "\n" in gap:
        # A line that goes on in lower case was wrapped; a blank line ends a sentence anyway.
        return not after.islower() or gap.count("\n") > 1
    if match["wide"]:
        return True
    if not gap or _CLOSING.match(response, start):
        return False  # "3.14", "e.g.,", "file.txt"; "x = 1. \\)"
    if mark == ".":
        return _full_stop_ends(response, last, match, after)
    if mark == "!" and _FACTORIAL.search(response[max(0, match.start() - 2) : match.start()]):
        return after.isupper()  # "5! ways" and "n! = 6" go on
    if set(mark) <= {".", "…"}:
        return _opens_sentence(after)
    return not (after.islower() and match.end() > match.end("mark"))  # '"Why?" he asked'


def _full_stop_ends(response: str, last: int, match: re.Match[str], after: str) -> bool:
    if after.islower() or _is_list_marker(response, last, match.end()):
        return False
    before = response[max(last, match.start() - 40) : match.start()]
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    name = word.group().lower()
    if name in _ALSO_WORDS and not after.isdigit():
        return True
    if name in _GOES_ON or (name in _MAY_END and not _opens_sentence(after)):
        return False
    return not _is_initial(before, word)


def _is_initial(before: str, word: re.Match[str]) -> bool:
    """Whether a capital stands for a name, "George R. Martin", and not for a point, "is A."."""
    text = word.group()
    if len(text) != 1 or not text.isupper():
        return False
    previous = _WORD_BEFORE.search(before[: word.start()])
    return previous is not None and previous[1][0].isupper() and previous[1][-1] not in ",;:)"


def _opens_sentence(char: str) -> bool:
    """Whether a sentence may begin with this character, where one need not."""
    return (char.isalpha() and not char.islower()) or char in _OPENERS


def _is_list_marker(response: str, last: int, end: int) -> bool:
    """Whether the sentence so far is but the number of a list item."""
    return end - last <= _MARKER_LENGTH and bool(_LIST_MARKER.match(response[last:end]))
