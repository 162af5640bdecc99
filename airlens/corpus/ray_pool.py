"""A pool of Ray actors: gives them work, hands out what they answer, replaces those it loses."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airlens.errors import RunError

log = logging.getLogger(__name__)

DEPTH = 2  # pieces of work an actor holds: while it does one the next one waits there
STARTS = 3  # actors in a row that may be lost before they were ready
LOST_IN_A_ROW = 25  # actors, for each of the pool, that may be lost with nothing done in between
PATIENCE = 60.0  # seconds without an actor before that is said

T = TypeVar("T")


@dataclass
class _Member(Generic[T]):
    """An actor, the reference to its first answer until that has come, and its work in order."""

    actor: Any
    ready: Any
    given: deque[tuple[Any, T]] = field(default_factory=deque)


class Pool(Generic[T]):
    """So many actors; Ray itself restarts none and repeats nothing.

    Args:
        ray: the module, joined to a cluster.
        start: makes an actor; its method ``ready`` answers once it can work.
        size: how many.
        call: gives work to an actor; returns the reference to the answer.
        on_ready: is told the first answer of each actor.
    """

    def __init__(
        self,
        ray: Any,
        start: Callable[[], Any],
        size: int,
        call: Callable[[Any, T], Any],
        on_ready: Callable[[Any], None],
    ) -> None:
        self._ray, self._start, self._call, self._on_ready = ray, start, call, on_ready
        self._size, self._told = size, False
        self._starts_lost = self._lost = 0
        self._again: deque[T] = deque()
        self._members: list[_Member[T]] = []
        for _ in range(size):
            self._add()

    def _add(self) -> None:
        actor = self._start()
        self._members.append(_Member(actor, actor.ready.remote()))

    @property
    def has_room(self) -> bool:
        """Whether an actor could take more."""
        return self._freest() is not None

    @property
    def is_busy(self) -> bool:
        """Whether work was given that is not back."""
        return bool(self._again) or any(member.given for member in self._members)

    def _freest(self) -> _Member[T] | None:
        free = [m for m in self._members if m.ready is None and len(m.given) < DEPTH]
        return min(free, key=lambda member: len(member.given), default=None)

    def give(self, work: T) -> None:
        """Give work to the actor that has least; without room it waits."""
        self._again.append(work)
        while self._again and (member := self._freest()) is not None:
            work = self._again.popleft()
            member.given.append((self._call(member.actor, work), work))

    def wait(self) -> Iterator[tuple[T, Any, str]]:
        """Wait for an answer: the work, its answer, ""; or the work, None, why its actor is lost.

        Nothing may come, as an actor became ready, or none could for a while.

        Raises:
            RunError: no actor starts, or actors are lost again and again.
        """
        heads = [member.given[0][0] for member in self._members if member.given]
        starting = [member.ready for member in self._members if member.ready is not None]
        done, _ = self._ray.wait([*heads, *starting], num_returns=1, timeout=PATIENCE)
        if not done and not heads and not self._told:
            self._told = True
            free = self._ray.available_resources()
            have = ", ".join(f"{free.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
            log.warning("no Ray actor could start in %d s (free: %s); waiting", PATIENCE, have)
        for ref in done:
            yield from self._came(ref)
        if self._again and self.has_room:
            self.give(self._again.popleft())

    def _came(self, ref: Any) -> Iterator[tuple[T, Any, str]]:
        errors = self._ray.exceptions
        member = next(
            m for m in self._members if ref is m.ready or (m.given and ref is m.given[0][0])
        )
        try:
            answer = self._ray.get(ref)
        except errors.RayTaskError:  # an error of ours, as it would be without Ray
            raise
        except errors.RayError as error:
            yield from self._replace(member, _reason(error))
            return
        if member.ready is not None:
            member.ready, self._starts_lost = None, 0
            self._on_ready(answer)
            return
        self._lost = 0
        yield member.given.popleft()[1], answer, ""

    def _replace(self, member: _Member[T], reason: str) -> Iterator[tuple[T, None, str]]:
        """Another actor for one that is lost; what it was doing, as only that may be why."""
        self._kill(member)
        self._members.remove(member)
        if member.ready is not None:
            self._starts_lost += 1
            if self._starts_lost >= STARTS:
                raise RunError(f"{STARTS} Ray actors in a row could not start: {reason}")
        self._lost += 1
        if self._lost > LOST_IN_A_ROW * self._size:
            raise RunError(f"{self._lost} Ray actors were lost with nothing done: {reason}")
        self._add()
        work = [each for _, each in member.given]
        self._again.extendleft(reversed(work[1:]))
        if work:
            yield work[0], None, reason

    def _kill(self, member: _Member[T]) -> None:
        with suppress(Exception):  # it is dead, or the cluster is gone
            self._ray.kill(member.actor)

    def close(self) -> None:
        """End the actors."""
        for member in self._members:
            self._kill(member)


def _reason(error: Exception) -> str:
    """What Ray says in one line of how an actor was lost."""
    text = str(error)
    for mark in ("Worker exit detail:", "Worker exit type:"):
        if mark in text:
            line = text.partition(mark)[2].strip().splitlines()[0]
            return line.partition(" Some common causes")[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
