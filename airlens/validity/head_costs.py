"""Which heads cause a rise in loss: the heads of a set one by one, and heads outside it.

Uniform attention makes a head output the mean of what it could see. A head that normally attends to
one position (a sink: entropy near 0, or nearly all attention on the first token) then adds a signal
that later layers never receive otherwise, and the loss rises although the head contributes nothing
to the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from airlens.ablation import DEFAULT_MODE, Mode, as_head_set, mean_z
from airlens.heads import Head, Heads, HeadSet
from airlens.token_losses import WindowLoss, windows
from airlens.trace import EncodedTrace, Template, Trace, encode_trace

from .alternatives import score_all

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 16  # head sets scored in one call


def leave_one_out(
    model: TransformerBridge,
    traces: Iterable[Trace],
    heads: Heads,
    mode: Mode = DEFAULT_MODE,
    *,
    template: Template = "auto",
) -> pd.DataFrame:
    """How much of the rise in loss depends on each head of a set.

    Returns:
        One row per head, the one with the largest effect first: layer, head, name, mode, delta_all
        (rise in nats per response token with the whole set ablated), delta_without (with all but
        this head), drop (their difference), alone (with this head only).
    """
    heads = as_head_set(heads)
    rest = [HeadSet(tuple(h for h in heads if h != head)) for head in heads]
    single = [HeadSet((head,)) for head in heads]
    rises = _rises(model, list(traces), [heads, *rest, *single], mode, template)
    n = len(heads)
    without, alone = rises[1 : n + 1], rises[n + 1 :]
    rows = [
        (h.layer, h.head, str(h), mode, rises[0], without[i], rises[0] - without[i], alone[i])
        for i, h in enumerate(heads)
    ]
    columns = ["layer", "head", "name", "mode", "delta_all", "delta_without", "drop", "alone"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("drop", ascending=False, ignore_index=True)


def idle_heads(
    model: TransformerBridge,
    traces: Iterable[Trace],
    heads: Heads,
    *,
    candidates: Sequence[Head] | None = None,
    top: int = 5,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    template: Template = "auto",
) -> pd.DataFrame:
    """The heads outside a set whose single ablation costs most, and their cost in every mode.

    Args:
        model: the bridge.
        traces: a few suffice.
        heads: the critical heads, left out.
        candidates: the heads to try; None: all others in the layers of ``heads``, from which
            layer-matched controls are drawn.
        top: how many are returned.
        modes: the first one finds them.
        template: how the prompt is put before the response.

    Returns:
        One row per head: layer, head, name, a column ``delta_<mode>`` for each mode (nats per
        response token), entropy (of its attention in the base model, mean over response tokens,
        nats), entropy_max (that of uniform attention), first (attention to the first token).
    """
    heads = as_head_set(heads)
    items = list(traces)
    n_heads = int(model.cfg.n_heads)
    layers = sorted(heads.by_layer()) or range(int(model.cfg.n_layers))
    pool = candidates or [Head(layer, head) for layer in layers for head in range(n_heads)]
    pool = [head for head in pool if head not in heads]
    rises = _rises(model, items, [HeadSet((head,)) for head in pool], modes[0], template)
    order = np.argsort([-rise for rise in rises], kind="stable")[:top]
    found = [pool[i] for i in order]
    frame = attention_profile(model, items, found, template=template)
    frame[f"delta_{modes[0]}"] = [rises[i] for i in order]
    for mode in modes[1:]:
        single = [HeadSet((head,)) for head in found]
        frame[f"delta_{mode}"] = _rises(model, items, single, mode, template)
    columns = ["layer", "head", "name", *(f"delta_{mode}" for mode in modes)]
    return frame[[*columns, "entropy", "entropy_max", "first"]]


def attention_profile(
    model: TransformerBridge,
    traces: Iterable[Trace],
    heads: Iterable[Head],
    *,
    template: Template = "auto",
) -> pd.DataFrame:
    """Attention of heads of the base model from response tokens: entropy, and to the first token.

    Returns:
        layer, head, name, entropy (nats, mean over response tokens), entropy_max (that of uniform
        attention over the same positions), first (mean attention to the first token).
    """
    chosen = HeadSet(tuple(heads))
    sums = {head: np.zeros(2) for head in chosen}
    most, count = 0.0, 0

    def read(pattern: torch.Tensor, hook: Any, layer: int, start: int) -> None:
        for head in chosen:
            if head.layer == layer:
                rows = pattern[0, head.head, start:].float()
                entropy = -torch.special.xlogy(rows, rows).sum(dim=-1)
                sums[head] += [float(entropy.sum()), float(rows[:, 0].sum())]

    for trace in traces:
        encoded = encode_trace(model.tokenizer, trace, template)
        start = encoded.response_start
        tokens = encoded.tokens[: int(model.cfg.n_ctx)]
        hooks = [
            (
                f"blocks.{layer}.attn.hook_pattern",
                lambda p, hook, layer=layer, start=start: read(p, hook, layer, start),
            )
            for layer in chosen.by_layer()
        ]
        with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
            model(torch.tensor([tokens], device=model.cfg.device))
        most += float(np.log(np.arange(start + 1, len(tokens) + 1)).sum())
        count += len(tokens) - start
    rows = [
        (h.layer, h.head, str(h), sums[h][0] / count, most / count, sums[h][1] / count)
        for h in chosen
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "name", "entropy", "entropy_max", "first"])


def _rises(
    model: TransformerBridge,
    traces: Sequence[Trace],
    sets: Sequence[HeadSet],
    mode: Mode,
    template: Template,
) -> list[float]:
    """Mean rise in NLL over all response tokens, nats, for each head set."""
    encoded: list[EncodedTrace] = [encode_trace(model.tokenizer, t, template) for t in traces]
    parts = [window for e in encoded for window in windows(e, int(model.cfg.n_ctx))]
    means = mean_z(model) if mode == "mean" else None
    # Ordered by layer: sets scored together share the pass up to their first head.
    order = sorted(range(len(sets)), key=lambda i: min((h.layer for h in sets[i]), default=0))
    rises = np.zeros(len(sets))
    for at in range(0, len(order), CHUNK):
        some = order[at : at + CHUNK]
        losses = score_all(model, parts, [sets[i] for i in some], mode, means=means)
        rises[some] = _mean_rise(losses)
    return [float(rise) for rise in rises]


def _mean_rise(losses: Sequence[WindowLoss]) -> np.ndarray:
    base = np.concatenate([loss.base for loss in losses])
    others = np.concatenate([loss.ablated for loss in losses], axis=1)
    return np.asarray((others.astype(np.float64) - base).mean(axis=1))
