"""What scoring a corpus will take on a stated device: tokens, FLOPs, memory, hours, parts.

Counted from a sample of the data and the model's configuration; no weights are loaded. With N
tokens in a window, s of them scored, W numbers in the matrices of the blocks, L layers, H heads of
D dimensions, width d, vocabulary V, and P passes (the model as it is, the heads, each draw of
random heads):

    FLOPs = P (2 W N  +  2 L H D N²  +  2 d V s)

a product of matrices counts two for each multiplication, causal attention half of N² twice. Passes
share the layers below the first ablated head, which is not counted: it is an upper bound.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from airlens.errors import DataError, ModelError
from airlens.losses.windows import windows
from airlens.model.planned_devices import CORE, Device
from airlens.traces.encoding import encode_traces

from .rows import Corpus, Row, estimate_rows, iter_rows
from .score_part import CorpusSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLE = 1_000  # rows, from the beginning of the data


@dataclass(frozen=True)
class ModelSize:
    """What the cost of a model depends on.

    Attributes:
        parameters: all of them.
        matrices: numbers in the matrices of the blocks that a token is multiplied with.
        n_layers: L.
        heads_width: H D.
        kv_width: numbers that a layer keeps of a token as keys, or as values.
        d_model: d.
        vocabulary: V.
        n_ctx: longest window.
    """

    parameters: int
    matrices: int
    n_layers: int
    heads_width: int
    kv_width: int
    d_model: int
    vocabulary: int
    n_ctx: int


def model_size(config: Any, n_ctx: int | None = None) -> ModelSize:
    """The size of the model of a configuration (of Hugging Face), without its weights.

    Raises:
        ModelError: no such model can be made.
    """
    import torch
    from transformers import AutoModelForCausalLM

    text = config.get_text_config()
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(text)
    except Exception as error:  # transformers raises whatever it likes
        raise ModelError(f"no model can be planned from this configuration: {error}") from error
    ends = {
        id(each.weight) for each in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    share = _active_share(text)
    matrices = sum(
        p.numel() * (share if ".experts." in name else 1)
        for name, p in model.named_parameters()
        if p.dim() >= 2 and id(p) not in ends
    )
    heads = int(text.num_attention_heads)
    each = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    kept = int(getattr(text, "num_key_value_heads", None) or heads)
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        matrices=round(matrices),
        n_layers=int(text.num_hidden_layers),
        heads_width=heads * each,
        kv_width=kept * each,
        d_model=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        n_ctx=int(n_ctx or getattr(text, "max_position_embeddings", 0) or 1 << 20),
    )


def _active_share(config: Any) -> float:
    """The share of its experts that a token of a mixture goes through."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    every = next((int(getattr(config, n)) for n in names if getattr(config, n, None)), 0)
    chosen = int(getattr(config, "num_experts_per_tok", 0) or 0)
    return chosen / every if every and chosen else 1.0


