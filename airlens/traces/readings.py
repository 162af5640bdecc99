"""How records were read, in words: which columns became the prompt and the response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trace import Trace

# Roles said after the prompt and the response, in this order.
_FURTHER = ("steps", "tools", "answer", "domain", "id")


def describe(reading: Mapping[str, Any]) -> str:
    """What `Trace.reading` says of the columns, as one phrase; "" where it says nothing.

    >>> describe({"columns": {"prompt": ["problem"], "response": ["solution"]},
    ...           "ignored": ["messages"]})
    'prompt from `problem`, response from `solution`; ignored: `messages`'
    """
    columns: Mapping[str, Iterable[str]] = reading.get("columns") or {}
    if not columns:
        return str(reading.get("layout", ""))
    prompt, response = list(columns.get("prompt", ())), list(columns.get("response", ()))
    if prompt and prompt == response:
        said = [f"prompt and response from {_names(prompt)}"]
    else:
        said = [f"prompt from {_names(prompt)}" if prompt else "no prompt"]
        said += [f"response from {_names(response)}" if response else "no response"]
    phrases = [", ".join(said)]
    if ignored := reading.get("ignored"):
        phrases.append(f"ignored: {_names(ignored, ', ')}")
    further = [f"{role} from {_names(columns[role])}" for role in _FURTHER if columns.get(role)]
    if further:
        phrases.append(", ".join(further))
    return "; ".join([*phrases, *reading.get("notes", ())])


def how_read(traces: Iterable[Trace]) -> dict[str, int]:
    """How many of the traces were read in which way, for a provenance."""
    counts = Counter(describe(trace.reading) for trace in traces)
    counts.pop("", None)
    return dict(counts)


def _names(names: Iterable[str], between: str = " and ") -> str:
    return between.join(f"`{name}`" for name in names)
