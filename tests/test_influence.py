"""Influence: identities, a second implementation, and inputs at the edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import airlens as al
from airlens.ablation import ablated
from airlens.errors import ConfigError, DataError, HeadError
from airlens.losses.batches import batches
from airlens.losses.windows import windows
from airlens.step_influence.influence import (
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    TOKEN_COLUMNS,
    Influence,
    influence,
)
from airlens.traces.encoding import encode_trace
from airlens.traces.novel_tokens import novel_tokens

HEADS = "L0H1, L2H3"
TRACES = [
    al.Trace("a", "1 + 2?", "first\nthen 3\nso 3", "maths").with_steps("line"),
    al.Trace("b", "a longer prompt, with more to read", "short", "prose"),
    al.Trace("c", "", "a document without any prompt", "prose"),
    al.Trace("d", "é?", "naïve 😀 → ∑ 日本\n\nend", "maths").with_steps("paragraph"),
]


@pytest.fixture(scope="module")
def result(llama: Any) -> Influence:
    return influence(llama, TRACES, HEADS, controls=2, progress=False)


def test_columns_are_the_documented_ones(result: Influence) -> None:
    assert list(result.tokens) == TOKEN_COLUMNS
    assert list(result.steps) == STEP_COLUMNS
    assert list(result.samples) == SAMPLE_COLUMNS
    assert list(result.samples["id"]) == ["a", "b", "c", "d"]
    assert list(result.controls["draw"]) == [0, 1] * 4


def test_no_heads_no_influence(llama: Any) -> None:
    result = influence(llama, TRACES, "", progress=False)
    assert (result.samples["ais"] == 0).all()
    assert (result.tokens["delta"].dropna() == 0).all()


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
def test_equals_a_slow_implementation(llama: Any, mode: Any) -> None:
    """Token by token: log-softmax of the whole text's logits at t-1, read at token t."""
    trace = TRACES[0]
    encoded = encode_trace(llama.tokenizer, trace)
    tokens = torch.tensor([encoded.tokens])

    def losses() -> np.ndarray:
        logp = torch.log_softmax(llama(tokens)[0].double(), dim=-1)
        at = range(encoded.response_start, len(encoded.tokens))
        return np.array([-float(logp[t - 1, tokens[0, t]]) for t in at])

    base = losses()
    with ablated(llama, HEADS, mode):
        ref = losses()
    found = influence(llama, trace, HEADS, mode=mode, controls=0, progress=False)
    np.testing.assert_allclose(found.tokens["nll_base"], base, atol=2e-5)
    np.testing.assert_allclose(found.tokens["nll_ref"], ref, atol=2e-5)
    expected = (ref.mean() - base.mean()) / base.mean()
    assert found.samples["ais"][0] == pytest.approx(expected, abs=1e-5)
    assert abs(expected) > 1e-3


def test_novel_ais_against_a_loop_over_bigrams(llama: Any) -> None:
    text = "add 3 to 4\nso 3 and 4\nadd 3 to 4\nadd"
    traces = [al.Trace("x", "3 and 4?", text).with_steps("line"), *TRACES]
    found = influence(llama, traces, HEADS, controls=2, progress=False)
    rows = []
    for trace in traces:
        encoded = encode_trace(llama.tokenizer, trace)
        tokens, start = encoded.tokens, encoded.response_start
        for t in range(max(start, 1), len(tokens)):
            earlier = {(tokens[i - 1], tokens[i]) for i in range(1, t)}
            new = (tokens[t - 1], tokens[t]) not in earlier
            rows.append((trace.id, int(encoded.step[t - start]), t - start, new))
    novel = pd.DataFrame(rows, columns=["id", "step", "pos", "new"])
    told = found.tokens.drop(columns="step").merge(novel, on=["id", "pos"])

    def expected(part: pd.DataFrame) -> list[float]:
        new = part[part["new"]]
        if not len(new):
            return [0.0, 0.0, 0.0]
        base = new["nll_base"].mean()
        both = (new["nll_ref"], new["nll_control"])
        return [len(new) / len(part), *(column.mean() / base - 1 for column in both)]

    names = ["novel", "ais_novel", "ais_novel_control"]
    for row in found.samples.to_dict("records"):
        want = expected(told[told["id"] == row["id"]])
        assert [row[name] for name in names] == pytest.approx(want, abs=2e-5)
    for row in found.steps.to_dict("records"):
        part = told[(told["id"] == row["id"]) & (told["step"] == row["step"])]
        assert [row[name] for name in names] == pytest.approx(expected(part), abs=2e-5)
    mine = found.steps[found.steps["id"] == "x"]
    assert mine["novel"].tolist()[0] > 0.5 and mine["novel"].tolist()[2:] == [0, 0]
    assert (mine["ais"] != 0).all()
    assert found.samples["ais_novel"].abs().max() > 0.001
    alone = influence(llama, traces, HEADS, controls=0, progress=False)
    assert alone.samples["ais_novel_control"].isna().all()


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 30))
def test_novel_tokens_against_a_set(tokens: list[int], start: int) -> None:
    start = min(start, len(tokens))
    seen: set[tuple[int, int]] = set()
    slow = [False] * len(tokens)
    for t in range(1, len(tokens)):
        slow[t] = (tokens[t - 1], tokens[t]) not in seen
        seen.add((tokens[t - 1], tokens[t]))
    assert novel_tokens(tokens, start).tolist() == slow[start:]


