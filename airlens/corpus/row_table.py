"""The table of texts: each trace and the record that it was read from, loss-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from airlens.loss_free import dumps, loads
from airlens.traces.step import Step
from airlens.traces.trace import Trace

from .rows import Row

# Fields of a trace that are kept as JSON, beside its steps.
ROW_JSON = ("meta", "turns", "tools", "step_meta", "reading")


def row_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Each trace and the record that it was read from, loss-free, and where it was read.

    Texts that stand in the record as they are in the trace are written once.
    """
    records = []
    for row in rows:
        trace = row.trace
        steps = [[step.start, step.end, step.label] for step in trace.steps]
        same = {trace.prompt: "prompt", trace.response: "response"}
        records.append(
            {
                "id": trace.id,
                "domain": trace.domain,
                "prompt": trace.prompt,
                "response": trace.response,
                "steps": dumps(steps),
                **{name: dumps(getattr(trace, name), same) for name in ROW_JSON},
                "thinking": trace.thinking,
                "answer": trace.answer,
                "record": dumps(dict(row.record), same),
                "file": row.file,
                "line": row.line if row.line is not None else -1,
            }
        )
    columns = ["id", "domain", "prompt", "response", "steps", *ROW_JSON, "thinking", "answer"]
    return pd.DataFrame(records, columns=[*columns, "record", "file", "line"])


def read_row(row: Mapping[Any, Any]) -> tuple[Trace, dict[str, Any]]:
    """The trace and the record of a row of `row_table`."""
    response = str(row["response"])
    texts = {"prompt": str(row["prompt"]), "response": response}
    steps = tuple(Step(response[a:b], a, b, label) for a, b, label in loads(row["steps"]))
    fields: dict[str, Any] = {name: loads(row[name], texts) for name in ROW_JSON}
    fields |= {"thinking": int(row["thinking"]), "answer": str(row["answer"]), "steps": steps}
    trace = Trace(str(row["id"]), texts["prompt"], response, str(row["domain"]), **fields)
    return trace, loads(row["record"], texts)
