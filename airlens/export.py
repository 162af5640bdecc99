"""Write selected samples for other tools, with everything that says how they were chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .cache import atomic_file
from .errors import DataError
from .parts import RunFolder
from .selection import Selection

# Columns of the samples table that are no score.
_SAMPLE = ("id", "domain")


def write_selection(run: RunFolder, selection: Selection, path: str | Path) -> Path:
    """Write the chosen samples as JSON lines, best first, texts with them where they were kept.

    A line has id, domain, prompt, response, steps, and under ``meta`` the other columns of the row
    and ``scores``; `airlens.load_traces` reads it.
    """
    return write_lines(records(run, selection), path)


def write_lines(lines: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Write objects as JSON lines; the file appears when it is complete."""
    target = Path(path)
    with atomic_file(target) as temporary, temporary.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return target


def records(run: RunFolder, selection: Selection) -> Iterator[dict[str, Any]]:
    """One object a chosen sample, best first."""
    texts = chosen_texts(run, set(selection.chosen["id"])) if run.has("rows") else {}
    return with_texts(selection, texts)


def with_texts(
    selection: Selection, texts: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One object a chosen sample, best first, with what is known of its text by id."""
    for row in selection.chosen.to_dict("records"):
        record: dict[str, Any] = {"id": row["id"], "domain": row.get("domain") or ""}
        text = texts.get(str(row["id"]), {})
        scores = {
            str(k): _plain(v)
            for k, v in row.items()
            if k not in (*_SAMPLE, "selected", "fingerprint")
        }
        yield {**record, **text, **scores}


def chosen_texts(run: RunFolder, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Prompt, response, steps and meta of the rows with these ids.

    Raises:
        DataError: a row that was scored has no text.
    """
    found: dict[str, dict[str, Any]] = {}
    for frame in run.iter_table("rows"):
        for row in frame[frame["id"].isin(ids)].to_dict("records"):
            found[str(row["id"])] = text_record(row)
    missing = ids - set(found)
    if missing:
        raise DataError(f"{len(missing)} rows have no text, the first is {min(missing)!r}")
    return found


def text_record(row: dict[Any, Any]) -> dict[str, Any]:
    """Prompt, response, steps (text, label) and meta as they came."""
    response = str(row["response"])
    steps = [
        {"text": response[start:stop], "start": start, "end": stop, "label": label}
        for start, stop, label in json.loads(row["steps"])
    ]
    meta = json.loads(row["meta"])
    return {"prompt": row["prompt"], "response": response, "steps": steps, "meta": meta}


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value is pd.NA else value
