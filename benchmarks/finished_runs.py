"""Finished run folders of any size, without a model: what `airlens score` would have written.

Ids, texts of reasoning and scores are made up; scores are correlated as real ones are (AIS falls
with the base loss), so that a selection has something to choose.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airlens.corpus.book import row_name
from airlens.corpus.part_files import Part
from airlens.corpus.row_table import row_table
from airlens.corpus.rows import Row
from airlens.corpus.run import PART_ROWS
from airlens.corpus.run_folder import FORMAT, RunFolder
from airlens.traces.step import Step
from airlens.traces.trace import Trace

KEY = "0123456789abcdef"
DOMAINS = ("algebra", "geometry", "number theory", "code", "logic")
STEPS = 4
TEXT = (
    "so then we have that the sum of both sides is equal to twice this value which we know from"
    " above hence it holds for all n because each term divides the next one and nothing is left"
    " let me check with a small case first wait that does not fit again from the start if x is even"
)
WORDS = TEXT.split()


def write_finished_run(folder: Path, rows: int, seed: int = 0) -> RunFolder:
    """A folder with ``rows`` scored rows, unless it is there."""
    run = RunFolder(folder)
    if run.manifest().get("done") == rows:
        return run
    rng = np.random.default_rng(seed)
    texts = [_texts(rng) for _ in range(500)]
    with run.lock():
        for number, first in enumerate(range(0, rows, PART_ROWS)):
            names = [f"row-{i:08d}" for i in range(first, min(rows, first + PART_ROWS))]
            run.write_part(number, _part(names, texts, rng))
        run.write_types(pa.schema([("id", pa.string()), ("domain", pa.string())]))
        run.write_manifest(_manifest(rows))
        run.finish(1, {}, 0)
    return run


def _manifest(rows: int) -> dict[str, Any]:
    identity = {"heads": ["L0H1", "L2H3"], "mode": "uniform", "long": "stride"}
    facts = {"format": FORMAT, "attempt": 1, "state": "done", "rejects": 0, "identity": identity}
    return {**facts, "rows": rows, "done": rows, "fingerprint": KEY, "provenance": {}}


def _part(names: list[str], texts: list[list[str]], rng: np.random.Generator) -> Part:
    picked = [texts[i] for i in rng.integers(len(texts), size=len(names))]
    rows = [_row(name, text, rng) for name, text in zip(names, picked, strict=True)]
    steps = _steps(rows, rng)
    samples = steps.groupby("id", sort=False).mean(numeric_only=True).reset_index()
    samples = samples.drop(columns=["step"]).assign(
        domain=[row.trace.domain for row in rows],
        n_tokens=steps.groupby("id", sort=False)["n_tokens"].sum().to_numpy(),
        n_prompt_tokens=20,
        n_left_out=0,
        n_steps=STEPS,
        below_floor=False,
        n_chars=[len(row.trace.response) for row in rows],
        fingerprint=KEY,
    )
    keys = (hashlib.sha256(name.encode()).hexdigest()[:16] for name in names)
    tables = {"parts": samples, "rows": row_table(rows), "steps": steps}
    return Part(KEY, tables, tuple(map(row_name, names, keys)))


def _row(name: str, texts: list[str], rng: np.random.Generator) -> Row:
    cut: list[Step] = []
    start = 0
    for text in texts:
        cut.append(Step(text, start, start + len(text)))
        start += len(text)
    domain, response = DOMAINS[int(rng.integers(len(DOMAINS)))], "".join(texts)
    trace = Trace(name, f"What is {name}?", response, domain, steps=tuple(cut))
    record = {"id": name, "domain": domain, "prompt": trace.prompt, "response": response}
    return Row(trace, "data.jsonl", int(name[4:]) + 1, record)


def _texts(rng: np.random.Generator) -> list[str]:
    sizes = rng.integers(10, 40, size=STEPS)
    return [" ".join(WORDS[i] for i in rng.integers(len(WORDS), size=n)) + ".\n" for n in sizes]


def _steps(rows: list[Row], rng: np.random.Generator) -> pd.DataFrame:
    n = len(rows) * STEPS
    base, delta, control = (rng.gamma(*shape, n) for shape in ((4, 0.2), (2, 0.05), (2, 0.01)))
    texts = [step.text for row in rows for step in row.trace.steps]
    return pd.DataFrame(
        {
            "id": np.repeat([row.trace.id for row in rows], STEPS),
            "domain": np.repeat([row.trace.domain for row in rows], STEPS),
            "step": np.tile(range(STEPS), len(rows)),
            "label": None,
            "text": texts,
            "n_tokens": [text.count(" ") + 1 for text in texts],
            "loss_base": base,
            "loss_ref": base + delta,
            "delta": delta,
            "ais": delta / base,
            "entropy": base * rng.uniform(0.9, 1.1, n),
            "loss_control": base + control,
            "delta_control": control,
            "ais_control": control / base,
            "ais_control_std": 0.0,
            "below_floor": False,
        }
    )
