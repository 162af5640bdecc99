"""The gradient and the loss of a step against a plain loop over its traces, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from airlens.training.examples import WeightedCollator, training_examples
from airlens.training.step_weights import StepWeights
from airlens.training.train import TrainSettings, _with_lora
from airlens.training.weighted_loss import trainer_arguments, trainer_type
from tests.cases.training_kit import student, two_step_traces, weights_of

ACCUMULATION = 3
BATCH = 2


def by_hand(model: Any, examples: list[Any], order: list[list[list[int]]]) -> tuple[Any, Any]:
    """(losses, gradients) of each step: every trace alone, no padding, float64 sums.

    ``order``: for each step, its batches, each the indices of examples.
    """
    losses, gradients = [], []
    model.train()
    for batches in order:
        items = [examples[i] for batch in batches for i in batch]
        count = sum(y != -100 for e in items for y in e["labels"][1:])
        model.zero_grad()
        total = 0.0
        for e in items:
            ids = torch.tensor([e["input_ids"]])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float()
            labels, weights = torch.tensor(e["labels"]), torch.tensor(e["loss_weights"])
            for t in (labels != -100).nonzero()[:, 0].tolist():
                total = total + weights[t] * cross_entropy(logits[t - 1], labels[t])
        loss = total / count
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    return losses, gradients


def by_trainer(model: Any, examples: list[Any], packing: bool, **changes: Any) -> Any:
    """(losses, gradients, order) of a pass that changes no weight: its learning rate is 0."""
    settings = TrainSettings(
        lr=1e-30, batch_size=BATCH, accumulation=ACCUMULATION, packing=packing, cpu=True
    )
    seen: list[list[int]] = []
    gradients: list[dict[str, torch.Tensor]] = []
    collate = WeightedCollator(0, packing)

    def collator(batch: list[Any]) -> Any:
        seen.append([next(i for i, e in enumerate(examples) if e is one) for one in batch])
        return collate(batch)

    arguments = trainer_arguments(None, settings, False)
    arguments.max_grad_norm = 0.0
    assert arguments.n_gpu == 0  # asked once, so that it can be changed
    for name, value in changes.items():
        setattr(arguments, name, value)
    trainer = trainer_type()(
        model=model, args=arguments, train_dataset=examples, data_collator=collator
    )
    from transformers import TrainerCallback

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            gradients.append(
                {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            )

    trainer.add_callback(Keep())
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    order = [seen[i : i + ACCUMULATION] for i in range(0, len(seen), ACCUMULATION)]
    return losses, gradients, order


def compare(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert len(found[1]) == len(expected[1])
    for ours, theirs in zip(found[1], expected[1], strict=True):
        assert set(ours) == set(theirs)
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=2e-3, atol=2e-6, msg=name)


@pytest.mark.parametrize(
    ("name", "packing", "weighted"),
    [
        ("gemma4 multimodal", False, False),
        ("gemma4 multimodal", True, True),
        ("refuses loss kwargs", False, True),
        ("refuses loss kwargs", True, False),
    ],
)
def test_d11_a_step_is_the_plain_loop(
    tokenizer: Any, name: str, packing: bool, weighted: bool
) -> None:
    """Seven traces in batches of two, three batches a step: the last step has one trace."""
    items = two_step_traces(7)
    weights: StepWeights | None = weights_of(items, 0.3, 2.0) if weighted else None
    examples = training_examples(tokenizer, items, weights)
    losses, gradients, order = by_trainer(student(name), examples, packing)
    assert [len(b) for b in order] == [3, 1]
    compare((losses, gradients), by_hand(student(name), examples, order))


@pytest.mark.parametrize("name", ["llama", "refuses loss kwargs"])
@pytest.mark.parametrize("kind", ["lora", "two devices"])
def test_d11_with_lora_and_several_devices(tokenizer: Any, name: str, kind: str) -> None:
    """Two devices of one process, which a CPU can only pretend: the count of a step's labels and
    the factor of the loss are those of two devices, the batch is that of one."""
    items = two_step_traces(7)
    examples = training_examples(tokenizer, items, weights_of(items, 0.3, 2.0))

    def made() -> Any:
        model = student(name)
        return _with_lora(model, TrainSettings(lora=2)) if kind == "lora" else model

    changes = {"_n_gpu": 2, "per_device_train_batch_size": 1} if kind == "two devices" else {}
    losses, gradients, order = by_trainer(made(), examples, False, **changes)
    compare((losses, gradients), by_hand(made(), examples, order))
