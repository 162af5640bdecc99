"""Traces in which numbers are handed on, so that the chain of steps behind a number is known.

A chain begins where a named thing gets a number, in the prompt ("It is known that the red crate
holds 47 kg.") or in a step; each of its links gives the number to another thing ("What was in the
red crate fills the blue drum: 47 kg."), and names the one it has it from. Between two links another
step has the same number beside a thing of another chain ("The oak sack stands in bay 47."): it
misleads what goes by the number alone, and by the name alone. Every trace has a chain of each
length of `LENGTHS`; which of them begin in the prompt alternates.

``trace.meta["chains"]`` lists them: number, length, and units, from the last link to the origin
(steps from 0, the prompt's lines up to -1).
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from airlens.errors import ConfigError
from airlens.traces.trace import Trace

from .planted_phrases import CLOSINGS, SETTINGS, Setting
from .planted_traces import as_steps, filler_texts

LENGTHS = (1, 2, 3, 4)
N = 48  # ours
FILLERS = 5  # ours


class _Line(NamedTuple):
    """A step before it is placed: text, label, and which chain it is a part of (-1: none)."""

    text: str
    label: str
    chain: int = -1


def plant_chains(n: int = N, *, seed: int = 0) -> list[Trace]:
    """``n`` traces, each with a chain of every length.

    Args:
        n: how many.
        seed: decides everything; trace i does not depend on ``n``.

    Returns:
        Traces with the ids "chains-0000", …, domain "planted chains", and steps labelled "state",
        "pass", "mention", "filler" or "close".

    Raises:
        ConfigError: ``n`` under 1.
    """
    if n < 1:
        raise ConfigError(f"n={n}: at least one trace")
    return [_trace(index, random.Random(f"chains-{seed}-{index}")) for index in range(n)]


def _trace(index: int, rng: random.Random) -> Trace:
    setting = SETTINGS[index % len(SETTINGS)]
    turn = index // len(SETTINGS)
    given = [(chain + turn) % 2 == 0 for chain in range(len(LENGTHS))]
    names = _names(setting, rng)
    numbers = [str(number) for number in rng.sample(range(21, 100), len(LENGTHS))]
    facts = [c for c in range(len(LENGTHS)) if given[c]]
    rng.shuffle(facts)
    listed = rng.sample([name for own in names for name in own], sum(map(len, names)))
    prompt = [
        setting.opening,
        f"On the list are: {', '.join(listed)}.",
        *(setting.given.format(e=names[c][0], v=numbers[c]) for c in facts),
        "Write down step by step what is done.",
    ]
    parts = [_lines(setting, names, numbers, c, given[c], rng) for c in range(len(LENGTHS))]
    fillers = filler_texts(set(numbers), rng)[:FILLERS]
    lines = _mixed([*parts, [_Line(text, "filler") for text in fillers]], rng)
    lines.append(_Line(rng.choice(CLOSINGS), "close"))
    chains = []
    for c, length in enumerate(LENGTHS):
        units = [place for place, line in enumerate(lines) if line.chain == c]
        if given[c]:
            units.insert(0, 2 + facts.index(c) - len(prompt))
        chains.append({"number": numbers[c], "length": length, "units": units[::-1]})
    steps = as_steps([(line.text, line.label) for line in lines])
    return Trace(
        f"chains-{index:04d}",
        "\n".join(line[0].upper() + line[1:] for line in prompt),
        "".join(step.text for step in steps),
        "planted chains",
        tuple(steps),
        {"chains": chains},
    )


def _names(setting: Setting, rng: random.Random) -> list[list[str]]:
    """Names of the things of each chain; each word stands in several names."""
    every = [f"{a} {b}" for a in setting.first for b in setting.second]
    drawn = iter(rng.sample(every, sum(LENGTHS) + len(LENGTHS)))
    return [[next(drawn) for _ in range(length + 1)] for length in LENGTHS]


def _lines(
    setting: Setting,
    names: list[list[str]],
    numbers: list[str],
    chain: int,
    given: bool,
    rng: random.Random,
) -> list[_Line]:
    """The steps of a chain in order, a mention before each link."""
    own, number = names[chain], numbers[chain]
    found = []
    if not given:
        text = rng.choice(setting.states).format(e=own[0], v=number)
        found.append(_Line(text, "state", chain))
    others = [name for c, names_of in enumerate(names) if c != chain for name in names_of]
    mentioned = rng.sample(others, len(own) - 1)
    for other, old, new in zip(mentioned, own, own[1:], strict=False):
        text = rng.choice(setting.mentions).format(e=other, v=number)
        found.append(_Line(text, "mention"))
        text = rng.choice(setting.passes).format(o=old, e=new, v=number)
        found.append(_Line(text, "pass", chain))
    return found


def _mixed(parts: list[list[Any]], rng: random.Random) -> list[Any]:
    """The lines of all parts, those of one part in their order."""
    order = [i for i, part in enumerate(parts) for _ in part]
    rng.shuffle(order)
    rest = [iter(part) for part in parts]
    return [next(rest[i]) for i in order]
