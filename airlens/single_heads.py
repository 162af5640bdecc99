"""What each head alone does to the tokens and steps of one trace, exactly, on the hooks engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .ablation import DEFAULT_MODE, as_head_set
from .encode import Template, encode_trace, windows
from .heads import HeadSet
from .score import score_windows
from .trace import Trace
from .types import Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def single_heads(
    model: TransformerBridge,
    trace: Trace,
    heads: HeadSet | Iterable[Any] | str,
    *,
    mode: Mode = DEFAULT_MODE,
    template: Template = "auto",
) -> pd.DataFrame:
    """ΔNLL of every response token for each head ablated alone.

    One pass without ablation and one a head. Returns one row a head and token: name, layer, head,
    step, pos, delta (nats).
    """
    heads = as_head_set(heads)
    encoded = encode_trace(model.tokenizer, trace, template)
    n = encoded.n_response
    deltas = np.full((len(heads), n), np.nan, dtype=np.float32)
    parts = windows(encoded, int(model.cfg.n_ctx))
    sets = [HeadSet((head,)) for head in heads]
    for part, loss in zip(parts, score_windows(model, parts, sets, mode), strict=True):
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


def by_step(tokens: pd.DataFrame) -> pd.DataFrame:
    """Mean Δ of each head in each step: name, layer, head, step, delta (nats a token)."""
    keys = ["name", "layer", "head", "step"]
    return tokens.groupby(keys, sort=False)["delta"].mean().reset_index()
