"""Tables of step weights that fit the traces, and tables that do not; any table at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlens.errors import AirlensError, ConfigError, DataError
from airlens.traces.trace import Trace
from airlens.training.examples import IGNORE, training_examples, training_set
from airlens.training.step_weights import StepWeights, step_weights, unscored_weights
from tests.cases.training_kit import two_step_traces, weights_of


def table(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["id", "step", "weight"])


def file_weights(*rows: tuple[Any, ...]) -> StepWeights:
    return StepWeights(table(*rows), "file")


def test_d13_an_empty_response_under_weights_is_skipped_by_name(tokenizer: Any) -> None:
    items = [*two_step_traces(2), Trace("silent", "what?", "")]
    found = training_set(tokenizer, items, weights_of(items[:2], 1, 2))
    assert len(found.examples) == 2
    assert [(s.id, s.reason) for s in found.skipped] == [("silent", "no response")]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("t0", 0, 1.0), ("t0", 1, 1.0)], "has no step weights"),
        ([("t1", 0, 1.0)], "step 1 has no weight"),
        ([("t1", 0, 1.0), ("t1", 1, 1.0), ("t1", 2, 1.0)], "a weight for step 2, but it has 2"),
        ([("t1", 0, 0.0), ("t1", 1, 0.0)], "no step has a weight above 0"),
    ],
)
def test_d13_weights_that_do_not_fit_are_that_traces_failure(
    tokenizer: Any, rows: list[Any], reason: str
) -> None:
    items = two_step_traces(2)
    weights = file_weights(*dict.fromkeys([*rows, ("t0", 0, 1.0), ("t0", 1, 1.0)]))
    with pytest.raises(DataError, match=rf"'t1'.*{reason}"):
        training_set(tokenizer, items, weights)
    found = training_set(tokenizer, items, weights, on_error="skip")
    assert len(found.examples) == 1
    assert found.skipped[0].id == "t1"
    assert reason in found.skipped[0].reason


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (table(("a", 0, 1.0), ("a", 0, 1.0)), "two weights for step 0"),
        (table(("1", 0, 1.0), (1, 0, 2.0)), "two weights for step 0"),
        (table(("a", 0.5, 1.0)), "step is 0.5"),
        (table(("a", -1, 1.0)), "step is -1"),
        (table(("a", np.nan, 1.0)), "step is nan"),
        (table(("a", "first", 1.0)), "expected whole numbers"),
        (table(("a", 0, "1.0")), "expected numbers"),
        (table((None, 0, 1.0)), "row 1 has no id"),
        (table(("a", 0, np.inf)), "weight is inf"),
        (table(("a", 0, -1.0)), "weight is -1"),
        (table(("a", 0, 1.0)).assign(n_tokens=np.nan), "n_tokens is nan"),
        (table(("a", 0, 1.0)).assign(n_tokens=2.5), "n_tokens is 2.5"),
    ],
)
def test_d13_a_table_that_is_none(made: pd.DataFrame, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        StepWeights(made, "file")


def test_d13_ids_of_a_csv_are_text(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "w.csv").write_text("id, step, weight\n007,0,1\nNA,0,2\n1e3,0.0,3\n")
    weights = StepWeights.load(tmp_path / "w.csv")
    items = [Trace(name, "q", "abc") for name in ("007", "NA", "1e3")]
    assert len(training_examples(tokenizer, items, weights)) == 3


def test_d13_weights_of_any_size_have_mean_one(tokenizer: Any) -> None:
    items = two_step_traces(2)
    for size in (5e-324, 1e-200, 1.0, 1e308):
        for example in training_examples(tokenizer, items, weights_of(items, size, size)):
            assert example["loss_weights"][-1] == pytest.approx(1)


def test_d13_prefix_and_uniform_need_no_scores(tokenizer: Any) -> None:
    items = [*two_step_traces(3), Trace("whole", "what?", "no steps here")]
    for example in training_examples(tokenizer, items, unscored_weights(items, prefix=3)):
        of_labels = [
            w for w, y in zip(example["loss_weights"], example["labels"], strict=True) if y >= 0
        ]
        assert of_labels == pytest.approx([len(of_labels) / 3] * 3 + [0] * (len(of_labels) - 3))
    plain = training_examples(tokenizer, items)
    assert training_examples(tokenizer, items, unscored_weights(items, "uniform")) == plain
    with pytest.raises(ConfigError, match=r"scheme='linear': needs the scores"):
        unscored_weights(items, "linear")


def test_d13_what_a_cut_leaves_is_counted(tokenizer: Any) -> None:
    items = two_step_traces(5)  # prompts of 11 tokens; responses of 7, 11, 15, 19, 23 and an EOS
    whole = [len(e["input_ids"]) for e in training_examples(tokenizer, items)]
    found = training_set(tokenizer, items, max_length=30)
    lengths = [len(e["input_ids"]) for e in found.examples]
    assert lengths == [min(n, 30) for n in whole]
    assert found.cut == [t.id for t, n in zip(items, whole, strict=True) if n > 30]
    assert found.n_labels_cut == sum(max(0, n - 30) for n in whole)
    assert not found.skipped
    with pytest.raises(DataError, match=r"nothing to train on: 5 traces skipped \('t0': no resp"):
        training_set(tokenizer, items, max_length=11)


def test_d13_scores_of_another_file_with_the_same_ids(tokenizer: Any, tmp_path: Path) -> None:
    """As many steps and tokens, other texts: only the texts tell."""
    items = two_step_traces(2)
    rows = [(t.id, k, s.text, len(s.text), k) for t in items for k, s in enumerate(t.steps)]
    steps = pd.DataFrame(rows, columns=["id", "step", "text", "n_tokens", "ais"])
    path = step_weights(steps, "linear").save(tmp_path / "w.parquet")
    assert len(training_examples(tokenizer, items, StepWeights.load(path))) == 2
    altered = [replace(s, text=s.text.replace("a", "x")) for s in items[1].steps]
    other = replace(items[1], response="".join(s.text for s in altered), steps=tuple(altered))
    with pytest.raises(DataError, match="'t1' has other texts or steps"):
        training_examples(tokenizer, [items[0], other], StepWeights.load(path))


def test_d13_a_template_that_raises_for_one_row(tokenizer: Any) -> None:
    import copy

    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if 'is 1' in m['content'] %}"
        "{{ raise_exception('not this one') }}{% endif %}{{ m['content'] }}: {% endfor %}"
    )
    items = two_step_traces(3)
    with pytest.raises(DataError, match=r"'t1'.*not this one"):
        training_set(strict, items)
    found = training_set(strict, items, on_error="skip")
    assert [s.id for s in found.skipped] == ["t1"]
    assert len(found.examples) == 2


def test_d13_a_tokenizer_without_eos_adds_none(tokenizer: Any) -> None:
    import copy

    bare = copy.deepcopy(tokenizer)
    bare.eos_token = bare.pad_token = None
    [example] = training_examples(bare, two_step_traces(1))
    [other] = training_examples(tokenizer, two_step_traces(1))
    assert example["input_ids"] == other["input_ids"][:-1]


_values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 5),
    st.integers(-2, 4),
    st.sampled_from([None, "1", True, 10**30]),
)
_ids = st.sampled_from(["t0", "t1", "t2", "", None, 0, 1.5])
_steps = st.one_of(st.integers(-1, 3), st.sampled_from([0.0, 0.5, None, "0", np.nan, 10**12]))
_rows = st.lists(st.tuples(_ids, _steps, _values), max_size=8)
_good = st.lists(st.floats(0, 1e300), min_size=6, max_size=6).map(
    lambda values: [(f"t{i // 2}", i % 2, value) for i, value in enumerate(values)]
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.one_of(_rows, _good, st.tuples(_good, _rows).map(lambda pair: pair[0] + pair[1])),
    counts=st.one_of(st.none(), st.lists(st.one_of(st.integers(-1, 30), st.none()), min_size=16)),
    max_length=st.one_of(st.none(), st.integers(1, 40)),
    prefix=st.one_of(st.none(), st.integers(1, 9)),
)
def test_d13_any_table_gives_mean_one_or_one_sentence(
    tokenizer: Any, rows: list[Any], counts: Any, max_length: int | None, prefix: int | None
) -> None:
    items = [*two_step_traces(3), Trace("silent", "what?", "")]
    made = table(*rows)
    if counts is not None:
        made["n_tokens"] = counts[: len(made)]
    try:
        weights = StepWeights(made, "file", prefix)
        found = training_set(tokenizer, items, weights, max_length=max_length, on_error="skip")
    except AirlensError:
        return
    assert len(found.examples) + len(found.skipped) == len(items)
    assert found.skipped[-1].id == "silent"
    for example in found.examples:
        of_labels = np.asarray(example["loss_weights"])[np.asarray(example["labels"]) != IGNORE]
        assert (of_labels >= 0).all()
        assert of_labels.mean() == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.one_of(st.floats(), st.none()), min_size=1, max_size=6),
    scheme=st.sampled_from(["threshold", "linear", "softmax", "prefix", "uniform"]),
)
def test_d13_any_scores_give_weights_or_one_sentence(scores: list[Any], scheme: str) -> None:
    steps = pd.DataFrame({"id": "a", "step": range(len(scores)), "n_tokens": 2, "ais": scores})
    try:
        made = step_weights(steps.astype({"ais": "float64"}), scheme)
    except AirlensError:
        return
    assert np.isfinite(made.table["weight"]).all()
    assert made.table["weight"].mean() == pytest.approx(1)
