"""Write the bundled list of natural sentences that the retrieval probe uses as values.

Run ``python -m tools.bundled_data.sentences --out data/sentences.txt --seed 0``.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .facts import FACT_LEADS, FACTS
from .singles import SINGLES
from .topic import Topic
from .topics_events import EVENTS
from .topics_field import FIELD
from .topics_town import TOWN

MAX_WORDS = 18
MAX_CHARS = 105
MAX_FRAME_USES = 20
MAX_OVERLAP = 0.6
ROUNDS = (1.0, 1.0, 0.4)  # the share of each topic's deeds that each round uses

CLAUSE = "{c}."
TAIL_FIRST, TAIL_LAST, TAIL_APART = "{t}, {c}.", "{c} {t}.", "{c}, {t}."
APART = ("according ", "as the older ", "as the chronicle ", "just as ")
APART_ENDS = (
    *(*APART, "but ", "or so ", "though ", "to the ", "which ", "as I ", "as a ", "as the diary "),
    *("as the whole ", "and the ", "and nobody ", "and life ", "and people ", "and everybody "),
)
REPORTS = (
    "we heard that {c}.",
    "did I tell you that {c}?",
    "the letter says that {c}.",
    "it is hardly a secret that {c}.",
    "have you any idea why {c}?",
    "in the first chapter {c}.",
    "rumour has it that {c}.",
    "the story goes that {c}.",
    "for reasons of their own, people still deny that {c}.",
    "my notebook says only that {c}.",
)
MOMENTS = (
    "it turned out that {c}.",
    "nobody had expected it when {c}.",
    "I was there on the day when {c}.",
    "the local paper reported that {c}.",
    "I only looked up when {c}.",
    "the clock had just struck when {c}.",
    "what I remember best is how {c}.",
    "half an hour later {c}.",
    "to nobody's surprise, {c}.",
    "on the very same day {c}.",
    "the film ends just after {c}.",
)
HABITS = ("in those days, I am told, {c}.", "the old people say that {c}.")
HABITUAL = ("bygone", "land")
SHORT_CLAUSE_WORDS = 8


def words_of(sentence: str) -> frozenset[str]:
    """The lower-case words of a sentence, as a set."""
    return frozenset(re.findall(r"[a-z0-9'-]+", sentence.lower()))


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two word sets."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


class Pool:
    """Accepted sentences, with the limits that keep them apart from one another."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._bags: list[frozenset[str]] = []
        self._uses: Counter[str] = Counter()
        self._pairs: set[tuple[str, str, str]] = set()

    def offer(self, sentence: str, frame: str, slots: Sequence[str]) -> bool:
        """Accept a sentence unless it is too long, or too near to one already accepted."""
        text = sentence[0].upper() + sentence[1:]
        if len(text) > MAX_CHARS or len(text.split()) > MAX_WORDS:
            return False
        if self._uses[frame] >= MAX_FRAME_USES:
            return False
        pairs = [(frame, a, b) for i, a in enumerate(slots) for b in slots[i + 1 :] if a and b]
        bag = words_of(text)
        if any(pair in self._pairs for pair in pairs) or self._near(bag):
            return False
        self._pairs.update(pairs)
        self._uses[frame] += 1
        self.sentences.append(text)
        self._bags.append(bag)
        return True

    def _near(self, bag: frozenset[str]) -> bool:
        # a + b words share k of their union when |a & b| >= (a + b) * k / (1 + k)
        size, share = len(bag), MAX_OVERLAP / (1 + MAX_OVERLAP)
        return any(len(bag & other) >= (size + len(other)) * share for other in self._bags)


def tail_frame(tail: str, apart: Sequence[str]) -> str:
    """The frame that sets a tail after a clause, with a comma where it needs one."""
    return TAIL_APART if tail.startswith(tuple(apart)) else TAIL_LAST


def shape_candidates(rng: random.Random, topic: Topic, clause: str) -> Iterator[tuple[str, str]]:
    """Frames for a clause of a topic, in random order, each with the phrase that goes with it."""
    first, last, end = rng.choice(topic.tails), rng.choice(topic.tails), rng.choice(topic.ends)
    lead = rng.choice(REPORTS + (HABITS if topic.name in HABITUAL else MOMENTS))
    shapes = [(TAIL_FIRST, first), (tail_frame(last, APART), last)]
    shapes += [(tail_frame(end, APART_ENDS), end), (lead, lead)]
    if len(clause.split()) >= SHORT_CLAUSE_WORDS:
        shapes.append((CLAUSE, ""))
    rng.shuffle(shapes)
    yield from shapes


def add_deed(rng: random.Random, pool: Pool, topic: Topic, deed: str) -> None:
    """Add one sentence built on a deed, trying a few subjects and frames."""
    for _ in range(8):
        subject = rng.choice(topic.subjects) if topic.subjects else ""
        clause = f"{subject} {deed}".strip()
        for frame, extra in shape_candidates(rng, topic, clause):
            sentence = frame.format(c=clause, t=extra)
            if pool.offer(sentence, f"{topic.name}: {frame}", (subject, deed, extra)):
                return


def add_topics(rng: random.Random, pool: Pool, topics: Sequence[Topic]) -> None:
    """Add sentences on the deeds of every topic, each at most once a round."""
    for share in ROUNDS:
        for topic in topics:
            for deed in rng.sample(topic.deeds, k=round(share * len(topic.deeds))):
                add_deed(rng, pool, topic, deed)


def add_facts(rng: random.Random, pool: Pool) -> None:
    """Add every fact bare, then every fact once more behind or before a remark."""
    for fact in FACTS:
        pool.offer(f"{fact}.", f"bare fact: {fact}", ())
    for fact in FACTS:
        for lead in rng.sample(FACT_LEADS, k=6):
            if pool.offer(lead.format(fact), lead, (fact,)):
                break


def generate_sentences(seed: int = 0) -> list[str]:
    """All sentences for a seed, shuffled."""
    rng = random.Random(seed)
    pool = Pool()
    for sentence in SINGLES:
        pool.offer(sentence, f"single: {sentence}", ())
    add_facts(rng, pool)
    add_topics(rng, pool, (*TOWN, *FIELD, *EVENTS))
    rng.shuffle(pool.sentences)
    return pool.sentences


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write the sentences, one a line."""
    parser = argparse.ArgumentParser(description="Write the probe's natural sentences.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    sentences = generate_sentences(args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(sentences) + "\n", encoding="ascii", newline="\n")
    sys.stdout.write(f"{len(sentences)} sentences -> {args.out}\n")


if __name__ == "__main__":
    main()
