"""Which files of a folder belong to a split, by the conventions of the Hugging Face hub.

The front matter of a README.md may list the configurations and which files belong to each split.
Otherwise a file names its split as ``train-00000-of-00003.parquet``, by a folder (``train/…``) or
by a word of its name (``my_train.jsonl``). Where none does, all files are the split "train".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airlens.errors import DataError, first_line

log = logging.getLogger(__name__)

DEFAULT = "train"
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(?P<name>.+?)[-.]\d{5}-of-\d{5}(?:[-.]|$)")
_SEPARATORS = re.compile(r"[-._ 0-9]+")


def split_of(path: Path) -> str:
    """The split that a path (within its folder) names; "" where it names none."""
    if shard := _SHARD.match(path.name):
        name = re.split(r"[-.]", shard["name"])[-1]
        word = re.split(r"[_ ]", name)[0].lower()
        if word in _WORDS or path.parent.name == "data":
            return _WORDS.get(name.lower(), name)
    stem = path.name.split(".")[0] if not path.name.startswith(".") else path.name
    for part in (stem, *reversed(path.parts[:-1])):
        words = [_WORDS[word] for word in _SEPARATORS.split(part.lower()) if word in _WORDS]
        if words:
            return words[0]
    return ""


def in_order(paths: Iterable[Path]) -> list[Path]:
    """The files sorted by folder and name, letter case counting, alike on every system."""
    return sorted(paths, key=lambda path: path.as_posix().split("/"))


def canonical(split: str) -> str:
    """The usual name of a split: "validation" for "dev"."""
    return _WORDS.get(split.lower(), split)


def files_of_split(paths: Iterable[Path], folder: Path, split: str | None) -> list[Path]:
    """The files that belong to a split.

    Args:
        paths: files in ``folder``.
        folder: where the data set begins.
        split: its name; None: the default one.

    Raises:
        DataError: no file belongs to it; lists the splits there are.
    """
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        by_split.setdefault(split_of(path.relative_to(folder)), []).append(path)
    named = {name for name in by_split if name}
    # What names no split is the data, beside which a part was set aside for testing.
    if "" in by_split and DEFAULT not in named:
        by_split[DEFAULT] = by_split.pop("")
    wanted = canonical(split or DEFAULT)
    if wanted in by_split:
        return by_split[wanted]
    there = ", ".join(sorted(name for name in by_split if name))
    raise DataError(f"no split {split or DEFAULT!r}; there are: {there}", file=str(folder))


def listed_files(folder: Path, config: str | None, split: str | None) -> list[Path] | None:
    """The files that the folder's README.md lists for a split; None where it lists none.

    Raises:
        DataError: there is no such configuration or split; lists those there are.
    """
    configs = _configs(folder)
    if not configs:
        return None
    default = next((name for name, item in configs.items() if item.get("default") is True), None)
    if default is None:
        default = "default" if "default" in configs or len(configs) > 1 else next(iter(configs))
    if (config or default) not in configs:
        which = f"no configuration {config!r}" if config else "several configurations"
        reason = f"{which}; name one of these with config= (--config): {', '.join(configs)}"
        raise DataError(reason, file=str(folder))
    patterns = _patterns(configs[config or default]["data_files"])
    names = (split or DEFAULT, canonical(split or DEFAULT))
    wanted = next((name for name in names if name in patterns), None)
    if wanted is None:
        there = ", ".join(patterns)
        raise DataError(f"no split {split or DEFAULT!r}; there are: {there}", file=str(folder))
    found = {path for pattern in patterns[wanted] for path in folder.glob(pattern)}
    return in_order(found)


def _configs(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations that the front matter of README.md lists, by name."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    from huggingface_hub import metadata_load

    try:
        data = metadata_load(readme)
    except Exception as error:  # YAML raises kinds of its own
        said = "%s: its front matter cannot be read (%s): files are taken by their names"
        log.warning(said, readme, first_line(error))
        return {}
    listed = data.get("configs") if isinstance(data, Mapping) else None
    usable = (
        item
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and item.get("data_files") is not None
    )
    return {str(item.get("config_name", "default")): item for item in usable}


def _patterns(files: Any) -> dict[str, list[str]]:
    """Patterns of files by split, from the forms that the hub knows."""
    if isinstance(files, str):
        return {DEFAULT: [files]}
    patterns: dict[str, list[str]] = {}
    for item in files if isinstance(files, list) else [files]:
        if isinstance(item, str):
            patterns.setdefault(DEFAULT, []).append(item)
        elif isinstance(item, Mapping) and "path" in item:
            paths = item["path"] if isinstance(item["path"], list) else [item["path"]]
            patterns.setdefault(str(item.get("split", DEFAULT)), []).extend(map(str, paths))
    return {split: [p for p in paths if _is_inside(p)] for split, paths in patterns.items()}


def _is_inside(pattern: str) -> bool:
    """Whether a pattern stays in its folder."""
    path = Path(pattern)
    return bool(pattern) and not path.anchor and ".." not in path.parts


def folder_of_config(folder: Path, paths: list[Path], config: str | None) -> list[Path]:
    """The files of a configuration, which is a sub-folder of the data set.

    Raises:
        DataError: there is no such sub-folder, or none is named where the same shard is in several.
    """
    if config is not None:
        inside = [path for path in paths if config in path.relative_to(folder).parts[:-1]]
        if inside:
            return inside
        names = ", ".join(sorted(_folders(folder, paths))) or "none"
        reason = f"no configuration {config!r}; the sub-folders are: {names}"
        raise DataError(reason, file=str(folder))
    shards: dict[str, Path] = {}
    for path in paths:
        other = shards.setdefault(path.name, path) if _SHARD.match(path.name) else path
        if other != path:
            names = ", ".join(sorted(_folders(folder, [other, path])))
            reason = f"several configurations ({names}); name one with config= (--config)"
            raise DataError(reason, file=str(folder))
    return paths


def _folders(folder: Path, paths: Iterable[Path]) -> set[str]:
    parts = {part for path in paths for part in path.relative_to(folder).parts[:-1]}
    return {part for part in parts if canonical(part) not in _WORDS.values()}
