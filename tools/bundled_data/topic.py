"""The record that a bank of phrases about one subject is kept in."""

from __future__ import annotations

from typing import NamedTuple


class Topic(NamedTuple):
    """Phrases about one subject that may be combined freely with one another.

    ``subjects`` act, ``deeds`` are past-tense predicates (or whole clauses where there are no
    subjects), ``tails`` fit before or after a clause, ``ends`` fit only after it.
    """

    name: str
    subjects: tuple[str, ...]
    deeds: tuple[str, ...]
    tails: tuple[str, ...]
    ends: tuple[str, ...]


def phrases(text: str) -> tuple[str, ...]:
    """Split a block of phrases at line ends and bars, dropping blanks."""
    parts = (part.strip() for line in text.splitlines() for part in line.split("|"))
    return tuple(part for part in parts if part)


def topic(name: str, subjects: str, deeds: str, tails: str, ends: str) -> Topic:
    """Build a topic from blocks of phrases."""
    return Topic(name, phrases(subjects), phrases(deeds), phrases(tails), phrases(ends))
