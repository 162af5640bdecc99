"""Adapter of Thought Anchors (2506.19143): attention suppression and its KL divergence.

Their ``get_suppression_KL_matrix`` cannot run as it stands: it gives the divergence an argument
that this one does not take. What it calls is run here, on our tokens and steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MethodType
from typing import Any, Optional

import numpy as np
import torch

import airlens as al
from airlens.statistics.correlations import pearson, ranks
from airlens.traces.model_encoding import encode_for

from .borrowed import borrow
from .models import Models, Row, traces

TEMPERATURE, NUCLEUS = 0.6, 0.9999  # of get_suppression_KL_matrix


class Theirs:
    """Functions of whitebox-analyses, with all heads of the model suppressed."""

    def __init__(self, checkout: Path, models: Models) -> None:
        self.models = models
        config = models.theirs.config
        heads = list(range(config.num_attention_heads))
        self.heads = dict.fromkeys(range(config.num_hidden_layers), heads)
        home = checkout / "whitebox-analyses"
        types: dict[str, Any] = {"Optional": Optional, "Tuple": tuple, "Dict": dict, "List": list}
        rope = borrow(
            home / "pytorch_models" / "rope_utils.py",
            *("rotate_half", "apply_rotary_pos_emb", "repeat_kv"),
            torch=torch,
        )
        self.hooks = borrow(
            home / "pytorch_models" / "hooks.py",
            *("apply_qwen_attn_mask_hooks", "remove_qwen_attn_mask_hooks"),
            **{name: rope[name] for name in ("apply_rotary_pos_emb", "repeat_kv")},
            **types,
            torch=torch,
            nn=torch.nn,
            math=math,
            warnings=warnings,
            MethodType=MethodType,
            print=_silent,
        )
        self.divergence = borrow(
            home / "attention_analysis" / "attn_supp_funcs.py",
            "calculate_kl_divergence_sparse",
            **types,
            torch=torch,
            np=np,
            F=torch.nn.functional,
        )["calculate_kl_divergence_sparse"]
        self.logits = borrow(
            home / "attention_analysis" / "logits_funcs.py",
            *("compress_logits_top_p", "decompress_logits_for_position"),
            torch=torch,
            np=np,
            tqdm=lambda items, **_: items,
            print=_silent,
        )

    def suppressed(self, tokens: list[int], span: Sequence[int]) -> torch.Tensor:
        """Logits [T, V] when no row may attend to the span."""
        model = self.models.theirs
        self.hooks["apply_qwen_attn_mask_hooks"](model, list(span), self.heads)
        try:
            return self.models.logits(tokens)
        finally:
            self.hooks["remove_qwen_attn_mask_hooks"](model)

    def kl(self, base: torch.Tensor, other: torch.Tensor, rows: Sequence[int]) -> float:
        """Mean KL over rows of logits, of the whole vocabulary at temperature 1."""
        every = np.arange(base.shape[1])
        found = [
            self.divergence((every, base[row].numpy()), (every, other[row].numpy()), 1.0)
            for row in rows
        ]
        return float(np.mean(found))

    def compressed(self, logits: torch.Tensor) -> Any:
        """The likeliest tokens of each row, as they keep them."""
        return self.logits["compress_logits_top_p"](logits[None], p=NUCLEUS)

    def score(self, base: Any, other: Any, rows: Sequence[int]) -> float:
        """A cell of their matrix: the mean of log KL over a sentence's own rows."""
        read = self.logits["decompress_logits_for_position"]
        found = [self.divergence(read(base, i), read(other, i), TEMPERATURE) for i in rows]
        return float(np.log(np.array(found) + 1e-9).mean())


def thought_anchors(checkout: Path, models: Models) -> Iterator[Row]:
    """KL and rise of the loss of later steps, of both readings of ours; then their whole score."""
    theirs, trace = Theirs(checkout, models), traces()[0]
    encoded = encode_for(models.ours, [trace])[0]
    tokens, begin = list(encoded.tokens), encoded.response_start
    n = len(trace.whole_steps())
    rows = [(np.flatnonzero(encoded.step == step) + begin).tolist() for step in range(n)]
    inside, after = (_ours(models, trace, hidden_from) for hidden_from in ("inside", "after"))
    whole = models.logits(tokens)
    base = theirs.compressed(whole)
    scores: dict[tuple[int, int], float] = {}
    for source in range(n - 1):
        other = theirs.suppressed(tokens, (rows[source][0], rows[source][-1] + 1))
        packed = theirs.compressed(other)
        for step in range(source + 1, n):
            scores[step, source] = theirs.score(base, packed, rows[step])
        for step in range(source + 1, min(source + 3, n)) if source < 2 else ():
            named = f"step {step} of {trace.id} without step {source}"
            before, pair = [row - 1 for row in rows[step]], (step, source)
            kl = theirs.kl(whole, other, before)
            yield f"KL of {named}", kl, float(inside.loc[pair, "knockout_kl"])
            yield f"KL of {named}, ours after it", kl, float(after.loc[pair, "knockout_kl"])
            rise = _loss(other, tokens, before) - _loss(whole, tokens, before)
            yield f"rise of the loss of {named}", rise, float(inside.loc[pair, "knockout"])
    ours = inside.loc[list(scores), "knockout_kl"].to_numpy()
    agreement = pearson(ranks(np.array(list(scores.values()))), ranks(ours))
    yield f"rank correlation of their whole score with KL, {n} steps", 1.0, float(agreement)


def _ours(models: Models, trace: al.Trace, hidden_from: Any) -> Any:
    """Pairs by (step, source)."""
    found = al.sources(
        models.ours,
        trace,
        "L0H0",
        measures=("knockout",),
        all_heads=True,
        kl=True,
        hidden_from=hidden_from,
        screen=None,
        controls=0,
        progress=False,
    )
    return found.pairs.set_index(["step", "source"])


def _loss(logits: torch.Tensor, tokens: list[int], before: Sequence[int]) -> float:
    target = torch.tensor([tokens[row + 1] for row in before])
    return float(torch.nn.functional.cross_entropy(logits[list(before)], target))


def _silent(*_: object) -> None:
    """Published code reports as it goes."""
