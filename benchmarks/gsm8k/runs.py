"""The runs of the GSM8K study, each in a process of its own.

In one process memory grew by half a gigabyte a run. The models of finished runs are freed (tested),
so it is most likely freed memory that the C library does not give back; a process gives back all.
Every row holds its process' peak.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pool_scores import SCORES, PoolScores
from timing import peak_mb

from airlens.experiments.studies.study import (
    Arm,
    append_run,
    arm_weights,
    choose,
    finished,
    runs_provenance,
    same_run,
)
from airlens.folders import kept
from airlens.losses.fast.process_settings import fast_allocator
from airlens.model.files import load_hf
from airlens.provenance import fingerprint, provenance
from airlens.step_influence.influence import Influence
from airlens.traces.trace import Trace
from airlens.training.evaluate import (
    accuracy,
    generate_answers,
    held_out_nll,
    per_token,
    score_answers,
)
from airlens.training.train import TrainSettings, fine_tune

from .precision import bf16_is_faster
from .settings import Setting, problems

Run = tuple[Arm | None, str, int]


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function of a module, called in a new process that then ends."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(function, arguments)


def schedule(setting: Setting, arms: list[Arm]) -> list[Run]:
    """All runs in order: every arm and budget once, then with a second seed, and so on."""
    runs: list[Run] = [(None, "none", 0)]
    for seed in range(setting.seeds):
        for budget in setting.budgets:
            for arm in arms:
                repeated = seed == 0 or setting.repeat or arm.seeded
                if repeated and (arm.by is None) == (budget == "all"):
                    runs.append((arm, budget, seed))
    return runs


def run_all(setting: Setting, arms: list[Arm], out: Path, work: Path, jobs: int = 1) -> None:
    """Make the runs that ``out`` lacks, one row each; scores are kept in ``work``.

    ``jobs``: runs at once, which share the cores: for a machine of more cores than a run can use.
    """
    _, tokenizer = load_hf(setting.model)
    pool, test = problems(setting, tokenizer)
    data = {"pool": [t.id for t in pool], "test": [t.id for t in test]}
    key = setting.key(data)
    done = finished(out, setting.name, key)
    # What a stopped study began with goes on, on whatever machine.
    known = runs_provenance(out).get(setting.name, {}).get("settings", {}).get("bf16")
    if setting.bf16 is None:
        bf16 = known if known is not None else bf16_is_faster("cuda" if setting.on_gpu else "cpu")
        setting = replace(setting, bf16=bf16)
    folder = work / _score_key(setting, pool)
    in_own_process(scored, setting, pool, folder)
    scores = Influence.load(folder / "scores")
    note = provenance(
        settings=asdict(setting),
        scores=scores.provenance,
        n_pool=len(pool),
        n_test=len(test),
        data=fingerprint(data),
        command=f"python benchmarks/selection_study.py --setting {setting.name}",
    )

    # A row is added to what the file holds, and the same run is looked up there: one at a time.
    writing = threading.Lock()

    def row_of(run: Run) -> dict[str, Any]:
        arm, budget, seed = run
        name = arm.name if arm else "untrained"
        ids = choose(arm, scores.samples, setting.share, budget, seed) if arm else []  # type: ignore[arg-type]
        with writing:
            row = same_run(out, key, name, seed, fingerprint({"ids": sorted(ids)}))
        if row is None:
            data_of_run = (pool, test, folder / "scores")
            row = in_own_process(one_run, setting, arm, budget, seed, ids, data_of_run)
        row |= {"setting": setting.name, "fingerprint": key, "budget": budget}
        with writing:
            append_run(out, row, note)
        return row

    todo = [
        run
        for run in schedule(setting, arms)
        if (run[0].name if run[0] else "untrained", *run[1:]) not in done
    ]
    if jobs > 1:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    with ThreadPool(jobs) as threads:  # each waits for a process
        for row in threads.imap_unordered(row_of, todo):
            said = f"{row['arm']:32} {row['budget']:8} seed {row['seed']}  NLL {row['nll']:.4f}"
            print(f"{said}  {row['seconds']:.0f} s", flush=True)


def scored(setting: Setting, pool: list[Trace], folder: Path) -> None:
    """Uniform-mode influence of the pool, every other score a column of its samples; saved.

    Numbers only, of samples and steps: the texts belong to the data set.
    """
    parts = folder / "parts"

    def together() -> Influence:
        found = PoolScores(
            setting.model, pool, parts, setting.probes, setting.probe_tokens, setting.controls,
            setting.template, setting.tokens_per_batch,
        ).together()  # fmt: skip
        steps = found.steps.assign(text="")
        return replace(found, steps=steps, tokens=found.tokens.iloc[:0])

    kept(folder / "scores", together, _whole, Influence.save, whole="provenance.json")
    shutil.rmtree(parts, ignore_errors=True)  # they hold tokens


def _whole(folder: Path) -> Influence | None:
    """Scores that were saved; None where some are missing."""
    found = Influence.load(folder)
    return found if set(SCORES) <= set(found.samples) else None


def one_run(
    setting: Setting,
    arm: Arm | None,
    budget: str,
    seed: int,
    ids: list[str],
    data: tuple[list[Trace], list[Trace], Path],
) -> dict[str, Any]:
    """Train an arm (None: the untrained model) on the pool's ``ids`` and evaluate; a row.

    ``data``: pool, test, and the folder of the pool's scores.
    """
    pool, test, folder = data
    started = time.monotonic()
    fast_allocator()  # the process is ours, and ends with the run
    model, tokenizer = load_hf(setting.model)
    if setting.on_gpu:
        model = model.to("cuda")
    row: dict[str, Any] = {"arm": arm.name if arm else "untrained", "budget": budget, "seed": seed}
    row |= {"n_samples": 0, "n_tokens": 0, "n_labels": 0, "steps": 0, "loss_first": np.nan}
    row["data"] = fingerprint({"ids": sorted(ids)})
    if arm is not None:
        whole = budget == "all"
        result = fine_tune(
            model,
            [t for t in pool if t.id in set(ids)],
            tokenizer=tokenizer,
            weights=arm_weights(arm, Influence.load(folder), seed),
            settings=TrainSettings(
                lr=setting.lr,
                epochs=setting.epochs,
                n_batches=round(setting.steps / setting.share) if whole else setting.steps,
                seed=seed,
                bf16=bool(setting.bf16),
                cpu=not setting.on_gpu,
            ),
            template=setting.template,
            progress=False,
        )
        row |= {k: result.provenance[k] for k in ("n_tokens", "n_labels")}
        row |= {"n_samples": len(ids), "steps": len(result.losses)}
        row["loss_first"] = float(result.losses["loss"].iloc[0])
        model = result.model
    # In the same precision for every arm.
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bool(setting.bf16)):
        found = held_out_nll(
            model,
            tokenizer,
            test,
            template=setting.template,
            max_tokens_per_batch=setting.tokens_per_batch,
            progress=False,
        )
    row |= per_token(found)
    row |= {"problem_id": list(found["id"]), "problem_tokens": list(found["n_tokens"])}
    row |= {"problem_nll": list(found["nll"]), "accuracy": np.nan}
    if setting.generate:
        written = generate_answers(
            model, tokenizer, test, template=setting.template, batch_size=256, progress=False
        )
        row["accuracy"] = accuracy(score_answers(written, test))["accuracy"]
    row["peak_gb"] = peak_mb() / 1024
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def _score_key(setting: Setting, pool: list[Trace]) -> str:
    """Fingerprint of what decides the scores, and nothing of the training."""
    names = ("model", "probes", "probe_tokens", "controls", "template")
    return fingerprint({n: getattr(setting, n) for n in names} | {"pool": [t.id for t in pool]})
