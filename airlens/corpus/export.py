"""Write selected samples for other tools, with a manifest of how they were chosen."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file, atomic_write_text
from airlens.selection import Selection
from airlens.storage import atomic_dir
from airlens.trace import OWN_FIELDS, upgraded

from .run_folder import RunFolder
from .score_part import ROW_JSON

FORMATS = ("jsonl", "parquet", "datasets")
# Columns of the samples table that are not scores, or that mean nothing outside the run.
_NO_SCORE = ("id", "domain", "selected", "fingerprint")
# Fields of a trace that are not written to other tools' files.
_INTERNAL = frozenset({*OWN_FIELDS} - {"id", "domain", "prompt", "response", "steps"})


def write_selection(
    run: RunFolder, selection: Selection, path: str | Path, note: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the chosen samples as JSON lines, best first, and a manifest; returns the manifest.

    A line has id, domain, prompt, response, steps and meta (where texts were kept) and the scores;
    `airlens.load_traces` reads it. The manifest, ``PATH.manifest.json``, has the ids and everything
    needed to repeat the selection.
    """
    more = {**(note or {}), "run": run.manifest()}
    return write_chosen(records(run, selection), selection, path, more)


def write_chosen(
    lines: Iterable[Mapping[str, Any]], selection: Selection, path: str | Path, note: dict[str, Any]
) -> dict[str, Any]:
    """Write the lines of the chosen samples and, beside them, a manifest, which is returned."""
    target = write_lines(lines, path)
    manifest = {
        "selection": selection.provenance,
        "near_duplicates": 0,
        "chosen": len(selection.ids),
        "of": len(selection.samples),
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "ids": selection.ids,
        **note,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1, default=str)
    atomic_write_text(manifest_path(target), text)
    return manifest


def write_lines(lines: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write objects as JSON lines; the file appears when it is complete."""
    target = Path(path)
    with atomic_file(target) as temporary, temporary.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return target


def kind_of(out: str | Path) -> str:
    """The format of a file name; a name without a suffix is a folder for `datasets`."""
    return {".jsonl": "jsonl", ".parquet": "parquet"}.get(Path(out).suffix, "datasets")


def manifest_path(path: str | Path) -> Path:
    """Path of the manifest of a selection."""
    return Path(f"{path}.manifest.json")


def records(run: RunFolder, selection: Selection) -> Iterator[dict[str, Any]]:
    """One object per chosen sample, best first."""
    texts = chosen_texts(run, set(selection.chosen["id"])) if run.has("rows") else {}
    return with_texts(selection, texts)


def with_texts(
    selection: Selection, texts: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One object per chosen sample, best first, joined with its text by id."""
    for row in selection.chosen.to_dict("records"):
        scores = {str(k): plain(v) for k, v in row.items() if k not in _NO_SCORE}
        text = texts.get(str(row["id"]), {})
        yield {"id": row["id"], "domain": row.get("domain") or "", **text, **scores}


def chosen_texts(run: RunFolder, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Prompt, response, steps and meta of the rows with these ids.

    Raises:
        DataError: a row that was scored has no text.
    """
    found: dict[str, dict[str, Any]] = {}
    for frame in run.iter_table("rows"):
        for row in frame[frame["id"].isin(ids)].to_dict("records"):
            found[str(row["id"])] = _text_record(row)
    missing = ids - set(found)
    if missing:
        raise DataError(f"{len(missing)} rows have no text, the first is {min(missing)!r}")
    return found


def _text_record(row: dict[Any, Any]) -> dict[str, Any]:
    """The fields of the trace that a row of the table of texts describes."""
    response = str(row["response"])
    steps = [
        {"text": response[start:stop], "start": start, "end": stop, "label": label}
        for start, stop, label in json.loads(row["steps"])
    ]
    made = {"prompt": row["prompt"], "response": response, "steps": steps}
    made |= {name: json.loads(row[name]) for name in ROW_JSON if name in row}
    if "reading" not in row:  # a run of airlens 0.1
        return upgraded(made)
    made |= {"thinking": int(row["thinking"]), "answer": row["answer"]}
    return {name: made[name] for name in OWN_FIELDS if name in made}


def plain(value: Any) -> Any:
    """A value as JSON can express it; NaN and infinity become null."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA else value


def export(
    selected: str | Path,
    out: str | Path,
    *,
    kind: str = "jsonl",
    messages: bool = False,
    columns: list[str] | None = None,
) -> int:
    """Turn a selection into a file or folder that trainers read; returns the number of samples.

    Args:
        selected: what `write_selection` (``airlens select``) wrote.
        out: a file, for ``datasets`` a folder; its manifest goes beside it.
        kind: ``jsonl``, ``parquet`` or ``datasets`` (a folder for ``datasets.load_from_disk``).
        messages: prompt and response as one column ``messages``, the chat format of TRL.
        columns: the columns to write; default: all, without the steps where ``messages`` is set.

    Columns of the source that airlens did not use get their own names back. Step weights, where
    ``airlens select --weights`` wrote them, become the column ``step_weights``.

    Raises:
        ConfigError: an unknown format or column.
        DataError: not a selection, or one without texts.
    """
    if kind not in FORMATS:
        raise ConfigError(f"format {kind!r}: use {', '.join(FORMATS)}")
    rows = list(_read(Path(selected)))
    weights = _weights_of(Path(selected))
    made = [_exported(row, weights, messages) for row in rows]
    if columns is not None:
        made = [_only(row, columns) for row in made]
    target = Path(out)
    if kind == "jsonl":
        write_lines(made, target)
    else:
        _write_table(made, target, kind)
    source = manifest_path(selected)
    if source.exists():
        atomic_write_text(manifest_path(target), source.read_text(encoding="utf-8"))
    return len(made)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError("no such file; `airlens select` writes one", file=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"no selection ({error})", file=str(path)) from error
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", file=str(path), line=number) from error
        if not isinstance(row, dict) or "response" not in row:
            reason = "no text here; score with texts, then select again"
            raise DataError(reason, file=str(path), line=number, field="response")
        yield row


def _weights_of(selected: Path) -> dict[str, list[float]]:
    path = selected.with_suffix(".weights.parquet")
    if not path.exists():
        return {}
    table = pd.read_parquet(path).sort_values(["id", "step"])
    return {str(name): rows["weight"].tolist() for name, rows in table.groupby("id")}


def _exported(
    row: dict[str, Any], weights: dict[str, list[float]], messages: bool
) -> dict[str, Any]:
    made = {name: value for name, value in row.items() if name not in _INTERNAL}
    for name, value in (row.get("meta") or {}).items():
        made.setdefault(str(name), value)
    if row["id"] in weights:
        made["step_weights"] = weights[row["id"]]
    if messages:
        turns = [{"role": "user", "content": made.pop("prompt")}] if row.get("prompt") else []
        made.pop("prompt", None)
        made["messages"] = [*turns, {"role": "assistant", "content": made.pop("response")}]
        made.pop("steps", None)
    return made


def _only(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    missing = [name for name in columns if name not in row]
    if missing:
        raise ConfigError(f"no column {missing[0]!r}; there are: {', '.join(row)}")
    return {name: row[name] for name in columns}


def _write_table(rows: list[dict[str, Any]], target: Path, kind: str) -> None:
    import datasets

    table = datasets.Dataset.from_list(rows)
    if kind == "parquet":
        with atomic_file(target) as temporary:
            table.to_parquet(str(temporary))
        return
    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder")
    with atomic_dir(target) as temporary:
        table.save_to_disk(str(temporary))
