"""Single-head influence against one hooked pass for each head, and against finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import SHARP, induction_model
from tiny_zoo import hf_model, tiny
from tiny_zoo import tokenizer as tokenizer_of

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.experiments.emergence import TinySettings, _no_tokenizer
from airlens.heads import Head, HeadSet
from airlens.losses.each_head_alone import each_head_alone
from airlens.losses.fast import single_head_passes as per_head_run
from airlens.losses.fast.fast_model import named_tensors
from airlens.losses.token_losses import token_losses
from airlens.losses.windows import windows
from airlens.step_influence.head_influence import HeadInfluence, head_influence
from airlens.step_influence.influence import influence
from airlens.traces.encoding import encode_trace
from airlens.traces.model_encoding import encode_for
from airlens.traces.steps import split_steps
from airlens.traces.trace import Trace


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    made = [Trace(str(i), f"Add {i}.", f"First {i}.\nThen {2 * i}!\nSo {3 * i}.") for i in range(3)]
    return [Trace(t.id, t.prompt, t.response, "", split_steps(t.response, "line")) for t in made]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "gpt_oss", "opt"])
@pytest.mark.parametrize("mode", ["uniform", "mean"])
def test_exact_is_one_ablation_for_each_head(kind: str, mode: Any, traces: list[Trace]) -> None:
    model = tiny(kind)
    found = head_influence(model, traces, "exact", mode=mode, max_tokens_per_batch=300)
    assert found.exact.all()
    for head in (Head(0, 1), Head(1, 3), Head(1, 0)):
        one = influence(model, traces, [head], mode=mode, controls=0, engine="hooks")
        assert np.allclose(
            found.step_scores[:, head.layer, head.head], one.steps["delta"], atol=1e-4
        )
        assert np.allclose(found.steps["loss_base"], one.steps["loss_base"], atol=1e-4)
        assert abs(found.scores[head] - one.tokens["delta"].mean()) < 1e-4
    assert list(found.steps["id"]) == list(one.steps["id"])


def test_hooks_engine_gives_the_same(traces: list[Trace]) -> None:
    model = tiny("llama")
    fast, slow = (head_influence(model, traces, "exact", engine=e) for e in ("fast", "hooks"))  # type: ignore[arg-type]
    assert np.allclose(fast.step_scores, slow.step_scores, atol=1e-4)
    with pytest.raises(ConfigError, match="needs the fast engine"):
        head_influence(model, traces, "attribution", engine="hooks")


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_each_head_alone_is_a_set_of_one_head(engine: Any, traces: list[Trace]) -> None:
    """In the order of the windows and of the heads, whatever shares a row or a layer."""
    model = tiny("llama")
    items = [part for e in encode_for(model, traces) for part in windows(e, 64)]
    heads = [Head(1, 2), Head(0, 1), Head(1, 0)]
    found = each_head_alone(model, items, heads, "zero", engine=engine, max_tokens_per_batch=700)
    singles = [HeadSet((head,)) for head in heads]
    expected = token_losses(model, items, singles, "zero", engine="hooks")
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("base", "entropy", "ablated"):
            assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-4), name
    nothing = each_head_alone(model, items[:1], [], "zero", engine=engine)
    assert nothing[0].ablated.shape == (0, items[0].n_scored)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_attribution_is_the_slope(kind: str, traces: list[Trace]) -> None:
    """Where heads write little into the residual stream, the first order is all there is."""
    import torch

    model = al.load_model(hf_model(kind), tokenizer=tokenizer_of(), device="cpu")
    with torch.no_grad():
        for name, parameter in named_tensors(model.original_model).items():
            if any(x in name for x in ("self_attn.o_proj", "attn.c_proj")):
                parameter.mul_(1e-2)
    for mode in ("uniform", "zero"):
        exact = head_influence(model, traces, "exact", mode=mode)  # type: ignore[arg-type]
        found = head_influence(model, traces, "attribution", mode=mode)  # type: ignore[arg-type]
        assert not found.exact.any()
        of_steps = np.abs(exact.step_scores).max()
        assert np.abs(found.step_scores - exact.step_scores).max() < 0.1 * of_steps
        assert np.allclose(found.steps["loss_base"], exact.steps["loss_base"], atol=1e-4)
        largest = np.abs(exact.scores).max()
        assert largest > 0
        assert np.abs(found.scores - exact.scores).max() < 0.1 * largest


def slopes_by_hand(model: Any, trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the response NLL times -z, by hooks: summed over positions, and its squares."""
    import torch

    encoded = encode_trace(model.tokenizer, trace, "auto")
    tokens = torch.tensor([encoded.tokens])
    kept: list[torch.Tensor] = []

    def keep(z: torch.Tensor, hook: Any) -> torch.Tensor:
        if not z.requires_grad:
            z = z.detach().requires_grad_()
        z.retain_grad()
        kept.append(z)
        return z

    hooks = [(f"blocks.{i}.attn.hook_z", keep) for i in range(model.cfg.n_layers)]
    with torch.enable_grad(), model.hooks(fwd_hooks=hooks):
        logp = model(tokens)[0, :-1].float().log_softmax(-1)
        nll = -logp.gather(-1, tokens[0, 1:, None])[:, 0]
        nll[encoded.response_start - 1 :].sum().backward()
    shape = (1, len(encoded.tokens), model.cfg.n_heads, -1)
    rows = [(z.grad.reshape(shape) * -z.detach().reshape(shape))[0].sum(-1) for z in kept]
    return tuple(torch.stack([r.pow(p).sum(0) for r in rows]).numpy() for p in (1, 2))  # type: ignore[return-value]


