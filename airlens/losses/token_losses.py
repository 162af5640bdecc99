"""NLL of every token of a text, under the model as it is and under each ablation of heads.

NLL of token t = -log p(x_t | x_<t), in nats. The reference engine, here, runs TransformerLens
hooks: one pass of the unchanged model, then one pass for each head set. The fast engine
(:mod:`airlens.losses.fast`) gives the same numbers in one forked pass and is taken where it can run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from airlens.ablation import MeanZ, Mode, ablated, mean_z, of_a_block
from airlens.errors import ConfigError, NumbersError
from airlens.heads import HeadSet
from airlens.model.attached import attached
from airlens.model.heads import heads_in
from airlens.model.state import forward, not_finite, running
from airlens.registry import named
from airlens.traces.trace import EncodedTrace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Long: TypeAlias = Literal["stride", "cut"]
Engine: TypeAlias = Literal["auto", "hooks", "fast"]
Precision: TypeAlias = Literal["full", "bf16"]

# What the core asks of the fast engine: whether it can run, its form of `score_windows`, and the
# reading of probes.
choose_engine = named("airlens.losses.choice:choose_engine")
fast_losses = named("airlens.losses.fast.fast_losses:score_fast")
fast_probes = named("airlens.detectors.fast_probes:read_probes")

# Rows of logits turned to fp32 log-probabilities at once: 512 rows of a 150k vocabulary are 300 MB.
CHUNK = 512
LEAST = torch.finfo(torch.float32).min


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


def token_losses(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    engine: Engine = "auto",
    precision: Precision = "full",
    **options: Any,
) -> list[WindowLoss]:
    """NLL of every scored token under the model and under each ablation, by the engine asked for.

    Arguments are those of :func:`score_windows`; ``engine`` is ``hooks``, ``fast``, or ``auto``,
    the fast one where it can run; ``precision="bf16"`` rounds the factors of matrix products (fast
    engine only).

    Raises:
        ConfigError: an unknown engine or precision, or one that cannot run here.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision={precision!r}: use one of {', '.join(get_args(Precision))}")
    longest = max((len(window.tokens) for window in items), default=0)
    with running(model):
        chosen = choose_engine(model, engine, mode=mode, longest=longest)
        if chosen == "fast":
            options["precision"] = precision
        elif precision != "full":
            raise ConfigError(
                f"precision={precision!r} needs the fast engine, which does not run here"
            )
        score = fast_losses if chosen == "fast" else score_windows
        found: list[WindowLoss] = score(model, items, head_sets, mode, **options)
    return found


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

    Raises:
        NumbersError: the model gave NaN or infinity; the message names trace and token.
    """
    for heads in head_sets:
        heads_in(model, heads)
    parts = [windows(e, int(model.cfg.n_ctx), long) for e in encoded]
    flat = [window for part in parts for window in part]
    total = sum(len(w.tokens) for w in flat)
    with tqdm(total=total, unit="tok", desc="influence", disable=not progress) as bar:
        try:
            losses = token_losses(model, flat, head_sets, mode, on_progress=bar.update, **options)
        except NumbersError as error:
            raise _of_trace(error, encoded, parts) from None
    found = iter(losses)
    joined = []
    for e, part in zip(encoded, parts, strict=True):
        whole = np.full((2 + len(head_sets), e.n_response), np.nan, "f4")
        for window in part:
            loss, where = next(found), slice(window.position, window.position + window.n_scored)
            whole[:, where] = np.vstack([loss.base, loss.entropy, loss.ablated])
        joined.append(WindowLoss(whole[0], whole[1], whole[2:]))
    return joined


def _of_trace(
    error: NumbersError, encoded: Sequence[EncodedTrace], parts: Sequence[Sequence[Window]]
) -> NumbersError:
    """The error with the trace and the token named, and ``item`` the index of the trace."""
    places = [(i, window) for i, part in enumerate(parts) for window in part]
    if error.item is None or error.token is None:
        return error
    index, window = places[error.item]
    at = window.position + error.token
    start, stop = encoded[index].offsets[at].tolist()
    trace = encoded[index].trace
    place = f"trace {trace.id!r}, token {at} of its response ({trace.response[start:stop]!r})"
    return NumbersError(error.reason, place=place, item=index, token=at)


def windows(encoded: EncodedTrace, n_ctx: int, long: Long = "stride") -> list[Window]:
    """Cut a trace into windows of at most ``n_ctx`` tokens.

    ``stride``: windows half a context apart, each response token scored once, with at least half a
    context before it. ``cut``: the first window only. The very first token of a text has nothing
    before it that predicts it and is not scored. Any other ``long`` is a :class:`ConfigError`.

    >>> from airlens.traces.trace import Trace
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
        begin = len(tokens) if long == "cut" else stop
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
    """NLL of every scored token by TransformerLens hooks: the reference engine.

    Args:
        model: the bridge.
        items: windows, in any order; results come back in the same order.
        head_sets: what to ablate, one after the other; S of them.
        mode: ablation mode, or one for each head set.
        means: for ``mean``.
        max_tokens_per_batch: padded tokens of a batch, which bound memory. Default: one window at a
            time on CPU (which is faster there), 16,384 tokens on an accelerator.
        on_progress: called with the number of tokens done.
    """
    modes = [mode] * len(head_sets) if isinstance(mode, str) else mode
    results: dict[int, WindowLoss] = {}
    with running(model) as state:
        budget = max_tokens_per_batch or (0 if str(model.cfg.device) == "cpu" else 16_384)
        if state.rotary or attached(model, of_a_block):
            budget = 0  # each alone: what it gives may depend on the others in its batch
        if "mean" in modes and means is None:
            means = mean_z(model)
        for batch in batches([len(w.tokens) for w in items], budget):
            some = [items[i] for i in batch]
            losses = _score_batch(model, some, head_sets, modes, means)
            for i, loss in zip(batch, losses, strict=True):
                check_finite(model, loss, i)
                results[i] = loss
            on_progress(sum(len(w.tokens) for w in some))
    return [results[i] for i in range(len(items))]


