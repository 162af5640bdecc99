"""Columns asked for or left alone, kinds of sources, splits of folders, bytes, separated values."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import logging
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from airlens import load_traces
from airlens.errors import ConfigError, DataError
from airlens.traces.write_traces import save_traces

Q, A = "How many?", "It is 12."
USER, ASSISTANT = {"role": "user", "content": Q}, {"role": "assistant", "content": A}
RECORDS = [{"prompt": Q, "response": A}, {"prompt": "Why?", "response": "So it is."}]
PAIRS = [(record["prompt"], record["response"]) for record in RECORDS]


def pairs(source: Any, **options: Any) -> list[tuple[str, str]]:
    return [(trace.prompt, trace.response) for trace in load_traces(source, **options)]


def lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


# --- B1 to B6: chats


def test_b1_a_users_column_called_as_ours_used_to_be_is_only_theirs() -> None:
    record = {"prompt": Q, "response": A, "messages": 3, "unaligned": "x", "attempt_start": 1}
    (trace,) = load_traces([record])
    assert trace.meta == {"messages": 3, "unaligned": "x", "attempt_start": 1}
    assert (trace.turns, trace.thinking) == ((), 0)


@pytest.mark.parametrize("name", ["thinking", "reasoning_content", "reasoning", "thoughts"])
def test_b2_a_thought_beside_the_content_is_part_of_the_trace(name: str) -> None:
    (trace,) = load_traces([{"messages": [USER, {**ASSISTANT, name: "Let me see.\n"}]}])
    assert trace.response == f"Let me see.\n\n{A}"
    assert trace.response[: trace.thinking] == "Let me see."
    (trace,) = load_traces([{"prompt": Q, name: "Let me see.", "response": A}])
    assert (trace.response, trace.thinking) == (f"Let me see.\n\n{A}", 11)


def test_b2_a_thought_that_the_content_has_already_is_not_doubled() -> None:
    text = f"<think>\nLet me see.\n</think>\n\n{A}"
    (trace,) = load_traces(
        [{"messages": [USER, {**ASSISTANT, "content": text, "thinking": "Let me see."}]}]
    )
    assert (trace.response, trace.thinking) == (text, 0)


def test_b2_a_thought_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": "Let me see."}, {"type": "text", "text": A}]
    (trace,) = load_traces([{"messages": [USER, {"role": "assistant", "content": parts}]}])
    assert (trace.response, trace.thinking) == (f"Let me see.\n\n{A}", 11)


def test_b2_earlier_thoughts_stay_where_the_template_finds_them() -> None:
    turns = [USER, {**ASSISTANT, "thinking": "T"}, {"role": "user", "content": "And?"}, ASSISTANT]
    (trace,) = load_traces([{"messages": turns}])
    assert trace.turns[1] == {**ASSISTANT, "reasoning_content": "T"}


@pytest.mark.parametrize("options", [{}, {"messages": "conversations"}, {"system": "system"}])
def test_b3_a_system_column_is_the_first_turn(options: dict[str, str]) -> None:
    turns = [{"from": "user", "value": Q}, {"from": "assistant", "value": A}]
    (trace,) = load_traces([{"system": "Be brief.", "conversations": turns}], **options)
    assert trace.turns == ({"role": "system", "content": "Be brief."}, USER)
    (trace,) = load_traces([{"system": "Be brief.", "conversations": turns}], system="none")
    assert trace.turns == (USER,)
    (trace,) = load_traces(
        [{"sys": "Be brief.", "q": Q, "a": A}], prompt="q", response="a", system="sys"
    )
    assert trace.turns == ({"role": "system", "content": "Be brief."}, USER)
    (trace,) = load_traces([{"system": None, "conversations": turns}])
    assert trace.turns == (USER,)


def test_b3_a_system_turn_that_is_there_already_is_not_doubled() -> None:
    system = {"role": "system", "content": "Be brief."}
    (trace,) = load_traces([{"system": "Be brief.", "messages": [system, USER, ASSISTANT]}])
    assert trace.turns == (system, USER)


def test_b6_alpaca_with_history_and_system() -> None:
    record = {"instruction": Q, "input": "", "output": A, "system": "S", "history": [["a", "b"]]}
    (trace,) = load_traces([record])
    roles = [(turn["role"], turn["content"]) for turn in trace.turns]
    assert roles == [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", Q)]


def test_b6_a_call_as_the_scored_turn() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    (trace,) = load_traces(
        [{"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]}]
    )
    assert trace.response == '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert trace.reading["tool_calls"] == [call]
    assert "tool calls" in next(
        iter(load_traces([{"messages": [USER, {**ASSISTANT, "tool_calls": [call]}]}]).reading)
    )


def test_b6_a_preference_beside_its_chat() -> None:
    asked = {"conversations": [{"from": "human", "value": Q}]}
    answers = {"chosen": {"from": "gpt", "value": A}, "rejected": {"from": "gpt", "value": "No."}}
    (trace,) = load_traces([{**asked, **answers}])
    assert (trace.turns, trace.response) == ((USER,), A)


def test_b6_the_older_form_of_calls() -> None:
    call = {"name": "add", "arguments": '{"a": 1}'}
    turns = [USER, {"role": "assistant", "content": None, "function_call": call}]
    turns += [{"role": "function", "name": "add", "content": "12"}, ASSISTANT]
    (trace,) = load_traces([{"messages": turns, "functions": [{"name": "add"}]}])
    function = {"name": "add", "arguments": {"a": 1}}
    assert trace.turns[1]["tool_calls"] == [{"type": "function", "function": function}]
    assert trace.turns[2] == {"role": "tool", "name": "add", "content": "12"}
    assert trace.tools == ({"name": "add"},)


def test_b6_parts_as_gemini_writes_them() -> None:
    turns = [
        {"role": role, "parts": [{"text": text}]} for role, text in (("user", Q), ("model", A))
    ]
    assert pairs([{"contents": turns}]) == [(Q, A)]


def test_b4_an_input_that_the_instruction_names_is_not_lost() -> None:
    record = {"instruction": "Add 3 to the number.", "input": "3", "output": "6"}
    assert pairs([record]) == [("Add 3 to the number.\n\n3", "6")]
    whole = {"prompt": "Hens lay. How many?", "context": "Hens lay.", "response": A}
    assert pairs([whole]) == [("Hens lay. How many?", A)]
    assert pairs([{"question": Q, "context": ["a", "b"], "answer": A}]) == [(f"a\n\nb\n\n{Q}", A)]


def test_b6_a_part_that_is_no_text_is_refused_by_name() -> None:
    parts = [{"type": "image_url", "image_url": "x"}, {"type": "text", "text": Q}]
    with pytest.raises(DataError, match=r"message 0: a part of type 'image_url'") as caught:
        load_traces([{"messages": [{"role": "user", "content": parts}, ASSISTANT]}])
    assert caught.value.field == "messages"


def test_b6_a_message_instead_of_a_chat() -> None:
    with pytest.raises(DataError, match=r"a message of a chat"):
        load_traces([USER, ASSISTANT])


# --- B7: steps


def test_b7_labels_of_any_type_are_kept() -> None:
    steps = [{"text": "One.", "label": 1}, {"text": "Two.", "label": -1}, {"text": "Three."}]
    (trace,) = load_traces([{"problem": Q, "steps": steps}])
    assert trace.response == "One.\n\nTwo.\n\nThree."
    assert [step.label for step in trace.steps] == ["1", "-1", None]
    assert [known.get("label") for known in trace.step_meta] == [1, -1, None]


def test_b7_labels_in_a_column_of_their_own() -> None:
    record = {
        "prompt": Q,
        "response": "a b c",
        "steps": ["a", "b", "c"],
        "labels": [True, None, 0.5],
    }
    (trace,) = load_traces([record])
    assert [step.label for step in trace.steps] == ["true", None, "0.5"]
    assert [known.get("label") for known in trace.step_meta] == [True, None, 0.5]


def test_b7_the_human_completion_stands_in_for_none_chosen() -> None:
    def step(chosen: int | None, human: Any) -> dict[str, Any]:
        texts = [{"text": "machine", "rating": -1}]
        return {"completions": texts, "chosen_completion": chosen, "human_completion": human}

    steps = [step(None, {"text": "human", "rating": 1}), step(None, None)]
    record = {"question": {"problem": Q}, "label": {"steps": steps}}
    (trace,) = load_traces([record])
    assert trace.response == "human\nmachine"
    assert [step.label for step in trace.steps] == ["1", "-1"]


# --- B8, B11: what is asked for, and what nobody asked for


@pytest.mark.parametrize(
    "odd", [3, 1.5, True, [], ["x", 3], {"a": 1}, [{"a": 1}], [3], None, "", {"$oid": "1"}]
)
@pytest.mark.parametrize(
    "name",
    ["source", "domain", "steps", "id", "answer", "system", "tools", "thinking", "meta", "labels"],
)
def test_b8_a_column_of_an_odd_type_that_nobody_asked_for(name: str, odd: object) -> None:
    traces = load_traces([{"prompt": Q, "response": A, name: odd}])
    assert pairs([{"prompt": Q, "response": A, name: odd}]) == [(Q, A)]
    assert "".join(step.text for step in traces[0].steps) == A


@pytest.mark.parametrize("name", ["output", "generation", "samples", "target", "completion"])
def test_b8_a_number_is_no_response(name: str) -> None:
    assert pairs([{"prompt": Q, name: 7, "solution": A}]) == [(Q, A)]


@pytest.mark.parametrize("none", ["", "none"])
def test_b11_no_prompt_asked_for_is_no_prompt(none: str) -> None:
    for record in (
        {"prompt": Q, "response": A},
        {"messages": [USER, ASSISTANT]},
        {"question": Q, "answer": A},
        {"instruction": Q, "input": "x", "output": A, "system": "S"},
        {"prompt": Q, "text": A},
        {"response": A},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"chosen": f"\n\nHuman: {Q}\n\nAssistant: {A}", "rejected": "x"},
        {"question": Q, "deepseek_thinking_trajectory": A},
    ):
        (trace,) = load_traces([record], prompt=none)
        assert (trace.prompt, trace.turns, trace.response) == ("", (), A)
        assert trace.as_document().response == A
    (trace,) = load_traces([{"prompt": Q, "response": A}], prompt=none, response="response")
    assert (trace.prompt, trace.response) == ("", A)
    (trace,) = load_traces([load_traces(RECORDS)[0]], prompt=none)
    assert (trace.prompt, trace.response) == ("", A)


def test_b11_none_for_the_other_columns() -> None:
    record = {
        "id": "x",
        "domain": "math",
        "prompt": Q,
        "thinking": "T",
        "response": A,
        "steps": ["It is", "12."],
        "answer": "12",
    }
    names = ("id", "domain", "thinking", "steps", "answer")
    (trace,) = load_traces([record], **dict.fromkeys(names, "none"))  # type: ignore[arg-type]
    assert (trace.domain, trace.thinking, trace.answer, len(trace.steps)) == ("", 0, "", 1)
    assert len(trace.id) == 16
    assert {"id", "domain", "thinking", "answer"} <= set(trace.meta)
    chat = {"messages": [USER, ASSISTANT], "text": "A document."}
    (trace,) = load_traces([chat], messages="none")
    assert trace.response == "A document."


def test_b_a_table_of_several_data_sets_has_nulls_in_the_columns_of_the_others() -> None:
    columns = ("prompt", "response", "messages", "text")
    rows = [{"prompt": Q, "response": A}, {"messages": [USER, ASSISTANT]}, {"text": "A document."}]
    filled = [{**dict.fromkeys(columns), **row} for row in rows]
    assert pairs(filled) == [(Q, A), (Q, A), ("", "A document.")]
    # In a row that has one of the two, a null is a fault.
    with pytest.raises(DataError, match=r"found null") as caught:
        load_traces([{"prompt": Q, "response": None, "solution": "S", "text": None}])
    assert caught.value.field == "response"


# --- several responses

OPENR1 = {"problem": Q, "generations": ["wrong", "right", "late"], "uuid": "u"}


def test_b_all_generations_of_a_problem() -> None:
    record = {**OPENR1, "id": "p", "correctness_math_verify": [False, True, True]}
    assert pairs([record]) == [(Q, "right")]
    traces = load_traces([record, {**record, "id": "q"}], generations="all")
    assert [t.id for t in traces] == ["p#0", "p#1", "p#2", "q#0", "q#1", "q#2"]
    assert [t.response for t in traces[:3]] == ["wrong", "right", "late"]
    assert [t.reading["generation"] for t in traces[:3]] == [0, 1, 2]
    assert len({t.id.split("#")[0] for t in load_traces([OPENR1], generations="all")}) == 1
    assert len(load_traces([record], generations="all", limit=2)) == 2


def test_b_all_generations_in_columns_and_objects() -> None:
    deep = {"question": Q, "r1_solution_1": "a", "r1_solution_2": "b", "r1_solution_3": None}
    assert pairs([deep]) == [(Q, "a")]
    assert [r for _, r in pairs([deep], generations="all")] == ["a", "b"]
    natural = {"question": Q, "responses": [{"response": "a"}, {"response": "b"}]}
    assert [r for _, r in pairs([natural], generations="all")] == ["a", "b"]
    both = {
        "question": Q,
        "deepseek_thinking_trajectory": "T",
        "deepseek_attempt": "a",
        "gemini_thinking_trajectory": "U",
        "gemini_attempt": "b",
    }
    assert [r for _, r in pairs([both], generations="all")] == ["T\n\na", "U\n\nb"]


def test_b_a_generation_that_is_no_text_is_that_ones_fault() -> None:
    traces = load_traces(
        [{"problem": Q, "generations": ["a", None]}], generations="all", on_error="skip"
    )
    assert [trace.response for trace in traces] == ["a"]
    assert [bad.field for bad in traces.skipped] == ["generations"]
    assert pairs([{"problem": Q, "generations": ["a", None]}]) == [(Q, "a")]
    with pytest.raises(ConfigError, match=r"one.*all"):
        load_traces([OPENR1], generations="each")  # type: ignore[arg-type]


# --- B9: splits


def shards(folder: Path, *names: str) -> Path:
    for name in names:
        lines(folder / name, {"text": name})
    return folder


def read(folder: Path, **options: Any) -> list[str]:
    return sorted(trace.response for trace in load_traces(folder, **options))


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (
            (
                "data/train-00000-of-00002.jsonl",
                "data/train-00001-of-00002.jsonl",
                "data/test-00000-of-00001.jsonl",
            ),
            2,
            1,
        ),
        (("train.jsonl", "test.jsonl", "dev.jsonl"), 1, 1),
        (("train/a.jsonl", "train/b.jsonl", "test/a.jsonl"), 2, 1),
        (("my_train_set.jsonl", "my-test-set.jsonl"), 1, 1),
        (("a.jsonl", "b.jsonl", "test.jsonl"), 2, 1),
        (
            (
                "en/c4-train.00000-of-00002.jsonl",
                "en/c4-validation.00000-of-00001.jsonl",
                "en/c4-test.jsonl",
            ),
            1,
            1,
        ),
        (("x-train-00000-of-00001.jsonl", "x-test-00000-of-00001.jsonl"), 1, 1),
    ],
)
def test_b9_a_folder_has_splits(
    names: tuple[str, ...], train: int, test: int, tmp_path: Path
) -> None:
    folder = shards(tmp_path, *names)
    assert len(read(folder)) == len(read(folder, split="train")) == train
    assert len(read(folder, split="test")) == test
    assert not set(read(folder)) & set(read(folder, split="test"))
    with pytest.raises(DataError, match=r"no split 'nonsense'; there are: .*test, train"):
        load_traces(folder, split="nonsense")


def test_b9_splits_of_other_names(tmp_path: Path) -> None:
    folder = shards(
        tmp_path, "data/math-00000-of-00001.jsonl", "data/train_sft-00000-of-00001.jsonl"
    )
    with pytest.raises(DataError, match=r"no split 'train'; there are: math, train_sft"):
        load_traces(folder)
    assert read(folder, split="train_sft") == ["data/train_sft-00000-of-00001.jsonl"]


def test_b9_validation_by_any_of_its_names(tmp_path: Path) -> None:
    folder = shards(tmp_path, "train.jsonl", "val.jsonl")
    for name in ("validation", "valid", "val", "dev"):
        assert read(folder, split=name) == ["val.jsonl"]


def test_b9_a_folder_without_splits_is_one(tmp_path: Path) -> None:
    folder = shards(tmp_path, "a.jsonl", "inner/b.jsonl")
    assert read(folder) == ["a.jsonl", "inner/b.jsonl"]
    with pytest.raises(DataError, match=r"no split 'test'; there are: train"):
        load_traces(folder, split="test")


def test_b9_what_the_readme_of_a_hub_data_set_lists(tmp_path: Path) -> None:
    shards(tmp_path, "main/a.jsonl", "socratic/a.jsonl", "held/b.jsonl")
    front = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: main/*.jsonl
  - split: test
    path: [held/*.jsonl]
- config_name: socratic
  data_files: socratic/*.jsonl
---
# A data set
"""
    (tmp_path / "README.md").write_text(front, encoding="utf-8")
    assert read(tmp_path, config="main") == ["main/a.jsonl"]
    assert read(tmp_path, config="main", split="test") == ["held/b.jsonl"]
    assert read(tmp_path, config="socratic") == ["socratic/a.jsonl"]
    with pytest.raises(DataError, match=r"several configurations; .*: main, socratic"):
        load_traces(tmp_path)
    with pytest.raises(DataError, match=r"no configuration 'x'"):
        load_traces(tmp_path, config="x")
    with pytest.raises(DataError, match=r"no split 'dev'; there are: train, test"):
        load_traces(tmp_path, config="main", split="dev")


