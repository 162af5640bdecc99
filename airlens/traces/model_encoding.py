"""Traces as tokens for one model: its tokenizer's, each of which the model has an embedding for.

Apart from :mod:`.encoding`, which needs no model and imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airlens.errors import DataError
from airlens.model.checks import embedding_rows

from .chat_template import Template, Think
from .encoding import EncodedTrace, encode_traces
from .trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


def encode_for(
    model: TransformerBridge,
    traces: Sequence[Trace],
    template: Template = "auto",
    think: Think = "auto",
) -> list[EncodedTrace]:
    """:func:`.encode_traces` with the model's tokenizer; every token can be run.

    Raises:
        ModelError, DataError: as :func:`encode_traces`.
        DataError: a token that the model has no embedding for; names trace and token.
    """
    encoded = encode_traces(model.tokenizer, traces, template, think)
    rows = embedding_rows(model.original_model)
    for each in encoded:
        need_embedded(each, rows, model.tokenizer)
    return encoded


def need_embedded(
    encoded: EncodedTrace, rows: int | None, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raise :class:`DataError` where a token of a trace has no embedding.

    Args:
        encoded: the trace.
        rows: how many ids have an embedding; None: not known, and nothing is raised.
        tokenizer: for the name of the token.
    """
    if rows is None or max(encoded.tokens, default=0) < rows:
        return
    place = next(i for i, token in enumerate(encoded.tokens) if token >= rows)
    token = encoded.tokens[place]
    part = "prompt" if place < encoded.response_start else "response"
    raise DataError(
        f"trace {encoded.trace.id!r} has in its {part} the token "
        f"{tokenizer.convert_ids_to_tokens(token)!r} (id {token}), which the model has no "
        f"embedding for: it has {rows}, its tokenizer {len(tokenizer)} ids; give the model's own "
        "tokenizer, or a model that was trained with this one"
    )
