"""Score the parts of a corpus on a Ray cluster (extra ``ray``): the same numbers, the same files.

Ray Data streams chunks of rows (read in one task on the calling machine, which checks and counts
them) through a pool of actors, each with its own copy of the model; it slows the reading down while
the actors are busy, and repeats the work of an actor or node that is lost. Only the calling process
writes parts, so that a chunk that was scored twice is written once.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError, RunError
from airlens.model.files import absolute_name
from airlens.provenance import fingerprint

from .rows import Chunk
from .score_part import PartScorer, run_identity

log = logging.getLogger(__name__)

# What the scheduler counts for an actor without a GPU. Whole CPUs for actors leave
# none for the task that reads, and the run hangs.
ACTOR_CPUS = 0.5
READER_CPUS = 0.25


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
    ) -> None:
        for name, value in (("actor_cpus", actor_cpus), ("actor_threads", actor_threads)):
            if value is not None and not value > 0:
                raise ConfigError("give a number above 0", argument=name, value=value)
        try:
            import ray.data  # noqa: F401
        except ImportError as error:
            raise ConfigError("--engine ray needs Ray: pip install 'airlens[ray]'") from error
        self.model = {**model, "name": absolute_name(model["name"])}
        self.address, self.actors, self.cpus = address, actors, cpus
        self.actor_cpus, self.actor_threads = actor_cpus, actor_threads
        self.told = ""

    def __call__(
        self, scorer: PartScorer, chunks: Callable[[], Iterator[Chunk]]
    ) -> Iterator[tuple[Chunk, Any]]:
        """Each chunk with the tables of its rows, in the order of completion."""
        with self._cluster() as ray, _quiet("ray.data"):
            with _one_chunk_a_block():
                scored = self._pipeline(ray, scorer, chunks)
            for batch in scored.iter_batches(batch_size=None, prefetch_batches=0):
                for blob in batch["blob"]:
                    chunk, part, halved = pickle.loads(blob)
                    scorer.halved = max(scorer.halved, halved)
                    yield chunk, part

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        import ray

        if ray.is_initialized():
            yield ray
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        joined = self.address or os.environ.get("RAY_ADDRESS", "local")
        options["address"] = joined
        if joined == "local":  # asked for no address, Ray would join a cluster that runs here
            options |= {"include_dashboard": False, "num_cpus": self.cpus}
        _start(ray, options)
        if joined != "local":
            _say_joined(ray)
        try:
            yield ray
        finally:
            ray.shutdown()

    def _pipeline(self, ray: Any, scorer: PartScorer, chunks: Callable[[], Iterator[Chunk]]) -> Any:
        from ray.data import ActorPoolStrategy
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

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
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        read = ray.data.read_datasource(
            _source(chunks),
            override_num_blocks=1,
            ray_remote_args={"num_cpus": READER_CPUS, "scheduling_strategy": here},
        )
        return read.map_batches(
            _Actor,
            fn_constructor_args=(self.model, _without_model(scorer), threads),
            batch_size=1,
            compute=ActorPoolStrategy(size=size),
            zero_copy_batch=True,
            **needs,
        )


@contextmanager
def _one_chunk_a_block() -> Iterator[None]:
    """Ray Data's settings for pipelines that are made inside; the caller's come back afterwards.

    A block is the unit given to an actor, and repeated if the actor is lost.
    """
    from ray.data import DataContext

    context = DataContext.get_current()
    options = context.execution_options
    kept = (context.enable_progress_bars, context.target_max_block_size, options.preserve_order)
    context.enable_progress_bars, context.target_max_block_size = False, 1
    options.preserve_order = False
    try:
        yield
    finally:
        context.enable_progress_bars, context.target_max_block_size, options.preserve_order = kept


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Only errors of a logger inside the block."""
    logger = logging.getLogger(name)
    kept = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(kept)


def _start(ray: Any, options: dict[str, Any], attempts: int = 3) -> None:
    """Start or join a cluster; on a busy machine the start sometimes times out, so try again.

    Raises:
        RunError: it did not start, or none is at the address.
    """
    for attempt in range(attempts):
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises a bare Exception when its processes are late
            ray.shutdown()
            if attempt + 1 == attempts or isinstance(error, ValueError | ConnectionError):
                where = options.get("address", "this machine")
                raise RunError(f"no Ray cluster at {where}: {error}") from error
        else:
            return


def _say_joined(ray: Any) -> None:
    """Say which cluster was joined: "auto" takes whatever runs on this machine."""
    have = ray.cluster_resources()
    log.warning(
        "joined the Ray cluster at %s: %d machines, %d CPUs, %d GPUs",
        ray.get_runtime_context().gcs_address,
        len(ray.nodes()),
        have.get("CPU", 0),
        have.get("GPU", 0),
    )


def _without_model(scorer: PartScorer) -> dict[str, Any]:
    """The arguments that rebuild the scorer on a worker, without the model."""
    return {
        "heads": scorer.heads,
        "settings": scorer.settings,
        "identity": scorer.identity,
        "keep": scorer.keep,
        "max_tokens_per_batch": scorer.budget,
    }


class _Actor:
    """One copy of the model; scores the chunks it is given."""

    def __init__(self, model: dict[str, Any], options: dict[str, Any], threads: int) -> None:
        import torch

        from airlens.model.load import load_model

        torch.set_num_threads(threads)
        bridge = load_model(**model)
        identity = options["identity"]
        how = {name: identity[name] for name in ("columns", "splitter")}
        own = run_identity(bridge, options["heads"], options["settings"], how)
        if fingerprint(own) != fingerprint(identity):
            differ = [name for name in own if own[name] != identity.get(name)]
            raise RunError(f"another model on this machine: {', '.join(differ)} differ")
        self.scorer = PartScorer(bridge, **options)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        chunk, part = self.scorer.score(pickle.loads(batch["blob"][0]))
        light = replace(chunk, rows=[])  # the texts are in the tables
        return {"blob": [pickle.dumps((light, part, self.scorer.halved))]}


def _source(chunks: Callable[[], Iterator[Chunk]]) -> Any:
    """A Ray data source of one task that reads the corpus as a stream of pickled chunks.

    The task runs on this machine and in the folder of the calling process, so that relative paths
    mean the same, and are noted in the same form, as with the local engine.
    """
    import pyarrow as pa
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    here = Path.cwd()

    def read() -> Iterator[Any]:
        os.chdir(here)
        for chunk in chunks():
            yield pa.table({"blob": pa.array([pickle.dumps(chunk)], type=pa.large_binary())})

    class Chunks(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *args: Any, **options: Any) -> list[Any]:
            facts = {"num_rows": None, "size_bytes": None, "input_files": None, "exec_stats": None}
            return [ReadTask(read, BlockMetadata(**facts))]

    return Chunks()
