from __future__ import annotations

import json
import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tools.bundled_data.arithmetic_counts import COUNTS
from tools.bundled_data.arithmetic_money import MONEY
from tools.bundled_data.lookup import LOOKUPS
from tools.bundled_data.programs import PROGRAMS, run
from tools.bundled_data.sentences import generate_sentences, overlap, words_of
from tools.bundled_data.sentences import main as write_sentences
from tools.bundled_data.traces import DOMAINS, generate_traces, joiner
from tools.bundled_data.traces import main as write_traces
from tools.bundled_data.written_trace import LABELS

DATA = Path(__file__).parent.parent / "data"
VALUE = r"\$?(-?\d+(?:,\d{3})*(?:\.\d+)?)"
SIGN = r"(\+|-|\*|x|//|/|%|plus|minus|times|divided by)"
EQUATION = re.compile(rf"(?<![\w.,-]){VALUE} {SIGN} {VALUE} (?:=|is|gives) {VALUE}")
OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "plus": operator.add,
    "-": operator.sub,
    "minus": operator.sub,
    "*": operator.mul,
    "x": operator.mul,
    "times": operator.mul,
    "/": operator.truediv,
    "divided by": operator.truediv,
    "%": operator.mod,
    "//": lambda a, b: Fraction(a // b),
}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return (DATA / "sentences.txt").read_text(encoding="ascii").splitlines()


@pytest.fixture(scope="module")
def traces() -> list[dict[str, Any]]:
    lines = (DATA / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def exact(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.,:]\d+)*", text))


def test_sentences_are_many_short_and_plain(sentences: list[str]) -> None:
    assert len(sentences) >= 1500
    for sentence in sentences:
        assert 4 <= len(sentence.split()) <= 18
        assert len(sentence) <= 105
        assert not set(sentence) & set('"\\\t{}')
        assert sentence[0].isupper()
        assert sentence[-1] in ".?"
        assert "  " not in sentence
        assert not re.search(r"\ba [aeio]\w", sentence)
        assert not re.search(r"\b(\w+) \1\b", sentence)


def test_sentences_differ_beyond_names_and_numbers(sentences: list[str]) -> None:
    assert len(set(sentences)) == len(sentences)
    bare = {re.sub(r"\b[A-Z]\w*|\d+", "_", sentence) for sentence in sentences}
    assert len(bare) == len(sentences)


def test_no_two_sentences_share_most_words(sentences: list[str]) -> None:
    bags = [words_of(sentence) for sentence in sentences]
    worst = max(overlap(a, b) for i, a in enumerate(bags) for b in bags[:i])
    assert worst < 0.6


def test_sentences_do_not_start_or_end_alike(sentences: list[str]) -> None:
    for cut in (slice(0, 4), slice(-4, None)):
        common = Counter(" ".join(sentence.split()[cut]) for sentence in sentences)
        assert max(common.values()) <= 45


