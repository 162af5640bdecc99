"""A student of which only the upper layers are trained, so that the lower ones are computed once.

SmolLM2-135M costs 5 ms a token and forward pass on one core, of which a fifth is its vocabulary.
Here the lower layers are frozen, and their output for every training and test token is kept; the
unembedding is frozen too and cut to the tokens that the study's texts contain. A step of training
then costs a sixth of what it would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from airlens.training.examples import Example


@dataclass
class Student:
    """A causal model in two parts.

    Attributes:
        lower: trunk of the frozen layers, without a final norm.
        upper: trunk of the trained layers, with the model's final norm.
        unembed: [n_vocab, d_model], the rows of the unembedding that are used.
        vocabulary: [n_vocab] token ids of these rows, ascending.
        first: the upper part as it was loaded.
    """

    lower: Any
    upper: Any
    unembed: Tensor
    vocabulary: Tensor
    first: dict[str, Tensor]

    def restart(self) -> None:
        """Put the upper part back to where training begins."""
        self.upper.load_state_dict(self.first)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., n_vocab] from the upper part's output [..., d_model]."""
        return hidden @ self.unembed.T

    def rows(self, ids: Tensor) -> Tensor:
        """Index in the vocabulary of token ids that are in it."""
        return torch.searchsorted(self.vocabulary, ids)


def make_student(model: Any, tokens: set[int], n_upper: int) -> Student:
    """Cut a Hugging Face model of the Llama family in two; it is used up.

    Args:
        model: a causal model whose trunk is ``model.model``.
        tokens: ids that the study's texts contain.
        n_upper: layers to train.
    """
    lower = model.model
    vocabulary = torch.tensor(sorted(tokens))
    unembed = model.lm_head.weight.detach()[vocabulary].clone()
    upper = copy.copy(lower)
    upper._modules = dict(lower._modules)
    border = len(lower.layers) - n_upper
    parts = [(lower, lower.layers[:border]), (upper, lower.layers[border:])]
    norm = lower.norm
    for trunk, layers in parts:
        trunk.config = copy.deepcopy(lower.config)
        trunk.config.num_hidden_layers = len(layers)
        trunk.layers = nn.ModuleList(layers)
        for i, layer in enumerate(layers):
            layer.self_attn.layer_idx = i
    lower.norm, upper.norm = nn.Identity(), norm
    upper.embed_tokens = None
    lower.requires_grad_(False)
    upper.requires_grad_(True)
    first = {name: value.clone() for name, value in upper.state_dict().items()}
    return Student(lower, upper, unembed, vocabulary, first)


@torch.inference_mode()
def lower_outputs(
    student: Student, rows: Sequence[Sequence[int]], batch_tokens: int = 2048
) -> list[Tensor]:
    """Output of the frozen layers for every text: [n_tokens, d_model] each, in the order given."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: list[Tensor | None] = [None] * len(rows)
    while order:
        width = len(rows[order[-1]])
        n = max(1, batch_tokens // max(width, 1))
        some, order = order[-n:], order[:-n]
        # Padded on the right, where a causal model does not look.
        ids = torch.tensor([list(rows[i]) + [0] * (width - len(rows[i])) for i in some])
        out = student.lower(input_ids=ids, use_cache=False).last_hidden_state
        for i, hidden in zip(some, out, strict=True):
            found[i] = hidden[: len(rows[i])].clone()
    return [hidden for hidden in found if hidden is not None]


def train_step_loss(student: Student, batch: Sequence[tuple[Example, Tensor]]) -> Tensor:
    """Weighted mean NLL a label of some texts, packed into one sequence.

    Args:
        student: what is trained.
        batch: examples with the output of the frozen layers for their tokens.
    """
    hidden = torch.cat([hidden for _, hidden in batch])[None].clone()
    positions = torch.tensor([p for example, _ in batch for p in example["position_ids"]])[None]
    out = student.upper(inputs_embeds=hidden, position_ids=positions, use_cache=False)
    labels = torch.tensor([y for example, _ in batch for y in example["labels"]])
    weights = torch.tensor([w for example, _ in batch for w in example["loss_weights"]])
    at = torch.nonzero(labels >= 0).flatten()
    logits = student.logits(out.last_hidden_state[0, at - 1])
    nll = nn.functional.cross_entropy(logits, student.rows(labels[at]), reduction="none")
    return (nll * weights[at]).sum() / len(at)


class Reference(NamedTuple):
    """A reference solution as a student sees it.

    Attributes:
        n: its tokens, EOS included.
        nll: in nats, summed over them.
        written: every one of them is the student's first choice, so that it would write just this.
    """

    n: int
    nll: float
    written: bool


@torch.inference_mode()
def read_references(
    student: Student, examples: Sequence[Example], hidden: Sequence[Tensor], at_once: int = 64
) -> list[Reference]:
    """How the student sees each example's response, given its prompt."""
    found = []
    for start in range(0, len(examples), at_once):
        some, outputs = examples[start : start + at_once], hidden[start : start + at_once]
        # Padded on the right, where a causal model does not look.
        padded = nn.utils.rnn.pad_sequence(list(outputs), batch_first=True)
        out = student.upper(inputs_embeds=padded, use_cache=False).last_hidden_state
        for row, example in zip(out, some, strict=True):
            labels = torch.tensor(example["labels"])
            at = torch.nonzero(labels >= 0).flatten()
            logits, rows = student.logits(row[at - 1]), student.rows(labels[at])
            nll = nn.functional.cross_entropy(logits, rows, reduction="sum")
            found.append(Reference(len(at), float(nll), bool((logits.argmax(-1) == rows).all())))
    return found


