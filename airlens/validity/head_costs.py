"""Which heads cause a rise in loss: the heads of a set one by one, and heads outside it.

Uniform attention makes a head output the mean of what it could see. A head that normally attends to
one position (a sink: entropy near 0, or nearly all attention on the first token) then adds a signal
that later layers never receive otherwise, and the loss rises although the head contributes nothing
to the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from airlens.ablation import DEFAULT_MODE, Mode, as_head_set, mean_z
from airlens.arguments import checked
from airlens.heads import Head, Heads, HeadSet, parse_head
from airlens.model_heads import heads_in, heads_of
from airlens.model_state import forward, running
from airlens.token_losses import WindowLoss, windows
from airlens.trace import EncodedTrace, Template, Trace, encode_trace

from .alternatives import score_all

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 16  # head sets scored in one call


@checked
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
    heads = heads_in(model, heads)
    return leave_one_out_table(
        head_rises(model, traces, with_and_without(heads), mode, template=template)
    )


def with_and_without(heads: HeadSet) -> dict[str, HeadSet]:
    """The whole set, the set without each of its heads, and each of them alone, by name."""
    rest = {f"without {h}": HeadSet(tuple(o for o in heads if o != h)) for h in heads}
    return {"all": heads, **rest, **{f"alone {h}": HeadSet((h,)) for h in heads}}


def leave_one_out_table(rises: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`leave_one_out` from the rises of each trace (:func:`head_rises`)."""
    sums = rises.groupby("set", sort=False)[["rise", "n_tokens"]].sum()
    mean = sums["rise"] / sums["n_tokens"]
    mode, whole = str(rises["mode"].iloc[0]), float(mean["all"])
    rows = []
    for name in (n.removeprefix("without ") for n in mean.index if n.startswith("without ")):
        head, without = parse_head(name), float(mean[f"without {name}"])
        alone = float(mean[f"alone {name}"])
        rows.append((*head, name, mode, whole, without, whole - without, alone))
    columns = ["layer", "head", "name", "mode", "delta_all", "delta_without", "drop", "alone"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("drop", ascending=False, ignore_index=True, kind="stable")


@checked
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
    grid = heads_of(model)
    grid.check(heads)
    items = list(traces)
    layers = sorted(heads.by_layer()) or grid.layers
    given = None if candidates is None else list(as_head_set(candidates))
    pool = given or [head for head in grid.heads() if head.layer in layers]
    pool = [head for head in pool if head not in heads]
    singles = {str(head): HeadSet((head,)) for head in pool}

    def costs(names: Sequence[str], mode: Mode) -> pd.Series:
        some = {name: singles[name] for name in names}
        sums = head_rises(model, items, some, mode, template=template).groupby("set", sort=False)
        return sums["rise"].sum() / sums["n_tokens"].sum()

    first = costs(list(singles), modes[0])
    order = np.argsort(-first.to_numpy(), kind="stable")[:top]
    found = [pool[i] for i in order]
    names = [str(head) for head in found]
    frame = attention_profile(model, items, found, template=template)
    for mode in modes:
        cost = first if mode == modes[0] else costs(names, mode)
        frame[f"delta_{mode}"] = cost[names].to_numpy()
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
        with running(model), model.hooks(fwd_hooks=hooks):
            forward(model, torch.tensor([tokens], device=model.cfg.device))
        most += float(np.log(np.arange(start + 1, len(tokens) + 1)).sum())
        count += len(tokens) - start
    rows = [
        (h.layer, h.head, str(h), sums[h][0] / count, most / count, sums[h][1] / count)
        for h in chosen
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "name", "entropy", "entropy_max", "first"])


def head_rises(
    model: TransformerBridge,
    traces: Iterable[Trace],
    sets: Mapping[str, HeadSet],
    mode: Mode = DEFAULT_MODE,
    *,
    template: Template = "auto",
) -> pd.DataFrame:
    """The rise in loss of each trace under each set of heads.

    Returns:
        set (its name), mode, id, n_tokens, rise (nats, summed over the response tokens).
    """
    encoded: list[EncodedTrace] = [encode_trace(model.tokenizer, t, template) for t in traces]
    by_trace = [windows(e, int(model.cfg.n_ctx)) for e in encoded]
    parts = [window for own in by_trace for window in own]
    of = np.repeat(np.arange(len(encoded)), [len(own) for own in by_trace])
    tokens = np.bincount(of, [w.n_scored for w in parts], minlength=len(encoded))
    means = mean_z(model) if mode == "mean" else None
    # Ordered by layer: sets scored together share the pass up to their first head.
    names = sorted(sets, key=lambda name: min((h.layer for h in sets[name]), default=0))
    ids = [e.trace.id for e in encoded]
    frames: dict[str, pd.DataFrame] = {}
    for at in range(0, len(names), CHUNK):
        some = names[at : at + CHUNK]
        losses = score_all(model, parts, [sets[name] for name in some], mode, means=means)
        sums = np.stack([_rise(loss) for loss in losses], axis=1)
        for name, row in zip(some, sums, strict=True):
            rise = np.bincount(of, row, minlength=len(encoded))
            frames[name] = pd.DataFrame({"set": name, "mode": mode, "id": ids}).assign(
                n_tokens=tokens.astype(int), rise=rise
            )
    return pd.concat([frames[name] for name in sets], ignore_index=True)


def _rise(loss: WindowLoss) -> np.ndarray:
    """Summed rise of a window's tokens under each set of heads."""
    return np.asarray((loss.ablated.astype(np.float64) - loss.base).sum(axis=1))
