"""Scores of rival papers, against slow loops over the logits and attentions of Hugging Face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import airlens as al
from airlens.losses.windows import WindowLoss
from airlens.step_influence.influence import rank_surprisal
from airlens.traces.encoding import encode_trace

HEADS = "L0H1, L2H3"
TRACES = [
    al.Trace("a", "Add 2 and 3. Then 4?", "First we add. 2 + 3 = 5.\nThen 5 + 4 = 9. So 9."),
    al.Trace("b", "", "No prompt. It has two sentences."),
    al.Trace("c", "Short", "y"),
    al.Trace("d", "Long?", "This sentence is here again and again. " * 6),
    al.Trace("e", "Nothing", ""),
]
TRACES = [trace.with_steps("line") for trace in TRACES]


def logits_of(model: Any, tokens: list[int]) -> torch.Tensor:
    """What Hugging Face gives for one text; fp32 [T, V]."""
    with torch.no_grad():
        return model.original_model(torch.tensor([tokens])).logits[0]


def slow_ranks(model: Any, trace: al.Trace) -> list[tuple[int, int, float]]:
    """(step, rank, NLL) of each response token that something predicts."""
    e = encode_trace(model.tokenizer, trace)
    logits = logits_of(model, e.tokens)
    rows = []
    for i, t in enumerate(range(e.response_start, len(e.tokens))):
        if t == 0:
            continue
        row = logits[t - 1].tolist()
        above = sum(value > row[e.tokens[t]] for value in row)
        nll = -torch.log_softmax(logits[t - 1].double(), dim=-1)[e.tokens[t]]
        rows.append((int(e.step[i]), 1 + above, float(nll)))
    return rows


def ratio(rows: list[tuple[int, int, float]]) -> float:
    return sum(min(rank, 100) for _, rank, _ in rows) / sum(nll for *_, nll in rows)


@pytest.mark.parametrize("batch", [None, 4000])
@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_rsr_against_a_loop_over_logits(llama: Any, engine: Any, batch: int | None) -> None:
    """Also where short texts are padded to the length of long ones."""
    options = {"engine": engine, "max_tokens_per_batch": batch}
    found = al.influence(llama, TRACES, HEADS, controls=0, progress=False, **options)
    seen = set()
    for trace in TRACES[:4]:
        rows = slow_ranks(llama, trace)
        seen |= {rank for _, rank, _ in rows}
        own = found.samples.set_index("id").loc[trace.id]
        assert own["rsr"] == pytest.approx(ratio(rows), rel=1e-4)
        ranks = found.tokens[found.tokens["id"] == trace.id]["rank"].dropna()
        assert ranks.tolist() == [rank for _, rank, _ in rows]
        steps = found.steps[found.steps["id"] == trace.id].set_index("step")["rsr"]
        for step in {step for step, *_ in rows}:
            part = [row for row in rows if row[0] == step]
            assert steps[step] == pytest.approx(ratio(part), rel=1e-4)
    assert min(seen) < 10 and max(seen) > 100  # the clip does something
    assert np.isnan(found.samples.set_index("id").loc["e", "rsr"])


def test_rsr_keeps_the_lowest(llama: Any) -> None:
    samples = al.influence(llama, TRACES[:4], HEADS, controls=0, progress=False).samples
    kept = al.select(samples, "rsr", 1, within=None).ids
    assert kept == [samples.loc[samples["rsr"].idxmin(), "id"]]


def test_rsr_of_nothing_and_of_what_is_certain() -> None:
    nothing = WindowLoss(np.full(2, np.nan, "f4"), np.zeros(2, "f4"), np.zeros((1, 2), "f4"))
    assert np.isnan(rank_surprisal(nothing, np.ones(2, bool)))
    certain = WindowLoss(np.zeros(2, "f4"), np.zeros(2, "f4"), np.zeros((1, 2), "f4"), np.ones(2))
    assert rank_surprisal(certain, np.ones(2, bool)) == pytest.approx(2e12)  # kept last
