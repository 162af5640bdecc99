"""Plain prose: an opening instruction or sentence, and a paragraph that goes on from it."""

from __future__ import annotations

import random

from .prose_bank import themes
from .written_trace import PROSE, Sketch, Step

REQUESTS = (
    "Write a short descriptive paragraph about {}.",
    "Describe {} in plain, unhurried prose.",
    "Give me a few quiet sentences about {}.",
    "Write one paragraph of prose on the subject of {}.",
    "A short piece about {}, please, without dialogue.",
    "Please write a paragraph for a memoir. The subject is {}.",
)
OPENINGS = (
    "Continue this passage: {}",
    "Here is the first sentence of a paragraph. Carry on from it. {}",
    "Go on with the following text in the same tone. {}",
    "{}",
)


def prose(rng: random.Random, index: int) -> Sketch:
    """One paragraph; themes take turns by index, and sentences are drawn at random."""
    bank = themes()
    title, places = bank[index % len(bank)]
    doubled = rng.sample(range(1, len(places) - 1), k=2)
    chosen: list[str] = []
    for place, options in enumerate(places):
        drawn = rng.sample(options, k=2 if place in doubled else 1)
        chosen += sorted(drawn, key=options.index)
    if rng.random() < 0.5:
        prompt, body = rng.choice(OPENINGS).format(chosen[0]), chosen[1:]
    else:
        prompt, body = rng.choice(REQUESTS).format(title), chosen
    return Sketch(prompt, tuple(Step(text, PROSE) for text in body), None)
