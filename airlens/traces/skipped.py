"""Traces that a command leaves out: which, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from airlens.errors import ConfigError, DataError

from .items import Rejected
from .trace import Trace

OnError: TypeAlias = Literal["raise", "skip"]
NAMED = 3  # traces named in a sentence


@dataclass(frozen=True)
class Skipped:
    """A trace that was left out.

    Attributes:
        id: of the trace.
        reason: why.
    """

    id: str
    reason: str

    @classmethod
    def of(cls, name: str, error: DataError) -> Skipped:
        """The trace ``name``, left out because of an error that may name it too."""
        return cls(name, error.reason.removeprefix(f"trace {name!r}").lstrip(": "))


def check_on_error(on_error: str) -> None:
    """:class:`ConfigError` where ``on_error`` is no such policy."""
    if on_error not in get_args(OnError):
        raise ConfigError("use 'skip' or 'raise'", argument="on_error", value=on_error)


def usable(
    traces: Iterable[Trace], check: Callable[[Trace], None], on_error: OnError
) -> tuple[list[Trace], list[Skipped]]:
    """The traces for which ``check`` raises no :class:`DataError`, and the others.

    Raises:
        DataError: that of the first other trace, where ``on_error`` is ``raise``; or no trace is
            left.
    """
    check_on_error(on_error)
    kept, skipped = [], []
    for trace in traces:
        try:
            check(trace)
        except DataError as error:
            if on_error == "raise":
                raise
            skipped.append(Skipped.of(trace.id, error))
            continue
        kept.append(trace)
    if skipped and not kept:
        raise DataError(f"nothing is left: {said(skipped)}")
    return kept, skipped


def said(skipped: Sequence[Skipped]) -> str:
    """How many traces were skipped, and a few of them with the reason; empty for none.

    >>> said([Skipped("a", "no response"), Skipped("b", "no response")])
    "2 traces skipped ('a': no response; 'b': no response)"
    """
    if not skipped:
        return ""
    some = "; ".join(f"{each.id!r}: {each.reason}" for each in skipped[:NAMED])
    more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return f"{len(skipped)} trace{'s' if len(skipped) > 1 else ''} skipped ({some}{more})"


def note_of(skipped: Sequence[Skipped], most: int = 1000) -> dict[str, Any]:
    """For a provenance: how many were skipped, the common reasons, and which (``most`` of them)."""
    common = Counter(each.reason for each in skipped).most_common(5)
    names = {each.id: each.reason for each in skipped[:most]}
    return {"n_skipped": len(skipped), "reasons": dict(common), "skipped": names}


def note_of_rows(rows: Sequence[Rejected], most: int = 1000) -> dict[str, Any]:
    """For a provenance: the rows that made no trace, with their place and the reason."""
    return {"n_rows_skipped": len(rows), "rows_skipped": [str(row.error) for row in rows[:most]]}
