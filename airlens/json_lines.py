r"""JSON lines: one JSON value a line, and a line ends at ``\n`` only.

Python's ``str.splitlines`` also cuts at U+2028, U+0085 and six others, which JSON strings may hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import DataError


def jsonable(value: Any) -> Any:
    """A value as JSON can express it: NaN, infinity and ``pd.NA`` become null, numpy plain Python.

    >>> jsonable({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if type(value).__name__ == "NAType" or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def json_line(value: object, *, strict: bool = True) -> bytes:
    r"""A value as one line of JSON in UTF-8.

    Half a surrogate pair is escaped, as UTF-8 has no bytes for it. ``strict``: NaN and infinity,
    which JSON lacks and only some readers know, are refused.

    Raises:
        TypeError, ValueError: JSON cannot express it.

    >>> json_line({"a": "é"}).decode()
    '{"a": "é"}\n'
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=not strict).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=not strict).encode() + b"\n"


def split_lines(text: bytes) -> list[bytes]:
    r"""The lines of a text without their ends; what follows the last ``\n`` is a line, if anything.

    >>> split_lines("a\u2028b\r\nc\n".encode()) == ["a\u2028b\r".encode(), b"c"]
    True
    """
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def read_json_lines(path: str | Path, *, cut: bool = False) -> Iterator[Any]:
    """The values of a file of JSON lines.

    Args:
        path: the file.
        cut: the last line may have been cut off by an interruption: it is then left out.

    Raises:
        DataError: a line that is not JSON; names it.
        OSError: the file cannot be read.
    """
    lines = split_lines(Path(path).read_bytes())
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:  # not JSON, or not UTF-8
            if cut and number == len(lines):
                return
            raise DataError(f"not JSON: {error}", file=str(path), line=number) from error
        yield value
