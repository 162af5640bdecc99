"""NLL of every token of a text, under the model as it is and under each ablation of heads.

NLL of token t = -log p(x_t | x_<t), in nats. The reference engine, here, runs TransformerLens
hooks: one pass of the unchanged model, then one pass for each head set. The fast engine
(:mod:`airlens.engine`) gives the same numbers in one forked pass and is taken where it can run.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from tqdm.auto import tqdm

from .ablation import MeanZ, Mode, ablated
from .errors import ConfigError
from .heads import HeadSet
from .trace import EncodedTrace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Long: TypeAlias = Literal["stride", "cut"]
Engine: TypeAlias = Literal["auto", "hooks", "fast"]
Precision: TypeAlias = Literal["full", "bf16"]

# Functions of the fast engine, by what the core asks of it. They are named rather than imported, so
# that the core stands without an engine.
FAST_ENGINE = {
    "choose": "airlens.engine:choose_engine",
    "token_losses": "airlens.engine.fast_losses:score_fast",
    "probes": "airlens.engine.fast_probes:read_probes",
}

# Rows of logits turned to fp32 log-probabilities at once: 512 rows of a 150k vocabulary are 300 MB.
CHUNK = 512


@dataclass(frozen=True)
class Window:
    """A stretch of one trace's tokens that fits the model's context.

    Attributes:
        tokens: ids.
        first: index in ``tokens`` of the first token to be scored; the rest is context.
        position: index in the response of that first scored token.
    """

    tokens: list[int]
    first: int
    position: int

    @property
    def n_scored(self) -> int:
        """Number of tokens that this window scores."""
        return len(self.tokens) - self.first


@dataclass(frozen=True)
class WindowLoss:
    """NLL in nats of the n scored tokens of a window, or of the n response tokens of a trace.

    Attributes:
        base: fp32 [n], the model as it is.
        entropy: fp32 [n], of the base model's prediction.
        ablated: fp32 [S, n], one row for each head set.
    """

    base: np.ndarray
    entropy: np.ndarray
    ablated: np.ndarray


def fast_engine(name: str) -> Callable[..., Any]:
    """A function of the fast engine, a key of `FAST_ENGINE`; imported when first asked for."""
    function: Callable[..., Any] = pkgutil.resolve_name(FAST_ENGINE[name])
    return function


def token_losses(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    precision: Precision = "full",
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token under the model and under each ablation, by the engine asked for.

    Args:
        model: the bridge.
        items: windows, in any order; results come back in the same order.
        head_sets: what to ablate, one after the other; S of them.
        mode: ablation mode, or one for each head set.
        means: for ``mean``.
        max_tokens_per_batch: bounds memory; each engine has a default of its own.
        engine: ``hooks``, ``fast``, or ``auto``: the fast one where it can run.
        precision: ``bf16`` rounds the factors of matrix products (fast engine only).
        on_progress: called with the number of tokens done.

    Raises:
        ConfigError: an unknown engine or precision, or one that cannot run here.
    """
    chosen = fast_engine("choose")(model, engine, mode=mode)
    if precision not in get_args(Precision):
        raise ConfigError(f"precision={precision!r}: use one of {', '.join(get_args(Precision))}")
    options: dict[str, Any] = {
        "means": means,
        "max_tokens_per_batch": max_tokens_per_batch,
        "on_progress": on_progress,
    }
    if chosen == "fast":
        run = fast_engine("token_losses")
        found: list[WindowLoss] = run(model, items, head_sets, mode, precision=precision, **options)
        return found
    if precision != "full":
        raise ConfigError(f"precision={precision!r} needs the fast engine, which does not run here")
    return score_windows(model, items, head_sets, mode, **options)


def trace_losses(
    model: TransformerBridge,
    encoded: Sequence[EncodedTrace],
    head_sets: Sequence[HeadSet],
    mode: Mode,
    *,
    long: Long = "stride",
    progress: bool = True,
    **options: Any,
) -> list[WindowLoss]:
    """NLL of all n response tokens of each trace; NaN where no window scored a token.

    Arguments are those of :func:`token_losses`, ``long`` those of :func:`windows`.
    """
    parts = [windows(e, int(model.cfg.n_ctx), long) for e in encoded]
    flat = [window for part in parts for window in part]
    total = sum(len(w.tokens) for w in flat)
    with tqdm(total=total, unit="tok", desc="influence", disable=not progress) as bar:
        found = iter(token_losses(model, flat, head_sets, mode, on_progress=bar.update, **options))
    joined = []
    for e, part in zip(encoded, parts, strict=True):
        joined.append(_join(e.n_response, part, [next(found) for _ in part], len(head_sets)))
    return joined


def _join(n: int, part: Sequence[Window], losses: Sequence[WindowLoss], n_sets: int) -> WindowLoss:
    """The windows of one trace put together."""
    base, entropy = np.full(n, np.nan, "f4"), np.full(n, np.nan, "f4")
    others = np.full((n_sets, n), np.nan, "f4")
    for window, loss in zip(part, losses, strict=True):
        where = slice(window.position, window.position + window.n_scored)
        base[where], entropy[where], others[:, where] = loss.base, loss.entropy, loss.ablated
    return WindowLoss(base, entropy, others)


