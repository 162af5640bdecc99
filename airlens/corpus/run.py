"""Score a corpus of any size into a folder; an interrupted run continues where it stopped.

Rows are scored part by part. A part is done when its marker is written; a rerun reads from the
markers which rows are there, by id and content, and scores the rest: new rows, changed rows, and
those of parts that lack a table. Memory does not grow with the corpus, but for some 50 bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import as_head_set
from airlens.arguments import checked
from airlens.errors import ConfigError, DataError, RunError
from airlens.heads import HeadSet
from airlens.provenance import fingerprint, provenance
from airlens.traces.source_types import source_types

from .book import Book
from .part_files import PARTS, SIDES, Part, Staged
from .rows import Chunk, Corpus, Reject, estimate_rows, iter_chunks
from .run_folder import FORMAT, RejectLog, RunFolder
from .run_record import MANIFEST_EVERY, Counts, RunRecord
from .score_part import CorpusSettings, PartScorer, run_identity

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Given the scorer and what starts the reading, yields each chunk with what is written of it.
CorpusEngine: TypeAlias = Callable[
    [PartScorer, Callable[[], Iterator[Chunk]]], Iterator[tuple[Chunk, "Part | Staged | None"]]
]
PART_ROWS = 256  # ours: the most that a killed run has to do again
MAX_REJECTS = 0.05
# With fewer rows read, the share of bad ones means little.
ENOUGH = 1_000


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


@checked
def score_corpus(
    model: TransformerBridge,
    corpus: Corpus | Any,
    heads: Any,
    out: str | Path,
    *,
    settings: CorpusSettings | None = None,
    on_error: str = "skip",
    max_rejects: float = MAX_REJECTS,
    tables: Sequence[str] = ("rows", "steps"),
    part_rows: int = PART_ROWS,
    max_tokens_per_batch: int | None = None,
    engine: CorpusEngine | None = None,
    model_source: str | None = None,
    progress: bool = True,
) -> RunResult:
    """Score every row of a corpus that ``out`` does not hold yet.

    Rows that ``out`` holds and the corpus no longer has, or has with another content, stay where
    they are and are not handed out any more.

    Args:
        model: the bridge.
        corpus: a `Corpus`, or what its ``source`` takes.
        heads: the critical heads.
        out: the folder; ``parts/``, ``rejects.jsonl`` and ``run.json`` go there.
        settings: of the score, a :class:`CorpusSettings`.
        on_error: ``skip`` writes a bad row to ``rejects.jsonl`` and continues, ``raise`` stops
            there.
        max_rejects: a larger share of bad rows is an error (rows already scored are kept).
        tables: stored beside the samples: ``rows`` (texts), ``steps``, ``tokens``, ``controls``.
        part_rows: rows a part.
        max_tokens_per_batch: bounds memory; halved when memory runs out.
        engine: where chunks are scored: `local_engine`, or `airlens.corpus.ray_runner.RayEngine`.
        model_source: the name that ``model`` was loaded by, noted for the report.
        progress: show a progress bar.

    Raises:
        RunError: the folder is in use, holds another run, cannot be written, or too many rows
            are bad.
        DataError: a bad row under ``on_error="raise"``, or a source that cannot be read at all.
        ConfigError: an argument that makes no sense.
    """
    settings = settings or CorpusSettings()
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus, scope=settings.scope)
    _check(corpus, settings, on_error, max_rejects, tables, part_rows)
    head_set = as_head_set(heads)
    identity = run_identity(model, head_set, settings, _reading(corpus))
    folder = RunFolder(out)
    scorer = PartScorer(
        *(model, head_set, settings, identity),
        keep=tables,
        max_tokens_per_batch=max_tokens_per_batch,
        out=folder.path,
    )
    with folder.lock():
        _same_run(folder, identity)
        facts = {
            "format": FORMAT,
            "attempt": int(folder.manifest().get("attempt", 0)) + 1,
            "fingerprint": scorer.key,
            "source": _describe(corpus.source),
            "tables": list(tables),
            "model_source": model_source,
            "identity": identity,
            "provenance": _note(model, head_set, settings),
        }
        record = RunRecord(folder, facts)
        where = {"split": corpus.split, "config": corpus.config, "stream": bool(corpus.stream)}
        folder.write_types(source_types(corpus.source, **where))  # type: ignore[arg-type]
        run = _Run(folder, corpus, scorer, record, on_error, max_rejects, part_rows, progress)
        return run.go(engine or local_engine)


def _note(model: TransformerBridge, heads: HeadSet, settings: CorpusSettings) -> dict[str, Any]:
    note = provenance(model, settings=asdict(settings), heads=heads.names())
    return {**note, "heads_from": heads.provenance.get("probes")}


def _check(
    corpus: Corpus,
    settings: CorpusSettings,
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
    """The settings of reading that affect texts and steps."""
    columns = {k: v for k, v in asdict(corpus.columns).items() if v is not None and k != "domain"}
    return {"columns": columns, "splitter": str(corpus.splitter)}


def _same_run(folder: RunFolder, identity: dict[str, Any]) -> None:
    """Refuse a folder that holds scores made in another way.

    Raises:
        RunError: shows both fingerprints and what differs.
    """
    old, key = folder.manifest(), fingerprint(identity)
    others = {marker.fingerprint for marker in folder.markers()} - {key}
    if not others:
        return
    there = others.pop()
    before = old.get("identity", {}) if old.get("fingerprint") == there else {}
    differ = _differences(before, identity) if before else ["its run.json is not there to say what"]
    raise RunError(
        f"{folder.name} holds scores of another run: fingerprint {there} there, "
        f"{key} now ({'; '.join(differ)}). Choose another folder"
    )


def _differences(before: dict[str, Any], now: dict[str, Any], under: str = "") -> list[str]:
    """What differs between two records, each by its name."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{under}{name} ")
        elif old != new:
            found.append(f"{under}{name} {old!r} there, {new!r} now")
    return found


