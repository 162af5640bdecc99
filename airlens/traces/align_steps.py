"""Find steps that a data set gives as texts in the response that they were taken from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from airlens.errors import ConfigError

from .step import Step, cut_at

_WORD = re.compile(r"\S+")

# A linked list, newest first: ((index of the text, its first character), the list before).
_Placed: TypeAlias = "tuple[tuple[int, int], _Placed] | None"


class _Chain(NamedTuple):
    """The texts placed so far: where the last one ends, and their list."""

    end: int
    placed: _Placed


# Alignments kept that have found fewer texts than the best one: up to so many texts found too far
# ahead can be given up.
_BEAM = 16


def align_steps(
    response: str, texts: Sequence[str], labels: Sequence[str | None] | None = None
) -> tuple[tuple[Step, ...], list[int]]:
    """Find given step texts in a response, in their order.

    A text is found verbatim, or where it differs in whitespace only. Of the possible placements one
    with the most texts is chosen, so that a text found too far ahead does not prevent others from
    being found. A text that is not found is reported, not guessed.

    Args:
        response: the text that the steps were taken from.
        texts: one per step.
        labels: one per text, for the steps.

    Returns:
        The steps, one per text found, and the indices of the texts not found. Text between two
        found texts belongs to the step of the first, text before all of them to the first step.
        Where no text is found the whole response is one step without a label.

    Raises:
        ConfigError: not as many labels as texts.
    """
    if labels is not None and len(labels) != len(texts):
        raise ConfigError(f"{len(labels)} labels for {len(texts)} texts")
    if all(texts) and "".join(texts) == response:
        starts = list(accumulate(map(len, texts), initial=0))[:-1]
        placed = list(range(len(texts)))
    else:
        spans = _place(response, texts)
        placed = [index for index, _ in spans]
        starts = [0, *(start for _, start in spans[1:])]
    if not placed:
        return cut_at(response, ()), list(range(len(texts)))
    ends = [*starts[1:], len(response)]
    steps = tuple(
        Step(response[a:b], a, b, labels[index] if labels is not None else None)
        for index, a, b in zip(placed, starts, ends, strict=True)
    )
    return steps, sorted(set(range(len(texts))) - set(placed))


def _place(response: str, texts: Sequence[str]) -> list[tuple[int, int]]:
    """(index, start) of each text placed, in order.

    For each number of placed texts the chain that ends first is kept: any text that can follow a
    later end can follow an earlier one. The search treats each run of whitespace as one blank.
    """
    squeezed, origin = _squeeze(response)
    chains = {0: _Chain(0, None)}
    for index, text in enumerate(texts):
        words = " ".join(text.split())
        for count in sorted(chains, reverse=True) if words else ():
            if count < max(chains) - _BEAM:
                del chains[count]
                continue
            start = squeezed.find(words, chains[count].end)
            rival = chains.get(count + 1)
            if start >= 0 and (rival is None or start + len(words) < rival.end):
                placed = ((index, origin[start]), chains[count].placed)
                chains[count + 1] = _Chain(start + len(words), placed)
    return _unroll(chains[max(chains)].placed)


def _squeeze(text: str) -> tuple[str, list[int]]:
    """``text`` with each run of whitespace made one blank, and where each character came from."""
    squeezed: list[str] = []
    origin: list[int] = []
    for match in _WORD.finditer(text):
        if squeezed:
            squeezed.append(" ")
            origin.append(match.start() - 1)
        squeezed.append(match.group())
        origin.extend(range(match.start(), match.end()))
    return "".join(squeezed), origin


def _unroll(placed: _Placed) -> list[tuple[int, int]]:
    """The linked list in order, first placed first."""
    spans = []
    while placed is not None:
        span, placed = placed
        spans.append(span)
    return spans[::-1]
