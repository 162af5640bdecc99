"""Greedy decoding, and Wu et al.'s test of whether a probe was answered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from airlens.errors import NumbersError
from airlens.model.state import not_finite, running

from .probes import Probe

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAX_STEPS = 50
"""Decoding steps at most (Wu et al.'s code)."""
MIN_RECALL = 0.5
"""A probe counts where ROUGE-1 recall is above this (Wu et al. §2)."""
SLACK = 16
"""Steps beyond the answer's length (ours): room for a sentence around it."""


@dataclass(frozen=True)
class Answered:
    """The model's greedy answer to a probe.

    Attributes:
        tokens: generated ids, cut before the first line break.
        text: the same, decoded.
        recall: ROUGE-1 recall of the expected answer.
    """

    tokens: tuple[int, ...]
    text: str
    recall: float


def greedy(model: TransformerBridge, probe: Probe, max_steps: int = MAX_STEPS) -> Answered:
    """Answer a probe by greedy decoding; inside ``ablated(...)``, the ablated model answers.

    Args:
        model: the bridge.
        probe: its tokens up to the answer are the prompt.
        max_steps: most decoding steps; never more than `SLACK` beyond the answer's length.
    """
    return greedy_batch(model, [probe], max_steps)[0]


def greedy_batch(
    model: TransformerBridge, probes: Sequence[Probe], max_steps: int = MAX_STEPS
) -> list[Answered]:
    """:func:`greedy` of several probes at once, whose prompts must have the same length.

    On a CPU a decoding step costs about the same for one prompt and for several.
    """
    prompts = [probe.tokens[: probe.answer[0]] for probe in probes]
    steps = [min(max_steps, len(probe.answer_tokens) + SLACK) for probe in probes]

    def finished(ids: torch.Tensor, _: torch.Tensor, **__: object) -> torch.Tensor:
        rows = ids[:, len(prompts[0]) :].tolist()
        ended = [
            len(row) >= n or before_line_break(model, row) != row
            for row, n in zip(rows, steps, strict=True)
        ]
        return torch.tensor(ended, device=ids.device)

    written = _generate(model, prompts, max(steps), stop_at_eos=False, stopping_criteria=[finished])
    found = []
    for probe, row, n in zip(probes, written, steps, strict=True):
        kept = before_line_break(model, row[:n])
        text = str(model.tokenizer.decode(kept))
        expected = str(model.tokenizer.decode(probe.answer_tokens))
        found.append(Answered(tuple(kept), text, rouge1_recall(expected, text)))
    return found


def greedy_tokens(
    model: TransformerBridge,
    tokens: Sequence[int],
    n: int,
    *,
    told: Callable[[int], None] | None = None,
) -> list[int]:
    """At most ``n`` ids that the model writes after ``tokens``, the most likely one each time.

    ``told`` is called with each of them as it is written.
    """
    if told is None:
        return _generate(model, [tokens], n)[0]

    def tell(ids: torch.Tensor, _: torch.Tensor, **__: object) -> torch.Tensor:
        told(int(ids[0, -1]))
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return _generate(model, [tokens], n, stopping_criteria=[tell])[0]


def _generate(
    model: TransformerBridge, prompts: Sequence[Sequence[int]], n: int, **options: Any
) -> list[list[int]]:
    prompt = torch.tensor([list(tokens) for tokens in prompts], device=model.cfg.device)
    with running(model), model.hooks(fwd_hooks=[("unembed.hook_out", partial(_finite, model))]):
        written = model.generate(
            prompt,
            max_new_tokens=n,
            do_sample=False,
            prepend_bos=False,
            verbose=False,
            return_type="tokens",
            **options,
        )
    return [[int(token) for token in row] for row in written[:, prompt.shape[1] :]]


def _finite(model: TransformerBridge, logits: torch.Tensor, hook: Any) -> None:
    if logits[..., 0].isnan().any():
        raise NumbersError(not_finite(model, "NaN"), place="while it wrote an answer")


def before_line_break(model: TransformerBridge, tokens: list[int]) -> list[int]:
    """The tokens before the first that ends the text, or holds a line break after some text."""
    end = model.tokenizer.eos_token_id
    for i, token in enumerate(tokens):
        so_far = str(model.tokenizer.decode(tokens[: i + 1]))
        if token == end or "\n" in so_far.lstrip():
            return tokens[:i]
    return tokens


def rouge1_recall(expected: str, said: str) -> float:
    """Share of the expected words (lower case, with repeats) that were said.

    Where nothing expected is a word, its characters count.
    """
    unit = r"\w+" if re.search(r"\w", expected) else r"\S"
    wanted, found = (Counter(re.findall(unit, t.lower())) for t in (expected, said))
    return sum((wanted & found).values()) / max(sum(wanted.values()), 1)
