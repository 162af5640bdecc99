"""Pools of known composition: kinds are what their names say; the check of answers; tables."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from airlens import figures
from airlens.errors import DataError
from airlens.experiments.studies.arm_differences import unweighted
from airlens.experiments.studies.controlled_study import (
    CONTROLLED_ARMS,
    comparisons,
    composition_table,
    differences_table,
    results_table,
    schedule,
    verdict,
)
from airlens.experiments.studies.study import ARMS, choose
from airlens.traces.trace import Trace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from controlled.pool import CLEAN, KINDS, held_out, make_pool
from controlled.tasks import conclusion, errand, problems, staff, stated_answer, sums

COUNTS = dict.fromkeys(KINDS, 12)


@pytest.fixture(scope="module")
def pool() -> list[Trace]:
    return make_pool(COUNTS)


def lines(trace: Trace) -> list[str]:
    return trace.response.split("\n")


def solved(prompt: str) -> str:
    """The answer worked out from the prompt's text alone, by other means than the generator's."""
    *facts, question = [s.strip() for s in prompt.replace("?", ".").split(".") if s.strip()]
    if question.startswith("How many"):
        total = 0
        for fact in facts:
            n = int(next(word for word in fact.split() if word.isdigit()))
            total += -n if " eats " in fact else n
        return str(total)
    links = {}
    for fact in facts:
        for link in (" has the ", " works for ", " is in the ", " is on the "):
            if link in fact:
                left, right = fact.split(link)
                links[left.removeprefix("The ")] = right.removesuffix(" floor")
    now = question.split(" of ")[-1] if " of " in question else question.split(" is ")[-1]
    now = now.removeprefix("the ")
    while now in links:
        now = links[now]
    return now


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_answers_follow_from_the_prompt(hops: int) -> None:
    makers = (errand, sums, staff) if hops == 2 else (errand, sums)
    for problem in problems(makers, 60, "t", (hops,)):
        assert problem.answer == solved(problem.prompt)
        assert problem.hops == hops == len(problem.steps)
        assert problem.slip_answer != problem.answer


def test_the_check_of_answers() -> None:
    problem = problems((errand,), 1, "t")[0]
    assert problem.solves("\n".join((*problem.steps, conclusion(problem.answer))))
    assert problem.solves(conclusion(problem.answer) + " The answer is nothing.")
    assert not problem.solves(conclusion(problem.slip_answer))
    assert not problem.solves(conclusion(problem.answer + "s"))
    assert not problem.solves(conclusion(problem.slip_answer) + "\n" + conclusion(problem.answer))
    assert not problem.solves(problem.answer)
    assert not problem.solves(f"The answer is {problem.answer}")  # cut before its full stop
    assert stated_answer("so The answer is red box.\nmore.") == "red box"


def test_composition_and_labels(pool: list[Trace]) -> None:
    assert Counter(t.meta["kind"] for t in pool) == COUNTS
    assert len({t.id for t in pool}) == len(pool)
    assert make_pool(COUNTS) == pool
    assert make_pool(COUNTS, seed=1) != pool
    for trace in pool:
        assert "".join(step.text for step in trace.steps) == trace.response


def test_each_kind_is_what_it_is_called(pool: list[Trace]) -> None:
    by_kind = {kind: [t for t in pool if t.meta["kind"] == kind] for kind in KINDS}
    for kind in (CLEAN, "filler padding", "restatement", "near-duplicate"):
        for trace in by_kind[kind]:
            assert stated_answer(trace.response) == solved(trace.prompt), trace
    for kind in ("wrong result", "wrong numbers"):
        for trace in by_kind[kind]:
            assert stated_answer(trace.response) != solved(trace.prompt), trace
    for trace in by_kind["wrong numbers"]:  # what it concludes follows from its steps
        assert stated_answer(trace.response) in trace.steps[-2].text
    for trace in by_kind["wrong result"]:
        assert stated_answer(trace.response) not in trace.steps[-2].text.split(" = ")[-1]
    for trace in by_kind["shuffled steps"]:
        assert solved(trace.prompt) == stated_answer(trace.response)
        assert not (lines(trace)[-1].startswith("The answer") and is_ordered(trace))
    for trace in by_kind["restatement"]:
        assert trace.response.replace("\n", " ").startswith(trace.prompt)
    assert all(len(t.steps) == 1 for t in by_kind["trivial"])
    assert all(stated_answer(t.response) is None for t in by_kind["prose"])
    # Steps of one or two hops and the answer, as many fillers, all but the last.
    assert {len(t.steps) for t in by_kind["filler padding"]} == {4, 6}
    alike = sorted(by_kind["near-duplicate"], key=lambda t: t.id)[:6]
    words = [set(t.prompt.split()) for t in alike]
    assert all(len(words[0] ^ other) <= 8 for other in words)
    shortest = min(by_kind, key=lambda kind: np.mean([len(t.response) for t in by_kind[kind]]))
    assert shortest == "trivial"


def is_ordered(trace: Trace) -> bool:
    """Each step begins with what the one before it found."""
    steps = lines(trace)[:-1]
    found = [step.rstrip(".").split(" = ")[-1].split()[-1] for step in steps]
    words = [step.removeprefix("The ") for step in steps[1:]]
    # A box has two words, and its fact begins with the first of them.
    return all(result in word.split()[:2] for result, word in zip(found, words, strict=False))


def test_no_test_problem_is_in_the_pool(pool: list[Trace]) -> None:
    parts = held_out(24)
    assert [len(part.problems) for part in parts.values()] == [24, 12, 12]
    prompts = {t.prompt for t in pool}
    for part in parts.values():
        assert not prompts & {p.prompt for p in part.problems}
        for problem, trace in zip(part.problems, part.traces, strict=True):
            assert problem.solves(trace.response)
    assert not any("works for" in t.prompt for t in pool)


def samples(pool: list[Trace]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [t.id for t in pool], "kind": [t.meta["kind"] for t in pool]})
    frame["n_tokens"] = [len(t.response.split()) for t in pool]
    frame["is_clean"] = (frame["kind"] == CLEAN).astype(float)
    names = {str(arm.by) for arm in CONTROLLED_ARMS} | {"loss_base"}
    names -= {"random", "is_clean", "length", "shortest", "loss", "loss_low"}  # no columns, or set
    return frame.assign(**{name: rng.random(len(pool)) for name in sorted(names)})


def test_equal_tokens_in_every_arm(pool: list[Trace]) -> None:
    frame = samples(pool)
    goal = 0.06 * frame["n_tokens"].sum()
    for arm in CONTROLLED_ARMS:
        chosen = choose(arm, frame, 0.06, "tokens", seed=2)
        total = frame.set_index("id").loc[chosen, "n_tokens"].sum()
        assert abs(total - goal) <= frame["n_tokens"].max() / 2
    oracle = choose(CONTROLLED_ARMS[1], frame, 0.06, "tokens")
    assert set(frame.set_index("id").loc[oracle, "kind"]) == {CLEAN}


def test_every_arm_has_one_seed_before_any_has_two() -> None:
    runs = schedule(CONTROLLED_ARMS, 5)
    assert runs[0] == (None, 0)
    assert len(runs) == 1 + 5 * len(CONTROLLED_ARMS) >= 1 + 5 * 20
    assert [seed for _, seed in runs[1:]] == sorted(seed for _, seed in runs[1:])
    assert len({(a.name, seed) for a, seed in runs[1:] if a}) == len(runs) - 1


def test_comparisons() -> None:
    first, second = comparisons([a.name for a in CONTROLLED_ARMS] + ["untrained"])
    assert len(first) == len(CONTROLLED_ARMS) - 1
    assert ("AIR", "AIR, random heads") in second
    own = "AIR, no copies"
    assert (own, f"{own}, random heads of the same layers") in second
    assert ("AIR + prefix weights", "AIR") in second
    assert ("AIR + threshold weights", "AIR + shuffled weights") in second
    assert ("random + threshold weights", "random + shuffled weights") in second
    assert not set(first) & set(second)
    assert unweighted("AIR + shuffled weights") == "AIR"
    assert unweighted("random + shuffled weights") == "random"
    assert unweighted("AIR") is None
    # The names say what the fields do.
    for arm in (*ARMS, *CONTROLLED_ARMS):
        plain = [a for a in (*ARMS, *CONTROLLED_ARMS) if a.name == unweighted(arm.name)]
        assert bool(plain) == (arm.scheme is not None)
        for other in plain:
            assert replace(other, name="") == replace(arm, name="", scheme=None, shuffled=False)


def test_differences_over_all_problems() -> None:
    runs = some_runs().replace({"arm": {"AIR": "random heads", "random": "AIR"}})
    gaps = differences_table(runs, "nll", part=None)
    assert gaps[["arm", "against"]].to_numpy().tolist() == [["AIR", "random heads"]]
    assert gaps["difference"].iloc[0] == pytest.approx(4 / 50)  # 1 + 3 + 0 nats over 50 tokens


def run(arm: str, seed: int, right: list[int], nll: list[float]) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": arm,
        "seed": seed,
        "problem_id": ["same-0", "same-1", "other-0"],
    }
    row |= {"problem_correct": [bool(r) for r in right], "problem_nll": nll}
    row |= {"problem_tokens": [10, 30, 10], "kinds": ["clean", "prose"]}
    return {**row, "kind_samples": [2, 1], "kind_labels": [30, 10]} | {
        "pool_samples": [4, 4],
        "pool_labels": [50, 150],
    }


def some_runs(seeds: int = 4) -> pd.DataFrame:
    rows = [run("untrained", 0, [0, 0, 0], [30.0, 90.0, 30.0])]
    for seed in range(seeds):
        rows += [
            run("random", seed, [seed % 2, 0, 0], [10.0 + seed, 30.0, 10.0]),
            run("AIR", seed, [1, 1, seed % 2], [9.0 + seed, 27.0, 10.0]),
        ]
    return pd.DataFrame(rows)


def test_tables_by_hand() -> None:
    runs = some_runs()
    results = results_table(runs).set_index(["arm", "part"])
    assert results.loc[("random", "same"), "accuracy"] == 0.25
    assert results.loc[("AIR", "other"), "accuracy"] == 0.5
    assert results.loc[("untrained", "same"), "nll"] == 3.0
    assert results.loc[("random", "same"), "nll"] == pytest.approx((11.5 + 30) / 40)
    gaps = differences_table(runs)
    assert gaps["arm"].tolist() == ["AIR"]
    assert gaps["difference"].tolist() == [0.75]
    assert differences_table(runs, "nll")["difference"].iloc[0] == pytest.approx(-0.1)
    taken = composition_table(runs).set_index(["arm", "kind"])
    assert taken.loc[("AIR", "clean"), "share"] == 0.75
    assert taken.loc[("pool", "clean"), "share"] == 0.25


def test_runs_of_other_seeds_count_too() -> None:
    runs = some_runs()
    runs = runs[~((runs["arm"] == "AIR") & (runs["seed"] == 0))]
    assert differences_table(runs)["n_seeds"].tolist() == [3]


def test_other_problems_are_refused() -> None:
    runs = some_runs()
    runs.at[1, "problem_id"] = ["same-0", "same-7", "other-0"]
    with pytest.raises(DataError, match="different problems"):
        results_table(runs)


def test_verdicts_say_what_is_missing() -> None:
    assert "too few seeds" in verdict(differences_table(some_runs(1)), "AIR")
    assert "not run" in verdict(differences_table(some_runs()), "IFD")
    rng = np.random.default_rng(0)
    many = {"problem_id": [f"same-{i}" for i in range(40)]}
    decided = pd.DataFrame(
        [
            run(arm, seed, list(rng.random(40) < chance), [1.0]) | many
            for seed in range(5)
            for arm, chance in (("random", 0.2), ("AIR", 0.8))
        ]
    )
    assert "; decided (Holm" in verdict(differences_table(decided), "AIR")
    few = decided.assign(problem_id=[["same-0", *(f"other-{i}" for i in range(39))]] * 10)
    assert not differences_table(few)["decided"].any()
    rows = differences_table(some_runs()).assign(decided=False, p=0.5, p_holm=0.5)
    assert "from 0.400 on would be seen" in verdict(rows.assign(smallest_seen=0.4), "AIR")
    # An accuracy cannot differ by more than 1.
    assert "no difference would be seen" in verdict(rows.assign(smallest_seen=2.0), "AIR")


def test_figures() -> None:
    runs = some_runs()
    fig = figures.arm_differences(differences_table(runs))
    assert list(fig.data[0].y) == ["AIR"]
    assert list(fig.data[0].x) == [0.75]
    composition = figures.composition_map(composition_table(runs))
    said = composition.layout.title.text.replace("<br>", " ")
    assert "Clean traces: 25 % of the pool, 75 % of what AIR takes" in said
    heat = composition.data[0]
    cells = dict(zip(heat.y, np.asarray(heat.z)[:, list(heat.x).index("clean")], strict=True))
    assert cells == {"pool": 0.25, "random": 0.75, "AIR": 0.75}
    assert figures.arm_differences(differences_table(some_runs(1))).data[0].marker.symbol == (
        "circle-open",
    )
