"""What an adapter is given, and what it gives: rows of what, theirs, ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import airlens as al

Row = tuple[str, float, float]


@dataclass(frozen=True)
class Models:
    """The same weights twice: our bridge, and Hugging Face's own model with eager attention."""

    ours: Any
    theirs: Any
    tokenizer: Any

    def attention(self, tokens: list[int]) -> tuple[torch.Tensor, ...]:
        """Of each layer, [1, H, T, T]."""
        with torch.no_grad():
            found = self.theirs(torch.tensor([tokens]), output_attentions=True).attentions
        return tuple(found)

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """Of Hugging Face's model as it is now, fp32 [T, V]."""
        with torch.no_grad():
            found: torch.Tensor = self.theirs(torch.tensor([tokens]), use_cache=False).logits[0]
        return found.float()


Adapter = Callable[[Path, Models], Iterator[Row]]


@cache
def traces() -> list[al.Trace]:
    """Three bundled texts, one of a domain each."""
    every = al.load_traces(al.data_path("traces.jsonl"))
    return list({trace.domain: trace for trace in every}.values())[:3]


def two_probes(models: Models) -> al.ProbeSet:
    """Two key-value probes of 500 tokens."""
    return al.key_value_probes(models.tokenizer, n=2, max_tokens=500, seed=0)
