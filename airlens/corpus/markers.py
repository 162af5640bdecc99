"""Completion markers: a part of a run is done when its marker says so.

``done/part-000000.json`` is written after the tables of its part, and again when a table is added
or restored. It names the rows of the part, in their order, by the hashes of id and content, and
each table that is whole with its checksum. A table it does not name is not there, whatever files
lie around.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from airlens.errors import RunError
from airlens.files import atomic_write_text
from airlens.provenance import fingerprint

DONE = "done"
_NAME = re.compile(r"part-(\d{6,})\.json")


@dataclass(frozen=True)
class Marker:
    """What is known of one part.

    Attributes:
        number: of the part.
        fingerprint: of the run's identity.
        rows: hashes of id and content of each row, in the order of the tables: "id content".
        rejects: rows that were found to be unusable when they were scored: such a pair, and why.
        long: places in ``rows`` of those longer than the context.
        tables: checksum of the file of each table that is whole.
    """

    number: int
    fingerprint: str
    rows: tuple[str, ...]
    rejects: tuple[Mapping[str, Any], ...] = ()
    long: tuple[int, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Name of the part's files, the same in the folder of each table."""
        return part_file(self.number)

    def without(self, tables: list[str]) -> Marker:
        """The marker without these tables."""
        return replace(self, tables={k: v for k, v in self.tables.items() if k not in tables})


def part_file(number: int) -> str:
    """Name of a part's Parquet files."""
    return f"part-{number:06d}.parquet"


def checksum(path: Path) -> str:
    """SHA-256 of a file; "" where there is none."""
    content = _content(path)
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none.

    Raises:
        RunError: it is there and cannot be read (no permission, too many open files): what it
            holds is not known, and must not count as lost.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from error


def write_marker(folder: Path, marker: Marker) -> None:
    """Write the marker of a part; what it says holds from then on."""
    write_checked(_path(folder, marker.number), asdict(marker))


def markers(folder: Path) -> Iterator[Marker]:
    """The markers of a folder by number; one that is damaged is as good as none."""
    names = (_NAME.fullmatch(path.name) for path in (folder / DONE).glob("part-*.json"))
    for number in sorted(int(name[1]) for name in names if name):
        marker = read_marker(folder, number)
        if marker is not None:
            yield marker


def read_marker(folder: Path, number: int) -> Marker | None:
    """The marker of a part; None where there is none, or it is damaged."""
    record = read_checked(_path(folder, number))
    if record is None:
        return None
    for name in ("rows", "rejects", "long"):
        record[name] = tuple(record[name])
    return Marker(**record)


def _path(folder: Path, number: int) -> Path:
    return folder / DONE / f"part-{number:06d}.json"


def write_checked(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with a checksum of itself, in one step."""
    text = json.dumps({**record, "check": fingerprint(record)}, ensure_ascii=False)
    atomic_write_text(path, text + "\n")


def read_checked(path: Path) -> dict[str, Any] | None:
    """The record that `write_checked` wrote; None where there is none, or it is damaged."""
    try:
        record = json.loads(_content(path) or b"null")
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    check = record.pop("check", None)
    return record if check == fingerprint(record) else None
