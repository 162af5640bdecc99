"""Where sentences begin: rules without dependencies, which leave mathematics whole.

"5! ways" goes on, and so does a sentence after the number of a list item, an abbreviation or an
initial. :func:`airlens.split_steps` with ``how="sentence"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .step import Step, cut_at, skip_space

# What may end a sentence: Western marks with the quotes and brackets that close after them, marks
# that need no space after them (CJK, Devanagari, Arabic), and a newline.
_CLOSERS = r"[\"'”’»›)\]}*_`]*"
_WIDE = r"[。！？｡।؟]+[」』”’）】》\"')\]]*"
_MARK = re.compile(rf"(?P<mark>[.!?…]+){_CLOSERS}|(?P<wide>{_WIDE})|(?P<newline>\n\s*)")
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


def cut_sentences(response: str) -> tuple[Step, ...]:
    """The sentences of a response, as steps that join to it."""
    return cut_at(response, _sentence_starts(response))


def _sentence_starts(response: str) -> Iterator[int]:
    """Where sentences after the first begin."""
    last = 0
    for match in _MARK.finditer(response):
        start = skip_space(response, match.end())
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
