"""The study's command on a tiny model: resumable, one row a run, the same run is not made twice.

And what it would cost, and the choice of precision, which need no run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explore_tiny import save_tiny

from airlens.errors import ConfigError
from airlens.experiments.studies.study import (
    ARMS,
    arm_named,
    read_runs,
    runs_provenance,
    study_table,
)
from airlens.provenance import fingerprint
from airlens.selection.select import selector_values
from airlens.step_influence.influence import Influence
from airlens.traces.trace import Trace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import selection_study as study
from gsm8k import costs, precision, runs
from gsm8k.settings import SETTINGS, Setting


@pytest.mark.slow
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRLENS_DATA", raising=False)
    # Without the new process of each run, which is tested alone.
    monkeypatch.setattr(runs, "in_own_process", lambda function, *arguments: function(*arguments))
    tiny = Setting(
        "tiny",
        model=str(save_tiny(tmp_path / "m")),
        pool=8,
        test=2,
        share=0.25,
        steps=2,
        seeds=2,
        repeat=False,
        probes=2,
        probe_tokens=1400,
        controls=1,
        template="plain",
        generate=False,
        on_gpu=False,
        bf16=False,
    )
    monkeypatch.setitem(study.SETTINGS, "tiny", tiny)
    command = ["study", "--setting", "tiny", "--out", str(tmp_path / "runs.parquet")]
    command += [
        "--work",
        str(tmp_path / "work"),
        "--arm",
        "random",
        "--arm",
        "AIR + linear weights",
    ]
    monkeypatch.setattr(sys, "argv", command)
    study.main()
    found = read_runs(tmp_path / "runs.parquet")
    # Every arm once with each budget, then what draws at random a second time.
    order = ["untrained", *["random", "AIR + linear weights"] * 2, *["random"] * 2]
    assert found["arm"].tolist() == order
    budgets = ["tokens", "tokens", "samples", "samples", "tokens", "samples"]
    assert found["budget"].tolist() == ["none", *budgets]
    assert set(found.loc[found["budget"] == "samples", "n_samples"]) == {2}
    assert runs_provenance(tmp_path / "runs.parquet")["tiny"]["n_pool"] == 8
    # The same samples, the same run.
    for _, part in found.groupby(["arm", "seed", "data"]):
        assert part["nll"].nunique() == 1
    assert len(study_table(found)) == 5
    study.main()
    pd.testing.assert_frame_equal(read_runs(tmp_path / "runs.parquet"), found)
    monkeypatch.setattr(sys, "argv", [*command, "--lr", "1"])
    with pytest.raises(ConfigError, match="another --out"):
        study.main()
    # More seeds are added to what there is; scores that lack some are computed anew.
    (folder,) = (tmp_path / "work").glob("*/scores")
    former = Influence.load(folder)
    replace(former, samples=former.samples.drop(columns="rsr")).save(folder)
    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "3"])
    study.main()
    more = read_runs(tmp_path / "runs.parquet")
    assert more.iloc[len(found) :][["arm", "seed"]].to_numpy().tolist() == [["random", 2]] * 2
    # Of the scores, numbers only: the texts are the data set's.
    scores = Influence.load(folder)
    assert len(scores.samples) == 8
    assert scores.tokens.empty
    assert set(scores.steps["text"]) == {""}
    assert not (folder.parent / "parts").exists()
    # Whatever an arm of either study may rank by that comes from passes over the pool.
    names = ["ais", "ais_mean", "ais_control", "ais_novel", "ais_novel_control", "loss", "entropy"]
    for name in (*names, "ifd", "rsr", "lalp", "fai", "waad", "circuit"):
        assert selector_values(scores.samples, name).notna().any(), name


def stand_ins(monkeypatch: pytest.MonkeyPatch, called: Callable[..., Any]) -> None:
    """A study of four traces without a model; ``called`` gives the row of each run."""

    def in_own_process(function: Any, *arguments: Any) -> Any:
        if function is runs.scored:
            return None
        _, arm, budget, seed, ids, _ = arguments
        name = arm.name if arm else "untrained"
        row = {"arm": name, "budget": budget, "seed": seed, "nll": 1.0, "seconds": 0.0}
        return row | {"data": fingerprint({"ids": sorted(ids)})} | called()

    traces = [Trace(str(i), "", "a b") for i in range(4)]
    table = pd.DataFrame({"id": list("0123"), "n_tokens": 2, "ais": 1.0, "loss": 1.0})
    monkeypatch.setattr(runs, "in_own_process", in_own_process)
    monkeypatch.setattr(runs, "load_hf", lambda _: (None, None))
    monkeypatch.setattr(runs, "problems", lambda *_: (traces, traces))
    scores = Influence(pd.DataFrame(), pd.DataFrame(), table, pd.DataFrame())
    monkeypatch.setattr(runs.Influence, "load", lambda _: scores)


def test_two_runs_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)  # passed only by two at a time

    def called() -> dict[str, Any]:
        both.wait()
        return {"threads": os.environ["OMP_NUM_THREADS"]}

    stand_ins(monkeypatch, called)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    setting = Setting("s", budgets=("tokens",), seeds=1, bf16=False)
    arms = [arm_named(name) for name in ("random", "AIR", "longest")]
    runs.run_all(setting, arms, tmp_path / "runs.parquet", tmp_path, jobs=2)
    found = read_runs(tmp_path / "runs.parquet")
    assert set(found["arm"]) == {"untrained", "random", "AIR", "longest"}
    assert set(found["threads"]) == {"3"}


def test_a_run_is_written_before_the_next_looks_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    stand_ins(monkeypatch, lambda: made.append(1) or {})
    append = runs.append_run

    def slow(*arguments: Any) -> None:
        time.sleep(0.2)
        append(*arguments)

    monkeypatch.setattr(runs, "append_run", slow)
    # Traces of one length: an equal number of samples holds an equal number of tokens.
    setting = Setting("s", share=0.5, budgets=("tokens", "samples"), seeds=1, bf16=False)
    runs.run_all(setting, [arm_named("AIR")], tmp_path / "runs.parquet", tmp_path)
    found = read_runs(tmp_path / "runs.parquet")
    assert found["arm"].tolist() == ["untrained", "AIR", "AIR"]
    assert found["data"].nunique() == 2
    assert len(made) == 2


def test_every_arm_has_one_seed_before_any_has_two() -> None:
    for setting in SETTINGS.values():
        order = runs.schedule(setting, list(ARMS))
        seeds = [seed for _, _, seed in order]
        assert seeds == sorted(seeds)
        assert len({(a.name if a else "", b, s) for a, b, s in order}) == len(order)
    larger = runs.schedule(SETTINGS["gsm8k-20"], list(ARMS))
    selecting = [arm for arm in ARMS if arm.by]
    assert len(larger) == 1 + 3 * len(selecting)


def test_a_new_process_gives_its_result_and_ends() -> None:
    import os

    assert runs.in_own_process(os.getpid) != os.getpid()
    assert runs.in_own_process(divmod, 17, 5) == (3, 2)


SIZES: dict[str, Any] = {
    "n_parameters": 1e9,
    "n_vocab": 50_000,
    "d_model": 2048,
    "n_layers": 20,
    "pool_tokens": 100_000,
    "test_tokens": 30_000,
    "test_problems": 300,
}


@pytest.mark.parametrize("bf16", [False, True])
def test_a_run_that_is_over_keeps_no_model(bf16: bool) -> None:
    """Whatever else a process keeps, the trained weights can be freed."""
    import gc
    import weakref

    from explore_tiny import tiny_parts

    from airlens.traces.trace import Trace
    from airlens.training.train import TrainSettings, fine_tune

    traces = [Trace(str(i), "a", "b c d") for i in range(2)]
    gone = []
    for _ in range(2):
        model, tokenizer = tiny_parts()
        settings = TrainSettings(n_batches=1, bf16=bf16, cpu=True)
        options: dict[str, Any] = {"tokenizer": tokenizer, "template": "plain", "progress": False}
        result = fine_tune(model, traces, settings=settings, **options)
        gone.append(weakref.ref(result.model))
        del model, result
    gc.collect()
    assert [ref() is None for ref in gone] == [True, True]


def test_costs_by_hand() -> None:
    setting = replace(SETTINGS["gsm8k-20"], seeds=1, epochs=2)
    table = costs.cost_table(setting, **SIZES, device="h100").set_index("stage")
    n = len([arm for arm in ARMS if arm.by])
    assert table["runs"].iloc[0] == n + 1
    assert table.loc["training", "tokens"] == pytest.approx(2 * n * 0.2 * 100_000)
    assert table.loc["training", "flops"] == pytest.approx(6e9 * 2 * n * 0.2 * 100_000)
    assert table.loc["evaluation", "flops"] == pytest.approx(2e9 * (n + 1) * 30_000)
    assert table.loc["scoring", "tokens"] == 9 * 100_000  # eight passes and a control
    assert table.loc["generation", "tokens"] == 0
    stages = table.drop("all")
    assert table.loc["all", "flops"] == pytest.approx(stages["flops"].sum())
    hours = table.loc["all", "flops"] / (989e12 * costs.REACHED) / 3600
    assert table.loc["all", "hours"] == pytest.approx(hours)
    assert table["memory_gb"].iloc[0] > 16  # weights, gradients and moments in fp32
    assert table["fits"].all()


def test_costs_say_what_does_not_fit() -> None:
    sizes = {**SIZES, "n_parameters": 7e9}
    assert not costs.cost_table(SETTINGS["gpu"], **sizes, device="h100")["fits"].any()
    slower, faster = (
        costs.cost_table(SETTINGS["gpu"], **SIZES, device=d)["hours"] for d in ("a100", "h100")
    )
    assert (slower > faster).all()


def test_precision_is_measured_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "ROWS", 4)
    assert precision.bf16_is_faster("cpu") in (True, False)
    clock = iter([0.0, 1.0, 1.0, 1.5])  # fp32 takes 1, bf16 0.5
    monkeypatch.setattr(precision.time, "process_time", lambda: next(clock))
    assert precision.bf16_is_faster("cpu")
    clock = iter([0.0, 1.0, 1.0, 9.0])
    assert not precision.bf16_is_faster("cpu")
