"""Induction heads: TransformerLens' repeated-tokens score.

Random tokens, repeated once: the score is the attention from each token of the second half to the
position after that token's first occurrence, averaged. TransformerLens averages a whole diagonal of
the pattern; here the entry before the repetition begins and the one after the last answer token are
left out, since neither can be induction.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from airlens.errors import ConfigError

from .attention_scores import LayerView, PerHead
from .key_value_probes import bos_tokens
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HALF = 64
"""Random tokens before the repetition (ours; TransformerLens' demonstration uses 50)."""


def induction(view: LayerView) -> PerHead:
    """Mean attention to the needle token that the answer token copies.

    Raises:
        ConfigError: the answer is not the needle, word for word.
    """
    (start, stop), target = view.probe.needle, view.target
    if not torch.equal(view.tokens[start:stop], target):
        raise ConfigError(f"probe {view.probe.id!r}: induction needs an answer equal to its needle")
    rows = torch.arange(len(target), device=target.device)
    return view.pattern[:, rows, start + rows].mean(dim=-1)


def repeated_probes(
    tokenizer: PreTrainedTokenizerBase, n: int = 12, half: int = HALF, seed: int = 0
) -> ProbeSet:
    """Random tokens, repeated once; the needle is the first copy, the answer the second, each
    without its first token, which induction cannot predict.

    Args:
        tokenizer: the model's; its special tokens are not drawn.
        n: number of probes.
        half: tokens before the repetition.
        seed: same seed, same probes.
    """
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    return repeated_ids(ids, n, half, seed, bos_tokens(tokenizer))


def repeated_ids(
    ids: list[int], n: int, half: int = HALF, seed: int = 0, first: list[int] | None = None
) -> ProbeSet:
    """:func:`repeated_probes` from a list of ids, after the tokens ``first`` (BOS)."""
    first = first or []
    if half < 2 or not ids:
        raise ConfigError(f"half={half}, {len(ids)} ids: a repetition needs two tokens at least")
    probes = []
    for i in range(n):
        rng = random.Random(f"repeated-{seed}-{i}")
        distinct = half <= len(ids)
        drawn = rng.sample(ids, half) if distinct else rng.choices(ids, k=half)
        at = len(first)
        needle = (at + 1, at + half)
        answer = (at + half + 1, at + 2 * half)
        tokens = (*first, *drawn, *drawn)
        probes.append(Probe(f"repeated-{i}", tokens, needle, answer, needle, {"half": half}))
    return ProbeSet(tuple(probes), "repeated", {"half": half, "seed": seed})