def test_screened_runs_the_heads_whose_positions_matter_most(traces: list[Trace]) -> None:
    """By the squares of the slope times distance, so that what cancels is not lost."""
    model = tiny("llama")
    exact = head_influence(model, traces, "exact", mode="zero")
    found = head_influence(model, traces, "screened", mode="zero", top=3)
    assert found.exact.sum() == 3
    by_hand = [slopes_by_hand(model, trace) for trace in traces]
    rises, squares = (sum(pair[i] for pair in by_hand) for i in (0, 1))
    assert np.allclose(found.estimate * found.steps["n_tokens"].sum(), rises, atol=1e-4)
    assert squares[found.exact].min() > squares[~found.exact].max()
    assert np.allclose(found.scores[found.exact], exact.scores[found.exact], atol=1e-4)
    assert np.array_equal(found.scores[~found.exact], found.estimate[~found.exact])
    assert all(found.exact[h] for h in found.top(3))
    assert np.isnan(found.step_scores[:, ~found.exact]).all()
    assert np.allclose(
        found.step_scores[:, found.exact], exact.step_scores[:, found.exact], atol=1e-4
    )
    everything = head_influence(model, traces, "screened", mode="zero", top=8)
    assert np.allclose(everything.scores, exact.scores, atol=1e-4)


def test_screening_finds_the_circuit_that_the_exact_order_puts_first() -> None:
    """The previous-token head and the induction head of the handmade model, less sure of itself."""
    import torch

    hf = induction_model()
    with torch.no_grad():
        hf.lm_head.weight.mul_(3 / SHARP)
    tokenizer = _no_tokenizer(TinySettings(vocab=24))
    model = al.load_model(hf, tokenizer=tokenizer, device="cpu")
    words = "5 9 2 7 11 3 8 1 4 6"
    trace = Trace("copy", f"0 {words}", words)
    exact = head_influence(model, trace, "exact")
    assert set(exact.ranked()[:2]) == {Head(0, 0), Head(1, 0)}
    screened = head_influence(model, trace, "screened", top=2)
    assert screened.ranked() == exact.ranked()[:2]


def test_attribution_of_steps_adds_up(traces: list[Trace]) -> None:
    """The estimate of a trace is the token-weighted mean of the estimates of its steps."""
    model = tiny("llama")
    found = head_influence(model, traces, "attribution")
    whole = head_influence(model, traces, "screened", top=1).estimate
    weights = found.steps["n_tokens"].to_numpy()
    mean = np.average(found.step_scores, axis=0, weights=weights)
    assert np.allclose(mean, found.scores, atol=1e-5)
    assert np.allclose(found.scores, whole, atol=1e-5)


def test_a_stopped_run_goes_on(traces: list[Trace], tmp_path: Path, monkeypatch: Any) -> None:
    model = tiny("llama")
    whole = head_influence(model, traces, "exact", max_tokens_per_batch=4)
    run, calls = per_head_run.exact_row, []

    def stops(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr("airlens.losses.each_head_alone.exact_row", stops)
    options: Any = {"max_tokens_per_batch": 4, "resume": tmp_path / "run.npz"}
    with pytest.raises(KeyboardInterrupt):
        head_influence(model, traces, "exact", **options)
    found = head_influence(model, traces, "exact", **options)
    assert len(calls) == 1 + len(traces)
    assert np.allclose(found.step_scores, whole.step_scores, atol=1e-6)
    with pytest.raises(ConfigError, match="another model"):
        head_influence(model, traces, "exact", mode="zero", **options)


def test_save_and_load(traces: list[Trace], tmp_path: Path) -> None:
    found = head_influence(tiny("llama"), traces, "screened", top=3)
    loaded = HeadInfluence.load(found.save(tmp_path / "saved"))
    assert np.array_equal(loaded.step_scores, found.step_scores, equal_nan=True)
    assert loaded.to_frame().equals(found.to_frame())
    assert loaded.provenance == found.provenance
    with pytest.raises(DataError):
        HeadInfluence.load(tmp_path / "nowhere")
