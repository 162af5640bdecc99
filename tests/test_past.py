"""Keys and values that passes continue from: in place or by a copy, the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from airlens.losses.fast.past import Past


def rows(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1, 3, n, 4), torch.randn(1, 3, n, 5)


@given(
    room=st.integers(0, 12),
    begin=st.integers(1, 6),
    passes=st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=5),
)
def test_joined_rows_are_those_of_a_copy(
    room: int, begin: int, passes: list[tuple[int, bool]]
) -> None:
    expected = rows(begin)
    past = Past(room)
    past.keep(2, *expected)
    left = room
    for n, stays in passes:
        new = rows(n)
        wanted = [torch.cat(pair, 2) for pair in zip(expected, new, strict=True)]
        for found, want in zip(past.joined(2, *new), wanted, strict=True):
            assert torch.equal(found, want)
        if stays and n <= left:
            past.grow(n)
            left -= n
            expected = (wanted[0], wanted[1])
        elif stays:
            with pytest.raises(ValueError, match="no room"):
                past.grow(n)
        for found, want in zip(past.of(2) or (), expected, strict=True):
            assert torch.equal(found, want)
    past.cut(begin)
    for found, want in zip(past.of(2) or (), expected, strict=True):
        assert torch.equal(found, want[:, :, :begin])
    assert past.of(1) is None


def test_what_was_given_is_not_written_over() -> None:
    key, value = rows(3)
    before = key.clone()
    past, other = Past(4), Past(4)
    past.keep(0, key, value)
    other.share(0, past)
    past.joined(0, *rows(2))
    past.grow(2)
    new = rows(3)
    found = other.joined(0, *new)
    assert torch.equal(key, before)
    assert torch.equal(found[0], torch.cat([before, new[0]], 2))
