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
from airlens.losses.shared_beginnings import score_all
from airlens.losses.windows import WindowLoss, windows
from airlens.model.heads import heads_in, heads_of
from airlens.model.state import forward, running
from airlens.statistics.estimates import UNKNOWN, Estimate
from airlens.statistics.grids import mean_of, ratio_grid
from airlens.traces.chat_template import Template
from airlens.traces.encoding import EncodedTrace
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 16  # head sets scored in one call
COSTLY = 0.1  # nats a token; ours


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
        this head), drop (their difference), alone (with this head only), share (of the rise that
        depends on it: drop over delta_all) with lo, hi and half_p (of a share of one half), and n
        (traces).
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
    grids = _by_trace(rises)
    whole, tokens = grids.pop("all"), _tokens(rises)
    mode, total = str(rises["mode"].iloc[0]), float(whole.sum() / tokens.sum())
    rows = []
    for name, without in grids.items():
        head = name.removeprefix("without ")
        if head == name:
            continue
        drop, alone = whole - without, grids[f"alone {head}"].sum() / tokens.sum()
        share = _share(drop, whole)
        place = (*parse_head(head), head, mode, total)
        means = [float(part.sum() / tokens.sum()) for part in (without, drop)]
        numbers = (share.value, *share.interval(), share.p(0.5), share.clusters)
        rows.append((*place, *means, float(alone), *numbers))
    columns = ["layer", "head", "name", "mode", "delta_all", "delta_without", "drop", "alone"]
    frame = pd.DataFrame(rows, columns=[*columns, "share", "lo", "hi", "half_p", "n"])
    return frame.sort_values("drop", ascending=False, ignore_index=True, kind="stable")


def _by_trace(rises: pd.DataFrame) -> dict[str, np.ndarray]:
    """The rise of every trace under each set, in one order of the traces."""
    wide = rises.pivot(index="id", columns="set", values="rise")
    return {name: wide[name].to_numpy(np.float64) for name in rises["set"].unique()}


def _tokens(rises: pd.DataFrame) -> np.ndarray:
    return np.asarray(rises.groupby("id")["n_tokens"].first().to_numpy(np.float64))


def _share(part: np.ndarray, whole: np.ndarray) -> Estimate:
    """The share that the sum of a part has of the sum of the whole; unknown without a rise."""
    return mean_of(ratio_grid(part[:, None], whole)) if whole.sum() > 0 else UNKNOWN


@checked
def idle_heads(
    model: TransformerBridge,
    traces: Iterable[Trace],
    heads: Heads,
    *,
    candidates: Sequence[Head] | None = None,
    top: int = 5,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    limit: float = COSTLY,
    template: Template = "auto",
) -> pd.DataFrame:
    """The heads outside a set whose single ablation costs most, and their cost in every mode.

    Args:
        model: the bridge.
        traces: a few suffice.
        heads: the critical heads, left out.
        candidates: the heads to try; None: all others in the layers of ``heads``, from which
            controls of the same layers are drawn.
        top: how many are returned.
        modes: the first one finds them.
        limit: nats a token, from which on a head alone makes random heads an unfair control.
        template: how the prompt is put before the response.

    Returns:
        One row per head: layer, head, name, the columns of :func:`idle_costs` (``delta_<mode>`` is
        in nats per response token), entropy (of its attention in the base model, mean over response
        tokens, nats), entropy_max (that of uniform attention), first (attention to the first
        token).
    """
    items = list(traces)
    rises = idle_rises(
        model, items, heads, candidates=candidates, top=top, modes=modes, template=template
    )
    costs = idle_costs(rises, limit, top)
    found = [parse_head(name) for name in costs["name"]]
    return with_profile(costs, attention_profile(model, items, found, template=template))


def with_profile(costs: pd.DataFrame, profile: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`idle_costs` with layer and head, and their :func:`attention_profile`."""
    place, attention = ["layer", "head", "name"], ["entropy", "entropy_max", "first"]
    return profile[place].merge(costs, on="name").merge(profile[["name", *attention]], on="name")


def idle_rises(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: Heads,
    *,
    candidates: Sequence[Head] | None = None,
    top: int = 5,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    template: Template = "auto",
) -> pd.DataFrame:
    """:func:`head_rises` of all candidates in the first mode, and of the costliest in the others.

    The arguments are those of :func:`idle_heads`.
    """
    heads = as_head_set(heads)
    grid = heads_of(model)
    grid.check(heads)
    layers = sorted(heads.by_layer()) or grid.layers
    given = None if candidates is None else list(as_head_set(candidates))
    pool = given or [head for head in grid.heads() if head.layer in layers]
    singles = {str(head): HeadSet((head,)) for head in pool if head not in heads}
    first = head_rises(model, traces, singles, modes[0], template=template)
    cost = {name: rise.sum() for name, rise in _by_trace(first).items()}
    some = {name: singles[name] for name in sorted(cost, key=lambda name: -cost[name])[:top]}
    parts = [first]
    parts += [head_rises(model, traces, some, mode, template=template) for mode in modes[1:]]
    return pd.concat(parts, ignore_index=True)


def idle_costs(rises: pd.DataFrame, limit: float = COSTLY, top: int = 5) -> pd.DataFrame:
    """What the costliest single heads cost in each mode, and whether that is under a limit.

    Args:
        rises: from :func:`idle_rises`.
        limit: nats a token.
        top: how many heads are returned.

    Returns:
        One row a head that was ablated in every mode, the costliest first: name, for each
        mode delta_<mode>, <mode>_lo, <mode>_hi and limit_p_<mode> (of a cost that is the limit),
        then limit, n (traces) and tried (heads that these cost most of).
    """
    rows: dict[str, dict[str, Any]] = {}
    for mode, part in rises.groupby("mode", sort=False):
        tokens = _tokens(part)
        for name, rise in _by_trace(part).items():
            found = mean_of(ratio_grid(rise[:, None], tokens))
            lo, hi = found.interval()
            own = {f"delta_{mode}": found.value, f"{mode}_lo": lo, f"{mode}_hi": hi}
            row = rows.setdefault(name, {"name": name})
            row |= own | {f"limit_p_{mode}": found.p(limit), "n": found.clusters}
    modes = list(rises["mode"].unique())
    table = pd.DataFrame(rows.values())
    kept = table.dropna(subset=[f"delta_{mode}" for mode in modes])
    kept = kept.sort_values(f"delta_{modes[0]}", ascending=False, kind="stable", ignore_index=True)
    return kept.head(top).assign(limit=limit, tried=len(table))


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
        encoded = encode_for(model, [trace], template)[0]
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
    encoded: list[EncodedTrace] = encode_for(model, list(traces), template)
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