def test_steps_are_weighed_by_novel_ais(llama: Any) -> None:
    trace = al.Trace("x", "3 and 4?", "add 3 to 4\nadd 3 to 4").with_steps("line")
    found = influence(llama, trace, HEADS, controls=0, progress=False)
    assert (found.steps["ais_novel"] != 0).tolist() == [True, False]
    weights = al.step_weights(found.steps, "linear", by="ais_novel").table["weight"]
    assert (weights[0] > weights[1]) == (found.steps["ais_novel"][0] > 0)
    known = found.steps.assign(ais_novel=[np.nan, 0.0])  # the novel tokens are below the floor
    assert al.step_weights(known, "linear", by="ais_novel").table["weight"].tolist() == [1, 1]


def test_step_sums_equal_the_trace(result: Influence) -> None:
    for name in ("loss_base", "loss_ref", "loss_control", "entropy"):
        total = (result.steps[name] * result.steps["n_tokens"]).groupby(result.steps["id"]).sum()
        whole = (result.samples[name] * result.samples["n_tokens"]).set_axis(result.samples["id"])
        np.testing.assert_allclose(total, whole, rtol=1e-6)
    counts = result.tokens.dropna(subset="nll_base").groupby("id").size()
    assert (result.samples.set_index("id")["n_tokens"] == counts).all()


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_a_batch_gives_what_each_trace_alone_gives(
    make_model: Callable[..., Any], kind: str
) -> None:
    model = make_model(kind)
    together = influence(
        model, TRACES, HEADS, controls=1, max_tokens_per_batch=10_000, progress=False
    )
    for trace in TRACES:
        alone = influence(model, trace, HEADS, controls=1, progress=False)
        rows = together.tokens[together.tokens["id"] == trace.id].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, alone.tokens, atol=2e-5, rtol=1e-4)


def test_controls_are_disjoint_seeded_and_recorded(llama: Any, result: Influence) -> None:
    controls = result.provenance["controls"]
    assert len(controls) == 2 and not set(sum(controls, [])) & {"L0H1", "L2H3"}
    again = influence(llama, TRACES, HEADS, controls=2, progress=False)
    pd.testing.assert_frame_equal(again.samples, result.samples)
    other = influence(llama, TRACES, HEADS, controls=2, seed=1, progress=False)
    assert other.provenance["controls"] != controls
    mean = result.controls.groupby("id")["ais_control"].mean()
    np.testing.assert_allclose(mean, result.samples.set_index("id")["ais_control"], rtol=1e-6)


def test_every_response_token_belongs_to_one_step(tokenizer: Any) -> None:
    for trace in TRACES:
        encoded = encode_trace(tokenizer, trace)
        text = tokenizer.decode(encoded.tokens[encoded.response_start :])
        assert text == trace.response
        assert len(encoded.step) == encoded.n_response
        assert (np.diff(encoded.step) >= 0).all()
        for index, step in enumerate(trace.steps):
            ids = np.asarray(encoded.tokens[encoded.response_start :])[encoded.step == index]
            assert tokenizer.decode(ids) == step.text


def test_an_emoji_split_over_tokens_stays_in_its_step(result: Influence) -> None:
    rows = result.tokens[result.tokens["token"] == "😀"]
    assert len(rows) == 4 and rows["step"].nunique() == 1  # four bytes, four tokens


