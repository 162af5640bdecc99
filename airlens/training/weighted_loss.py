"""The transformers ``Trainer`` with a weighted loss, and its arguments."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airlens.errors import AirlensError, ConfigError, RunError

from .examples import IGNORE

if TYPE_CHECKING:
    from transformers import Trainer

    from .settings import TrainSettings


def trainer_type() -> type[Trainer]:
    """The transformers ``Trainer`` with the weighted loss.

    Raises:
        AirlensError: accelerate is not installed.
    """
    try:
        import accelerate  # noqa: F401
        from transformers import Trainer
    except ImportError as error:
        raise AirlensError(
            f"training needs more packages ({error}): pip install 'airlens[train]'"
        ) from error

    class WeightedTrainer(Trainer):  # type: ignore[misc]
        """``Trainer`` whose loss reads ``loss_weights`` [batch, length] from the batch."""

        def __init__(self, *args: Any, **more: Any) -> None:
            self._weights: Any = None
            # Given from the start: the Trainer counts a step's labels only for a loss of its own,
            # or for a model whose forward takes that count, which not every model's does.
            super().__init__(*args, compute_loss_func=self._loss, **more)

        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> Any:
            self._weights = inputs.pop("loss_weights")
            # The Trainer's own compute_loss then scales the loss over processes and accumulation.
            return super().compute_loss(model, inputs, *args, **more)

        def _loss(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            count = num_items_in_batch
            if self.args.n_gpu > 1 and count is not None:
                # Several devices of one process: the count comes once for each of them, and the
                # Trainer multiplies the loss by their number, as if it were a mean over them.
                count = count.flatten()[0] * self.args.n_gpu
            return weighted_loss(outputs["logits"], labels, self._weights, count)

    return WeightedTrainer


def weighted_loss(logits: Any, labels: Any, weights: Any, num_items_in_batch: Any = None) -> Any:
    """Weighted cross-entropy of next tokens, in nats per label.

    sum of weight x NLL over the labels, divided by their number (not by the sum of their weights,
    which is the same where each trace's mean weight is 1).

    Args:
        logits: [batch, length, vocabulary]; at t they predict the label at t + 1.
        labels: [batch, length] token ids, -100 where there is no label.
        weights: [batch, length], of the label at the same position.
        num_items_in_batch: number of labels in all forward passes and processes of a step; None:
            those of this batch.
    """
    from torch.nn.functional import cross_entropy

    labelled = labels[:, 1:] != IGNORE
    # Only rows with a label: a row is as long as the vocabulary, and prompts have none. In fp32
    # whatever the model's dtype, as transformers does.
    rows, targets = logits[:, :-1][labelled].float(), labels[:, 1:][labelled]
    nll = cross_entropy(rows, targets, reduction="none")
    count = len(targets) if num_items_in_batch is None else num_items_in_batch
    return (nll * weights[:, 1:][labelled]).sum() / count


def trainer_arguments(folder: Path | None, settings: TrainSettings, progress: bool) -> Any:
    """``TrainingArguments``; with neither folder nor ``save_steps`` there are no checkpoints."""
    import torch
    from transformers import TrainingArguments

    batches = settings.n_batches is not None
    saving = folder is not None and settings.save_steps is not None
    # Passed only if wanted: newer versions warn about the argument's name.
    more = {"gradient_checkpointing": True} if settings.gradient_checkpointing else {}
    options: dict[str, Any] = dict(
        **more,
        # Nothing is written without a folder of ours; of None the Trainer makes "trainer_output".
        output_dir=str(folder) if folder is not None else tempfile.gettempdir(),
        num_train_epochs=settings.epochs,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        per_device_train_batch_size=1 if batches else settings.batch_size,
        gradient_accumulation_steps=1 if batches else settings.accumulation,
        bf16=settings.bf16,
        save_strategy="steps" if saving else "no",
        save_steps=settings.save_steps or 500,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=settings.seed,
        use_cpu=settings.cpu,
        remove_unused_columns=False,  # the weights are a column of ours
        report_to=[],
        disable_tqdm=not progress,
        dataloader_pin_memory=not settings.cpu and torch.cuda.is_available(),  # else it warns
    )
    try:
        return TrainingArguments(**options)
    except (ValueError, ImportError) as error:  # such as bf16 on a device that has none
        raise ConfigError(f"these settings cannot be used here: {error}") from error


def quieten(runner: Any, progress: bool) -> None:
    """Remove the Trainer's printed log, and the log lines of its progress bar."""
    from transformers import PrinterCallback, ProgressCallback

    runner.remove_callback(PrinterCallback)
    if progress:
        runner.callback_handler.callbacks = [
            c for c in runner.callback_handler.callbacks if not isinstance(c, ProgressCallback)
        ] + [_bar()]


def _bar() -> Any:
    from transformers import ProgressCallback

    class Bar(ProgressCallback):  # type: ignore[misc]
        """The Trainer's progress bar without a line for each step."""

        def on_log(self, *args: Any, **more: Any) -> None:
            """Print nothing: the losses are in the result."""

    return Bar()


def refuse_odd_losses() -> Any:
    """A callback of the Trainer that ends a run whose loss is no number."""
    from transformers import TrainerCallback

    class Finite(TrainerCallback):  # type: ignore[misc]
        """See above."""

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any
        ) -> None:
            """Look at the loss of each step."""
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(loss):
                remedy = (
                    "the student itself gives it: load its weights as float32"
                    if state.global_step <= 1
                    else "lower the learning rate, or train without bf16"
                )
                raise RunError(f"the loss is {loss} at step {state.global_step}: {remedy}")

    return Finite()
