"""Attention over packed rows with ablated heads, for transformers' attention-interface registry.

A model whose ``attn_implementation`` is :data:`NAME` calls :func:`attend` in each layer with its
own query, key and value, after RoPE and QK-norm. The plan of the current pass says which rows see
which, and what to do to which head: no model code is copied or patched.

Shapes: B batch rows (the base model first, then one for each ablation that has begun), H query
heads, K key-value heads, N rows of the pack, n rows of one sequence, D head dimension. A long pack
comes in slices of its rows (:mod:`.slices`): the same, for the rows of the slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from airlens.ablation import MeanZ, Mode
from airlens.errors import ModelError

from .packing import RowPath, Segment, seen_from
from .past import Past
from .slices import KeysOnly, Slice
from .variable_length import Lengths, attend_all, runs

NAME = "airlens"
# Entries of a mask, or of scores that are written out, at once: the rest waits for its turn.
MASK = 16 << 20
# Arguments of the interface that change nothing here.
_HARMLESS = {"position_ids", "use_cache", "is_causal", "cache_position", "output_attentions"}


class Unsupported(ModelError):
    """A model that this engine cannot run; the hooks can."""


@dataclass(frozen=True)
class Call:
    """Inputs of the attention of one layer, after RoPE and QK-norm.

    Of a pack in slices they are put together, the query of the first batch row only.

    Attributes:
        layer: its index.
        query: [B, H, N, D].
        key: [B, K, N, D].
        value: [B, K, N, D].
        scaling: of the scores.
        window: how many positions a row sees, itself included; None for all before it.
        softcap: scores become softcap * tanh(score / softcap); None where they stay.
        sinks: [H] logits of attention sinks, or None.
    """

    layer: int
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    scaling: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None


@dataclass
class Plan:
    """The ablations and callbacks of one forward pass.

    Attributes:
        segments: the sequences of the row.
        edits: layer -> (batch row, heads ablated there).
        modes: of the ablation in each batch row after the first; one for all, or one for each.
        means: for ``mean``, [L, H, D].
        blocked: layer -> (segment, heads, first, stop): the rows of that segment do not attend to
            positions ``first`` to ``stop`` with these heads, see :func:`attend_without`.
        hidden: layer -> (segment with branches, heads, spans): each own row of that segment does
            not attend to shared rows spans[i, 0] to spans[i, 1] with these heads; int [n, 2].
        before: keys and values of rows that precede the pack's own, in a pass that continues from
            another one; the paths of the segments count them first.
        on_layer: called in each layer with the :class:`Call`, before any edit.
        on_z: called in each layer with (layer, z, z under even attention), both [B, N, H, D].
        on_share: called with the share of the pass that is done, where the pack comes in slices.
        slice: the rows that are computed now, where the pack comes in slices.
        unread: how many rows, the first ones and not all, have a last hidden state that nobody
            reads: where the pack comes in slices, it is not computed.
        calls: layers whose attention was called so far.
    """

    segments: Sequence[Segment]
    edits: dict[int, list[tuple[int, list[int]]]] = field(default_factory=dict)
    modes: Sequence[Mode] = ("uniform",)
    means: MeanZ | None = None
    blocked: dict[int, list[tuple[int, list[int], int, int]]] = field(default_factory=dict)
    hidden: dict[int, list[tuple[int, list[int], np.ndarray]]] = field(default_factory=dict)
    before: Past | None = None
    on_layer: Callable[[Call], None] | None = None
    on_z: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None
    on_share: Callable[[float], None] | None = None
    slice: Slice | None = None
    unread: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        self._paths: dict[torch.device, list[RowPath]] = {}
        self._masks: dict[tuple[Any, ...], torch.Tensor] = {}
        self._lengths: dict[tuple[torch.device, int], Lengths] = {}

    def mode(self, row: int) -> Mode:
        """The mode of a batch row."""
        return self.modes[0] if len(self.modes) == 1 else self.modes[row - 1]

    def paths(self, device: torch.device) -> list[RowPath]:
        """The paths of the segments, put on the device once."""
        if device not in self._paths:
            self._paths[device] = [RowPath.along(s.path, device) for s in self.segments]
        return self._paths[device]

    def lengths(self, batch: int, device: torch.device) -> Lengths:
        """Where the segments begin in ``batch`` batch rows, put on the device once."""
        if (device, batch) not in self._lengths:
            self._lengths[device, batch] = Lengths.of(self.segments, batch, device)
        return self._lengths[device, batch]

    def mask(
        self,
        index: int,
        at: range,
        window: int | None,
        dtype: torch.dtype,
        device: torch.device,
        spans: np.ndarray | None = None,
    ) -> torch.Tensor:
        """Which keys the rows ``at`` of a segment with branches see, see
        :func:`airlens.losses.fast.packing.seen_from`.

        It is made once for all layers, as far as the room of :data:`MASK` goes.

        Args:
            index: of the segment.
            at: which of its own rows.
            window: how many positions a row sees.
            dtype: of the mask.
            device: of the mask.
            spans: one of the arrays in ``hidden``.
        """
        key = (index, at, window, dtype, device, id(spans))
        if key in self._masks:
            return self._masks[key]
        made = seen_from(self.segments[index], at, window, dtype, device, spans)
        if sum(mask.numel() for mask in self._masks.values()) + made.numel() <= MASK:
            self._masks[key] = made
        return made


def register() -> None:
    """Make :func:`attend` known to transformers under :data:`NAME`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each sequence of the row.

    Args:
        module: the attention module; its ``airlens_run`` holds the plan.
        query: [B, H, N, D].
        key: [B, K, N, D].
        value: [B, K, N, D].
        attention_mask: must be None: the plan says which rows see which.
        scaling: of the scores, default D ** -0.5.
        dropout: unused, the model is in eval mode.
        sliding_window: how many positions a row sees, itself included.
        softcap: scores become softcap * tanh(score / softcap).
        s_aux: [H] logits of attention sinks.
        others: must be harmless or None.

    Returns:
        z, [B, N, H, D], and no weights.

    Raises:
        Unsupported: an argument whose meaning is not known here.
        KeysOnly: of these rows no more than keys and values was wanted.
    """
    strange = unknown(others)
    if strange or attention_mask is not None:
        raise Unsupported(f"attention with {', '.join(strange) or 'a mask of its own'}")
    run = module.airlens_run
    plan: Plan = run.plan
    layer = int(module.layer_idx)
    scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    part, before = plan.slice, None if plan.before is None else plan.before.of(layer)
    plan.calls += part is None or part.first == 0
    whole: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = (query, key, value)
    if part is not None:
        key, value = part.extended(key, value, before)
        whole = part.whole(query, key, value) if plan.on_layer is not None else None
    elif plan.before is not None and before is not None:
        key, value = plan.before.joined(layer, key, value)
    if plan.on_layer is not None and whole is not None:
        plan.on_layer(Call(layer, *whole, scaling, sliding_window, softcap, s_aux))
    if part is not None and part.keys_only:
        raise KeysOnly
    edits = [(row, heads, plan.mode(row)) for row, heads in plan.edits.get(layer, [])]
    if any(mode == "uniform" for *_, mode in edits):
        query = query.clone()
        for row, heads, mode in edits:
            for head in heads if mode == "uniform" else ():
                query[row, head] = 0  # one by one: a list of indices would wait for a GPU
    options = {"window": sliding_window, "softcap": softcap, "sinks": s_aux}
    blocked = plan.blocked.get(layer, [])
    z = _packed(plan, query, key, value, scaling, options, blocked, plan.hidden.get(layer, []))
    if plan.on_z is not None:
        with torch.no_grad():
            even = _packed(plan, torch.zeros_like(query), key, value, scaling, options, [])
        plan.on_z(layer, z, even)
    for row, heads, mode in edits:
        for head in heads if mode != "uniform" else ():
            # layers may differ in D
            mean = 0 if mode == "zero" else _mean(plan, layer, head).to(z)[: z.shape[-1]]
            z[row, :, head] = mean
    return z, None


def unknown(arguments: Mapping[str, Any]) -> list[str]:
    """The arguments of the attention interface that are given and may change something."""
    return [k for k, v in arguments.items() if v is not None and k not in _HARMLESS]


def _mean(plan: Plan, layer: int, head: int) -> torch.Tensor:
    if plan.means is None:
        raise Unsupported("mean ablation without means")
    return plan.means[layer, head]


def _packed(
    plan: Plan,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    options: dict[str, Any],
    blocked: Sequence[tuple[int, list[int], int, int]],
    hidden: Sequence[tuple[int, list[int], np.ndarray]] = (),
) -> torch.Tensor:
    batch, heads, rows, _ = query.shape
    if not blocked and _causal(plan, options) and runs(query, value):
        lengths = plan.lengths(batch, query.device)
        return attend_all(query, key, value, lengths, scaling, options["window"])
    first = 0 if plan.slice is None else plan.slice.first
    z = query.new_empty(batch, rows, heads, value.shape[-1])
    for index, (segment, path) in enumerate(
        zip(plan.segments, plan.paths(query.device), strict=True)
    ):
        start, stop = max(segment.start, first), min(segment.stop, first + rows)
        if start >= stop:
            continue
        own = slice(start - first, stop - first)
        q = query[:, :, own]
        if segment.shared or plan.before:
            seen = path.until(segment.shared + stop - segment.start)
            k, v = (seen.of(x) for x in (key, value))
        else:
            k, v = (x[:, :, segment.start : stop] for x in (key, value))
        if segment.branches is not None:
            at = range(start - segment.start, stop - segment.start)
            # Scores that are written out are masked by bool; others have the mask added.
            kind = q.dtype if _plain(options["softcap"], options["sinks"]) else torch.bool
            mask_of = partial(plan.mask, index, at, options["window"], kind, q.device)
            spans = [(some, span) for i, some, span in hidden if i == index]
            z[:, own] = branch_off(q, k, v, scaling, mask_of, spans, options).transpose(1, 2)
            continue
        # A causal square without a mask is worth a few rows computed twice.
        if 0 < 4 * segment.shared <= q.shape[2] and not plan.before and plan.slice is None:
            q = query.index_select(2, path.rows)
        found = attend_one(q, k, v, scaling, **options)
        z[:, own] = found[:, :, start - stop :].transpose(1, 2)
        for _, some, begin, end in (b for b in blocked if b[0] == index):
            without = attend_without(query[:, :, own], k, v, scaling, some, (begin, end), options)
            z[:, own, some] = without.transpose(1, 2)
    return z


def _causal(plan: Plan, options: dict[str, Any]) -> bool:
    """Whether each row sees all that comes before it in its sequence, by plain attention."""
    plain = _plain(options["softcap"], options["sinks"])
    return plain and plan.slice is None and all(s.branches is None for s in plan.segments)


def _plain(softcap: float | None, sinks: torch.Tensor | None) -> bool:
    """Whether SDPA can express the attention: no soft-capped scores, no learned sinks."""
    return softcap is None and sinks is None


def branch_off(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    mask_of: Callable[..., torch.Tensor],
    hidden: Sequence[tuple[list[int], np.ndarray]],
    options: dict[str, Any],
) -> torch.Tensor:
    """Output z [B, H, n, D] of rows that branch off from shared ones, which are the first keys.

    Args:
        query: [B, H, n, D].
        key: [B, K, m, D].
        value: [B, K, m, D].
        scaling: of the scores.
        mask_of: gives what the rows see, [n, m]; with spans, when these are hidden from them.
        hidden: heads, and the spans of shared rows that each row does not see with them.
        options: softcap and sinks.
    """
    sinks, softcap = options["sinks"], options["softcap"]
    every = list(range(query.shape[1]))
    if any(heads == every for heads, _ in hidden):
        z = query.new_empty(*query.shape[:3], value.shape[-1])  # each head is computed below
    else:
        z = attend_one(query, key, value, scaling, softcap=softcap, sinks=sinks, mask=mask_of())
    group = query.shape[1] // key.shape[1]
    for heads, spans in hidden:
        k, v = key, value
        if heads != every:
            k, v = (x[:, [head // group for head in heads]] for x in (key, value))
        rest = {"softcap": softcap, "sinks": None if sinks is None else sinks[heads]}
        z[:, heads] = attend_one(query[:, heads], k, v, scaling, mask=mask_of(spans), **rest)
    return z


def attend_without(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    heads: list[int],
    span: tuple[int, int],
    options: dict[str, Any],
) -> torch.Tensor:
    """Output z [B, h, n, D] of some heads when they may not attend to the positions of ``span``.

    As if their scores there were -inf. The n rows are the last of m positions, none before the
    span. One inside it, for which nothing is left, sees itself. Only the named query heads are
    computed; others that share their keys stay as they are.
    """
    n, m = query.shape[2], key.shape[2]
    first, stop = span
    group = query.shape[1] // key.shape[1]
    groups = [head // group for head in heads]
    mask = visible(n, m, options["window"], query.device)
    if m - n < stop:
        mask[:, first:stop] = False
        mask[:, m - n :] |= torch.diag(~mask.any(dim=1))
        k, v = key[:, groups], value[:, groups]
    else:
        mask = torch.cat([mask[:, :first], mask[:, stop:]], dim=1)
        k, v = (torch.cat([x[:, groups, :first], x[:, groups, stop:]], dim=2) for x in (key, value))
    sinks = options["sinks"]
    sinks = None if sinks is None else sinks[heads]
    q = query[:, heads]
    return attend_one(q, k, v, scaling, softcap=options["softcap"], sinks=sinks, mask=mask)


def attend_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Output z [B, H, n, D] of the last n of m positions of one sequence; key is [B, K, m, D].

    ``mask``, [n, m], says what each row sees, as bool or, without softcap and sinks, as what is
    added to its scores; without it, all positions before it, within ``window``.
    """
    batch, heads, n, _ = query.shape
    groups, m = key.shape[1], key.shape[2]
    limited = window is not None and window < m
    plain = _plain(softcap, sinks)
    if mask is None and (n < m or limited or not plain):
        size = max(1, MASK // (m if plain else m * heads * batch))
        if n > size:
            options = {"window": window, "softcap": softcap, "sinks": sinks}
            return _in_turn(query, key, value, scaling, size, options)
    # A group's heads see the same keys: an expanded view, not copies.
    q = query.reshape(batch * groups, heads // groups, n, query.shape[-1])
    k, v = (
        x.reshape(batch * groups, 1, m, x.shape[-1]).expand(-1, heads // groups, -1, -1)
        for x in (key, value)
    )
    if plain and mask is None and n == m and not limited:
        z = scaled_dot_product_attention(q, k, v, is_causal=n > 1, scale=scaling)
        return z.reshape(batch, heads, n, value.shape[-1])
    if mask is None:
        mask = visible(n, m, window if limited else None, query.device)
    if plain:
        z = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    else:
        z = _eager(q, k, v, scaling, mask, softcap, None if sinks is None else sinks.repeat(batch))
    return z.reshape(batch, heads, n, value.shape[-1])


def _in_turn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    size: int,
    options: dict[str, Any],
) -> torch.Tensor:
    """:func:`attend_one`, ``size`` rows at a time, on the keys that these can see."""
    n, m, window = query.shape[2], key.shape[2], options["window"]
    found = query.new_empty(*query.shape[:3], value.shape[-1])
    for start in range(0, n, size):
        stop = min(start + size, n)
        last = m - n + stop
        first = 0 if window is None else max(0, m - n + start + 1 - window)
        k, v = (x[:, :, first:last] for x in (key, value))
        found[:, :, start:stop] = attend_one(query[:, :, start:stop], k, v, scaling, **options)
    return found


def visible(n: int, m: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Mask [n, m]: which of m positions the last n of them see."""
    rows = torch.arange(m - n, m, device=device)[:, None]
    columns = torch.arange(m, device=device)[None]
    mask = columns <= rows
    return mask if window is None else mask & (columns > rows - window)


def _eager(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scaling: float,
    mask: torch.Tensor,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention that SDPA cannot express: soft-capped scores, and learned sinks."""
    scores = (q @ k.transpose(-1, -2)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is None:
        return torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype) @ v
    extra = sinks.reshape(q.shape[0], q.shape[1], 1, 1).expand(-1, -1, q.shape[2], 1)
    weights = torch.softmax(torch.cat([scores, extra.to(scores)], dim=-1), dim=-1)
    return weights[..., :-1].to(v.dtype) @ v