def test_edge_cases(llama: Any) -> None:
    traces = [
        al.Trace("empty", "prompt", ""),
        al.Trace("one", "prompt", "x"),
        al.Trace("bare", "", "x"),
    ]
    result = influence(llama, traces, HEADS, controls=1, progress=False)
    samples = result.samples.set_index("id")
    assert list(samples["n_tokens"]) == [0, 1, 0]
    assert list(samples["n_left_out"]) == [0, 0, 1]  # nothing stands before a bare first token
    assert samples["ais"].isna().tolist() == [True, False, True]
    assert len(influence(llama, [], HEADS, progress=False).samples) == 0


def test_most_heads_need_no_control(llama: Any) -> None:
    most = [(layer, head) for layer in range(3) for head in range(3)]
    assert influence(llama, TRACES[0], most, controls=0, progress=False).controls.empty
    with pytest.raises(HeadError, match="no disjoint control of 9 heads"):
        influence(llama, TRACES[0], most, controls=1, progress=False)


def test_loss_floor(llama: Any) -> None:
    result = influence(llama, TRACES[1], HEADS, floor=1e9, controls=1, progress=False)
    assert bool(result.samples["below_floor"][0]) and np.isnan(result.samples["ais"][0])
    assert not np.isnan(result.samples["delta"][0])


def test_document_scope_scores_the_prompt_too(llama: Any) -> None:
    result = influence(llama, TRACES[0], HEADS, scope="document", controls=0, progress=False)
    plain = al.Trace("a", "", TRACES[0].prompt + "\n" + TRACES[0].response)
    expected = influence(llama, plain, HEADS, controls=0, progress=False)
    assert result.samples["n_tokens"][0] == expected.samples["n_tokens"][0]
    assert result.samples["ais"][0] == pytest.approx(expected.samples["ais"][0])
    assert list(result.steps["label"])[0] == "prompt"


def test_long_traces_in_strides_or_cut(make_model: Callable[..., Any]) -> None:
    model = make_model("llama", max_position_embeddings=64)
    trace = al.Trace("long", "p" * 40, "r" * 200)
    strided = influence(model, trace, HEADS, controls=0, progress=False, template="plain")
    assert strided.samples["n_left_out"][0] == 0
    assert strided.samples["n_tokens"][0] == 200
    cut = influence(model, trace, HEADS, controls=0, long="cut", progress=False, template="plain")
    kept = 64 - 41
    assert cut.samples["n_tokens"][0] == kept
    assert cut.samples["n_left_out"][0] == 200 - kept
    np.testing.assert_allclose(strided.tokens["nll_base"][:kept], cut.tokens["nll_base"][:kept])


@pytest.mark.parametrize(("prompt", "response"), [(0, 500), (10, 3), (100, 90), (64, 1), (63, 65)])
def test_windows_score_each_token_once(tokenizer: Any, prompt: int, response: int) -> None:
    encoded = encode_trace(tokenizer, al.Trace("t", "p" * prompt, "r" * response), "plain")
    scored = np.zeros(encoded.n_response, dtype=int)
    for window in windows(encoded, 64):
        assert len(window.tokens) <= 64 and window.first >= 1
        scored[window.position : window.position + window.n_scored] += 1
        whole = encoded.tokens
        at = encoded.response_start + window.position
        assert window.tokens[window.first :] == whole[at : at + window.n_scored]
    assert (scored[0 if encoded.response_start else 1 :] == 1).all()


def test_batches_respect_the_budget() -> None:
    lengths = [5, 100, 7, 50, 50, 1]
    found = batches(lengths, 110)
    assert sorted(sum(found, [])) == list(range(6))
    assert all(max(lengths[i] for i in b) * len(b) <= 110 for b in found)
    assert [len(b) for b in batches(lengths, 0)] == [1] * 6


def test_save_and_load(result: Influence, tmp_path: Path) -> None:
    loaded = Influence.load(result.save(tmp_path / "run"))
    pd.testing.assert_frame_equal(loaded.samples, result.samples)
    pd.testing.assert_frame_equal(loaded.tokens, result.tokens, check_dtype=False)
    assert loaded.provenance == result.provenance
    for key in ("model", "heads", "mode", "seed", "versions"):
        assert key in loaded.provenance
    with pytest.raises(DataError, match="not a saved influence"):
        Influence.load(tmp_path)


def test_bad_arguments(llama: Any) -> None:
    with pytest.raises(ConfigError, match="same_layers"):
        influence(llama, TRACES, HEADS, control="none", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scope"):
        influence(llama, TRACES, HEADS, scope="all", progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="chat template"):
        influence(llama, TRACES, HEADS, template="chat", progress=False)
    with pytest.raises(DataError, match="two traces"):
        influence(llama, [TRACES[0], TRACES[0]], HEADS, progress=False)
