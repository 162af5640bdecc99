"""F4: ``top`` takes a share or a count, in Python and at the terminal, by one rule."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import airlens as al
from airlens import cli
from airlens.errors import ConfigError, HeadError
from airlens.shares import share_or_count

TAKEN = [
    *[(5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), ("5.0", 5), (np.int64(5), 5), (1, 1), ("1", 1)],
    *[(0.05, 0.05), ("0.05", 0.05), (".05", 0.05), ("5%", 0.05), ("5 %", 0.05), ("5e-2", 0.05)],
    *[(1.0, 1.0), ("1.0", 1.0), ("100%", 1.0), (np.float64(0.5), 0.5), ("0.5%", 0.005)],
]
REFUSED: list[Any] = [0, "0", "0%", -1, "-1", -0.1, 1.5, "1.5", "150%", "101 %", float("nan")]
REFUSED += [float("inf"), "five", "", "%", "5%%", "0,05", None, True, np.bool_(True), [5], {}]


@pytest.mark.parametrize(("given", "right"), TAKEN)
def test_f4_a_share_or_a_count(given: Any, right: float | int) -> None:
    read = share_or_count(given)
    assert read == right and type(read) is type(right)


@pytest.mark.parametrize("given", REFUSED)
def test_f4_anything_else_is_refused_by_name(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^top=.*give a share in \(0, 1\].*or a count"):
        share_or_count(given)


def scores() -> al.HeadScores:
    values = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
    return al.HeadScores(values, values[None])


def frame() -> pd.DataFrame:
    ids = [f"s{i}" for i in range(10)]
    return pd.DataFrame({"id": ids, "domain": "", "ais": range(10), "n_tokens": 5})


COUNTS = [(5, 5, 5), ("5", 5, 5), ("20%", 4, 2), (0.2, 4, 2), (np.int64(3), 3, 3), (1.0, 20, 10)]


@pytest.mark.parametrize(("given", "heads", "samples"), COUNTS)
def test_f4_top_in_python(given: Any, heads: int, samples: int) -> None:
    assert len(scores().top(given)) == heads
    assert len(al.select(frame(), top=given).ids) == samples


@pytest.mark.parametrize("given", REFUSED)
def test_f4_top_in_python_refuses(given: Any) -> None:
    with pytest.raises(HeadError, match=r"^top=.*a count from 1 to 20"):
        scores().top(given)
    if given is not None:
        with pytest.raises(ConfigError, match=r"^top="):
            al.select(frame(), top=given)


def test_f4_more_heads_than_there_are() -> None:
    with pytest.raises(HeadError, match="top=21: the model has 20 heads"):
        scores().top(21)


def test_f4_quotas_take_both() -> None:
    two = frame().assign(domain=["a"] * 5 + ["b"] * 5)
    chosen = al.select(two, top="20%", quotas={"a": "60%"}).chosen
    assert chosen["domain"].value_counts().to_dict() == {"a": 3, "b": 1}


@pytest.mark.parametrize("command", [["heads"], ["select", "."], ["report", "."]])
@pytest.mark.parametrize("given", ["0", "-1", "1.5", "150%", "five"])
def test_f4_d9_refused_at_the_terminal(command: list[str], given: str) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--top", given])
    assert result.exit_code == 2
    text = " ".join(result.stderr.replace("│", " ").split())
    assert "--top" in text and f"{given}: give a share in (0, 1]" in text


def test_f4_a_count_at_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "airlens.model.load.load_model",
        lambda *a, **o: SimpleNamespace(cfg=SimpleNamespace(n_ctx=900), tokenizer=None),
    )
    monkeypatch.setattr("airlens.detectors.key_value_probes.key_value_probes", lambda *a, **o: None)
    monkeypatch.setattr("airlens.detectors.detect.detect", lambda *a, **o: scores())
    result = CliRunner().invoke(cli.app, ["heads", "--top", "5", "--json"], catch_exceptions=False)
    assert len(json.loads(result.stdout)["top"]) == 5
