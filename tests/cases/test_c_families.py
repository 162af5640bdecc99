"""Uniform ablation in many kinds of attention against plain Hugging Face with a slow attention."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import MIXED, VOCAB, tokenizer
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.masking_utils import eager_mask
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import airlens as al
from airlens.errors import AblationError, EngineError
from airlens.heads import HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.token_losses import token_losses
from airlens.losses.windows import Window

HEADS = {0: [1], 1: [0, 3]}
SET = HeadSet.parse("L0H1, L1H0, L1H3")
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "head_dim": 8,
    "pad_token_id": 0,
}
MOE = {
    "num_local_experts": 2,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "n_routed_experts": 2,
}
SLIDING = {"sliding_window": 8, "layer_types": MIXED}
BY_POSITION = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 8,
    "llama_4_scaling_beta": 0.5,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "bitnet": {},  # a norm between z and the output
    "cohere2": SLIDING,
    "exaone4": SLIDING,
    "gemma2": SLIDING,  # soft-capping
    "gemma3_text": SLIDING,
    "gemma4_text": SLIDING
    | {"global_head_dim": 8, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    "glm4_moe": MOE | {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "gpt_oss": MOE | SLIDING,  # sinks
    "granite": {"logits_scaling": 2.0, "attention_multiplier": 0.3, "residual_multiplier": 0.5},
    "hunyuan_v1_dense": {},  # QK-norm after RoPE
    "llama4_text": MOE  # temperature by position, chunks, layers without RoPE
    | {
        "attention_chunk_size": 8,
        "floor_scale": 8,
        "attn_temperature_tuning": True,
        "intermediate_size_mlp": 48,
        "no_rope_layers": [1, 0],
        "use_qk_norm": True,
    },
    "minimax_m2": MOE,
    "ministral3": {"sliding_window": None, "rope_parameters": BY_POSITION},
    "nemotron": {},
    "olmo2": {},  # QK-norm over all heads at once
    "olmo3": SLIDING,
    "phi": {},
    "qwen3_moe": MOE,
    "smollm3": {"no_rope_layers": [1, 0]},
    "stablelm": {"qk_layernorm": True},
    "starcoder2": {"sliding_window": None},
}


def attend_slowly(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """Attention as METHOD §2 says: the heads' scores are 0 wherever the mask lets them look."""
    group = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(group, 1) for x in (key, value))
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap := options.get("softcap"):
        scores = torch.tanh(scores / softcap) * softcap
    n, m = scores.shape[-2:]
    seen = torch.ones(1, 1, n, m, dtype=torch.bool).tril(m - n)
    if attention_mask is not None:
        seen = attention_mask[..., :m] > -1e4
    for head in HEADS[module.layer_idx]:
        scores[:, head] = 0
    scores = scores.masked_fill(~seen, float("-inf"))
    if options.get("s_aux") is not None:
        sink = options["s_aux"].reshape(1, -1, 1, 1).expand(1, -1, n, 1)
        scores = torch.cat([scores, sink], -1)
    pattern = scores.softmax(-1)[..., :m]
    return (pattern @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("slow_uniform", attend_slowly)
AttentionMaskInterface.register("slow_uniform", eager_mask)


def hf(name: str) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**{**SHAPE, **FAMILIES[name]})
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.mul_(4)
            if "sinks" in key:
                weight.normal_()
    return model


def texts() -> list[Window]:
    rng = np.random.default_rng(0)
    return [Window(rng.integers(3, 250, n).tolist(), 1, 0) for n in (24, 13)]


def nll(model: Any) -> list[np.ndarray]:
    found = []
    for window in texts():
        ids = torch.tensor([window.tokens])
        with torch.no_grad():
            logp = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        found.append(-logp[:-1].gather(-1, ids[0, 1:, None])[:, 0].numpy())
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_c_uniform_is_that_of_a_slow_attention(name: str) -> None:
    source = hf(name)
    slow = copy.deepcopy(source)
    base = nll(slow)
    slow.set_attn_implementation("slow_uniform")
    uniform = nll(slow)
    model = al.load_model(source, tokenizer=tokenizer(), device="cpu")
    engines = ["hooks"]
    if choose_engine(model, "auto", mode="uniform", longest=24) == "fast":
        engines.append("fast")
    for engine in engines:
        found = token_losses(model, texts(), [SET], "uniform", engine=engine)  # type: ignore[arg-type]
        for loss, plain, without in zip(found, base, uniform, strict=True):
            np.testing.assert_allclose(loss.base, plain, atol=2e-5)
            np.testing.assert_allclose(loss.ablated[0], without, atol=2e-5)
    assert max(np.abs(a - b).max() for a, b in zip(base, uniform, strict=True)) > 1e-3


def test_c_a_mode_in_which_the_engines_differ_takes_the_hooks() -> None:
    """BitNet has a norm between a head's z and the point at which the hooks set it."""
    model = al.load_model(hf("bitnet"), tokenizer=tokenizer(), device="cpu")
    assert choose_engine(model, "auto", mode="uniform") == "fast"
    assert choose_engine(model, "auto", mode="zero") == "hooks"
    with pytest.raises(EngineError, match=r"differs from the hooks.*'zero'"):
        choose_engine(model, "fast", mode="zero")


def test_c_means_where_layers_differ_in_the_size_of_a_head() -> None:
    """As in Gemma 4, whose full-attention layers have larger heads."""
    shape = {**SHAPE, **FAMILIES["gemma4_text"], "global_head_dim": 16}
    config = CONFIG_MAPPING["gemma4_text"](**shape)
    torch.manual_seed(0)
    model = al.load_model(AutoModelForCausalLM.from_config(config), tokenizer=tokenizer())
    assert choose_engine(model, "auto", mode="mean", longest=24) == "fast"
    both = [token_losses(model, texts(), [SET], "mean", engine=e) for e in ("hooks", "fast")]  # type: ignore[arg-type]
    for slow, fast in zip(*both, strict=True):
        np.testing.assert_allclose(slow.ablated, fast.ablated, atol=2e-5)


def test_c_uniform_is_refused_where_it_is_not_defined() -> None:
    config = CONFIG_MAPPING["nanochat"](**SHAPE)
    model = al.load_model(AutoModelForCausalLM.from_config(config), tokenizer=tokenizer())
    with pytest.raises(AblationError, match=r"nanochat.*mode='zero' or mode='mean'"):
        token_losses(model, texts(), [SET], "uniform")
    assert token_losses(model, texts(), [SET], "zero")
