"""Does it pay? Fine-tune on every selection and weighting, and measure held-out problems.

    python benchmarks/selection_study.py --setting cpu
    python benchmarks/selection_study.py --setting gpu

Resumable: scores and finished runs are kept, a rerun does the rest. One row a run in the output.
GSM8K comes from the folder that AIRLENS_DATA names, otherwise the bundled arithmetic traces are
split into pool and test.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from airlens.encode import Template, encode_trace
from airlens.files import data_path
from airlens.model import load_hf, load_model
from airlens.probes import key_value_probes
from airlens.provenance import fingerprint, provenance
from airlens.reading.load import load_traces
from airlens.retrieval import retrieval_scores
from airlens.step_influence import Influence, influence
from airlens.trace import Trace
from airlens.training.evaluate import (
    accuracy,
    generate_answers,
    held_out_nll,
    per_token,
    score_answers,
)
from airlens.training.step_weights import step_weights
from airlens.training.study import ARMS, Arm, append_run, arm_named, choose, finished, same_run
from airlens.training.train import TrainSettings, fine_tune


@dataclass(frozen=True)
class Setting:
    """What a study is run on.

    Attributes:
        name: in the column ``setting``.
        model: scorer and student.
        pool: problems to select from; None: all.
        test: held-out problems; None: all.
        max_tokens: longest problem with its solution; None: any.
        share: of the pool that an arm trains on.
        steps: optimizer steps of a selection; the full pool gets as many more as it has more data.
        lr: learning rate.
        seeds: runs of an arm that draws at random; of the others where ``repeat``.
        repeat: run every arm with every seed.
        probes: of the retrieval heads.
        probe_tokens: longest probe.
        controls: draws of random heads.
        template: of prompts.
        generate: measure accuracy too.
        on_gpu: train on the accelerator; bf16 mixed precision either way. Scores are fp32.
        tokens_per_batch: of scoring and evaluation.
    """

    name: str
    model: str = "smollm2-135m"
    pool: int | None = None
    test: int | None = None
    max_tokens: int | None = None
    share: float = 0.2
    steps: int = 96
    lr: float = 2e-5
    seeds: int = 3
    repeat: bool = True
    probes: int = 12
    probe_tokens: int = 840
    controls: int = 3
    template: Template = "chat"
    generate: bool = True
    on_gpu: bool = True
    tokens_per_batch: int = 32768


SETTINGS = {
    "gpu": Setting("gpu"),
    # Short problems and a plain template: on one core a token costs some 5 ms in each pass.
    "cpu": Setting(
        "cpu",
        pool=80,
        test=40,
        max_tokens=96,
        share=0.25,
        steps=5,
        lr=5e-5,
        repeat=False,
        probes=6,
        controls=1,
        template="plain",
        generate=False,
        on_gpu=False,
        tokens_per_batch=2048,
    ),
}


def problems(setting: Setting, tokenizer: Any) -> tuple[list[Trace], list[Trace]]:
    """Pool and held-out problems, drawn with a fixed seed."""
    folder = Path(os.environ.get("AIRLENS_DATA", "")) / "gsm8k"
    if os.environ.get("AIRLENS_DATA") and folder.is_dir():
        pool, test = (load_traces(folder / f"{part}.jsonl") for part in ("train", "test"))
    else:
        traces = [t for t in load_traces(data_path("traces.jsonl")) if t.domain == "arithmetic"]
        pool, test = traces[::2], traces[1::2]  # type: ignore[assignment]
    return (
        _draw(pool, setting.pool, setting, tokenizer),
        _draw(test, setting.test, setting, tokenizer),
    )


def _draw(traces: list[Trace], n: int | None, setting: Setting, tokenizer: Any) -> list[Trace]:
    if setting.max_tokens is not None:
        lengths = [len(encode_trace(tokenizer, t, setting.template).tokens) for t in traces]
        limit = setting.max_tokens
        traces = [t for t, length in zip(traces, lengths, strict=True) if length <= limit]
    if n is None or n >= len(traces):
        return list(traces)
    kept = np.random.default_rng(0).choice(len(traces), n, replace=False)
    return [traces[i] for i in sorted(kept)]


def scored(setting: Setting, pool: list[Trace], folder: Path) -> Influence:
    """Uniform-mode influence of the pool, every other score a column of its samples."""
    if (folder / "scores" / "samples.parquet").exists():
        return Influence.load(folder / "scores")
    model = load_model(setting.model)
    probes = key_value_probes(model.tokenizer, setting.probes, setting.probe_tokens)
    heads = retrieval_scores(model, probes).top(0.05)
    options: dict[str, Any] = {
        "template": setting.template,
        "max_tokens_per_batch": setting.tokens_per_batch,
    }
    uniform = influence(model, pool, heads, mode="uniform", controls=setting.controls, **options)
    mean = influence(model, pool, heads, mode="mean", controls=0, **options)
    samples = uniform.samples.merge(
        mean.samples[["id", "ais"]].rename(columns={"ais": "ais_mean"}), on="id"
    )
    # IFD (2308.12032): L(y given x) / L(y).
    student, tokenizer = load_hf(setting.model)
    alone = held_out_nll(
        student, tokenizer, [replace(t, prompt="") for t in pool], template="plain"
    )
    samples["ifd"] = samples["loss_base"] / (alone["nll"] / alone["n_tokens"])
    result = replace(uniform, samples=samples)
    result.save(folder / "scores")
    return result


def one_run(
    setting: Setting,
    arm: Arm | None,
    budget: str,
    seed: int,
    ids: list[str],
    data: tuple[list[Trace], list[Trace], Influence],
) -> dict[str, Any]:
    """Train an arm (None: the untrained model) on the pool's ``ids`` and evaluate; a row."""
    pool, test, scores = data
    started = time.monotonic()
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
            weights=_weights(arm, scores, seed),
            settings=TrainSettings(
                lr=setting.lr,
                n_batches=round(setting.steps / setting.share) if whole else setting.steps,
                seed=seed,
                bf16=True,
                cpu=not setting.on_gpu,
            ),
            template=setting.template,
            progress=False,
        )
        row |= {k: result.provenance[k] for k in ("n_tokens", "n_labels")}
        row |= {"n_samples": len(ids), "steps": len(result.losses)}
        row["loss_first"] = float(result.losses["loss"].iloc[0])
        model = result.model
    # In the same mixed precision for every arm, which a recent CPU is faster in.
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
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
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def _weights(arm: Arm, scores: Influence, seed: int) -> Any:
    if arm.scheme is None:
        return None
    return step_weights(
        scores.steps,
        arm.scheme,
        tokens=scores.tokens,
        shuffle=seed if arm.shuffled else None,
        source=scores.provenance,
    )