def local_engine(
    scorer: PartScorer, chunks: Callable[[], Iterator[Chunk]]
) -> Iterator[tuple[Chunk, Part | None]]:
    """Score one chunk after the other in this process."""
    for chunk in chunks():
        yield scorer.score(chunk)


@dataclass
class _Run:
    """One run over one corpus."""

    folder: RunFolder
    corpus: Corpus
    scorer: PartScorer
    record: RunRecord
    on_error: str
    max_rejects: float
    part_rows: int
    progress: bool

    def go(self, engine: CorpusEngine) -> RunResult:
        """Score the remaining rows; success or failure is recorded in ``run.json``."""
        record = self.record
        record.damaged = self.folder.clean()
        record.expected = estimate_rows(self.corpus)
        record.write()
        try:
            with tqdm(
                total=record.expected, unit="row", desc="score", disable=not self.progress
            ) as bar:
                self._score(engine, bar)
            record.facts["engine"] = getattr(engine, "told", "this process")
            self._check_rejects()
        except BaseException as error:
            record.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            record.error = str(error) or type(error).__name__
            with suppress(RunError):  # on a full disk the manifest finds no room either
                record.write()
            raise
        record.state = "done"
        record.write()
        return RunResult(self.folder, self.scorer.key, record.counts, self.folder.manifest())

    def _score(self, engine: CorpusEngine, bar: Any) -> None:
        book = Book.of(self.folder.markers(), (PARTS, *self.scorer.keep))
        seen, changed, moved = np.zeros((3, len(book)), dtype=bool)
        counts = self.record.counts
        counts.done = len(self.folder.current())
        stop = self.on_error == "raise"
        chunks = partial(
            iter_chunks,
            self.corpus,
            book,
            self.part_rows,
            first=self.folder.next_part(),
            stop_at_bad=stop,
        )
        # Every run reads the whole source, so it writes the rejects of an earlier run again.
        with self.folder.rejects() as rejects:
            for chunk, part in engine(self.scorer, chunks):
                for item in chunk.rejects:
                    self._reject(item, rejects)
                if part is not None and chunk.part is not None:
                    self.folder.write_part(chunk.part, part)
                    self._count(part, chunk)
                counts.rows += chunk.read
                counts.skipped += chunk.skipped
                seen[chunk.seen] = True
                changed[chunk.changed] = True
                moved[chunk.moved] = True
                counts.reading.update(chunk.reading)
                bar.update(chunk.read)
                bar.set_postfix_str(
                    f"{self.record.speed:,.0f} tok/s, {counts.rejects} rejects", refresh=False
                )
                self.record.halved = self.scorer.halved
                self.record.write(MANIFEST_EVERY)
                if counts.rows >= ENOUGH:
                    self._check_rejects()
        self._finish(book, seen, changed, moved)

    def _finish(self, book: Book, seen: np.ndarray, changed: np.ndarray, moved: np.ndarray) -> None:
        """Note which rows of the parts are no longer in the data, and count the new ones."""
        before = {number: set(rows) for number, rows in self.folder.stale().items()}
        stale: dict[int, list[int]] = {}
        counts = self.record.counts
        for place in book.entries():
            if seen[place.entry] or place.row < 0:
                continue
            stale.setdefault(place.part, []).append(place.row)
            if moved[place.entry] or book.is_copy(place.entry):
                continue
            counts.left_out += 1
            if place.row not in before.get(place.part, ()):
                counts.changed += bool(changed[place.entry])
                counts.removed += not changed[place.entry]
        self.folder.finish(self.record.facts["attempt"], stale, counts.left_out)
        current = self.folder.current()
        counts.done, counts.long = len(current), current.long

    def _count(self, part: Part | Staged, chunk: Chunk) -> None:
        counts = self.record.counts
        counts.scored += len(part.rows)
        counts.done += 0 if chunk.again else len(part.rows)
        counts.tokens += part.tokens

    def _reject(self, item: Reject, rejects: RejectLog) -> None:
        if item.kind == "duplicate":
            self.record.counts.duplicates += 1
        elif self.on_error == "raise":
            raise DataError(item.reason, file=item.file, line=item.line, field=item.field)
        else:
            self.record.counts.add_reason(item)
        rejects.add(asdict(item))

    def _check_rejects(self) -> None:
        counts = self.record.counts
        if counts.reject_share > self.max_rejects:
            raise RunError(
                f"{counts.rejects} of {counts.rows} rows ({counts.reject_share:.1%}) are bad, more "
                f"than --max-rejects {self.max_rejects:.1%}: {counts.common}. All are in "
                f"{self.folder.rejects_path}; mend them, or allow more, and run it again: what "
                "was scored is kept"
            )


def _describe(source: object) -> str:
    return str(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"
