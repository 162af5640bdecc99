"""Other ways to the same numbers: what a person would write without airlens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from airlens.ablation import ablated
from airlens.detectors.probes import Probe
from airlens.heads import HeadSet
from airlens.losses.fast.fast_model import share
from airlens.losses.windows import Window


@torch.inference_mode()
def hooks_passes(model: Any, items: Sequence[Window], sets: Sequence[HeadSet]) -> np.ndarray:
    """TransformerLens, batch 1: a plain pass, and a hooked one for each head set; [1 + S, n]."""
    found = []
    for item in items:
        rows = [_nll(model(torch.tensor([item.tokens])), item)]
        for heads in sets:
            with ablated(model, heads, "uniform"):
                rows.append(_nll(model(torch.tensor([item.tokens])), item))
        found.append(np.stack(rows))
    return np.concatenate(found, axis=1)


class TwoModels:
    """Two Hugging Face models with SDPA on the same weights, the second one's heads silenced."""

    def __init__(self, model: Any, heads: HeadSet) -> None:
        self.plain = share(model.original_model, "sdpa")
        self.silent = share(model.original_model, "sdpa")
        for layer, indices in heads.by_layer().items():
            attention = self.silent.model.layers[layer].self_attn
            attention.q_proj.register_forward_hook(_silence(indices, attention.head_dim))

    def __call__(self, items: Sequence[Window]) -> np.ndarray:
        """NLL [2, n], batch 1."""
        found = []
        for item in items:
            tokens = torch.tensor([item.tokens])
            found.append(
                np.stack([_nll(m(tokens).logits, item) for m in (self.plain, self.silent)])
            )
        return np.concatenate(found, axis=1)


def _silence(indices: list[int], size: int) -> Any:
    # A zero query stays zero under RoPE: the head attends uniformly.
    def zero(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        out.view(*out.shape[:-1], -1, size)[..., indices, :] = 0
        return out

    return zero


def _nll(logits: torch.Tensor, item: Window) -> np.ndarray:
    target = torch.tensor(item.tokens[item.first :])
    rows = logits[0, item.first - 1 : -1].float()
    return torch.nn.functional.cross_entropy(rows, target, reduction="none").numpy()


class OutputAttentions:
    """Detection from ``output_attentions=True`` of an eager Hugging Face model."""

    def __init__(self, model: Any) -> None:
        self.model = share(model.original_model, "eager")

    def __call__(self, probes: Sequence[Probe]) -> np.ndarray:
        """Scores [P, L, H]."""
        return np.stack([self._one(p) for p in probes])

    def _one(self, probe: Probe) -> np.ndarray:
        start, stop = probe.answer
        tokens = torch.tensor([probe.tokens])
        out = self.model(tokens, output_attentions=True)
        best = torch.stack([a[0, :, start - 1 : stop - 1].argmax(-1) for a in out.attentions])
        inside = (best >= probe.needle[0]) & (best < probe.needle[1])
        return (inside & (tokens[0][best] == tokens[0, start:stop])).float().mean(-1).numpy()
