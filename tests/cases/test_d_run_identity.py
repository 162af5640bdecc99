"""D1, D2, G3: a run is its texts, template, tokenizer, weights and settings, and markers say what
is done.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import airlens as al
from airlens.corpus import run as run_module
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.corpus.run_record import run_status
from airlens.corpus.score_part import Settings
from airlens.errors import DataError, RunError
from tests.cases.corpus_kit import (
    HEADS,
    ROWS,
    by_id,
    files,
    lines,
    refused,
    run,
    said,
    score,
    write,
)

LOSSES = ["loss_base", "loss_ref", "ais", "loss_control"]


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", ROWS)


def right(model: Any, rows: list[Any]) -> pd.DataFrame:
    return al.influence(model, al.load_traces(rows), HEADS, controls=1, progress=False).samples


def same_scores(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    found, wanted = by_id(found), by_id(wanted)
    assert list(found["id"]) == list(wanted["id"])
    for name in LOSSES:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=2e-6)


CHANGES: dict[str, Any] = {
    "response": {"response": "Something else.\nAltogether."},
    "prompt": {"prompt": "7 + 7?"},
    "steps": {"steps": ["It is 3.\n", "So 4."]},
    "domain": {"domain": "c"},
    "another column": {"level": 3},
}


@pytest.mark.parametrize("change", CHANGES)
def test_d1_a_changed_row_is_scored_again(
    model: Any, data: Path, tmp_path: Path, out: Path, change: str
) -> None:
    rows = [{**row, **(CHANGES[change] if row["id"] == "r3" else {})} for row in ROWS]
    again = score(model, write(data, rows), out)
    assert (again.counts.scored, again.counts.changed, again.counts.removed) == (1, 1, 0)
    same_scores(again.samples, right(model, rows))
    chosen = tmp_path / "s.jsonl"
    told = said("select", out, "--top", "1.0", "--out", chosen)
    assert "1 row was changed or removed since the scoring, and not handed out" in told
    (line,) = [line for line in lines(chosen) if line["id"] == "r3"]
    wanted = {**ROWS[3], **CHANGES[change]}
    assert (line["prompt"], line["response"]) == (wanted["prompt"], wanted["response"])
    assert line["domain"] == wanted["domain"]
    assert line["record"].keys() == wanted.keys()
    steps = again.folder.some("steps", {"r3"})
    assert "".join(steps["text"]) == wanted["response"]
    # and once more: nothing to do, nothing new to tell
    last = score(model, data, out)
    assert (last.counts.scored, last.counts.changed, last.counts.left_out) == (0, 0, 1)


def test_d1_another_file_with_the_same_ids(
    model: Any, data: Path, tmp_path: Path, out: Path
) -> None:
    others = [{**row, "response": f"No, {row['response']}"} for row in ROWS]
    again = score(model, write(tmp_path / "other.jsonl", others), out)
    assert (again.counts.skipped, again.counts.changed) == (0, 12)
    same_scores(again.samples, right(model, others))
    # back to the first: its scores are still there
    back = score(model, data, out)
    assert (back.counts.scored, back.counts.skipped) == (0, 12)
    same_scores(back.samples, right(model, ROWS))


def test_d1_removed_and_new_rows(model: Any, data: Path, tmp_path: Path, out: Path) -> None:
    rows = [*ROWS[:2], *ROWS[7:], {"id": "new", "prompt": "p", "response": "q r"}]
    again = score(model, write(data, rows), out)
    assert (again.counts.removed, again.counts.scored, again.counts.done) == (5, 1, 8)
    same_scores(again.samples, right(model, rows))
    assert len(again.folder.read("rows")) == 8
    assert set(again.folder.read("steps")["id"]) == {row["id"] for row in rows}
    manifest = run("select", out, "--top", "1.0", "--within", "none", "--out", tmp_path / "s.jsonl")
    assert (manifest["chosen"], manifest["of"]) == (8, 8)
    assert "5 rows are no longer in the data" in said("status", out)
    # in another order, and with limit: the same rows, fewer rows
    assert score(model, write(data, rows[::-1]), out).counts.scored == 0
    few = score(model, al_corpus(data, limit=3), out)
    assert (few.counts.done, len(few.samples)) == (3, 3)


def al_corpus(data: Path, **options: Any) -> Any:
    from airlens.corpus import Corpus

    return Corpus(data, **options)


def test_d1_weights_changed_in_place(make_model: Any, data: Path, tmp_path: Path) -> None:
    import torch

    model, out = make_model("llama"), tmp_path / "out"
    score(model, data, out)
    with torch.no_grad():
        next(model.original_model.parameters())[5, 5] += 1
    with pytest.raises(RunError, match=r"another run.*; weights '\w+' there, '\w+' now|\(weights"):
        score(model, data, out)


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"  # noqa: E501


def own_model(tokenizer: Any) -> Any:
    """A model whose tokenizer the test may change."""
    from conftest import tiny_config
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(tiny_config("llama"))
    return al.load_model(hf, tokenizer=copy.deepcopy(tokenizer), device="cpu")


def test_d1_another_template_or_tokenizer(tokenizer: Any, data: Path, tmp_path: Path) -> None:
    model, out = own_model(tokenizer), tmp_path / "out"
    tokenizer = model.tokenizer
    tokenizer.chat_template = TEMPLATE
    score(model, data, out)
    tokenizer.chat_template = TEMPLATE.replace("<assistant>", "<model>")
    with pytest.raises(RunError, match=r"another run.*template_hash"):
        score(model, data, out)
    tokenizer.chat_template = TEMPLATE
    assert score(model, data, out).counts.skipped == 12
    tokenizer.add_tokens(["apples"])  # in none of the texts that are rendered to find out
    with pytest.raises(RunError, match=r"another run.*tokenizer"):
        score(model, data, out)


def test_d1_a_call_leaves_padding_in_the_tokenizer(
    tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    model, out = own_model(tokenizer), tmp_path / "out"
    score(model, data, out)
    model.tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert score(model, data, out).counts.skipped == 12


def test_d1_parts_without_their_run_json(model: Any, data: Path, tmp_path: Path, out: Path) -> None:
    (out / "run.json").unlink()
    with pytest.raises(RunError, match=r"run.json is not there"):
        score(model, data, out, settings=Settings(mode="zero"))
    assert score(model, data, out).counts.skipped == 12


def stopped(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt once so many parts are written."""
    written: list[int] = []
    original = RunFolder.write_part

    def write_part(self: Any, number: int, part: Any) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(number)
        original(self, number, part)

    monkeypatch.setattr(RunFolder, "write_part", write_part)


