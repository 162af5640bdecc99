"""A two-layer attention-only GPT-2 whose weights are written by hand.

L0H0 attends to the previous token and writes it into the residual stream. L1H0 is an induction
head: it attends to the position whose previous token is the current one, and copies what stands
there to the output. L0H1 attends uniformly; L1H1 attends to the first position, or, in
:func:`lookup_model`, looks up: it attends to the first position whose previous token is that of its
own, so it finds what follows a key even where another token stands between key and answer.
"""

from __future__ import annotations

from typing import Any

import torch

VOCAB, POSITIONS = 24, 64
# Residual stream: current token, previous token, output token, position.
CURRENT, PREVIOUS, OUTPUT, PLACE = 0, VOCAB, 2 * VOCAB, 3 * VOCAB
WIDTH = 3 * VOCAB + POSITIONS
HEAD = WIDTH // 2
SHARP = 60.0


def _map(weight: torch.Tensor, rows: int, columns: int, n: int, gain: float = 1.0) -> None:
    """Copy n residual features (from ``rows``) to n output features (from ``columns``)."""
    for i in range(n):
        weight[rows + i, columns + i] = gain


def induction_model() -> Any:
    """The Hugging Face model; GPT-2's Conv1D weights are [in, out]."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_inner=4,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        _map(model.transformer.wte.weight, 0, CURRENT, VOCAB)
        _map(model.transformer.wpe.weight, 0, PLACE, POSITIONS)
        _map(model.lm_head.weight, 0, OUTPUT, VOCAB, SHARP)
        _previous_token_head(model.transformer.h[0].attn)
        _induction_head(model.transformer.h[1].attn)
        _first_position_head(model.transformer.h[1].attn)
    return model


def _previous_token_head(attn: Any) -> None:
    weight = attn.c_attn.weight  # queries, keys, values: WIDTH columns each
    for i in range(1, POSITIONS):
        weight[PLACE + i, i - 1] = SHARP
    _map(weight, PLACE, WIDTH, POSITIONS)
    _map(weight, CURRENT, 2 * WIDTH, VOCAB)
    _map(attn.c_proj.weight, 0, PREVIOUS, VOCAB)


def _induction_head(attn: Any) -> None:
    weight = attn.c_attn.weight
    _map(weight, CURRENT, 0, VOCAB, SHARP)
    _map(weight, PREVIOUS, WIDTH, VOCAB)
    _map(weight, CURRENT, 2 * WIDTH, VOCAB)
    _map(attn.c_proj.weight, 0, OUTPUT, VOCAB)


def _first_position_head(attn: Any) -> None:
    weight = attn.c_attn.weight
    # Any token asks: by a bias, as the entries of a normed vector add up to nothing.
    attn.c_attn.bias[HEAD] = SHARP
    weight[PLACE, WIDTH + HEAD] = SHARP  # … for the first position


def lookup_model() -> Any:
    """:func:`induction_model` with a lookup head, L1H1, that writes to the output too."""
    model = induction_model()
    attn = model.transformer.h[1].attn
    with torch.no_grad():
        weight, bias = attn.c_attn.weight, attn.c_attn.bias
        for columns in (slice(HEAD, WIDTH), slice(WIDTH + HEAD, 2 * WIDTH)):
            weight[:, columns], bias[columns] = 0, 0
        _map(weight, PREVIOUS, HEAD, VOCAB, SHARP)
        _map(weight, PREVIOUS, WIDTH + HEAD, VOCAB)
        bias[HEAD + VOCAB] = 1
        for i in range(POSITIONS):  # of equal ones the first: the later, the less
            weight[PLACE + i, WIDTH + HEAD + VOCAB] = -float(i)
        _map(weight, CURRENT, 2 * WIDTH + HEAD, VOCAB)
        _map(attn.c_proj.weight, HEAD, OUTPUT, VOCAB)
    return model
