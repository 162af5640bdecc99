"""What a stored result belongs to: the texts it was measured on, and the tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airlens.loss_free import dumps
from airlens.provenance import fingerprint

from .trace import OWN_FIELDS, Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How a trace was read says nothing about what it is; its steps are hashed by their places.
_APART = frozenset({"id", "reading", "steps"})


def trace_key(trace: Trace, *more: object) -> str:
    """32 hex digits of all that a trace says but its id: texts, chat, steps, labels, columns.

    ``more``: what else the key shall depend on.
    """
    fields = [getattr(trace, name) for name in OWN_FIELDS if name not in _APART]
    steps = [[step.start, step.end, step.label] for step in trace.steps]
    text = dumps([steps, *fields, *more])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def traces_key(traces: Iterable[Trace]) -> str:
    """32 hex digits of traces in their order, ids included."""
    digest = hashlib.blake2b(digest_size=16)
    for trace in traces:
        digest.update(f"{trace_key(trace, trace.id)}\n".encode())
    return digest.hexdigest()


def tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits of all that a tokenizer does to a text: vocabulary, merges, special tokens.

    Padding and truncation, which calls leave behind in it, are no part of it.
    """
    record: dict[str, Any] = {"special": str(tokenizer.special_tokens_map)}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return fingerprint({**record, "vocab": tokenizer.get_vocab()})
    rules = json.loads(backend.to_str())
    return fingerprint({**record, **rules, "padding": None, "truncation": None})
