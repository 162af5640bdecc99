"""Copies that must agree: the caller's model and the bridge's, a fused weight and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .weights import checksum


def splitters(source: torch.nn.Module) -> list[Any]:
    """Components of TransformerLens that made parts of a fused weight."""
    names = ("split_qkv_matrix", "split_gate_up_matrix")
    found = {id(m): m for m in source.modules() if any(name in m.__dict__ for name in names)}
    return [m for m in found.values() if next(iter(fused(m).parameters()), None) is not None]


def fused(module: Any) -> torch.nn.Module:
    """The module whose weight a component made parts of."""
    name = getattr(module, "fused_attr", "qkv")
    part = getattr(module, name, None) or getattr(module.original_component, name, None)
    return part if isinstance(part, torch.nn.Module) else torch.nn.Module()


def sums_of(module: torch.nn.Module) -> bytes:
    """Checksums of a module's weights, one after the other."""
    return b"".join(checksum(p) for p in module.parameters())


def split_again(module: Any) -> None:
    """Write to the parts of a component what they are in its fused weight now."""
    if hasattr(module, "split_qkv_matrix"):
        parts = zip("qkv", module.split_qkv_matrix(module.original_component), strict=True)
    else:
        halves = module.split_gate_up_matrix(module.original_component)
        parts = zip(("gate", "in"), halves, strict=True)
    with torch.inference_mode():
        for name, new in parts:
            for old, value in zip(
                getattr(module, name).original_component.parameters(), new.parameters(), strict=True
            ):
                if not torch.equal(old, value):
                    old.copy_(value)


def diverged(given: torch.nn.Module, source: torch.nn.Module) -> str:
    """The first module that is of another kind than in the copy, or runs otherwise; empty if none.

    Hooks are no difference: the copy has the same.
    """
    for name, one, other in pairs(given, source):
        own_forward = "forward" in one.__dict__ and "forward" not in other.__dict__
        if type(one) is not type(other) or own_forward:
            return name
        if set(_own_weights(one)) != set(_own_weights(other)):
            return name
    return ""


def moved(given: torch.nn.Module, source: torch.nn.Module) -> bool:
    """Whether a weight of a model is not the same memory as in the copy."""
    return any(
        weight.data_ptr() != _own_weights(other)[name].data_ptr()
        for _, one, other in pairs(given, source)
        for name, weight in _own_weights(one).items()
        if name in other._parameters
    )


def pairs(given: torch.nn.Module, source: torch.nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """The modules of a model, and those in the copy that is wrapped, with names."""
    waiting: list[tuple[str, Any, Any]] = [("the model", given, source)]
    while waiting:
        name, one, other = waiting.pop()
        while "_original_component" in other._modules:  # a component of TransformerLens
            other = other._modules["_original_component"]
        yield name, one, other
        for key, child in one._modules.items():
            if child is not None and other._modules.get(key) is not None:
                path = key if one is given else f"{name}.{key}"
                waiting.append((path, child, other._modules[key]))


def _own_weights(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in module._parameters.items() if weight is not None}
