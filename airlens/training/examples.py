"""Traces as training examples: token ids, labels, and a loss weight for every label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from airlens.errors import ConfigError, DataError, ModelError
from airlens.traces.chat_template import Template, Think
from airlens.traces.encoding import EncodedTrace, encode_trace
from airlens.traces.model_encoding import need_embedded
from airlens.traces.readings import how_read
from airlens.traces.skipped import OnError, Skipped, check_on_error, note_of, said
from airlens.traces.trace import Trace

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


@dataclass(frozen=True)
class TrainingSet:
    """Traces as examples, and what of them is not trained on.

    Attributes:
        examples: in the order of the traces.
        traces: of the examples.
        skipped: traces without an example.
        cut: ids of the traces that were longer than ``max_length``, and lost their end.
        n_labels_cut: response tokens that they lost, and those of traces skipped as too long.
        max_length: the limit, in tokens.
    """

    examples: list[Example]
    traces: list[Trace]
    skipped: list[Skipped]
    cut: list[str]
    n_labels_cut: int
    max_length: int | None

    def counts(self) -> dict[str, Any]:
        """For the provenance: how much there is, and what was cut or skipped."""
        return {
            "n_traces": len(self.examples) + len(self.skipped),
            "n_examples": len(self.examples),
            "reading": how_read(self.traces),
            "n_tokens": sum(len(e["input_ids"]) for e in self.examples),
            "n_labels": sum(y != IGNORE for e in self.examples for y in e["labels"]),
            "max_length": self.max_length,
            "n_cut": len(self.cut),
            "n_labels_cut": self.n_labels_cut,
            **note_of(self.skipped),
        }

    def said(self) -> str:
        """A sentence about what was cut or skipped; empty where nothing was."""
        parts = [said(self.skipped)] if self.skipped else []
        if self.cut:
            parts.append(
                f"{len(self.cut)} of {len(self.examples)} traces are cut at {self.max_length} "
                f"tokens ({self.n_labels_cut} response tokens are lost)"
            )
        return "; ".join(parts)


def training_examples(
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    weights: StepWeights | None = None,
    **options: Any,
) -> list[Example]:
    """The examples of :func:`training_set`, which has the arguments and the errors too."""
    return training_set(tokenizer, traces, weights, **options).examples


def training_set(
    tokenizer: PreTrainedTokenizerBase,
    traces: Iterable[Trace],
    weights: StepWeights | None = None,
    *,
    template: Template = "auto",
    think: Think = "auto",
    max_length: int | None = None,
    rows: int | None = None,
    on_error: OnError = "raise",
) -> TrainingSet:
    """Encode traces for training on their responses.

    The tokens are those that :func:`~airlens.traces.encoding.encode_trace` scores, and after them
    the EOS token, which belongs to the last step. Labels of the prompt are ignored. The mean weight
    of the labels of a trace is 1, also where it was cut; without ``weights`` every weight is 1.

    Args:
        tokenizer: the student's.
        traces: the traces to train on.
        weights: from :func:`~airlens.training.step_weights.step_weights`.
        template: as in :func:`~airlens.influence`.
        think: as in :func:`~airlens.influence`.
        max_length: longer sequences are cut at the end. A trace without a response, or without a
            response token before the cut, is skipped.
        rows: how many ids the student has embeddings for, where that is known: a trace with a
            token beyond them is refused.
        on_error: ``skip`` also skips a trace that the template cannot write, or whose weights are
            missing or made with other tokens; ``raise`` raises.

    Raises:
        DataError: nothing to train on, or a trace that makes no example.
        ModelError: the EOS token has no embedding.
    """
    check_on_error(on_error)
    end = tokenizer.eos_token_id
    if rows is not None and end is not None and int(end) >= rows:
        raise ModelError(
            f"the tokenizer's EOS {tokenizer.eos_token!r} (id {end}) has no embedding: the student "
            f"has {rows}; give its own tokenizer"
        )
    examples, used, skipped, cut, lost = [], [], [], [], 0
    for trace in traces:
        try:
            encoded = encode_trace(tokenizer, trace, template, think)
            need_embedded(encoded, rows, tokenizer)
            if not encoded.n_response:
                skipped.append(Skipped(trace.id, "no response"))
                continue
            per_token = weights.of(encoded) if weights is not None else np.ones(encoded.n_response)
            ids, per_token = _ended(encoded, per_token, end)
            missing = len(ids) - (max_length or len(ids))
            if missing > 0:
                lost += min(missing, len(ids) - encoded.response_start)
            example = _example(ids[:max_length], encoded.response_start, per_token, trace.id)
        except DataError as error:
            if on_error == "raise":
                raise
            skipped.append(Skipped.of(trace.id, error))
            continue
        if example is None:
            sizes = f"{encoded.response_start} of prompt, {encoded.n_response} of response"
            reason = f"no response token within max_length={max_length} tokens ({sizes})"
            skipped.append(Skipped(trace.id, reason))
            continue
        examples.append(example)
        used.append(trace)
        if missing > 0:
            cut.append(trace.id)
    if not examples:
        raise DataError(f"nothing to train on: {said(skipped) or 'no traces'}")
    return TrainingSet(examples, used, skipped, cut, lost, max_length)


def _ended(
    encoded: EncodedTrace, per_token: np.ndarray, eos: int | None
) -> tuple[list[int], np.ndarray]:
    """Tokens, and weights of the response's, both with an EOS where the tokenizer has one."""
    ids = list(encoded.tokens)
    if eos is not None:
        ids.append(int(eos))
        per_token = np.append(per_token, per_token[-1])
    return ids, per_token


def _example(ids: list[int], start: int, per_token: np.ndarray, name: str) -> Example | None:
    """The example of tokens whose response begins at ``start``; None: there is nothing to learn."""
    # Nothing predicts the first token of a text.
    first = max(start, 1)
    if len(ids) <= first:
        return None
    kept = normalised(per_token[first - start : len(ids) - start], name)
    return Example(
        input_ids=ids,
        labels=[IGNORE] * first + ids[first:],
        loss_weights=[0.0] * first + kept.tolist(),
        position_ids=list(range(len(ids))),
    )


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
