"""Needle in a haystack: a fact at some depth of an unrelated text, and a question about it.

Wu et al. (arXiv 2404.15574 §2) over a grid of length and depth. Two styles: ``literal``, where the
answer stands in the needle word for word, and ``paraphrase``, where it does not (a kitten is asked
for as a cat), so that detectors that look for copying and those that look for meaning can differ.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from .bundled import sentences
from .errors import ConfigError
from .probes import Probe, ProbeSet, bos_tokens
from .provenance import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Style = Literal["literal", "paraphrase"]

LENGTHS = (256, 512, 768)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_HEADER = "Read the text and answer the question with one or two words.\n\nText:"
_QUESTION = "\n\nQuestion: {}\nAnswer:"


class Fact(NamedTuple):
    """A needle with {name} open, the word it says, the word it means, and a question for each."""

    needle: str
    literal: str
    meant: str
    question: str
    question_meant: str


FACTS = (
    Fact(
        "{name} brought home a kitten last week.",
        "a kitten",
        "a cat",
        "What did {name} bring home last week?",
        "Which kind of animal, a cat, a dog or a horse, does {name} have?",
    ),
    Fact(
        "{name} brought home a puppy last week.",
        "a puppy",
        "a dog",
        "What did {name} bring home last week?",
        "Which kind of animal, a cat, a dog or a horse, does {name} have?",
    ),
    Fact(
        "{name} was born in Paris and still lives there.",
        "Paris",
        "France",
        "In which city was {name} born?",
        "In which country was {name} born?",
    ),
    Fact(
        "{name} was born in Tokyo and still lives there.",
        "Tokyo",
        "Japan",
        "In which city was {name} born?",
        "In which country was {name} born?",
    ),
    Fact(
        "{name} was born in Rome and still lives there.",
        "Rome",
        "Italy",
        "In which city was {name} born?",
        "In which country was {name} born?",
    ),
    Fact(
        "{name} was born in Madrid and still lives there.",
        "Madrid",
        "Spain",
        "In which city was {name} born?",
        "In which country was {name} born?",
    ),
    Fact(
        "{name} works as a physician in the old hospital.",
        "a physician",
        "a doctor",
        "What does {name} work as in the old hospital?",
        "Is {name} a doctor, a teacher or a farmer?",
    ),
    Fact(
        "{name} keeps exactly a dozen coins in a jar.",
        "a dozen",
        "12",
        "How many coins does {name} keep in a jar?",
        "Which number, in digits, of coins does {name} keep in a jar?",
    ),
    Fact(
        "{name} painted the front door crimson in spring.",
        "crimson",
        "red",
        "Which shade did {name} paint the front door?",
        "Is the front door of {name} red, green or blue?",
    ),
    Fact(
        "{name} plays the violin every evening.",
        "the violin",
        "strings",
        "What does {name} play every evening?",
        "Does {name} play strings, drums or brass?",
    ),
)
NAMES = (
    "Mara",
    "Tobias",
    "Ingrid",
    "Kofi",
    "Yuki",
    "Leandro",
    "Priya",
    "Anselm",
    "Noor",
    "Desmond",
    "Freya",
    "Otis",
)


def needle_probes(
    tokenizer: PreTrainedTokenizerBase,
    n: int = 1,
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    seed: int = 0,
    *,
    style: Style = "literal",
) -> ProbeSet:
    """``n`` probes at every length and depth.

    Args:
        tokenizer: the model's.
        n: probes in each cell of the grid; within one draw the fact is the same in all cells.
        lengths: tokens of a probe at most, question and answer included.
        depths: where the needle stands in the text, 0 the beginning, 1 the end.
        seed: same seed, same probes.
        style: ``"literal"`` or ``"paraphrase"``.

    Raises:
        ConfigError: an unknown style, a depth outside [0, 1], or no room for the needle.
    """
    if style not in ("literal", "paraphrase"):
        raise ConfigError(f"style={style!r}: use 'literal' or 'paraphrase'")
    if not all(0 <= d <= 1 for d in depths):
        raise ConfigError(f"depths={tuple(depths)}: a depth lies between 0 and 1")
    probes = []
    # Facts in shuffled order, so that n draws use n different ones as far as there are so many.
    order = random.Random(f"needle-{seed}").sample(range(len(FACTS)), len(FACTS))
    for i in range(n):
        fact = FACTS[order[i % len(FACTS)]]
        name = random.Random(f"needle-{seed}-{i}-name").choice(NAMES)
        for length in lengths:
            for depth in depths:
                rng = random.Random(f"needle-{seed}-{i}-{length}")
                made = _needle_probe(tokenizer, fact, name, length, depth, style, rng)
                probes.append(_named(made, f"needle-{i}-{length}-{depth:g}"))
    settings = {
        "n": n,
        "lengths": list(lengths),
        "depths": list(depths),
        "seed": seed,
        "style": style,
        "template": fingerprint({"header": _HEADER, "question": _QUESTION, "facts": FACTS}),
        "tokenizer": Path(str(getattr(tokenizer, "name_or_path", ""))).name,
    }
    return ProbeSet(tuple(probes), f"needle-{style}", settings)


def _named(probe: Probe, name: str) -> Probe:
    return Probe(name, probe.tokens, probe.needle, probe.answer, probe.removable, probe.meta)


def _needle_probe(
    tokenizer: PreTrainedTokenizerBase,
    fact: Fact,
    name: str,
    length: int,
    depth: float,
    style: Style,
    rng: random.Random,
) -> Probe:
    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    literal = style == "literal"
    needle = encode(" " + fact.needle.format(name=name))
    asked = (fact.question if literal else fact.question_meant).format(name=name)
    question = encode(_QUESTION.format(asked))
    answer = encode(" " + (fact.literal if literal else fact.meant))
    header = bos_tokens(tokenizer) + encode(_HEADER)
    room = length - len(header) - len(needle) - len(question) - len(answer)
    if room < 0:
        raise ConfigError(f"length={length} is too short for the needle: raise it")
    hay: list[list[int]] = []
    for text in rng.sample(sentences(), len(sentences())):
        sentence = encode(" " + text)
        if sum(map(len, hay)) + len(sentence) > room:
            break
        hay.append(sentence)
    at = round(depth * len(hay))  # between sentences
    tokens = header + [t for s in hay[:at] for t in s]
    span = (len(tokens), len(tokens) + len(needle))
    tokens += needle + [t for s in hay[at:] for t in s]
    query = (len(tokens), len(tokens) + len(question))
    tokens += question
    stop = len(tokens) + len(answer)
    meta = {
        "length": length,
        "depth": depth,
        "style": style,
        "answer": fact.literal if literal else fact.meant,
        "query": list(query),
        "null_query": encode(_QUESTION.format("N/A")),
    }
    return Probe("", tuple(tokens + answer), span, (query[1], stop), span, meta)
