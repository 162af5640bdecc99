"""What heads attend to when they predict the answer of a probe: answer rows only, never T x T."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from airlens.heads import Head
from airlens.model.heads import heads_of

from .attention_patterns import read_patterns
from .copying import copied
from .probes import Probe

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformer_lens.model_bridge import TransformerBridge

AROUND = 10  # ours: tokens shown on each side of the needle


@dataclass(frozen=True)
class AnswerAttention:
    """Attention of all heads from the positions that predict a probe's answer.

    Row i belongs to the query position t-1 that predicts answer token i (Wu et al. 2404.15574 §2).

    Attributes:
        probe: the probe.
        texts: text of each of its T tokens.
        pattern: fp16 [L, H, n, T], n answer tokens; NaN where a layer has no such head.
    """

    probe: Probe
    texts: tuple[str, ...]
    pattern: Float[np.ndarray, "L H n T"]

    def copied(self, head: Head) -> list[bool]:
        """Whether the head copies each answer token: its most attended position holds it."""
        tokens, target = torch.tensor(self.probe.tokens), torch.tensor(self.probe.answer_tokens)
        rows = torch.from_numpy(self.pattern[head])
        hits: list[bool] = copied(rows, tokens, target, self.probe.needle).tolist()
        return hits

    def frame(self, head: Head, around: int = AROUND) -> pd.DataFrame:
        """Attention of one head to the needle and ``around`` tokens on each side of it.

        Returns:
            One row per pair: answer (index of the answer token), predicts (its text), position,
            token (text there), attention, in_needle, most (this position is attended to most, of
            all), copied, outside (attention of this row that lies outside the window).
        """
        start = max(0, self.probe.needle[0] - around)
        stop = min(len(self.texts), self.probe.needle[1] + around)
        rows = self.pattern[head].astype(np.float32)
        copied = self.copied(head)
        begin = self.probe.answer[0]
        found = []
        for i, attention in enumerate(rows):
            outside = float(max(0.0, 1.0 - attention[start:stop].sum()))
            best = int(attention.argmax())
            for at in range(start, stop):
                inside = self.probe.needle[0] <= at < self.probe.needle[1]
                known = (i, self.texts[begin + i], at, self.texts[at], float(attention[at]))
                found.append((*known, inside, at == best, copied[i], outside))
        columns = ["answer", "predicts", "position", "token", "attention"]
        return pd.DataFrame(found, columns=[*columns, "in_needle", "most", "copied", "outside"])


def answer_attention(model: TransformerBridge, probe: Probe) -> AnswerAttention:
    """Run one probe and return the answer rows of every head's pattern.

    Memory: L * H * n * T half-precision numbers, 15 MB for 270 heads, 30 answer and 900 tokens.
    """
    start, stop = probe.answer
    grid = heads_of(model)
    shape = (*grid.shape, stop - start, len(probe.tokens))
    pattern = np.full(shape, np.nan, dtype=np.float16)

    def keep(layer: int, value: torch.Tensor) -> None:
        rows = value[:, start - 1 : stop - 1].to(torch.float16).cpu().numpy()
        pattern[layer, : len(rows)] = rows

    read_patterns(model, probe.tokens, keep)
    return AnswerAttention(probe, token_texts(model.tokenizer, probe.tokens), pattern)


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """The text of each token on its own."""
    return tuple(str(tokenizer.decode([int(token)])) for token in tokens)
