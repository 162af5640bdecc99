"""``top``: a share of some things (0.05, "5%") or a number of them (5), read in one place.

>>> share_or_count(0.05), share_or_count(5), share_or_count("5%"), share_or_count("5")
(0.05, 5, 0.05, 5)
>>> how_many("5%", 270), how_many(3, 270)
(14, 3)
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TypeAlias

from .errors import ConfigError

Share: TypeAlias = float | int | str
"""A share (a float in (0, 1], or text as "5%" or "0.05"), or a count (a whole number from 1)."""


def share_or_count(value: Share, name: str = "top") -> float | int:
    """``value`` as a share (float in (0, 1]) or a count (int of at least 1).

    Whole numbers are counts, also as text or as 5.0; only 1.0 and "100%" are all there is, while 1
    is one. numpy's numbers are taken as Python's.

    Raises:
        ConfigError: it is neither; the message names it ``name``.
    """
    number = _number(value)
    if isinstance(number, int) and number >= 1:
        return number
    if isinstance(number, float) and 0 < number <= 1:
        return number
    if isinstance(number, float) and number > 1 and number.is_integer():
        return int(number)
    raise ConfigError(
        "give a share in (0, 1], such as 0.05 or 5%, or a count of at least 1, such as 5",
        argument=name,
        value=value,
    )


def how_many(value: Share, total: int, name: str = "top") -> int:
    """How many of ``total`` things a share or a count means, a share at least one.

    A count may be larger than ``total``; who calls says whether that is an error.
    """
    wanted = share_or_count(value, name)
    return wanted if isinstance(wanted, int) else max(1, round(wanted * total))


def _number(value: object) -> float | int | None:
    """A number, or text that writes one: "5%" is the float .05, "5" the int, "1.0" a float."""
    if isinstance(value, str):
        text = value.strip()
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                return share if share <= 1 else None  # 500 % is no count of 5
            return int(text)
        except ValueError:
            pass
        try:
            return float(text)
        except ValueError:
            return None
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return None
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else None
