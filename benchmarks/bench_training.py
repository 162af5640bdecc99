"""Cost of a training step on a packed row, beside the same step as transformers makes it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timing import interleaved, table

from airlens.model.files import load_hf
from airlens.training.examples import join, training_examples
from airlens.training.packed_rows import each_sequence_alone
from airlens.training.weighted_loss import weighted_loss

SEQUENCES = 8  # in the row


def step(model: Any, row: dict[str, torch.Tensor], alone: bool) -> float:
    """Forward, loss and backward; transformers' attention and loss, or ours. Returns the loss."""
    model.zero_grad()
    inputs = {name: row[name] for name in ("input_ids", "position_ids")}
    if alone:
        with each_sequence_alone(model) as works:
            assert works
            logits = model(**inputs, use_cache=False).logits
            loss = weighted_loss(logits, row["labels"], row["loss_weights"])
    else:
        loss = model(**inputs, labels=row["labels"], use_cache=False).loss
    loss.backward()
    return float(loss.detach())


def training(b: Any) -> None:
    """Forward and backward of a row of eight traces, no optimizer; our trial pass is counted."""
    model, tokenizer = load_hf("smollm2-135m")
    examples = training_examples(tokenizer, b.traces[:SEQUENCES], template="plain")
    row = {name: torch.tensor([values]) for name, values in join(examples).items()}
    slow, quick = "transformers", "airlens"
    runs = {slow: partial(step, model, row, False), quick: partial(step, model, row, True)}
    runs[slow]()
    times, out = interleaved(runs, b.rounds)
    table("Training step, packed", times, row["input_ids"].shape[1], slow)
    b.ratio("training_vs_transformers", times, slow, quick)
    b.found["training_loss_diff"] = float(f"{abs(out[slow] - out[quick]):.2g}")
