"""Score the parts of a corpus on a Ray cluster (extra ``ray``): the same numbers, the same files.

The calling process reads and checks the corpus and gives chunks to actors, each with its own copy
of the model. An actor writes the files of its part beside their places; back come the names and
checksums of the files, and the calling process, which alone holds the folder's lock, puts them in
place and writes the marker. What a lost actor had is done again by another; a row that kills the
actor that scores it is found and rejected (`airlens.corpus.lost_workers`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from airlens.errors import ConfigError, RunError
from airlens.model.files import absolute_name

from .lost_workers import Case, Try
from .part_files import Staged
from .ray_cluster import cluster
from .ray_pool import Pool
from .ray_worker import SIGN, Answer, Worker
from .rows import Chunk, Reject
from .run_folder import RunFolder
from .score_part import PartScorer

log = logging.getLogger(__name__)

# What the scheduler counts for an actor without a GPU: with whole CPUs, as many actors as CPUs
# would leave no room for anything else on the cluster.
ACTOR_CPUS = 0.5


class RayEngine:
    """An engine for `airlens.corpus.run.score_corpus`.

    Args:
        model: arguments of `airlens.load_model` for the actors: ``name``, ``device``, ``dtype``,
            ``n_devices`` (GPUs of each actor), …. A name that is a path must exist on every
            machine; a relative one is taken from the folder of the calling process.
        address: of a cluster; default: one started here and stopped afterwards.
        actors: how many; default: as many as the GPUs suffice for, else one a CPU.
        cpus: of a cluster started here; default: all.
        actor_cpus: what the scheduler counts for an actor; default: nothing beside its GPU, else
            `ACTOR_CPUS`.
        actor_threads: threads that an actor computes with; default: the CPUs of the cluster, shared
            among the actors (Ray itself would allow one).
        worker: the class of the actors.

    Attributes:
        told: how the actors were set up, once they are.

    Raises:
        ConfigError: Ray is not installed, or a number that makes no sense.
    """

    def __init__(
        self,
        model: dict[str, Any],
        *,
        address: str | None = None,
        actors: int | None = None,
        cpus: int | None = None,
        actor_cpus: float | None = None,
        actor_threads: int | None = None,
        worker: type[Worker] = Worker,
    ) -> None:
        for name, value in (("actor_cpus", actor_cpus), ("actor_threads", actor_threads)):
            if value is not None and not value > 0:
                raise ConfigError("give a number above 0", argument=name, value=value)
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ConfigError("--engine ray needs Ray: pip install 'airlens[ray]'") from error
        self.model = {**model, "name": absolute_name(model["name"])}
        self.address, self.actors, self.cpus = address, actors, cpus
        self.actor_cpus, self.actor_threads = actor_cpus, actor_threads
        self.worker = worker
        self.told = ""

    def __call__(
        self, scorer: PartScorer, chunks: Callable[[], Iterator[Chunk]]
    ) -> Iterator[tuple[Chunk, Staged | None]]:
        """Each chunk with the files of its part, in the order of completion."""
        with cluster(self.address, self.cpus) as ray:
            scoring = _Scoring(ray, scorer)
            start, size = self.actor(ray, scorer)
            pool = Pool(ray, start, size, scoring.call, self._is_ready)
            try:
                yield from scoring.run(pool, chunks())
            finally:
                pool.close()

    def actor(self, ray: Any, scorer: PartScorer) -> tuple[Callable[[], Any], int]:
        """What starts an actor, and how many there are to be."""
        have = ray.cluster_resources()
        gpus, cpus = int(have.get("GPU", 0)), max(1, int(have.get("CPU", 1)))
        each = int(self.model.get("n_devices") or 1)
        size = self.actors or gpus // each or cpus
        threads = self.actor_threads or max(1, cpus // size)
        needs: dict[str, Any] = {"num_gpus": each} if gpus else {"num_cpus": ACTOR_CPUS}
        if self.actor_cpus is not None:
            needs["num_cpus"] = self.actor_cpus
        self.told = (
            f"{size} actors of {threads} threads each; for each the scheduler counts "
            + " and ".join(f"{n:g} {name[4:-1].upper()}" for name, n in needs.items())
        )
        # An actor that dies is replaced by the pool, which knows what it was doing.
        made = ray.remote(max_restarts=0, max_task_retries=0, **needs)(self.worker)
        out, sign = _folder(scorer)
        return lambda: made.remote(self.model, _without_model(scorer), threads, out, sign), size

    def _is_ready(self, told: tuple[bool, str]) -> None:
        """Of each actor: whether it sees the folder of the run, and why it cannot work."""
        sees, error = told
        if error:
            raise RunError(error)
        through = "; tables pass through the calling process: not all actors see the folder"
        if not sees and not self.told.endswith(through):
            self.told += through
            log.warning("an actor does not see the folder of the run%s", through)


def _folder(scorer: PartScorer) -> tuple[str, dict[str, Any]]:
    """The folder of the run and what its ``run.json`` says; "" where the scorer has none."""
    if scorer.out is None:
        return "", {}
    manifest = RunFolder(scorer.out).manifest()
    return str(scorer.out.absolute()), {name: manifest.get(name) for name in SIGN}


class _Scoring:
    """Chunks on their way through a pool."""

    def __init__(self, ray: Any, scorer: PartScorer) -> None:
        self._ray, self._scorer = ray, scorer
        self._open: dict[int, tuple[Any, Chunk]] = {}  # by part: where the chunk lies, its facts
        self._next: deque[Try] = deque()

    def call(self, actor: Any, work: Try) -> Any:
        """Give a try to an actor."""
        where, _ = self._open[work.case.part]
        if work.places is not None:
            return actor.survive.remote(where, list(work.places))
        return actor.score.remote(where, self._killers(work.case))

    def _killers(self, case: Case) -> list[Reject]:
        if not case.killers:
            return []
        rows = self._ray.get(self._open[case.part][0]).rows
        reason = f"killed its worker: {case.reason}"
        return [rows[place].reject(reason) for place in case.killers]

    def run(
        self, pool: Pool[Try], chunks: Iterator[Chunk]
    ) -> Iterator[tuple[Chunk, Staged | None]]:
        """Each chunk with the files of its part."""
        left: Iterator[Chunk] | None = chunks
        while True:
            while pool.has_room and (self._next or left is not None):
                if self._next:
                    pool.give(self._next.popleft())
                    continue
                chunk = next(left, None)  # type: ignore[arg-type]
                if chunk is None:
                    left = None
                elif chunk.part is None:
                    yield chunk, None
                else:
                    pool.give(self._sent(chunk, chunk.part))
            if left is None and not self._next and not pool.is_busy:
                return
            for work, answer, reason in pool.wait():
                if answer is None:
                    self._next.extend(work.lost(reason))
                elif work.places is not None:
                    self._next.extend(work.survived())
                else:
                    yield self._done(work.case.part, answer)

    def _sent(self, chunk: Chunk, part: int) -> Try:
        """Hand the rows of a chunk to the cluster."""
        light = replace(chunk, rows=[], rejects=[])
        where = self._ray.put(replace(light, rows=chunk.rows))
        self._open[part] = (where, replace(light, rejects=chunk.rejects))
        return Case(part, len(chunk.rows)).first()

    def _done(self, part: int, answer: Answer) -> tuple[Chunk, Staged | None]:
        if answer.error:
            raise RunError(answer.error)
        _, chunk = self._open.pop(part)
        self._scorer.halved = max(self._scorer.halved, answer.halved)
        return replace(chunk, rejects=[*chunk.rejects, *answer.rejects]), answer.part


def _without_model(scorer: PartScorer) -> dict[str, Any]:
    """The arguments that rebuild the scorer on a worker, without the model."""
    return {
        "heads": scorer.heads,
        "settings": scorer.settings,
        "identity": scorer.identity,
        "keep": scorer.keep,
        "max_tokens_per_batch": scorer.budget,
    }