@dataclass
class Prompts:
    """Prompts ready to be answered, with what the frozen layers keep of them.

    Attributes:
        hidden: [n, width, d_model] output of the frozen layers, padded on the left.
        mask: [n, width] 1 where there is a token.
        cache: keys and values of the frozen layers.
    """

    hidden: Tensor
    mask: Tensor
    cache: DynamicCache

    def subset(self, rows: Sequence[int]) -> Prompts:
        """Some of the prompts, in a copy."""
        keep = torch.tensor(list(rows))
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(keep)
        return Prompts(self.hidden[keep], self.mask[keep], cache)


@torch.inference_mode()
def read_prompts(student: Student, prompts: Sequence[Sequence[int]]) -> Prompts:
    """Pass prompts through the frozen layers once, for any number of trained upper parts."""
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in prompts])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    cache = DynamicCache()
    out = student.lower(
        input_ids=ids,
        attention_mask=mask,
        position_ids=_positions(mask),
        past_key_values=cache,
        use_cache=True,
    )
    return Prompts(out.last_hidden_state, mask, cache)


@torch.inference_mode()
def greedy(
    student: Student,
    prompts: Prompts,
    eos: int,
    max_new: int,
    done: Callable[[list[int]], bool] = lambda ids: False,
) -> list[list[int]]:
    """The tokens that the student writes after each prompt, EOS left out.

    Rows that are done leave the batch. The prompts' cache is used up: give a subset.

    Args:
        student: what writes.
        prompts: to be continued.
        eos: token that ends a text.
        max_new: tokens, at most.
        done: whether the tokens written so far say all that is asked.
    """
    lower, upper, mask = prompts.cache, DynamicCache(), prompts.mask
    out = student.upper(
        inputs_embeds=prompts.hidden,
        attention_mask=mask,
        position_ids=_positions(mask),
        past_key_values=upper,
        use_cache=True,
    ).last_hidden_state[:, -1]
    written: list[list[int]] = [[] for _ in mask]
    alive = torch.arange(len(mask))
    for _ in range(max_new):
        ids = student.vocabulary[student.logits(out).argmax(-1)]
        going = ids != eos
        going &= torch.tensor([not done(written[row]) for row in alive.tolist()])
        if not going.all():
            keep = torch.nonzero(going).flatten()
            alive, ids, mask = alive[keep], ids[keep], mask[keep]
            if not len(keep):
                break
            lower.batch_select_indices(keep)
            upper.batch_select_indices(keep)
        for row, token in zip(alive.tolist(), ids.tolist(), strict=True):
            written[row].append(token)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        options = {"attention_mask": mask, "position_ids": _positions(mask)[:, -1:]}
        step = student.lower(input_ids=ids[:, None], past_key_values=lower, **options)
        out = student.upper(
            inputs_embeds=step.last_hidden_state, past_key_values=upper, **options
        ).last_hidden_state[:, -1]
    return written


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)
