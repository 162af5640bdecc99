"""What decides a training run: the texts, how they are written, the student as it is, settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from json import dumps, loads
from typing import TYPE_CHECKING, Any

import numpy as np

from airlens.model.weights import weights_of
from airlens.provenance import fingerprint
from airlens.traces.chat_template import Template, Think, template_identity
from airlens.traces.identity import tokenizer_key
from airlens.traces.trace import Trace

from .examples import TrainingSet
from .settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Settings that decide where a run is made and how it is kept, not what is learnt.
_APART = ("save_steps", "cpu")
# Of a configuration: where and by what it was written, or what training sets itself.
_VOLATILE = {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
_VOLATILE |= {"use_cache", "_attn_implementation", "_attn_implementation_internal"}


def training_identity(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TrainingSet,
    settings: TrainSettings,
    template: Template,
    think: Think,
    devices: int,
) -> dict[str, Any]:
    """All that decides a training; the same for the same training, in any folder.

    Args:
        student: as it is before the training.
        tokenizer: its own.
        data: the examples.
        settings: of the training.
        template: see :func:`~airlens.traces.chat_template.template_identity`.
        think: likewise.
        devices: that train together, each with a batch of its own.
    """
    return {
        "student": {"weights": weights_of(student), "config": config_key(student)},
        "texts": _texts_key(data),
        "step_weights": _weights_key(data),
        "template": template_identity(tokenizer, template, think),
        "tokenizer": tokenizer_key(tokenizer),
        "settings": {k: v for k, v in asdict(settings).items() if k not in _APART},
        "run": {"devices": devices},
    }


def evaluation_identity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Iterable[Trace],
    template: Template = "auto",
    think: Think = "auto",
) -> dict[str, Any]:
    """What was evaluated on what; the same for the same numbers, but for how answers are made."""
    digest = hashlib.sha256()
    for trace in problems:
        digest.update(dumps([trace.id, text_of(trace), trace.answer]).encode() + b"\0")
    return {
        "model": {"weights": weights_of(model), "config": config_key(model)},
        "problems": digest.hexdigest()[:16],
        "template": template_identity(tokenizer, template, think),
        "tokenizer": tokenizer_key(tokenizer),
    }


def config_key(model: Any) -> str:
    """A hash of a model's class and configuration, without where it lies."""
    record = _without(loads(dumps(model.config.to_dict(), default=str)))
    return fingerprint({"class": type(model).__name__, "config": record})


def text_of(trace: Trace) -> str:
    """What a trace says to a model, as JSON: not its id, its steps or its columns."""
    parts = [trace.prompt, trace.turns, trace.tools, trace.response, trace.thinking]
    return dumps(parts, ensure_ascii=False, default=str)


def _texts_key(data: TrainingSet) -> str:
    """A hash of the texts and the tokens to be learnt.

    Not of the tokens of prompts, which may have the date of the day.
    """
    digest = hashlib.sha256()
    for trace, example in zip(data.traces, data.examples, strict=True):
        digest.update(text_of(trace).encode() + b"\0")
        labels = np.asarray(example["labels"], dtype="<i8")
        digest.update(labels[labels >= 0].tobytes() + b"\0")
    return digest.hexdigest()[:16]


def _weights_key(data: TrainingSet) -> str:
    """A hash of the weights of labels."""
    digest = hashlib.sha256()
    for example in data.examples:
        weights = np.asarray(example["loss_weights"], dtype="<f8")
        digest.update(weights[np.asarray(example["labels"]) >= 0].tobytes() + b"\0")
    return digest.hexdigest()[:16]


def _without(record: Any) -> Any:
    if isinstance(record, dict):
        return {k: _without(v) for k, v in record.items() if k not in _VOLATILE}
    return [_without(item) for item in record] if isinstance(record, list) else record
