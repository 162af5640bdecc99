"""`airlens doctor --data FILE`, `al.check_data`: the user's rows held against the model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config, word_tokenizer
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import airlens as al
from airlens import cli
from airlens.corpus import data_check
from airlens.errors import ConfigError

STRICT = (
    "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('no bad words') }}"
    "{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
ROWS = [
    {"problem": "2 + 3?", "solution": "It is 5. So the answer is 5."},
    {"problem": "bad", "solution": "It is 6. So the answer is 6."},
    {"problem": "2 + 5?", "solution": "It is <new> 7. So the answer is 7."},
    {"problem": "2 + 6?", "solution": "It is 8. " * 40},
    {"problem": "2 + 7?"},
]


def save(folder: Path, **changes: Any) -> Path:
    """A tiny model whose tokenizer knows a token too many, and has a strict template."""
    torch.manual_seed(0)
    options = {"max_position_embeddings": 64, "vocab_size": 500, **changes}
    AutoModelForCausalLM.from_config(tiny_config("llama", **options)).save_pretrained(folder)
    tokenizer = word_tokenizer(500)
    tokenizer.add_tokens(["<new>"])
    tokenizer.chat_template = STRICT
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model"))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*words: Any) -> Any:
    return CliRunner().invoke(cli.app, ["doctor", *map(str, words)])


def test_c_doctor_names_each_row_that_cannot_be_scored(model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", ROWS)
    result = run("--model", model, "--data", data, "--json")
    assert result.exit_code == 1, result.exception
    found = json.loads(result.stdout)
    assert found["parity"] is True
    check = found["data"]
    assert not check["sound"] and check["source"] == str(data)
    assert "prompt from `problem`, response from `solution`" in next(iter(check["reading"]))
    assert "prompt from `problem`, response from `solution`" in result.stderr
    missing, template, token = check["problems"]
    assert missing.startswith(f"{data}, line 5") and "solution" in missing
    assert template.startswith(f"{data}, line 2 (row ") and "no bad words" in template
    assert token.startswith(f"{data}, line 3 (row ") and "no embedding" in token
    counts = check["counts"]
    assert counts["rows read"] == 5 and counts["rows that make no trace"] == 1
    assert counts["rows that cannot be scored"] == 2 and counts["rows run"] == 2
    assert counts["longer than the context (64)"] == 1
    assert counts["engine"] == "fast"
    assert any("1 of 4 rows are longer than the context of 64 tokens" in n for n in check["notes"])
    assert [row["loss"] is None for row in check["rows"]] == [False, True, True, False]


def test_c_doctor_prints_a_table_and_sentences(model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", ROWS)
    shown = run("--model", model, "--data", data).stdout
    assert "rows that cannot be scored" in shown and "DATA NOT SOUND" in shown
    assert shown.count("WRONG: ") == 3 and f"{data}, line 2" in shown
    good = write(tmp_path / "good.jsonl", ROWS[:1])
    result = run("--model", model, "--data", good)
    assert result.exit_code == 0 and "data sound" in result.stdout
    assert "WRONG" not in result.stdout


def test_c_doctor_takes_the_options_of_data_and_template(model: Path, tmp_path: Path) -> None:
    rows = [{"q": "2 + 3?", "a": "It is 5. So 5."}, {"q": "bad", "a": "It is 6."}] * 20
    data = write(tmp_path / "data.jsonl", rows)
    words = ["--model", model, "--data", data, "--json"]
    words += ["--prompt-column", "q", "--response-column", "a"]
    found = json.loads(run(*words, "--template", "plain").stdout)["data"]
    assert found["sound"] and len(found["rows"]) == 20
    found = json.loads(run(*words, "--limit", 2).stdout)["data"]
    assert len(found["rows"]) == 2 and len(found["problems"]) == 1
    stopped = run(*words[:-4], "--response-column", "none such")
    assert "none such" in str(stopped.exception) + stopped.stderr


def test_c_doctor_checks_what_is_typed_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*given: Any, **options: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("airlens.model.load.load_model", loaded)
    data = write(tmp_path / "data.jsonl", ROWS)
    odd = write(tmp_path / "odd.jsonl", [{"a": 1}])
    for words, said in (
        (["--limit", 5], "--data"),
        (["--data", data, "--skip-model"], "--skip-model"),
        (["--data", odd], "layout"),
    ):
        assert said in str(run(*words).exception)
    assert run("--data", tmp_path / "none.jsonl").exit_code == 2


def test_c_losses_that_are_no_numbers_are_named(llama: Any) -> None:
    traces = [al.Trace("a", "ab", "cd ef"), al.Trace("b", "ab", "gh ij")]
    assert al.check_data(llama, traces).sound
    broken = al.load_model(
        copy.deepcopy(AutoModelForCausalLM.from_config(tiny_config("llama"))),
        tokenizer=llama.tokenizer,
        device="cpu",
    )
    letter = llama.tokenizer("g")["input_ids"][-1]
    with torch.no_grad():
        broken.original_model.get_input_embeddings().weight[letter] = float("nan")
    found = al.check_data(broken, traces)
    assert not found.sound and len(found.problems) == 1
    assert found.problems[0].startswith("row 'b': ") and "the model gave NaN" in found.problems[0]


def test_c_engines_that_disagree_on_a_row_are_named(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "compared", lambda *given: "it differs by 3 nats")
    found = al.check_data(llama, [al.Trace("a", "ab", "cd ef")])
    assert "row 'a': the fast engine: it differs by 3 nats; score with engine='hooks'" in str(found)


def test_c_losses_are_those_of_influence(llama: Any) -> None:
    traces = [al.Trace(str(i), "ab", "cd ef " * (i + 1)) for i in range(6)]
    found = al.check_data(llama, traces, scored=3).rows
    expected = al.influence(llama, traces, "L0H0", controls=0, progress=False).samples
    np.testing.assert_allclose(found["loss"][:3], expected["loss_base"][:3], atol=1e-5)
    assert found["loss"][3:].isna().all()
    assert (found["n_tokens"] == expected["n_tokens"]).all()
    assert "no token" in al.check_data(llama, [al.Trace("e", "ab", "")]).problems[0]
    with pytest.raises(ConfigError, match="scored=-1"):
        al.check_data(llama, traces, scored=-1)
    with pytest.raises(ConfigError, match="template"):
        al.check_data(llama, traces, template="chatty")  # type: ignore[arg-type]


def test_c_traces_know_their_places(tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", [{**row, "id": str(i)} for i, row in enumerate(ROWS)])
    traces = al.load_traces(data, on_error="skip")
    assert traces.places == {str(i): f"{data}, line {i + 1}" for i in range(4)}


@pytest.mark.parametrize("kind", ["gpt2", "mamba", "phi3"])
def test_c_a_model_of_a_short_context_or_without_heads_is_checked(kind: str) -> None:
    from tiny_zoo import hf_model, tokenizer

    from airlens.cli.install_checks import check_model

    model = al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu", n_ctx=100)
    found = check_model(model)
    assert found["parity"] is True and found["copy_accuracy"] is None
    assert found["copy_accuracy_note"].startswith("not measured: 100 tokens are too few")
    traces = [al.Trace(str(i), "ab", "cd ef. " * (8 * i + 1)) for i in range(3)]
    check = al.check_data(model, traces)
    assert check.sound and check.counts["longer than the context (100)"] == 1
    assert check.counts["engine"] == ("hooks" if kind == "mamba" else "fast")
