"""Read records (mappings from column to value) from files, folders, data frames and the hub.

Records are read one by one, so a corpus may be larger than memory.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError, DataError, described

from .arrow_files import BATCH, batch_items
from .items import Item, numbered
from .record_files import FORMATS, format_of, guarded, read_file
from .splits import (
    DEFAULT,
    canonical,
    files_of_split,
    folder_of_config,
    in_order,
    listed_files,
    split_of,
)

# JSON files that stand beside data: of the hub, and of `airlens select`.
_NO_DATA = ("dataset_infos.json", "dataset_info.json", ".manifest.json")
GLOB = "*?["
_HUB_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+)?")


def iter_records(
    source: Any, *, split: str | None = None, config: str | None = None, stream: bool = False
) -> Iterator[Item]:
    """Records of a source, in order; memory does not grow with their number.

    Args:
        source: a path to JSON lines (``.jsonl``, ``.ndjson``), JSON (a list, an object with a
            list ``data``, or a frame as pandas writes it), CSV, TSV, Parquet, Arrow or Feather, any
            of them also ``.gz``, ``.bz2``, ``.xz``, ``.zst`` or in a ``.zip``; a folder of such
            files or a data set saved by ``datasets``; a glob; a name on the Hugging Face hub; or
            mappings: a list, any iterable, a ``datasets.Dataset``, a frame of pandas or polars, an
            Arrow table or whatever else gives an Arrow stream, or a dictionary of columns.
        split: which split of a data set that has several; None: "train".
        config: which configuration of a hub data set, where it has several, or of its copy in a
            folder.
        stream: read a hub data set over the network rather than download it first.

    Raises:
        DataError: the source does not exist, holds no known format, cannot be reached, or has no
            such split.
        ConfigError: not a supported kind of source, or a split of one that has none.
    """
    if isinstance(source, str | Path):
        return _from_name(source, split, config, stream)
    if isinstance(source, Mapping):
        return _from_mapping(source, split)
    if split is not None and canonical(split) != DEFAULT:
        raise ConfigError(f"split={split!r}: a {type(source).__name__} has no splits")
    name = f"<{type(source).__name__}>"
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return numbered(_frame_rows(source), name)
    if callable(rows := getattr(source, "iter_rows", None)):  # polars
        return numbered(rows(named=True), name)
    if callable(plain := getattr(source, "with_format", None)):  # datasets, set to tensors
        return numbered(plain(None), name)
    if hasattr(source, "__arrow_c_stream__"):
        return guarded(_arrow_rows(source, name), name)
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        return numbered(source, name)
    raise ConfigError(
        f"cannot load traces from {described(source)}; give a path, a hub name or records"
    )


def _from_name(
    source: str | Path, split: str | None, config: str | None, stream: bool
) -> Iterator[Item]:
    text = need_path(source)
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path, split, config)
    if path.exists():
        _check_split_of_file(path, split)
        return read_file(path)
    if any(char in text for char in GLOB):
        paths = sorted(map(Path, _matches(path)), key=Path.as_posix)
        if split is not None:
            paths = [path for path in paths if split_of(Path(path.name)) == canonical(split)]
        return _from_files(_readable(paths, text))
    from airlens.hub import load_hub

    split = split or DEFAULT
    # Slices of a split, "train[:100]", cannot be streamed.
    stream = stream and "[" not in split
    return guarded(numbered(load_hub(text, split=split, config=config, stream=stream), text), text)


def need_path(source: str | Path) -> str:
    """``source`` as text, unless it is clearly a file, a folder or a glob, and nothing is there.

    Raises:
        DataError: nothing is there.
    """
    text = str(source)
    path = Path(text).expanduser()
    if path.exists():
        return text
    if any(char in text for char in GLOB):
        if not _matches(path):
            raise DataError("no files of such a name", file=text)
        return text
    local = isinstance(source, Path) or text.startswith((".", "~", "/")) or format_of(path)
    if local or not _HUB_NAME.fullmatch(text):
        raise DataError("no such file or folder", file=text)
    return text


def _matches(pattern: Path) -> list[str]:
    return glob.glob(str(pattern), recursive=True)  # noqa: PTH207 (Path.glob: no absolute ones)


def _check_split_of_file(path: Path, split: str | None) -> None:
    if split is None or canonical(split) in (DEFAULT, split_of(Path(path.name))):
        return
    raise ConfigError(f"split={split!r}: {path} is one file, which has no splits")


def _from_mapping(source: Mapping[Any, Any], split: str | None) -> Iterator[Item]:
    """The records of a split of a ``datasets.DatasetDict`` or the like, or those of columns."""
    if _are_columns(source):
        if split is not None and canonical(split) != DEFAULT:
            raise ConfigError(f"split={split!r}: a dictionary of columns has no splits")
        lengths = {name: len(column) for name, column in source.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise ConfigError(f"the columns are of different lengths ({told})")
        return numbered(_column_rows(source), "<dict>")
    name = split or DEFAULT
    records = source.get(name)
    if records is None or isinstance(records, str):
        names = ", ".join(map(str, source)) or "none"
        what = "give a list of records, or a dictionary of columns"
        raise DataError(f"no split {name!r} in a mapping with {names}; {what}")
    return iter_records(records)


def _are_columns(source: Mapping[Any, Any]) -> bool:
    """Whether the values are columns of values, not splits of records."""
    return bool(source) and all(_is_column(column) for column in source.values())


def _is_column(value: object) -> bool:
    if isinstance(value, list | tuple):
        return not value or not all(isinstance(item, Mapping) for item in value)
    array = hasattr(value, "tolist") or hasattr(value, "to_pylist")
    return array and hasattr(value, "__len__") and not hasattr(value, "columns")


def _column_rows(source: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    columns = {str(name): _listed(column) for name, column in source.items()}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _listed(column: Any) -> list[Any]:
    make = getattr(column, "to_pylist", None) or getattr(column, "tolist", None)
    return list(make() if callable(make) else column)


def saved_split(folder: Path, split: str | None) -> Any:
    """The split of a data set that ``datasets`` saved in the folder; None where there is none.

    Raises:
        DataError: it cannot be opened, or has no such split.
    """
    if not ((folder / "state.json").exists() or (folder / "dataset_dict.json").exists()):
        return None
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # damaged files end in many kinds
        raise DataError(f"cannot open the saved data set: {error}", file=str(folder)) from error
    if not isinstance(saved, Mapping):
        return saved
    name = split or DEFAULT
    if name not in saved:
        there = f"no split {name!r}; there are: {', '.join(saved)}"
        raise DataError(there, file=str(folder))
    return saved[name]


def _from_folder(folder: Path, split: str | None, config: str | None) -> Iterator[Item]:
    saved = saved_split(folder, split)
    if saved is not None:
        return numbered(saved, str(folder))
    paths = in_order(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    listed = listed_files(folder, config, split)
    if listed is not None:
        return _from_files(_readable(listed, str(folder)))
    readable = folder_of_config(folder, _readable(paths, str(folder)), config)
    return _from_files(files_of_split(readable, folder, split))


def _readable(paths: list[Path], name: str) -> list[Path]:
    data = (path for path in paths if not path.name.endswith(_NO_DATA))
    readable = [path for path in data if path.is_file() and format_of(path)]
    if not readable:
        known = ", ".join(FORMATS)
        raise DataError(f"no files to read here; known are {known}", file=name)
    return readable


def _from_files(paths: list[Path]) -> Iterator[Item]:
    return chain.from_iterable(map(read_file, paths))


def _frame_rows(frame: Any) -> Iterator[object]:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError("two columns have this name", field=str(twice))
    for start in range(0, len(frame), BATCH):
        yield from frame.iloc[start : start + BATCH].to_dict("records")


def _arrow_rows(source: Any, name: str) -> Iterator[Item]:
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(source)
        yield from batch_items(reader, name)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
