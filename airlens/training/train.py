"""Step-weighted fine-tuning (AIR) on the transformers ``Trainer``.

The weights of labels and the weighted cross-entropy are ours; the loop, accumulation, mixed
precision, checkpoints and distribution are the Trainer's and accelerate's. (TRL's ``SFTTrainer``
tokenises by itself, which would lose the steps of tokens; its loss is the same, see the tests.) One
process or many: ``accelerate launch -m airlens.cli train …``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.arguments import checked
from airlens.errors import AirlensError, ConfigError, DataError
from airlens.model.checks import embedding_rows
from airlens.model.files import load_hf
from airlens.model.gguf import without_bars
from airlens.provenance import fingerprint, provenance
from airlens.traces.chat_template import Template, Think, template_note
from airlens.traces.skipped import OnError
from airlens.traces.trace import Trace

from .examples import Example, TrainingSet, WeightedCollator, equal_token_batches, training_set
from .interrupts import checkpoints_of, stopped_later
from .packed_rows import each_sequence_alone
from .packing_check import packing_trouble, positions_limit
from .run_identity import training_identity
from .settings import TrainSettings as TrainSettings
from .step_weights import StepWeights
from .training_folder import MODEL, TrainingFolder
from .weighted_loss import quieten, refuse_odd_losses, trainer_arguments, trainer_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        model: the trained model; None where the run was already finished.
        losses: one row per step: step, epoch, loss, learning_rate, grad_norm.
        provenance: data, weights, selection, settings, versions; also in ``run.json``.
        folder: the saved model, None where it was not saved.
    """

    model: PreTrainedModel | None
    losses: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


