"""Exact effect of ablating each head alone on the tokens and steps of one trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, Mode, mean_z
from airlens.errors import ConfigError
from airlens.heads import Head, Heads, HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.each_head_alone import each_head_alone
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.packing import pack
from airlens.losses.fast.single_head_passes import attribution_row
from airlens.losses.windows import Window, windows
from airlens.model.heads import heads_in
from airlens.model.state import running
from airlens.traces.chat_template import Template, Think
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = 8192  # ours: of a row times the heads that run side by side; bounds memory


def single_heads(
    model: TransformerBridge,
    trace: Trace,
    heads: Heads,
    *,
    mode: Mode = DEFAULT_MODE,
    template: Template = "auto",
    think: Think = "auto",
) -> pd.DataFrame:
    """ΔNLL of every response token for each head ablated alone, by the engine that fits.

    Returns one row per head and token: name, layer, head, step, pos, delta (nats).
    """
    heads = heads_in(model, heads)
    encoded = encode_for(model, [trace], template, think)[0]
    n = encoded.n_response
    parts = windows(encoded, int(model.cfg.n_ctx))
    losses = each_head_alone(model, parts, heads.heads, mode, max_tokens_per_batch=TOKENS)
    deltas = np.full((len(heads), n), np.nan, dtype=np.float32)
    for part, loss in zip(parts, losses, strict=True):
        where = slice(part.position, part.position + part.n_scored)
        deltas[:, where] = loss.ablated - loss.base
    frames = [
        pd.DataFrame(
            {
                "name": str(head),
                "layer": head.layer,
                "head": head.head,
                "step": encoded.step,
                "pos": np.arange(n),
                "delta": row,
            }
        )
        for head, row in zip(heads, deltas, strict=True)
    ]
    columns = ["name", "layer", "head", "step", "pos", "delta"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def step_attribution(
    model: TransformerBridge,
    trace: Trace,
    step: int,
    *,
    mode: Mode = DEFAULT_MODE,
    template: Template = "auto",
    think: Think = "auto",
) -> np.ndarray:
    """Estimate, fp32 [L, H], of the rise of a step's summed NLL (nats) by ablating each head alone.

    One backward pass for all heads, see
    :func:`airlens.losses.fast.single_head_passes.attribution_row`.

    Raises:
        ConfigError: the step has no token, or the fast engine cannot run on this model.
    """
    return _step_products(model, trace, step, mode, template, think)[0]


def _step_products(
    model: TransformerBridge, trace: Trace, step: int, mode: Mode, template: Template, think: Think
) -> tuple[np.ndarray, np.ndarray]:
    """The estimate, and the sum of the squares of what it sums over positions; fp32 [L, H]."""
    encoded = encode_for(model, [trace], template, think)[0]
    inside = np.flatnonzero(encoded.step == step) + encoded.response_start
    inside = inside[inside > 0]  # nothing before the first token of all predicts it
    if not len(inside):
        raise ConfigError(f"step {step} of {trace.id!r} has no token that could be scored")
    stop = int(inside[-1]) + 1
    start = max(0, stop - int(model.cfg.n_ctx))
    first = max(int(inside[0]) - start, 1)
    item = Window(encoded.tokens[start:stop], first, start + first - encoded.response_start)
    row = pack([item.tokens], len(item.tokens), share=False)[0]
    one_part = np.zeros(item.n_scored, np.int64)
    with running(model):
        choose_engine(model, "fast", mode=mode, longest=len(item.tokens))
        means = mean_z(model) if mode == "mean" else None
        fast = fast_model(model)
        with running(model, gradients=True):
            _, rises, squares = attribution_row(fast, row, [item], one_part, mode, means)
    return np.asarray(rises[0, 0], np.float32), np.asarray(squares[0, 0], np.float32)


def heads_of_step(
    model: TransformerBridge,
    trace: Trace,
    step: int,
    k: int,
    *,
    mode: Mode = DEFAULT_MODE,
    template: Template = "auto",
    think: Think = "auto",
) -> HeadSet:
    """The ``k`` of all heads whose ablation changes a step most, chosen as ``screened`` chooses.

    An estimate (:func:`airlens.head_influence`): measure the chosen heads by
    :func:`single_heads`.
    """
    _, squares = _step_products(model, trace, step, mode, template, think)
    best = np.argsort(-squares, axis=None, kind="stable")[:k]
    heads = (Head(*divmod(int(i), squares.shape[1])) for i in best)
    return HeadSet(tuple(heads), f"most moved at step {step}")


def by_step(tokens: pd.DataFrame) -> pd.DataFrame:
    """Mean Δ of each head in each step: name, layer, head, step, delta (nats per token)."""
    keys = ["name", "layer", "head", "step"]
    return tokens.groupby(keys, sort=False)["delta"].mean().reset_index()
