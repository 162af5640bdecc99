"""The generator of planted sources: its truth is in the text, and free signals are no shortcut."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from airlens.errors import ConfigError
from airlens.experiments.validity.true_sources.planted_phrases import SETTINGS
from airlens.experiments.validity.true_sources.planted_traces import (
    DISTANCES,
    GIVEN,
    N,
    plant_sources,
)
from airlens.traces.steps import split_steps
from airlens.traces.trace import Trace

TRACES = plant_sources(72)
DISTANCE = {
    name: Counter({d: 72 // len(inside) for d in inside}) for name, inside in DISTANCES.items()
}


def uses(trace: Trace) -> list[tuple[int, dict]]:
    return [(i, known) for i, known in enumerate(trace.step_meta) if known["depends_on"]]


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def name_in(trace: Trace, text: str) -> str:
    """The one listed name that a text has."""
    listed = trace.prompt.splitlines()[1].removeprefix("On the list are: ").rstrip(".").split(", ")
    (found,) = [name for name in listed if name.lower() in text.lower()]
    return found


def test_the_same_seed_gives_the_same_traces_and_another_seed_others() -> None:
    assert plant_sources(5) == TRACES[:5]
    others = plant_sources(5, seed=1)
    assert all(a.response != b.response for a, b in zip(TRACES, others, strict=False))
    assert len({trace.response for trace in plant_sources(N)}) == N
    with pytest.raises(ConfigError, match="at least one"):
        plant_sources(0)


def test_the_number_of_a_use_stands_in_its_source_beside_the_same_name() -> None:
    for trace in TRACES:
        lines = split_steps(trace.prompt, "line")
        assert [s.text for s in lines] == [s.text for s in split_steps(trace.prompt, "sentence")]
        for step, known in uses(trace):
            text, (at,) = trace.steps[step].text, known["depends_on"]
            source = trace.steps[at].text if at >= 0 else lines[at].text
            assert known["number"] in numbers(text)
            assert known["number"] in numbers(source)
            assert name_in(trace, source) == name_in(trace, text)
            assert at < step


def test_no_other_step_has_both() -> None:
    for trace in TRACES:
        for step, known in uses(trace):
            (at,) = known["depends_on"]
            name = name_in(trace, trace.steps[step].text)
            for other in set(range(step)) - {at}:
                text = trace.steps[other].text
                assert not (known["number"] in numbers(text) and name.lower() in text.lower())


def test_distractors_are_what_they_are_called() -> None:
    for trace in TRACES:
        labels = [step.label for step in trace.steps]
        for step, known in uses(trace):
            (at,) = known["depends_on"]
            if at < 0:
                assert at == GIVEN
                continue
            name = name_in(trace, trace.steps[step].text)
            for other in known["words"]:
                assert name_in(trace, trace.steps[other].text) == name
            for other in known["numbers"]:
                assert known["number"] in numbers(trace.steps[other].text)
            assert known["template"] == [i for i in range(step) if labels[i] == "state" and i != at]
            before = [i for i in range(step) if labels[i] == "use"]
            assert known["phrasing"] == (before if trace.meta["wording"] == "repeated" else [])
            assert len(known["words"]) == len(known["numbers"]) == 1
            every = known["words"] + known["numbers"] + known["template"] + known["phrasing"]
            assert max(every) < step
            assert at not in every


def test_wording_is_repeated_or_each_use_has_its_own() -> None:
    for trace in TRACES:
        frames = set()
        for step, known in uses(trace):
            text = trace.steps[step].text.strip().lower().replace(known["number"], "#")
            frames.add(text.replace(name_in(trace, text).lower(), "@"))
        assert len(frames) == (1 if trace.meta["wording"] == "repeated" else 5)


def test_distances_settings_and_wordings_are_balanced() -> None:
    found: dict[str, Counter[int]] = {name: Counter() for name in DISTANCES}
    crossed: Counter[tuple[int, str]] = Counter()
    for trace in TRACES:
        for step, known in uses(trace):
            distance = step - known["depends_on"][0]
            if known["depends_on"][0] >= 0:
                (name,) = [name for name, inside in DISTANCES.items() if distance in inside]
                found[name][distance] += 1
                crossed[distance, trace.meta["wording"]] += 1
    for name, inside in DISTANCES.items():
        assert found[name] == {distance: 72 // len(inside) for distance in inside}
    assert all(crossed[d, "own"] == crossed[d, "repeated"] for d, _ in crossed)
    openings = Counter(trace.prompt.splitlines()[0] for trace in TRACES)
    assert openings == {setting.opening: 12 for setting in SETTINGS}


def test_size_and_cover() -> None:
    for trace in TRACES:
        assert 14 <= len(trace.steps) <= 25
        assert len(trace.step_meta) == len(trace.steps)
        assert trace.steps[-1].label == "close"
        assert len(re.findall(r"\w+|[^\w\s]", trace.response + trace.prompt)) < 400


def test_far_sources_are_seldom_the_near_ones() -> None:
    """At 7 to 12 steps most steps before the use are nearer than its source."""
    shares = []
    for trace in TRACES:
        for step, known in uses(trace):
            distance = step - known["depends_on"][0]
            if distance >= 7 and known["depends_on"][0] >= 0:
                shares.append((distance - 1) / (step - 1))
    assert sum(shares) / len(shares) > 0.5
