"""What each head alone does to the tokens and steps of one trace, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .ablation import DEFAULT_MODE, as_head_set
from .encode import Template, encode_trace, windows
from .engine import choose_engine
from .heads import HeadSet
from .score import score_windows
from .score_fast import score_fast
from .trace import Trace
from .types import Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = 8192  # ours: of one batch, the model as it is and each head; bounds memory


def single_heads(
    model: TransformerBridge,
    trace: Trace,
    heads: HeadSet | Iterable[Any] | str,
    *,
    mode: Mode = DEFAULT_MODE,
    template: Template = "auto",
) -> pd.DataFrame:
    """ΔNLL of every response token for each head ablated alone, by the engine that fits.

    Returns one row a head and token: name, layer, head, step, pos, delta (nats).
    """
    heads = as_head_set(heads)
    encoded = encode_trace(model.tokenizer, trace, template)
    n = encoded.n_response
    parts = windows(encoded, int(model.cfg.n_ctx))
    score = score_fast if choose_engine(model, "auto") == "fast" else score_windows
    longest = max((len(part.tokens) for part in parts), default=1)
    together = max(1, TOKENS // longest - 1)
    deltas = np.full((len(heads), n), np.nan, dtype=np.float32)
    for first in range(0, len(heads), together):
        sets = [HeadSet((head,)) for head in heads.heads[first : first + together]]
        for part, loss in zip(parts, score(model, parts, sets, mode), strict=True):
            where = slice(part.position, part.position + part.n_scored)
            deltas[first : first + len(sets), where] = loss.ablated - loss.base
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
