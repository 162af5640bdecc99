"""Score a corpus of any size into a folder: stop it, break it, run it again, and nothing is lost.

Rows are scored part by part. A part is written in one step and never changed; a rerun reads which
(row id, run fingerprint) are there and scores only the rest. Memory does not grow with the corpus.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import pandas as pd
from tqdm.auto import tqdm

from .ablation import as_head_set
from .corpus import Chunk, Corpus, Reject, estimate_rows, iter_chunks
from .errors import ConfigError, DataError, RunError
from .idset import IdSet
from .part_score import PartScorer, Settings, run_identity
from .parts import SIDES, RunFolder
from .provenance import fingerprint, provenance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Tables: TypeAlias = dict[str, pd.DataFrame]
# Given the scorer and what starts the reading, yields each chunk with the tables of its rows.
Engine: TypeAlias = Callable[
    [PartScorer, Callable[[], Iterator[Chunk]]], Iterator[tuple[Chunk, "Tables | None"]]
]
PART_ROWS = 256  # ours: the most that a killed run has to do again
MAX_REJECTS = 0.05
# Before so many rows were read the share of bad ones says little.
ENOUGH = 1_000
MANIFEST_EVERY = 2.0  # seconds


@dataclass
class Counts:
    """Where a run stands; ``rows`` is what was read, ``done`` what is in the parts by now."""

    rows: int = 0
    done: int = 0
    skipped: int = 0
    scored: int = 0
    tokens: int = 0
    rejects: int = 0
    duplicates: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def reject_share(self) -> float:
        """Bad rows over all rows read; a repeated text is not bad."""
        return self.rejects / max(1, self.rows)


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where its parts lie.
        fingerprint: the key of its scores.
        counts: rows read, scored now, scored before, rejected.
        manifest: what ``run.json`` says.
    """

    folder: RunFolder
    fingerprint: str
    counts: Counts
    manifest: dict[str, Any]

    @property
    def samples(self) -> pd.DataFrame:
        """All samples scored so far, in the order of parts."""
        return self.folder.read()


def score_corpus(
    model: TransformerBridge,
    corpus: Corpus | Any,
    heads: Any,
    out: str | Path,
    *,
    settings: Settings | None = None,
    on_error: str = "skip",
    max_rejects: float = MAX_REJECTS,
    tables: Sequence[str] = ("rows", "steps"),
    part_rows: int = PART_ROWS,
    max_tokens_per_batch: int | None = None,
    engine: Engine | None = None,
    model_source: str | None = None,
    progress: bool = True,
) -> RunResult:
    """Score every row of a corpus that ``out`` does not hold yet.

    Args:
        model: the bridge.
        corpus: a `Corpus`, or what its ``source`` takes.
        heads: the critical heads.
        out: the folder; ``parts/``, ``rejects.jsonl`` and ``run.json`` go there.
        settings: of the score.
        on_error: ``skip`` writes a bad row to ``rejects.jsonl`` and goes on, ``raise`` stops there.
        max_rejects: more than this share of bad rows ends in an error (what was scored is kept).
        tables: what is kept beside the samples: ``rows`` (texts), ``steps``, ``tokens``,
            ``controls``.
        part_rows: rows a part.
        max_tokens_per_batch: bounds memory; halved when memory runs out.
        engine: where chunks are scored: `local_engine`, or `airlens.ray_engine.RayEngine`.
        model_source: the name that ``model`` was loaded by, noted for the report.
        progress: show a progress bar.

    Raises:
        RunError: the folder is in use, holds another run, cannot be written, or too many rows
            are bad.
        DataError: a bad row under ``on_error="raise"``, or a source that cannot be read at all.
        ConfigError: an argument that makes no sense.
    """
    settings = settings or Settings()
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus, scope=settings.scope)
    _check(corpus, settings, on_error, max_rejects, tables, part_rows)
    head_set = as_head_set(heads)
    identity = run_identity(model, head_set, settings, _reading(corpus))
    scorer = PartScorer(
        model, head_set, settings, identity, keep=tables, max_tokens_per_batch=max_tokens_per_batch
    )
    folder = RunFolder(out)
    with folder.lock():
        _same_run(folder, identity)
        run = _Run(folder, corpus, scorer, identity, on_error, max_rejects, part_rows, progress)
        run.note = provenance(model, settings=asdict(settings), heads=head_set.names())
        run.note["heads_from"] = head_set.provenance.get("probes")
        run.model_source = model_source
        return run.go(engine or local_engine)


def _check(
    corpus: Corpus,
    settings: Settings,
    on_error: str,
    max_rejects: float,
    tables: Sequence[str],
    part_rows: int,
) -> None:
    if on_error not in ("skip", "raise"):
        raise ConfigError(f"on_error={on_error!r}: use 'skip' or 'raise'")
    if not 0 <= max_rejects <= 1:
        raise ConfigError(f"max_rejects={max_rejects}: give a share from 0 to 1")
    if part_rows < 1:
        raise ConfigError(f"part_rows={part_rows}: give at least 1")
    if corpus.scope != settings.scope:
        raise ConfigError(f"the corpus is read for {corpus.scope}, scored as {settings.scope}")
    unknown = [name for name in tables if name not in SIDES]
    if unknown:
        raise ConfigError(f"tables={unknown}: use {', '.join(SIDES)}")


def _reading(corpus: Corpus) -> dict[str, Any]:
    """How rows are read, as far as it decides their text and steps."""
    columns = {k: v for k, v in asdict(corpus.columns).items() if v is not None and k != "domain"}
    return {"columns": columns, "splitter": str(corpus.splitter)}


