"""The state of a workspace as one line of text: the app's address, a link, ``state=``."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anywidget
import traitlets as t

from airlens.errors import ConfigError, DataError
from airlens.traces.trace import Trace

from .view_scripts import script, stylesheet

MOST_TEXT = 8_000  # characters of a link that a trace of one's own may take
MOST_BYTES = 4_000_000  # of such a trace, unpacked
NUMBERS = ("step", "source", "least", "tab")
WORDS = (
    "trace",
    "heads",
    "mode",
    "colour",
    "measure",
    "show",
    "split",
    "pinned",
    "beside",
    "model",
)
"""What a link says, with the names of a shared page where that has the same."""


def write_address(state: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """The state without what is as at first; ``text`` is a packed trace, see :func:`pack`."""
    said = {
        name: str(state[name]).replace(", ", ",")
        for name in (*WORDS, *NUMBERS, "text")
        if state.get(name) not in (None, first.get(name))
    }
    return urlencode(said, safe=",")


def read_address(text: str) -> dict[str, Any]:
    """What an address, or a whole link, says; what no workspace knows is left out.

    Raises:
        ConfigError: names what is not a number.
    """
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text.rpartition("#")[2]):
        if name in NUMBERS:
            try:
                found[name] = int(value)
            except ValueError:
                raise ConfigError(f"the link says {name}={value}; it should be a number") from None
        elif name in WORDS or name == "text":
            found[name] = value
    return found


def pack(trace: Trace) -> str:
    """A trace as text for a link: JSON, deflated, in base64; empty where it is too long."""
    data = zlib.compress(json.dumps(trace.to_json(), ensure_ascii=False).encode(), 9)
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    return text if len(text) <= MOST_TEXT else ""


def unpack(text: str) -> Trace:
    """The trace that :func:`pack` packed.

    Raises:
        DataError: it is cut, or no trace.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(data, MOST_BYTES)
        if not unpacker.eof:
            raise ValueError("cut")
        return Trace.from_json(json.loads(whole))
    except (ValueError, TypeError, zlib.error, RecursionError) as error:
        raise DataError("the trace in the link is damaged: was it cut when it was sent?") from error


class Address(anywidget.AnyWidget):  # type: ignore[misc]
    """Buttons that copy the state and save a page; in the app, the page's address is the state.

    ``state`` is kept in the browser over a reload, which sets ``restored``; going back, or another
    address, sets ``wanted`` to ``[address, moment]``; ``answered`` is the moment of the last
    one that is shown.
    """

    _esm = script("address")
    _css = stylesheet()
    name = t.Unicode("").tag(sync=True)
    address = t.Unicode("").tag(sync=True)
    state = t.Unicode("").tag(sync=True)
    restored = t.Unicode("").tag(sync=True)
    wanted: t.List[Any] = t.List([]).tag(sync=True)
    answered = t.Float(0.0).tag(sync=True)
    asked = t.Int(0).tag(sync=True)
    told = t.Unicode("").tag(sync=True)

    def save(self, name: str, text: str) -> None:
        """Let the browser save a file."""
        self.send({"name": name}, [text.encode()])
