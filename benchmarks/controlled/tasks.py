"""Problems with short worked answers, and the check of an answer.

Three families, in the words of the bundled traces: errands (chains of stated facts), sums (small
numbers), and staff (chains of other facts, which no training trace is about). A problem knows its
right solution and the one that follows from a single slip.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from tools.bundled_data.written_trace import NAMES

THINGS = ("drum", "lamp", "coin", "book", "kite", "rope", "vase", "clock", "radio", "map")
BOXES = ("red box", "blue bag", "green case", "white jar", "black tin", "grey sack")
ROOMS = ("attic", "cellar", "garage", "kitchen", "garden", "hall", "library", "shed")
TEAMS = ("Press", "Legal", "Design", "Travel", "Sales", "Payroll")
FLOORS = ("first", "second", "third", "fourth", "fifth", "sixth")
FRUIT = ("plums", "apples", "figs", "pears", "nuts", "limes")
SIZE = 3  # chains in a prompt, one of which is asked for

_ANSWER = re.compile(r"The answer is ([^\n]*?)\.(?:\s|$)")


@dataclass(frozen=True)
class Problem:
    """A question, its solution, and what a slip makes of it.

    Attributes:
        family: ``errand``, ``sum`` or ``staff``.
        hops: steps of the solution before its answer.
        facts: sentences of the prompt, before the question.
        question: the last sentence of the prompt.
        steps: of the right solution, the answer left out.
        answer: the right one.
        slip: steps that go wrong once and follow from there.
        slip_answer: what they lead to.
    """

    family: str
    hops: int
    facts: tuple[str, ...]
    question: str
    steps: tuple[str, ...]
    answer: str
    slip: tuple[str, ...]
    slip_answer: str

    @property
    def prompt(self) -> str:
        """Facts and question."""
        return " ".join((*self.facts, self.question))

    def solves(self, text: str) -> bool:
        """Whether the first answer that a text states is the right one."""
        return stated_answer(text) == self.answer


def stated_answer(text: str) -> str | None:
    """What the first "The answer is …." of a text says; None where there is none."""
    found = _ANSWER.search(text)
    return found.group(1) if found else None


def conclusion(answer: str) -> str:
    """The last step of a solution."""
    return f"The answer is {answer}."


def errand(rng: random.Random, hops: int = 2) -> Problem:
    """Where a thing is (one hop), where somebody's thing is, and the same by way of a box."""
    columns = [rng.sample(words, SIZE) for words in (NAMES, THINGS, BOXES, ROOMS)]
    links = ["{} has the {}.", *["The {} is in the {}."] * 2]
    question = "Where is the thing of {}?"
    if hops < 3:
        del columns[2], links[1]
    if hops == 1:
        del columns[0], links[0]
        question = "Where is the {}?"
    return _chain(rng, "errand", columns, links, question)


def staff(rng: random.Random, hops: int = 2) -> Problem:
    """Who works for which team, and on which floor that is."""
    columns = [rng.sample(NAMES, SIZE), rng.sample(TEAMS, SIZE), rng.sample(FLOORS, SIZE)]
    links = ["{} works for {}.", "{} is on the {} floor."]
    return _chain(rng, "staff", columns[: hops + 1], links[:hops], "On which floor is {}?")


def _chain(
    rng: random.Random, family: str, columns: list[list[str]], links: list[str], question: str
) -> Problem:
    def way(row: int, first: int = 0) -> list[str]:
        pairs = zip(links, columns, columns[1:], strict=False)
        return [link.format(a[row], b[row]) for link, a, b in pairs][first:]

    facts = [fact for row in range(SIZE) for fact in way(row)]
    rng.shuffle(facts)
    row, other = rng.sample(range(SIZE), 2)
    # The slip reads the first fact wrongly: another one's thing, and on from there.
    misread = links[0].format(columns[0][row], columns[1][other])
    return Problem(
        family=family,
        hops=len(links),
        facts=tuple(facts),
        question=question.format(columns[0][row]),
        steps=tuple(way(row)),
        answer=columns[-1][row],
        slip=(misread, *way(other, 1)),
        slip_answer=columns[-1][other],
    )


def sums(rng: random.Random, hops: int = 2) -> Problem:
    """What is left of some fruit after gains and losses: an equation a hop."""
    name, fruit = rng.choice(NAMES), rng.choice(FRUIT)
    start, *amounts = (rng.randint(a, b) for a, b in ((3, 6), (1, 4), (1, 3), (1, 4)))
    said = ("gets {} more", "eats {}", "finds {}")
    facts = [f"{name} has {start} {fruit}."]
    facts += [f"{name} {text.format(n)}." for text, n in zip(said, amounts, strict=True)][:hops]
    changes = [-n if i % 2 else n for i, n in enumerate(amounts)][:hops]
    gain = changes[0]
    wrong = [gain + rng.choice((-1, 1)), *changes[1:]]
    steps, answer = _equations(start, changes)
    slip, slip_answer = _equations(start, wrong)
    question = f"How many {fruit} are left?"
    return Problem("sum", hops, tuple(facts), question, steps, answer, slip, slip_answer)


def _equations(start: int, changes: list[int]) -> tuple[tuple[str, ...], str]:
    steps, now = [], start
    for change in changes:
        sign = "+" if change > 0 else "-"
        steps.append(f"{now} {sign} {abs(change)} = {now + change}.")
        now += change
    return tuple(steps), str(now)


def problems(
    makers: tuple[Callable[[random.Random, int], Problem], ...],
    n: int,
    seed: str,
    hops: tuple[int, ...] = (2,),
) -> list[Problem]:
    """``n`` problems, the families in turn and then the hops, no two with the same prompt."""
    rng = random.Random(seed)
    found: dict[str, Problem] = {}
    while len(found) < n:
        turn, family = divmod(len(found), len(makers))
        problem = makers[family](rng, hops[turn % len(hops)])
        found.setdefault(problem.prompt, problem)
    return list(found.values())
