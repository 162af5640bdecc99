"""Texts in batches: those that fit together, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def groups(items: Iterable[T], fits: Callable[[Sequence[T], T], bool]) -> list[list[T]]:
    """Items in their order; one that does not fit into the last group begins the next.

    >>> groups([1, 1, 2, 1], lambda group, item: group[0] == item)
    [[1, 1], [2], [1]]
    """
    found: list[list[T]] = []
    for item in items:
        if found and fits(found[-1], item):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size is at most ``budget`` tokens.

    >>> batches([3, 9, 4, 5], budget=10)
    [[1], [3, 2], [0]]
    """
    # Longest first: the batch's first item sets its padded width.
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return groups(order, lambda batch, i: lengths[batch[0]] * (len(batch) + 1) <= budget)