def test_b9_configurations_that_only_the_folders_show(tmp_path: Path) -> None:
    name = "train-00000-of-00001.jsonl"
    folder = shards(tmp_path, f"main/{name}", f"socratic/{name}")
    with pytest.raises(DataError, match=r"several configurations .main, socratic."):
        load_traces(folder)
    assert read(folder, config="socratic") == [f"socratic/{name}"]
    with pytest.raises(
        DataError, match=r"no configuration 'x'; the sub-folders are: main, socratic"
    ):
        load_traces(folder, config="x")


def test_b9_what_stands_beside_the_data_is_no_data(tmp_path: Path) -> None:
    folder = shards(tmp_path, "train.jsonl")
    (folder / "dataset_infos.json").write_text('{"default": {}}')
    (folder / "train.jsonl.manifest.json").write_text("{}")
    assert read(folder) == ["train.jsonl"]


@pytest.mark.parametrize(
    "source", [RECORDS, pd.DataFrame(RECORDS), {"prompt": [Q], "response": [A]}, "file"]
)
def test_b9_a_split_of_what_has_none(source: Any, tmp_path: Path) -> None:
    source = lines(tmp_path / "x.jsonl", *RECORDS) if isinstance(source, str) else source
    with pytest.raises(ConfigError, match=r"no splits"):
        load_traces(source, split="nonsense")
    assert load_traces(source, split="train")


