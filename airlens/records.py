"""Read records (mappings from column to value) from files, folders, data frames and the hub.

Records come one by one, so that a corpus larger than memory can be read; only a ``.json`` file is
held whole. What cannot be read comes as a `Rejected` in its place; reading goes on where it can.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from .errors import ConfigError, DataError
from .trace import found

# Rows taken at a time from Parquet files and data frames: enough to be fast, little memory.
BATCH = 256
# Ours: a longer line in JSON lines is a damaged file, and would be held in memory many times over.
MAX_LINE = 32 * 2**20
_COMPRESSED = (".gz", ".zst", ".zstd")
_HUB_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+)?")


@dataclass(frozen=True)
class Record:
    """One record as it was read.

    Args:
        file: the file (or data set) it comes from, as text.
        line: 1-based line in JSON lines and CSV, 1-based record number elsewhere.
        data: its columns.
    """

    file: str
    line: int | None
    data: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A record that could not be used, and why.

    Args:
        file: the file (or data set) it comes from, as text.
        line: as in `Record`; None where the whole file could not be read.
        field: the column that is at fault, where it is one.
        reason: what was expected and what was found.
    """

    file: str
    line: int | None
    field: str | None
    reason: str

    @property
    def error(self) -> DataError:
        """The same as an exception."""
        return DataError(self.reason, file=self.file, line=self.line, field=self.field)


Item: TypeAlias = Record | Rejected


def iter_records(
    source: Any, *, split: str = "train", config: str | None = None, stream: bool = False
) -> Iterator[Item]:
    """Records of a source, in order; memory does not grow with their number.

    Args:
        source: a path to JSON lines (``.jsonl``, ``.ndjson``), JSON (a list, or an object with a
            list ``data``), CSV, TSV or Parquet, any of the text formats also ``.gz`` or ``.zst``; a
            folder of such files or a data set saved by ``datasets``; a glob; a name on the Hugging
            Face hub; or mappings: a list, any iterable, a ``datasets.Dataset``, a data frame.
        split: which split of a data set that has several.
        config: which configuration of a hub data set, where it has several.
        stream: read a hub data set over the network rather than download it first.

    Raises:
        DataError: the source does not exist, holds no known format, or cannot be reached.
        ConfigError: not a kind of source at all.
    """
    if isinstance(source, str | Path):
        return _from_name(source, split, config, stream)
    if isinstance(source, Mapping):
        return iter_records(_of_split(source, split))
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return _number(_frame_rows(source), f"<{type(source).__name__}>")
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        return _number(source, f"<{type(source).__name__}>")
    raise ConfigError(
        f"cannot load traces from {found(source)}; give a path, a hub name or records"
    )


def _from_name(source: str | Path, split: str, config: str | None, stream: bool) -> Iterator[Item]:
    text = str(source)
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path, split)
    if path.exists():
        return read_file(path)
    if any(char in text for char in "*?["):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob: no absolute ones)
        return _from_files(sorted(map(Path, names)), text)
    local = isinstance(source, Path) or text.startswith((".", "~", "/")) or _format(path)
    if local or not _HUB_NAME.fullmatch(text):
        raise DataError("no such file or folder", file=text)
    from .hub import load_hub

    # Slices of a split, "train[:100]", cannot be streamed.
    stream = stream and "[" not in split
    return _guard(_number(load_hub(text, split=split, config=config, stream=stream), text), text)


def _of_split(source: Any, split: str) -> Any:
    """The records of one split of a ``datasets.DatasetDict`` or the like."""
    if not isinstance(source, Mapping):
        return source
    records = source.get(split)
    if records is None or isinstance(records, str):
        names = ", ".join(map(str, source)) or "none"
        raise DataError(f"no split {split!r} in a mapping with {names}; give a list of records")
    return records


