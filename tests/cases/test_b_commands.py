"""Every command that reads data has the same options, and says the same about what it read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from airlens import cli
from airlens.cli.data_options import PANEL, DataOptions, reads_data
from airlens.traces.columns import Columns

READS_DATA = ("score", "page", "train", "evaluate", "validate")
OPTIONS = {
    *(f"--{name}-column" for name in ("prompt", "response", "messages", "system", "thinking")),
    *(f"--{name}-column" for name in ("steps", "answer", "domain", "id")),
    *("--generations", "--split", "--config", "--splitter", "--limit", "--on-error"),
}
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
SAID = "prompt from `problem`, response from `solution`; ignored: `messages`"
RECORD = {
    "problem": "How many?",
    "solution": "It is 12.",
    "messages": [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": "It is 12."},
    ],
}


@pytest.mark.parametrize("name", READS_DATA)
def test_f7_the_same_options_in_every_command(name: str) -> None:
    params = {max(p.opts, key=len): p for p in COMMANDS[name].params}
    assert set(params) >= OPTIONS
    score = {max(p.opts, key=len): p for p in COMMANDS["score"].params}
    for option in OPTIONS:
        assert (params[option].help, params[option].metavar) == (
            score[option].help,
            score[option].metavar,
        )


def test_f7_an_error_names_only_options_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("q,a\nWhy?,So.\n")
    done = CliRunner().invoke(cli.app, ["page", "--traces", str(tmp_path / "odd.csv")])
    said = str(done.exception)
    assert "no known layout" in said
    options = {option for p in COMMANDS["page"].params for option in p.opts}
    for word in ("--prompt-column", "--response-column", "--messages-column"):
        assert word in said
        assert word in options


def command() -> tuple[typer.Typer, list[Any]]:
    """A command that only reads."""
    app, seen = typer.Typer(), list[Any]()

    @app.command()
    @reads_data(limit=3, limit_names=("--limit", "-n"))
    def read(data: str, *, data_options: DataOptions, quiet: bool = False) -> None:
        """Read."""
        seen.append(data_options)
        seen.append(data_options.traces(data))

    return app, seen


def run(*words: object) -> tuple[Any, list[Any]]:
    app, seen = command()
    return CliRunner().invoke(app, [str(word) for word in words]), seen


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_f7_what_is_typed_reaches_the_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"q": "Why?", "a": "So.", "s": "Be brief."})
    done, (options, traces) = run(
        *(path, "--prompt-column", "q", "--response-column", "a", "--system-column", "s"),
        *("--domain-column", "none", "-n", "2", "--generations", "all", "--on-error", "skip"),
    )
    assert done.exit_code == 0
    columns = Columns("q", "a", domain="none", system="s", generations="all")
    assert options == DataOptions(columns, None, None, "auto", 2, "skip")
    assert [turn["role"] for turn in traces[0].turns] == ["system", "user"]
    assert command()[1] == []


def test_b_the_choice_is_printed_once_on_stderr(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", RECORD, {**RECORD, "problem": "Why?"})
    done, (_, traces) = run(path)
    assert done.stderr == f"airlens: {SAID}\n"
    assert done.stdout == ""
    assert traces.reading == {SAID: 2}
    assert not logging.getLogger("airlens.traces").handlers
    # Between rivals it is said however quiet; else it is information.
    assert SAID in run(path, "--quiet")[0].stderr
    plain = write(tmp_path / "y.jsonl", {"prompt": "Why?", "response": "So."})
    assert run(plain)[0].stderr == "airlens: prompt from `prompt`, response from `response`\n"
    assert run(plain, "--quiet")[0].stderr == ""


def test_f7_skipped_rows_are_counted_with_the_column(tmp_path: Path) -> None:
    good, bad = {"prompt": "Why?", "response": "So."}, {"prompt": "Why?"}
    path = write(tmp_path / "x.jsonl", good, bad, bad)
    done, (_, traces) = run(path, "--on-error", "skip")
    assert len(traces) == 1
    assert "airlens: 2 rows skipped\n  2 × `response`: missing\n" in done.stderr
    done, _ = run(path)
    assert "line 2, field 'response': missing (the columns are: prompt)" in str(done.exception)
    done, _ = run(write(tmp_path / "y.jsonl", bad), "--on-error", "skip")
    assert "field 'response': missing" in str(done.exception)


@pytest.mark.parametrize(
    "words", [["--generations", "each"], ["--on-error", "x"], ["--limit", "0"]]
)
def test_f7_a_word_that_is_no_choice_is_refused(words: list[str]) -> None:
    done, seen = run("x.jsonl", *words)
    assert (done.exit_code, seen) == (2, [])


def test_b_the_panel_of_the_options() -> None:
    panels = {
        max(p.opts, key=len): getattr(p, "rich_help_panel", None) for p in COMMANDS["page"].params
    }
    assert {panels[option] for option in OPTIONS} == {PANEL}


@pytest.mark.model
def test_b_evaluate_prints_json_alone_on_stdout_and_keeps_the_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", RECORD)
    done = CliRunner().invoke(cli.app, ["evaluate", str(path), "--json", "--quiet"])
    assert json.loads(done.stdout)["provenance"]["reading"] == {SAID: 1}
    assert f"airlens: {SAID}" in done.stderr
