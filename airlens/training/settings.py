"""How to train: the settings of a fine-tuning run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airlens.errors import ConfigError

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a fine-tuning run. Defaults are ours: one epoch of ordinary fine-tuning.

    Attributes:
        epochs: passes over the data.
        lr: peak learning rate (AdamW).
        schedule: of the learning rate after the warm-up: ``linear``, ``cosine``,
            ``constant_with_warmup``, or ``constant``, which has no warm-up.
        warmup_steps: steps (or, below 1, share of them) until the peak.
        batch_size: sequences per device and forward pass.
        accumulation: forward passes per step.
        n_batches: instead of ``batch_size`` and ``accumulation``: split an epoch into this many
            steps of equally many tokens (packed).
        packing: put a batch's sequences into one row without padding.
        max_length: tokens; longer sequences are cut at the end.
        lora: rank of LoRA on all linear layers (peft); None trains everything.
        gradient_checkpointing: less memory, a third more time.
        bf16: mixed precision.
        save_steps: steps between checkpoints; None: only the finished model is saved.
        seed: of the order of the data, and of LoRA.
        cpu: train on the CPU also where there is a GPU.
    """

    epochs: float = 1.0
    lr: float = 2e-5
    schedule: str = "linear"
    warmup_steps: float = 0
    batch_size: int = 8
    accumulation: int = 1
    n_batches: int | None = None
    packing: bool = False
    max_length: int = 2048
    lora: int | None = None
    gradient_checkpointing: bool = False
    bf16: bool = False
    save_steps: int | None = None
    seed: int = 0
    cpu: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "batch_size", "accumulation", "max_length"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError("must be a number above 0", argument=name, value=value)
        for name in ("n_batches", "lora", "save_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError("must be at least 1", argument=name, value=value)
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"use one of {', '.join(SCHEDULES)}", argument="schedule", value=self.schedule
            )
        if not (self.warmup_steps >= 0 and math.isfinite(self.warmup_steps)):
            raise ConfigError(
                "must be a number from 0", argument="warmup_steps", value=self.warmup_steps
            )
