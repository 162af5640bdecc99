"""Values of a data set as JSON text that gives them back: same types, same order, nested too.

What JSON has stays plain JSON. Anything else is an object with the key `TAG`: bytes, decimals,
dates, times, NaN, tuples, mappings whose keys are no texts, NumPy's arrays. A value of a type that
is not known here (a picture, say) cannot be kept; it comes back as `Unkept`, which names its type.

>>> from decimal import Decimal
>>> loads(dumps({"price": Decimal("1.10"), "n": 2**60})) == {"price": Decimal("1.10"), "n": 2**60}
True
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

TAG, VALUE, ZONE = "$", "v", "zone"
# A text this long that stands elsewhere too is written once.
REPEATED = 40


@dataclass(frozen=True)
class Unkept:
    """What stands in place of a value that could not be kept.

    Args:
        type: the name of its type.
    """

    type: str


def dumps(value: object, same: Mapping[str, str] | None = None) -> str:
    """A value as JSON text.

    Args:
        value: any.
        same: names of texts that are kept elsewhere; where one stands in ``value`` its name is
            written in its place.

    Raises:
        RecursionError, ValueError: nested too deep, or in itself.
    """
    coded = encode(value, same or {})
    text = json.dumps(coded, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can express
        text = json.dumps(coded)
    return text


def loads(text: str, same: Mapping[str, str] | None = None) -> Any:
    """The value that `dumps` wrote; ``same``: the text of each name."""
    return decode(json.loads(text), same or {})


def encode(value: object, same: Mapping[str, str]) -> Any:
    """A value as what JSON has; see `dumps`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        name = same.get(value) if len(value) >= REPEATED else None
        return str(value) if name is None else {TAG: "same", VALUE: name}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {TAG: "float", VALUE: str(float(value))}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {str(key): encode(item, same) for key, item in value.items()}
        pairs = [[encode(key, {}), encode(item, same)] for key, item in value.items()]
        return {TAG: "mapping", VALUE: pairs}
    if isinstance(value, list):
        return [encode(item, same) for item in value]
    if isinstance(value, tuple):
        return {TAG: "tuple", VALUE: [encode(item, same) for item in value]}
    return _encode_rare(value, same)


def _encode_rare(value: object, same: Mapping[str, str]) -> Any:
    if value is pd.NaT or value is pd.NA:
        return {TAG: "NaT" if value is pd.NaT else "NA"}
    if isinstance(value, np.datetime64):
        return encode(pd.Timestamp(value), same)
    if isinstance(value, np.timedelta64):
        return encode(pd.Timedelta(value), same)
    if isinstance(value, np.generic):
        plain = value.item()
        return {TAG: "unkept", VALUE: _type(value)} if plain is value else encode(plain, same)
    if isinstance(value, np.ndarray):
        items = [encode(item, same) for item in value]
        plain = value.dtype.kind in "biuf" and value.ndim == 1
        return {TAG: "array", "dtype": str(value.dtype), VALUE: items} if plain else items
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            zone = getattr(getattr(value, "tzinfo", None), "key", None)
            return {TAG: name, VALUE: write(value), **({ZONE: zone} if zone else {})}
    return {TAG: "unkept", VALUE: _type(value)}


def _type(value: object) -> str:
    return type(value).__name__


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _base64(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


def _iso(value: Any) -> str:
    return str(value.isoformat())


# Name of each kind: its type, how it is written, how it is read. A subtype comes before its type.
_KINDS: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bytes": ((bytes, bytearray, memoryview), _base64, _bytes),
    "decimal": (Decimal, str, Decimal),
    "timestamp": (pd.Timestamp, _iso, pd.Timestamp),
    "datetime": (dt.datetime, _iso, dt.datetime.fromisoformat),
    "date": (dt.date, _iso, dt.date.fromisoformat),
    "time": (dt.time, _iso, dt.time.fromisoformat),
    "Timedelta": (pd.Timedelta, lambda v: v.isoformat(), pd.Timedelta),
    "timedelta": (
        dt.timedelta,
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda v: dt.timedelta(*v),
    ),
    "uuid": (uuid.UUID, str, uuid.UUID),
}


def decode(value: Any, same: Mapping[str, str]) -> Any:
    """The value that `encode` gave in place of it."""
    if isinstance(value, list):
        return [decode(item, same) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decode(item, same) for key, item in value.items()}
    kind: str = value[TAG]
    inner: Any = value.get(VALUE)
    if kind in _KINDS:
        made = _KINDS[kind][2](inner)
        return made.astimezone(zoneinfo.ZoneInfo(value[ZONE])) if ZONE in value else made
    match kind:
        case "same":
            return same[inner]
        case "float":
            return float(inner)
        case "mapping":
            return {decode(key, same): decode(item, same) for key, item in inner}
        case "tuple":
            return tuple(decode(item, same) for item in inner)
        case "array":
            return np.asarray([decode(item, same) for item in inner], dtype=value["dtype"])
        case "NaT" | "NA":
            return pd.NaT if kind == "NaT" else pd.NA
        case "unkept":
            return Unkept(inner)
    raise ValueError(f"not written by loss_free: {kind!r}")
