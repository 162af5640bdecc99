"""A missing lm-eval is named before a model is loaded; its own errors become one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from airlens import cli
from airlens.errors import AirlensError, ConfigError
from airlens.training.lm_tasks import run_lm_eval


def harness(monkeypatch: pytest.MonkeyPatch, evaluate: Any) -> None:
    """A stand-in for the package, which is no dependency of ours."""
    package = ModuleType("lm_eval")
    package.simple_evaluate = evaluate  # type: ignore[attr-defined]
    inner = SimpleNamespace(HFLM=lambda **parts: parts)
    monkeypatch.setitem(sys.modules, "lm_eval", package)
    monkeypatch.setitem(sys.modules, "lm_eval.models", ModuleType("lm_eval.models"))
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", inner)  # type: ignore[arg-type]


def test_a_missing_package_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(AirlensError, match="pip install lm-eval"):
        CliRunner().invoke(
            cli.app,
            ["evaluate", str(tmp_path / "empty.jsonl"), "--lm-eval", "gsm8k"],
            catch_exceptions=False,
        )


def test_tasks_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(model: Any, tasks: list[str]) -> dict[str, Any]:
        return {"results": {task: {"acc": 0.5, "by": model["pretrained"]} for task in tasks}}

    harness(monkeypatch, evaluate)
    found = run_lm_eval("m", "t", ["gsm8k ", " mmlu"])  # type: ignore[arg-type]
    assert found == {name: {"acc": 0.5, "by": "m"} for name in ("gsm8k", "mmlu")}
    with pytest.raises(ConfigError, match="no lm-eval task"):
        run_lm_eval("m", "t", [" "])  # type: ignore[arg-type]


def test_no_hub_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(**_: Any) -> Any:
        raise ConnectionError("cannot reach the hub")

    harness(monkeypatch, evaluate)
    with pytest.raises(AirlensError, match=r"gsm8k .*cannot reach the hub.*lm_eval ls tasks"):
        run_lm_eval("m", "t", ["gsm8k"])  # type: ignore[arg-type]
