"""Results as files, which a killed run leaves whole or not at all; the bundled files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import ConfigError, DataError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(target.suffix, f".{target.name}.", target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files only the owner can read; results are meant to be shared.
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, record: Mapping[str, Any], indent: int | None = None) -> Path:
    """Write a record as JSON (UTF-8) in one step."""
    end = "" if indent is None else "\n"
    atomic_write_text(path, json.dumps(record, ensure_ascii=False, indent=indent) + end)
    return Path(path)


def read_json(path: str | Path, missing: str = "no such file") -> dict[str, Any]:
    """A record that :func:`write_json` wrote.

    Raises:
        DataError: there is no such file (the message is ``missing``), or it is no JSON object.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(missing, file=str(path)) from error
    except (OSError, ValueError) as error:
        raise DataError(f"not JSON ({error})", file=str(path)) from error
    if not isinstance(record, dict):
        raise DataError("not a JSON object", file=str(path))
    return record


def data_path(name: str) -> Path:
    """The path of a bundled file, in a checkout's ``data/`` or inside an installed wheel.

    Raises:
        ConfigError: no bundled file has that name.
    """
    here = Path(__file__).resolve().parent
    for path in (here.parent / "data" / name, here / "_data" / name):
        if path.is_file():
            return path
    raise ConfigError(f"airlens has no bundled file {name!r}; reinstall airlens or run `make data`")


@lru_cache(maxsize=1)
def sentences() -> tuple[str, ...]:
    """The bundled English sentences (values of the key-value probes), in file order."""
    lines = data_path("sentences.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