def windows(encoded: EncodedTrace, n_ctx: int, long: Long = "stride") -> list[Window]:
    """Cut a trace into windows of at most ``n_ctx`` tokens.

    ``stride``: windows half a context apart, each response token scored once, with at least half a
    context before it. ``cut``: the first window only. The very first token of a text has nothing
    before it that predicts it and is not scored.

    Raises:
        ConfigError: an unknown ``long``.

    >>> from airlens.trace import Trace
    >>> trace = Trace("1", "", "abcdef")
    >>> spans = np.array([[i, i + 1] for i in range(6)])
    >>> encoded = EncodedTrace(trace, [1, 2, 3, 4, 5, 6], 0, spans, np.zeros(6, int), "", spans)
    >>> [(w.tokens, w.first) for w in windows(encoded, 4)]
    [([1, 2, 3, 4], 1), ([3, 4, 5, 6], 2)]
    """
    if long not in ("stride", "cut"):
        raise ConfigError(f"long={long!r}: use 'stride' or 'cut'")
    tokens, begin = encoded.tokens, max(encoded.response_start, 1)
    found: list[Window] = []
    while begin < len(tokens):
        # The window starts so that what is new fills at most its second half.
        start = 0 if len(found) == 0 and begin < n_ctx else max(0, begin - max(1, n_ctx // 2))
        stop = min(start + n_ctx, len(tokens))
        if long == "cut" and start > 0:
            break
        found.append(Window(tokens[start:stop], begin - start, begin - encoded.response_start))
        begin = stop
        if long == "cut":
            break
    return found


def score_windows(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """Same as :func:`token_losses`, always by TransformerLens hooks: the reference engine.

    ``max_tokens_per_batch`` counts the padded tokens of a batch. By default one window runs at a
    time on CPU (which is faster there), 16,384 tokens on an accelerator.
    """
    modes = [mode] * len(head_sets) if isinstance(mode, str) else mode
    results: dict[int, WindowLoss] = {}
    budget = max_tokens_per_batch or (0 if str(model.cfg.device) == "cpu" else 16_384)
    for batch in batches([len(w.tokens) for w in items], budget):
        chosen = [items[i] for i in batch]
        losses = _score_batch(model, chosen, head_sets, modes, means)
        results.update(zip(batch, losses, strict=True))
        on_progress(sum(len(w.tokens) for w in chosen))
    return [results[i] for i in range(len(items))]


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size is at most ``budget`` tokens.

    >>> batches([3, 9, 4, 5], budget=10)
    [[1], [3, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    found: list[list[int]] = []
    for i in order:
        # Longest first: the batch's first item sets its padded width.
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= budget:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def _score_batch(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    modes: Sequence[Mode],
    means: MeanZ | None,
) -> list[WindowLoss]:
    tokens = pad_right([w.tokens for w in items]).to(model.cfg.device)
    base = _losses(model, tokens, items, entropy=True)
    others = []
    for heads, mode in zip(head_sets, modes, strict=True):
        with ablated(model, heads, mode, means=means):
            others.append([nll for nll, _ in _losses(model, tokens, items, entropy=False)])
    return [
        WindowLoss(nll, entropy, np.array([other[i] for other in others]).reshape(-1, len(nll)))
        for i, (nll, entropy) in enumerate(base)
    ]


def pad_right(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """[B, T] ids, padded on the right with 0.

    Under a causal mask no real token sees what stands after it, so the padding needs no mask.
    """
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows])


def _losses(
    model: TransformerBridge, tokens: torch.Tensor, items: Sequence[Window], *, entropy: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    with torch.inference_mode():
        logits = model(tokens)
        found = []
        for row, item in enumerate(items):
            stop = len(item.tokens)
            target = tokens[row, item.first : stop]
            found.append(nll_and_entropy(logits[row, item.first - 1 : stop - 1], target, entropy))
    return found


def nll_and_entropy(
    logits: torch.Tensor, target: torch.Tensor, entropy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """fp32 NLL [n] of ``target`` [n] under ``logits`` [n, V], and entropy [n] (or empty), nats.

    >>> nll, entropy = nll_and_entropy(torch.zeros(1, 4), torch.tensor([2]), True)
    >>> nll.round(3).tolist() == entropy.round(3).tolist() == [np.float32(np.log(4)).round(3)]
    True
    """
    losses, entropies = [], []
    for rows, wanted in zip(logits.split(CHUNK), target.split(CHUNK), strict=True):
        logp = torch.log_softmax(rows.float(), dim=-1)
        losses.append(-logp.gather(-1, wanted[:, None])[:, 0])
        if entropy:
            entropies.append(-(logp.exp() * logp).sum(dim=-1))
    joined = [torch.cat(x).cpu().numpy() if x else np.zeros(0, "f4") for x in (losses, entropies)]
    return joined[0], joined[1]
