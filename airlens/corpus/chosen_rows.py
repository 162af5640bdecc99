"""The rows of a selection, best first: scores and texts, with one part in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.files import writing_to
from airlens.json_lines import json_line, jsonable
from airlens.loss_free import encode
from airlens.selection.select import Selection
from airlens.traces.trace import OWN_FIELDS

from .export_rows import RECORD
from .part_files import PARTS, ROWS
from .row_table import read_row
from .run_folder import RunFolder

# Columns of the samples table that are not scores, or that mean nothing outside the run.
_NO_SCORE = frozenset({"id", "domain", "selected", "fingerprint", RECORD, *OWN_FIELDS})


def with_texts(
    selection: Selection, texts: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One object per chosen sample, best first, joined with its text by id."""
    for row in selection.chosen.to_dict("records"):
        yield _joined(row, texts.get(str(row["id"]), {}))


def _joined(row: Mapping[Any, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    scores = {str(k): jsonable(v) for k, v in row.items() if k not in _NO_SCORE}
    # What JSON lacks becomes null or text here; the record has it as it was.
    known = {k: jsonable(v) for k, v in text.items()}
    return {"id": row["id"], "domain": row.get("domain") or "", **known, **scores}


def chosen_rows(run: RunFolder, selection: Selection) -> Iterator[tuple[int, dict[str, Any]]]:
    """One object per chosen sample with its place, 0 is the best; in the order of the run.

    The columns of ``selection.samples`` are taken from there, the others from the run.

    Raises:
        DataError: a row that was scored has no text.
    """
    chosen = selection.chosen.reset_index(drop=True)
    index = pd.Index(chosen["id"])
    texts = run.iter_table(ROWS) if run.has(ROWS) else None
    for samples in run.iter_table(PARTS):
        rows = None if texts is None else next(texts)
        places = index.get_indexer(pd.Index(samples["id"]))
        mine = np.flatnonzero(places >= 0)
        if not len(mine):
            continue
        own = chosen.iloc[places[mine]].reset_index(drop=True)
        part = samples.iloc[mine].reset_index(drop=True)
        names = list(dict.fromkeys([*part, *own]))
        table = pd.DataFrame({n: own[n] if n in own else part[n] for n in names})
        found = [{}] * len(mine) if rows is None else _texts(rows, part["id"])
        for place, row, text in zip(places[mine], table.to_dict("records"), found, strict=True):
            yield int(place), _joined(row, text)


def _texts(rows: pd.DataFrame, ids: pd.Series) -> Iterator[dict[str, Any]]:
    """The fields of the traces with these ids, and the records that they were read from."""
    places = pd.Index(rows["id"]).get_indexer(pd.Index(ids))
    missing = int((places < 0).sum())
    if missing:
        raise DataError(f"{missing} rows have no text, the first is {min(ids[places < 0])!r}")
    for row in rows.iloc[places].to_dict("records"):
        trace, record = read_row(row)
        same = {trace.prompt: "prompt", trace.response: "response"}
        yield {**trace.to_json(), RECORD: encode(record, same)}


def texts_at(run: RunFolder, ids: Sequence[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """(id, response) of these samples with the place of the id in ``ids``; in the run's order.

    Raises:
        DataError: one of them has no text.
    """
    index, found = pd.Index(ids), 0
    for rows in run.iter_table(ROWS, ["id", "response"]):
        places = index.get_indexer(pd.Index(rows["id"]))
        found += int((places >= 0).sum())
        pairs = zip(rows["id"], rows["response"], strict=True)
        for place, pair in zip(places.tolist(), pairs, strict=True):
            if place >= 0:
                yield place, pair
    if found < len(index):
        raise DataError(f"{len(index) - found} rows have no text", file=run.name)


@contextmanager
def ordered_lines(
    rows: Iterable[tuple[int, Any]], count: int, target: Path
) -> Iterator[Iterator[bytes]]:
    """Rows as JSON lines in the order of their places, by way of a file beside ``target``.

    Args:
        rows: each with its place, which are 0 to ``count`` - 1 in any order.
        count: how many.
        target: what is to be written.

    Raises:
        WriteError: the disk is full or cannot be written to.
    """
    starts, sizes = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        spill = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115
    with spill:
        at = 0
        for place, row in rows:
            line = json_line(row)
            with writing_to(target):
                spill.write(line)
            starts[place], sizes[place] = at, len(line)
            at += len(line)
        with writing_to(target):
            spill.flush()
        yield _lines(spill, starts, sizes)


def _lines(file: IO[bytes], starts: np.ndarray, sizes: np.ndarray) -> Iterator[bytes]:
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        file.seek(start)
        yield file.read(size)
