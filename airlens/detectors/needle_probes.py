"""Needle in a haystack: a fact at some depth of an unrelated text, and a question about it.

Wu et al. (arXiv 2404.15574 §2) over a grid of length and depth. Two styles: ``literal``, where the
answer stands in the needle word for word, and ``paraphrase``, where it does not (a kitten, asked
about as a cat), which separates detectors of copying from detectors of meaning.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.files import sentences
from airlens.provenance import fingerprint
from airlens.traces.chat_template import Template, resolve_template, write
from airlens.traces.trace import Trace

from .key_value_probes import bos_tokens
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Style = Literal["literal", "paraphrase"]

LENGTHS = (256, 512, 768)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_HEADER = "Read the text and answer the question.\n\nText:"
_QUESTION = "\n\nQuestion: {}"
_ANSWER = "\nAnswer:"


class Fact(NamedTuple):
    """A needle with a {name}, its literal answer, the implied answer, and a question for each."""

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
        "Which kind of animal does {name} keep as a pet?",
    ),
    Fact(
        "{name} brought home a puppy last week.",
        "a puppy",
        "a dog",
        "What did {name} bring home last week?",
        "Which kind of animal does {name} keep as a pet?",
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
        "By a more common word, what is {name}'s job?",
    ),
    Fact(
        "{name} keeps exactly a dozen coins in a jar.",
        "a dozen",
        "12",
        "How many coins does {name} keep in a jar?",
        "How many coins, in digits, does {name} keep in a jar?",
    ),
    Fact(
        "{name} painted the front door crimson in spring.",
        "crimson",
        "red",
        "Which shade did {name} paint the front door?",
        "What basic colour is the front door of {name}?",
    ),
    Fact(
        "{name} plays the violin every evening.",
        "the violin",
        "strings",
        "What does {name} play every evening?",
        "Which family of instruments does {name} play?",
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


@checked
def needle_probes(
    tokenizer: PreTrainedTokenizerBase,
    n: int = 1,
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    seed: int = 0,
    *,
    style: Style = "literal",
    template: Template = "auto",
) -> ProbeSet:
    """Needles in a haystack: a fact in an unrelated text, asked for at every length and depth.

    Args:
        tokenizer: the model's.
        n: probes in each cell of the grid; each uses one fact in all cells.
        lengths: most tokens of a probe, question and answer included.
        depths: where the needle stands in the text, 0 the beginning, 1 the end.
        seed: same seed, same probes.
        style: ``"literal"`` or ``"paraphrase"``.
        template: ``chat``: text and question as a user's turn; ``plain``; or ``auto``.

    Raises:
        ConfigError: an unknown style, a depth outside [0, 1], or no room for the needle.
    """
    if style not in ("literal", "paraphrase"):
        raise ConfigError(f"style={style!r}: use 'literal' or 'paraphrase'")
    if not all(0 <= d <= 1 for d in depths):
        raise ConfigError(f"depths={tuple(depths)}: a depth lies between 0 and 1")
    template = resolve_template(tokenizer, template)
    frame = _frame(tokenizer, template)
    probes = []
    # Facts in shuffled order, so that probes use different ones as long as there are enough.
    order = random.Random(f"needle-{seed}").sample(range(len(FACTS)), len(FACTS))
    for i in range(n):
        fact = FACTS[order[i % len(FACTS)]]
        name = random.Random(f"needle-{seed}-{i}-name").choice(NAMES)
        for length in lengths:
            for depth in depths:
                rng = random.Random(f"needle-{seed}-{i}-{length}")
                made = _needle_probe(frame, fact, name, length, depth, style, rng)
                probes.append(_named(made, f"needle-{i}-{length}-{depth:g}"))
    settings = {
        "n": n,
        "lengths": list(lengths),
        "depths": list(depths),
        "seed": seed,
        "style": style,
        "chat": template == "chat",
        "template": fingerprint({"frame": frame.texts, "facts": FACTS}),
        "tokenizer": Path(str(getattr(tokenizer, "name_or_path", ""))).name,
    }
    return ProbeSet(tuple(probes), f"needle-{style}", settings)


def _named(probe: Probe, name: str) -> Probe:
    return Probe(name, probe.tokens, probe.needle, probe.answer, probe.removable, probe.meta)


class _Frame(NamedTuple):
    """The tokens of the chat template before and after the text."""

    tokenizer: PreTrainedTokenizerBase
    header: list[int]
    closing: list[int]
    chat: bool
    texts: list[str]

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def question(self, text: str) -> list[int]:
        return self.encode(_QUESTION.format(text))

    def answer(self, text: str) -> list[int]:
        return self.encode(text if self.chat else " " + text)


def _frame(tokenizer: PreTrainedTokenizerBase, template: str) -> _Frame:
    chat, first = template == "chat", bos_tokens(tokenizer)
    before, after = _HEADER, _ANSWER
    if chat:
        mark = "[here]"
        asked = write(tokenizer, Trace("needle", _HEADER + mark, ""), "chat")
        before, _, after = asked.prefix.partition(mark)
        first = []  # the chat template writes its own
    bare = _Frame(tokenizer, [], [], chat, [before, _QUESTION, after])
    return bare._replace(header=first + bare.encode(before), closing=bare.encode(after))


def _needle_probe(
    frame: _Frame,
    fact: Fact,
    name: str,
    length: int,
    depth: float,
    style: Style,
    rng: random.Random,
) -> Probe:
    literal = style == "literal"
    needle = frame.encode(" " + fact.needle.format(name=name))
    question = frame.question((fact.question if literal else fact.question_meant).format(name=name))
    answer = frame.answer(fact.literal if literal else fact.meant)
    fixed = (frame.header, needle, question, frame.closing, answer)
    hay = _hay(frame, length - sum(map(len, fixed)), rng)
    at = round(depth * len(hay))  # between sentences
    tokens = frame.header + [t for s in hay[:at] for t in s]
    span = (len(tokens), len(tokens) + len(needle))
    tokens += needle + [t for s in hay[at:] for t in s]
    query = (len(tokens), len(tokens) + len(question))
    tokens += question + frame.closing
    meta = {
        "length": length,
        "depth": depth,
        "style": style,
        "answer": fact.literal if literal else fact.meant,
        "query": list(query),
        "null_query": frame.question("N/A"),
    }
    place = (len(tokens), len(tokens) + len(answer))
    return Probe("", tuple(tokens + answer), span, place, span, meta)


def _hay(frame: _Frame, room: int, rng: random.Random) -> list[list[int]]:
    """Bundled sentences in random order, as many as fit."""
    if room < 0:
        raise ConfigError(f"{-room} tokens too short for needle and question: raise the length")
    hay: list[list[int]] = []
    used = 0
    for text in rng.sample(sentences(), len(sentences())):
        sentence = frame.encode(" " + text)
        used += len(sentence)
        if used > room:
            break
        hay.append(sentence)
    return hay