def test_generator_makes_the_committed_sentences(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sentences.txt"
    write_sentences(["--out", str(out), "--seed", "0"])
    assert out.read_bytes() == (DATA / "sentences.txt").read_bytes()


def test_another_seed_makes_other_sentences(sentences: list[str]) -> None:
    other = generate_sentences(1)
    assert len(other) >= 1500
    assert other != sentences


def test_generator_makes_the_committed_traces(tmp_path: Path) -> None:
    out = tmp_path / "new" / "traces.jsonl"
    write_traces(["--out", str(out), "--seed", "0", "--n", "60"])
    assert out.read_bytes() == (DATA / "traces.jsonl").read_bytes()


def test_every_domain_has_its_traces(traces: list[dict[str, Any]]) -> None:
    assert len(traces) >= 240
    assert set(Counter(t["domain"] for t in traces).values()) == {60}
    assert {t["domain"] for t in traces} == set(DOMAINS)
    assert len({t["id"] for t in traces}) == len(traces)
    assert len({t["prompt"] + t["response"] for t in traces}) == len(traces)


def test_steps_reproduce_the_response(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        assert set(t) == {"id", "domain", "prompt", "response", "steps", "answer"}
        assert joiner(t["domain"]).join(s["text"] for s in t["steps"]) == t["response"]
        assert 5 <= len(t["steps"]) <= 10
        assert all(s["text"] and s["label"] in LABELS for s in t["steps"])
        assert 60 <= len((t["prompt"] + " " + t["response"]).split()) <= 230


def test_labels_fit_the_domain(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        labels = [s["label"] for s in t["steps"]]
        if t["domain"] == "prose":
            assert set(labels) == {"prose"}
            assert t["answer"] is None
        else:
            assert "prose" not in labels
            assert labels.count("conclude") == 1
            assert labels[-1] == "conclude"
            assert t["answer"] in t["steps"][-1]["text"]
            assert "restate" in labels
            assert {"compute", "lookup"} & set(labels)


def test_restated_numbers_stand_in_the_prompt(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        for s in t["steps"]:
            if s["label"] == "restate":
                assert numbers(s["text"]) <= numbers(t["prompt"]), (t["id"], s["text"])


def test_equations_hold(traces: list[dict[str, Any]]) -> None:
    seen: Counter[str] = Counter()
    for t in traces:
        for s in t["steps"]:
            found = EQUATION.findall(s["text"])
            for a, sign, b, c in found:
                assert OPERATORS[sign](exact(a), exact(b)) == exact(c), (t["id"], s["text"])
            seen[t["domain"]] += len(found)
            if t["domain"] == "arithmetic" and s["label"] == "compute":
                assert found, s["text"]
    assert seen["arithmetic"] > 200
    assert seen["code"] > 200


def test_the_last_equation_is_the_answer(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        if t["domain"] == "arithmetic":
            computed = [s["text"] for s in t["steps"] if s["label"] == "compute"]
            assert numbers(t["answer"]) <= {exacts[3] for exacts in EQUATION.findall(computed[-1])}


def test_code_answers_are_what_the_programs_print(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        if t["domain"] == "code":
            assert run(t["prompt"].split("\n\n", 1)[1]) == t["answer"]


def test_lookup_answers_follow_from_the_prompt(traces: list[dict[str, Any]]) -> None:
    for t in traces:
        if t["domain"] == "lookup" and not re.search(r" (euros|minutes|km)$", t["answer"]):
            assert t["answer"].lower() in t["prompt"].lower()


def test_seats_agree_with_every_clue() -> None:
    for t in generate_traces(n=36, seed=5):
        seats = dict(re.findall(r"(\w+) (?:in|takes|must be in|is in) seat (\d)", t["response"]))
        fixed = re.search(r"(\w+) has seat (\d)", t["prompt"])
        if t["domain"] != "lookup" or fixed is None:
            continue
        seats[fixed[1]] = fixed[2]
        for who, side, whom in re.findall(r"(\w+) sits .*? the (\w+) of (\w+)", t["prompt"]):
            if who in seats and whom in seats:
                shift = 1 if side == "right" else -1
                assert int(seats[who]) == int(seats[whom]) + shift
        asked = re.search(r"Who sits in seat (\d)", t["prompt"])
        assert asked is not None
        assert seats[t["answer"]] == asked[1]


def test_there_are_enough_structures() -> None:
    assert len(MONEY + COUNTS) >= 15
    assert len(LOOKUPS) >= 6
    assert len(PROGRAMS) >= 8


def test_wording_varies(traces: list[dict[str, Any]]) -> None:
    heads: dict[str, Counter[str]] = defaultdict(Counter)
    for t in traces:
        for s in t["steps"]:
            heads[s["label"]][" ".join(s["text"].split()[:2])] += 1
    for label in ("restate", "compute", "lookup", "conclude", "filler", "check", "prose"):
        counts = heads[label]
        assert len(counts) >= 5, label
        assert max(counts.values()) <= 0.4 * sum(counts.values()), label


def test_many_traces_stay_distinct_and_right() -> None:
    more = generate_traces(n=120, seed=3)
    assert len({t["response"] for t in more}) == len(more) == 480
