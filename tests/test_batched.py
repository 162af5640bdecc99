"""What is done for many traces at once is what each would get alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import airlens as al
from airlens.losses.windows import WindowLoss
from airlens.step_influence.influence import TOKEN_COLUMNS, tables
from airlens.traces.chat_template import prompt_text
from airlens.traces.encoding import EncodedTrace, encode_trace, encode_traces

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}A: "


@pytest.mark.parametrize("chat", [True, False])
@given(pairs=st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_traces_are_encoded_as_alone(
    tokenizer: Any, chat: bool, pairs: list[tuple[str, str]]
) -> None:
    traces = [al.Trace(str(i), p, r).with_steps("line") for i, (p, r) in enumerate(pairs)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "chat_template", CHAT if chat else None)
        patch.setattr("airlens.traces.encoding.AT_ONCE", 2)
        together = encode_traces(tokenizer, traces)
        alone = [encode_trace(tokenizer, trace) for trace in traces]
        texts = [prompt_text(tokenizer, trace, "auto") for trace in traces]
    for text, a, b in zip(texts, together, alone, strict=True):
        assert (a.trace, a.tokens, a.response_start) == (b.trace, b.tokens, b.response_start)
        np.testing.assert_array_equal(a.offsets, b.offsets)
        np.testing.assert_array_equal(a.step, b.step)
        ids = tokenizer(text + a.trace.response, add_special_tokens=not (chat and bool(text)))
        assert a.tokens == ids["input_ids"]


def one_table(e: EncodedTrace, loss: WindowLoss) -> pd.DataFrame:
    """The token table of one trace, token by token."""
    rows = []
    for i, (start, end) in enumerate(e.offsets):
        draws = loss.ablated[1:][:, i].astype(np.float64)
        mean = np.float32(draws.mean() if len(draws) else np.nan)
        base, ref = loss.base[i], loss.ablated[0][i]
        where = (e.trace.id, e.step[i], i, e.tokens[e.response_start + i])
        text = (e.trace.response[start:end], start, end)
        known = (loss.entropy[i], loss.rank[i])
        rows.append((*where, *text, base, ref, ref - base, *known, mean, mean - base))
    return pd.DataFrame(rows, columns=TOKEN_COLUMNS)


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_the_token_table_is_that_of_each_trace(tokenizer: Any, draws: int) -> None:
    texts = ["first\nthen 3", "", "naïve 😀", "x"]
    traces = [al.Trace(f"t{i}", "p", text).with_steps("line") for i, text in enumerate(texts)]
    rng = np.random.default_rng(0)
    encoded = encode_traces(tokenizer, traces)
    losses = []
    for e in encoded:
        drawn = rng.random((4 + draws, e.n_response)).astype("f4")
        drawn[:, :1] = np.nan  # a token that was not scored
        losses.append(WindowLoss(drawn[0], drawn[1], drawn[3:], drawn[2]))
    found = tables(encoded, losses)[0]
    want = pd.concat(map(one_table, encoded, losses), ignore_index=True)
    pd.testing.assert_frame_equal(found, want, check_dtype=False, rtol=0, atol=0)
    assert str(found["nll_base"].dtype) == "float32"
    assert list(tables([], [])[0]) == list(TOKEN_COLUMNS)
