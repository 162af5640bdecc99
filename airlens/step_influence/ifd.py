"""IFD, the instruction-following difficulty of Cherry LLM (2308.12032): L(y given x) / L(y).

Both are mean NLLs over the same tokens: those that the response y has behind its prompt x, which
are scored once more with nothing before them but what the tokenizer puts before any text. Without
such a token (BOS) the first token has no prediction in L(y), and counts in neither mean. Cherry
LLM's own code leaves out samples with an IFD over 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE
from airlens.losses.token_losses import trace_losses
from airlens.losses.windows import Long
from airlens.traces.encoding import EncodedTrace, encode_trace
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

from .influence import Influence

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def ifd(
    model: TransformerBridge,
    traces: Sequence[Trace],
    scored: Influence,
    *,
    long: Long = "stride",
    max_tokens_per_batch: int | None = None,
) -> pd.DataFrame:
    """IFD of traces that were scored: columns id, loss_alone (L(y), nats a token), ifd.

    Args:
        model: the bridge that scored them.
        traces: in the order in which they were scored.
        scored: what :func:`airlens.influence` said of them; its tokens are needed.
        long: a trace longer than the context is scored in strides or cut.
        max_tokens_per_batch: bounds memory.

    NaN where no token can be compared.
    """
    written = scored.provenance.get("written", {})
    how = (scored.provenance["template"], written.get("think", "auto"))
    encoded = encode_for(model, traces, *how)
    head = head_of(model.tokenizer)
    bare = [_alone(each, head) for each in encoded]
    losses = trace_losses(
        model,
        bare,
        [],
        DEFAULT_MODE,
        long=long,
        max_tokens_per_batch=max_tokens_per_batch,
        progress=False,
    )
    given = scored.tokens["nll_base"].to_numpy()
    ends = np.cumsum([each.n_response for each in encoded])
    rows = []
    for each, loss, end in zip(encoded, losses, ends, strict=True):
        with_prompt = given[end - each.n_response : end]
        both = ~np.isnan(with_prompt) & ~np.isnan(loss.base)
        alone = _mean(loss.base[both])
        rows.append((each.trace.id, alone, _mean(with_prompt[both]) / alone))
    return pd.DataFrame(rows, columns=["id", "loss_alone", "ifd"])


def head_of(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a plain text: its BOS, or nothing."""
    text = encode_trace(tokenizer, Trace("text", "", "a"), "plain")
    return text.tokens[: text.response_start]


def _alone(encoded: EncodedTrace, head: list[int]) -> EncodedTrace:
    tokens = [*head, *encoded.tokens[encoded.response_start :]]
    return replace(encoded, tokens=tokens, response_start=len(head))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")
