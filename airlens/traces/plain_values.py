"""Make the values of a record plain JSON types, whatever library they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from airlens.errors import DataError

# More than Python turns into text or reads from it: about 4,300 digits.
_MOST_BITS = 14_000
_AS_TEXT = (datetime, date, time, timedelta, Decimal, UUID)


class Unreadable:
    """Stands for a value that is neither text nor JSON; an error only where it is needed.

    Args:
        what: what was found, for the message.
    """

    def __init__(self, what: str) -> None:
        self.what = what


def plain(value: Any) -> Any:
    """The value as a plain JSON type; data frames have numbers, lists and nulls of their own.

    Bytes are UTF-8 text or `Unreadable`, as is an object of a class that is not known here, and a
    list or a mapping that holds one.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        many = value.bit_length() > _MOST_BITS
        return Unreadable(f"a number of {value.bit_length():,} bits") if many else int(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    if isinstance(value, Mapping):
        return _whole({_key(key): plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return _whole([plain(item) for item in value])
    if isinstance(value, _AS_TEXT):
        return None if type(value).__name__ == "NaTType" else str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if type(value).__name__ in ("datetime64", "timedelta64"):
        return None if str(value) == "NaT" else str(value)
    return _converted(value)


def plain_record(data: Mapping[Any, Any]) -> dict[str, Any]:
    """All columns of a record made plain; blanks around their names are left out.

    Raises:
        DataError: two columns then have the same name.
    """
    made: dict[str, Any] = {}
    for key, value in data.items():
        name = _key(key).strip()
        if name in made:
            raise DataError("two columns have this name", field=name)
        made[name] = plain(value)
    return made


def _converted(value: Any) -> Any:
    """The value of a NumPy, torch or other array or scalar."""
    try:
        made = value.tolist()
    except Exception:  # whatever class it is: a value without plain form is no failure of the row
        return Unreadable(f"a {type(value).__name__}")
    return Unreadable(f"a {type(value).__name__}") if type(made) is type(value) else plain(made)


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    return key if isinstance(key, str) else str(key)


def _text(data: bytes) -> str | Unreadable:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return Unreadable(f"bytes that are not UTF-8 ({error.reason} at byte {error.start})")


def _whole(made: Any) -> Any:
    for item in made.values() if isinstance(made, dict) else made:
        if isinstance(item, Unreadable):
            return item
    return made
