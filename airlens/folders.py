"""Folders that appear whole or not at all, the cache folder, and tables in a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import platformdirs

from .errors import ConfigError, DataError, first_line
from .files import atomic_file, patiently, read_json, write_json, writing_to

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def cache_dir() -> Path:
    """The user's cache folder for airlens, ``$AIRLENS_CACHE`` if that is set; created if absent.

    Raises:
        ConfigError: there is no such folder to be had, or nothing can be written into it.
    """
    own = os.environ.get("AIRLENS_CACHE")
    path = Path(own).expanduser() if own else Path(platformdirs.user_cache_dir("airlens"))
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(
            f"the cache folder {path} cannot be written ({error.strerror or error}): set "
            "AIRLENS_CACHE to a folder that can (converted and downloaded models are kept there)"
        ) from error
    return path


@contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it becomes ``path`` only if the block succeeds.

    Where another process finished the same folder first, that one is kept. An empty one is
    replaced.

    Raises:
        WriteError: the disk is full or cannot be written to.
    """
    target = Path(path)
    with writing_to(target), _folder_beside(target) as temporary:
        yield temporary
        temporary.chmod(0o755)
        try:
            if _is_empty(target):  # Windows renames over no folder, not even an empty one
                target.rmdir()
            patiently(lambda: temporary.rename(target))
        except OSError:
            if not target.is_dir() or _is_empty(target):
                raise


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A temporary folder in the same folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_tables(
    folder: str | Path, tables: Mapping[str, pd.DataFrame], provenance: Mapping[str, Any]
) -> Path:
    """Write each table to ``folder`` as CSV (six digits), and the provenance as JSON."""
    options: dict[str, Any] = {"float_format": "%.6g", "lineterminator": "\n"}
    files = {f"{name}.csv": partial(table.to_csv, **options) for name, table in tables.items()}
    return _write(folder, files, provenance)


def save_tables(
    folder: str | Path, tables: Mapping[str, pd.DataFrame], provenance: Mapping[str, Any]
) -> Path:
    """Write each table to ``folder`` as Parquet, and the provenance as JSON."""
    files = {f"{name}.parquet": table.to_parquet for name, table in tables.items()}
    return _write(folder, files, provenance)


def _write(
    folder: str | Path, files: Mapping[str, Callable[..., Any]], provenance: Mapping[str, Any]
) -> Path:
    """Each file by its own table's writer, and the provenance as JSON."""
    folder = Path(folder)
    for name, write in files.items():
        with atomic_file(folder / name) as temporary:
            write(temporary, index=False)
    return write_json(folder / "provenance.json", provenance, indent=1).parent


def read_table(path: Path) -> pd.DataFrame:
    """A table that was stored as Parquet.

    Raises:
        DataError: it is damaged, or cannot be read.
    """
    import pandas as pd
    from pyarrow import ArrowException

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, ArrowException) as error:
        reason = f"no table that can be read ({first_line(error)})"
        what = f"{reason}: delete the file, and it is made again"
        raise DataError(what, file=str(path)) from error


def kept(
    path: str | Path | None,
    make: Callable[[], T],
    load: Callable[[Path], T | None],
    save: Callable[[T, Path], object],
    *,
    whole: str = "",
) -> T:
    """The result stored at a path; where there is none it is made, and stored for the next time.

    Args:
        path: a file or folder whose name tells all that decides the result; None: it is made and
            not stored.
        make: makes it.
        load: reads what is stored; None: that is not what is wanted, and it is made again.
        save: stores it, in one step or with the file ``whole`` last.
        whole: of a folder, the file without which what is there is not complete.

    Raises:
        DataError: from ``load``: what is stored is damaged, or cannot be read.
    """
    if path is None:
        return make()
    path = Path(path)
    found = load(path) if (path / whole).is_file() else None
    if found is None:
        found = make()
        save(found, path)
    return found


def kept_table(path: str | Path | None, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """:func:`kept`, of a table that is stored as Parquet."""
    return kept(path, make, read_table, _save_table)


def _save_table(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)


def load_tables(
    folder: str | Path, names: Iterable[str], what: str
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read what :func:`save_tables` wrote: the tables of these names, and the provenance.

    Raises:
        DataError: a file is missing or unreadable; ``what`` names the thing that was expected.
    """
    import pandas as pd
    from pyarrow import ArrowException

    folder = Path(folder)
    try:
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}
        note = read_json(folder / "provenance.json")
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"not {what} ({error})", file=str(folder)) from error
    return tables, note
