"""What the GSM8K study may be run on, and its problems."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airlens.files import data_path
from airlens.provenance import fingerprint
from airlens.traces.chat_template import Template
from airlens.traces.encoding import encode_trace
from airlens.traces.load import load_traces
from airlens.traces.trace import Trace

# A study begun before these could be set goes on: at their old values they are not in its key.
_ADDED = {"epochs": 1, "budgets": ("tokens", "all", "samples"), "bf16": True}
# A run is the same however many seeds there are; studies were begun with as many.
_SEEDS = {"seeds": 3}


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
        epochs: passes over a selection.
        steps: optimizer steps an epoch; the full pool gets as many more as it has more data.
        lr: learning rate.
        seeds: runs of an arm that draws at random; of the others where ``repeat``.
        repeat: run every arm with every seed.
        budgets: ``tokens``: selections of equally many tokens; ``samples``: of equally many
            samples; ``all``: the whole pool.
        probes: of the retrieval heads.
        probe_tokens: longest probe.
        controls: draws of random heads.
        template: of prompts.
        generate: measure accuracy too.
        on_gpu: train on the accelerator. Scores are fp32 in any case.
        bf16: mixed precision in training and evaluation; None: where it is measured to be faster.
        tokens_per_batch: of scoring and evaluation.
    """

    name: str
    model: str = "smollm2-135m"
    pool: int | None = None
    test: int | None = None
    max_tokens: int | None = None
    share: float = 0.2
    epochs: int = 1
    steps: int = 96
    lr: float = 2e-5
    seeds: int = 3
    repeat: bool = True
    budgets: tuple[str, ...] = ("tokens", "all", "samples")
    probes: int = 12
    probe_tokens: int = 840
    controls: int = 3
    template: Template = "chat"
    generate: bool = True
    on_gpu: bool = True
    bf16: bool | None = True
    tokens_per_batch: int = 32768

    def key(self, data: dict[str, list[str]]) -> str:
        """Fingerprint of the setting and the ids of its data; more seeds may be added to it."""
        sizes = asdict(self) | _SEEDS
        known = {k: v for k, v in sizes.items() if k not in _ADDED or v != _ADDED[k]}
        return fingerprint({**known, **data})


def _larger(name: str, share: float) -> Setting:
    """1,000 problems and steps of eight of them, on whatever CPU there is."""
    return Setting(
        name,
        pool=1000,
        test=300,
        share=share,
        steps=round(1000 * share / 8),
        budgets=("tokens",),
        probes=6,
        controls=1,
        template="plain",
        generate=False,
        on_gpu=False,
        bf16=None,
        tokens_per_batch=2048,
    )


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
        bf16=True,
        tokens_per_batch=2048,
    ),
    "gsm8k-20": _larger("gsm8k-20", 0.2),
    "gsm8k-40": _larger("gsm8k-40", 0.4),
}


def problems(setting: Setting, tokenizer: Any) -> tuple[list[Trace], list[Trace]]:
    """Pool and held-out problems, drawn with a fixed seed.

    GSM8K from the folder that AIRLENS_DATA names; without it half of the bundled arithmetic traces
    are the pool, the others the test.
    """
    folder = Path(os.environ.get("AIRLENS_DATA", "")) / "gsm8k"
    if os.environ.get("AIRLENS_DATA") and folder.is_dir():
        pool, test = (list(load_traces(folder / f"{part}.jsonl")) for part in ("train", "test"))
    else:
        traces = [t for t in load_traces(data_path("traces.jsonl")) if t.domain == "arithmetic"]
        pool, test = traces[::2], traces[1::2]
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
