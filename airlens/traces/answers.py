r"""Final answers: where they stand in a solution, and whether a text states one.

``#### 72`` (GSM8K) and ``\boxed{72}`` (MATH) mark an answer.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from airlens.errors import DataError

from .chat_template import KNOWN_TAGS
from .trace import Trace

_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BOX_BARE = re.compile(r"\\(?:boxed|fbox)\s+([^\s{}$]+)")
# "#### Step 2: add", "#### Solution": a title in markdown, no answer.
_TITLE = re.compile(
    r"\W*(?:(?:step|part|case|phase)\s*\d*\W*(?=[A-Za-z]|\Z)"
    r"|(?:(?:final )?answer|solution|conclusion|explanation|calculations?|summary)\W*\Z)",
    re.IGNORECASE,
)
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def reference_answer(trace: Trace) -> str:
    r"""The reference answer: `Trace.answer`, else after ``####`` (GSM8K), or ``\boxed{…}`` (MATH).

    Raises:
        DataError: there is none.
    """
    found = trace.answer or final_answer(trace.response)
    if found is None:
        reason = f"trace {trace.id!r} has no reference answer (#### 72, or \\boxed{{72}})"
        raise DataError(reason, field="response")
    return found


def final_answer(text: str) -> str | None:
    r"""The text after ``####``, or else the last whole ``\boxed{…}``, or None.

    Of several ``####`` the first counts: what comes after it is a new problem. But markdown has
    titles of that form: a title is no answer, and words count only where there is nothing else.
    Where there is a thought, only what follows it is looked at.
    """
    text = after_thought(text)
    marked = [match[1].strip() for match in _HASHES.finditer(text)]
    marked = [found for found in marked if not _TITLE.match(found)]
    numbers = [found for found in marked if re.search(r"\d", found)]
    bare = [found for found in numbers if not WORD.search(re.split(r"\d", found)[0])]
    boxes = _boxes(text)[-1:]
    return next(iter([*bare, *numbers, *boxes, *marked]), None)


def after_thought(text: str) -> str:
    """What stands behind the last thought that is closed."""
    ends = [text.rfind(close) + len(close) for _, close in KNOWN_TAGS if close in text]
    return text[max(ends, default=0) :]


def _boxes(text: str) -> list[str]:
    r"""Each ``\boxed{…}`` whose braces are closed, in order; ``\boxed 5`` too."""
    found = [(match.start(), f"\\boxed{{{match[1]}}}") for match in _BOX_BARE.finditer(text)]
    for match in _BOX.finditer(text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            if text[at] == "\\":
                at += 1  # \{ and \} are part of the answer
            else:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if not depth:
            found.append((match.start(), f"\\boxed{{{text[match.end() : at]}"))
    return [box for _, box in sorted(found)]


AnswerFrom: TypeAlias = Literal["auto", "field", "hashes", "boxed", "option"]
# Where a final answer may be named, in the order in which "auto" looks.
PLACES: tuple[AnswerFrom, ...] = ("field", "hashes", "boxed", "option")
_OPTION = re.compile(
    r"\b(?:answer|option|choice)\b[^\w\n]{0,8}(?:is|:)?[^\w\n]{0,8}([A-J])\b(?![\w'])"
)
_OPENING = re.compile(r"[\s$*_:=(\[]*(?:\\[(\[]\s*)?(?:\\(?:boxed|fbox|text)\s*\{)?[\s$(]*")


def named_answer(trace: Trace, where: AnswerFrom = "auto") -> tuple[str, AnswerFrom] | None:
    r"""The bare text of a trace's final answer, and where it was found; None without one.

    Args:
        trace: with or without `Trace.answer`.
        where: ``field`` (`Trace.answer`), ``hashes`` (after ``####``), ``boxed`` (``\boxed{…}``),
            ``option`` (a letter after "answer", "option" or "choice"), or ``auto``: the first of
            them that there is.

    >>> named_answer(Trace("1", "2 + 3?", r"It is $\boxed{5}$."))
    ('5', 'boxed')
    """
    for place in PLACES if where == "auto" else (where,):
        found = bare_answer(_at(trace, place) or "")
        if found:
            return found, place
    return None


def _at(trace: Trace, place: AnswerFrom) -> str | None:
    if place == "field":
        return trace.answer
    if place == "option":
        letters = _OPTION.findall(after_thought(trace.response))
        return letters[-1] if letters else None
    marked = final_answer(trace.response)
    boxed = marked is not None and _BOX.match(marked) is not None
    return marked if boxed == (place == "boxed") else None


def bare_answer(answer: str) -> str:
    r"""An answer without ``\boxed{}``, dollar signs around it, blanks and a full stop at its end.

    >>> bare_answer(r"$\boxed{72}$."), bare_answer("$72")
    ('72', '$72')
    """
    text = answer.strip().rstrip(".").strip()
    if len(text) > 2 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    if (box := _BOX.match(text)) and text.endswith("}"):
        text = text[box.end() : -1].strip()
    return text


def without_ending(said: str) -> str:
    r"""What a model says as an answer, without what ends it: a full stop, a brace left over.

    A brace or dollar sign that has its partner in the text belongs to the answer.

    >>> without_ending(" 72."), without_ending(r"72}$."), without_ending(r"\frac{1}{2}.")
    ('72', '72', '\\frac{1}{2}')
    """
    text = said.strip()
    while text:
        bare = re.sub(r"\\[{}$]", "", text)
        loose = {"}": bare.count("}") > bare.count("{"), "$": bare.count("$") % 2 == 1}
        if text[-1] not in ".;" and not (loose.get(text[-1]) and text[-2:-1] != "\\"):
            break
        text = text[:-1].rstrip()
    return text


def states(text: str, answer: str) -> bool:
    """Whether a text holds an answer as a whole word or number; a single letter as an option.

    A currency before the answer does not count.

    >>> states("It is 1,720 now.", "1720"), states("172 and 72.5", "72"), states("A cat", "A")
    (True, False, False)
    """
    text, answer = _plain_numbers(text), _core(answer)
    if re.fullmatch("[A-Z]", answer):
        letters = re.findall(r"\(([A-Z])\)|\b([A-Z])[.)]\s", text)
        return answer in [*_OPTION.findall(text), *(a or b for a, b in letters)]
    return re.search(whole(answer), text, re.IGNORECASE) is not None


def stands_in(text: str, word: str) -> bool:
    """Whether a text holds a word or number as a whole, letters of either case.

    >>> stands_in("It is 1,720 now.", "1720"), stands_in("172.5", "172"), stands_in("So a", "A")
    (True, False, True)
    """
    return re.search(whole(_plain_numbers(word)), _plain_numbers(text), re.IGNORECASE) is not None


def says(text: str, answer: str) -> bool:
    r"""Whether a text begins with an answer, behind blanks, a currency, ``\boxed{`` or the like.

    >>> says(r" $\boxed{72}$ clips", "72"), says(" 72.5", "72"), says(" at 72", "72")
    (True, False, False)
    """
    text, answer = _plain_numbers(text), _core(answer)
    opening = _OPENING.match(text)
    starts = {0, len(text) - len(text.lstrip()), opening.end() if opening else 0}
    return any(re.match(whole(answer), text[at:], re.IGNORECASE) for at in starts)


def whole(answer: str) -> str:
    """A pattern of a word or number, with nothing before or behind that makes it another one."""
    before = r"(?<![\w])(?<!\d[.,])" if re.match(r"\w", answer) else ""
    behind = r"(?!\w)(?![.,/]\d)" if re.search(r"\w$", answer) else ""
    return before + re.escape(answer) + behind


def _core(answer: str) -> str:
    """The answer without a currency before it."""
    return re.sub(r"^(?:\\?\$|[€£¥])\s*(?=[\d.])", "", _plain_numbers(answer))


def _plain_numbers(text: str) -> str:
    """The text with one blank for several, and without commas inside of numbers."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", re.sub(r"\s+", " ", text))
