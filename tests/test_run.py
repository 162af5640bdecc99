"""Scoring a corpus into a folder: the same scores as in one go, whatever happened on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import airlens as al
from airlens.corpus import Corpus, iter_rows, part_files, run, run_folder
from airlens.corpus.run import score_corpus
from airlens.corpus.run_record import run_status
from airlens.corpus.score_part import CorpusSettings, Settings, run_identity
from airlens.errors import ConfigError, DataError, RunError

HEADS = "L0H1, L2H3"
ROWS = [
    {"id": f"r{i}", "prompt": f"{i} + 1?", "response": f"It is {i}.\nSo {i + 1}." * (1 + i % 3)}
    for i in range(23)
]
LOSSES = ["loss_base", "loss_ref", "ais", "loss_control", "entropy"]


def write(path: Path, rows: list[Any]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", ROWS)


def score(model: Any, source: Any, out: Path, **options: Any) -> run.RunResult:
    return score_corpus(model, source, HEADS, out, **{"part_rows": 5, "progress": False, **options})


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("id").reset_index(drop=True)


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    a, b = by_id(a), by_id(b)
    assert list(a["id"]) == list(b["id"])
    for name in LOSSES:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=2e-6)


def test_parts_hold_what_influence_says(llama: Any, data: Path, tmp_path: Path) -> None:
    result = score(llama, data, tmp_path / "out")
    assert [p.name for p in result.folder.part_paths()] == [
        f"part-{i:06d}.parquet" for i in range(5)
    ]
    direct = al.influence(llama, al.load_traces(data), HEADS, controls=1, progress=False)
    same(result.samples, direct.samples)
    # As anybody would read them.
    same(pd.read_parquet(tmp_path / "out" / "parts"), direct.samples)
    steps = result.folder.read("steps")
    assert len(steps) == len(direct.steps)
    assert list(result.folder.read("rows")["response"]) == [r["response"] for r in ROWS]
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["state"] == "done"
    assert (manifest["rows"], manifest["done"], manifest["rejects"]) == (23, 23, 0)
    assert manifest["provenance"]["model"]["weights"]


def test_a_rerun_does_only_the_rest(
    llama: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(llama, data, tmp_path / "whole").samples
    out = tmp_path / "out"
    calls: list[int] = []
    original = run_folder.RunFolder.write_part

    def stop_at_third(self: Any, number: int, tables: Any) -> None:
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(self, number, tables)

    monkeypatch.setattr(run_folder.RunFolder, "write_part", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        score(llama, data, out)
    assert run_status(out)["state"] == "interrupted"
    again = score(llama, data, out)
    assert (again.counts.skipped, again.counts.scored) == (10, 13)
    same(again.samples, whole)
    last = score(llama, data, out)
    assert (last.counts.skipped, last.counts.scored) == (23, 0)
    same(last.samples, whole)


@pytest.mark.parametrize("table", ["parts", "steps", "rows"])
def test_a_truncated_part_is_done_again(llama: Any, data: Path, tmp_path: Path, table: str) -> None:
    out = tmp_path / "out"
    whole = score(llama, data, out).samples
    broken = out / table / "part-000001.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    again = score(llama, data, out)
    assert again.manifest["damaged_parts"] == ["part-000001.parquet"]
    assert again.counts.scored == 5
    same(again.samples, whole)
    assert len(again.folder.read("rows")) == 23


def test_a_flipped_bit_is_noticed(llama: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = score(llama, data, out).samples
    broken = out / "parts" / "part-000002.parquet"
    content = bytearray(broken.read_bytes())
    content[60] ^= 0x10
    broken.write_bytes(bytes(content))
    same(score(llama, data, out).samples, whole)


def test_other_settings_into_the_same_folder_are_refused(
    llama: Any, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = score(llama, data, out)
    with pytest.raises(RunError, match="another run") as caught:
        score(llama, data, out, settings=Settings(mode="zero"))
    text = str(caught.value)
    assert first.fingerprint in text
    assert "mode 'uniform' there, 'zero' now" in text
    assert len(set(text.split()) & {first.fingerprint}) == 1
    # Another model, the same heads by name:
    assert first.manifest["state"] == "done"


def test_two_runs_in_one_folder(llama: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with run_folder.RunFolder(out).lock(), pytest.raises(RunError, match="another run is writing"):
        score(llama, data, out)
    assert len(score(llama, data, out).samples) == 23


def test_a_full_disk_leaves_whole_parts(
    llama: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[Path] = []
    original = part_files.write_table

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 8:  # the second of the third part's three files
            raise OSError(28, "No space left on device")
        original(path, content)

    monkeypatch.setattr(part_files, "write_table", full)
    with pytest.raises(RunError, match="No space left on device"):
        score(llama, data, out)
    assert len(run_folder.RunFolder(out).read()) == 10
    assert run_status(out)["state"] == "failed"
    assert score(llama, data, out).counts.scored == 13


def test_out_of_memory_halves_the_batch(
    llama: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airlens.corpus import score_part

    original = score_part.score_traces
    budgets: list[int | None] = []

    def scarce(*args: Any, max_tokens_per_batch: int | None, **options: Any) -> Any:
        budgets.append(max_tokens_per_batch)
        if max_tokens_per_batch is None or max_tokens_per_batch > 5000:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(*args, max_tokens_per_batch=max_tokens_per_batch, **options)

    monkeypatch.setattr(score_part, "score_traces", scarce)
    result = score(llama, data, tmp_path / "out")
    assert budgets[:4] == [None, 16384, 8192, 4096]
    assert set(budgets[4:]) == {4096}
    assert result.manifest["halved_batches"] == 3
    assert len(result.samples) == 23


def test_ifd_is_the_ratio_of_losses(llama: Any, data: Path, tmp_path: Path) -> None:
    samples = score(llama, data, tmp_path / "out", settings=Settings(ifd=True)).samples
    # Without BOS the first token has no prediction in L(y): it counts in neither mean.
    means = []
    for rows in (ROWS, [{**row, "prompt": ""} for row in ROWS]):
        direct = al.influence(llama, al.load_traces(rows), HEADS, controls=0, progress=False)
        means.append(direct.tokens[direct.tokens["pos"] > 0].groupby("id")["nll_base"].mean())
    found = by_id(samples)
    np.testing.assert_allclose(found["ifd"], means[0] / means[1], rtol=1e-5)
    np.testing.assert_allclose(found["loss_alone"], means[1], rtol=1e-5)


def test_rivals_stand_beside_the_scores(llama: Any, data: Path, tmp_path: Path) -> None:
    settings = Settings(rivals=["waad", "lalp"], circuit="L1H1")
    result = score(llama, data, tmp_path / "out", settings=settings)
    traces = al.load_traces(data)
    direct = al.rival_scores(llama, traces, ["lalp", "waad"], circuit="L1H1", progress=False)
    found = by_id(result.samples)
    want = by_id(direct.samples)
    for name in ("lalp", "waad", "circuit"):
        np.testing.assert_allclose(found[name], want[name], rtol=1e-4)
    steps = result.folder.read("steps").merge(direct.steps, on=["id", "step"])
    np.testing.assert_allclose(steps["lalp_x"], steps["lalp_y"], rtol=1e-4)
    assert "fai" not in found
    chosen = al.select(found, "circuit", 1, within=None).ids
    assert chosen == [found.loc[found["circuit"].idxmax(), "id"]]
    # Runs without them keep the name that they had before there were any.
    heads = al.HeadSet.parse(HEADS)
    assert not {"rivals", "circuit"} & set(run_identity(llama, heads, Settings(), {}))
    assert run_identity(llama, heads, settings, {})["circuit"] == ["L1H1"]
    with pytest.raises(ConfigError, match="lalp"):
        Settings(rivals=("rsr",))


def test_documents_count_every_token(llama: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", [{"text": "x" * 40}, {"text": "y z " * 300}])
    result = score(llama, source, tmp_path / "out", settings=Settings(scope="document"))
    samples = result.samples
    # No BOS in this tokenizer: the first byte has nothing before it.
    assert list(samples["n_tokens"]) == [39, 1199]


BAD: list[tuple[Any, str]] = [
    ("{not json", "not JSON"),
    ('["a list"]', "expected an object"),
    ({"id": "a", "prompt": "p"}, "missing"),
    ({"id": "b", "prompt": "p", "response": None}, "found null"),
    ({"id": "c", "prompt": "p", "response": 7}, "found a number"),
    ({"id": "d", "prompt": "p", "response": "  "}, "empty"),
    ({"id": "e", "prompt": ["p"], "response": "r"}, "found a list"),
    ({"id": "f", "prompt": "p", "response": "\ud800"}, "lone surrogate"),
    ({"id": "r1", "prompt": "p", "response": "r"}, "given before"),
]


def test_bad_rows_are_kept_with_their_reason(llama: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "data.jsonl", [*ROWS, *[row for row, _ in BAD]])
    result = score(llama, source, tmp_path / "out", max_rejects=0.5)
    assert set(result.samples["id"]) == {row["id"] for row in ROWS}
    lines = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in lines]
    assert [r["line"] for r in rejects] == list(range(24, 24 + len(BAD)))
    for reject, (_, reason) in zip(rejects, BAD, strict=True):
        assert reason in reject["reason"]
        assert reject["file"] == str(source)
    assert result.manifest["rejects"] == len(BAD)


def test_too_many_bad_rows_end_in_an_error(llama: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "data.jsonl", [*ROWS, "{", "{"])
    with pytest.raises(RunError, match=r"2 of 25 rows \(8.0%\) are bad") as caught:
        score(llama, source, tmp_path / "out")
    said = str(caught.value)
    assert "2 × not JSON" in said
    assert f"{source}, line 24: not JSON: Expecting" in said
    assert "allow more" in said
    assert len(run_folder.RunFolder(tmp_path / "out").read()) == 23
    with pytest.raises(DataError, match="line 24"):
        score(llama, source, tmp_path / "raise", on_error="raise")


def test_a_repeated_text_is_scored_once_and_reported(llama: Any, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "one"}, {"prompt": "p", "response": "two"}] * 3
    result = score(llama, write(tmp_path / "d.jsonl", rows), tmp_path / "out")
    assert len(result.samples) == 2
    assert (result.counts.duplicates, result.counts.rejects) == (4, 0)


def test_a_row_that_comes_again_is_a_duplicate_another_text_is_not(
    llama: Any, tmp_path: Path
) -> None:
    rows = [*ROWS, ROWS[3], {**ROWS[4], "response": "other"}, {**ROWS[5], "response": "more"}]
    result = score(llama, write(tmp_path / "d.jsonl", rows), tmp_path / "out", max_rejects=0.5)
    assert (result.counts.duplicates, result.counts.rejects) == (1, 2)
    assert result.counts.reasons == {"`id`: given before, to another text": 2}
    same(result.samples, score(llama, ROWS, tmp_path / "once").samples)


@pytest.mark.parametrize("name", ["mode", "control", "scope", "template", "long"])
def test_a_setting_that_does_not_exist_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='x': use one of"):
        Settings(**{name: "x"})


def test_the_file_can_be_the_domain(tmp_path: Path) -> None:
    from airlens.traces.columns import Columns

    for name in ("algebra", "logic"):
        write(tmp_path / f"{name}.jsonl", [{"prompt": "p", "response": name}])
    rows = list(iter_rows(Corpus(tmp_path, Columns(domain="@file"))))
    assert [row.trace.domain for row in rows] == ["algebra", "logic"]  # type: ignore[union-attr]


def test_raise_stops_before_anything_is_scored(llama: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "data.jsonl", [*ROWS[:3], {"prompt": "p"}, *ROWS[3:]])

    def never(rows: Any) -> Any:
        raise AssertionError("a row was scored")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.PartScorer, "__call__", lambda self, rows: never(rows))
        with pytest.raises(DataError, match=r"line 4.*missing"):
            score(llama, source, tmp_path / "out", on_error="raise")
    assert run_status(tmp_path / "out")["state"] == "failed"


def no_room(path: Path, text: str) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("name", ["run.json", "rejects.jsonl"])
def test_a_disk_too_full_for_the_small_files(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = write(tmp_path / "data.jsonl", [*ROWS, "{not json"])
    if name == "run.json":
        monkeypatch.setattr(run_folder, "atomic_write_text", no_room)
    else:
        monkeypatch.setattr(
            run_folder.RunFolder, "rejects_path", property(lambda self: Path("/dev/full"))
        )
    with pytest.raises(RunError, match=rf"{name}.* \(No space left on device\).*make room"):
        score(llama, source, tmp_path / "out")
    monkeypatch.undo()
    assert len(score(llama, source, tmp_path / "out").samples) == len(ROWS)


def test_a_folder_that_cannot_be_made(llama: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write into .*name another folder"):
        score(llama, data, data / "out")


def test_early_answers_of_a_corpus_are_those_of_its_traces(llama: Any, tmp_path: Path) -> None:
    rows = [
        {"id": f"r{i}", "prompt": f"{i}?", "response": f"It is {i}.\nSo.\n" + "#### 7" * (i != 1)}
        for i in range(3)
    ]
    data = write(tmp_path / "data.jsonl", rows)
    settings = CorpusSettings(early_answers=True)
    # the second part has no answer at all
    result = score(llama, data, tmp_path / "out", settings=settings, part_rows=1)
    traces = al.load_traces(data)
    early = al.early_answers(llama, traces, HEADS, controls=1, progress=False)
    found, expected = by_id(result.samples), by_id(early.samples)
    for name in ("area", "area_ref", "area_control", "gain", "depends"):
        np.testing.assert_allclose(found[name], expected[name].astype(float), atol=1e-5)
    assert found["no_early_answer"].tolist() == ["", "no answer", ""]
    steps = result.folder.read("steps")
    own = early.steps[early.steps["step"] >= 0]
    both = steps.merge(own, on=["id", "step"], suffixes=("", "_own"))
    assert len(both) == len(own)
    np.testing.assert_allclose(both["gain"], both["gain_own"], atol=1e-5)
    assert steps.loc[steps["id"] == "r1", "gain"].isna().all()
    assert al.select(result.samples, by="gain", top=1, within=None).ids[0] in ("r0", "r2")


def test_runs_without_early_answers_are_named_as_before(llama: Any) -> None:
    heads = al.HeadSet.parse(HEADS)
    plain = run_identity(llama, heads, CorpusSettings(), {})
    asked = run_identity(llama, heads, CorpusSettings(early_answers=True), {})
    assert "early_answers" not in plain
    assert asked.items() > plain.items()
