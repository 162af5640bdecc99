"""C3: NaN means "not scored" and nothing else; a model that overflows is named, with its type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import hf_model, tokenizer

import airlens as al
from airlens.errors import NumbersError
from airlens.losses.hooks import score_windows
from airlens.losses.token_losses import token_losses
from airlens.losses.windows import Window, WindowLoss
from airlens.step_influence.influence import summary

ENGINES = ("hooks", "fast")
LOUD = "Z"  # the token that overflows


def load(kind: str = "llama", dtype: str = "float16", loud: bool = True) -> Any:
    """A model whose first layer writes more than float16 holds for one token, and for no other."""
    model = hf_model(kind)
    if loud:
        token = tokenizer()(LOUD)["input_ids"][0]
        down, seen = model.model.layers[0].mlp.down_proj, []
        with torch.no_grad():
            model.get_input_embeddings().weight[token] *= 1e3  # what it sees hardly matters then
            handle = down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
            model(torch.tensor([[token]]))
            handle.remove()
            own = seen[0][0, 0]
            down.weight[0] = 9e4 * own / own.square().sum()
    return al.load_model(model, tokenizer=tokenizer(), device="cpu", dtype=dtype)


GOOD = al.Trace("good", "a b", "cd ef. gh ij")
BAD = al.Trace("bad one", "a b", f"cd ef. g{LOUD}h ij")


@pytest.mark.parametrize("engine", ENGINES)
def test_c3_an_overflow_is_an_error_that_helps(engine: Any) -> None:
    model = load()
    with pytest.raises(NumbersError) as caught:
        al.influence(model, [GOOD, BAD], "L1H1", engine=engine, progress=False)
    said = str(caught.value)
    assert "float16" in said and "bfloat16" in said and "'bad one'" in said
    assert caught.value.item == 1
    alone = al.influence(model, GOOD, "L1H1", engine=engine, progress=False)
    assert alone.tokens[["nll_base", "nll_ref", "nll_control", "entropy"]].notna().all().all()


def test_c3_the_remedy_works() -> None:
    found = al.influence(load(dtype="bfloat16"), [GOOD, BAD], "L1H1", progress=False)
    assert found.tokens[["nll_base", "nll_ref"]].notna().all().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_c3_an_overflow_of_the_ablated_model_only(engine: Any) -> None:
    model = load(loud=False)
    means = torch.full((2, 4, 8), 1e5)
    with pytest.raises(NumbersError, match=r"with heads ablated.*float16"):
        al.influence(model, GOOD, "L0H1", mode="mean", means=means, engine=engine, progress=False)


def test_c3_broken_weights_are_named() -> None:
    model = load(dtype="float32", loud=False)
    with torch.no_grad():
        model.original_model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumbersError, match=r"weight model.layers.1.mlp.up_proj.weight holds NaN"):
        al.influence(model, GOOD, "L1H1", progress=False)


def test_c3_single_heads_sources_and_means() -> None:
    model = load()
    for method in ("exact", "attribution"):
        with pytest.raises(NumbersError, match=r"'bad one'.*float16"):
            al.head_influence(model, [GOOD, BAD], method, progress=False)  # type: ignore[arg-type]
    for engine in ENGINES:
        with pytest.raises(NumbersError, match=r"'bad one', step 0.*float16"):
            al.head_influence(model, [GOOD, BAD], "exact", engine=engine, progress=False)
        with pytest.raises(NumbersError, match=r"'bad one'.*float16"):
            al.sources(model, [GOOD, BAD], "L1H1", engine=engine, progress=False)  # type: ignore[arg-type]
    with pytest.raises(NumbersError, match="float16"):
        al.mean_z(model, ["fine", f"not {LOUD} fine"])


@pytest.mark.parametrize("engine", ENGINES)
def test_c3_detectors(engine: Any) -> None:
    from airlens.detectors.detect import detect
    from airlens.detectors.induction import repeated_ids

    token = tokenizer()(LOUD)["input_ids"][0]
    probes = repeated_ids([10, 11, 12, token], 2, 8, seed=0)
    model = load()
    with pytest.raises(NumbersError, match=r"probe 0.*float16"):
        al.retrieval_scores(model, probes, engine=engine, progress=False)
    with pytest.raises(NumbersError, match="float16"):
        al.copy_accuracy(model, probes, engine=engine)
    for name in ("causal", "attribution", "locos", "induction"):
        with pytest.raises(NumbersError, match="float16"):
            detect(model, probes, name, progress=False)


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_c3_logits_of_minus_infinity_rule_a_token_out(kind: str) -> None:
    """As models with a padded vocabulary have them: no error, no NaN in the entropy."""
    model = load(kind, dtype="float32", loud=False)
    bias = torch.zeros(260)
    bias[250:] = float("-inf")
    window = Window([5, 6, 7, 8], 1, 0)
    ruled_out = [("unembed.hook_out", lambda x, hook: x + bias)]
    with model.hooks(fwd_hooks=ruled_out):
        found = token_losses(model, [window], [], "zero")[0]
        with torch.no_grad():
            logp = model(torch.tensor([window.tokens]))[0, :-1].log_softmax(-1)
    expected = torch.special.entr(logp.exp()).sum(-1)
    np.testing.assert_allclose(found.entropy, expected.numpy(), rtol=1e-5)
    with model.hooks(fwd_hooks=ruled_out), pytest.raises(NumbersError, match="infinity"):
        score_windows(model, [Window([5, 255], 1, 0)], [], "zero")


def test_c3_means_are_over_the_same_tokens() -> None:
    """A row that lacks a token the others have shows it, instead of a mean over fewer."""
    base, hole = np.array([1.0, 2.0, np.nan]), np.array([[1.5, 2.5, 9.0], [np.nan, 2.0, 9.0]])
    found = summary(WindowLoss(base, base, hole), np.ones(3, bool), 0.01)
    assert found["n_tokens"] == 2
    assert found["loss_base"] == 1.5 and found["loss_ref"] == 2.0  # not the token that base lacks
    assert np.isnan(found["loss_control"]) and np.isnan(found["ais_control"])


def test_c3_a_trace_not_scored_is_nan_everywhere() -> None:
    model = load(dtype="float32", loud=False)
    cut = al.Trace("cut", "a" * 30, "b" * 30)
    model.cfg.n_ctx = 40
    found = al.influence(model, cut, "L1H1", long="cut", progress=False)
    nll = found.tokens[["nll_base", "nll_ref", "nll_control", "entropy"]].isna()
    assert nll.any().all() and (nll.nunique(axis=1) == 1).all()
    assert found.samples["n_left_out"].item() == nll["nll_base"].sum()
