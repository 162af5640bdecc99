"""C4, C5, C9, C11: what is kept with a model belongs to its weights and to the state it is in."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_zoo import ARCHITECTURES, hf_model, tokenizer

import airlens as al
from airlens.model.state import state_of
from airlens.model.weights import checksum
from airlens.provenance import weights_hash


def load(kind: str = "llama", **changes: Any) -> Any:
    """A model of the test's own, which it may change."""
    return al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu", **changes)


def weight(model: Any) -> torch.Tensor:
    return next(
        p for n, p in model.original_model.named_parameters() if "layers.0" in n and "v_proj" in n
    )


def mean_z(model: Any, *texts: Any) -> torch.Tensor:
    return al.mean_z(model, *texts, max_tokens=32)


def in_place(w: torch.Tensor) -> None:
    with torch.no_grad():
        w.mul_(1.5)


def one_number(w: torch.Tensor) -> None:
    with torch.no_grad():
        w[3, 5] += 1


def behind_torch(w: torch.Tensor) -> None:
    w.data[3, 5] += 1  # counts no version


def by_numpy(w: torch.Tensor) -> None:
    w.detach().numpy()[3, 5] += 1


def columns_swapped(w: torch.Tensor) -> None:
    w.data[:, [0, 1]] = w.data[:, [1, 0]]


def new_data(w: torch.Tensor) -> None:
    w.data = w.data * 1.5


CHANGES = [in_place, one_number, behind_torch, by_numpy, columns_swapped, new_data]


@pytest.mark.parametrize("change", CHANGES)
def test_c4_means_belong_to_the_weights(change: Callable[[torch.Tensor], None]) -> None:
    model = load()
    before = mean_z(model)
    assert mean_z(model) is before  # kept while nothing changes
    change(weight(model))
    fresh = load()
    change(weight(fresh))
    after = mean_z(model)
    torch.testing.assert_close(after, mean_z(fresh))
    assert not torch.equal(after, before)


@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
def test_c4_means_hold_no_ablation(mode: str) -> None:
    expected = mean_z(load())
    model = load()
    with al.ablated(model, "L0H1, L1H2", mode, means=torch.ones_like(expected)):
        inside = mean_z(model)
        given = mean_z(model, ["Some text."])
    torch.testing.assert_close(inside, expected)
    torch.testing.assert_close(mean_z(model), expected)
    torch.testing.assert_close(given, mean_z(model, ["Some text."]))


def test_c4_means_with_a_hook_of_the_users_are_not_kept() -> None:
    model = load()
    expected = mean_z(load())
    hook = ("blocks.0.hook_resid_pre", lambda x, hook: x + 1.0)
    with model.hooks(fwd_hooks=[hook]):
        steered = mean_z(model)
    assert not torch.allclose(steered, expected)
    torch.testing.assert_close(mean_z(model), expected)


def test_c4_means_of_fewer_tokens_are_other_means() -> None:
    model = load()
    few = al.mean_z(model, max_tokens=5)
    assert not torch.equal(mean_z(model), few)


@pytest.mark.parametrize("change", CHANGES)
def test_c4_identity_is_that_of_the_weights_now(change: Callable[[torch.Tensor], None]) -> None:
    model = load()
    before = weights_hash(model)
    assert before == weights_hash(load())
    change(weight(model))
    assert weights_hash(model) != before


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_c4_running_the_model_does_not_change_its_identity(kind: str) -> None:
    model = load(kind)
    before = state_of(model)._now()
    means = mean_z(model)
    al.influence(model, al.Trace("a", "b", "cde fgh"), "L1H1", progress=False)
    with al.ablated(model, "L1H1"):
        model(torch.tensor([[5, 6, 7]]))
    assert state_of(model)._now() == before
    assert mean_z(model) is means


def test_c4_the_state_goes_with_the_model() -> None:
    from airlens.model import state as model_state

    model = load()
    al.influence(model, al.Trace("a", "b", "cde fgh"), "L1H1", mode="mean", progress=False)
    known = len(model_state._STATES)
    del model
    gc.collect()
    assert len(model_state._STATES) < known


def test_c4_nothing_hangs_on_the_model() -> None:
    model = load()
    al.influence(model, al.Trace("a", "b", "cde fgh"), "L1H1", mode="mean", progress=False)
    with al.ablated(model, "L1H1"):
        assert not [name for name in vars(model) if "airlens" in name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.bool])
@pytest.mark.parametrize("n", [0, 1, 9, 8191, 8 * 8191 + 3, 200_000])
def test_c4_a_checksum_sees_every_byte(dtype: torch.dtype, n: int) -> None:
    torch.manual_seed(0)
    values = (torch.randn(n) * 50).to(dtype)
    kept = checksum(values)
    assert checksum(values.clone()) == kept
    for i in {0, n // 3, n - 1} if n else ():
        other = values.clone()
        other[i] = ~other[i] if dtype == torch.bool else other[i] + 1
        assert checksum(other) != kept
    assert checksum(values[1:]) != kept or n == 0