def _from_folder(folder: Path, split: str) -> Iterator[Item]:
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        import datasets

        try:
            saved = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"cannot open the saved data set: {error}", file=str(folder)) from error
        return _number(_of_split(saved, split), str(folder))
    paths = sorted(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return _from_files(paths, str(folder))


def _from_files(paths: list[Path], name: str) -> Iterator[Item]:
    readable = [path for path in paths if path.is_file() and _format(path)]
    if not readable:
        known = ", ".join(_READERS)
        raise DataError(f"no files to read here; known are {known}", file=name)
    return chain.from_iterable(map(read_file, readable))


def _format(path: Path) -> str:
    """The suffix that says the format, without that of a compression; "" if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _READERS else ""


def read_file(path: Path) -> Iterator[Item]:
    """Records of one file, by the format that its name says.

    Raises:
        DataError: the name says no known format.
    """
    kind = _format(path)
    if not kind:
        raise DataError(f"unknown format; known are {', '.join(_READERS)}", file=str(path))
    return _guard(_READERS[kind](path), str(path))


def _guard(items: Iterator[Item], file: str) -> Iterator[Item]:
    """What cannot be read at all (truncated, another encoding, no permission) ends the file."""
    from zstandard import ZstdError

    broken = (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, ZstdError)
    try:
        yield from items
    except broken as error:
        yield Rejected(file, None, None, f"cannot be read (further): {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    if suffix in _COMPRESSED:
        import zstandard

        raw = path.open("rb")
        frames = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return cast(IO[bytes], io.BufferedReader(frames))
    return path.open("rb")


def _read_jsonl(path: Path) -> Iterator[Item]:
    with _open(path) as lines:
        yield from _parse_lines(lines, str(path))


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes | int]:
    """Lines; the length in bytes in the place of one longer than `MAX_LINE`."""
    while line := stream.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE:
            yield line
            continue
        size = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE)):
            size += len(line)
        yield size


def _parse_lines(lines: IO[bytes], file: str) -> Iterator[Item]:
    for number, line in enumerate(_bounded_lines(lines), start=1):
        if isinstance(line, int):
            reason = f"a line of {line:,} bytes; at most {MAX_LINE:,} are read"
            yield Rejected(file, number, None, reason)
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        if line.strip():
            yield _parse(line, file, number)


def _parse(text: bytes, file: str, line: int) -> Item:
    try:
        return _record(json.loads(text.decode()), file, line)
    except UnicodeDecodeError as error:
        return Rejected(file, line, None, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return Rejected(file, line, None, f"not JSON: {error.msg} at character {error.colno}")
    except ValueError as error:  # an integer of thousands of digits
        return Rejected(file, line, None, f"not JSON: {_first_line(error)}")
    except RecursionError:
        return Rejected(file, line, None, "nested too deep")


def _record(data: object, file: str, line: int) -> Item:
    if not isinstance(data, Mapping):
        return Rejected(file, line, None, f"expected an object with columns, found {found(data)}")
    return Record(file, line, {str(key): value for key, value in data.items()})


def _number(records: Iterable[object], file: str) -> Iterator[Item]:
    for number, data in enumerate(records, start=1):
        yield _record(data, file, number)


def _read_json(path: Path) -> Iterator[Item]:
    file = str(path)
    with _open(path) as stream:
        text = stream.read().removeprefix(b"\xef\xbb\xbf")
    try:
        data = json.loads(text.decode())
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            yield from _parse_lines(io.BytesIO(text), file)
        else:
            yield Rejected(file, error.lineno, None, f"not JSON: {error.msg}")
        return
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = data["data"]
    yield from _number(data if isinstance(data, list) else [data], file)


def _read_parquet(path: Path) -> Iterator[Item]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(BATCH) for row in batch.to_pylist())
            yield from _number(rows, str(path))
    except ArrowException as error:
        raise ValueError(_first_line(error)) from error


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Item]:
    # The limit of 131,072 characters a cell is less than a long trace has; it is the module's, so
    # it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    file = str(path)
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = next(rows, [])
        line = rows.line_num + 1
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Rejected(file, line, None, f"not CSV: {error}")
                row = []
            if row is None:
                return
            if row:
                yield _csv_record(header, row, file, line)
            line = rows.line_num + 1


def _csv_record(header: list[str], row: list[str], file: str, line: int) -> Item:
    if len(row) != len(header):
        return Rejected(file, line, None, f"expected {len(header)} cells, found {len(row)}")
    return Record(file, line, dict(zip(header, row, strict=True)))


def _read_tsv(path: Path) -> Iterator[Item]:
    return _read_csv(path, "\t")


def _frame_rows(frame: Any) -> Iterator[object]:
    for start in range(0, len(frame), BATCH):
        yield from frame.iloc[start : start + BATCH].to_dict("records")


_READERS: dict[str, Callable[[Path], Iterator[Item]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
