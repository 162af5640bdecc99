"""Traces whose steps use named earlier values, so that the source of a step is known.

A trace names things ("red crate") and gives each a number in one step ("Let the red crate hold
47 kg."). Later a step uses it ("The red crate's 47 kg go on the lorry now."): its true source is
that one step, a known number of steps before. A method that matches only a part of name and number
is misled by earlier steps:

- words: the same name beside another number ("The red crate stands in bay 62."),
- numbers: the same number beside another name ("The blue drum came in through gate 47."),
- template: the sentence of the source with another name and number,
- phrasing: in every other trace, the sentence of the use with another name and number; in the rest
  each use has a sentence of its own.

One use takes its number from the prompt. ``Trace.step_meta`` says of each step what it
``depends_on`` (units as :func:`airlens.sources` numbers them: steps from 0, the prompt's lines up
to -1), and of a use also its number and which steps are its distractors, by kind;
``trace.meta["wording"]`` says whether the sentence of the uses is "repeated" or each use has its
"own".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airlens.errors import ConfigError
from airlens.traces.step import Step
from airlens.traces.trace import Trace

from .planted_phrases import CLOSINGS, FILLERS, SETTINGS, SUMS, Setting

DISTANCES: dict[str, tuple[int, ...]] = {
    "1": (1,),
    "2–3": (2, 3),
    "4–6": (4, 5, 6),
    "7–12": (7, 8, 9, 10, 11, 12),
}
DISTRACTORS = ("words", "numbers", "template", "phrasing")
N = 216  # ours: each distance comes equally often, in each setting, with either phrasing
LEAST, MOST = 16, 25  # steps of a trace
GIVEN = -2  # the prompt's line that gives a number: the last but one


@dataclass(frozen=True)
class _Layout:
    """Positions of the steps of a trace.

    Attributes:
        n: number of steps.
        sources: position of the step that gives the number, for each use.
        uses: position of the step that uses it.
        mentions: position of the step that names the same thing beside the number of the next use.
        given: position of the step that uses the prompt's number.
    """

    n: int
    sources: tuple[int, ...]
    uses: tuple[int, ...]
    mentions: tuple[int, ...]
    given: int


def plant_sources(n: int = N, *, seed: int = 0) -> list[Trace]:
    """``n`` traces of 16 to 25 steps: one use in each range of `DISTANCES`, one of the prompt.

    Args:
        n: how many. Within a range of distances each distance comes equally often where ``n`` is a
            multiple of 72.
        seed: decides everything; trace i does not depend on ``n``.

    Returns:
        Traces with the ids "sources-0000", …, domain "planted sources", and steps labelled
        "state", "use", "mention", "filler" or "close".

    Raises:
        ConfigError: ``n`` under 1.
    """
    if n < 1:
        raise ConfigError(f"n={n}: at least one trace")
    return [_trace(index, random.Random(f"sources-{seed}-{index}")) for index in range(n)]


def _trace(index: int, rng: random.Random) -> Trace:
    setting = SETTINGS[index % len(SETTINGS)]
    # Settings and distances cycle at different rates: each distance occurs in each setting.
    turn = index // len(SETTINGS)
    layout = _layout([options[turn % len(options)] for options in DISTANCES.values()], rng)
    names = _names(setting, len(layout.uses) + 1, rng)
    numbers = [str(number) for number in rng.sample(range(21, 100), len(names))]
    # Alternates with each turn, and is swapped after all distances: each distance occurs with both.
    repeated = (turn + turn // 6) % 2 == 0
    texts, notes = _steps(setting, layout, names, numbers, repeated, rng)
    steps = as_steps(texts)
    lines = [
        setting.opening,
        f"On the list are: {', '.join(rng.sample(names, len(names)))}.",
        _said(setting.given, names[-1], numbers[-1]),
        "Write down step by step what is done.",
    ]
    prompt = "\n".join(line[0].upper() + line[1:] for line in lines)
    response = "".join(step.text for step in steps)
    return Trace(
        f"sources-{index:04d}",
        prompt,
        response,
        "planted sources",
        tuple(steps),
        {"wording": "repeated" if repeated else "own"},
        step_meta=tuple(notes),
    )


def as_steps(texts: Sequence[tuple[str, str]]) -> list[Step]:
    """Steps of a response from their texts and labels, a line each."""
    steps: list[Step] = []
    for place, (text, label) in enumerate(texts):
        line = text[0].upper() + text[1:] + ("\n" if place < len(texts) - 1 else "")
        start = steps[-1].end if steps else 0
        steps.append(Step(line, start, start + len(line), label))
    return steps


def _layout(distances: list[int], rng: random.Random) -> _Layout:
    """Positions, drawn until each distractor precedes the uses that it should mislead."""
    k = len(distances)
    while True:
        n = rng.randint(LEAST, MOST)
        uses = [rng.randrange(distance + 1, n - 1) for distance in distances]
        sources = [use - distance for use, distance in zip(uses, distances, strict=True)]
        free = sorted(set(range(n - 1)) - {*uses, *sources})
        if len({*uses, *sources}) < 2 * k or len(free) < k + 1:
            continue
        rng.shuffle(free)
        given, *mentions = free[: k + 1]
        before = all(place < min(uses[i], uses[(i + 1) % k]) for i, place in enumerate(mentions))
        if before and given < min(uses):
            return _Layout(n, tuple(sources), tuple(uses), tuple(mentions), given)


def _names(setting: Setting, n: int, rng: random.Random) -> list[str]:
    """Names of two words, each word in several names: neither word alone identifies a name."""
    first, second = rng.sample(setting.first, 3), rng.sample(setting.second, 3)
    return rng.sample([f"{a} {b}" for a in first for b in second], n)


def _said(phrase: str, name: str, number: str) -> str:
    return phrase.format(e=name, v=number)


def _steps(
    setting: Setting,
    layout: _Layout,
    names: list[str],
    numbers: list[str],
    repeated: bool,
    rng: random.Random,
) -> tuple[list[tuple[str, str]], list[dict[str, Any]]]:
    """Text and label of each step, and its notes for ``Trace.step_meta``."""
    k = len(layout.uses)
    state = rng.choice(setting.states)
    uses = [rng.choice(setting.uses)] * (k + 1) if repeated else rng.sample(setting.uses, k + 1)
    placed = {layout.n - 1: (rng.choice(CLOSINGS), "close")}
    placed[layout.given] = (_said(uses[-1], names[-1], numbers[-1]), "use")
    for i in range(k):
        other = numbers[(i + 1) % k]
        placed[layout.sources[i]] = (_said(state, names[i], numbers[i]), "state")
        placed[layout.uses[i]] = (_said(uses[i], names[i], numbers[i]), "use")
        placed[layout.mentions[i]] = (
            _said(rng.choice(setting.mentions), names[i], other),
            "mention",
        )
    fillers = iter(filler_texts(set(numbers), rng))
    texts = [placed.get(place) or (next(fillers), "filler") for place in range(layout.n)]
    notes: list[dict[str, Any]] = [{"depends_on": []} for _ in texts]
    notes[layout.given] = {"depends_on": [GIVEN], "number": numbers[-1]}
    for i in range(k):
        known = {"depends_on": [layout.sources[i]], "number": numbers[i]}
        notes[layout.uses[i]] = known | _distractors(layout, i, repeated)
    return texts, notes


def _distractors(layout: _Layout, i: int, repeated: bool) -> dict[str, list[int]]:
    """The steps before use ``i`` that share something with it or with its source."""
    k, end = len(layout.uses), layout.uses[i]
    template = sorted(place for place in layout.sources if place < end)
    phrasing = sorted(place for place in (layout.given, *layout.uses) if place < end)
    return {
        "words": [layout.mentions[i]],
        "numbers": [layout.mentions[i - 1 if i else k - 1]],
        "template": [place for place in template if place != layout.sources[i]],
        "phrasing": phrasing if repeated else [],
    }


def filler_texts(taken: set[str], rng: random.Random) -> list[str]:
    """Sums and plain sentences, mixed; no sum has a number of ``taken``."""
    sums = []
    for phrase in SUMS:
        parts = {"a": "", "b": "", "c": ""}
        while not all(parts.values()) or taken & set(parts.values()):
            a, b = rng.randrange(11, 60), rng.randrange(11, 60)
            parts = {"a": str(a), "b": str(b), "c": str(a + b)}
        sums.append(phrase.format(**parts))
    mixed = [*sums, *FILLERS]
    rng.shuffle(mixed)
    return mixed
