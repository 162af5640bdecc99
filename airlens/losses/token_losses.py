"""NLL of every token of a text, under the model as it is and under each ablation of heads.

NLL of token t = -log p(x_t | x_<t), in nats. The reference engine (:mod:`airlens.losses.hooks`)
runs TransformerLens hooks: one pass of the unchanged model, then one pass for each head set. The
fast engine (:mod:`airlens.losses.fast`) gives the same numbers in one forked pass and is taken
where it can run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
from tqdm.auto import tqdm

from airlens.ablation import MeanZ, Mode
from airlens.errors import ConfigError, NumbersError
from airlens.heads import HeadSet
from airlens.model.heads import heads_in
from airlens.model.state import running
from airlens.traces.encoding import EncodedTrace

from .choice import Engine, choose_engine
from .fast.fast_losses import score_fast
from .fast.low_precision import Precision
from .hooks import score_windows
from .windows import Long, Window, WindowLoss, windows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def token_losses(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    engine: Engine = "auto",
    precision: Precision = "full",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token under the model and under each ablation, by the engine asked for.

    Arguments are those of :func:`score_windows`; ``engine`` is ``hooks``, ``fast``, or ``auto``,
    the fast one where it can run; ``precision="bf16"`` multiplies matrices in bf16 where that is
    faster (fast engine only).

    Raises:
        ConfigError: an unknown engine or precision, or one that cannot run here.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision={precision!r}: use one of {', '.join(get_args(Precision))}")
    longest = max((len(window.tokens) for window in items), default=0)
    with running(model):
        chosen = choose_engine(model, engine, mode=mode, longest=longest)
        if chosen == "hooks" and precision != "full":
            raise ConfigError(
                f"precision={precision!r} needs the fast engine, which does not run here"
            )
        score = score_windows if chosen == "hooks" else partial(score_fast, precision=precision)
        return score(
            model,
            items,
            head_sets,
            mode,
            means=means,
            max_tokens_per_batch=max_tokens_per_batch,
            on_progress=on_progress,
        )


def trace_losses(
    model: TransformerBridge,
    encoded: Sequence[EncodedTrace],
    head_sets: Sequence[HeadSet],
    mode: Mode,
    *,
    long: Long = "stride",
    engine: Engine = "auto",
    precision: Precision = "full",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    progress: bool = True,
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
            losses = token_losses(
                model,
                flat,
                head_sets,
                mode,
                engine=engine,
                precision=precision,
                means=means,
                max_tokens_per_batch=max_tokens_per_batch,
                on_progress=bar.update,
            )
        except NumbersError as error:
            raise _of_trace(error, encoded, parts) from None
    found = iter(losses)
    joined = []
    for e, part in zip(encoded, parts, strict=True):
        whole = np.full((3 + len(head_sets), e.n_response), np.nan, "f4")
        for window in part:
            loss, where = next(found), slice(window.position, window.position + window.n_scored)
            whole[:, where] = np.vstack([loss.base, loss.entropy, loss.rank, loss.ablated])
        joined.append(WindowLoss(whole[0], whole[1], whole[3:], whole[2]))
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
