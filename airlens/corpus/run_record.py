"""Progress of a run: its counts, and ``run.json``, which `airlens status` reads while it runs."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airlens.errors import DataError
from airlens.traces.items import Rejected

from .run_folder import RunFolder

MANIFEST_EVERY = 2.0  # seconds


@dataclass
class Counts:
    """Progress counts; ``rows`` were read, ``done`` of them are in the parts.

    ``changed`` and ``removed`` are rows of the parts that the data no longer has like that since
    the run before, ``left_out`` all such rows; ``long`` those longer than the context, which were
    cut or scored in strides.
    ``reading``: how rows were read, in words.
    """

    rows: int = 0
    done: int = 0
    skipped: int = 0
    scored: int = 0
    tokens: int = 0
    rejects: int = 0
    duplicates: int = 0
    changed: int = 0
    removed: int = 0
    left_out: int = 0
    long: int = 0
    reading: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def reject_share(self) -> float:
        """Bad rows over all rows read; a repeated text is not bad."""
        return self.rejects / max(1, self.rows)

    def add_reason(self, bad: Rejected) -> None:
        """Count a rejected row by the general part of its reason; keep one example of each."""
        self.rejects += 1
        kind = bad.counted_as
        self.reasons[kind] += 1
        self.examples.setdefault(kind, f"{bad.place}: {bad.reason}")

    @property
    def common(self) -> str:
        """The three most frequent reasons, each with an example."""
        most = self.reasons.most_common(3)
        return "; ".join(f"{n} × {kind} ({self.examples[kind]})" for kind, n in most)


@dataclass
class RunRecord:
    """The content of ``run.json``.

    Attributes:
        folder: the run's folder.
        facts: what stays the same during the run.
        counts: what changes.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
        error: why the run failed, if it did.
        expected: rows of the source, where that is known.
        damaged: tables that were not what was written, and are made again.
        halved: how often a batch was halved because memory ran out.
    """

    folder: RunFolder
    facts: dict[str, Any]
    counts: Counts = field(default_factory=Counts)
    state: str = "running"
    error: str | None = None
    expected: int | None = None
    damaged: list[str] = field(default_factory=list)
    halved: int = 0
    started: float = field(default_factory=time.time)
    written: float = 0.0

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.counts.tokens / self.seconds

    @property
    def seconds(self) -> float:
        """Since the start."""
        return max(1e-9, time.time() - self.started)

    @property
    def eta(self) -> float | None:
        """Seconds left, from the rows scored so far and the rows expected."""
        if self.expected is None or not self.counts.scored:
            return None
        left = max(0, self.expected - self.counts.rows)
        return round(self.seconds / self.counts.scored * left, 1)

    def write(self, every: float = 0.0) -> None:
        """Write ``run.json``, unless that was done less than ``every`` seconds ago.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        now = time.time()
        if now - self.written < every:
            return
        self.written = now
        told = ("reasons", "examples", "reading")
        counts = {name: value for name, value in vars(self.counts).items() if name not in told}
        record = {
            "state": self.state,
            "error": self.error,
            **counts,
            "reading": dict(self.counts.reading.most_common(20)),
            "reject_reasons": dict(self.counts.reasons.most_common(20)),
            "expected_rows": self.expected,
            "tokens_per_s": round(self.speed, 1),
            "rows_per_s": round(self.counts.scored / self.seconds, 3),
            "eta_s": self.eta,
            "seconds": round(self.seconds, 1),
            "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "damaged_tables": self.damaged,
            "damaged_parts": sorted({name.rpartition("/")[2] for name in self.damaged}),
            "halved_batches": self.halved,
            **self.facts,
        }
        self.folder.write_manifest(record)


def run_status(folder: str | Path) -> dict[str, Any]:
    """``run.json`` with the number of parts; a run that was killed is ``stopped``.

    Raises:
        DataError: no run was started there.
    """
    run = RunFolder(folder)
    record = run.manifest()
    if not record:
        raise DataError("no run was started here (no run.json)", file=run.name)
    # The process may be on another machine of a shared folder: only the lock tells.
    if record.get("state") == "running" and not run.is_locked():
        record["state"] = "stopped"
    return {**record, "parts": len(run.part_paths())}
