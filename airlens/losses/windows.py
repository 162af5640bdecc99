"""A trace as windows of tokens that fit the context, and the losses of a window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from airlens.errors import ConfigError
from airlens.traces.encoding import EncodedTrace

Long: TypeAlias = Literal["stride", "cut"]


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
        rank: fp32 [n], the place of the token among all by the base model's logits: 1 plus the
            number of tokens with a higher one. Empty where it was not taken.
    """

    base: np.ndarray
    entropy: np.ndarray
    ablated: np.ndarray
    rank: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


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
