"""Whether bf16 mixed precision pays on this machine, and what it does to a loss curve.

A CPU without bf16 instructions (before AVX512-BF16 and AMX) multiplies bf16 several times slower
than fp32.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from airlens.model.files import load_hf
from airlens.training.train import TrainSettings, fine_tune

from .settings import Setting, problems

ROWS, WIDE, INNER = 256, 576, 1536  # a projection of SmolLM2-135M on a batch of training
REPEATS = 3


def bf16_is_faster(device: str) -> bool:
    """Whether the products of a training step are faster in bf16 autocast, by a measurement.

    Processor time on a CPU, so that other work on it does not decide.
    """
    x = torch.randn(ROWS, WIDE, device=device, requires_grad=True)
    w = torch.randn(INNER, WIDE, device=device, requires_grad=True)
    clock = time.perf_counter if device != "cpu" else time.process_time
    spent = {}
    for bf16 in (False, True):
        for repeat in range(REPEATS + 1):
            if repeat == 1:  # the first one warms up
                _wait(device)
                start = clock()
            with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
                torch.nn.functional.linear(x, w).float().sum().backward()
        _wait(device)
        spent[bf16] = clock() - start
    return spent[True] < spent[False]


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def loss_curves(setting: Setting, n: int = 16, steps: int = 4) -> pd.DataFrame:
    """Train on the first ``n`` problems in both precisions: bf16, step, loss, cpu_s of the run."""
    parts = []
    for bf16 in (False, True):
        model, tokenizer = load_hf(setting.model)
        pool, _ = problems(replace(setting, test=1), tokenizer)
        options: dict[str, Any] = {"lr": setting.lr, "bf16": bf16, "cpu": not setting.on_gpu}
        start = time.process_time()
        result = fine_tune(
            model.to("cuda") if setting.on_gpu else model,
            pool[:n],
            tokenizer=tokenizer,
            settings=TrainSettings(n_batches=steps, **options),
            template=setting.template,
            progress=False,
        )
        frame = result.losses[["step", "loss"]]
        parts.append(frame.assign(bf16=bf16, cpu_s=round(time.process_time() - start, 1)))
    return pd.concat(parts, ignore_index=True)