@dataclass(frozen=True)
class Plan:
    """What a run will take; FLOPs are an upper bound (see the module).

    Attributes:
        device, dtype, utilisation, peak: what it was planned for; FLOP/s.
        rows: of the corpus; None where only reading everything could tell.
        sample: rows that were looked at, of which ``rejected`` cannot be scored.
        passes: of the model over each row.
        tokens: of all rows, each once, prompts too.
        longest: tokens of the longest row of the sample.
        flops: of all passes.
        memory: bytes, for the weights and the longest row of the sample.
        device_memory: bytes that there are.
        devices: that share the work.
        hours: with all of them.
        parts: files of each table.
        assumptions: sentences.
    """

    device: str
    dtype: str
    utilisation: float
    peak: float
    rows: int | None
    sample: int
    rejected: int
    passes: int
    tokens: float
    longest: int
    flops: float
    memory: float
    device_memory: float
    devices: int
    hours: float
    parts: int
    assumptions: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether weights and longest row find room."""
        return self.memory <= self.device_memory

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return {**asdict(self), "fits": self.fits}


def plan_score(
    size: ModelSize,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    settings: CorpusSettings,
    device: Device,
    *,
    dtype: str = "float32",
    part_rows: int = 256,
    devices: int = 1,
    sample: int = SAMPLE,
) -> Plan:
    """Plan a run of `airlens.corpus.run.score_corpus`.

    Args:
        size: of the model.
        tokenizer: its own.
        corpus: the data; its first ``sample`` rows are read.
        settings: of the score.
        device: what it will run on.
        dtype: of the weights.
        part_rows: rows a part.
        devices: how many share the work.
        sample: rows to look at.

    Raises:
        DataError: none of the rows of the sample can be scored.
    """
    looked = list(islice(iter_rows(corpus), sample))
    rows = [row for row in looked if isinstance(row, Row)]
    if not rows:
        raise DataError(f"none of the first {len(looked):,} rows can be scored")
    document = settings.scope == "document"
    traces = [row.trace.as_document() if document else row.trace for row in rows]
    encoded = encode_traces(tokenizer, traces, *settings.written)
    passes = 2 + settings.controls
    cut = [windows(each, size.n_ctx, settings.long) for each in encoded]
    flops = sum(flops_of(size, [(len(w.tokens), w.n_scored) for w in each]) for each in cut)
    lengths = np.array([len(each.tokens) for each in encoded])
    whole = len(looked) < sample
    count = len(looked) if whole else estimate_rows(corpus)
    scale = (len(looked) if count is None else count) / len(looked)
    longest = max(len(w.tokens) for each in cut for w in each) if any(cut) else 0
    bytes_ = 4 if dtype == "float32" else 2
    peak = device.flops[dtype]
    total = passes * flops * scale
    return Plan(
        device=device.name,
        dtype=dtype,
        utilisation=device.utilisation,
        peak=peak,
        rows=count,
        sample=len(looked),
        rejected=len(looked) - len(rows),
        passes=passes,
        tokens=float(lengths.sum()) * scale,
        longest=int(lengths.max()),
        flops=total,
        memory=memory_of(size, longest, passes, bytes_),
        device_memory=device.memory,
        devices=devices,
        hours=total / (peak * device.utilisation * devices) / 3600,
        parts=math.ceil(len(rows) * scale / part_rows),
        assumptions=tuple(_assumptions(settings, device, dtype, count, len(looked), whole, passes)),
    )


def flops_of(size: ModelSize, spans: Sequence[tuple[int, int]]) -> float:
    """FLOPs of one pass over windows: (tokens, scored tokens) of each."""
    found = 0.0
    for tokens, scored in spans:
        found += 2.0 * size.matrices * tokens
        found += 2.0 * size.n_layers * size.heads_width * tokens**2
        found += 2.0 * size.d_model * size.vocabulary * scored
    return found


def memory_of(size: ModelSize, tokens: int, passes: int, bytes_: int) -> float:
    """Bytes of the weights, and of hidden states, keys and values of all passes over one window."""
    return bytes_ * (size.parameters + 2.0 * passes * tokens * (size.d_model + size.kv_width))


def _assumptions(
    settings: CorpusSettings,
    device: Device,
    dtype: str,
    rows: int | None,
    looked: int,
    whole: bool,
    passes: int,
) -> list[str]:
    found = [
        f"{passes} passes over each row: the model as it is, with the heads off, and with "
        f"{settings.controls} draw{'' if settings.controls == 1 else 's'} of random heads off; "
        "what passes share is not taken off",
        f"{device.utilisation:.0%} of the peak of products in {dtype}",
        "memory for the weights and for one row, the longest of those looked at",
    ]
    if not whole:
        found.append(f"all rows are as the first {looked:,} are")
    if rows is None:
        found.append("how many rows there are is not known: these are the numbers of the sample")
    if settings.ifd:
        found.append("the pass without prompt (--ifd) is not counted")
    if settings.early_answers:
        found.append("early answers are not counted: about as much again")
    if device.name == "cpu":
        found.append(f"cpu is this machine: {os.cpu_count()} cores of {CORE / 1e9:.0f} GFLOP/s")
    return found
