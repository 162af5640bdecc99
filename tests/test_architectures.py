"""Ablation means the same on every architecture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_zoo import ARCHITECTURES, WINDOW, hf_model, tiny, tokenizer

import airlens as al
from airlens.errors import AblationError

T = 20
HEADS = {0: [1], 1: [0, 3]}
NAMES = [f"L{layer}H{head}" for layer, heads in HEADS.items() for head in heads]


def ids(length: int = T, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 250, (1, length), generator=generator)


def window(name: str, layer: int) -> int:
    """How many positions back a layer sees, by the architecture's own definition."""
    sliding = name == "mistral" or (name in ("gemma2", "gemma3", "gpt_oss") and layer == 0)
    return WINDOW if sliding else 10_000


def uniform_pattern(name: str, model: Any, layer: int, head: int) -> torch.Tensor:
    """[T, T] by hand: 1 over the number of visible positions; e^sink more below for GPT-OSS."""
    pattern = torch.zeros(T, T)
    for i in range(T):
        visible = range(max(0, i - window(name, layer) + 1), i + 1)
        extra = 0.0
        if name == "gpt_oss":
            extra = math.exp(model.original_model.model.layers[layer].self_attn.sinks[head].item())
        for j in visible:
            pattern[i, j] = 1 / (len(visible) + extra)
    return pattern


def slow_uniform(name: str, model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Logits with the heads' z replaced by (hand-made pattern) @ v, looped head by head."""
    values: dict[int, torch.Tensor] = {}

    def keep(v: torch.Tensor, hook: Any, layer: int) -> None:
        values[layer] = v.clone()

    def put(z: torch.Tensor, hook: Any, layer: int) -> torch.Tensor:
        z, v = z.clone(), values[layer]
        for head in HEADS[layer]:
            group = head // (z.shape[2] // v.shape[2])
            z[0, :, head] = uniform_pattern(name, model, layer, head) @ v[0, :, group]
        return z

    hooks = []
    for layer in HEADS:
        at = f"blocks.{layer}.attn."
        hooks.append((at + "hook_v", lambda v, hook, i=layer: keep(v, hook, i)))
        hooks.append((at + "hook_z", lambda z, hook, i=layer: put(z, hook, i)))
    with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
        return model(tokens)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_equal_hugging_face(name: str) -> None:
    with torch.inference_mode():
        expected = hf_model(name)(ids()).logits
        with al.ablated(tiny(name), ""):
            found = tiny(name)(ids())
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_uniform_equals_slow_reference(name: str) -> None:
    model = tiny(name)
    expected = slow_uniform(name, model, ids())
    with torch.inference_mode():
        base = model(ids())
        with al.ablated(model, NAMES, "uniform"):
            found = model(ids())
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)
    assert (found - base).abs().max() > 1e-3


@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if n != "opt"])
def test_uniform_pattern_is_one_over_visible(name: str) -> None:
    """The same through the attention pattern (OPT's is only shown, not used, by its hook)."""
    model = tiny(name)
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        (f"blocks.{i}.attn.hook_pattern", lambda p, hook, i=i: seen.__setitem__(i, p.clone()))
        for i in HEADS
    ]
    with torch.inference_mode(), al.ablated(model, NAMES), model.hooks(fwd_hooks=hooks):
        model(ids())
    for layer, heads in HEADS.items():
        for head in heads:
            expected = uniform_pattern(name, model, layer, head)
            torch.testing.assert_close(seen[layer][0, head], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_group_mates_unchanged_to_the_bit(name: str, mode: Any) -> None:
    model = tiny(name)
    seen: list[torch.Tensor] = []
    hook = ("blocks.1.attn.hook_z", lambda z, hook: seen.append(z.clone()))
    means = torch.full((2, 4, 8), 0.5)
    with torch.inference_mode(), model.hooks(fwd_hooks=[hook]):
        model(ids())
    with torch.inference_mode(), al.ablated(model, "L1H2", mode, means=means):  # noqa: SIM117
        with model.hooks(fwd_hooks=[hook]):
            model(ids())
    base, found = seen
    assert torch.equal(base[:, :, [0, 1, 3]], found[:, :, [0, 1, 3]])
    assert not torch.equal(base[:, :, 2], found[:, :, 2])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_on_the_right_equals_single(name: str) -> None:
    model = tiny(name)
    short, long = ids(9, 1), ids(T, 2)
    padded = torch.zeros_like(long)
    padded[:, :9] = short
    with torch.inference_mode(), al.ablated(model, NAMES):
        together = model(torch.cat([padded, long]))
        torch.testing.assert_close(together[:1, :9], model(short), atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(together[1:], model(long), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gpt_oss"])
def test_ablated_generation_equals_recomputing(name: str) -> None:
    """With its key-value cache, generation inside the block is that of the ablated model."""
    model = tiny(name)
    tokens = ids()
    with torch.inference_mode(), al.ablated(model, NAMES):
        found = model.generate(
            tokens,
            max_new_tokens=5,
            do_sample=False,
            stop_at_eos=False,
            verbose=False,
            return_type="tokens",
        )
        for _ in range(5):
            tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(found.cpu(), tokens)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_engine_chosen_gives_what_the_hooks_give(name: str) -> None:
    trace = al.Trace("t", "ab cd", "efg hij klm nop qrs tuv")
    found = [
        al.influence(tiny(name), trace, NAMES, controls=0, progress=False, engine=engine)
        for engine in ("hooks", "auto")
    ]
    slow, chosen = (float(one.samples["loss_ref"].iloc[0]) for one in found)
    assert chosen == pytest.approx(slow, rel=1e-4)


def test_a_layer_without_attention_is_named() -> None:
    from transformers import AutoModelForCausalLM, MambaConfig

    small = MambaConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2, state_size=4)
    model = al.load_model(AutoModelForCausalLM.from_config(small), tokenizer=tokenizer())
    model.cfg.n_heads = 4
    with (
        pytest.raises(AblationError, match=r"'mamba'.*no attention heads"),
        al.ablated(model, "0.1"),
    ):
        pass


def test_attention_where_uniform_is_undefined_is_named() -> None:
    from transformers import AutoModelForCausalLM, DeepseekV3Config

    small = DeepseekV3Config(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        n_routed_experts=2,
        num_experts_per_tok=1,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
    )
    model = al.load_model(AutoModelForCausalLM.from_config(small), tokenizer=tokenizer())
    with pytest.raises(AblationError, match=r"deepseek_v3.*mode='zero'"), al.ablated(model, "0.1"):
        pass
    with torch.inference_mode(), al.ablated(model, "0.1", "zero"):
        assert torch.isfinite(model(ids())).all()
