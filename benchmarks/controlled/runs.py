"""The runs of the controlled study: train an arm's selection, answer the held-out problems.

One process makes them all, and loads the model once: there is one student, whose upper layers are
put back before each run, and one optimizer at a time. Peak memory stands in every row.

The tasks are one or two hops of lookup and sums of small numbers because the untrained model
answers none of them in the form asked for, and a solution has some 20 tokens: a run is eight
thousand tokens through a third of the layers. ``n_upper``, ``epochs``, ``steps`` and ``lr`` were
chosen on the oracle arm alone, with seed 0, as the cheapest tried that took its accuracy over .6.
A third of the pool's traces is wrong: in a draft with less than a fifth, random selection did as
well as the oracle, so that there was nothing to find.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pool_scores import PoolScores
from timing import peak_mb

from airlens.experiments.studies.controlled_study import UNTRAINED, schedule
from airlens.experiments.studies.study import Arm, append_run, arm_weights, choose, finished
from airlens.model.files import load_hf
from airlens.provenance import fingerprint, provenance
from airlens.step_influence.influence import Influence
from airlens.traces.trace import Trace
from airlens.training.examples import Example, training_examples

from .answers import Exam, make_exam, take
from .pool import KINDS, held_out, make_pool
from .scores import score_pool
from .student import Student, lower_outputs, make_student, train_step_loss

# What the pool's traces have: fields that others may have do not make it another study.
OF_A_TRACE = ("id", "prompt", "response", "domain", "steps", "meta")


@dataclass(frozen=True)
class Controlled:
    """What the controlled study is run on.

    Attributes:
        name: in the column ``setting``.
        model: scorer, and student.
        counts: traces of each kind in the pool.
        share: of the pool's response tokens that an arm trains on: as many as are clean, so that
            the oracle has no token twice.
        test: held-out problems like the clean ones; half as many with longer chains and half as
            many of another family.
        n_upper: layers that are trained.
        epochs: passes over the selection.
        steps: optimizer steps an epoch.
        lr: peak learning rate (AdamW; three steps of warm-up, then linear to 0).
        seeds: runs of every arm.
        prefix: tokens that count under prefix weights: a response has some 25.
        probes: of the retrieval heads.
        probe_tokens: longest probe.
    """

    name: str = "controlled"
    model: str = "smollm2-135m"
    counts: dict[str, int] = field(
        default_factory=lambda: dict(zip(KINDS, (54, 30, 30, 18, 12, 18, 12, 14, 10), strict=True))
    )
    share: float = 0.2
    test: int = 48
    n_upper: int = 10
    epochs: int = 3
    steps: int = 18
    lr: float = 5e-4
    seeds: int = 5
    prefix: int = 8
    probes: int = 6
    probe_tokens: int = 840


@dataclass(frozen=True)
class Material:
    """What all runs share: the pool as the student's tokens, and the held-out problems.

    Attributes:
        pool: by id.
        tokens: output of the frozen layers for the tokens of each pool trace, by id.
        exams: by part of the test.
    """

    student: Student
    tokenizer: Any
    pool: dict[str, Trace]
    tokens: dict[str, torch.Tensor]
    exams: dict[str, Exam]


def run_all(setting: Controlled, arms: Sequence[Arm], out: Path, work: Path) -> None:
    """Make the runs that ``out`` lacks, a row each; scores are kept in ``work``."""
    pool = make_pool(setting.counts)
    key = key_of(setting, pool)
    done = finished(out, setting.name, key)
    todo = [
        (arm, seed)
        for arm, seed in schedule(arms, setting.seeds)
        if (arm.name if arm else UNTRAINED, "tokens", seed) not in done
    ]
    if not todo:
        return
    named = {"model": setting.model, "probes": setting.probes, "tokens": setting.probe_tokens}
    folder = work / fingerprint({**named, "pool": _texts(pool)})
    scores = score_pool(
        PoolScores(setting.model, pool, folder, setting.probes, setting.probe_tokens)
    )
    note = provenance(
        settings=asdict(setting),
        scores=scores.provenance,
        command="python benchmarks/selection_study.py --setting controlled",
    )
    material = make_material(setting, pool)
    for arm, seed in todo:
        row = one_run(setting, arm, seed, material, scores)
        append_run(out, {**row, "setting": setting.name, "fingerprint": key}, note)
        right = dict(zip(row["problem_id"], row["problem_correct"], strict=True))
        same = np.mean([v for k, v in right.items() if k.startswith("same-")])
        memory = f"peak memory {row['peak_gb']:.2f} GB"
        print(
            f"{row['arm']:28} seed {seed}  accuracy {same:.2f}  {row['cpu_s']:.0f} CPU s  {memory}"
        )


def key_of(setting: Controlled, pool: Sequence[Trace]) -> str:
    """Fingerprint of the setting and its pool; more seeds may be added to a study."""
    # A run is the same however many seeds there are; the study was begun with five.
    return fingerprint({**asdict(setting), "seeds": 5, "pool": _texts(pool)})


def _texts(pool: Sequence[Trace]) -> list[dict[str, Any]]:
    return [{name: trace.to_json()[name] for name in OF_A_TRACE} for trace in pool]


def make_material(setting: Controlled, pool: list[Trace]) -> Material:
    """Load the student and pass all texts through its frozen layers."""
    model, tokenizer = load_hf(setting.model)
    parts = held_out(setting.test)
    texts = [*pool, *(t for part in parts.values() for t in part.traces)]
    examples = training_examples(tokenizer, texts, template="plain")
    used = {i for e in examples for i in e["input_ids"]} | {int(tokenizer.eos_token_id)}
    student = make_student(model, used, setting.n_upper)
    rows = [e["input_ids"] for e in examples[: len(pool)]]
    tokens = dict(zip([t.id for t in pool], lower_outputs(student, rows), strict=True))
    exams = {name: make_exam(student, tokenizer, part) for name, part in parts.items()}
    return Material(student, tokenizer, {t.id: t for t in pool}, tokens, exams)


def one_run(
    setting: Controlled, arm: Arm | None, seed: int, material: Material, scores: Influence
) -> dict[str, Any]:
    """Train an arm (None: nothing) with a seed and answer the held-out problems; a row."""
    started, cpu = time.monotonic(), time.process_time()
    samples = scores.samples
    ids = choose(arm, samples, setting.share, "tokens", seed) if arm else []
    material.student.restart()
    losses = [float("nan")]
    if arm is not None:
        weights = arm_weights(arm, scores, seed, setting.prefix)
        chosen = [material.pool[name] for name in ids]
        examples = training_examples(material.tokenizer, chosen, weights, template="plain")
        batches = [(e, material.tokens[name]) for e, name in zip(examples, ids, strict=True)]
        losses = train(material.student, batches, setting, seed)
    rows = [
        r for e in material.exams.values() for r in take(material.student, material.tokenizer, e)
    ]
    taken = samples[samples["id"].isin(ids)]
    row: dict[str, Any] = {"arm": arm.name if arm else UNTRAINED, "budget": "tokens", "seed": seed}
    row |= {"data": fingerprint({"ids": sorted(ids)}), "n_samples": len(ids)}
    row |= {"n_labels": int(taken["n_tokens"].sum())}
    row |= {"loss_first": losses[0], "loss_last": losses[-1], "kinds": list(KINDS)}
    for name, frame in (("kind", taken), ("pool", samples)):
        by_kind = frame.groupby("kind")["n_tokens"].agg(["size", "sum"]).reindex(KINDS).fillna(0)
        row[f"{name}_samples"] = by_kind["size"].astype(int).tolist()
        row[f"{name}_labels"] = by_kind["sum"].astype(int).tolist()
    row |= {f"problem_{name}": [r[name] for r in rows] for name in rows[0]}
    row["cpu_s"] = round(time.process_time() - cpu, 1)
    row["seconds"] = round(time.monotonic() - started, 1)
    row["peak_gb"] = peak_mb() / 1024
    return row


def train(
    student: Student,
    batch: Sequence[tuple[Example, torch.Tensor]],
    setting: Controlled,
    seed: int,
) -> list[float]:
    """Train the upper layers; the loss of every step.

    Each epoch goes through the selection in a new order, in ``setting.steps`` packed sequences.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(student.upper.parameters(), lr=setting.lr, weight_decay=0.0)
    total, losses = setting.epochs * setting.steps, []
    for _ in range(setting.epochs):
        order = rng.permutation(len(batch))
        for part in np.array_split(order, min(setting.steps, len(batch))):
            step = len(losses)
            rate = setting.lr * min(1.0, (step + 1) / 3) * (1 - step / total)
            optimizer.param_groups[0]["lr"] = rate
            loss = train_step_loss(student, [batch[i] for i in part])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.upper.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    return losses