def _same_run(folder: RunFolder, identity: dict[str, Any]) -> None:
    """Refuse a folder that holds scores made in another way.

    Raises:
        RunError: shows both fingerprints and what differs.
    """
    old = folder.manifest()
    key = fingerprint(identity)
    if not folder.part_paths() or not old or old.get("fingerprint") == key:
        return
    before = old.get("identity", {})
    differ = [
        f"{name} {before.get(name)!r} there, {identity.get(name)!r} now"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    raise RunError(
        f"{folder.name} holds scores of another run: fingerprint {old.get('fingerprint')} there, "
        f"{key} now ({'; '.join(differ)}). Choose another folder"
    )


def local_engine(
    scorer: PartScorer, chunks: Callable[[], Iterator[Chunk]]
) -> Iterator[tuple[Chunk, Tables | None]]:
    """Score one chunk after the other in this process."""
    for chunk in chunks():
        yield chunk, scorer(chunk.rows) if chunk.rows else None


@dataclass
class _Run:
    """One run over one corpus, and where it stands."""

    folder: RunFolder
    corpus: Corpus
    scorer: PartScorer
    identity: dict[str, Any]
    on_error: str
    max_rejects: float
    part_rows: int
    progress: bool
    counts: Counts = field(default_factory=Counts)
    note: dict[str, Any] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)
    written: float = 0.0
    total: int | None = None
    model_source: str | None = None
    state: str = "running"
    error: str | None = None

    def go(self, engine: Engine) -> RunResult:
        """Score what is left; whatever happens, ``run.json`` says it."""
        self.damaged = self.folder.clean(self.scorer.keep)
        self.total = estimate_rows(self.corpus)
        self._write_manifest()
        try:
            with tqdm(total=self.total, unit="row", desc="score", disable=not self.progress) as bar:
                self._score(engine, bar)
            self._check_rejects()
            self.state = "done"
        except BaseException as error:
            self.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.error = str(error) or type(error).__name__
            raise
        finally:
            self._write_manifest()
        return RunResult(self.folder, self.scorer.key, self.counts, self.folder.manifest())

    def _score(self, engine: Engine, bar: Any) -> None:
        number = self.folder.next_part()
        done = IdSet(name for name, key in self.folder.done() if key == self.scorer.key)
        self.counts.done = len(done)
        chunks = partial(iter_chunks, self.corpus, done, self.part_rows)
        # Every run reads the whole source, so the rejects of a run before are written again.
        with self.folder.rejects_path.open("w", encoding="utf-8", buffering=1) as rejects:
            for chunk, tables in engine(self.scorer, chunks):
                for item in chunk.rejects:
                    self._reject(item, rejects)
                if tables is not None:
                    self.folder.write_part(number, tables)
                    number += 1
                    self._count(tables["parts"])
                self.counts.rows += chunk.read
                self.counts.skipped += chunk.skipped
                bar.update(chunk.read)
                bar.set_postfix_str(self._postfix(), refresh=False)
                self._write_manifest(MANIFEST_EVERY)
                if self.counts.rows >= ENOUGH:
                    self._check_rejects()

    def _count(self, samples: pd.DataFrame) -> None:
        self.counts.scored += len(samples)
        self.counts.done += len(samples)
        self.counts.tokens += int(samples[["n_tokens", "n_prompt_tokens"]].sum().sum())

    def _reject(self, item: Reject, rejects: IO[str]) -> None:
        if item.kind == "duplicate":
            self.counts.duplicates += 1
        elif self.on_error == "raise":
            raise DataError(item.reason, file=item.file, line=item.line, field=item.field)
        else:
            self.counts.rejects += 1
            self.counts.reasons[item.reason.split(":")[0].split("(")[0].strip()[:60]] += 1
        rejects.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")

    def _check_rejects(self) -> None:
        counts = self.counts
        if counts.reject_share > self.max_rejects:
            common = ", ".join(f"{n} × {why}" for why, n in counts.reasons.most_common(3))
            raise RunError(
                f"{counts.rejects} of {counts.rows} rows ({counts.reject_share:.1%}) are bad, more "
                f"than --max-rejects {self.max_rejects:.1%}: {common}. "
                f"See {self.folder.rejects_path}"
            )

    def _postfix(self) -> str:
        return f"{self._speed():,.0f} tok/s, {self.counts.rejects} rejects"

    def _speed(self) -> float:
        return self.counts.tokens / max(1e-9, time.time() - self.started)

    def _write_manifest(self, every: float = 0.0) -> None:
        now = time.time()
        if now - self.written < every:
            return
        self.written = now
        counts = {k: v for k, v in asdict(self.counts).items() if k != "reasons"}
        seconds = now - self.started
        record = {
            "state": self.state,
            "error": self.error,
            "fingerprint": self.scorer.key,
            "source": _describe(self.corpus.source),
            **counts,
            "reject_reasons": dict(self.counts.reasons.most_common(20)),
            "expected_rows": self.total,
            "tokens_per_s": round(self._speed(), 1),
            "rows_per_s": round(self.counts.scored / max(1e-9, seconds), 3),
            "eta_s": self._eta(seconds),
            "seconds": round(seconds, 1),
            "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "tables": list(self.scorer.keep),
            "damaged_parts": self.damaged,
            "halved_batches": self.scorer.halved,
            "model_source": self.model_source,
            "identity": self.identity,
            "provenance": self.note,
        }
        self.folder.write_manifest(record)

    def _eta(self, seconds: float) -> float | None:
        """Seconds left, from the rows scored so far and the rows expected."""
        if self.total is None or not self.counts.scored:
            return None
        left = max(0, self.total - self.counts.rows)
        return round(seconds / self.counts.scored * left, 1)


def _describe(source: object) -> str:
    return str(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"


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