def test_b9_a_saved_data_set_lists_its_splits(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(RECORDS)
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "saved")
    assert pairs(tmp_path / "saved", split="test") == PAIRS
    with pytest.raises(DataError, match=r"no split 'nonsense'; there are: train, test"):
        load_traces(tmp_path / "saved", split="nonsense")


# --- B10: bytes


def test_b10_binary_columns_are_utf8_text(tmp_path: Path) -> None:
    table = pa.table(
        {"prompt": pa.array([Q.encode()]), "response": pa.array(["It is é4.".encode()])}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    assert pairs(tmp_path / "x.parquet") == [(Q, "It is é4.")]


def test_b10_bytes_that_are_no_text_are_refused_by_name_where_they_are_needed(
    tmp_path: Path,
) -> None:
    bad = b"\xff\xd8\xff\xe0"
    table = pa.table({"prompt": [Q, Q], "response": [A.encode(), bad], "image": [bad, bad]})
    parquet.write_table(table, tmp_path / "x.parquet")
    traces = load_traces(tmp_path / "x.parquet", on_error="skip")
    assert [trace.response for trace in traces] == [A]
    assert (traces[0].meta, traces[0].reading["left_out"]) == ({}, ["image"])
    (rejected,) = traces.skipped
    assert (rejected.line, rejected.field) == (2, "response")
    assert "not UTF-8" in rejected.reason
    save_traces(traces, tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 10**5000, [object()], {"a": {"b": b"\xff"}}, 1j],
    ids=["object", "set", "huge", "list", "nested", "complex"],
)
def test_b10_a_value_without_plain_form_is_left_out_and_said(value: Any) -> None:
    (trace,) = load_traces([{"prompt": Q, "response": A, "odd": value}])
    assert (trace.meta, trace.reading["left_out"]) == ({}, ["odd"])
    with pytest.raises(DataError) as caught:
        load_traces([{"prompt": Q, "response": value}])
    assert caught.value.field == "response"


