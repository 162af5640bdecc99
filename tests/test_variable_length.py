"""Attention over a pack in one call, with the kernel's contract written out in plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_zoo import tiny

from airlens.heads import HeadSet
from airlens.losses.fast import packed_attention, variable_length
from airlens.losses.fast.fast_losses import score_fast
from airlens.losses.windows import Window

COMMON = list(range(7, 30))
ITEMS = [
    Window([1, *COMMON, 40, 41, 42], 5, 0),
    Window([1, *COMMON, 50, 51, 52, 53, 54, 55, 56], 5, 0),
    Window([2, 3, 4], 1, 0),
    Window([9] * 12, 3, 0),
]


def slow_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What PyTorch's documentation says: causal, the last query beside the last key."""
    assert enable_gqa and window_size[1] == 0
    group = query.shape[1] // key.shape[1]
    found = torch.empty_like(query)
    ends_q, ends_k = cu_seq_q.tolist(), cu_seq_k.tolist()
    assert ends_q[-1] == len(query) and ends_k[-1] == len(key)
    for a, b, c, d in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        assert b - a <= max_q and d - c <= max_k
        for i in range(b - a):
            last = d - c - (b - a) + i  # the key that stands where the query stands
            first = 0 if window_size[0] < 0 else max(0, last - window_size[0])
            for head in range(query.shape[1]):
                k, v = (x[c + first : c + last + 1, head // group] for x in (key, value))
                weights = torch.softmax(scale * (k @ query[a + i, head]), dim=0)
                found[a + i, head] = weights @ v
    return found


@pytest.mark.parametrize("name", ["llama", "mistral"])
@pytest.mark.parametrize("mode", ["uniform", "zero"])
def test_a_pack_in_one_call_is_the_loop_over_its_sequences(
    name: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(name)
    sets = [HeadSet.parse("L0H1"), HeadSet.parse("L1H0 L1H2")]
    expected = score_fast(model, ITEMS, sets, mode)
    calls: list[int] = []

    def counted(*given: Any, **options: Any) -> torch.Tensor:
        calls.append(len(given[0]))
        return slow_kernel(*given, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", counted)
    monkeypatch.setattr(packed_attention, "runs", lambda *_: True)
    found = score_fast(model, ITEMS, sets, mode)
    assert calls
    for one, other in zip(found, expected, strict=True):
        for a, b in ((one.base, other.base), (one.ablated, other.ablated)):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-5, atol=1e-5)


def test_the_kernel_is_for_half_precision_on_a_gpu() -> None:
    assert not variable_length.runs(torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 8))
    assert not variable_length.runs(*(torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16),) * 2)
