"""C1: the text part of a multimodal class is scored as Hugging Face runs it, by both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from multimodal_zoo import KINDS, hf_model
from tiny_zoo import tokenizer

import airlens as al
from airlens.losses.choice import choose_engine
from airlens.traces.encoding import encode_trace

TRACES = [al.Trace("a", "b", "cde fghi jklm no"), al.Trace("c", "b", "cde fgxyz. Op")]
HEADS = "L0H1, L1H2"


@pytest.fixture(autouse=True)
def _no_torchvision(monkeypatch: Any) -> None:
    """TransformerLens asks for it in some kinds, for images that no trace has."""
    from transformer_lens.model_bridge import supported_architectures as kinds

    for name in dir(kinds):
        if getattr(getattr(kinds, name), "required_libraries", None):
            monkeypatch.setattr(getattr(kinds, name), "required_libraries", [])


def nll(model: Any, trace: al.Trace) -> np.ndarray:
    ids = torch.tensor([encode_trace(tokenizer(), trace, "plain").tokens])
    with torch.no_grad():
        logp = model(input_ids=ids).logits[0].float().log_softmax(-1)
    found = -logp[:-1].gather(-1, ids[0, 1:, None])[:, 0].numpy()
    return np.asarray(found[-len(tokenizer()(trace.response)["input_ids"]) :])


def silenced(model: Any) -> Any:
    """The same, with the heads' z at 0 in the Hugging Face model: what mode "zero" means."""
    layers = model.get_decoder().layers
    for layer, head in ((0, 1), (1, 2)):

        def cut(module: Any, args: Any, head: int = head) -> Any:
            z = args[0].clone()
            z[..., 8 * head : 8 * head + 8] = 0
            return (z, *args[1:])

        layers[layer].self_attn.o_proj.register_forward_pre_hook(cut)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_c1_the_text_part_is_scored(kind: str) -> None:
    model = al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu")
    base = np.concatenate([nll(hf_model(kind), trace) for trace in TRACES])
    cut = silenced(hf_model(kind))
    zero = np.concatenate([nll(cut, trace) for trace in TRACES])
    assert np.abs(zero - base).max() > 1e-3
    for engine in ("hooks", "fast"):
        options: dict[str, Any] = {"template": "plain", "engine": engine, "progress": False}
        found = al.influence(model, TRACES, HEADS, mode="zero", **options).tokens
        np.testing.assert_allclose(found["nll_base"], base, atol=5e-5)
        np.testing.assert_allclose(found["nll_ref"], zero, atol=5e-5)
    for mode in ("uniform", "mean"):
        both = [
            al.influence(model, TRACES, HEADS, mode=mode, engine=engine, progress=False)  # type: ignore[arg-type]
            for engine in ("hooks", "fast")
        ]
        np.testing.assert_allclose(both[0].tokens["nll_ref"], both[1].tokens["nll_ref"], atol=1e-4)
    assert choose_engine(model, "auto") == "fast"


@pytest.mark.parametrize("kind", KINDS)
def test_c1_sources_and_single_heads(kind: str) -> None:
    """What reads the configuration reads that of the text part."""
    model = al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu")
    pairs = [
        al.sources(model, TRACES, HEADS, engine=engine, progress=False).pairs["attention"]  # type: ignore[arg-type]
        for engine in ("hooks", "fast")
    ]
    np.testing.assert_allclose(*pairs, atol=1e-5)
    exact = [
        al.head_influence(model, TRACES, "exact", engine=engine, progress=False).scores  # type: ignore[arg-type]
        for engine in ("hooks", "fast")
    ]
    np.testing.assert_allclose(*exact, atol=1e-4)
