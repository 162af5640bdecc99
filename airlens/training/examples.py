"""Traces as training examples: token ids, labels, and a loss weight for every label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from airlens.errors import ConfigError, DataError
from airlens.trace import Template, Trace, encode_trace

from .step_weights import StepWeights, normalised

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORE = -100  # the label that torch and transformers leave out of a loss


class Example(TypedDict):
    """One sequence, or several after each other with ``position_ids`` that start anew."""

    input_ids: list[int]
    labels: list[int]
    loss_weights: list[float]
    position_ids: list[int]


def training_examples(
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    weights: StepWeights | None = None,
    *,
    template: Template = "auto",
    max_length: int | None = None,
) -> list[Example]:
    """Encode traces for training on their responses.

    The tokens are those that :func:`~airlens.trace.encode_trace` scores, and after them the EOS
    token, which belongs to the last step. Labels of the prompt are ignored. The mean weight of the
    labels of a trace is 1, also where it was cut; without ``weights`` every weight is 1.

    Args:
        tokenizer: the student's.
        traces: the traces to train on.
        weights: from :func:`~airlens.training.step_weights.step_weights`.
        template: as in :func:`~airlens.influence`.
        max_length: longer sequences are cut at the end; one left without response tokens is
            dropped.

    Raises:
        DataError: nothing to train on; a weight is missing, or made with other tokens.
    """
    found = []
    for trace in traces:
        encoded = encode_trace(tokenizer, trace, template)
        per_token = weights.of(encoded) if weights is not None else np.ones(encoded.n_response)
        if not encoded.n_response:
            continue
        ids, start = list(encoded.tokens), encoded.response_start
        if tokenizer.eos_token_id is not None:
            ids.append(int(tokenizer.eos_token_id))
            per_token = np.append(per_token, per_token[-1])
        ids = ids[:max_length]
        # Nothing predicts the first token of a text.
        first = max(start, 1)
        if len(ids) <= first:
            continue
        kept = normalised(per_token[first - start : len(ids) - start], trace.id)
        found.append(
            Example(
                input_ids=ids,
                labels=[IGNORE] * first + ids[first:],
                loss_weights=[0.0] * first + kept.tolist(),
                position_ids=list(range(len(ids))),
            )
        )
    if not found:
        raise DataError("nothing to train on: no trace with a response (is the selection empty?)")
    return found


def equal_token_batches(
    examples: Sequence[Example], n_batches: int, seed: int = 0
) -> list[list[Example]]:
    """Share out all examples over ``n_batches`` batches of about equally many tokens.

    With one such batch per step, two data sets of equally many tokens train for equally many
    steps of equal size, whatever the lengths of their examples.

    Raises:
        ConfigError: more batches than examples, or none.
    """
    if not 1 <= n_batches <= len(examples):
        raise ConfigError(f"n_batches={n_batches}: from 1 to the {len(examples)} examples")
    order = np.random.default_rng(seed).permutation(len(examples))
    # The longest first, each into the batch that is shortest so far.
    order = order[np.argsort([-len(examples[i]["input_ids"]) for i in order], kind="stable")]
    batches: list[list[Example]] = [[] for _ in range(n_batches)]
    sizes = np.zeros(n_batches, dtype=np.int64)
    for i in order:
        smallest = int(np.argmin(sizes))
        batches[smallest].append(examples[i])
        sizes[smallest] += len(examples[i]["input_ids"])
    return batches


def join(examples: Sequence[Example]) -> Example:
    """Several examples concatenated into one; position ids separate them."""
    joined = Example(input_ids=[], labels=[], loss_weights=[], position_ids=[])
    for example in examples:
        joined["input_ids"] += example["input_ids"]
        joined["labels"] += example["labels"]
        joined["loss_weights"] += example["loss_weights"]
        joined["position_ids"] += example["position_ids"]
    return joined


@dataclass(frozen=True)
class WeightedCollator:
    """Make a batch of examples, or of lists of examples (see :func:`equal_token_batches`).

    ``packing``: all in one row without padding, position ids restarting with each sequence;
    transformers derives the borders from them, so that no sequence attends to another. Otherwise
    padded on
    the right, with an attention mask.

    Attributes:
        pad_id: token id of padding.
        packing: see above.
    """

    pad_id: int
    packing: bool = False

    def __call__(self, items: Sequence[Example | list[Example]]) -> dict[str, torch.Tensor]:
        """Tensors [batch, length]: input_ids, labels, loss_weights, and position ids or a mask."""
        import torch

        examples = [e for item in items for e in (item if isinstance(item, list) else [item])]
        if self.packing:
            joined = join(examples)
            return {name: torch.tensor([value]) for name, value in joined.items()}
        width = max(len(e["input_ids"]) for e in examples)

        def padded(name: str, fill: float) -> torch.Tensor:
            rows: list[list[Any]] = [list(e[name]) for e in examples]  # type: ignore[literal-required]
            return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

        lengths = torch.tensor([[len(e["input_ids"])] for e in examples])
        return {
            "input_ids": padded("input_ids", self.pad_id),
            "labels": padded("labels", IGNORE),
            "loss_weights": padded("loss_weights", 0.0),
            "attention_mask": (torch.arange(width)[None] < lengths).long(),
        }
