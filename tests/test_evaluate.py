"""Held-out NLL against one pass a problem, generation against each prompt alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_lm import tiny_model

from airlens.errors import ConfigError, DataError
from airlens.traces.trace import Trace
from airlens.training.evaluate import (
    accuracy,
    final_answer,
    generate_answers,
    held_out_nll,
    is_correct,
    paired_difference,
    per_token,
    reference_answer,
    score_answers,
)


def problems(n: int = 5) -> list[Trace]:
    return [Trace(str(i), "q" * (1 + 3 * i), f"answer {i}" * (n - i)) for i in range(n)]


def test_nll_is_that_of_each_problem_alone(tokenizer: Any) -> None:
    model, items = tiny_model(), problems()
    found = held_out_nll(model, tokenizer, items, max_tokens_per_batch=80, progress=False)
    assert list(found["id"]) == [t.id for t in items]
    for row, trace in zip(found.itertuples(), items, strict=True):
        ids = tokenizer(trace.prompt + "\n" + trace.response)["input_ids"]
        start = len(tokenizer(trace.prompt + "\n")["input_ids"])
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        slow = -sum(float(logp[t - 1, ids[t]]) for t in range(start, len(ids)))
        assert row.n_tokens == len(ids) - start
        assert row.nll == pytest.approx(slow, rel=1e-4)


def test_nothing_to_evaluate(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="no trace"):
        held_out_nll(tiny_model(), tokenizer, [Trace("a", "q", "")])


def test_per_token_weighs_problems_by_their_tokens() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "n_tokens": [1, 3], "nll": [4.0, 0.0]})
    found = per_token(frame)
    assert found["nll"] == 1.0
    # What each problem adds to the ratio, by Student's t with one degree of freedom.
    away = (np.array([4.0, 0.0]) - 1.0 * np.array([1, 3])) / 2
    wide = 12.706 * away.std(ddof=1) / np.sqrt(2)
    assert (found["lo"], found["hi"]) == pytest.approx((1 - wide, 1 + wide), rel=1e-4)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        nll = rng.normal(50, 10, size=60)
        frame = pd.DataFrame({"id": range(60), "n_tokens": 50, "nll": nll})
        found = per_token(frame)
        inside += found["lo"] <= 1.0 <= found["hi"]
    assert 88 <= inside <= 100


def test_pairing_takes_out_the_problems() -> None:
    rng = np.random.default_rng(0)
    ours = pd.DataFrame({"id": range(40), "n_tokens": 10, "nll": rng.normal(20, 8, 40)})
    found = paired_difference(ours.assign(nll=ours["nll"] - 0.5), ours)
    assert found["difference"] == pytest.approx(-0.05)
    assert np.isnan([found["lo"], found["hi"]]).all()  # it does not vary: no interval
    other = ours.assign(nll=ours["nll"] - rng.normal(0.5, 0.01, 40))
    narrow = paired_difference(other, ours)
    assert narrow["hi"] - narrow["lo"] < 0.01
    with pytest.raises(DataError, match="same problems"):
        paired_difference(ours, ours.iloc[::-1])


def test_batched_generation_is_that_of_each_prompt_alone(tokenizer: Any) -> None:
    model, items = tiny_model(), problems()
    found = generate_answers(
        model, tokenizer, items, batch_size=3, max_new_tokens=8, progress=False
    )
    assert list(found["id"]) == [t.id for t in items]
    for row, trace in zip(found.itertuples(), items, strict=True):
        ids = torch.tensor([tokenizer(trace.prompt + "\n")["input_ids"]])
        for _ in range(8):  # by hand: no padding, no cache
            with torch.no_grad():
                following = model(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, following.view(1, 1)], 1)
            if int(following) == tokenizer.eos_token_id:
                break
        alone = tokenizer.decode(ids[0, -min(8, ids.shape[1]) :], skip_special_tokens=True)
        assert alone.endswith(row.text)
        assert row.text


def test_sampling_k_times_under_a_seed(tokenizer: Any) -> None:
    options = {"samples": 3, "max_new_tokens": 6, "progress": False}
    first, again, other = (
        generate_answers(tiny_model(), tokenizer, problems(2), seed=s, **options)  # type: ignore[arg-type]
        for s in (1, 1, 2)
    )
    assert list(first["draw"]) == [0, 1, 2] * 2
    assert first["text"].tolist() == again["text"].tolist()
    assert first["text"].tolist() != other["text"].tolist()
    assert first["text"].nunique() > 1
    with pytest.raises(ConfigError):
        generate_answers(tiny_model(), tokenizer, problems(2), samples=-1)


@pytest.mark.parametrize(
    ("solution", "answer", "right"),
    [
        ("6 * 7 = 42\n#### 42", "42", True),
        ("6 * 7 = 42\n#### 42.0", "42", True),
        ("#### 1,234", "1234", True),
        ("so it costs\n#### $1,234", "1,234", True),
        ("#### 41", "42", False),
        ("#### 42\n#### 7", "42", True),  # what comes after the first is a new problem
        (r"Thus \boxed{\frac{1}{2}}.", r"\boxed{0.5}", True),
        (r"Thus \boxed{\frac{1}{3}}.", r"\boxed{\frac12}", False),
        (r"\boxed{x^2+2x+1}", r"\boxed{(x+1)^2}", True),
        (r"The answer is $\frac{3}{4}$.", r"\frac{3}{4}", True),
        ("The answer is 42.", "42", True),
        ("I do not know", "42", False),
        ("", "42", False),
    ],
)
def test_answers_are_compared_as_mathematics(solution: str, answer: str, right: bool) -> None:
    assert is_correct(solution, answer) is right


def test_reference_answers() -> None:
    assert reference_answer(Trace("a", "q", "1 + 1 = 2\n#### 2")) == "2"
    assert reference_answer(Trace("a", "q", r"so \boxed{\frac{1}{2}}.")) == r"\boxed{\frac{1}{2}}"
    assert reference_answer(Trace("a", "q", "text", answer="7")) == "7"
    assert final_answer("no mark") is None
    with pytest.raises(DataError, match="no reference answer"):
        reference_answer(Trace("a", "q", "nothing"))


def test_accuracy_is_a_mean_over_problems() -> None:
    items = [Trace("a", "q", "#### 1"), Trace("b", "q", "#### 2")]
    solutions = pd.DataFrame(
        {
            "id": ["a", "a", "b", "b"],
            "draw": [0, 1] * 2,
            "text": ["#### 1", "#### 1", "#### 2", "3"],
        }
    )
    scored = score_answers(solutions, items)
    assert scored["correct"].tolist() == [True, True, True, False]
    assert accuracy(scored)["accuracy"] == 0.75
