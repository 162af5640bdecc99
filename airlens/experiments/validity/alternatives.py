"""Score one step of many traces that begin alike: the alternatives at one place of a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from airlens.errors import DataError
from airlens.losses.choice import Engine
from airlens.losses.shared_beginnings import score_all
from airlens.losses.windows import Window
from airlens.traces.chat_template import Template
from airlens.traces.encoding import encode_trace
from airlens.traces.trace import Trace

from .planting import put

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase


def step_window(
    tokenizer: PreTrainedTokenizerBase,
    trace: Trace,
    step: int,
    template: Template = "auto",
) -> tuple[Window, list[int]]:
    """A trace up to the end of ``step`` as a window that scores that step, and the tokens after.

    Text after a step cannot change its loss, so it is not in the window.

    Raises:
        DataError: no token belongs to the step.
    """
    encoded = encode_trace(tokenizer, trace, template)
    inside = np.flatnonzero(encoded.step == step) + encoded.response_start
    if not len(inside) or inside[-1] < 1:
        raise DataError(f"trace {trace.id!r}: step {step} has no token to be scored", field="steps")
    first, stop = max(1, int(inside[0])), int(inside[-1]) + 1
    window = Window(encoded.tokens[:stop], first, first - encoded.response_start)
    return window, encoded.tokens[stop:]


def loss_in_place(
    model: TransformerBridge, template: Template = "auto", engine: Engine = "auto"
) -> Callable[[Trace, int, Sequence[str]], list[float]]:
    """A function from (trace, step, texts) to the mean base NLL of each text put in that place."""

    def losses(trace: Trace, step: int, texts: Sequence[str]) -> list[float]:
        windows = [
            step_window(model.tokenizer, put(trace, step, text), step, template)[0]
            for text in texts
        ]
        found = score_all(model, windows, [], "zero", engine=engine)
        return [float(np.mean(loss.base, dtype=np.float64)) for loss in found]

    return losses
