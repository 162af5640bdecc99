"""The folder of a scoring run: append-only Parquet parts, rejects, and a manifest.

``parts/part-000000.parquet``, … have one row a sample; ``rows``, ``steps``, ``tokens`` and
``controls`` beside them have files of the same names. What is whole of a part stands in its marker
(`airlens.corpus.markers`), which is written last; files without one are left from an interrupted
run, and are ignored and overwritten.

A run reads all its data. Rows of the parts that it did not meet, because they were changed or
removed, stay where they are; ``stale.json``, written when all was read, says which they are, and
nothing here hands them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout

from airlens.arguments import checked
from airlens.errors import DataError, RunError
from airlens.files import atomic_file, atomic_write_text, read_json

from .markers import (
    Marker,
    checksum,
    markers,
    read_checked,
    read_marker,
    write_checked,
    write_marker,
)
from .part_files import PARTS, ROWS, SIDES, Part, Staged, put, read_table, staged, writing

FORMAT = 2  # of the folder; 0.1 wrote no number
_NAME = re.compile(r"part-(\d{6,})\.parquet")


class RunFolder:
    """The folder of a scoring run: ``read()`` gives its tables. Only its `lock` holder writes."""

    @checked
    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def manifest_path(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def rejects_path(self) -> Path:
        """``rejects.jsonl``."""
        return self.path / "rejects.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder; the system releases the lock when the process ends, even if killed.

        Raises:
            RunError: another run holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"another run is writing into {self.path}; `airlens status {self.path}` shows it"
            ) from error
        except OSError as error:
            reason = error.strerror or str(error)
            what = f"cannot write into {self.path} ({reason}); name another folder"
            raise RunError(what) from error
        try:
            yield
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a run is writing now."""
        path = self.path / ".lock"
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def markers(self) -> list[Marker]:
        """What is known of each part, in order.

        Raises:
            DataError: the folder was written by another version of airlens.
        """
        found = list(markers(self.path))
        # 0.1 wrote neither markers nor a number.
        old = self.manifest().get("format", FORMAT if found or not self._files() else 1)
        if old != FORMAT:
            raise DataError(
                "written by another version of airlens, which scored and kept rows in another way; "
                "score again into another folder",
                file=self.name,
            )
        return found

    def _files(self) -> list[Path]:
        """Files of tables, whether a marker speaks of them or not."""
        found = (self.path / table for table in (PARTS, *SIDES))
        return [p for folder in found for p in folder.glob("part-*") if _NAME.fullmatch(p.name)]

    def part_paths(self) -> list[Path]:
        """The files with the samples of each part, in order."""
        return [self.path / PARTS / marker.file for marker in self.markers()]

    def next_part(self) -> int:
        """The number of the next part."""
        return max((marker.number for marker in self.markers()), default=-1) + 1

    def write_part(self, number: int, part: Part | Staged) -> None:
        """Write the tables of a part and put them in place, then write its marker.

        A part that is there already gets these tables in addition.

        Raises:
            RunError: the disk is full or cannot be written; what was whole stays whole.
        """
        ready = part if isinstance(part, Staged) else staged(part, number, self.path)
        marker = read_marker(self.path, number) or Marker(
            number, part.fingerprint, part.rows, part.rejects, part.long
        )
        with writing(f"part {number} of {self.name}"):
            put(ready, number, self.path)
            whole = dict(sorted({**marker.tables, **ready.sums}.items()))
            write_marker(self.path, replace(marker, tables=whole))

    def clean(self) -> list[str]:
        """Remove what a killed run left half written, and find damaged tables.

        Returns:
            The damaged tables, such as ``rows/part-000003.parquet``: from now on they count as not
            there, so that a run makes them again.
        """
        self._remove_strays()
        found = []
        for marker in self.markers():
            bad = [
                table
                for table, known in marker.tables.items()
                if checksum(self.path / table / marker.file) != known
            ]
            if bad:
                write_marker(self.path, marker.without(bad))
                found += [f"{table}/{marker.file}" for table in bad]
        record = self._stale_record()
        known = {str(marker.number) for marker in self.markers()}
        if set(record.get("stale", {})) - known:  # a lost marker; its number will be used again
            kept = {n: rows for n, rows in record["stale"].items() if n in known}
            write_checked(self.path / "stale.json", {**record, "stale": kept})
        return found

    def _remove_strays(self) -> None:
        """Remove files that were written and not put in place."""
        for folder in (PARTS, *SIDES):
            for stray in (self.path / folder).glob(".part-*"):
                stray.unlink(missing_ok=True)

    def _stale_record(self) -> dict[str, Any]:
        return read_checked(self.path / "stale.json") or {}

    def stale(self) -> dict[int, list[int]]:
        """Rows by part that the last run that read all its data did not meet."""
        return {int(number): rows for number, rows in self._stale_record().get("stale", {}).items()}

    def finish(self, attempt: int, stale: Mapping[int, Sequence[int]], left_out: int) -> None:
        """Note that a run has read all its data: these rows, by part, were not among them.

        ``left_out``: how many they are, without copies of rows that lie in another part too.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        mine = {self.path / table / m.file for m in self.markers() for table in m.tables}
        for path in self._files():
            if path not in mine:  # left from a run that was killed before it wrote the marker
                path.unlink(missing_ok=True)
        self._remove_strays()  # of a machine that was lost to the run, and went on
        by_part = {str(number): list(rows) for number, rows in stale.items()}
        record = {"attempt": attempt, "left_out": left_out, "stale": by_part}
        with writing(str(self.path / "stale.json")):
            write_checked(self.path / "stale.json", record)

    def current(self) -> Current:
        """The rows that are handed out, and what is to be said about the others.

        While a run has not read all its data, the newest version of each row counts.
        """
        known, manifest, record = self.markers(), self.manifest(), self._stale_record()
        masks = {marker.number: np.ones(len(marker.rows), dtype=bool) for marker in known}
        for number, rows in self.stale().items():
            if number in masks:
                masks[number][rows] = False
        notes, left = [], int(record.get("left_out", 0))
        if record.get("attempt") != manifest.get("attempt"):
            older = _keep_newest(known, masks)
            left += older
            notes.append(
                f"the run has not read all its data ({manifest.get('state', 'unknown')}): rows "
                "are missing, and some may have been changed or removed since they were scored"
            )
        if left:
            rows_ = f"{left:,} row{'s were' if left > 1 else ' was'}"
            notes.append(f"{rows_} changed or removed since the scoring, and not handed out")
        parts = tuple((marker, masks[marker.number]) for marker in known)
        return Current(tuple(pair for pair in parts if pair[1].any()), left, tuple(notes))

    def read(self, table: str = PARTS, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows of one table, parts in order; columns that the table lacks are left out.

        Raises:
            DataError: no part was written, or one is damaged or has no such table.
        """
        tables = list(self._tables(table, columns))
        if not tables:
            raise DataError(f"no scored {table} here; `airlens score` writes them", file=self.name)
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
        return frame

    def has(self, table: str) -> bool:
        """Whether this table was kept."""
        return any(table in marker.tables for marker, _ in self.current().parts)

    def iter_table(
        self, table: str, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """One table part by part, for tables larger than memory."""
        for found in self._tables(table, columns):
            yield found.to_pandas()

    def some(
        self, table: str, ids: Collection[str], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of one table that belong to these ids; one part is held at a time."""
        kept = list(self._some(table, ids, columns))
        if not kept:
            return pd.DataFrame(columns=["id"])
        frame: pd.DataFrame = pa.concat_tables(kept, promote_options="default").to_pandas()
        return frame

    def iter_some(
        self, table: str, ids: Collection[str], columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows of one table that belong to these ids, part by part; empty parts are left out.

        For tables larger than memory.
        """
        for found in self._some(table, ids, columns):
            if found.num_rows:
                yield found.to_pandas()

    def _some(
        self, table: str, ids: Collection[str], columns: Sequence[str] | None
    ) -> Iterator[Any]:
        wanted = set(ids)
        for found in self._tables(table, columns):
            # Membership row by row: `isin` would go through all of the ids for every part.
            mine = [name in wanted for name in found.column("id").to_pylist()]
            yield found.filter(pa.array(mine, pa.bool_()))

    def _tables(self, table: str, columns: Sequence[str] | None) -> Iterator[Any]:
        """One table part by part, without rows that are not handed out."""
        for marker, mask in self.current().parts:
            if table not in marker.tables:
                raise DataError(
                    f"{marker.file} has no {table}: they were damaged, or not asked for when it "
                    "was scored; run the same `airlens score` again to have them",
                    file=self.name,
                )
            found = self._part(marker, table, columns)
            if not mask.all():
                keep = pa.array(mask)
                if table not in (PARTS, ROWS):
                    ids = self._part(marker, PARTS, ["id"]).column("id").filter(keep)
                    mine = set(ids.to_pylist())
                    names = self._part(marker, table, ["id"]).column("id").to_pylist()
                    keep = pa.array([name in mine for name in names], pa.bool_())
                found = found.filter(keep)
            yield found

    def _part(self, marker: Marker, table: str, columns: Sequence[str] | None) -> Any:
        path = self.path / table / marker.file
        return read_table(path, columns, marker.tables.get(table))

    @property
    def name(self) -> str:
        """The folder as text, for messages."""
        return str(self.path)

    def types(self) -> pa.Schema:
        """The Arrow types of the source's columns; empty where none were kept.

        Raises:
            DataError: the file that keeps them is damaged.
        """
        path = self.path / "types.arrow"
        if not path.exists():
            return pa.schema([])
        try:
            return pa.ipc.read_schema(pa.BufferReader(path.read_bytes()))
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"damaged ({reason}); run the same `airlens score` again to restore it",
                file=str(path),
            ) from error

    def write_types(self, types: pa.Schema) -> None:
        """Keep the types of the source's columns.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        path = self.path / "types.arrow"
        with writing(str(path)), atomic_file(path) as temporary:
            temporary.write_bytes(types.serialize().to_pybytes())

    def manifest(self) -> dict[str, Any]:
        """``run.json``; empty where there is none.

        Raises:
            DataError: it cannot be read, or is not JSON.
        """
        return read_json(self.manifest_path) if self.manifest_path.exists() else {}

    def write_manifest(self, record: Mapping[str, Any]) -> None:
        """Replace ``run.json``.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
        with writing(str(self.manifest_path)):
            atomic_write_text(self.manifest_path, text)

    @contextmanager
    def rejects(self) -> Iterator[RejectLog]:
        """``rejects.jsonl``, empty and open.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        with writing(str(self.rejects_path)):
            # Unbuffered: on a full disk a buffer would fail a second time when the file is closed.
            file = self.rejects_path.open("wb", buffering=0)
        with file:
            yield RejectLog(file)


class RejectLog:
    """Writes rejected rows as JSON lines, each immediately."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, record: Mapping[str, Any]) -> None:
        """Write one row.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        rest = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with writing("rejects.jsonl"):
            while rest:
                rest = rest[self._file.write(rest) :]


def _keep_newest(known: Sequence[Marker], masks: Mapping[int, np.ndarray]) -> int:
    """Take all but the newest version of each row out of the masks; how many those are."""
    newest: dict[str, int] = {}
    for marker in known:
        mask = masks[marker.number]
        newest |= {
            row[:16]: marker.number for row, here in zip(marker.rows, mask, strict=True) if here
        }
    older = 0
    for marker in known:
        mask = masks[marker.number]
        last = np.asarray(
            [newest.get(row[:16]) == marker.number for row in marker.rows], dtype=bool
        )
        older += int((mask & ~last).sum())
        mask &= last
    return older


@dataclass(frozen=True)
class Current:
    """What a folder hands out.

    Attributes:
        parts: the marker of each part that has such rows, and which of its rows they are.
        left_out: how many rows of the parts are not handed out.
        notes: sentences about rows that are left out or missing.
    """

    parts: tuple[tuple[Marker, np.ndarray], ...]
    left_out: int = 0
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return sum(int(mask.sum()) for _, mask in self.parts)

    @property
    def long(self) -> int:
        """How many rows are longer than the context."""
        return sum(int(mask[list(marker.long)].sum()) for marker, mask in self.parts)
