"""D1 to D8 and G3 by many random runs: originals come back, every row is there once.

The scores are not a model's, but numbers of the text, so that thousands of rows cost nothing.
"""

from __future__ import annotations

import datetime as dt
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from airlens.corpus import Corpus, part_files, run_folder
from airlens.corpus.export import export, write_selection
from airlens.corpus.export_rows import equal
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.corpus.score_part import PartScorer
from airlens.errors import AirlensError
from airlens.selection.select import select
from airlens.step_influence.influence import (
    CONTROL_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    TOKEN_COLUMNS,
    Influence,
)
from airlens.traces.trace import Trace
from tests.cases.corpus_kit import files, lines


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


def number(trace: Trace) -> float:
    return float(sum(map(ord, trace.prompt + trace.response)) % 9973)


def made_up(scorer: Any, traces: list[Trace], budget: int | None) -> Influence:
    """An influence whose numbers are those of the texts."""
    samples, steps, tokens = [], [], []
    for trace in traces:
        value = number(trace)
        row = dict.fromkeys(SAMPLE_COLUMNS, value)
        row |= {"id": trace.id, "domain": trace.domain, "n_tokens": len(trace.response)}
        row |= {"n_prompt_tokens": 1, "n_left_out": 0, "n_steps": 1, "below_floor": False}
        samples.append(row)
        for place, step in enumerate(trace.whole_steps()):
            known = {"id": trace.id, "domain": trace.domain, "step": place, "label": step.label}
            row = {**dict.fromkeys(STEP_COLUMNS, value), **known, "text": step.text}
            steps.append({**row, "n_tokens": 1, "below_floor": False})
        cells = {**dict.fromkeys(TOKEN_COLUMNS, value), "id": trace.id, "token": trace.response}
        tokens.append({**cells, **dict.fromkeys(("step", "pos", "token_id", "start", "end"), 0)})
    return Influence(
        pd.DataFrame(tokens, columns=TOKEN_COLUMNS),
        pd.DataFrame(steps, columns=STEP_COLUMNS),
        pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        pd.DataFrame(columns=CONTROL_COLUMNS),
    )


def score(model: Any, source: Any, out: Path, *tables: str, part_rows: int = 4) -> Any:
    corpus = Corpus(source)
    with patch.object(PartScorer, "_influence", made_up):
        return score_corpus(
            model,
            corpus,
            "L0H1",
            out,
            tables=tables or ("rows", "steps"),
            part_rows=part_rows,
            max_rejects=1.0,
            progress=False,
        )


# --- originals


OURS = ["id", "domain", "steps", "entropy", "n_tokens", "selector", "ais", "meta", "record"]
OURS += ["step_weights", "airlens_ais", "rank_in_group", "messages", "tools", "fingerprint", "$"]
NAMES = st.sampled_from(OURS) | st.text("abcdef", min_size=1, max_size=3)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
RECORDS = st.lists(
    st.tuples(TEXTS, TEXTS, st.dictionaries(NAMES, JSON, max_size=5), st.randoms()),
    min_size=1,
    max_size=6,
)


def shuffled(prompt: str, response: str, others: dict[str, Any], order: Any) -> dict[str, Any]:
    items = [("prompt", prompt), ("response", response), *others.items()]
    order.shuffle(items)
    return dict(items)


@settings(max_examples=20)
@given(RECORDS)
def test_d5_records_come_back_in_order_and_type(model: Any, drawn: Any) -> None:
    records = [shuffled(*item) for item in drawn]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            result = score(model, records, folder / "out")
            chosen = select(result.samples, "length", 1.0, within=None)
        except AirlensError:
            return  # nothing in it can be scored
        write_selection(result.folder, chosen, folder / "s.jsonl")
        export(folder / "s.jsonl", folder / "x.jsonl")
        places = result.folder.read("rows").set_index("id")["line"]
        found = dict(zip(chosen.ids, lines(folder / "x.jsonl"), strict=True))
    for name_, row in found.items():
        source = records[int(places[name_]) - 1]
        assert list(row)[: len(source)] == list(source)
        assert all(equal(row[key], source[key]) for key in source)


TYPES: dict[Any, Any] = {
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(codec="utf-8"), max_size=4),
    pa.binary(): st.binary(max_size=4),
    pa.decimal128(9, 2): st.integers(-(10**8), 10**8).map(lambda n: Decimal(n).scaleb(-2)),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("ns"): st.integers(-(2**62), 2**62),
    pa.timestamp("ms", "UTC"): st.integers(0, 2**40),
    pa.duration("ns"): st.integers(-(2**60), 2**60),
    pa.time64("us"): st.times(),
    pa.list_(pa.int16()): st.lists(st.none() | st.integers(-9, 9), max_size=2),
    pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))]): st.fixed_dictionaries(
        {"a": st.none() | st.integers(0, 9), "b": st.none() | st.lists(st.text("xy"), max_size=2)}
    ),
}


@st.composite
def tables(draw: Any) -> pa.Table:
    n = draw(st.integers(1, 5))
    names = draw(st.lists(NAMES.filter(lambda x: x != "messages"), max_size=4, unique=True))
    columns: list[tuple[str, pa.Array]] = [
        ("prompt", pa.array([f"p{i}" for i in range(n)])),
        ("response", pa.array([f"r {i}." for i in range(n)], pa.large_string())),
    ]
    for name in names:
        kind = draw(st.sampled_from(sorted(TYPES, key=str)))
        values = draw(st.lists(st.none() | TYPES[kind], min_size=n, max_size=n))
        columns.append((name, pa.array(values, kind)))
    draw(st.randoms()).shuffle(columns)
    return pa.table(dict(columns))


