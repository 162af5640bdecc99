"""A sketchpad for arithmetic: words equations and computes their results."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle

from .written_trace import CHECK, RESTATE, Pad, Sketch, number

Number = Fraction | int

STYLES = (
    {"+": "+", "-": "-", "*": "*", "/": "/", "=": "="},
    {"+": "+", "-": "-", "*": "x", "/": "/", "=": "="},
    {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "=": "is"},
    {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "=": "gives"},
)
COINS = ("${}", "{} euros", "{} dollars", "{} crowns", "${}")
WORD_LEADS = (
    "{what}: {eq}.",
    "next, {what}: {eq}.",
    "{eq}, and that gives {what}.",
    "now {what}. Here {eq}.",
    "{eq}. That takes care of {what}.",
    "as for {what}, {eq}.",
    "I need {what}, and {eq}.",
    "working out {what}, I see that {eq}.",
)
SIGN_LEADS = (
    *WORD_LEADS,
    "to get {what}, I work out {eq}.",
    "for {what} I have {eq}.",
    "I can find {what} with {eq}.",
    "that means {eq} for {what}.",
    "now {what}. That is simply {eq}.",
)
CHECK_LEADS = (
    "Checking backwards, {}, which matches.",
    "Quick check: {}, as it should be.",
    "Let me verify that: {}. Good.",
    "Does that make sense? Going the other way, {}, so yes.",
    "To double-check, {}, and that agrees.",
)
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def apply(op: str, a: Number, b: Number) -> Fraction:
    """The exact value of ``a op b``."""
    left, right = Fraction(a), Fraction(b)
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    return left * right if op == "*" else left / right


class Maths(Pad):
    """A pad with one way of writing operators, numbers and money for the whole trace."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._signs = rng.choice(STYLES)
        self._commas = rng.random() < 0.5
        self._coin = rng.choice(COINS)
        wordy = self._signs["+"] == "plus"
        self._works = cycle(rng.sample(WORD_LEADS if wordy else SIGN_LEADS, k=6))

    def num(self, value: Number) -> str:
        """A number in this trace's style."""
        return number(value, self._commas)

    def money(self, value: Number) -> str:
        """An amount of money in this trace's currency."""
        exact = Fraction(value)
        cents = f"{float(exact):.2f}" if exact.denominator > 1 else self.num(exact)
        return self._coin.format(cents)

    def _equation(self, a: Number, op: str, b: Number, unit: str) -> str:
        result = apply(op, a, b)
        shown = self.money(result) if unit == "money" else f"{self.num(result)} {unit}".strip()
        left = f"{self.num(a)} {self._signs[op]} {self.num(b)}"
        return f"{left} {self._signs['=']} {shown}"

    def work(self, what: str, a: Number, op: str, b: Number, unit: str = "") -> Fraction:
        """Append a compute step for ``a op b`` and return its value."""
        self.computed(next(self._works).format(what=what, eq=self._equation(a, op, b, unit)))
        return apply(op, a, b)

    def verify(self, a: Number, op: str, b: Number, chance: float = 0.45) -> None:
        """Sometimes append a check step that undoes ``a op b``."""
        if self.rng.random() < chance:
            back = self._equation(apply(op, a, b), INVERSE[op], b, "")
            self.say(self.rng.choice(CHECK_LEADS).format(back), CHECK)

    def ask(self, setting: str, givens: Sequence[str], question: str, answer: str) -> Sketch:
        """Close the sketch with a prompt whose givens come in random order."""
        facts = self.rng.sample(list(givens), k=len(givens))
        parts = [setting, *facts, question]
        if self.rng.random() < 0.3:
            self.steps.sort(key=lambda step: step.label != RESTATE)
        return self.finish(" ".join(part for part in parts if part), answer)
