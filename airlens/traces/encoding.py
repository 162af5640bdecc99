"""A trace in tokens: which tokens the response has, and which step each of them belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from airlens.errors import DataError, ModelError

from .chat_template import Template, Think, Written, resolve_template, write
from .token_spans import TokenRules, added_tokens, covering, first_characters, token_rules
from .trace import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 64  # texts in one call of a tokenizer: beyond that it is not faster, only larger


@dataclass(frozen=True)
class EncodedTrace:
    """A trace as tokens.

    Attributes:
        trace: what was encoded.
        tokens: ids of prompt and response.
        response_start: index of the first response token.
        offsets: [n, 2] int, character span in ``trace.response`` of each response token.
        step: [n] int, index of the step of each response token; ascending.
        prefix: the text that stands before the response, the chat template included.
        spans: [N, 2] int, character span of every token in ``prefix`` + response; a token that
            stands for no text (BOS) has an empty one.
    """

    trace: Trace
    tokens: list[int]
    response_start: int
    offsets: np.ndarray
    step: np.ndarray
    prefix: str = ""
    spans: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    @property
    def n_response(self) -> int:
        """Number of response tokens."""
        return len(self.tokens) - self.response_start

    def digest(self) -> str:
        """16 hex digits of what is measured: the tokens, those of the response, and their steps.

        For names of stored results.
        """
        parts = (self.tokens, [self.response_start, len(self.trace.whole_steps())], self.step)
        rows = b"".join(np.asarray(part, dtype="<i8").tobytes() for part in parts)
        return hashlib.sha256(rows).hexdigest()[:16]


def encode_trace(
    tokenizer: PreTrainedTokenizerBase,
    trace: Trace,
    template: Template = "auto",
    think: Think = "auto",
) -> EncodedTrace:
    """:func:`encode_traces` of one trace."""
    return encode_traces(tokenizer, [trace], template, think)[0]


def encode_traces(
    tokenizer: PreTrainedTokenizerBase,
    traces: Sequence[Trace],
    template: Template = "auto",
    think: Think = "auto",
) -> list[EncodedTrace]:
    """Tokens of prompt and response, tokenised as one text, with steps by character offsets.

    A token belongs to the step of its first non-blank character: a word token often begins with
    the blank that ends the step before. A token of blanks belongs to the step in which it begins.
    One that straddles the end of the prompt is a token of the response, in which every character
    has a token; control tokens before the response and at its end are no part of it.

    Args:
        tokenizer: a fast one.
        traces: with or without steps.
        template: how a prompt is put before its response.
        think: how a thought is written; see :func:`airlens.traces.chat_template.write`. The tokens
            of a tag that the template writes in its own way stand for the characters in its place,
            such as the blank line between thought and answer.

    Raises:
        ModelError: the tokenizer gives no character offsets (a slow tokenizer).
        DataError: the chat template cannot write a trace; names it.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("assigning tokens to steps needs a fast tokenizer (character offsets)")
    written = [_written(tokenizer, trace, template, think) for trace in traces]
    rules = token_rules(tokenizer)
    # A chat template writes its own BOS; a plain text gets the tokenizer's.
    is_chat = resolve_template(tokenizer, template) == "chat"
    found: dict[int, EncodedTrace] = {}
    for chat in (False, True):
        mine = [i for i, each in enumerate(written) if (is_chat and bool(each.prefix)) == chat]
        for start in range(0, len(mine), AT_ONCE):
            some = mine[start : start + AT_ONCE]
            encoded = tokenizer(
                [written[i].text for i in some],
                add_special_tokens=not chat,
                return_offsets_mapping=True,
                return_special_tokens_mask=True,
            )
            names = ("input_ids", "offset_mapping", "special_tokens_mask")
            for i, *row in zip(some, *(encoded[name] for name in names), strict=True):
                found[i] = _encoded(tokenizer, rules, traces[i], written[i], *row)
    return [found[i] for i in range(len(traces))]


def _written(
    tokenizer: PreTrainedTokenizerBase, trace: Trace, template: Template, think: Think
) -> Written:
    try:
        return write(tokenizer, trace, template, think)
    except DataError as error:
        raise DataError(f"trace {trace.id!r}: {error.reason}", field=error.field) from error


def _encoded(
    tokenizer: PreTrainedTokenizerBase,
    rules: TokenRules,
    trace: Trace,
    written: Written,
    ids: list[int],
    where: Sequence[tuple[int, int]],
    put: Sequence[int],
) -> EncodedTrace:
    """A trace from its tokens.

    ``where``: their spans in the text that was written; ``put``: whether the tokenizer put them
    before or after it.
    """
    text, n = written.prefix + trace.response, len(written.prefix)
    skip = np.asarray(put, dtype=bool)
    spans = np.asarray(where, dtype=np.int64).reshape(-1, 2)
    spans, added = added_tokens(spans, ids, written.text, rules)
    spans = covering(written.places(spans), ids, text, n, skip, added, rules, tokenizer)
    # The first token of the response; without any, what stands behind the last one of the prompt.
    places = np.flatnonzero(~skip)
    inside = places[spans[places, 1] > n]
    start = int(inside[0]) if len(inside) else int(places.max(initial=-1)) + 1
    control = skip | (added & np.isin(ids, list(rules.control)))
    stop = start + _end(control[start:], [text[a:b] for a, b in spans[start:].tolist()])
    offsets = np.maximum(spans[start:stop] - n, 0)
    step = parts_of(trace.response, offsets, [s.start for s in trace.steps])
    return EncodedTrace(trace, list(ids[:stop]), start, offsets, step, written.prefix, spans[:stop])


def _end(control: np.ndarray, texts: Sequence[str]) -> int:
    """How many of the tokens are the author's: an EOS, and blanks behind it, are not."""
    end = len(texts)
    for i in reversed(range(len(texts))):
        if control[i]:
            end = i
        elif texts[i].strip():
            break
    return end


def parts_of(response: str, offsets: np.ndarray, begins: Sequence[int]) -> np.ndarray:
    """The part of each token, int [n]: the last that begins at or before its first character.

    Args:
        response: the text.
        offsets: int [n, 2], spans of the tokens in it.
        begins: where the parts begin, ascending; none: the whole is one.
    """
    starts = np.asarray(list(begins) or [0])
    found = np.searchsorted(starts, first_characters(response, offsets), side="right") - 1
    return np.maximum.accumulate(np.clip(found, 0, len(starts) - 1))
