"""The tables of the page "Data sets": what airlens reads of a record of each data set it knows."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import airlens as al
from airlens.traces import drafts
from airlens.traces.columns import ANSWERS, DOMAINS
from airlens.traces.compressed_files import SUFFIXES
from airlens.traces.record_files import FORMATS, ZIP

from . import ROOT, write_if_new

# One invented record a data set, in its published columns, and what is to be read of it; the tests
# compare the two.
SETS = ROOT / "data" / "data_sets.json"
HEAD = "| data set | columns | prompt | response | more |\n| :-- | :-- | :-- | :-- | :-- |\n"


def table() -> str:
    """One row a data set."""
    logging.getLogger("airlens.traces").setLevel(logging.ERROR)
    rows = [_row(each) for each in json.loads(SETS.read_text(encoding="utf-8"))]
    return HEAD + "".join(rows)


def _row(known: dict[str, Any]) -> str:
    record = known["record"]
    (trace,) = al.load_traces([record])
    columns = trace.reading["columns"]
    further = [
        f"{role} {_names(columns[role])}"
        for role in ("steps", "tools", "answer", "domain", "id")
        if columns.get(role)
    ]
    for role in ("answer", "domain"):
        if getattr(trace, role) and role not in columns and role in record:
            further.append(f"{role} `{role}`")
    if trace.reading.get("ignored"):
        further.append(f"ignored {_names(trace.reading['ignored'], ', ')}")
    further += trace.reading.get("notes", [])
    cells = [
        known["name"],
        _names(record, ", "),
        _names(columns.get("prompt", ())) or "none",
        _names(columns.get("response", ())) or "none",
        "; ".join(further),
    ]
    return "| " + " | ".join(cells) + " |\n"


def _names(names: Iterable[str], between: str = " and ") -> str:
    return between.join(f"`{name}`" for name in names)


def names() -> str:
    """The names by which columns are recognised, in their order."""
    groups = {
        "prompt": drafts.PROMPTS,
        "beside the prompt": drafts.COMPANIONS,
        "system turn": drafts.SYSTEMS,
        "response": (*drafts.RESPONSES, *drafts.WEAK),
        "thought before the response": drafts.THOUGHTS,
        "chat": drafts.CHATS,
        "document": drafts.TEXTS,
        "final answer": ANSWERS,
        "domain": DOMAINS,
    }
    rows = (f"| {role} | {_names(columns, ', ')} |\n" for role, columns in groups.items())
    return "| what | names, the first of which is taken |\n| :-- | :-- |\n" + "".join(rows)


def formats() -> str:
    """The formats and compressions by their suffixes."""
    packed = _names([*SUFFIXES, ZIP], ", ")
    return f"{_names(FORMATS, ', ')}; each also compressed: {packed}.\n"


def write(folder: Path) -> None:
    """Write each table as a part that `data_sets.md` includes."""
    parts = {"data_sets": table(), "column_names": names(), "data_formats": formats()}
    for name, text in parts.items():
        write_if_new(folder / "parts" / f"{name}.md", text)
