"""A sweep over architectures: each loads and gives Hugging Face's numbers, or says why not."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import CONFIGS, hf_model, tokenizer

import airlens as al
from airlens.detectors.induction import repeated_probes
from airlens.errors import AblationError, ModelError
from airlens.model.heads import heads_of

TRACE = al.Trace("t", "", "ab cd efg hij klm nop qrs tuv")  # scored from its second token on
# Run with the fast tests: one of each way in which TransformerLens rebuilds attention.
FAST = ("llama", "gpt2", "bloom", "gptj", "cohere2", "mixtral", "lfm2", "llava", "bert", "mamba")
# What they say when they are loaded.
REFUSED = {
    "helium": "cannot wrap a 'helium' model",
    "phimoe": "cannot wrap a 'phimoe' model",
    "bert": "not causal",
    "granitemoehybrid": "cannot run it",
}
# They run, and their loss can be measured, but none of their heads can be reached.
WITHOUT_HEADS = (
    "mamba",
    "mamba2",
    "falcon_mamba",
    "rwkv",
    "recurrent_gemma",
    "zamba2",
    "nemotron_h",
    "jetmoe",
)
# Where a zeroed query is not uniform attention; the message names the modes that work.
NO_UNIFORM = ("deepseek_v2", "deepseek_v3", "gemma4", "olmo_hybrid")
# No function that computes attention alone, or one that does more (ALiBi).
OWN_ATTENTION = (
    "gptj",
    "gpt_neo",
    "codegen",
    "openai-gpt",
    "stablelm",
    "falcon",
    "falcon_alibi",
    "bloom",
    "mpt",
    "xglm",
)
SCORED = [name for name in CONFIGS if name not in {*REFUSED, *WITHOUT_HEADS}]


def sorted_out(names: Any) -> list[Any]:
    return [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in names]


def ids() -> torch.Tensor:
    return torch.tensor([tokenizer()(TRACE.response)["input_ids"]])


def nll(logits: torch.Tensor) -> float:
    """Mean NLL of the text under its logits [1, T, V]."""
    logp = torch.log_softmax(logits[0, :-1].float(), dim=-1)
    return float(-logp.gather(-1, ids()[0, 1:, None]).mean())


def load(name: str) -> tuple[Any, torch.Tensor]:
    """The bridge, and the logits of the model itself."""
    model = hf_model(name)
    with torch.no_grad():
        expected = model(input_ids=ids(), use_cache=False).logits
    return al.load_model(model, tokenizer=tokenizer(), device="cpu"), expected


def uniform_by_hand(name: str, layer: int, head: int) -> torch.Tensor:
    """Logits of Hugging Face's own model with a head's weights even where they are not 0."""
    with pytest.MonkeyPatch.context() as patch:
        return _uniform_by_hand(hf_model(name), layer, head, patch)


def _uniform_by_hand(model: Any, layer: int, head: int, patch: pytest.MonkeyPatch) -> torch.Tensor:
    spaces = {
        kind.__module__
        for kind in map(type, model.modules())
        if hasattr(sys.modules[kind.__module__], "eager_attention_forward")
    }
    for space in spaces:
        usual = sys.modules[space].eager_attention_forward

        def even(
            module: Any, query: Any, key: Any, value: Any, *args: Any, own: Any = usual, **more: Any
        ) -> Any:
            out, weights = own(module, query, key, value, *args, **more)
            if getattr(module, "layer_idx", None) == layer:
                visible = (weights[0, head] > 0).float()
                rows = value[0, head // (query.shape[1] // value.shape[1])]
                out[0, :, head] = (visible / visible.sum(dim=-1, keepdim=True)) @ rows
            return out, weights

        patch.setattr(sys.modules[space], "eager_attention_forward", even)
    with torch.no_grad():
        return model(input_ids=ids(), use_cache=False).logits


def uniform_by_hooks(model: Any, layer: int, head: int) -> torch.Tensor:
    """The same through TransformerLens' z, where a model has its own way of attending."""
    seen: dict[str, torch.Tensor] = {}

    def put(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z, v = z.clone(), seen["v"][0]
        visible = (seen["pattern"][0, head] > 0).to(v)
        group = head // (z.shape[2] // v.shape[1])
        z[0, :, head] = (visible / visible.sum(dim=-1, keepdim=True)) @ v[:, group]
        return z

    at = f"blocks.{layer}.attn.hook_"
    keep = [(at + n, lambda x, hook, n=n: seen.update({n: x.clone()})) for n in ("v", "pattern")]
    with torch.no_grad():
        model.run_with_hooks(ids(), fwd_hooks=keep)
        return model.run_with_hooks(ids(), fwd_hooks=[(at + "z", put)])


@pytest.mark.parametrize("name", sorted_out(SCORED))
def test_c_an_architecture_gives_hugging_faces_numbers(name: str) -> None:
    model, expected = load(name)
    with torch.no_grad():
        torch.testing.assert_close(model(ids()), expected, atol=2e-5, rtol=1e-4)
    layer, head = heads_of(model).layers[-1], 1
    mode = "zero" if name in NO_UNIFORM else "uniform"
    if mode == "uniform":
        by_hand = nll(
            uniform_by_hooks(model, layer, head)
            if name in OWN_ATTENTION
            else uniform_by_hand(name, layer, head)
        )
        assert abs(by_hand - nll(expected)) > 1e-7
    for engine in ("hooks", "auto"):
        found = al.influence(
            model, TRACE, [(layer, head)], mode=mode, controls=1, engine=engine, progress=False
        ).samples
        assert float(found["loss_base"].iloc[0]) == pytest.approx(nll(expected), abs=1e-5)
        if mode == "uniform" and name != "gpt_oss":  # its sinks: test_architectures.py
            assert float(found["loss_ref"].iloc[0]) == pytest.approx(by_hand, abs=2e-5)
        assert np.isfinite(found[["loss_ref", "loss_control"]]).all(axis=None)
    probes = repeated_probes(tokenizer(), n=1, half=8)
    scores = al.retrieval_scores(model, probes, progress=False)
    assert np.isfinite(scores.scores).sum() == len(heads_of(model))


@pytest.mark.parametrize("name", sorted_out(NO_UNIFORM))
def test_c_where_uniform_is_not_defined_it_is_said(name: str) -> None:
    model, _ = load(name)
    last = heads_of(model).layers[-1]
    with pytest.raises(AblationError, match="use mode='zero' or mode='mean'"):
        al.influence(model, TRACE, [(last, 1)], progress=False)


@pytest.mark.parametrize("name", sorted_out(WITHOUT_HEADS))
def test_c_a_model_without_heads_still_has_losses(name: str) -> None:
    model, expected = load(name)
    found = al.influence(model, TRACE, [], controls=0, progress=False).samples
    assert float(found["loss_base"].iloc[0]) == pytest.approx(nll(expected), abs=1e-5)
    with pytest.raises(AblationError, match="no attention heads that can be reached"):
        al.influence(model, TRACE, "L0H0", progress=False)


@pytest.mark.parametrize("name", sorted_out(REFUSED))
def test_c_an_architecture_that_is_refused_says_why(name: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[name]) as caught:
        load(name)
    assert len(str(caught.value)) < 300


def test_c_the_sweep_is_wide() -> None:
    assert len(CONFIGS) >= 60
    assert len(SCORED) >= 45
