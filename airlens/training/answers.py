r"""Final answers: where they stand in a solution, and whether one is the reference's.

``#### 72`` (GSM8K) and ``\boxed{72}`` (MATH) mark an answer. Answers are compared as mathematics
(math-verify).
"""

from __future__ import annotations

import re
import signal
import threading
import unicodedata
from functools import cache

from airlens.errors import AirlensError, DataError
from airlens.traces.chat_template import KNOWN_TAGS
from airlens.traces.trace import Trace

SECONDS = 30  # ours: an answer that takes longer to work out, such as 9^{9^9}, is not right
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BOX_BARE = re.compile(r"\\(?:boxed|fbox)\s+([^\s{}$]+)")
# "#### Step 2: add", "#### Solution": a title in markdown, no answer.
_TITLE = re.compile(
    r"\W*(?:(?:step|part|case|phase)\s*\d*\W*(?=[A-Za-z]|\Z)"
    r"|(?:(?:final )?answer|solution|conclusion|explanation|calculations?|summary)\W*\Z)",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_MIXED = re.compile(r"(-?)(\d+)\s+(\d+/\d+)")


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
    text = _after_thought(text)
    marked = [match[1].strip() for match in _HASHES.finditer(text)]
    marked = [found for found in marked if not _TITLE.match(found)]
    numbers = [found for found in marked if re.search(r"\d", found)]
    bare = [found for found in numbers if not _WORD.search(re.split(r"\d", found)[0])]
    boxes = _boxes(text)[-1:]
    return next(iter([*bare, *numbers, *boxes, *marked]), None)


def _after_thought(text: str) -> str:
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


def check_math_verify() -> None:
    """Raise AirlensError if math-verify is missing; to be called before long computations."""
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise AirlensError(
            f"comparing answers needs math-verify ({error}): pip install 'airlens[train]'"
        ) from error


@cache
def _warm_up() -> None:
    """Let math-verify build its parsers, which takes seconds, outside of any limit of time."""
    check_math_verify()
    from math_verify import parse

    parse("$1$", parsing_timeout=None)


def is_correct(solution: str, answer: str, *, truncated: bool = False) -> bool:
    """Whether a solution ends in the reference answer, compared as mathematics (math-verify).

    The marked final answer of a solution is compared, or else what math-verify finds in the text.

    Args:
        solution: as it was generated.
        answer: of the reference.
        truncated: the solution was not finished: only a marked answer counts, not some number in
            the middle of it.

    Raises:
        AirlensError: math-verify is not installed.
    """
    _warm_up()
    from math_verify import parse, verify

    marked = final_answer(solution)
    if marked is None and truncated:
        return False
    found = marked or _after_thought(solution)
    # Its timeouts are signals, which only the main thread of a POSIX system has.
    alarms = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")
    seconds = SECONDS if alarms else None
    gold, ours = (parse(as_maths(text), parsing_timeout=seconds) for text in (answer, found))
    if not gold:
        return _plain(answer) == _plain(found)
    return bool(verify(gold, ours, timeout_seconds=seconds))


def as_maths(text: str) -> str:
    r"""A bare answer (``1,234``, ``\frac12``, ``(1, 2)``) as LaTeX that math-verify reads whole."""
    text = _plain(text)
    worded = " " in text and _WORD.search(text)
    if len(text) >= 200 or "\n" in text or worded:
        return text
    text = re.sub(r"(?<=\d)(?:\\[,;! ]|\s)(?=\d{3}(?!\d))", "", text)  # 1 234 567
    if "\\boxed" in text:
        return text
    bare = re.sub(r"\\?\$", "", text).rstrip(".")
    if mixed := _MIXED.fullmatch(bare):
        bare = f"{mixed[1]}({mixed[2]} + {mixed[3]})"
    return f"${bare}$"


def _plain(text: str) -> str:
    """Text with plain characters for Unicode's own minus, digits, fractions and blanks."""
    text = re.sub(r"[\u2212\u2012\u2013\u2014\ufe63\uff0d](?=\s*[\d.(\\])", "-", text)
    text = re.sub("(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)  # 2½ is 2 1/2
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/").strip()
    text = re.sub(r"^(\*{1,3}|_{1,3}|`)(.*)\1$", r"\2", text).strip()
    return re.sub(r"^-\s+(?=[\d.])", "-", text)
