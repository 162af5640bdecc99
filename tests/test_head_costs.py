"""Which head drives a result: on a model whose weights say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from handmade import induction_model

import airlens as al
from airlens.heads import Head, HeadSet
from airlens.step_influence.head_costs import attention_profile, idle_heads, leave_one_out
from airlens.traces.trace import Trace


@pytest.fixture(scope="module")
def induction() -> Any:
    """A bridge whose words are its tokens: "c d e"."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [f"w{i}" for i in range(24)]
    tok = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="w0")
    return al.load_model(induction_model(), tokenizer=tokenizer, device="cpu")


@pytest.fixture
def repeated() -> Trace:
    words = [f"w{i}" for i in (5, 9, 3, 14, 7, 11)]
    return Trace("a", " ".join(words), " ".join(words), "")


def test_the_induction_head_is_named(induction: Any, repeated: Trace) -> None:
    table = leave_one_out(induction, [repeated], "L0H1, L1H0, L1H1", "zero", template="plain")
    assert table["name"][0] == "L1H0"
    assert table["delta_all"][0] > 1
    assert table["drop"][0] == pytest.approx(table["delta_all"][0], rel=1e-3)
    assert table["alone"][0] == pytest.approx(table["delta_all"][0], rel=1e-3)
    assert np.abs(table["drop"][1:]).max() < 1e-3


def test_the_head_outside_the_set_that_costs_most(induction: Any, repeated: Trace) -> None:
    table = idle_heads(induction, [repeated], "L1H1", modes=["uniform", "zero"], template="plain")
    assert list(table["name"]) == ["L1H0"]  # the only other head of that layer
    everything = [Head(0, 0), Head(0, 1), Head(1, 0), Head(1, 1)]
    table = idle_heads(
        induction,
        [repeated],
        "L1H1",
        candidates=everything,
        modes=["uniform", "zero"],
        template="plain",
    )
    assert set(table["name"][:2]) == {"L0H0", "L1H0"}
    assert "L1H1" not in set(table["name"])


def test_attention_profile_is_what_the_weights_say(induction: Any, repeated: Trace) -> None:
    heads = HeadSet.parse("L0H0, L0H1")
    table = attention_profile(induction, [repeated], heads, template="plain").set_index("name")
    assert table.loc["L0H0", "entropy"] == pytest.approx(0, abs=1e-3)  # the previous token
    uniform = table.loc["L0H1"]
    assert uniform["entropy"] == pytest.approx(uniform["entropy_max"], abs=1e-3)
    # The prompt's 6 words, then "w5" … "w11" look back at 7 to 12 positions.
    assert uniform["first"] == pytest.approx(np.mean([1 / n for n in range(7, 13)]), abs=1e-3)
