"""The folder of a scoring run: append-only Parquet parts, rejects, and a manifest.

``parts/part-000000.parquet``, … have one row a sample; ``rows``, ``steps``, ``tokens`` and
``controls`` beside them have files of the same names. The file under ``parts`` is written last, so
a part that can be read is complete; side files without one are left from an interrupted run, and
are ignored and overwritten.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
from filelock import FileLock, Timeout
from pyarrow import parquet as pq

from airlens.errors import DataError, RunError
from airlens.files import atomic_file, atomic_write_text

PARTS = "parts"
SIDES = ("rows", "steps", "tokens", "controls")
_NAME = re.compile(r"part-(\d{6,})\.parquet")
# Text columns: where all values are null, their type would otherwise differ from other parts'.
_TEXTS = frozenset(
    {"id", "domain", "label", "text", "token", "fingerprint", "prompt", "response", "file", "meta"}
    | {"steps", "turns", "tools", "step_meta", "reading", "answer"}
)


class RunFolder:
    """Reads and writes the files of one run; only its `lock` holder writes."""

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

    def part_paths(self) -> list[Path]:
        """The parts, in order."""
        return sorted(p for p in (self.path / PARTS).glob("part-*") if _NAME.fullmatch(p.name))

    def next_part(self) -> int:
        """The number of the next part."""
        names = (_NAME.fullmatch(path.name) for path in self.part_paths())
        return max((int(name[1]) for name in names if name), default=-1) + 1

    def write_part(self, number: int, tables: Mapping[str, pd.DataFrame]) -> None:
        """Write one part: the side tables first, then ``tables["parts"]``, each file atomically.

        Raises:
            RunError: the disk is full or cannot be written; existing files stay unchanged.
        """
        name = f"part-{number:06d}.parquet"
        with writing(f"part {number} of {self.name}"):
            for side in (*SIDES, PARTS):
                if side in tables:
                    _write(self.path / side / name, tables[side])

    def clean(self, sides: Sequence[str] = ()) -> list[str]:
        """Remove unfinished files of a killed run, and damaged parts, whose names it returns.

        Args:
            sides: the tables that every part must have beside it.
        """
        damaged = []
        for path in self.part_paths():
            try:
                read_table(path)
                for side in sides:
                    read_table(self.path / side / path.name, [])
            except DataError:
                damaged.append(path.name)
                for folder in (PARTS, *SIDES):
                    (self.path / folder / path.name).unlink(missing_ok=True)
        for folder in (PARTS, *SIDES):
            for stray in (self.path / folder).glob(".part-*"):
                stray.unlink(missing_ok=True)
        return damaged

    def read(self, table: str = PARTS, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows of one table, parts in order; columns that the table lacks are left out.

        Raises:
            DataError: no part was written, or one is damaged.
        """
        paths = [self.path / table / path.name for path in self.part_paths()]
        present = [path for path in paths if path.exists()]
        if not present:
            raise DataError(f"no scored {table} here; `airlens score` writes them", file=self.name)
        tables = [read_table(path, columns) for path in present]
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="default").to_pandas()
        return frame

    def has(self, table: str) -> bool:
        """Whether this table was kept."""
        return any((self.path / table / path.name).exists() for path in self.part_paths())

    def iter_table(self, table: str) -> Iterator[pd.DataFrame]:
        """One table part by part, for tables larger than memory."""
        for path in self.part_paths():
            if (self.path / table / path.name).exists():
                yield read_table(self.path / table / path.name).to_pandas()

    def some(
        self, table: str, ids: Collection[str], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of one table that belong to these ids; one part is held at a time."""
        kept = []
        for path in self.part_paths():
            if (self.path / table / path.name).exists():
                part = read_table(self.path / table / path.name, columns).to_pandas()
                kept.append(part[part["id"].isin(ids)])
        return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=["id"])

    def done(self) -> Iterator[tuple[str, str]]:
        """(id, run fingerprint) of each row that was scored."""
        for path in self.part_paths():
            table = read_table(path, ["id", "fingerprint"])
            yield from zip(
                table.column("id").to_pylist(), table.column("fingerprint").to_pylist(), strict=True
            )

    @property
    def name(self) -> str:
        """The folder as text, for messages."""
        return str(self.path)

    def manifest(self) -> dict[str, Any]:
        """``run.json``; empty where there is none.

        Raises:
            DataError: it is not JSON.
        """
        try:
            found = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataError(f"not JSON: {error}", file=str(self.manifest_path)) from error
        return dict(found)

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


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn a failed write into a `RunError` that says what failed and how to continue.

    Raises:
        RunError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{what} could not be written ({error.strerror or error}). What was written before is "
            "whole: make room, then the same command goes on from there"
        ) from error


def read_table(path: Path, columns: Iterable[str] | None = None) -> Any:
    """An Arrow table of one Parquet file, page checksums verified; columns it lacks are left out.

    Raises:
        DataError: truncated or otherwise damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            wanted = None
            if columns is not None:
                wanted = [name for name in columns if name in file.schema_arrow.names]
            return file.read(columns=wanted)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"damaged ({reason}); run the same `airlens score` again to restore it", file=str(path)
        ) from error


def _write(path: Path, frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame, schema=_schema(frame), preserve_index=False)
    # Without pandas' metadata about the index, which would differ between parts.
    table = table.replace_schema_metadata(None)
    with atomic_file(path) as temporary, temporary.open("wb") as out:
        pq.write_table(table, out, compression="zstd", write_page_checksum=True)
        out.flush()
        os.fsync(out.fileno())  # a crash of the machine must not leave a name without its data


def _schema(frame: pd.DataFrame) -> Any:
    fields = []
    for name in frame.columns:
        kind = frame[name].dtype
        if name in _TEXTS and not pd.api.types.is_integer_dtype(kind):
            fields.append(pa.field(name, pa.string()))
        elif pd.api.types.is_bool_dtype(kind):
            fields.append(pa.field(name, pa.bool_()))
        elif pd.api.types.is_integer_dtype(kind):
            fields.append(pa.field(name, pa.int64()))
        else:
            fields.append(pa.field(name, pa.float64()))
    return pa.schema(fields)
