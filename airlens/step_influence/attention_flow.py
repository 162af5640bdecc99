"""Where attention goes within a response: WAAD, FAI (2510.13554) and CircuitSeer (2510.18470).

One pass of the unchanged model. With A[t, s] the attention of a head from the position of token t
to that of token s, over the T tokens of the response:

- A head looks back d = mean over t of Σ_s A[t, s] (t - s) tokens (2510.13554, eq. 7). The 30 % of
  the heads with the smallest d are local, the 30 % with the largest global, in each text anew.
- WAAD_t = Σ_s A[t, s] min(t - s, W), mean over local heads, W = 10 (def. 4.1): how far a token
  looks back within a window.
- FAI_s = mean over t from s + 10 to s + 50 of A[t, s], mean over global heads (def. 4.2): the
  attention that a token receives from later ones.
- CircuitSeer: the variance over tokens s of the attention that they receive, mean over the heads
  of a reasoning circuit and over the t >= s. The circuit are the heads whose uniform ablation
  raises the loss on reasoning texts most (:func:`.rival_scores.circuit_heads`).

W = 10 and 10 to 50 are those of a public reimplementation; 30 % is the paper's example.

Silent, and ours: a step or sample is the mean over its tokens, high is kept (the paper of WAAD and
FAI weighs tokens in reinforcement learning, and selects nothing). Of CircuitSeer only the idea
could be read, not its equation: that what counts is the mean over the rows that can see a token,
and within the response, where no token is the sink that the first one of a text is, is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from airlens.errors import NumbersError
from airlens.heads import HeadSet
from airlens.losses.fast.attention_rows import Rows, attention_rows
from airlens.losses.fast.fast_losses import row_budget
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.packed_attention import Call, Plan
from airlens.losses.fast.packing import pack
from airlens.losses.knockout import as_row
from airlens.losses.windows import Long, Window, windows
from airlens.model.heads import heads_of, need_all_read
from airlens.model.state import forward, not_finite, running
from airlens.traces.encoding import EncodedTrace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WINDOW = 10  # W
LEAST, MOST = 10, 50  # tokens after a token whose attention counts for FAI
SHARE = 0.3  # of the heads are local, and as many global
WEIGHTS = 1 << 22  # attention weights at once


@dataclass(frozen=True)
class Flow:
    """Attention within a response of n tokens; NaN where nothing was read.

    Attributes:
        waad: fp32 [n].
        fai: fp32 [n]; NaN for tokens that too few follow.
        circuit: the variance of the attention received; NaN without a circuit.
    """

    waad: np.ndarray
    fai: np.ndarray
    circuit: float


@dataclass(frozen=True)
class _Part:
    """One window of a trace, and where its attention is added up."""

    window: Window
    reader: _Reader


class _Reader:
    """Sums over the rows of one response, layer by layer."""

    def __init__(self, n: int, heads: dict[int, int], circuit: dict[int, list[int]]) -> None:
        self.n = n
        ends = np.cumsum(list(heads.values())).tolist()
        self.place = {
            layer: slice(b - heads[layer], b) for layer, b in zip(heads, ends, strict=True)
        }
        total = sum(heads.values())
        self.circuit = circuit
        self.back = np.zeros(total)  # Σ_t Σ_s A (t - s)
        self.rows = 0
        self.waad = np.full((total, n), np.nan, np.float32)
        self.later = np.zeros((total, n), np.float32)  # Σ over the rows of FAI
        self.n_later = np.zeros(n)
        self.received = np.zeros(n)
        self.n_received = np.zeros(n)

    def begin(self, window: Window) -> None:
        """Count the rows of a window that see each token."""
        self.rows += window.n_scored
        first, stop = window.position, window.position + window.n_scored
        token = np.arange(self.n)
        seen = token >= window.position - window.first
        after = np.minimum(stop, token + MOST + 1) - np.maximum(first, token + LEAST)
        self.n_later += np.where(seen, np.maximum(after, 0), 0)
        self.n_received += np.where(seen, np.maximum(stop - np.maximum(first, token), 0), 0)

    def add(self, layer: int, window: Window, rows: Rows) -> None:
        """Read one layer: ``rows`` gives the attention of all its heads at the scored tokens."""
        heads = self.place[layer]
        size = max(1, WEIGHTS // ((heads.stop - heads.start) * len(window.tokens)))
        shift = window.position - window.first  # from a place in the window to one in the response
        for start in range(0, window.n_scored, size):
            stop = min(start + size, window.n_scored)
            weights = rows(start, stop).float()
            first, end = window.first + start, weights.shape[-1]
            row = torch.arange(start, stop, device=weights.device) + window.first
            column = torch.arange(end, device=weights.device)
            # Counted from the first of these rows: its own number would swallow what is near.
            sums = weights @ torch.stack([torch.ones_like(column), first - column], 1).float()
            whole, back = sums.unbind(-1)  # Σ_s A, Σ_s A (first - s)
            self.back[heads] += (back + whole * (row - first)).sum(dim=1).double().cpu().numpy()
            # WAAD: what is nearer than W counts for less than W.
            near = slice(max(0, first - WINDOW), end)
            less = (WINDOW - (row[:, None] - column[near])).clamp(0, WINDOW)
            own = slice(window.position + start, window.position + stop)
            waad = WINDOW * whole - (weights[..., near] * less).sum(dim=-1)
            self.waad[heads, own] = waad.cpu().numpy()
            band = slice(max(0, first - MOST, -shift), max(0, end - LEAST, -shift))
            distance = row[:, None] - column[band]
            later = weights[..., band] * ((distance >= LEAST) & (distance <= MOST))
            place = slice(band.start + shift, band.start + shift + later.shape[-1])
            self.later[heads, place] += later.sum(dim=1).cpu().numpy()
            if layer in self.circuit:
                inside = weights[self.circuit[layer], :, max(0, -shift) :]
                columns = slice(max(0, shift), shift + end)
                self.received[columns] += inside.sum(dim=(0, 1)).double().cpu().numpy()

    def read(self) -> Flow:
        """What was collected."""
        order = np.argsort(self.back / max(1, self.rows), kind="stable")
        count = max(1, round(SHARE * len(order)))
        later = np.where(self.n_later > 0, self.n_later, np.nan)
        fai = self.later[order[-count:]].mean(axis=0, dtype=np.float64) / later
        waad = self.waad[order[:count]].mean(axis=0, dtype=np.float64)
        known = self.n_received > 0
        size = sum(len(heads) for heads in self.circuit.values())
        received = self.received[known] / self.n_received[known] / max(1, size)
        circuit = float(np.var(received)) if size and known.any() else float("nan")
        return Flow(waad.astype(np.float32), fai.astype(np.float32), circuit)


def attention_flow(
    model: TransformerBridge,
    encoded: Sequence[EncodedTrace],
    circuit: HeadSet | None = None,
    *,
    long: Long = "stride",
    engine: str = "hooks",
    max_tokens_per_batch: int | None = None,
    progress: bool = False,
) -> list[Flow]:
    """WAAD and FAI of every response token, and CircuitSeer's variance, of each trace.

    Args:
        model: the bridge.
        encoded: the traces.
        circuit: heads of the reasoning circuit.
        long: a trace longer than the context is read in strides, in which a row sees the tokens of
            its own stride; or cut.
        engine: ``hooks`` keeps the attention of one layer at a time; ``fast`` some rows of it.
        max_tokens_per_batch: bounds memory.
        progress: show a progress bar.

    Raises:
        AblationError: the model has no heads, or the attention of a layer cannot be read.
        NumbersError: attention is NaN; names the trace.
    """
    grid = heads_of(model)
    heads = {layer: grid.per_layer[layer] for layer in grid.layers}
    chosen = {} if circuit is None else circuit.by_layer()
    readers = [_Reader(e.n_response, heads, chosen) for e in encoded]
    parts = [
        _Part(window, reader)
        for e, reader in zip(encoded, readers, strict=True)
        for window in windows(e, int(model.cfg.n_ctx), long)
    ]
    for part in parts:
        part.reader.begin(part.window)
    total = sum(len(part.window.tokens) for part in parts)
    bar = tqdm(total=total, unit="tok", desc="attention", disable=not progress)
    with bar, running(model):
        if engine == "fast":
            _read_fast(model, parts, max_tokens_per_batch, bar.update)
        else:
            _read_hooks(model, parts, bar.update)
    for e, reader in zip(encoded, readers, strict=True):
        if not np.isfinite(reader.back).all():
            raise NumbersError(not_finite(model, "NaN"), place=f"trace {e.trace.id!r}")
    return [reader.read() for reader in readers]


def _read_fast(
    model: TransformerBridge,
    parts: Sequence[_Part],
    max_tokens_per_batch: int | None,
    on_progress: Callable[[int], Any],
) -> None:
    fast = fast_model(model)
    budget = row_budget(max_tokens_per_batch, fast.device)
    for row in pack([part.window.tokens for part in parts], budget):
        some = [parts[i] for i in row.items]
        plan = Plan(row.segments)

        def read(call: Call, some: list[_Part] = some, plan: Plan = plan) -> None:
            heads = list(range(call.query.shape[1]))
            for part, path in zip(some, plan.paths(call.query.device), strict=True):
                rows = attention_rows(call, heads, path.rows, part.window.first, len(path.rows))
                part.reader.add(call.layer, part.window, rows)

        plan.on_layer = read
        fast.hidden(row, plan, rows=budget)
        on_progress(sum(len(part.window.tokens) for part in some))


def _read_hooks(
    model: TransformerBridge, parts: Sequence[_Part], on_progress: Callable[[int], Any]
) -> None:
    for part in parts:
        seen: set[int] = set()

        def read(
            pattern: torch.Tensor,
            hook: Any,
            layer: int,
            part: _Part = part,
            seen: set[int] = seen,
        ) -> None:
            own = pattern[0, :, part.window.first :]
            seen.add(layer)
            part.reader.add(layer, part.window, lambda start, stop: own[:, start:stop])

        hooks = [
            (f"blocks.{i}.attn.hook_pattern", lambda p, hook, i=i, read=read: read(p, hook, i))
            for i in heads_of(model).layers
        ]
        with model.hooks(fwd_hooks=hooks):
            forward(model, as_row(model, part.window), check=False)
        need_all_read(model, seen)
        on_progress(len(part.window.tokens))