def test_d1_an_interrupted_run_over_changed_data(
    model: Any, data: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "response": f"No, {row['response']}"} for row in ROWS]
    stopped(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        score(model, write(data, rows), out)
    monkeypatch.undo()
    # Of each row the newest version, and a word about it.
    mixed = [*rows[:5], *ROWS[5:]]
    same_scores(RunFolder(out).read(), right(model, mixed))
    assert "has not read all its data (interrupted)" in said(
        "select", out, "--out", tmp_path / "s.jsonl"
    )
    again = score(model, data, out)
    assert (again.counts.skipped, again.counts.scored) == (5, 7)
    same_scores(again.samples, right(model, rows))


def test_d2_tokens_are_added_to_a_finished_run(
    model: Any, data: Path, tmp_path: Path, out: Path
) -> None:
    whole = score(model, data, tmp_path / "whole", tables=("rows", "steps", "tokens"))
    before = files(out)
    again = score(model, data, out, tables=("rows", "steps", "tokens"))
    assert again.manifest["damaged_parts"] == []
    after = files(out)
    assert {k: v for k, v in after.items() if k in before and not k.startswith("done")} == {
        k: v for k, v in before.items() if not k.startswith("done")
    }
    pd.testing.assert_frame_equal(again.folder.read("tokens"), whole.folder.read("tokens"))
    assert (again.counts.changed, again.counts.removed, len(again.samples)) == (0, 0, 12)
    # and the run without them leaves them be
    score(model, data, out)
    assert len(RunFolder(out).read("tokens")) == len(whole.folder.read("tokens"))


def test_d2_and_interrupted_nothing_whole_is_lost(
    model: Any, data: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = RunFolder(out).read()
    kept = files(out)
    stopped(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        score(model, data, out, tables=("rows", "steps", "tokens"))
    monkeypatch.undo()
    now = files(out)
    assert all(now[name] == kept[name] for name in kept if not name.startswith("done"))
    pd.testing.assert_frame_equal(RunFolder(out).read(), before)
    with pytest.raises(DataError, match=r"part-000001.parquet has no tokens.*run the same"):
        RunFolder(out).read("tokens")
    assert score(model, data, out, tables=("rows", "steps", "tokens")).counts.scored == 7


def test_d2_texts_alone_need_no_model(
    model: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files(score(model, data, tmp_path / "whole").folder.path)
    out = tmp_path / "out"
    score(model, data, out, tables=("steps",))

    def never(self: Any, *args: Any) -> Any:
        raise AssertionError("the model was run")

    monkeypatch.setattr(run_module.PartScorer, "_influence", never)
    score(model, data, out)
    assert {k: v for k, v in files(out).items() if k.startswith("rows")} == {
        k: v for k, v in whole.items() if k.startswith("rows")
    }


def test_d2_tables_of_a_part_whose_rows_changed(
    model: Any, data: Path, tmp_path: Path, out: Path
) -> None:
    rows = [ROWS[0], {**ROWS[1], "response": "Else."}, *ROWS[2:9], *ROWS[10:]]
    again = score(model, write(data, rows), out, tables=("rows", "steps", "tokens"))
    assert (again.counts.changed, again.counts.removed) == (1, 1)
    same_scores(again.samples, right(model, rows))
    assert set(again.folder.read("tokens")["id"]) == {row["id"] for row in rows}
    assert again.counts.left_out == 2
    last = score(model, data, out, tables=("rows", "steps", "tokens"))
    assert (last.counts.scored, last.counts.left_out) == (0, 2)


@pytest.fixture(scope="module")
def scored_once(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    score(model, write(folder / "data.jsonl", ROWS), folder / "out")
    return folder / "out"


@pytest.fixture
def source(scored_once: Path) -> Path:
    """The file that was scored."""
    return scored_once.parent / "data.jsonl"


@pytest.fixture
def out(scored_once: Path, tmp_path: Path) -> Path:
    """A folder of its own with a finished run over ``data``."""
    return Path(shutil.copytree(scored_once, tmp_path / "out"))


@pytest.mark.parametrize("at", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("table", ["parts", "rows", "steps", "done"])
def test_g3_a_flipped_byte_in_any_table_is_noticed(
    out: Path, tmp_path: Path, table: str, at: float
) -> None:
    (path,) = (out / table).glob("part-000001.*")
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0x01
    path.write_bytes(bytes(content))
    if table in ("parts", "rows"):
        told = refused("select", out, "--out", tmp_path / "s.jsonl")
        assert f"{table}/part-000001.parquet: damaged" in told
        assert "run the same `airlens score` again" in told
    elif table == "steps":
        with pytest.raises(DataError, match="damaged"):
            RunFolder(out).read(table)
    known = {marker.number for marker in RunFolder(out).markers()}
    assert known == ({0, 1, 2} if table != "done" else {0, 2})


@pytest.mark.parametrize("table", ["parts", "rows", "steps", "done"])
def test_g3_the_next_run_repairs_exactly_that(
    model: Any, source: Path, tmp_path: Path, out: Path, table: str
) -> None:
    before = files(out)
    (path,) = (out / table).glob("part-000001.*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(bytes(content))
    again = score(model, source, out)
    assert again.counts.scored == 5
    if table != "done":
        assert again.manifest["damaged_tables"] == [f"{table}/part-000001.parquet"]
    now = files(out)
    assert now == before if table != "done" else True
    assert len(again.samples) == 12
    assert run("select", out, "--out", tmp_path / "s.jsonl")["of"] == 12


LOST = [("parts", "empty"), ("rows", "deleted"), ("steps", "truncated"), ("done", "truncated")]


@pytest.mark.parametrize(("table", "how"), LOST)
def test_g3_files_that_are_gone_or_cut(
    model: Any, data: Path, out: Path, table: str, how: str
) -> None:
    wanted = RunFolder(out).read()
    (path,) = (out / table).glob("part-000002.*")
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20] if how == "truncated" else b"")
    again = score(model, data, out)
    pd.testing.assert_frame_equal(by_id(again.samples), by_id(wanted))
    assert len(again.folder.read("rows")) == 12


def test_g3_a_damaged_part_is_missed_until_it_is_made_again(
    model: Any, data: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = out / "parts" / "part-000001.parquet"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    stopped(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        score(model, data, out)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"part-000001.parquet has no parts: they were damaged"):
        RunFolder(out).read()


def test_g3_the_noted_rows_that_left_are_damaged(
    model: Any, data: Path, tmp_path: Path, out: Path
) -> None:
    score(model, write(data, ROWS[:9]), out)
    (out / "stale.json").write_text("{}")
    assert "has not read all its data" in RunFolder(out).current().notes[0]
    assert len(score(model, data, out).samples) == 9


def test_d2_folders_of_0_1_are_refused_in_a_sentence(
    model: Any, data: Path, tmp_path: Path, out: Path
) -> None:
    # As 0.1 left it: no markers, no number of the format.
    for path in (out / "done").iterdir():
        path.unlink()
    (out / "done").rmdir()
    record = json.loads((out / "run.json").read_text())
    del record["format"], record["attempt"]
    (out / "run.json").write_text(json.dumps(record))
    before = files(out)
    for use in (
        lambda: score(model, data, out),
        lambda: RunFolder(out).read(),
        lambda: run_status(out),
    ):
        with pytest.raises(DataError, match=r"another version of airlens.*into another folder"):
            use()
    assert files(out) == before


def test_d2_deleted_markers_are_no_reason_to_delete_parts(
    model: Any, source: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = RunFolder(out).read()
    kept = files(out)
    for path in (out / "done").iterdir():
        path.unlink()
    stopped(monkeypatch, 0)
    with pytest.raises(KeyboardInterrupt):
        score(model, source, out)
    monkeypatch.undo()
    assert files(out) == {k: v for k, v in kept.items() if not k.startswith("done")}
    again = score(model, source, out)
    pd.testing.assert_frame_equal(again.samples, wanted)
    assert files(out) == kept


def test_d1_run_json_has_the_identity(model: Any, data: Path, tmp_path: Path) -> None:
    result = score_corpus(model, data, HEADS, tmp_path / "out", progress=False)
    identity = result.manifest["identity"]
    assert {"weights", "template", "tokenizer", "heads", "mode", "columns"} <= set(identity)
    assert identity["template"]["probe_hash"]
