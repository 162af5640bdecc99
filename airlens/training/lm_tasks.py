"""Tasks of EleutherAI's lm-evaluation-harness, where that package is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airlens.errors import AirlensError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_HARNESS = "lm_eval"


def check_lm_eval() -> None:
    """Raise AirlensError if lm-eval is missing; to be called before long computations."""
    try:
        importlib.import_module(_HARNESS)
    except ImportError as error:
        raise AirlensError(
            f"these tasks need the package lm-eval ({error}): pip install lm-eval"
        ) from error


def run_lm_eval(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[str]
) -> dict[str, Any]:
    """Metrics of tasks of the lm-evaluation-harness, by task.

    Args:
        model: a Hugging Face causal model.
        tokenizer: its own.
        tasks: names of lm-eval tasks; their data come from the hub or its cache.

    Raises:
        ConfigError: no task named.
        AirlensError: lm-eval is missing, does not know a task, or cannot reach the hub.
    """
    names = [name.strip() for name in tasks if name.strip()]
    if not names:
        raise ConfigError("no lm-eval task is named")
    check_lm_eval()
    harness = importlib.import_module(_HARNESS)
    wrapper = importlib.import_module(f"{_HARNESS}.models.huggingface").HFLM
    wrapped = wrapper(pretrained=model, tokenizer=tokenizer)
    try:
        found = harness.simple_evaluate(model=wrapped, tasks=names)
    except Exception as error:  # lm-eval, datasets and the hub each raise kinds of their own
        raise AirlensError(
            f"lm-eval could not run {', '.join(names)} ({type(error).__name__}: {error}). "
            "`lm_eval ls tasks` lists its tasks; their data needs the hub or a filled cache"
        ) from error
    return dict(found["results"])
