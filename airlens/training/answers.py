r"""Whether a final answer is the reference's, compared as mathematics (math-verify)."""

from __future__ import annotations

import re
import signal
import threading
import unicodedata
from functools import cache

from airlens.errors import AirlensError
from airlens.traces.answers import WORD, after_thought, final_answer

SECONDS = 30  # ours: an answer that takes longer to work out, such as 9^{9^9}, is not right
_MIXED = re.compile(r"(-?)(\d+)\s+(\d+/\d+)")


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
    found = marked or after_thought(solution)
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
    worded = " " in text and WORD.search(text)
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
