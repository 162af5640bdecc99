"""Whether a model keeps the sequences of a packed row apart, tried on the model at hand.

Position ids that start anew say where a sequence begins. Many models do not read that: attention
with ALiBi or learned positions of its own counting, recurrences and convolutions go on over the
border, and so does an attention implementation that builds no mask for it. Such a model would
train each trace on the traces before it in the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LENGTHS = (11, 17, 14)  # tokens of the sequences tried; those of the second and third are compared
LEAK = 1e-5  # of the largest logit: what a change in another sequence may change; 0 where masked
ROUNDING = 1e-4  # of the largest logit, between a sequence in a row and alone


def packing_trouble(
    model: Any, examples: Sequence[Any], longest_row: int, *, bf16: bool = False
) -> str | None:
    """Why ``model`` cannot be trained on packed rows of ``examples``; None: it can.

    In a row of three sequences the tokens of the first are exchanged: the logits of the others may
    not move, and must be those that each sequence has by itself.

    Args:
        model: a Hugging Face causal model, as it will be trained.
        examples: what it will be trained on.
        longest_row: tokens of the longest packed row.
        bf16: under bf16 autocast.
    """
    if len(examples) < 2:
        return None
    known = sorted({token for example in examples[:64] for token in example["input_ids"]})
    rng = torch.Generator().manual_seed(0)
    lengths = _lengths(model, max(len(e["input_ids"]) for e in examples), longest_row)
    sequences = [_drawn(known, n, rng) for n in lengths]
    exchanged = [_drawn(known, lengths[0], rng), *sequences[1:]]
    mode = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            return _compared(model, sequences, exchanged)
    except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
        said = str(error).strip().splitlines() or [""]
        return f"a packed row cannot be computed ({type(error).__name__}: {said[0][:120]})"
    finally:
        model.train(mode)


def _compared(
    model: Any, sequences: list[torch.Tensor], exchanged: list[torch.Tensor]
) -> str | None:
    row, other = _row(model, sequences), _row(model, exchanged)
    size = float(row.abs().max())
    first = len(sequences[0])
    # Written so that a NaN is trouble too.
    if not float((row - other)[first:].abs().max()) <= LEAK * size:
        return "a sequence sees those before it in a packed row"
    padded = _padded(model, sequences[1:3])
    for number, tokens in enumerate(sequences[1:3]):
        start = sum(len(s) for s in sequences[: number + 1])
        alone = model(input_ids=tokens[None].to(model.device)).logits[0].float()
        found = row[start : start + len(tokens)]
        rounding = float((padded[number, : len(tokens)] - alone).abs().max())
        if not float((found - alone).abs().max()) <= ROUNDING * size + 8 * rounding:
            return "a sequence has other logits in a packed row than by itself"
    return None


def _lengths(model: Any, longest: int, longest_row: int) -> list[int]:
    """Tokens of the sequences to try: beyond the window, and the positions, where rows will be."""
    config = text_config(model)
    lengths = list(LENGTHS)
    for name in ("sliding_window", "attention_chunk_size"):
        window = getattr(config, name, None)
        if isinstance(window, int) and longest > window > lengths[1]:
            lengths[1] = window + 9
    limit = positions_limit(model)
    if limit is not None and longest_row > limit:
        while sum(lengths) <= limit:
            lengths.append(min(LENGTHS[0], limit))
    return lengths


def text_config(model: Any) -> Any:
    """The configuration of the text part of a model, which may be one part of several."""
    return model.config.get_text_config(decoder=True)


def positions_limit(model: Any) -> int | None:
    """How many positions a model can have at all: those of a table it learnt; None: any number."""
    config = text_config(model)
    limit = getattr(config, "max_position_embeddings", None)
    # Rotary angles are computed for any position.
    if not isinstance(limit, int) or getattr(config, "rope_parameters", None) is not None:
        return None
    tables = {
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding) and module is not model.get_input_embeddings()
    }
    # OPT and its like keep the first two rows of the table for themselves.
    return limit if tables & {limit, limit + 1, limit + 2} else None


def _drawn(known: list[int], n: int, rng: torch.Generator) -> torch.Tensor:
    return torch.tensor(known)[torch.randint(len(known), (n,), generator=rng)]


def _row(model: Any, sequences: list[torch.Tensor]) -> torch.Tensor:
    """Logits [N, V] of a packed row, called as in training."""
    positions = torch.cat([torch.arange(len(s)) for s in sequences])[None]
    tokens = torch.cat(sequences)[None]
    found = model(input_ids=tokens.to(model.device), position_ids=positions.to(model.device))
    return torch.as_tensor(found.logits[0]).float()


def _padded(model: Any, sequences: list[torch.Tensor]) -> torch.Tensor:
    """Logits [n, length, V] of a padded batch, called as in training."""
    tokens = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([[len(s)] for s in sequences])
    mask = (torch.arange(tokens.shape[1])[None] < lengths).long()
    found = model(input_ids=tokens.to(model.device), attention_mask=mask.to(model.device))
    return torch.as_tensor(found.logits).float()