def check_finite(model: TransformerBridge, loss: WindowLoss, item: int | None = None) -> None:
    """Raise :class:`NumbersError` where a loss is NaN or infinite: NaN means "not scored" only.

    ``item`` is the index of its window among those given.
    """
    rows = np.vstack([loss.base, loss.entropy, loss.ablated])
    wrong = ~np.isfinite(rows)
    if not wrong.any():
        return
    token = int(wrong.any(axis=0).argmax())
    row = int(wrong[:, token].argmax())
    which = "" if row < 2 else " with heads ablated"
    kind = "NaN" if np.isnan(rows[row, token]) else "infinity"
    place = "" if item is None else f"text {item}, scored token {token}"
    raise NumbersError(not_finite(model, kind + which), place=place, item=item, token=token)


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size is at most ``budget`` tokens.

    >>> batches([3, 9, 4, 5], budget=10)
    [[1], [3, 2], [0]]
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
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
    # Under a causal mask no real token sees what stands after it: padding needs no mask.
    rows = [torch.tensor(w.tokens, device=model.cfg.device) for w in items]
    tokens = pad_sequence(rows, batch_first=True)
    base = _losses(model, tokens, items, entropy=True)
    others = []
    for heads, mode in zip(head_sets, modes, strict=True):
        with ablated(model, heads, mode, means=means):
            others.append([nll for nll, _ in _losses(model, tokens, items, entropy=False)])
    return [
        WindowLoss(nll, entropy, np.array([other[i] for other in others]).reshape(-1, len(nll)))
        for i, (nll, entropy) in enumerate(base)
    ]


def _losses(
    model: TransformerBridge, tokens: torch.Tensor, items: Sequence[Window], *, entropy: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    logits = forward(model, tokens, check=False)  # what is scored is checked
    for row, item in enumerate(items):
        first, stop = item.first, len(item.tokens)
        target = tokens[row, first:stop].to(logits.device)
        found.append(nll_and_entropy(logits[row, first - 1 : stop - 1], target, entropy))
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
        if entropy:  # a token that is ruled out, with a logit of -inf, adds nothing
            entropies.append(-(logp.exp() * logp.clamp(min=LEAST)).sum(dim=-1))
    joined = [torch.cat(x).cpu().numpy() if x else np.zeros(0, "f4") for x in (losses, entropies)]
    return joined[0], joined[1]
