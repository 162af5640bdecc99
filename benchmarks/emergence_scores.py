"""What the checkpoints of `benchmarks/emergence.py` can do: heads, losses, ablations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from emergence_text import copied_targets, rows, split_sentences

import airlens as al
from airlens.ablation import ablated
from airlens.detectors.detect import detect
from airlens.detectors.induction import repeated_probes
from airlens.detectors.key_value_probes import bos_tokens
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import copy_accuracy
from airlens.heads import HeadScores

KEY_LENGTH = 4  # and no demonstration, so that four pairs fit a context of 256 tokens
HALF = 64  # random tokens that are said twice


@dataclass(frozen=True)
class HeldOut:
    """What every checkpoint is asked; nothing of it was trained on.

    Attributes:
        pairs: key-value probes of sentences that are not trained on.
        repeated: random tokens said twice.
        text: documents, int64 [B, T].
        sentences: sentences said twice, each a list of tokens, and where the second time begins.
    """

    pairs: ProbeSet
    repeated: ProbeSet
    text: np.ndarray
    sentences: list[tuple[list[int], int]]


def held_out(tokenizer: Any, n: int, length: int, seed: int, half: int = HALF) -> HeldOut:
    """``n`` of each kind; another seed, another draw of the same held-out sentences."""
    values = split_sentences()[1]
    pairs = al.key_value_probes(
        tokenizer, n, length, seed, shots=0, values=values, key_length=KEY_LENGTH
    )
    rng = random.Random(f"held out {seed}")
    first = bos_tokens(tokenizer)
    twice = []
    for text in rng.sample(values, n):
        once = tokenizer(text + "\n", add_special_tokens=False)["input_ids"]
        twice.append(([*first, *once, *once], len(first) + len(once)))
    repeated = repeated_probes(tokenizer, n, half, seed)
    return HeldOut(pairs, repeated, rows(tokenizer, n, length, rng, values), twice)


def scored(model: Any, asked: HeldOut) -> tuple[dict[str, HeadScores], dict[str, float]]:
    """Head scores by detector, and losses, of one checkpoint.

    The losses are in nats a token: of held-out text (``loss``), there of tokens that end a run of
    three seen before (``loss_repeated``) and of the others (``loss_new``); of random tokens and of
    sentences said twice, the first and the second time; ``copy_accuracy`` is the share of answer
    tokens of the key-value probes that are the most likely ones.
    """
    heads = {
        "retrieval": detect(model, asked.pairs, "retrieval", progress=False),
        "induction": detect(model, asked.repeated, "induction", progress=False),
    }
    nll = _nll(model, asked.text)
    marks = copied_targets(asked.text)
    losses = {
        "loss": float(nll.mean()),
        "loss_repeated": float(nll[marks].mean()),
        "loss_new": float(nll[~marks].mean()),
        "share_repeated": float(marks.mean()),
        "copy_accuracy": float(heads["retrieval"].copy_accuracy or 0.0),
        **_twice(model, asked),
    }
    return heads, losses


def _twice(model: Any, asked: HeldOut) -> dict[str, float]:
    """Loss of what is said for the first and for the second time, but its first token."""
    random_rows = [(list(p.tokens), p.answer[0] - 1) for p in asked.repeated]
    found = {}
    for name, texts in (("random", random_rows), ("sentence", asked.sentences)):
        first, second = [], []
        for tokens, again in texts:
            nll = _nll(model, np.asarray([tokens]))[0]  # of tokens 1, 2, …
            start = 2 * again - len(tokens)
            first.append(nll[start : again - 1])
            second.append(nll[again:])
        found[f"{name}_first"] = float(np.concatenate(first).mean())
        found[f"{name}_second"] = float(np.concatenate(second).mean())
    return found


@torch.inference_mode()
def _nll(model: Any, tokens: np.ndarray) -> np.ndarray:
    """fp32 [B, T-1], nats."""
    found = []
    for part in torch.from_numpy(tokens).split(8):
        logits = model(part)[:, :-1].float()
        flat = logits.reshape(-1, logits.shape[-1])
        nll = torch.nn.functional.cross_entropy(flat, part[:, 1:].reshape(-1), reduction="none")
        found.append(nll.reshape(part.shape[0], -1).numpy())
    return np.concatenate(found)


def head_rows(step: int, scores: dict[str, HeadScores]) -> pd.DataFrame:
    """One row a head: step, layer, head, name, and a column for each detector."""
    first = next(iter(scores.values()))
    found = pd.DataFrame(
        [(step, h.layer, h.head, str(h)) for h in sorted(first.ranked())],
        columns=["step", "layer", "head", "name"],
    )
    for name, one in scores.items():
        found[name] = one.scores.reshape(-1)
    return found


def ablations(
    model: Any,
    scores: dict[str, HeadScores],
    fresh: HeldOut,
    counts: Sequence[int],
    *,
    draws: int,
    seed: int,
    mode: str = "uniform",
) -> pd.DataFrame:
    """Copying without each detector's top heads and without as many random ones, on fresh probes.

    Returns:
        One row a measurement: detector (that ranked the heads), probes, heads (group), k, draw,
        names, copy_accuracy, nll (of the tokens to be copied, nats a token).
    """
    from airlens.step_influence.ablation_curves import curve_sets

    found = []
    for detector, probes in (("retrieval", fresh.pairs), ("induction", fresh.repeated)):
        jobs: list[tuple[str, int, int, Any]] = [("base", 0, 0, "")]
        for k in counts:
            jobs += [
                (group, k, draw, heads)
                for group, draw, heads in curve_sets(scores[detector], k, draws=draws, seed=seed)
                if group != "bottom"
            ]
        for group, k, draw, heads in jobs:
            with ablated(model, heads, mode):
                copy = copy_accuracy(model, probes)
            row = {"detector": detector, "probes": probes.kind, "heads": group, "mode": mode}
            row |= {"k": k, "draw": draw, "names": str(heads)}
            found.append({**row, "copy_accuracy": copy.accuracy, "nll": copy.nll})
    return pd.DataFrame(found)
