"""The files of one part: made, written beside their places, put in place, and read again.

Whoever scored a part may write its files (`stage`), on any machine that sees the folder; only the
run that holds the folder's lock puts them in place (`put`), so that nothing that a lost machine
still writes replaces a file that a marker speaks of.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet as pq

from airlens.errors import DataError, RunError, WriteError
from airlens.files import patiently

from .markers import part_file

PARTS = "parts"
ROWS = "rows"
SIDES = (ROWS, "steps", "tokens", "controls")
# Text columns: where all values are null, their type would otherwise differ from other parts'.
_TEXTS = frozenset(
    {"id", "domain", "label", "text", "token", "fingerprint", "prompt", "response", "file", "meta"}
    | {"steps", "turns", "tools", "step_meta", "reading", "answer", "record", "no_early_answer"}
)


@dataclass(frozen=True)
class Part:
    """What is written of one part.

    Attributes:
        fingerprint: of the run's identity.
        tables: the tables by name, ``parts`` among them.
        rows: name of each row (`airlens.corpus.book.row_name`), in the order of the tables.
        rejects: of each row that could not be scored its name (``row``), ``field`` and ``reason``.
        long: places in ``rows`` of those longer than the context.
    """

    fingerprint: str
    tables: Mapping[str, pd.DataFrame]
    rows: tuple[str, ...]
    rejects: tuple[Mapping[str, Any], ...] = ()
    long: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of the samples, prompts too; 0 where this adds a table to a part."""
        if PARTS not in self.tables:
            return 0
        return int(self.tables[PARTS][["n_tokens", "n_prompt_tokens"]].sum().sum())


@dataclass(frozen=True)
class Staged:
    """A part whose files wait to be put in place: what the book needs of it, and no table.

    Attributes:
        fingerprint, rows, rejects, long, tokens: as of the `Part`.
        sums: SHA-256 of the file of each table.
        names: of each table that was written, the file's name in the folder of the table.
        contents: the bytes of those that were not.
    """

    fingerprint: str
    rows: tuple[str, ...]
    rejects: tuple[Mapping[str, Any], ...]
    long: tuple[int, ...]
    tokens: int
    sums: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, bytes] = field(default_factory=dict)


def staged(part: Part, number: int, folder: Path | None) -> Staged:
    """Make the files of a part and write each beside its place.

    Args:
        part: the tables.
        number: of the part.
        folder: of the run; None: write nothing, keep the bytes.

    Raises:
        RunError: the disk is full or cannot be written; nothing of the part is left there.
    """
    # Side tables first: where the disk is full, no samples stand there without them.
    order = [name for name in (*SIDES, PARTS) if name in part.tables]
    contents = {name: table_bytes(part.tables[name]) for name in order}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    facts = (part.fingerprint, part.rows, part.rejects, part.long, part.tokens, sums)
    if folder is None:
        return Staged(*facts, contents=contents)
    names: dict[str, str] = {}
    try:
        with writing(f"part {number} of {folder}"):
            for name, content in contents.items():
                names[name] = _beside(folder / name / part_file(number)).name
                write_table(folder / name / names[name], content)
    except BaseException:
        for name, file in names.items():
            (folder / name / file).unlink(missing_ok=True)
        raise
    return Staged(*facts, names=names)


def put(part: Staged, number: int, folder: Path) -> None:
    """Put the files of a part in place, in one step each.

    Raises:
        RunError: the disk is full or cannot be written, or a file is not there.
    """
    for name in part.sums:
        target = folder / name / part_file(number)
        if name in part.contents:
            waiting = _beside(target)
            write_table(waiting, part.contents[name])
        else:
            waiting = target.with_name(part.names[name])
        put_table(waiting, target)


def _beside(target: Path) -> Path:
    """A new empty file in the same folder, with a name that `RunFolder.clean` knows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(target.suffix, f".{target.name}.", target.parent)
    os.close(handle)
    return Path(name)


def write_table(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())  # a crash of the machine must not leave a name without its data
    path.chmod(0o644)  # mkstemp makes files only the owner can read; results are to be shared


def put_table(waiting: Path, target: Path) -> None:
    """Give a file that was written its name.

    Raises:
        RunError: there is no such file.
    """
    if not waiting.exists():
        raise RunError(
            f"{waiting} was written on another machine and is not seen here: give a folder on "
            "storage that all machines share"
        )
    patiently(lambda: waiting.replace(target))


def table_bytes(frame: pd.DataFrame) -> bytes:
    """A table as a Parquet file."""
    table = pa.Table.from_pandas(frame, schema=_schema(frame), preserve_index=False)
    # Without pandas' metadata about the index, which would differ between parts.
    table = table.replace_schema_metadata(None)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", write_page_checksum=True)
    return out.getvalue()


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


def read_table(path: Path, columns: Iterable[str] | None, known: str | None) -> Any:
    """An Arrow table of one Parquet file; columns it lacks are left out.

    Args:
        path: the file.
        columns: default: all.
        known: SHA-256 of the file.

    Raises:
        DataError: it is not what was written.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != known:
            raise pa.ArrowInvalid("other bytes than were written")
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            wanted = None
            if columns is not None:
                wanted = [name for name in columns if name in file.schema_arrow.names]
            return file.read(columns=wanted)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"damaged ({reason}); run the same `airlens score` again to restore it", file=str(path)
        ) from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn a failed write into a `RunError` that says what failed and how to continue.

    Raises:
        RunError: in place of an `OSError`.
    """
    try:
        yield
    except (OSError, WriteError) as error:
        cause = error.cause if isinstance(error, WriteError) else error
        raise RunError(
            f"{what} could not be written ({cause.strerror or cause}). What was written before is "
            "whole: make room, then the same command goes on from there"
        ) from error
