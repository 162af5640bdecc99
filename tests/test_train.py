"""The weighted trainer against transformers' own, TRL's, and a loss worked out slowly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lm import tiny_model
from transformers import (
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
)

from airlens.errors import ConfigError, DataError
from airlens.traces.step import Step
from airlens.traces.trace import Trace
from airlens.training.examples import WeightedCollator, equal_token_batches, join, training_examples
from airlens.training.step_weights import StepWeights, step_weights
from airlens.training.train import TrainSettings, fine_tune
from airlens.training.weighted_loss import trainer_type, weighted_loss


def traces(n: int = 7) -> list[Trace]:
    """Responses of very different lengths, two steps each."""
    found = []
    for i in range(n):
        first, second = "ab " * (1 + 2 * i), f"so {i}."
        steps = (
            Step(first, 0, len(first)),
            Step(second, len(first), len(first) + len(second)),
        )
        found.append(Trace(str(i), f"what is {i}?", first + second, steps=steps))
    return found


def weights_of(items: list[Trace], first: float, second: float) -> StepWeights:
    rows = [(t.id, k, w) for t in items for k, w in ((0, first), (1, second))]
    return StepWeights(pd.DataFrame(rows, columns=["id", "step", "weight"]), "file")


def run(trainer: type, collator: Any, examples: list[Any], accumulation: int) -> Any:
    args = TrainingArguments(
        output_dir=None,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=1,
        learning_rate=1e-2,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        save_strategy="no",
        seed=3,
        dataloader_pin_memory=False,
    )
    made = trainer(model=tiny_model(), args=args, train_dataset=examples, data_collator=collator)
    made.train()
    losses = [row["loss"] for row in made.state.log_history if "loss" in row]
    return losses, torch.cat([p.detach().flatten() for p in made.model.parameters()])


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_uniform_weights_are_the_trainers_own(
    tokenizer: Any, packing: bool, accumulation: int
) -> None:
    """Seven traces in batches of two: the last batch, and the last step, are uneven."""
    items = traces()
    rows = [(t.id, k, len(s.text)) for t in items for k, s in enumerate(t.steps)]
    steps = pd.DataFrame(rows, columns=["id", "step", "n_tokens"])
    uniform = step_weights(steps, "uniform")
    ours = training_examples(tokenizer, items, uniform)
    theirs = [{k: e[k] for k in ("input_ids", "labels")} for e in ours]  # type: ignore[literal-required]
    collator = DataCollatorWithFlattening() if packing else DataCollatorForSeq2Seq(tokenizer)
    expected, expected_end = run(Trainer, collator, theirs, accumulation)
    found, found_end = run(trainer_type(), WeightedCollator(0, packing), ours, accumulation)
    assert len(found) == (4 if accumulation == 1 else 2)
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(found_end, expected_end, rtol=1e-4, atol=1e-5)


def test_without_a_folder_nothing_is_written(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    for folder in (here, temporary):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    settings = TrainSettings(cpu=True, bf16=False, n_batches=1)
    fine_tune(tiny_model(), traces(2), tokenizer=tokenizer, settings=settings, progress=False)
    assert [*here.iterdir(), *temporary.rglob("*")] == []


def test_uniform_weights_are_the_loss_of_trl(tokenizer: Any) -> None:
    from trl import SFTConfig, SFTTrainer

    ours = training_examples(tokenizer, traces())
    from datasets import Dataset

    data = Dataset.from_list([{"input_ids": e["input_ids"], "labels": e["labels"]} for e in ours])
    args = SFTConfig(
        output_dir=None,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=3,
        num_train_epochs=1,
        learning_rate=1e-2,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        seed=3,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    theirs = SFTTrainer(
        model=tiny_model(),
        args=args,
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    theirs.train()
    expected = [row["loss"] for row in theirs.state.log_history if "loss" in row]
    found, _ = run(trainer_type(), WeightedCollator(0), ours, 3)
    assert found == pytest.approx(expected, rel=1e-4)


def test_packing_and_padding_are_one_loss(tokenizer: Any) -> None:
    items = traces()
    examples = training_examples(tokenizer, items, weights_of(items, 0.3, 2.0))
    padded, _ = run(trainer_type(), WeightedCollator(0), examples, 2)
    packed, _ = run(trainer_type(), WeightedCollator(0, True), examples, 2)
    assert padded == pytest.approx(packed, rel=1e-5)


def test_loss_is_the_slow_sum() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 7), torch.tensor([[-100, 1, 2, -100, 3], [-100] * 4 + [6]])
    weights = torch.rand(2, 5)
    total, count = 0.0, 0
    for row in range(2):
        for t in range(1, 5):
            label = int(labels[row, t])
            if label != -100:
                logp = torch.log_softmax(logits[row, t - 1], -1)[label]
                total, count = total - float(logp * weights[row, t]), count + 1
    assert float(weighted_loss(logits, labels, weights)) == pytest.approx(total / count, rel=1e-5)
    assert float(weighted_loss(logits, labels, weights, 8)) == pytest.approx(total / 8, rel=1e-5)


def test_weights_lie_on_the_tokens_of_their_step(tokenizer: Any) -> None:
    items = traces(3)
    plain = training_examples(tokenizer, items)
    examples = training_examples(tokenizer, items, weights_of(items, 0.0, 1.0))
    for trace, example, other in zip(items, examples, plain, strict=True):
        weighed = [
            i for w, i in zip(example["loss_weights"], example["input_ids"], strict=True) if w
        ]
        assert tokenizer.decode(weighed) == trace.steps[1].text + "</s>"
        labelled = [
            w for w, y in zip(example["loss_weights"], example["labels"], strict=True) if y >= 0
        ]
        assert np.mean(labelled) == pytest.approx(1)
        assert example["labels"] == other["labels"]
        assert set(other["loss_weights"]) == {0.0, 1.0}


def test_a_cut_trace_has_mean_weight_one(tokenizer: Any) -> None:
    items = traces(1)
    (example,) = training_examples(tokenizer, items, weights_of(items, 3.0, 1.0), max_length=13)
    assert len(example["input_ids"]) == 13
    assert sum(example["loss_weights"]) == pytest.approx(sum(y >= 0 for y in example["labels"]))


def test_equal_token_batches_keep_everything(tokenizer: Any) -> None:
    examples = training_examples(tokenizer, traces(9))
    batches = [join(batch) for batch in equal_token_batches(examples, 3)]
    sizes = [len(b["input_ids"]) for b in batches]
    assert sum(sizes) == sum(len(e["input_ids"]) for e in examples)
    assert max(sizes) - min(sizes) <= max(len(e["input_ids"]) for e in examples)
    assert sum(b["position_ids"].count(0) for b in batches) == 9
    with pytest.raises(ConfigError):
        equal_token_batches(examples, 10)


@pytest.mark.parametrize("lora", [None, 2])
def test_train_lowers_the_loss_and_keeps_its_record(
    tokenizer: Any, tmp_path: Path, lora: int | None
) -> None:
    items = traces()
    settings = TrainSettings(lr=1e-2, epochs=4, batch_size=2, lora=lora, cpu=True)
    options: dict[str, Any] = {
        "tokenizer": tokenizer,
        "weights": weights_of(items, 1.0, 2.0),
        "settings": settings,
        "progress": False,
        "selection": {"by": "ais"},
    }
    result = fine_tune(tiny_model(), items, tmp_path / "run", **options)
    assert result.losses["loss"].iloc[-4:].mean() < result.losses["loss"].iloc[:4].mean()
    assert result.folder is not None
    assert result.folder.is_dir()
    assert result.provenance["selection"] == {"by": "ais"}
    again = fine_tune(tiny_model(), items, tmp_path / "run", **options)
    assert again.model is None
    assert len(again.losses) == len(result.losses)
    with pytest.raises(ConfigError, match="another run"):
        fine_tune(tiny_model(), items[:3], tmp_path / "run", **options)


def test_a_stopped_run_goes_on(tokenizer: Any, tmp_path: Path) -> None:
    items = traces()
    settings = TrainSettings(lr=1e-2, epochs=2, batch_size=2, cpu=True, save_steps=3)
    whole = fine_tune(
        tiny_model(), items, tmp_path / "a", settings=settings, tokenizer=tokenizer, progress=False
    )
    fine_tune(
        tiny_model(), items, tmp_path / "b", settings=settings, tokenizer=tokenizer, progress=False
    )
    # As if killed after the checkpoint at step 6: neither the model nor the record was written.
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    del record["losses"]
    (tmp_path / "b" / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="another run"):
        fine_tune(tiny_model(), items[:3], tmp_path / "b", settings=settings, tokenizer=tokenizer)
    for checkpoint in (tmp_path / "b").glob("checkpoint-*"):
        if checkpoint.name != "checkpoint-6":
            for file in checkpoint.iterdir():
                file.unlink()
            checkpoint.rmdir()
    resumed = fine_tune(
        tiny_model(), items, tmp_path / "b", settings=settings, tokenizer=tokenizer, progress=False
    )
    assert resumed.losses["loss"].tolist() == pytest.approx(whole.losses["loss"].tolist(), rel=1e-5)


def test_errors_come_before_training(tokenizer: Any) -> None:
    items = traces(2)
    with pytest.raises(DataError, match="empty"):
        fine_tune(tiny_model(), [], tokenizer=tokenizer)
    with pytest.raises(DataError, match="no step weights"):
        fine_tune(tiny_model(), items, tokenizer=tokenizer, weights=weights_of(items[:1], 1, 1))
    with pytest.raises(ConfigError, match="lr"):
        TrainSettings(lr=0.0)
    with pytest.raises(ConfigError, match="tokenizer"):
        fine_tune(tiny_model(), items)
