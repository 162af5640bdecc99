"""Detection from the answer rows alone gives what the patterns give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_engine import FAST
from tiny_zoo import WINDOW, tiny

from airlens.ablation import ablated
from airlens.detectors.fast_probes import most_attended
from airlens.detectors.probes import Probe, ProbeSet
from airlens.detectors.retrieval import copy_accuracy, retrieval_scores
from airlens.errors import ConfigError
from airlens.losses.choice import choose_engine


@pytest.fixture(scope="module")
def probes() -> ProbeSet:
    """Random texts of few distinct tokens, so that a random head often copies by chance."""
    rng = np.random.default_rng(0)
    start = rng.integers(3, 7, 6).tolist()
    made = []
    for i, n in enumerate((30, 24, 40)):
        tokens = (*start, *rng.integers(3, 7, n).tolist())
        made.append(Probe(str(i), tokens, (4, 22), (len(tokens) - 7, len(tokens)), (4, 22)))
    return ProbeSet(tuple(made), "random")


@pytest.mark.parametrize("kind", FAST)
def test_scores_equal_those_of_the_patterns(kind: str, probes: ProbeSet) -> None:
    model = tiny(kind)
    slow, fast = (
        retrieval_scores(model, probes, engine=e, progress=False)  # type: ignore[arg-type]
        for e in ("hooks", "fast")
    )
    assert slow.samples.any()
    assert np.array_equal(slow.samples, fast.samples)
    assert slow.copy_accuracy == fast.copy_accuracy
    assert (slow.provenance["engine"], fast.provenance["engine"]) == ("hooks", "fast")


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
def test_copy_accuracy_inside_an_ablation(mode: Any, probes: ProbeSet) -> None:
    model = tiny("llama")
    plain = copy_accuracy(model, probes)
    with ablated(model, "L0H1, L1H2", mode):
        slow = copy_accuracy(model, probes, engine="hooks")
        fast = copy_accuracy(model, probes, engine="fast")
        with pytest.raises(ConfigError, match="hooks are attached"):
            retrieval_scores(model, probes, engine="fast", progress=False)
        with ablated(model, "L1H1", mode), pytest.raises(ConfigError, match="hooks are attached"):
            copy_accuracy(model, probes, engine="fast")
    assert abs(slow.nll - fast.nll) < 1e-5
    assert abs(plain.nll - fast.nll) > 1e-4
    assert np.array_equal(slow.samples, fast.samples)
    assert abs(copy_accuracy(model, probes, engine="hooks").nll - plain.nll) < 1e-5


def test_a_hook_beside_the_ablation_is_not_passed_over(probes: ProbeSet) -> None:
    model = tiny("llama")
    assert choose_engine(model, "auto") == "fast"
    hook = ("blocks.0.hook_in", lambda value, hook: value * 2)
    refused = pytest.raises(ConfigError, match="hooks are attached")
    with ablated(model, "L1H1"), model.hooks(fwd_hooks=[hook]), refused:
        copy_accuracy(model, probes, engine="fast")


@pytest.mark.parametrize("window", [None, WINDOW])
def test_most_attended_against_a_loop(window: int | None) -> None:
    query, key = torch.randn(4, 5, 8), torch.randn(2, 20, 8)
    best = most_attended(query, key, 11, 0.3, window)
    for head in range(4):
        for row in range(5):
            position = 11 + row
            start = 0 if window is None else position - window + 1
            scores = [float(query[head, row] @ key[head // 2, j]) for j in range(position + 1)]
            assert int(best[head, row]) == max(range(start, position + 1), key=scores.__getitem__)
