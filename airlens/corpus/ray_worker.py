"""What runs in an actor of Ray: a copy of the model that scores chunks and writes their parts."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airlens.errors import AirlensError, RunError
from airlens.provenance import fingerprint

from .part_files import Staged, staged
from .rows import Chunk, Reject
from .run_folder import RunFolder
from .score_part import PartScorer, run_identity

# What `run.json` says of a run and of no other: an actor that reads the same sees the same folder.
SIGN = ("attempt", "fingerprint", "pid", "host")


@dataclass(frozen=True)
class Answer:
    """What comes back of a chunk: no texts, no tables.

    Attributes:
        part: its files, written and not yet in place; None where no row was left, or none asked.
        rejects: the rows that could not be scored.
        halved: how often this actor halved a batch, from its start.
        error: why the run cannot go on; "" otherwise.
    """

    part: Staged | None = None
    rejects: tuple[Reject, ...] = ()
    halved: int = 0
    error: str = ""


class Worker:
    """One copy of the model.

    Args:
        model: arguments of `airlens.load_model`.
        scorer: arguments of `PartScorer` behind the model.
        threads: to compute with.
        folder: of the run, absolute.
        sign: what its ``run.json`` says (`SIGN`).
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        scorer: Mapping[str, Any],
        threads: int,
        folder: str,
        sign: Mapping[str, Any],
    ) -> None:
        import torch

        from airlens.model.load import load_model

        torch.set_num_threads(threads)
        self.error = ""
        self.folder = Path(folder) if _sees(folder, sign) else None
        try:
            bridge = load_model(**model)
            identity = scorer["identity"]
            how = {name: identity[name] for name in ("columns", "splitter")}
            own = run_identity(bridge, scorer["heads"], scorer["settings"], how)
            if fingerprint(own) != fingerprint(identity):
                differ = [name for name in own if own[name] != identity.get(name)]
                raise RunError(f"another model on this machine: {', '.join(differ)} differ")
            self.scorer = PartScorer(bridge, **scorer)
        except AirlensError as error:
            self.error = f"{socket.gethostname()}: {error}"

    def ready(self) -> tuple[bool, str]:
        """Whether it sees the folder, and why it cannot work, if it cannot."""
        return self.folder is not None, self.error

    def score(self, chunk: Chunk, bad: Sequence[Reject] = ()) -> Answer:
        """Score a chunk and write the files of its part, unless the folder is not seen from here.

        Args:
            chunk: rows, and the number of their part; no rejects of earlier.
            bad: rows that are known to fail.
        """
        try:
            found, part = self.scorer.score(chunk, bad)
            ready = None
            if part is not None and chunk.part is not None:
                ready = staged(part, chunk.part, self.folder)
            return Answer(ready, tuple(found.rejects), self.scorer.halved)
        except AirlensError as error:  # some do not survive the way back as they are
            return Answer(error=str(error))

    def survive(self, chunk: Chunk, places: Sequence[int]) -> Answer:
        """Score some rows of a chunk, only to see whether this process is there afterwards."""
        with suppress(Exception):  # a row that fails in order is for `score` to report
            self.scorer([chunk.rows[place] for place in places])
        return Answer()


def _sees(folder: str, sign: Mapping[str, Any]) -> bool:
    """Whether this machine sees the folder of the run, and not another one of that name."""
    try:
        manifest = RunFolder(folder).manifest()
    except AirlensError:
        return False
    return all(manifest.get(name) == sign.get(name) for name in SIGN)
