"""A small corpus, its run folder, and a scorer that needs no model, for tests of corpus runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from typer.testing import CliRunner

from airlens import cli
from airlens.corpus.run import RunResult, score_corpus
from airlens.errors import AirlensError

HEADS = "L0H1, L2H3"
ROWS = [
    {
        "id": f"r{i}",
        "domain": "ab"[i % 2],
        "prompt": f"{i} + 1?",
        "response": f"It is {i}.\nSo {i + 1}." * (1 + i % 3),
    }
    for i in range(12)
]


def write(path: Path, rows: list[Any]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def score(model: Any, source: Any, out: Path, **options: Any) -> RunResult:
    return score_corpus(model, source, HEADS, out, **{"part_rows": 5, "progress": False, **options})


def run(*args: object) -> dict[str, Any]:
    """What a command prints with --json."""
    result = CliRunner().invoke(cli.app, [*map(str, args), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def said(*args: object) -> str:
    """What a command prints, without line breaks."""
    result = CliRunner().invoke(cli.app, [*map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(*args: object) -> str:
    """The sentence with which a command ends."""
    result = CliRunner().invoke(cli.app, [*map(str, args)])
    assert result.exit_code != 0
    if isinstance(result.exception, AirlensError):
        return str(result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.replace("│", " ").split())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of all tables and markers of a run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("part-*")
        if path.is_file()
    }


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("id").reset_index(drop=True)
