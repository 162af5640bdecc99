"""Scores of rival papers, against slow loops over the logits and attentions of Hugging Face."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import airlens as al
from airlens.errors import ConfigError
from airlens.losses.windows import WindowLoss
from airlens.step_influence import attention_flow
from airlens.step_influence.influence import rank_surprisal
from airlens.step_influence.local_likelihood import sentence_spans
from airlens.step_influence.rival_scores import rival_scores
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


# --- LALP


def slow_lalp(model: Any, trace: al.Trace, before: int = 4) -> tuple[list[float], list[int]]:
    """Mean log-probability of each sentence behind prompt and the four before, and its step."""
    tok = model.tokenizer
    begins = {s.start for s in trace.whole_steps()}
    begins |= {s.start for s in al.split_steps(trace.response, "sentence")}
    cuts = [*sorted(begins), len(trace.response)]
    # One token a byte, and a token belongs to the sentence of its first non-blank character: of
    # ASCII text each sentence's tokens are its characters.
    texts = [trace.response[a:b] for a, b in pairwise(cuts)]
    assert "".join(texts) == trace.response
    prompt = encode_trace(tok, al.Trace("p", trace.prompt, "x"), "plain").tokens[:-1]
    values, steps = [], []
    for i, text in enumerate(texts):
        context = "".join(texts[max(0, i - before) : i])
        ids = [*prompt, *tok(context + text, add_special_tokens=False)["input_ids"]]
        n = len(tok(text, add_special_tokens=False)["input_ids"])
        logp = torch.log_softmax(logits_of(model, ids).double(), dim=-1)
        own = [float(logp[t - 1, ids[t]]) for t in range(len(ids) - n, len(ids)) if t > 0]
        values.append(sum(own) / len(own))
        steps.append(max(k for k, s in enumerate(trace.whole_steps()) if s.start <= cuts[i]))
    return values, steps


@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_lalp_against_a_loop_over_sentences(llama: Any, engine: Any) -> None:
    options = {"engine": engine, "progress": False}
    found = rival_scores(llama, TRACES, ["lalp"], **options)
    for trace in TRACES[:4]:
        values, steps = slow_lalp(llama, trace)
        own = found.samples.set_index("id").loc[trace.id, "lalp"]
        assert own == pytest.approx(np.mean(values), abs=2e-5)
        rows = found.steps[found.steps["id"] == trace.id].set_index("step")["lalp"]
        for step in set(steps):
            part = [value for value, at in zip(values, steps, strict=True) if at == step]
            assert rows[step] == pytest.approx(np.mean(part), abs=2e-5)
    assert np.isnan(found.samples["lalp"][4])  # nothing to score
    assert len(slow_lalp(llama, TRACES[3])[0]) == 6  # more sentences than a window holds


def test_lalp_of_few_sentences_is_their_log_probability(llama: Any) -> None:
    """With all that comes before in the window, it is what the base pass gives, by sentence."""
    trace = al.Trace("a", "Why?", "It is so. I know it.").with_steps("sentence")
    local = rival_scores(llama, trace, ["lalp"], progress=False)
    whole = al.influence(llama, trace, HEADS, controls=0, progress=False)
    np.testing.assert_allclose(local.steps["lalp"], -whole.steps["loss_base"], atol=2e-5)


def test_sentences_end_where_steps_end(tokenizer: Any) -> None:
    trace = al.Trace("a", "", "One. Two and\nthree. Four.").with_steps("line")
    e = encode_trace(tokenizer, trace)
    texts = [trace.response[e.offsets[a, 0] : e.offsets[b - 1, 1]] for a, b in sentence_spans(e)]
    assert [text.strip() for text in texts] == ["One.", "Two and", "three.", "Four."]
    assert all(len(set(e.step[a:b])) == 1 for a, b in sentence_spans(e))


# --- FAI, WAAD, CircuitSeer


def slow_flow(model: Any, trace: al.Trace, circuit: list[tuple[int, int]]) -> dict[str, Any]:
    """The definitions, position by position, from the attentions of a Hugging Face model."""
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(model.original_model.config, attn_implementation="eager")
    weights = {name.replace("_original_component.", ""): p for name, p in state(model).items()}
    hf.load_state_dict(weights, strict=False)
    e = encode_trace(model.tokenizer, trace)
    with torch.no_grad():
        out = hf.eval()(torch.tensor([e.tokens]), output_attentions=True)
    pattern = torch.stack([layer[0] for layer in out.attentions]).double().numpy()
    pattern = pattern.reshape(-1, *pattern.shape[2:])
    first, total = max(1, e.response_start), len(e.tokens)
    rows = range(first, total)
    back = [np.mean([sum(h[t, s] * (t - s) for s in range(t + 1)) for t in rows]) for h in pattern]
    order = np.argsort(back, kind="stable")
    k = max(1, round(0.3 * len(order)))
    local, far = pattern[order[:k]].mean(axis=0), pattern[order[-k:]].mean(axis=0)
    begin = e.response_start
    waad, fai = np.full(total - begin, np.nan), np.full(total - begin, np.nan)
    for t in rows:
        waad[t - begin] = sum(local[t, s] * min(t - s, 10) for s in range(t + 1))
    for s in range(begin, total):
        later = [far[t, s] for t in rows if s + 10 <= t <= s + 50]
        fai[s - begin] = np.mean(later) if later else np.nan
    chosen = np.mean([pattern[layer * 4 + head] for layer, head in circuit], axis=0)
    received = [
        np.mean([chosen[t, s] for t in rows if t >= s]) for s in range(begin, total) if rows
    ]
    return {"waad": waad, "fai": fai, "circuit": np.var(received), "step": e.step}


def state(model: Any) -> dict[str, torch.Tensor]:
    from airlens.losses.fast.fast_model import named_tensors

    return named_tensors(model.original_model)


@pytest.mark.parametrize("at_once", [1 << 22, 2000, 1])  # attention weights: many rows to one
@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_attention_scores_against_a_loop_over_attentions(
    llama: Any, engine: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_flow, "WEIGHTS", at_once)
    circuit = [(0, 1), (2, 0), (2, 3)]
    names = [f"L{layer}H{head}" for layer, head in circuit]
    found = rival_scores(
        llama, TRACES, ["fai", "waad"], circuit=names, engine=engine, progress=False
    )
    samples = found.samples.set_index("id")
    for trace in (TRACES[0], TRACES[1], TRACES[3]):
        want = slow_flow(llama, trace, circuit)
        for name in ("fai", "waad"):
            assert samples.loc[trace.id, name] == pytest.approx(np.nanmean(want[name]), rel=1e-4)
            rows = found.steps[found.steps["id"] == trace.id].set_index("step")[name]
            for step in set(want["step"].tolist()):
                part = want[name][want["step"] == step]
                if not np.isnan(part).all():
                    assert rows[step] == pytest.approx(np.nanmean(part), rel=1e-4)
        assert samples.loc[trace.id, "circuit"] == pytest.approx(want["circuit"], rel=1e-3)
    assert np.isnan(samples.loc["c", "fai"]) and not np.isnan(samples.loc["c", "waad"])
    assert samples.loc["e", ["fai", "waad", "circuit"]].isna().all()


@pytest.mark.parametrize("engine", ["hooks", "fast"])
def test_scores_do_not_depend_on_the_batch(llama: Any, engine: Any) -> None:
    options: dict[str, Any] = {"circuit": "L1H1", "engine": engine, "progress": False}
    together = rival_scores(llama, TRACES, max_tokens_per_batch=4000, **options)
    alone = [rival_scores(llama, trace, **options) for trace in TRACES]
    for name in ("samples", "steps"):
        want = pd.concat([getattr(each, name) for each in alone], ignore_index=True)
        pd.testing.assert_frame_equal(getattr(together, name), want, rtol=1e-4, check_dtype=False)


def test_long_traces_are_read_in_strides(make_model: Any) -> None:
    """Both engines add up the same over windows, and each row is read once."""
    model = make_model("llama", max_position_embeddings=64)
    trace = al.Trace("a", "Why is it so?", "It goes on. And on it goes! " * 6).with_steps("line")
    options: dict[str, Any] = {"circuit": "L1H1", "progress": False}
    slow, fast = (rival_scores(model, trace, engine=e, **options) for e in ("hooks", "fast"))
    pd.testing.assert_frame_equal(slow.samples, fast.samples, rtol=1e-4)
    assert slow.samples.notna().all(axis=None)
    cut = rival_scores(model, trace, long="cut", **options)
    assert cut.samples["waad"][0] != pytest.approx(slow.samples["waad"][0], rel=1e-3)


def test_circuit_heads_are_those_that_cost_most(llama: Any) -> None:
    found = al.circuit_heads(llama, TRACES[:2], 3, method="exact", progress=False)
    rises = al.head_influence(llama, TRACES[:2], "exact", progress=False).scores
    best = np.argsort(-rises, axis=None)[:3]
    assert set(found.names()) == {f"L{i // 4}H{i % 4}" for i in best}


def test_what_is_saved_is_read(llama: Any, tmp_path: Any) -> None:
    found = al.rival_scores(llama, TRACES[:2], circuit="L1H1", progress=False)
    again = al.RivalScores.load(found.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(found.samples, again.samples)
    scored = al.influence(llama, TRACES[:2], HEADS, controls=0, progress=False)
    assert found.on(scored.samples)["lalp"].tolist() == found.samples["lalp"].tolist()
    assert found.on(scored.steps)["fai"].notna().any()


def test_an_unknown_score_is_named(llama: Any) -> None:
    with pytest.raises(ConfigError, match="lalp"):
        al.rival_scores(llama, TRACES, ["lap"])  # type: ignore[list-item]
