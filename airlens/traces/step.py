"""What a step is, and steps from the places where they begin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class Step:
    """One step of a response.

    Args:
        text: the characters ``response[start:end]``.
        start: first character, counted in the response.
        end: one past the last character.
        label: what kind of step it is, where the data say so.
    """

    text: str
    start: int
    end: int
    label: str | None = None


def cut_at(response: str, starts: Iterable[int]) -> tuple[Step, ...]:
    """Steps that begin at the given characters (ascending); a blank one joins the one before."""
    if not response:
        return ()
    cuts = [0]
    text = skip_space(response, 0)
    for start in starts:
        if start <= text:
            continue  # what precedes is blank: it opens the next step
        text = skip_space(response, start)
        if text == len(response):
            break  # what follows is blank: it ends this step
        cuts.append(start)
    ends = [*cuts[1:], len(response)]
    return tuple(Step(response[a:b], a, b) for a, b in zip(cuts, ends, strict=True))


def skip_space(response: str, position: int) -> int:
    """The first character from ``position`` on that is no whitespace."""
    space = _SPACE.match(response, position)
    return space.end() if space else position
