"""B13, B11 and counts: a row's failure is that row's, a document its text, and all is counted."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import airlens as al
from airlens.corpus import Corpus
from airlens.corpus.run import local_engine
from airlens.corpus.run_folder import RunFolder
from airlens.corpus.run_record import run_status
from airlens.corpus.score_part import Settings
from airlens.errors import DataError, ModelError, RunError
from airlens.step_influence.ifd import ifd
from airlens.traces.columns import Columns
from tests.cases.corpus_kit import HEADS, ROWS, by_id, lines, said, score, write

# As Llama, Gemma and Mistral do: a system turn or two of one role in a row are refused.
STRICT = """{% for m in messages %}{% if m.role == 'system' %}
{{- raise_exception('no system role') }}{% endif %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}</s>
{%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
USER = {"role": "user", "content": "2 + 2?"}
ANSWER = {"role": "assistant", "content": "It is 4.\nYes."}


@pytest.fixture(scope="module")
def strict(tokenizer: Any) -> Any:
    from conftest import tiny_config
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(tiny_config("llama"))
    own = copy.deepcopy(tokenizer)
    own.chat_template = STRICT
    return al.load_model(hf, tokenizer=own, device="cpu")


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


def chats(odd: list[Any], at: int = 17, n: int = 41) -> list[dict[str, Any]]:
    rows = [{"id": f"c{i}", "messages": [USER, {**ANSWER, "content": f"{i}."}]} for i in range(n)]
    rows[at]["messages"] = odd
    return rows


ODD = {
    "system": [{"role": "system", "content": "Be brief."}, USER, ANSWER],
    "alternation": [USER, USER, ANSWER],
}


@pytest.mark.parametrize("kind", ODD)
def test_b13_the_odd_row_is_rejected_and_the_rest_scored(
    strict: Any, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "d.jsonl", chats(ODD[kind]))
    out = tmp_path / "out"
    whole = score(strict, source, tmp_path / "whole")
    (reject,) = lines(tmp_path / "whole" / "rejects.jsonl")
    assert (reject["id"], reject["line"], reject["field"]) == ("c17", 18, "turns")
    assert "cannot write these turns" in reject["reason"]
    assert (len(whole.samples), whole.counts.rejects) == (40, 1)
    # Interrupted behind the odd row, and again: the same parts, the row named again.
    written: list[int] = []
    original = RunFolder.write_part

    def write_part(self: Any, number: int, part: Any) -> None:
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(number)
        original(self, number, part)

    monkeypatch.setattr(RunFolder, "write_part", write_part)
    with pytest.raises(KeyboardInterrupt):
        score(strict, source, out)
    monkeypatch.undo()
    again = score(strict, source, out)
    assert lines(out / "rejects.jsonl") == [reject]
    assert (again.counts.skipped, again.counts.rejects) == (29, 1)
    assert again.samples.equals(whole.samples)
    assert score(strict, source, out).counts.scored == 0
    assert lines(out / "rejects.jsonl") == [reject]


def test_b13_a_mended_row_is_scored(strict: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", chats(ODD["system"]))
    out = tmp_path / "out"
    score(strict, source, out)
    write(source, chats([USER, ANSWER]))
    again = score(strict, source, out)
    assert (again.counts.scored, again.counts.rejects, len(again.samples)) == (1, 0, 41)


def test_b13_on_error_raise_names_the_row(strict: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", chats(ODD["alternation"]))
    with pytest.raises(DataError, match=r"d\.jsonl, line 18, field 'turns': .*roles must"):
        score(strict, source, tmp_path / "out", on_error="raise")


def test_b13_many_odd_rows_end_in_one_sentence(strict: Any, tmp_path: Path) -> None:
    rows = [{"id": f"c{i}", "messages": ODD["system"]} for i in range(9)]
    with pytest.raises(RunError, match=r"9 of 9 rows \(100.0%\) are bad.*no system role"):
        score(strict, write(tmp_path / "d.jsonl", rows), tmp_path / "out")
    assert run_status(tmp_path / "out")["state"] == "failed"


def fails_on(monkeypatch: pytest.MonkeyPatch, error: Exception, *ids: str) -> None:
    """Let scoring fail wherever one of these traces is among those scored."""
    from airlens.corpus import score_part

    original = score_part.score_traces

    def influence(model: Any, traces: Any, *args: Any, **options: Any) -> Any:
        if {trace.id for trace in traces} & set(ids):
            raise error
        return original(model, traces, *args, **options)

    monkeypatch.setattr(score_part, "score_traces", influence)


@pytest.mark.parametrize("error", [DataError("odd"), ModelError("overflow"), ValueError("odd")])
def test_b13_a_row_that_cannot_be_scored_is_found(
    model: Any, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_on(monkeypatch, error, "r3", "r6")
    result = score(model, write(tmp_path / "d.jsonl", ROWS), tmp_path / "out", max_rejects=0.5)
    assert [row["id"] for row in lines(tmp_path / "out" / "rejects.jsonl")] == ["r3", "r6"]
    assert len(result.samples) == 10


def test_b13_what_ails_the_model_ends_the_run(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_on(monkeypatch, ModelError("no such engine"), *(row["id"] for row in ROWS))
    with pytest.raises(ModelError, match="no such engine"):
        score(model, write(tmp_path / "d.jsonl", ROWS), tmp_path / "out", max_rejects=1.0)


def test_b13_rows_without_a_token_to_score(model: Any, tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "x", "prompt": "", "response": "x"}]
    result = score(model, write(tmp_path / "d.jsonl", rows), tmp_path / "out", max_rejects=0.5)
    (reject,) = lines(tmp_path / "out" / "rejects.jsonl")
    assert reject["id"] == "x" and "nothing predicts it" in reject["reason"]
    assert len(result.samples) == len(result.folder.read("rows")) == 12
    assert "x" not in set(result.folder.read("steps")["id"])


def test_counts_of_long_rows(model: Any, tmp_path: Path) -> None:
    long = {"id": "long", "prompt": "p", "response": "It is.\n" * 100}
    full = {"id": "full", "prompt": "p" * 600, "response": "It is."}
    source = write(tmp_path / "d.jsonl", [*ROWS, long, full, ROWS[0], {"id": "bad"}])
    for how, n in (("stride", 2), ("cut", 1)):
        out = tmp_path / how
        result = score(model, source, out, settings=Settings(long=how), max_rejects=0.5)  # type: ignore[arg-type]
        found = result.manifest
        assert (found["long"], found["duplicates"], found["rejects"]) == (n, 1, 3 - n)
        again = score(model, source, out, settings=Settings(long=how), max_rejects=0.5).manifest  # type: ignore[arg-type]
        assert (again["long"], again["skipped"]) == (n, 12 + n)
        word = "cut to it" if how == "cut" else "scored in strides"
        assert f"{n} rows longer than the context, {word}" in said("status", out)
    reason = next(
        r["reason"] for r in lines(tmp_path / "cut" / "rejects.jsonl") if r["id"] == "full"
    )
    assert "the prompt fills the context" in reason


# --- B11: a document is its text and nothing else


@pytest.mark.parametrize("row", [{"text": "x y z"}, {"prompt": "Say.", "response": "x y z"}])
def test_b11_a_document_is_its_text(strict: Any, tmp_path: Path, row: dict[str, Any]) -> None:
    source = write(tmp_path / "d.jsonl", [{"id": "a", **row}])
    columns = Columns(prompt="none", response="text" if "text" in row else "response")
    corpus = Corpus(source, columns, scope="document")
    result = score(
        strict,
        corpus,
        tmp_path / "out",
        settings=Settings(scope="document"),
        tables=("rows", "tokens"),
    )
    tokens = result.folder.read("tokens")
    assert "".join(tokens["token"]) == "x y z"
    assert result.samples["n_prompt_tokens"].tolist() == [0]
    # The byte tokenizer has no BOS: nothing predicts the first one.
    assert result.samples["n_tokens"].tolist() == [4]


def test_b11_a_document_with_a_prompt_has_it_as_its_first_step(strict: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", [{"id": "a", "prompt": "Say.", "response": "x y"}])
    corpus = Corpus(source, scope="document")
    result = score(strict, corpus, tmp_path / "out", settings=Settings(scope="document"))
    assert list(result.folder.read("steps")["text"]) == ["Say.\n", "x y"]


# --- IFD


def slow_ifd(model: Any, prompt: str, response: str, bos: list[int]) -> float:
    """L(y given x) / L(y) over the tokens that have a prediction in both, token by token."""
    hf, tok = model.original_model, model.tokenizer
    given = tok(prompt + "\n", add_special_tokens=False)["input_ids"]
    tokens = tok(response, add_special_tokens=False)["input_ids"]

    def losses(before: list[int]) -> list[float]:
        ids = [*before, *tokens]
        with torch.no_grad():
            logp = hf(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        first = len(before)
        return [
            float(-logp[at - 1, ids[at]]) if at else float("nan") for at in range(first, len(ids))
        ]

    with_prompt, alone = np.array(losses([*bos, *given])), np.array(losses(bos))
    both = ~np.isnan(alone)
    if not both.any():
        return float("nan")
    return float(with_prompt[both].mean() / alone[both].mean())


@pytest.mark.parametrize("bos", [False, True])
def test_ifd_averages_the_same_tokens(tokenizer: Any, bos: bool) -> None:
    from conftest import tiny_config
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModelForCausalLM

    own = copy.deepcopy(tokenizer)
    if bos:
        own.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(tiny_config("llama"))
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.mul_(3)
    model = al.load_model(hf, tokenizer=own, device="cpu")
    rows = [("1 + 1?", "It is 2."), ("What?", "x"), ("Why?", "Because\nit is.")]
    traces = [al.Trace(str(i), *row) for i, row in enumerate(rows)]
    scored = al.influence(model, traces, HEADS, controls=0, progress=False)
    found = ifd(model, traces, scored)
    wanted = [slow_ifd(model, *row, [1] if bos else []) for row in rows]
    np.testing.assert_allclose(found["ifd"], wanted, rtol=1e-4)
    assert np.isnan(found["ifd"][1]) == (not bos)
    assert list(found["id"]) == ["0", "1", "2"]


def test_the_engine_gives_what_is_written(model: Any, tmp_path: Path) -> None:
    """An engine of one's own sees each chunk with what is written of it."""
    seen: list[tuple[int, tuple[str, ...]]] = []

    def engine(scorer: Any, chunks: Any) -> Any:
        for chunk, part in local_engine(scorer, chunks):
            if part is not None:
                seen.append((len(part.rows), tuple(sorted(part.tables))))
            yield chunk, part

    score(model, write(tmp_path / "d.jsonl", ROWS), tmp_path / "out", engine=engine)
    assert seen == [(n, ("parts", "rows", "steps")) for n in (5, 5, 2)]
    record = json.loads((tmp_path / "out" / "done" / "part-000002.json").read_text())
    assert set(record) == {*("number", "fingerprint", "rows", "rejects", "long", "tables", "check")}
    assert by_id(RunFolder(tmp_path / "out").read())["id"].tolist() == sorted(
        row["id"] for row in ROWS
    )
