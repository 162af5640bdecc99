"""Text in which copying pays: what `benchmarks/emergence.py` trains on and holds out.

Five kinds of documents, all from the generators of the bundled data: traces with their prompts,
keys with sentences that are asked for again, sentences restated in another order, shuffled words
said three times, and sentences one after another, in which nothing is to be copied.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from airlens.files import sentences
from tools.bundled_data.traces import DOMAINS, MAKERS, joiner

HELD_OUT = 10  # one sentence of ten is never trained on
BOS = "<s>"  # before every document
KINDS = {"trace": 3, "pairs": 4, "restated": 3, "words": 8, "sentences": 1}
"""Documents of each kind, out of the sum."""
COPYING = {"words": 1}
"""What training begins with: hardly anything in it but copying lowers the loss."""


@cache
def split_sentences() -> tuple[list[str], list[str]]:
    """Bundled sentences to train on, and those kept for tests."""
    everything = list(sentences())
    return (
        [text for i, text in enumerate(everything) if i % HELD_OUT],
        everything[::HELD_OUT],
    )


def document(rng: random.Random, values: Sequence[str], kinds: Mapping[str, int] = KINDS) -> str:
    """A document of a random kind, with sentences drawn from ``values``."""
    kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
    if kind == "trace":
        domain = rng.choice(DOMAINS)
        sketch = MAKERS[domain](rng, rng.randrange(10_000))
        return f"{sketch.prompt}\n" + joiner(domain).join(step.text for step in sketch.steps) + "\n"
    if kind == "pairs":
        return _pairs(rng, values)
    if kind == "restated":
        said = rng.sample(values, rng.randint(2, 5))
        again = rng.sample(said, len(said))
        return " ".join(said) + "\nAgain: " + " ".join(again) + "\n"
    if kind == "words":
        pool = " ".join(rng.sample(values, 16)).replace(".", "").replace(",", "").split()
        list_ = " ".join(rng.sample(pool, min(len(pool), rng.randint(20, 50))))
        return f"{list_}\n{list_}\n{list_}\n"
    return " ".join(rng.sample(values, rng.randint(3, 8))) + "\n"


def _pairs(rng: random.Random, values: Sequence[str]) -> str:
    """Keys and sentences as in the key-value probe, and some of them asked for."""
    chosen = rng.sample(values, rng.randint(2, 4))
    keys = ["".join(rng.choices(string.ascii_letters + string.digits, k=4)) for _ in chosen]
    pairs = dict(zip(keys, chosen, strict=True))
    lines = "".join(f'"{key}": "{value}",\n' for key, value in pairs.items())
    asked = rng.sample(list(pairs), rng.randint(1, len(pairs)))
    return "{\n" + lines + "}\n" + "".join(_question(key, pairs[key]) for key in asked)


def _question(key: str, value: str) -> str:
    return f'\nKey: "{key}"\nCorresponding value: "{value}"\n'


def rows(
    tokenizer: Any,
    n: int,
    length: int,
    rng: random.Random,
    values: Sequence[str],
    kinds: Mapping[str, int] = KINDS,
) -> np.ndarray:
    """``n`` rows of ``length`` tokens [n, length]: documents one after another, the last cut."""
    found = np.empty((n, length), dtype=np.int64)
    for row in found:
        ids: list[int] = []
        while len(ids) < length:
            ids.append(tokenizer.bos_token_id)
            ids += tokenizer(document(rng, values, kinds), add_special_tokens=False)["input_ids"]
        row[:] = ids[:length]
    return found


def copied_targets(rows: np.ndarray, order: int = 3) -> np.ndarray:
    """Which targets [B, T-1] end ``order`` tokens that stood in this order earlier in the row.

    >>> copied_targets(np.array([[1, 2, 3, 9, 1, 2, 3, 4]])).astype(int).tolist()
    [[0, 0, 0, 0, 0, 1, 0]]
    """
    marks = np.zeros(rows.shape, dtype=bool)
    for row, mark in zip(rows.tolist(), marks, strict=True):
        seen: set[tuple[int, ...]] = set()
        for end in range(order, len(row) + 1):
            gram = tuple(row[end - order : end])
            mark[end - 1] = gram in seen
            seen.add(gram)
    return marks[:, 1:]


def train_tokenizer(vocab: int, seed: int, documents: int = 2000) -> Any:
    """A byte-level BPE tokenizer of the text that training begins with."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def texts() -> Iterator[str]:
        rng = random.Random(f"tokenizer {seed}")
        for _ in range(documents):
            yield document(rng, split_sentences()[0], COPYING)

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=BOS, eos_token=BOS, pad_token=BOS
    )
