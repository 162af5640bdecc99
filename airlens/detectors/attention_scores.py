"""Detectors that read attention: one forward pass a probe, one layer at a time.

A reader turns one layer's attention at the rows that predict the answer into one number per head.
Several readers share a pass, and only one layer's rows are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from airlens.heads import HeadScores
from airlens.model.heads import heads_of, need_all_read
from airlens.model.state import forward, running
from airlens.provenance import provenance

from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PerHead: TypeAlias = Float[torch.Tensor, " H"]
"""One number for each of a layer's H query heads."""


@dataclass(frozen=True)
class LayerView:
    """Attention and values of one layer on one probe.

    Attributes:
        layer: its index.
        pattern: attention [H, n, T] from the n query positions that are read.
        value: v [H, T, D] at every position; with grouped-query attention each key-value head is
            repeated for the query heads that share it.
        tokens: the ids [T].
        probe: the probe.
        model: the bridge.
    """

    layer: int
    pattern: Float[torch.Tensor, "H n T"]
    value: Float[torch.Tensor, "H T D"]
    tokens: torch.Tensor
    probe: Probe
    model: TransformerBridge

    @property
    def target(self) -> torch.Tensor:
        """The answer's ids [n]."""
        return self.tokens[self.probe.answer[0] : self.probe.answer[1]]


Reader = Callable[[LayerView], PerHead]


def stream(
    model: TransformerBridge,
    probe: Probe,
    rows: tuple[int, int],
    read: Callable[[LayerView], None],
) -> torch.Tensor:
    """Run ``probe`` once, call ``read`` with every layer, and return the logits [T, V].

    Args:
        model: the bridge.
        probe: its tokens are the input.
        rows: the query positions whose attention is read, half-open.
        read: called once a layer that has heads, in the order of the layers.

    Raises:
        AblationError: the model has no heads, or the attention of a layer cannot be read.
    """
    tokens = torch.tensor([probe.tokens], device=model.cfg.device)
    values: dict[int, torch.Tensor] = {}
    seen: set[int] = set()

    def keep(v: torch.Tensor, hook: Any, layer: int) -> None:
        values[layer] = by_position(v, hook).transpose(0, 1)  # [Hkv, T, D]

    def show(pattern: torch.Tensor, hook: Any, layer: int) -> None:
        v = values.pop(layer)
        v = v.repeat_interleave(pattern.shape[1] // v.shape[0], dim=0)
        own = pattern[0, :, rows[0] : rows[1]].float()
        seen.add(layer)
        read(LayerView(layer, own, v.float(), tokens[0].to(own.device), probe, model))

    hooks: list[tuple[str, Any]] = []
    for i in heads_of(model).layers:
        hooks.append((f"blocks.{i}.attn.hook_v", lambda v, hook, i=i: keep(v, hook, i)))
        hooks.append((f"blocks.{i}.attn.hook_pattern", lambda p, hook, i=i: show(p, hook, i)))
    with running(model), model.hooks(fwd_hooks=hooks):
        logits = forward(model, tokens)[0]
    need_all_read(model, seen)
    return logits


def by_position(v: torch.Tensor, hook: Any) -> torch.Tensor:
    """V [T, Hkv, D] of the one text of a batch; latent attention (DeepSeek) keeps [Hkv, T, D]."""
    return v[0].transpose(0, 1) if getattr(hook, "pos_dim", None) == 2 else v[0]


def attention_scores(
    model: TransformerBridge,
    probes: ProbeSet,
    readers: Mapping[str, Reader],
    *,
    progress: bool = True,
) -> dict[str, HeadScores]:
    """Score every head by each reader, teacher-forced, all in the same passes.

    Args:
        model: the bridge, without ablation.
        probes: the probes; a reader sees the rows that predict the answer (positions t-1).
        readers: name and reader of each detector.
        progress: show a progress bar.

    Returns:
        By name, scores; their copy accuracy is that of these passes.
    """
    grid = heads_of(model)
    samples = {name: grid.zeros(len(probes)) for name in readers}
    hits, total = 0, 0
    for i, probe in enumerate(tqdm(probes, desc="head scores", disable=not progress)):

        def read(view: LayerView, i: int = i) -> None:
            for name, reader in readers.items():
                found = reader(view).cpu().numpy()
                samples[name][i, view.layer, : len(found)] = found

        start, stop = probe.answer
        logits = stream(model, probe, (start - 1, stop - 1), read)
        target = torch.tensor(probe.answer_tokens, device=logits.device)
        hits += int((logits[start - 1 : stop - 1].argmax(dim=-1) == target).sum())
        total += stop - start
    note = provenance(model, probes=probes.info(), method="teacher-forced", query_position="t-1")
    accuracy = hits / max(total, 1)
    return {
        name: HeadScores(found.mean(axis=0), found, name, accuracy, note)
        for name, found in samples.items()
    }
