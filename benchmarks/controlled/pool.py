"""A pool of traces whose kinds are known, and the held-out problems that belong to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from airlens.traces.step import Step
from airlens.traces.trace import Trace
from tools.bundled_data.prose import prose
from tools.bundled_data.written_trace import NAMES, OPENERS, PAUSES

from .tasks import Problem, conclusion, errand, problems, staff, sums

CLEAN = "clean"
KINDS = (
    *(CLEAN, "wrong result", "wrong numbers", "shuffled steps", "filler padding"),
    *("restatement", "near-duplicate", "trivial", "prose"),
)
DUPLICATES = 6  # near-duplicates of one problem
HOPS = (1, 2)  # of the pool's problems
LONGER = (3,)


@dataclass(frozen=True)
class HeldOut:
    """Problems to be answered, with the traces of their right solutions (same order)."""

    problems: list[Problem]
    traces: list[Trace]


def trace_of(name: str, prompt: str, steps: tuple[str, ...], kind: str, domain: str) -> Trace:
    """A trace of one step a line; its kind is in ``meta``."""
    response, spans = "", []
    for i, text in enumerate(steps):
        line = text + ("\n" if i + 1 < len(steps) else "")
        spans.append(Step(line, len(response), len(response) + len(line)))
        response += line
    return Trace(name, prompt, response, domain, tuple(spans), {"kind": kind})


def solution(problem: Problem) -> tuple[str, ...]:
    """The right solution with its answer, step by step."""
    return (*problem.steps, conclusion(problem.answer))


def make_pool(counts: Mapping[str, int], seed: int = 0) -> list[Trace]:
    """So many traces of each kind, in one shuffled order; the same for the same seed.

    Raises:
        KeyError: an unknown kind.
    """
    rng = random.Random(f"pool {seed}")
    # Each trace is made of a problem of its own, so that no kind repeats another's.
    fresh = iter(problems((errand, sums), 2 * sum(counts.values()), f"pool problems {seed}", HOPS))
    traces: list[Trace] = []
    for kind, n in counts.items():
        traces += _near_duplicates(fresh, n, rng) if kind == "near-duplicate" else []
        if kind == "prose":
            traces += [_prose(rng, i) for i in range(n)]
        elif kind != "near-duplicate":
            traces += [_spoiled(kind, next(fresh), i, rng) for i in range(n)]
    rng.shuffle(traces)
    return traces


def held_out(n: int, seed: int = 0) -> dict[str, HeldOut]:
    """Problems like the clean ones, with longer chains, and of another family; n, n/2, n/2."""
    found = {
        "same": problems((errand, sums), n, f"same {seed}", HOPS),
        "longer": problems((errand, sums), n // 2, f"longer {seed}", LONGER),
        "other": problems((staff,), n // 2, f"other {seed}"),
    }
    return {
        part: HeldOut(
            some,
            [
                trace_of(f"{part}-{i:03d}", p.prompt, solution(p), CLEAN, p.family)
                for i, p in enumerate(some)
            ],
        )
        for part, some in found.items()
    }


def _spoiled(kind: str, problem: Problem, index: int, rng: random.Random) -> Trace:
    if kind == "trivial":
        return _trivial(problem, index, rng)
    steps = SPOIL[kind](problem, rng)
    name = f"{kind.replace(' ', '-')}-{index:03d}"
    return trace_of(name, problem.prompt, steps, kind, problem.family)


def _wrong_result(problem: Problem, rng: random.Random) -> tuple[str, ...]:
    return (*problem.steps, conclusion(problem.slip_answer))


def _wrong_numbers(problem: Problem, rng: random.Random) -> tuple[str, ...]:
    return (*problem.slip, conclusion(problem.slip_answer))


def _shuffled(problem: Problem, rng: random.Random) -> tuple[str, ...]:
    right = solution(problem)
    while True:
        steps = tuple(rng.sample(right, len(right)))
        if steps != right:
            return steps


def _padded(problem: Problem, rng: random.Random) -> tuple[str, ...]:
    steps = [rng.choice(OPENERS)]
    for step in solution(problem):
        steps += [step, rng.choice(PAUSES)]
    return tuple(steps[:-1])


def _restated(problem: Problem, rng: random.Random) -> tuple[str, ...]:
    return (*problem.facts, problem.question, *solution(problem))


SPOIL: dict[str, Callable[[Problem, random.Random], tuple[str, ...]]] = {
    CLEAN: lambda problem, rng: solution(problem),
    "wrong result": _wrong_result,
    "wrong numbers": _wrong_numbers,
    "shuffled steps": _shuffled,
    "filler padding": _padded,
    "restatement": _restated,
}


def _trivial(problem: Problem, index: int, rng: random.Random) -> Trace:
    """The question is answered by its one fact, without a step."""
    fact = rng.choice(problem.facts)
    rest = fact.rstrip(".").split(" ", 1)[1]
    if problem.family == "sum":
        number, *_ = [word for word in rest.split() if word.isdigit()]
        prompt, answer = f"{fact} Which number is that?", number
    else:
        prompt, answer = f"{fact} What is the last word?", rest.split()[-1]
    steps = (conclusion(answer),)
    return trace_of(f"trivial-{index:03d}", prompt, steps, "trivial", problem.family)


def _near_duplicates(fresh: Iterator[Problem], n: int, rng: random.Random) -> list[Trace]:
    """A few problems again and again, each time about somebody else."""
    traces: list[Trace] = []
    for i in range(n):
        if i % DUPLICATES == 0:
            problem = next(p for p in fresh if p.hops > 1)  # others may name nobody
        known = [name for name in NAMES if name in problem.prompt]
        old, new = rng.choice(known), rng.choice([x for x in NAMES if x not in known])
        steps = tuple(step.replace(old, new) for step in solution(problem))
        prompt = problem.prompt.replace(old, new)
        name = f"near-duplicate-{i:03d}"
        traces.append(trace_of(name, prompt, steps, "near-duplicate", problem.family))
    return traces


def _prose(rng: random.Random, index: int) -> Trace:
    sketch = prose(rng, index)
    steps = tuple(step.text for step in sketch.steps[:3])
    return trace_of(f"prose-{index:03d}", sketch.prompt, steps, "prose", "prose")
