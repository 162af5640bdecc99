"""What a study would cost before it is run: tokens, FLOPs, memory, hours on a stated device.

FLOPs: 6 x parameters x tokens of training, 2 x of a forward pass (Kaplan et al. 2020, 2001.08361),
attention left out: short sequences. Hours: at a share of the device's peak that training usually
reaches; they are an estimate, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from airlens.experiments.studies.study import ARMS

from .runs import schedule
from .settings import Setting

# Base and ablated in two modes, the responses alone, attention read once, and the responses with
# short contexts, some two; a control each more.
SCORING_PASSES = 8
ANSWER_TOKENS = 320  # longest solution that is generated
REACHED = 0.35  # ours: share of the peak


@dataclass(frozen=True)
class Device:
    """A device by its data sheet.

    Attributes:
        peak: FLOP/s, dense; bf16 where it has it.
        memory: bytes.
    """

    peak: float
    memory: float


DEVICES = {
    "h100": Device(989e12, 80e9),  # SXM
    "a100": Device(312e12, 80e9),
    "rtx4090": Device(165e12, 24e9),
    "cpu-core": Device(1e11, 16e9),  # one core with AVX2, fp32
}


def cost_table(
    setting: Setting,
    *,
    n_parameters: float,
    n_vocab: int,
    d_model: int,
    n_layers: int,
    pool_tokens: int,
    test_tokens: int,
    test_problems: int,
    device: str = "h100",
) -> pd.DataFrame:
    """One row a stage (scoring, training, evaluation, all): tokens, flops, hours.

    Args:
        setting: of the study.
        n_parameters: of the model.
        n_vocab: its vocabulary.
        d_model: width of its residual stream.
        n_layers: its layers.
        pool_tokens: of the whole pool, prompts included.
        test_tokens: of the held-out problems.
        test_problems: their number.
        device: of ``DEVICES``.
    """
    runs = schedule(setting, list(ARMS))
    whole = sum(budget == "all" for _, budget, _ in runs)
    chosen = sum(budget in ("tokens", "samples") for _, budget, _ in runs)
    trained = setting.epochs * pool_tokens * (chosen * setting.share + whole)
    evaluated = len(runs) * test_tokens
    generated = len(runs) * test_problems * ANSWER_TOKENS if setting.generate else 0
    passes = SCORING_PASSES + setting.controls
    tokens = {
        "scoring": passes * pool_tokens,
        "training": trained,
        "evaluation": evaluated,
        "generation": generated,
    }
    factor = {"scoring": 2, "training": 6, "evaluation": 2, "generation": 2}
    table = pd.DataFrame({"stage": list(tokens), "tokens": list(tokens.values())})
    table["flops"] = table["tokens"] * table["stage"].map(factor) * n_parameters
    total = {"stage": "all", "tokens": table["tokens"].sum(), "flops": table["flops"].sum()}
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    table["hours"] = table["flops"] / (DEVICES[device].peak * REACHED) / 3600
    memory = training_memory(setting, n_parameters, n_vocab, d_model, n_layers, pool_tokens)
    note = {"runs": len(runs), "device": device, "memory_gb": memory / 1e9}
    note["fits"] = memory < DEVICES[device].memory
    return table.assign(**note)


def training_memory(
    setting: Setting, parameters: float, vocab: int, width: int, layers: int, pool_tokens: int
) -> float:
    """Bytes at the peak of a training step: fp32 weights, gradients, two Adam moments; activations.

    Activations: about 34 values a token, layer and unit of width in 16 bits (2205.05198, without
    attention's), and the logits in fp32 with their gradient.
    """
    batch = pool_tokens * setting.share / setting.steps  # a step has as many tokens in every arm
    return 16 * parameters + batch * (34 * layers * width + 8 * vocab)
