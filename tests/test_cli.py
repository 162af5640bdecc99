"""The command line end to end: the files of one command feed the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_config, word_tokenizer
from typer.testing import CliRunner

from airlens import cli
from airlens.errors import ConfigError, DataError

runner = CliRunner()
COMMANDS = sorted(command.name or "" for command in cli.app.registered_commands)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model saved as a folder, for ``--model``; its tokens are parts of words."""
    from transformers import AutoModelForCausalLM

    path = tmp_path_factory.mktemp("model")
    config = tiny_config("llama", max_position_embeddings=2048, vocab_size=3000)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    word_tokenizer(3000).save_pretrained(path)
    return path


def run(*arguments: Any) -> Any:
    return runner.invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_version_and_unknown_command() -> None:
    assert run("--version").stdout.startswith("airlens 0.")
    assert run("no-such-command").exit_code == 2


def test_heads_writes_what_score_reads(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "heads.json"
    options = ("--model", folder, "-n", 2, "--max-tokens", 800, "--top", 0.25, "--quiet")
    result = run("heads", *options, "--out", out, "--json")
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    record = json.loads(out.read_text())
    assert len(record["heads"]) == 12 and len(record["top"]) == 3
    assert record["top"] == printed["top"] == record["heads"][:3]
    scores = [row["score"] for row in record["heads"]]
    assert scores == sorted(scores, reverse=True)
    assert record["copy_accuracy"] == printed["copy_accuracy"]
    assert record["provenance"]["probes"]["hash"]
    assert "copy accuracy" in run("heads", *options).stdout


def test_heads_by_another_detector(folder: Path) -> None:
    options = ("--model", folder, "-n", 1, "--max-tokens", 800, "--quiet")
    printed = json.loads(run("heads", *options, "--detector", "locos", "--json").stdout)
    assert printed["detector"] == "locos" and printed["top"]
    assert "question attends" in run("heads", *options, "--detector", "qrhead").stdout


def test_doctor(folder: Path) -> None:
    result = run("doctor", "--model", folder, "--json")
    record = json.loads(result.stdout)
    assert result.exit_code == 0 and record["parity"] is True
    assert record["versions"]["torch"]


def test_doctor_says_a_line_as_each_check_ends(folder: Path) -> None:
    result = run("doctor", "--model", folder)
    said = [line.split(":")[0] for line in result.stderr.splitlines()]
    for line in (f"{folder} loaded", "base NLL of a plain text", "logits as Hugging Face's"):
        assert line in said
    assert "logits as" not in result.stdout
    assert run("doctor", "--model", folder, "--json").stderr == ""


def test_heads_refuses_a_small_max_tokens_before_the_weights_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlens.model.load.load_model", None)  # not called
    with pytest.raises(ConfigError, match="raise --max-tokens to 634"):
        run("heads", "--model", folder, "--max-tokens", 50)


def test_doctor_fails_without_parity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlens.cli.install_checks.TOLERANCE", -1.0)
    result = run("doctor", "--model", folder)
    assert result.exit_code == 1 and "NOT SOUND" in result.stdout


def test_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise DataError("found null", file="x.jsonl", line=3, field="prompt")

    monkeypatch.setattr("airlens.cli.commands.app", broken)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "airlens: x.jsonl, line 3, field 'prompt': found null\n"


def test_demo_on_a_tiny_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.html"
    result = run("demo", "--model", folder, "--traces", 1, "--out", out, "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["samples scored"] == 4
    page = out.read_text(encoding="utf-8")
    assert page.count("plotly.js v") >= 1
    assert 'src="http' not in page
    assert "<link" not in page.replace('<link rel="icon" href="data:,">', "")  # asks for nothing
    shared = tmp_path / "page.html"
    assert summary["page"] == str(shared)
    assert 'id="trace-3"' in shared.read_text(encoding="utf-8")


def test_demo_names_two_files(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    with pytest.raises(ConfigError, match="--page"):
        run("demo", "--model", folder, "--out", out)


def test_page_of_a_tiny_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    small = ("--model", folder, "-n", 2, "--heads", "L1H2, L2H0", "--controls", 1, "--quiet")
    result = run(
        "page",
        *small,
        "--knockout",
        "--single-heads",
        "--early-answers",
        "--fewer-heads",
        "--tour",
        "--title",
        "Two & two",
        "-o",
        out,
    )
    assert result.exit_code == 0 and str(out) in result.stdout
    text = out.read_text(encoding="utf-8")
    assert "<title>Two &amp; two</title>" in text
    assert 'id="trace-1"' in text and 'id="trace-2"' not in text
    assert 'value="knockout"' in text and 'id="alone"' in text and 'id="map"' not in text
