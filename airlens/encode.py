"""Tokens of a trace: where the response begins, and which step each of its tokens belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from .errors import ConfigError, ModelError
from .trace import Step, Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Template: TypeAlias = Literal["auto", "chat", "plain"]
Long: TypeAlias = Literal["stride", "cut"]
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


def resolve_template(tokenizer: PreTrainedTokenizerBase, template: Template) -> str:
    """``"auto"`` is ``"chat"`` for a tokenizer with a chat template, else ``"plain"``.

    Raises:
        ConfigError: an unknown template, or ``"chat"`` without a chat template.
    """
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if template == "auto":
        return "chat" if has_chat else "plain"
    if template not in ("chat", "plain"):
        raise ConfigError(f"template={template!r}: use 'auto', 'chat' or 'plain'")
    if template == "chat" and not has_chat:
        raise ConfigError("template='chat', but the tokenizer has no chat template; use 'plain'")
    return template


def prompt_text(tokenizer: PreTrainedTokenizerBase, trace: Trace, template: Template) -> str:
    """The text before the response.

    ``chat``: the turns of ``trace.meta["messages"]``, or else the prompt as one user turn, under
    the chat template, and the opening of the assistant's turn. ``plain``: the prompt and a newline.
    An empty prompt (a document) stays empty in both.
    """
    if not trace.prompt:
        return ""
    if resolve_template(tokenizer, template) == "plain":
        return trace.prompt + "\n"
    turns = trace.meta.get("messages") or [{"role": "user", "content": trace.prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return str(text)


def encode_trace(
    tokenizer: PreTrainedTokenizerBase, trace: Trace, template: Template = "auto"
) -> EncodedTrace:
    """Tokens of prompt and response, tokenised as one text, with steps by character offsets.

    A token that straddles the end of the prompt, or of a step, belongs where its first character
    in the response lies.

    Raises:
        ModelError: the tokenizer gives no character offsets (a slow tokenizer).
    """
    return encode_traces(tokenizer, [trace], template)[0]


def encode_traces(
    tokenizer: PreTrainedTokenizerBase, traces: Sequence[Trace], template: Template = "auto"
) -> list[EncodedTrace]:
    """What `encode_trace` gives for each, many texts in a call of the tokenizer.

    Raises:
        ModelError: the tokenizer gives no character offsets (a slow tokenizer).
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("assigning tokens to steps needs a fast tokenizer (character offsets)")
    prefixes = [prompt_text(tokenizer, trace, template) for trace in traces]
    # A chat template writes its own BOS; a plain text gets the tokenizer's.
    is_chat = resolve_template(tokenizer, template) == "chat"
    found: dict[int, EncodedTrace] = {}
    for chat in (False, True):
        mine = [i for i, prefix in enumerate(prefixes) if (is_chat and bool(prefix)) == chat]
        for start in range(0, len(mine), AT_ONCE):
            some = mine[start : start + AT_ONCE]
            encoded = tokenizer(
                [prefixes[i] + traces[i].response for i in some],
                add_special_tokens=not chat,
                return_offsets_mapping=True,
            )
            spans = encoded["offset_mapping"]
            for i, ids, where in zip(some, encoded["input_ids"], spans, strict=True):
                found[i] = _encoded(traces[i], prefixes[i], list(ids), where)
    return [found[i] for i in range(len(traces))]


def _encoded(
    trace: Trace, prefix: str, ids: list[int], where: Sequence[tuple[int, int]]
) -> EncodedTrace:
    """A trace from its tokens and their character spans in ``prefix`` + response."""
    n_prefix = len(prefix)
    spans = np.asarray(where, dtype=np.int64).reshape(-1, 2)
    special = spans[:, 0] == spans[:, 1]
    while len(ids) and special[-1]:  # an EOS that the tokenizer appends is no part of the response
        ids, spans, special = ids[:-1], spans[:-1], special[:-1]
    inside = np.flatnonzero((spans[:, 1] > n_prefix) & ~special)
    start = int(inside[0]) if len(inside) and trace.response else len(ids)
    offsets = np.maximum(spans[start:] - n_prefix, 0)
    return EncodedTrace(trace, ids, start, offsets, _steps_of(offsets, trace.steps), prefix, spans)


def _steps_of(offsets: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
    """The step of each token: the last one that begins at or before the token's first character."""
    if not len(offsets):
        return np.zeros(0, dtype=np.int64)
    starts = np.asarray([s.start for s in steps] or [0])
    found = np.searchsorted(starts, offsets[:, 0], side="right") - 1
    return np.maximum.accumulate(np.clip(found, 0, len(starts) - 1))


def windows(encoded: EncodedTrace, n_ctx: int, long: Long = "stride") -> list[Window]:
    """Cut a trace into windows of at most ``n_ctx`` tokens.

    ``stride``: windows half a context apart, each response token scored once, with at least half a
    context before it. ``cut``: the first window only. The very first token of a text has nothing
    before it that predicts it and is not scored.

    Raises:
        ConfigError: an unknown ``long``.

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
