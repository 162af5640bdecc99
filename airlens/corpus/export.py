"""Write selected samples for other tools, with a manifest of how they were chosen."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_write_text, file_sha256
from airlens.folders import read_table
from airlens.json_lines import json_line, jsonable
from airlens.selection.select import Selection
from airlens.traces.items import Rejected
from airlens.traces.record_files import format_of, read_file

from . import table_files
from .chosen_rows import chosen_rows, ordered_lines
from .chosen_rows import with_texts as with_texts
from .export_rows import Layout
from .run_folder import RunFolder
from .table_files import FORMATS as FORMATS

log = logging.getLogger(__name__)

kind_of = table_files.format_of


def need_selection_name(path: str | Path) -> Path:
    """``path``, if it is a name for JSON lines, compressed or not.

    Raises:
        ConfigError: it is the name of something else.
    """
    target = Path(path)
    names = [suffix for suffix, kind in table_files.SUFFIXES.items() if kind == "jsonl"]
    bare = target.with_suffix("") if target.suffix.lower() in (".gz", ".zst") else target
    if bare.suffix.lower() not in names:
        known = ", ".join(f"*{name}" for name in names)
        raise ConfigError(
            f"a selection is JSON lines: name it {known} (or .gz, .zst); `airlens export` then "
            "writes other formats",
            argument="out",
            value=str(path),
        )
    return target


def write_selection(
    run: RunFolder, selection: Selection, path: str | Path, note: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the chosen samples as JSON lines, best first, and a manifest; returns the manifest.

    A line has the fields of the trace (where texts were kept), the record that it was read from
    (``record``, see `airlens.loss_free`) and the scores; `airlens.load_traces` reads it.
    The manifest, ``PATH.manifest.json``, has the ids and everything needed to repeat the selection.
    One part is in memory at a time; beside ``path`` there must be room for its lines twice.
    """
    types = run.types()
    more: dict[str, Any] = {**(note or {}), "run": run.manifest()}
    if len(types):
        more["columns"] = {field.name: str(field.type) for field in types}
        more["types"] = base64.b64encode(types.serialize()).decode("ascii")
    with ordered_lines(chosen_rows(run, selection), len(selection.ids), Path(path)) as lines:
        return _write_lines(lines, selection, path, more)


def write_chosen(
    rows: Iterable[Mapping[str, Any]],
    selection: Selection,
    path: str | Path,
    note: dict[str, Any],
) -> dict[str, Any]:
    """Write the rows of the chosen samples and, beside them, a manifest, which is returned.

    ``note["weights"]``: path of a file of step weights that belongs to them. One that another call
    left there is removed.
    """
    return _write_lines((json_line(jsonable(row)) for row in rows), selection, path, note)


def _write_lines(
    lines: Iterable[bytes], selection: Selection, path: str | Path, note: dict[str, Any]
) -> dict[str, Any]:
    target = need_selection_name(path)
    table_files.write_lines(lines, target)
    weights = weights_path(target)
    if "weights" not in note:
        weights.unlink(missing_ok=True)
    files = [target, *([weights] if "weights" in note else [])]
    sums = {file.name: file_sha256(file) for file in files}
    ids = selection.ids
    manifest = {
        "selection": selection.provenance,
        "near_duplicates": 0,
        "chosen": len(ids),
        "of": len(selection.samples),
        "sha256": sums[target.name],
        "files": sums,
        "ids": ids,
        **note,
    }
    _write_manifest(target, manifest)
    return manifest


def _write_manifest(target: Path, manifest: Mapping[str, Any]) -> None:
    text = json.dumps(manifest, ensure_ascii=False, indent=1, default=str)
    atomic_write_text(manifest_path(target), text)


def manifest_path(path: str | Path) -> Path:
    """Path of the manifest of a selection."""
    return Path(f"{path}.manifest.json")


def weights_path(path: str | Path) -> Path:
    """Path of the step weights of a selection."""
    target = Path(path)
    bare = target.with_suffix("") if target.suffix.lower() in (".gz", ".zst") else target
    return bare.with_suffix(".weights.parquet")