@checked
def fine_tune(
    model: str | Path | PreTrainedModel,
    traces: Iterable[Trace],
    out: str | Path | None = None,
    *,
    weights: StepWeights | None = None,
    settings: TrainSettings | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    template: Template = "auto",
    think: Think = "auto",
    on_error: OnError = "raise",
    selection: dict[str, Any] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Fine-tune on the responses of traces, tokens weighted by their steps.

    Args:
        model: as in :func:`~airlens.load_model`; or a Hugging Face model, trained in place.
        traces: what to train on, already selected.
        out: folder for checkpoints, the model and ``run.json``. An interrupted run continues from
            its last checkpoint, a finished one is not repeated. Ctrl+C and SIGTERM let the step at
            hand finish and keep a checkpoint. None: nothing is written.
        weights: from :func:`~airlens.step_weights`; None: plain fine-tuning.
        settings: see :class:`TrainSettings`.
        tokenizer: with a model already loaded.
        template: as in :func:`~airlens.influence`; must be the one used for the weights.
        think: as in :func:`~airlens.influence`; likewise.
        on_error: what to do with a trace that the template cannot write or that the weights do not
            fit: ``raise``, or ``skip`` it. One without anything to learn is skipped in any case.
        selection: provenance of the selection, stored with the run.
        progress: show a progress bar.

    Raises:
        AirlensError: transformers' trainer is not installed.
        ConfigError: ``out`` holds another run: other texts, weights, settings, or a student with
            other weights.
        DataError: nothing to train on, or weights that do not fit; raised before training.
        RunError: the loss is NaN or infinite, or the disk is full.
    """
    settings = settings or TrainSettings()
    items = list(traces)
    if not items:
        raise DataError("nothing to train on: the selection is empty")
    trainer_class = trainer_type()
    if isinstance(model, str | Path):
        label: str = str(model)
        student, tokenizer = load_hf(model)
    else:
        label, student = str(getattr(model.config, "_name_or_path", "")), model
    if tokenizer is None:
        raise ConfigError(
            "a model already loaded needs its tokenizer: fine_tune(model, …, tokenizer=…)"
        )
    data = training_set(
        tokenizer,
        items,
        weights,
        template=template,
        think=think,
        max_length=_most_tokens(student, settings),
        rows=embedding_rows(student),
        on_error=on_error,
    )
    if data.skipped or data.cut:
        log.warning(data.said())
    arguments = trainer_arguments(Path(out) if out is not None else None, settings, progress)
    devices = int(arguments.world_size) * max(1, int(arguments.n_gpu))
    identity = training_identity(student, tokenizer, data, settings, template, think, devices)
    note = _provenance(label, data, weights, settings, identity, selection)
    note |= template_note(tokenizer, template, think)
    folder = TrainingFolder(Path(out), identity) if out is not None else None
    if folder is not None:
        if folder.finished is not None:
            record = dict(folder.finished)
            losses = pd.DataFrame(record.pop("losses"))
            return TrainResult(None, losses, record, folder.path / MODEL)
        folder.begin(note)
    cached = getattr(student.config, "use_cache", None)  # the Trainer turns it off
    runner = trainer_class(
        model=_with_lora(student, settings),
        args=arguments,
        train_dataset=_batched(data.examples, settings),
    )
    quieten(runner, progress)
    runner.add_callback(refuse_odd_losses())
    # Asked here, where the model lies on the device it will be trained on.
    packing, note["packing"] = _packing(runner.model, data.examples, settings)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    runner.data_collator = WeightedCollator(int(pad or 0), packing)
    with each_sequence_alone(runner.model) if packing else nullcontext():
        losses = _run(runner, folder, partial(_save, runner, folder, note, tokenizer, cached))
    # Without accelerate's wrapper for mixed precision.
    trained = runner.accelerator.unwrap_model(runner.model, keep_fp32_wrapper=False)
    trained.eval()
    return TrainResult(trained, losses, note, folder.path / MODEL if folder else None)


def _run(runner: Any, folder: TrainingFolder | None, save: Callable[[], None]) -> pd.DataFrame:
    """Train from the last checkpoint, or from the start, to the end, and save; the losses.

    Raises:
        KeyboardInterrupt: the process was told to stop, and a checkpoint is kept.
    """
    if folder is None:
        runner.train()
        save()
        return _losses(runner)
    if runner.is_world_process_zero():
        folder.remove_broken()
    runner.accelerator.wait_for_everyone()
    checkpoint = folder.checkpoint()
    said = f"to be stopped: as soon as this step is done a checkpoint is kept in {folder.path}"
    with folder.writing(), stopped_later(f"{said} (Ctrl+C again stops at once)") as stop:
        runner.add_callback(checkpoints_of(stop, folder.mark, runner))
        runner.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = runner.state.global_step >= runner.state.max_steps
        if done:
            save()
    if not done:
        stop.again()
    return _losses(runner)


def _save(
    runner: Any,
    folder: TrainingFolder | None,
    note: dict[str, Any],
    tokenizer: Any,
    use_cache: bool | None,
) -> None:
    """The model, the tokenizer, and last the mark that the run is done."""
    if use_cache is not None:
        runner.model.config.use_cache = use_cache
    if folder is None:
        return
    runner.accelerator.wait_for_everyone()
    with without_bars():
        runner.save_model(str(folder.path / MODEL))
    if runner.is_world_process_zero():
        tokenizer.save_pretrained(folder.path / MODEL)
        rows = _losses(runner).to_dict("records")
        folder.finish(note, rows, keep=note["settings"]["save_steps"] is not None)


def _losses(runner: Any) -> pd.DataFrame:
    return pd.DataFrame([row for row in runner.state.log_history if "loss" in row])


def _most_tokens(student: Any, settings: TrainSettings) -> int:
    """``max_length``, or the positions of a student that has fewer."""
    limit = positions_limit(student)
    if limit is None or limit >= settings.max_length:
        return settings.max_length
    log.warning(
        "traces are cut at %d tokens instead of %d: the student has no more positions",
        limit,
        settings.max_length,
    )
    return limit


def _batched(examples: list[Example], settings: TrainSettings) -> list[Any]:
    """What the Trainer draws from: examples, or with ``n_batches`` lists of them."""
    if settings.n_batches is None:
        return list(examples)
    return list(equal_token_batches(examples, settings.n_batches, settings.seed))


def _packing(model: Any, examples: list[Example], settings: TrainSettings) -> tuple[bool, str]:
    """Whether rows are packed, and a word on it for the provenance."""
    if not settings.packing and settings.n_batches is None:
        return False, "padded"
    sizes = sorted((len(e["input_ids"]) for e in examples), reverse=True)
    longest = sum(sizes[: settings.batch_size])
    if settings.n_batches is not None:
        batches = equal_token_batches(examples, settings.n_batches, settings.seed)
        longest = max(sum(len(e["input_ids"]) for e in batch) for batch in batches)
    trouble = packing_trouble(model, examples, longest, bf16=settings.bf16)
    if trouble is None:
        return True, "packed"
    log.warning(
        "training examples are padded, not packed: with %s %s", type(model).__name__, trouble
    )
    return False, f"padded, although packing was asked for: {trouble}"


def _with_lora(model: Any, settings: TrainSettings) -> Any:
    if settings.lora is None:
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise AirlensError("LoRA needs peft: pip install 'airlens[train]'") from error
    from transformers import set_seed

    set_seed(settings.seed)
    config = LoraConfig(
        r=settings.lora,
        lora_alpha=2 * settings.lora,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _provenance(
    label: str,
    data: TrainingSet,
    weights: StepWeights | None,
    settings: TrainSettings,
    identity: dict[str, Any],
    selection: dict[str, Any] | None,
) -> dict[str, Any]:
    packages = {n: metadata.version(n) for n in ("accelerate", "peft", "trl") if _installed(n)}
    return provenance(
        student=label,
        settings=asdict(settings),
        fingerprint=fingerprint(identity),
        weights=weights.provenance or {"scheme": weights.scheme} if weights else None,
        selection=selection,
        training_versions=packages,
        **data.counts(),
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
