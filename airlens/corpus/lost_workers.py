"""Which row kills the worker that scores it: found by halving, with a bounded number of workers.

A chunk whose worker is lost is tried once more, as a machine may be lost by itself. Lost again, its
halves are tried alone, then the halves of those that kill theirs, down to single rows. The rows
that do are named, and the chunk is scored without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airlens.errors import RunError

LIVES = 2  # workers that a whole chunk, or a row that stands accused, may lose


@dataclass
class Case:
    """A chunk on its way.

    Attributes:
        part: number of its part, for messages.
        rows: how many it has.
        killers: places of rows that killed their workers.
        reason: how the last of these workers was lost.
        searched: whether it was searched for them.
        open: tries of single stretches that are not back.
    """

    part: int
    rows: int
    killers: list[int] = field(default_factory=list)
    reason: str = ""
    searched: bool = False
    open: int = 0

    def first(self) -> Try:
        """The whole chunk."""
        return Try(self, None, LIVES)


@dataclass
class Try:
    """Something to be done by one worker.

    Attributes:
        case: the chunk.
        places: rows that are scored to see whether the worker survives; None: the chunk is scored,
            without its killers, and its part written.
        lives: workers that it may still lose.
    """

    case: Case
    places: Sequence[int] | None
    lives: int

    def survived(self) -> list[Try]:
        """What is to be tried next, after stretches of a search."""
        if self.places is None:
            return []
        return self._closed([])

    def lost(self, reason: str) -> list[Try]:
        """What is to be tried next, as the worker that had this was lost.

        Raises:
            RunError: no row by itself is at fault.
        """
        self.lives -= 1
        if self.lives > 0:
            return [self]
        case = self.case
        if self.places is not None:
            case.reason = reason
            return self._closed(self.places)
        if case.searched:
            raise RunError(
                f"the rows of part {case.part} kill the worker that scores them together, and none "
                f"does alone ({reason}); give them more memory, or score fewer at a time "
                "(--max-tokens-per-batch, --part-rows)"
            )
        case.searched = True
        case.open = 1
        return self._closed(range(case.rows))

    def _closed(self, deadly: Sequence[int]) -> list[Try]:
        """One stretch is back, of which these rows killed the worker."""
        case = self.case
        case.open -= 1
        if len(deadly) == 1:
            case.killers.append(deadly[0])
            deadly = []
        middle = len(deadly) // 2
        halves = [half for half in (deadly[:middle], deadly[middle:]) if len(half)]
        case.open += len(halves)
        if case.open:
            return [Try(case, half, LIVES if len(half) == 1 else 1) for half in halves]
        case.killers.sort()
        return [Try(case, None, LIVES)]
