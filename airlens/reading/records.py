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

from airlens.errors import ConfigError, DataError, found

from .record_files import BATCH, FORMATS, Item, format_of, guarded, numbered, read_file

GLOB = "*?["
_HUB_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+)?")


def iter_records(
    source: Any, *, split: str = "train", config: str | None = None, stream: bool = False
) -> Iterator[Item]:
    """Records of a source, in order; memory does not grow with their number.

    Args:
        source: a path to JSON lines (``.jsonl``, ``.ndjson``), JSON (a list, or an object with a
            list ``data``), CSV, TSV, Parquet or Arrow, any of the text formats also ``.gz`` or
            ``.zst``; a folder of such files or a data set saved by ``datasets``; a glob; a name on
            the Hugging Face hub; or mappings: a list, any iterable, a ``datasets.Dataset``, a data
            frame.
        split: which split of a data set that has several.
        config: which configuration of a hub data set, where it has several.
        stream: read a hub data set over the network rather than download it first.

    Raises:
        DataError: the source does not exist, holds no known format, or cannot be reached.
        ConfigError: not a supported kind of source.
    """
    if isinstance(source, str | Path):
        return _from_name(source, split, config, stream)
    if isinstance(source, Mapping):
        return iter_records(_of_split(source, split))
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return numbered(_frame_rows(source), f"<{type(source).__name__}>")
    if isinstance(source, Iterable) and not isinstance(source, bytes | bytearray):
        return numbered(source, f"<{type(source).__name__}>")
    raise ConfigError(
        f"cannot load traces from {found(source)}; give a path, a hub name or records"
    )


def _from_name(source: str | Path, split: str, config: str | None, stream: bool) -> Iterator[Item]:
    text = need_path(source)
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path, split)
    if path.exists():
        return read_file(path)
    if any(char in text for char in GLOB):
        return _from_files(sorted(map(Path, _matches(path))), text)
    from .hub import load_hub

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
        return numbered(_of_split(saved, split), str(folder))
    paths = sorted(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return _from_files(paths, str(folder))


def _from_files(paths: list[Path], name: str) -> Iterator[Item]:
    readable = [path for path in paths if path.is_file() and format_of(path)]
    if not readable:
        known = ", ".join(FORMATS)
        raise DataError(f"no files to read here; known are {known}", file=name)
    return chain.from_iterable(map(read_file, readable))


def _frame_rows(frame: Any) -> Iterator[object]:
    for start in range(0, len(frame), BATCH):
        yield from frame.iloc[start : start + BATCH].to_dict("records")
