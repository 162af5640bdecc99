"""Results as files, which a killed run leaves whole or not at all; the bundled files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from .arguments import checked
from .errors import ConfigError, DataError, WriteError

WINDOWS = os.name == "nt"
# Seconds between the attempts to rename a file that another process has open.
PAUSES = (0.01, 0.05, 0.2, 0.5, 1.0)


def need_out_file(path: str | Path, argument: str = "out") -> Path:
    """``path`` with ``~`` expanded, if a file can be written there; trying leaves nothing behind.

    Raises:
        ConfigError: it is a folder or no plain file, or its folder cannot be made or written to.
            The message names it ``argument``.
    """
    target = _file_name(_home(path), argument)
    _need_writable(target.parent, argument, path)
    return target


def need_out_folder(path: str | Path, argument: str = "out") -> Path:
    """``path`` with ``~`` expanded, if files can be written into such a folder, there or not yet.

    Raises:
        ConfigError: it is a file, or cannot be made or written to; names it ``argument``.
    """
    target = _name(_home(path), argument)
    if target.exists() and not target.is_dir():
        raise _no_place("a file; name a folder", argument, path)
    _need_writable(target, argument, path)
    return target


def _home(path: str | Path) -> str | Path:
    """The path with the home folder in place of ``~``; a slash at its end stays."""
    return os.path.expanduser(path) if isinstance(path, str) else path  # noqa: PTH111


def _file_name(path: str | Path, argument: str) -> Path:
    """The path, unless something is there that no file can replace."""
    target = _name(path, argument)
    if target.is_dir() or str(path).endswith(("/", os.sep)):
        raise _no_place("a folder; name a file in it", argument, path)
    if target.exists() and not target.is_file():
        raise _no_place("no plain file; name one", argument, path)
    return target


def _name(path: Any, argument: str) -> Path:
    """The path, if it can be the name of something."""
    if not isinstance(path, str | os.PathLike) or str(path) in ("", "-"):
        raise _no_place("no name of a file or folder", argument, path)
    target = Path(path)
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # too long, a NUL in it, a folder that may not be read
        reason = getattr(error, "strerror", None) or error
        raise _no_place(f"cannot be a file ({reason})", argument, path) from error
    return target


def _need_writable(folder: Path, argument: str, path: str | Path) -> None:
    """Raise unless files can be made in ``folder``, or in what would hold it if it is not there."""
    there = folder
    while not there.exists() and there != there.parent:  # a drive that is not there has no parent
        there = there.parent
    if not there.exists():
        raise _no_place(f"there is no {there}", argument, path)
    if not there.is_dir():
        raise _no_place(f"{there} is a file, no folder", argument, path)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise _no_place(f"{there} cannot be written to ({reason})", argument, path) from error


def _no_place(reason: str, argument: str, path: object) -> ConfigError:
    shown = str(path) if isinstance(path, str | os.PathLike) else path
    return ConfigError(reason, argument=argument, value=shown)


def portable_name(text: str) -> str:
    """``text`` as (part of) the name of a file on every system; different texts, different names.

    A name of a model, an ablation mode or a set of heads may hold what Windows or any system
    refuses (``:``, ``/``), and two may differ in case only, which macOS and Windows do not tell
    apart: such a text gets a hash.

    >>> portable_name("zero"), portable_name("org/Model:1")
    ('zero', 'org_model_1-c4871e09')
    """
    plain = re.sub(r"[^a-z0-9._-]+", "_", text.lower())[:80].strip(" .")
    if plain == text and plain.split(".")[0] not in _RESERVED:
        return text
    return f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


# Names that Windows keeps for devices, with any ending.
_RESERVED = frozenset(
    ["", "con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))]
)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds.

    Raises:
        ConfigError: no file can have that name.
        WriteError: the disk is full or cannot be written to.
    """
    target = _file_name(path, "path")
    with writing_to(target), _beside(target) as temporary:
        yield temporary
        # mkstemp makes files only the owner can read; results are meant to be shared.
        temporary.chmod(0o644)
        patiently(lambda: temporary.replace(target))


def patiently(move: Callable[[], object]) -> None:
    """Call ``move``, which renames something, again for a while where it is not permitted.

    Windows refuses to rename, or to replace, what another process has open: a command that reads
    it, or a scanner of viruses that looks at each new file for a moment.
    """
    for pause in PAUSES if WINDOWS else ():
        try:
            move()
            return
        except PermissionError:
            time.sleep(pause)
    move()


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary file in the same folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _no_place(f"{error.filename} is a file, no folder", "path", target) from error
    # The name is cut, as the temporary one is longer and must not be too long.
    handle, name = tempfile.mkstemp(target.suffix[-20:], f".{target.name[:100]}.", target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


# Of a write that failed: no room, no permission, a broken disk. Other errors are not about it.
_UNWRITABLE = frozenset(
    getattr(errno, name, 0)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "EACCES", "EPERM", "ENXIO")
) - {0}


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Let a write that fails inside the block name ``place``.

    Raises:
        WriteError: in place of an `OSError` that is about writing.
    """
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and place.name[:100] not in str(error.filename)
        if error.errno not in _UNWRITABLE or elsewhere:
            raise
        raise WriteError(place, error) from error


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step; the same bytes on every system."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, which may be larger than memory."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


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
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", file=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})", file=str(path)) from error
    if not isinstance(record, dict):
        raise DataError("not a JSON object", file=str(path))
    return record


@checked
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
