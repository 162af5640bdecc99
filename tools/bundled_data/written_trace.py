"""Records of a reasoning trace, and a sketchpad that words its steps in varied ways."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import cycle
from typing import NamedTuple

RESTATE, COMPUTE, LOOKUP = "restate", "compute", "lookup"
CONCLUDE, FILLER, CHECK, PROSE = "conclude", "filler", "check", "prose"
LABELS = (RESTATE, COMPUTE, LOOKUP, CONCLUDE, FILLER, CHECK, PROSE)
MAX_STEPS = 10

NAMES = (
    *("Amara", "Boris", "Chloe", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Imani", "Jonas"),
    *("Keiko", "Liam", "Mina", "Nils", "Olga", "Pavel", "Quentin", "Rosa", "Samir", "Tilda"),
    *("Umar", "Vera", "Wanda", "Xavier", "Yara", "Zoran", "Anton", "Bella", "Cyrus", "Daria"),
)

OPENERS = (
    "Let me think about this carefully.",
    "Okay, let me work through it.",
    "Let's take this one piece at a time.",
    "First I want to be clear about what is being asked.",
    "Right, where to begin.",
    "I'll go slowly so that I don't slip.",
    "This looks manageable if I keep track of things.",
    "Let me lay everything out.",
    "Good, so there are a few parts to this.",
)
PAUSES = (
    "Hmm, wait, let me make sure I am on the right track.",
    "So far, so good.",
    "Alright, what is left?",
    "That part is done, so I can move on.",
    "Now comes the part that is easy to get wrong.",
    "Let me keep going.",
    "Okay, I have what I need for the next bit.",
    "I should not lose sight of the question here.",
)
RESTATE_LEADS = (
    "The question says that {}.",
    "I know that {}.",
    "We are told that {}.",
    "From the prompt, {}.",
    "Recall that {}.",
    "As stated, {}.",
    "One of the givens is that {}.",
    "{}.",
    "So {}.",
    "Looking back, {}.",
)
CONCLUDE_LEADS = (
    "So the answer is {}.",
    "Therefore the answer is {}.",
    "The answer is {}.",
    "That gives a final answer of {}.",
    "Putting it together, the answer is {}.",
    "Hence the final answer: {}.",
    "I conclude that the answer is {}.",
    "In short, the answer is {}.",
)


class Step(NamedTuple):
    """One step of a response and the kind of step it is."""

    text: str
    label: str


class Sketch(NamedTuple):
    """A question with its worked steps and final answer (None for prose)."""

    prompt: str
    steps: tuple[Step, ...]
    answer: str | None


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def number(value: Fraction | int, commas: bool = False) -> str:
    """A number as text: whole, or with with two decimals."""
    exact = Fraction(value)
    if exact.denominator == 1:
        return f"{exact.numerator:,}" if commas else str(exact.numerator)
    return f"{float(exact):.2f}"


class Pad:
    """Collects the steps of one trace in a style drawn once for that trace."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.steps: list[Step] = []
        self._leads = cycle(rng.sample(RESTATE_LEADS, k=6))

    def say(self, text: str, label: str) -> None:
        """Append a step."""
        self.steps.append(Step(capital(text), label))

    def given(self, *facts: str) -> None:
        """Restate facts of the prompt, in one step."""
        self.say(next(self._leads).format(" and ".join(facts)), RESTATE)

    def found(self, text: str) -> None:
        """Append a step that reads something off the givens."""
        self.say(text, LOOKUP)

    def computed(self, text: str) -> None:
        """Append a step that works something out."""
        self.say(text, COMPUTE)

    def checked(self, *texts: str, chance: float = 0.4) -> None:
        """Sometimes append one of some self-check steps."""
        if len(self.steps) < MAX_STEPS - 1 and self.rng.random() < chance:
            self.say(self.rng.choice(texts), CHECK)

    def finish(self, prompt: str, answer: str) -> Sketch:
        """Add the conclusion and a little filler, and close the sketch."""
        self.say(self.rng.choice(CONCLUDE_LEADS).format(answer), CONCLUDE)
        steps = list(self.steps)
        if 5 < len(steps) < MAX_STEPS and self.rng.random() < 0.35:
            places = [i for i in range(2, len(steps) - 1) if steps[i].label != CHECK]
            steps.insert(self.rng.choice(places), self._filler(PAUSES))
        if len(steps) < 5 or (len(steps) < MAX_STEPS and self.rng.random() < 0.45):
            steps.insert(0, self._filler(OPENERS))
        return Sketch(prompt, tuple(steps), answer)

    def _filler(self, choices: tuple[str, ...]) -> Step:
        return Step(self.rng.choice(choices), FILLER)