def schedule(setting: Setting, arms: list[Arm]) -> list[tuple[Arm | None, str, int]]:
    """All runs: at equal tokens first, then the full pool, then at equal samples."""
    runs: list[tuple[Arm | None, str, int]] = [(None, "none", 0)]
    for budget in ("tokens", "all", "samples"):
        for arm in arms:
            if (arm.by is None) == (budget == "all"):
                n = setting.seeds if setting.repeat or arm.seeded else 1
                runs += [(arm, budget, seed) for seed in range(n)]
    return runs


def main() -> None:
    """Run what has not been run."""
    args = _arguments()
    names = ("pool", "test", "steps", "lr")
    changes = {k: getattr(args, k) for k in names if getattr(args, k) is not None}
    setting = replace(SETTINGS[args.setting], **changes)
    _, tokenizer = load_hf(setting.model)
    pool, test = problems(setting, tokenizer)
    data = {"pool": [t.id for t in pool], "test": [t.id for t in test]}
    key = fingerprint({**asdict(setting), **data})
    done = finished(args.out, setting.name, key)
    scores = scored(setting, pool, args.work / _score_key(setting, pool))
    note = provenance(
        settings=asdict(setting),
        scores=scores.provenance,
        n_pool=len(pool),
        n_test=len(test),
        data=fingerprint(data),
        command=f"python benchmarks/selection_study.py --setting {setting.name}",
    )
    arms = [arm_named(name) for name in args.arm] if args.arm else list(ARMS)
    for arm, budget, seed in schedule(setting, arms):
        name = arm.name if arm else "untrained"
        if (name, budget, seed) in done:
            continue
        ids = choose(arm, scores.samples, setting.share, budget, seed) if arm else []  # type: ignore[arg-type]
        row = same_run(args.out, setting.name, name, seed, fingerprint({"ids": sorted(ids)}))
        if row is None:
            row = one_run(setting, arm, budget, seed, ids, (pool, test, scores))
            gc.collect()  # a trainer and its optimizer hold each other
        row |= {"setting": setting.name, "fingerprint": key, "budget": budget}
        append_run(args.out, row, note)
        print(
            f"{name:32} {budget:8} seed {seed}  NLL {row['nll']:.4f}  {row['seconds']:.0f} s",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--setting", choices=SETTINGS, default="cpu")
    parser.add_argument("--out", type=Path, default=Path("data/results/selection_study.parquet"))
    parser.add_argument("--work", type=Path, default=Path("runs/selection_study"))
    parser.add_argument("--arm", action="append", help="only this arm (repeatable)")
    parser.add_argument("--pool", type=int, help="problems to select from")
    parser.add_argument("--test", type=int, help="held-out problems")
    parser.add_argument("--steps", type=int, help="optimizer steps of a selection")
    parser.add_argument("--lr", type=float, help="learning rate")
    return parser.parse_args()


def _score_key(setting: Setting, pool: list[Trace]) -> str:
    """Fingerprint of what decides the scores, and nothing of the training."""
    names = ("model", "probes", "probe_tokens", "controls", "template")
    return fingerprint({n: getattr(setting, n) for n in names} | {"pool": [t.id for t in pool]})


if __name__ == "__main__":
    main()
