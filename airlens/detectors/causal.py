"""Causal score: the rise of the answer's NLL when each head alone is ablated.

The one detector that does not use attention weights. It costs one forward pass per probe and head,
so it can be restricted to some heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, ablated, mean_z
from airlens.heads import Heads, HeadScores
from airlens.model.heads import heads_in, heads_of
from airlens.model.state import running
from airlens.provenance import provenance

from .probes import ProbeSet
from .retrieval import all_predictions

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def causal(
    model: TransformerBridge,
    probes: ProbeSet,
    *,
    heads: Heads | None = None,
    mode: Mode = DEFAULT_MODE,
    means: MeanZ | None = None,
    progress: bool = True,
) -> HeadScores:
    """Rise of the mean answer NLL (nats) when each head alone is ablated.

    Args:
        model: the bridge.
        probes: the probes.
        heads: which heads; default: all. The others' score is NaN, and they rank last.
        mode: ablation mode; the result can depend on it.
        means: for ``mode="mean"``.
        progress: show a progress bar.
    """
    grid = heads_of(model)
    asked = grid.all_heads() if heads is None else heads_in(model, heads)
    samples = np.full_like(grid.zeros(len(probes)), np.nan)
    with running(model):
        means = mean_z(model) if mode == "mean" and means is None else means
        base = all_predictions(model, probes.probes)
        for head in tqdm(asked, desc="causal", disable=not progress):
            with ablated(model, [head], mode, means=means):
                without = all_predictions(model, probes.probes)
            pairs = zip(base, without, strict=True)
            rise = [float((after - before).mean()) for (_, before), (_, after) in pairs]
            samples[:, head.layer, head.head] = rise
    hits = sum(float(correct.sum()) for correct, _ in base)
    total = sum(correct.numel() for correct, _ in base)
    note = provenance(model, probes=probes.info(), method="ablation of one head", mode=mode)
    if heads is not None:
        note["asked"] = asked.names()
    return HeadScores(samples.mean(axis=0), samples, "causal", hits / max(total, 1), note)
