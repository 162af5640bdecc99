"""Step-weighted fine-tuning (AIR) on the transformers ``Trainer``.

The weights of labels and the weighted cross-entropy are ours; the loop, accumulation, mixed
precision, checkpoints and distribution are the Trainer's and accelerate's. (TRL's ``SFTTrainer``
tokenises by itself, which would lose the steps of tokens; its loss is the same, see the tests.) One
process or many: ``accelerate launch -m airlens.cli train …``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.errors import AirlensError, ConfigError, DataError
from airlens.files import atomic_write_text
from airlens.provenance import fingerprint, provenance
from airlens.reading.model_files import load_hf
from airlens.trace import Template, Trace

from .examples import IGNORE, Example, WeightedCollator, equal_token_batches, training_examples
from .packed_rows import each_sequence_alone
from .packing_check import packing_trouble
from .settings import TrainSettings as TrainSettings
from .step_weights import StepWeights
from .weighted_loss import quieten, trainer_arguments, trainer_type

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


def fine_tune(
    model: str | Path | PreTrainedModel,
    traces: Iterable[Trace],
    out: str | Path | None = None,
    *,
    weights: StepWeights | None = None,
    settings: TrainSettings | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    template: Template = "auto",
    selection: dict[str, Any] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Fine-tune on the responses of traces, tokens weighted by their steps.

    Args:
        model: as in :func:`~airlens.load_model`; or a Hugging Face model, trained in place.
        traces: what to train on, already selected.
        out: folder for checkpoints, the model and ``run.json``. An interrupted run continues from
            its last checkpoint, a finished one is not repeated. None: nothing is written.
        weights: from :func:`~airlens.step_weights`; None: plain fine-tuning.
        settings: see :class:`TrainSettings`.
        tokenizer: with a model already loaded.
        template: as in :func:`~airlens.influence`; must be the one used for the weights.
        selection: provenance of the selection, stored with the run.
        progress: show a progress bar.

    Raises:
        AirlensError: transformers' trainer is not installed.
        ConfigError: ``out`` holds another run.
        DataError: nothing to train on, or weights that do not fit; raised before training.
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
    examples = training_examples(
        tokenizer, items, weights, template=template, max_length=settings.max_length
    )
    note = _provenance(label, items, examples, weights, settings, template, selection)
    folder = Path(out) if out is not None else None
    finished = _finished(folder, note)
    if finished is not None:
        return finished
    student = _with_lora(student, settings)
    runner = trainer_class(
        model=student,
        args=trainer_arguments(folder, settings, progress),
        train_dataset=_batched(examples, settings),
    )
    quieten(runner, progress)
    # Asked here, where the model lies on the device it will be trained on.
    packing, note["packing"] = _packing(student, examples, settings)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    runner.data_collator = WeightedCollator(int(pad or 0), packing)
    with each_sequence_alone(student) if packing else nullcontext():
        runner.train(resume_from_checkpoint=_checkpoint(folder))
    losses = pd.DataFrame([row for row in runner.state.log_history if "loss" in row])
    if folder is not None:
        runner.accelerator.wait_for_everyone()
        runner.save_model(str(folder / "model"))
        if runner.is_world_process_zero():
            tokenizer.save_pretrained(folder / "model")
            record = {**note, "losses": losses.to_dict("records")}
            atomic_write_text(folder / "run.json", _text(record))
    # Without accelerate's wrapper for mixed precision.
    student = runner.accelerator.unwrap_model(runner.model, keep_fp32_wrapper=False)
    student.eval()
    return TrainResult(student, losses, note, folder / "model" if folder else None)


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
    traces: list[Trace],
    examples: list[Any],
    weights: StepWeights | None,
    settings: TrainSettings,
    template: str,
    selection: dict[str, Any] | None,
) -> dict[str, Any]:
    decides = {
        "student": label,
        "data": fingerprint({"examples": examples}),
        "settings": asdict(settings),
    }
    labels = [y for e in examples for y in e["labels"]]
    packages = {n: metadata.version(n) for n in ("accelerate", "peft", "trl") if _installed(n)}
    return provenance(
        **decides,
        fingerprint=fingerprint(decides),
        n_traces=len(traces),
        n_examples=len(examples),
        n_tokens=sum(len(e["input_ids"]) for e in examples),
        n_labels=sum(y != IGNORE for y in labels),
        template=template,
        weights=weights.provenance or {"scheme": weights.scheme} if weights else None,
        selection=selection,
        training_versions=packages,
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _finished(folder: Path | None, note: dict[str, Any]) -> TrainResult | None:
    """This run, if ``folder`` holds it finished, else None; starts its record if there is none.

    Raises:
        ConfigError: the folder holds another run, finished or not.
    """
    if folder is None:
        return None
    path = folder / "run.json"
    if not path.exists():
        # Before the first checkpoint, so that no other run continues from it.
        atomic_write_text(path, _text(note))
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("fingerprint") != note["fingerprint"]:
        raise ConfigError(
            f"{folder} holds another run ({record.get('fingerprint')}, this one is "
            f"{note['fingerprint']}): choose another folder"
        )
    if "losses" not in record:
        return None
    losses = pd.DataFrame(record.pop("losses"))
    return TrainResult(None, losses, record, folder / "model")


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, indent=1, default=str)


def _checkpoint(folder: Path | None) -> str | None:
    if folder is None or not folder.is_dir():
        return None
    from transformers.trainer_utils import get_last_checkpoint

    found = get_last_checkpoint(str(folder))
    return str(found) if found else None