def export(
    selected: str | Path,
    out: str | Path,
    *,
    kind: str | None = None,
    messages: bool = False,
    columns: list[str] | None = None,
    say: Callable[[str], None] = log.info,
) -> int:
    """Turn a selection into a file or folder that trainers read; returns the number of samples.

    Args:
        selected: what `write_selection` (``airlens select``) wrote.
        out: a file, for ``datasets`` a folder; its manifest goes beside it.
        kind: ``jsonl``, ``json``, ``csv``, ``tsv``, ``parquet``, ``arrow`` or ``datasets`` (a
            folder for ``datasets.load_from_disk``); default: by the name of ``out``.
        messages: the conversation as one column ``messages``, the chat format of TRL, its turns as
            they stand in the source; columns that held the same text are left out.
        columns: the columns to write; default: all.
        say: is told, sentence by sentence, what could not be written as it was.

    All columns of the source come back as they were, those of airlens behind them; where both have
    a name, airlens's gets the prefix ``airlens_``. Step weights, where ``airlens select --weights``
    wrote them, become the column ``step_weights``.

    Raises:
        ConfigError: an unknown format or column, or a name that does not fit.
        DataError: not a selection, one without texts, or a value that the format cannot hold.
    """
    how = kind_of(out, kind)
    source, target = Path(selected), Path(out)
    if target.absolute() == source.absolute():
        raise ConfigError(
            "that is the selection itself; name another file", argument="out", value=out
        )
    manifest = _manifest_of(source)
    layout = Layout(messages, _weights_of(source, manifest))
    layout.learn(_read(source))
    count = layout.counts["rows"]
    if not count:
        raise DataError("no samples in it", file=str(source))
    if columns is not None:
        _check_columns(columns, layout, _read(source))
    rows = partial(_rows, source, layout, columns)
    notes = [*layout.notes(), *table_files.write_rows(rows, target, how, _types_of(manifest))]
    known = manifest.get("files", {}).get(source.name, manifest.get("sha256"))
    if known is not None and known != file_sha256(source):
        notes.insert(0, f"{source.name} was changed since `airlens select` wrote it")
    for note in notes:
        say(note)
    files = _sums(target)
    made = {"format": how, "files": files, "renamed": layout.renamed, "notes": notes}
    made |= {"sha256": files[target.name]} if target.name in files else {}
    _write_manifest(target, {**_without_files(manifest), "from": source.name, **made})
    return count


def _without_files(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A selection's manifest, but for what is about its own files."""
    return {k: v for k, v in manifest.items() if k not in ("files", "sha256", "types", "weights")}


def _sums(target: Path) -> dict[str, str]:
    """Checksums of a file, or of the files in a folder."""
    if target.is_file():
        return {target.name: file_sha256(target)}
    files = sorted(path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target.parent).as_posix(): file_sha256(path) for path in files}


def _rows(source: Path, layout: Layout, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    for line in _read(source):
        row = layout.row(line)
        yield row if columns is None else {name: row[name] for name in columns if name in row}


def _check_columns(columns: list[str], layout: Layout, lines: Iterable[Mapping[str, Any]]) -> None:
    names = dict.fromkeys(name for line in lines for name in layout.row(line))
    missing = [name for name in columns if name not in names]
    if missing:
        raise ConfigError(f"no column {missing[0]!r}; there are: {', '.join(names)}")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a selection."""
    if not path.exists():
        raise DataError("no such file; `airlens select` writes one", file=str(path))
    if format_of(path) not in (".jsonl", ".ndjson"):
        raise DataError("no selection: `airlens select` writes *.jsonl", file=str(path))
    for item in read_file(path):
        if isinstance(item, Rejected):
            raise item.error
        if "response" not in item.data:
            reason = "no text here; score with texts, then select again"
            raise DataError(reason, file=str(path), line=item.line, field="response")
        yield {"prompt": "", **item.data}


def _manifest_of(selected: Path) -> dict[str, Any]:
    path = manifest_path(selected)
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"not the manifest of a selection ({error})", file=str(path)) from error


def _types_of(manifest: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """The Arrow types of the source's columns, where it had types."""
    if "types" not in manifest:
        return {}
    schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(manifest["types"])))
    return {field.name: field.type for field in schema}


def _weights_of(selected: Path, manifest: Mapping[str, Any]) -> dict[str, list[float]]:
    """Weights of the steps by id, where the call that wrote the selection wrote weights."""
    if "weights" not in manifest:
        return {}
    path = selected.with_name(PureWindowsPath(str(manifest["weights"])).name)  # of any system
    known = manifest.get("files", {}).get(path.name)
    if not path.is_file() or (known is not None and known != file_sha256(path)):
        state = "changed since" if path.is_file() else "not there any more, but"
        raise DataError(
            f"{state} `airlens select --weights` wrote it; select again", file=str(path)
        )
    table = read_table(path).sort_values(["id", "step"])
    return {str(name): rows["weight"].tolist() for name, rows in table.groupby("id")}