# --- B12: sources


class Polars:
    """What is used of a polars frame."""

    columns = ("prompt", "response")

    def iter_rows(self, *, named: bool) -> Any:
        assert named
        return iter(RECORDS)


class Stream:
    """Any object with an Arrow stream, as DuckDB's relations are."""

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return pa.Table.from_pylist(RECORDS).__arrow_c_stream__(schema)


def tensors() -> Any:
    import datasets

    return datasets.Dataset.from_list(RECORDS).with_format("numpy")


SOURCES: dict[str, Callable[[], Any]] = {
    "table": lambda: pa.Table.from_pylist(RECORDS),
    "batch": lambda: pa.Table.from_pylist(RECORDS).to_batches()[0],
    "reader": lambda: pa.Table.from_pylist(RECORDS).to_reader(),
    "columns": lambda: {"prompt": [p for p, _ in PAIRS], "response": tuple(r for _, r in PAIRS)},
    "arrays": lambda: {k: np.array([r[k] for r in RECORDS]) for k in RECORDS[0]},
    "series": lambda: {k: pd.Series([r[k] for r in RECORDS]) for k in RECORDS[0]},
    "arrow arrays": lambda: {k: pa.array([r[k] for r in RECORDS]) for k in RECORDS[0]},
    "splits": lambda: {"train": RECORDS, "test": RECORDS[:1]},
    "polars": Polars,
    "stream": Stream,
    "formatted": tensors,
    "traces": lambda: list(load_traces(RECORDS)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_b12_sources(name: str) -> None:
    assert pairs(SOURCES[name]()) == PAIRS


def test_b12_columns_of_chats_and_of_different_lengths() -> None:
    chats = {"messages": [[USER, ASSISTANT], [USER, ASSISTANT]], "n": [1, 2]}
    assert pairs(chats) == [(Q, A), (Q, A)]
    with pytest.raises(ConfigError, match=r"different lengths .prompt: 2, response: 1."):
        load_traces({"prompt": [Q, Q], "response": [A]})


def zipped(data: bytes, name: str = "inner/x.jsonl") -> bytes:
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("readme.txt", "no data")
            archive.writestr(name, data)
        return out.getvalue()


JSONL = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
JSON = json.dumps(RECORDS).encode()
CSV = "prompt,response\r\n" + "".join(f'"{p}","{r}"\r\n' for p, r in PAIRS)
FILES: dict[str, bytes] = {
    "x.jsonl.xz": lzma.compress(JSONL),
    "x.jsonl.bz2": bz2.compress(JSONL),
    "x.jsonl.lzma": lzma.compress(JSONL, format=lzma.FORMAT_ALONE),
    "x.json.gz": gzip.compress(JSON),
    "x.csv.bz2": bz2.compress(CSV.encode()),
    "x.tsv.gz": gzip.compress(CSV.replace(",", "\t").encode()),
    "x.jsonl.zip": zipped(JSONL),
    "archive.zip": zipped(gzip.compress(JSONL), "x.jsonl.gz"),
    "named_wrong.jsonl": gzip.compress(JSONL),
    "bom.csv": b"\xef\xbb\xbf" + CSV.encode(),
    "utf16.csv": CSV.encode("utf-16"),
    "utf16be.csv": b"\xfe\xff" + CSV.encode("utf-16-be"),
    "utf16.jsonl": JSONL.decode().encode("utf-16"),
    "utf16.json": JSON.decode().encode("utf-16"),
    "pandas.json": json.dumps(
        {k: {str(i): r[k] for i, r in enumerate(RECORDS)} for k in RECORDS[0]}
    ).encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_b12_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    assert pairs(tmp_path / name) == PAIRS


@pytest.mark.parametrize("kind", ["lz4", "zstd", "uncompressed"])
def test_b12_feather(kind: Any, tmp_path: Path) -> None:
    feather.write_feather(pa.Table.from_pylist(RECORDS), tmp_path / "x.feather", kind)
    assert pairs(tmp_path / "x.feather") == PAIRS


def test_b12_a_compressed_parquet_file(tmp_path: Path) -> None:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(RECORDS), sink)
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress(sink.getvalue()))
    assert pairs(tmp_path / "x.parquet.gz") == PAIRS


def test_b12_an_archive_without_data(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(b"", "x.txt"))
    with pytest.raises(DataError, match=r"no file of a known format in this archive: readme.txt"):
        load_traces(tmp_path / "x.zip")


def test_b12_numbers_as_ids_and_chats_as_pandas_writes_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": np.array([7, 8]), "messages": [[USER, ASSISTANT]] * 2})
    assert [trace.id for trace in load_traces(frame)] == ["7", "8"]
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert pairs(tmp_path / "x.csv") == [(Q, A), (Q, A)]
    frame.to_parquet(tmp_path / "x.parquet")
    assert pairs(tmp_path / "x.parquet") == [(Q, A), (Q, A)]


def test_b12_a_date_that_python_does_not_know_is_that_rows_fault(tmp_path: Path) -> None:
    when = pa.array([0, 10**17], pa.timestamp("s"))
    table = pa.table({"prompt": [Q, "Why?"], "response": [A, "So it is."], "when": when})
    feather.write_feather(table, tmp_path / "x.feather")
    traces = load_traces(tmp_path / "x.feather", on_error="skip")
    assert [trace.response for trace in traces] == [A]
    assert [bad.line for bad in traces.skipped] == [2]


@pytest.mark.parametrize("make", ["frame", "parquet", "csv", "record"])
def test_b12_two_columns_of_one_name(make: str, tmp_path: Path) -> None:
    source: Any = tmp_path / "x.csv"
    if make == "frame":
        source = pd.DataFrame([[Q, A, A]], columns=["prompt", "response", "response"])
    elif make == "parquet":
        source = tmp_path / "x.parquet"
        parquet.write_table(pa.table([[Q], [A], [A]], ["prompt", "response", "response"]), source)
    elif make == "csv":
        source.write_text("prompt,response,response \np,a,b\n")
    else:
        source = [{"prompt": Q, "response": A, "response ": "b"}]
    with pytest.raises(DataError, match=r"two columns have this name") as caught:
        load_traces(source)
    assert caught.value.field == "response"


# --- F7: separated values


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_f7_cells_divided_by_something_else(
    mark: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "".join(f"{mark.join(row)}\n" for row in [("question", "response"), *PAIRS])
    (tmp_path / "x.csv").write_text(text)
    with caplog.at_level(logging.INFO, "airlens.traces"):
        assert pairs(tmp_path / "x.csv") == PAIRS
    assert f"cells are divided by {name}" in caplog.text
    (tmp_path / "x.csv").write_text(text + f"one{mark}two{mark}three\n")
    with pytest.raises(DataError, match=rf"expected 2 cells \(divided by {name}\), found 3"):
        load_traces(tmp_path / "x.csv")


def test_f7_excels_first_line_and_empty_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("sep=;\nquestion;response;;\na;b;;\nc;d\ne\n")
    traces = load_traces(path, on_error="skip")
    assert [(t.prompt, t.response) for t in traces] == [("a", "b"), ("c", "d")]
    assert [bad.line for bad in traces.skipped] == [5]


def test_f7_blanks_around_names_and_question_with_response(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question , response\nWhy?,So.\n")
    (trace,) = load_traces(tmp_path / "x.csv")
    assert (trace.prompt, trace.response, trace.meta) == ("Why?", "So.", {})
    (trace,) = load_traces(tmp_path / "x.csv", response="response ")
    assert trace.response == "So."


def test_f7_a_column_missing_in_some_rows_is_named() -> None:
    records = [*RECORDS, {"prompt": "p"}, {"prompt": "q"}]
    skipped = load_traces(records, on_error="skip").skipped
    assert [bad.counted_as for bad in skipped] == ["`response`: missing"] * 2


def test_f7_a_table_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("prompt,response\né,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8 .*save the file as UTF-8"):
        load_traces(tmp_path / "x.csv")


# --- D3: lines


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_d3_json_lines_end_at_a_line_feed_only(mark: str, tmp_path: Path) -> None:
    text = f"one{mark}two"
    path = tmp_path / "x.jsonl"
    data = json.dumps({"prompt": Q, "response": text}, ensure_ascii=False) + "\n"
    path.write_bytes(data.encode())
    assert [trace.response for trace in load_traces(path)] == [text]
    again = save_traces(load_traces(path), tmp_path / "y.jsonl")
    assert [trace.response for trace in load_traces(again)] == [text]


# --- what is said


def test_b_rivals_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    record = {"problem": Q, "solution": A, "messages": [USER, ASSISTANT]}
    with caplog.at_level(logging.INFO, "airlens.traces"):
        load_traces([record] * 3)
    said = "prompt from `problem`, response from `solution`; ignored: `messages`"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", said)]
    caplog.clear()
    with caplog.at_level(logging.INFO, "airlens.traces"):
        load_traces([record] * 3, prompt="problem", response="solution")
    assert [r.levelname for r in caplog.records] == ["INFO"]
