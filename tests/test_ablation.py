"""Ablation against a second, slow implementation, and what must stay as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import airlens as al
from airlens.ablation import ablated, mean_z
from airlens.errors import AblationError, ConfigError, HeadError
from airlens.heads import HeadSet

KINDS = ["gpt2", "llama", "qwen3"]
HEADS = HeadSet.parse("L0H1, L1H2, L1H3, L2H0")
TOKENS = torch.tensor([[5, 17, 99, 23, 42, 7, 88, 130, 61, 12, 200, 33]])


def slow_uniform(model: Any, tokens: torch.Tensor, heads: HeadSet) -> torch.Tensor:
    """Uniform attention written into the pattern: 1/(i+1) over positions 0 … i."""

    def write(pattern: torch.Tensor, hook: Any, indices: list[int]) -> torch.Tensor:
        n = pattern.shape[-1]
        causal = torch.tril(torch.ones(n, n)) / torch.arange(1, n + 1)[:, None]
        pattern = pattern.clone()
        pattern[:, indices] = causal
        return pattern

    hooks = [
        (f"blocks.{layer}.attn.hook_pattern", lambda p, hook, i=indices: write(p, hook, i))
        for layer, indices in heads.by_layer().items()
    ]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_equals_writing_the_pattern(make_model: Callable[..., Any], kind: str) -> None:
    model = make_model(kind)
    expected = slow_uniform(model, TOKENS, HEADS)
    with ablated(model, HEADS, "uniform"):
        found = model(TOKENS)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    assert (found - model(TOKENS)).abs().max() > 1e-2  # and it does something


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
def test_only_the_chosen_heads_change(make_model: Callable[..., Any], kind: str, mode: Any) -> None:
    """Under grouped-query attention too: the other heads' z stay the same to the bit."""
    model = make_model(kind)
    seen: list[torch.Tensor] = []
    hook = [("blocks.1.attn.hook_z", lambda z, hook: seen.append(z.clone()))]
    model.run_with_hooks(TOKENS, fwd_hooks=hook)
    means = mean_z(model, ["some reference text", "and another one"])
    with ablated(model, "L1H2", mode, means=means):
        model.run_with_hooks(TOKENS, fwd_hooks=hook)
    before, after = seen[0][0], seen[-1][0]
    others = [0, 1, 3]
    assert torch.equal(before[:, others], after[:, others])
    assert not torch.equal(before[:, 2], after[:, 2])
    if mode == "zero":
        assert (after[:, 2] == 0).all()
    if mode == "mean":
        torch.testing.assert_close(after[:, 2], means[1, 2].expand_as(after[:, 2]))


def test_uniform_is_the_running_mean_of_v(llama: Any) -> None:
    found: dict[str, torch.Tensor] = {}
    hooks = [
        ("blocks.0.attn.hook_v", lambda v, hook: found.__setitem__("v", v.clone())),
        ("blocks.0.attn.hook_z", lambda z, hook: found.__setitem__("z", z.clone())),
    ]
    with ablated(llama, "L0H3"):
        llama.run_with_hooks(TOKENS, fwd_hooks=hooks)
    value = found["v"][0, :, 1]  # 4 query heads share 2 key-value heads: H3 reads the second
    expected = value.cumsum(0) / torch.arange(1, len(value) + 1)[:, None]
    torch.testing.assert_close(found["z"][0, :, 3], expected, atol=1e-5, rtol=1e-5)


def test_undone_afterwards_even_after_an_error(llama: Any) -> None:
    before = llama(TOKENS)
    with pytest.raises(ZeroDivisionError), ablated(llama, HEADS):
        llama(TOKENS)
        _ = 1 / 0
    assert torch.equal(llama(TOKENS), before)
    assert not any(point.fwd_hooks for point in llama.hook_dict.values())


def test_no_heads_changes_nothing(llama: Any) -> None:
    with ablated(llama, ""):
        assert torch.equal(llama(TOKENS), llama(TOKENS))


def test_generate_is_ablated(llama: Any) -> None:
    options = {"max_new_tokens": 12, "do_sample": False, "verbose": False}
    everything = HeadSet(tuple(al.Head(i, h) for i in range(3) for h in range(4)))
    plain = llama.generate(TOKENS, **options)
    with ablated(llama, everything):
        changed = llama.generate(TOKENS, **options)
    assert not torch.equal(plain, changed)
    assert torch.equal(plain, llama.generate(TOKENS, **options))


def test_bad_arguments(llama: Any) -> None:
    with pytest.raises(HeadError, match=r"L9H0.*3 layers.*4 query heads"), ablated(llama, "L9H0"):
        pass
    with pytest.raises(ConfigError, match="uniform, zero, mean"), ablated(llama, "L0H0", "one"):  # type: ignore[arg-type]
        pass


def test_a_hook_that_does_not_fire_is_an_error(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "airlens.ablation.query_hook", lambda model, layer: f"blocks.{layer}.attn.hook_result"
    )
    llama.cfg.use_attn_result = True
    try:
        with pytest.raises(AblationError, match="never fired"), ablated(llama, "L0H0"):
            llama.cfg.use_attn_result = False
            llama(TOKENS)
    finally:
        llama.cfg.use_attn_result = False


def test_mean_z_is_the_mean_over_positions(llama: Any) -> None:
    texts = ["abc", "defgh"]
    seen: list[torch.Tensor] = []
    for text in texts:
        ids = torch.tensor([llama.tokenizer(text)["input_ids"]])
        llama.run_with_hooks(
            ids, fwd_hooks=[("blocks.2.attn.hook_z", lambda z, hook: seen.append(z[0].clone()))]
        )
    expected = torch.cat(seen).mean(dim=0)
    torch.testing.assert_close(mean_z(llama, texts)[2], expected, atol=1e-6, rtol=1e-5)
