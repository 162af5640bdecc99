"""``airlens train`` and ``evaluate`` end to end, in one process and in two."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_lm import tiny_model
from typer.testing import CliRunner

from airlens import cli
from airlens.errors import ConfigError
from airlens.traces.trace import Trace
from airlens.traces.write_traces import save_traces
from airlens.training.step_weights import step_weights

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A model, traces of many lengths, and their step weights."""
    path = tmp_path_factory.mktemp("train")
    tiny_model().save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    traces = [
        Trace(f"t{i}", f"what is {i}?", f"{'so ' * (1 + i)}\n#### {i}").with_steps("line")
        for i in range(8)
    ]
    save_traces(traces, path / "traces.jsonl")
    rows = [
        (t.id, k, len(s.text), float(i + k))
        for i, t in enumerate(traces)
        for k, s in enumerate(t.steps)
    ]
    steps = pd.DataFrame(rows, columns=["id", "step", "n_tokens", "ais"])
    step_weights(steps, "linear").save(path / "weights.parquet")
    return path


def run(*arguments: Any) -> Any:
    return runner.invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)


def options(folder: Path, out: str, batch: int) -> list[Any]:
    found: list[Any] = ["train", folder / "traces.jsonl", "--out", folder / out]
    found += ["--model", folder / "model", "--weights", folder / "weights.parquet"]
    return [*found, "--lr", 0.01, "--batch-size", batch, "--cpu", "--quiet", "--json"]


def test_train_then_evaluate(folder: Path) -> None:
    first = json.loads(run(*options(folder, "one", 2)).stdout.splitlines()[-1])
    assert first["steps"] == 4
    assert first["n_examples"] == 8
    assert first["provenance"]["weights"]["scheme"] == "linear"
    again = json.loads(run(*options(folder, "one", 2)).stdout.splitlines()[-1])
    assert again["losses"] == first["losses"]
    common = ["evaluate", folder / "traces.jsonl", "--device", "cpu", "--quiet", "--json"]
    found = run(*common, "--model", folder / "one" / "model", "-g", "--max-new-tokens", 4)
    after = json.loads(found.stdout.splitlines()[-1])
    before = json.loads(run(*common, "--model", folder / "model").stdout.splitlines()[-1])
    assert after["nll"]["nll"] < before["nll"]["nll"]
    assert after["nll"]["lo"] <= after["nll"]["nll"] <= after["nll"]["hi"]
    assert 0 <= after["accuracy"]["accuracy"] <= 1


def test_arguments_that_make_no_sense(folder: Path) -> None:
    with pytest.raises(ConfigError, match="both --scheme and --scores"):
        run("train", folder / "traces.jsonl", "--out", folder / "x", "--scheme", "linear")
    with pytest.raises(ConfigError, match="not both"):
        run(*options(folder, "x", 2), "--scheme", "linear")
    assert run("train", folder / "absent.jsonl", "--out", folder / "x").exit_code == 2


@pytest.mark.slow
def test_two_processes_are_one(folder: Path) -> None:
    """Two processes of one trace each a step, against one of two."""
    pytest.importorskip("accelerate")
    # accelerate starts several CPU processes only through MPI; this launcher is torchrun's, and our
    # --cpu makes them meet on the CPU.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", "0", "-m", "airlens.cli"]
    command = [*launch, *map(str, options(folder, "two", 1))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads((folder / "two" / "run.json").read_text())
    run(*options(folder, "alone", 2))
    alone = json.loads((folder / "alone" / "run.json").read_text())
    losses = [[row["loss"] for row in record["losses"]] for record in (two, alone)]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