@settings(max_examples=20)
@given(tables())
def test_d5_tables_come_back_in_order_and_type(model: Any, table: pa.Table) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "d.parquet")
        try:
            result = score(model, folder / "d.parquet", folder / "out")
        except AirlensError:
            return
        chosen = select(result.samples, "length", 1.0, within=None)
        write_selection(result.folder, chosen, folder / "s.jsonl")
        export(folder / "s.jsonl", folder / "x.parquet")
        places = result.folder.read("rows").set_index("id")["line"]
        found = pq.read_table(folder / "x.parquet")
        source = pq.read_table(folder / "d.parquet")
    wanted = source.take([int(places[each]) - 1 for each in chosen.ids])
    assert found.column_names[: wanted.num_columns] == wanted.column_names
    for name_ in wanted.column_names:
        assert found.schema.field(name_).type == wanted.schema.field(name_).type, name_
        pairs = zip(found.column(name_), wanted.column(name_), strict=True)
        assert all(equal(a.as_py(), b.as_py()) for a, b in pairs), name_


# --- interrupts, changes


class Killed(BaseException):
    """The process ended here."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """End at the so-many-th write of a table or marker: before it, after it, or half-way."""
    count = 0
    write, place, mark = part_files.write_table, part_files.put_table, run_folder.write_marker

    def counted(original: Any) -> Any:
        def call(first: Any, *args: Any) -> None:
            nonlocal count
            count += 1
            if count == step and step % 3 == 0:
                if isinstance(first, Path) and first.suffix:
                    first.parent.mkdir(parents=True, exist_ok=True)
                    (first.parent / f".{first.name.lstrip('.')}.half.parquet").write_bytes(b"half")
                raise Killed
            original(first, *args)
            if count == step:
                raise Killed

        return call

    with (
        patch.object(part_files, "write_table", counted(write)),
        patch.object(part_files, "put_table", counted(place)),
        patch.object(run_folder, "write_marker", counted(mark)),
    ):
        yield


def corpus(n: int) -> list[dict[str, Any]]:
    day = dt.datetime(2024, 1, 1)
    return [{"id": f"r{i:02}", "text": f"text {i} " * (1 + i % 3), "when": day} for i in range(n)]


@settings(max_examples=15)
@given(
    st.integers(1, 23),
    st.lists(st.integers(1, 50), max_size=5),
    st.sampled_from([(), ("rows", "steps", "tokens")]),
)
def test_g3_killed_anywhere_every_row_is_there_once(
    model: Any, n: int, kills: list[int], wanted: tuple[str, ...]
) -> None:
    rows = corpus(n)
    with tempfile.TemporaryDirectory() as name:
        whole = score(model, rows, Path(name) / "whole", *wanted)
        out = Path(name) / "out"
        for step in kills:
            try:
                with killed_at(step):
                    score(model, rows, out, *wanted)
            except Killed:
                pass
        score(model, rows, out, *wanted)
        assert files(out) == files(whole.folder.path)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_d1_whatever_happened_to_the_data_its_rows_are_what_is_handed_out(
    model: Any, seed: int, changes: int
) -> None:
    chance = random.Random(seed)
    rows = corpus(chance.randint(1, 20))
    wanted = ("rows", "steps")
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        for _ in range(changes):
            for row in chance.sample(rows, chance.randint(0, len(rows))):
                row["text"] = f"{row['text']}{chance.randint(0, 3)} "
            rows = chance.sample(rows, chance.randint(max(1, len(rows) - 2), len(rows)))
            rows += [{"id": f"n{chance.randint(0, 999)}", "text": "new"}]
            rows = list({row["id"]: dict(row) for row in rows}.values())
            wanted = chance.choice([wanted, ("rows", "steps", "tokens"), ("steps",)])
            try:
                with killed_at(chance.randint(1, 40)):
                    score(model, rows, out, *wanted, part_rows=chance.choice([2, 4, 7]))
            except Killed:
                pass
            if chance.random() < 0.3:  # a byte of something flips
                path = chance.choice(sorted(out.rglob("part-*.parquet")) or [None])
                if path is not None:
                    content = bytearray(path.read_bytes())
                    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
                    path.write_bytes(bytes(content))
        wanted = ("rows", "steps", "tokens")
        score(model, rows, out, *wanted)
        run = RunFolder(out)
        frames = {table: run.read(table) for table in ("parts", *wanted)}
    texts = {row["id"]: row["text"] for row in rows}
    for table, column in (("rows", "response"), ("steps", "text"), ("tokens", "token")):
        found = dict(zip(frames[table]["id"], frames[table][column], strict=True))
        assert found == texts and len(frames[table]) == len(texts)
    scores = dict(zip(frames["parts"]["id"], frames["parts"]["ais"], strict=True))
    numbers = {key: number(Trace(key, "", text)) for key, text in texts.items()}
    assert scores == numbers
    assert run.current().notes == () or "changed or removed" in run.current().notes[0]
    assert np.isfinite(frames["parts"]["loss_base"]).all()
