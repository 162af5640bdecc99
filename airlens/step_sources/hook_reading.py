"""Read attention by source: the reference, on hooks.

A head's row of attention from position t-1, which predicts token t, is read in two ways: where its
largest weight lies, and how much of it lies on each group of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from airlens.ablation import attention_of
from airlens.heads import Head
from airlens.losses.knockout import as_row
from airlens.model.state import forward, running

from .source_units import SINK, Stretch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Reading:
    """Attention of some heads in a stretch of m scored tokens.

    Attributes:
        heads: the heads, h of them.
        mass: fp32 [h, S, G], attention of the rows that predict a step's tokens, summed by group;
            weight on a learned sink counts as the sink's.
        best: int [h, m], window position with the largest weight.
        weight: fp32 [h, m], that weight.
        reach: int [h], how many positions a row sees; 0 for all before it.
    """

    heads: tuple[Head, ...]
    mass: np.ndarray
    best: np.ndarray
    weight: np.ndarray
    reach: np.ndarray


class Reader:
    """Collects attention rows of one stretch, layer by layer, without storing patterns."""

    def __init__(self, stretch: Stretch, heads: Sequence[Head]) -> None:
        self.stretch = stretch
        self.heads = tuple(heads)
        self.place = {head: i for i, head in enumerate(self.heads)}
        m = stretch.window.n_scored
        self.mass = np.zeros((len(heads), stretch.n_steps, stretch.n_groups), np.float32)
        self.best = np.zeros((len(heads), m), np.int64)
        self.weight = np.zeros((len(heads), m), np.float32)
        self.reach = np.zeros(len(heads), np.int64)

    def of_layer(self, layer: int) -> list[int]:
        """The heads of a layer."""
        return [head.head for head in self.heads if head.layer == layer]

    def add(
        self,
        layer: int,
        rows: Callable[[int, int], torch.Tensor],
        window: int | None,
        chunk: int,
    ) -> None:
        """Read the heads of a layer.

        Args:
            layer: its index.
            rows: gives the weights [h, stop - start, c] of the scored rows start to stop, in the
                order of :meth:`of_layer`; columns from c on are not visible.
            window: how many positions a row sees.
            chunk: rows requested at once.
        """
        places = [self.place[Head(layer, head)] for head in self.of_layer(layer)]
        m = self.stretch.window.n_scored
        steps = self.stretch.step
        begun: torch.Tensor | None = None  # of the step that goes on from the chunk before
        for start in range(0, m, chunk):
            stop = min(start + chunk, m)
            weights = rows(start, stop).float()
            first, last = int(steps[start]), int(steps[stop - 1])
            sums = weights.new_zeros(len(places), last - first + 1, len(self.stretch.group))
            if begun is not None:
                sums[:, 0] = begun
            step = torch.as_tensor(steps[start:stop] - first, device=weights.device)
            sums[:, :, : weights.shape[-1]].index_add_(1, step, weights)
            goes_on = stop < m and int(steps[stop]) == last
            begun = sums[:, -1].clone() if goes_on else None
            self._add_steps(places, range(first, last + (not goes_on)), sums)
            weight, best = weights.max(dim=-1)
            self.best[places, start:stop] = best.cpu().numpy()
            self.weight[places, start:stop] = weight.cpu().numpy()
        self.reach[places] = window or 0

    def _add_steps(self, places: Sequence[int], steps: range, sums: torch.Tensor) -> None:
        """Keep the mass by group of steps that have ended; ``sums`` is by position."""
        group = torch.as_tensor(self.stretch.group, device=sums.device)
        mass = sums.new_zeros(len(places), len(steps), self.stretch.n_groups)
        mass.index_add_(2, group, sums[:, : len(steps)])
        self.mass[places, steps.start : steps.stop] = mass.cpu().numpy()

    def read(self) -> Reading:
        """What was collected."""
        counted = np.bincount(self.stretch.step, minlength=self.stretch.n_steps)
        self.mass[:, :, SINK] += counted - self.mass.sum(axis=-1)
        return Reading(self.heads, self.mass, self.best, self.weight, self.reach)


def read_attention(
    model: TransformerBridge,
    stretches: Sequence[Stretch],
    heads: Sequence[Head],
    *,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Reading]:
    """Attention of the heads in each stretch. One layer's pattern is in memory at a time."""
    found = []
    for stretch in stretches:
        reader = Reader(stretch, heads)
        first = stretch.window.first

        def keep(value: torch.Tensor, hook: Any, layer: int, reader: Reader, first: int) -> None:
            rows = value[0, reader.of_layer(layer), first - 1 : -1]
            reader.add(
                layer,
                lambda start, stop: rows[:, start:stop],
                sliding_window(model, layer),
                rows.shape[1],
            )

        layers = sorted({head.layer for head in heads})
        for layer in layers:
            attention_of(model, layer)
        hooks = [
            (f"blocks.{i}.attn.hook_pattern", partial(keep, layer=i, reader=reader, first=first))
            for i in layers
        ]
        with running(model), model.hooks(fwd_hooks=hooks):
            forward(model, as_row(model, stretch.window), check=False)
        found.append(reader.read())
        on_progress(len(stretch.window.tokens))
    return found


def sliding_window(model: TransformerBridge, layer: int) -> int | None:
    """How many positions a row of a layer sees, itself included; None for all before it."""
    config = model.original_model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds and kinds[layer] != "sliding_attention":
        return None
    return None if window is None else int(window)
