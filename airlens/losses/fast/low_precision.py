"""Matrix products of a pass in bf16, nearly all between them in fp32; it must be asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from .fast_model import FastModel, Matrix

Precision: TypeAlias = Literal["full", "bf16"]

log = logging.getLogger(__name__)
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # what torch calls bf16 products of processors


@cache
def has_bf16() -> bool:
    """Whether this processor multiplies bf16 faster than fp32: by instructions of its own."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in INSTRUCTIONS)


def precision_on(device: torch.device | str, asked: Precision) -> Precision:
    """The precision that a pass on this device has: "full" where bf16 would not be faster."""
    if asked == "full" or torch.device(device).type != "cpu" or has_bf16():
        return asked
    _say_once()
    return "full"


@cache
def _say_once() -> None:
    log.warning("precision='bf16': this processor has no bf16 products, so it runs in full")


@contextmanager
def low_precision(fast: FastModel, precision: Precision) -> Iterator[None]:
    """Inside the block the fp32 matrices of a fast model's layers multiply in bf16.

    Norms, softmax, the residual stream, logits and the loss stay fp32; the activation of a plain
    MLP without biases, and its gate, are bf16. On CPU a bf16 copy of the matrices is kept (half the
    size of the model's) as long as its weights stay the same. On CUDA this is autocast, whose
    logits are bf16 too.
    """
    if precision_on(fast.device, precision) == "full":
        yield
        return
    if fast.device.type != "cpu":
        with torch.autocast(fast.device.type, torch.bfloat16):
            yield
        return
    if fast.bf16 is None:
        fast.bf16 = _copies(fast)
    kept = [module.forward for module in fast.bf16]
    for module, (weight, bias, rounded) in fast.bf16.items():
        module.forward = partial(_product, weight, bias, rounded=rounded)
    try:
        yield
    finally:
        for module, forward in zip(fast.bf16, kept, strict=True):
            module.forward = forward


def _copies(fast: FastModel) -> dict[torch.nn.Module, Matrix]:
    inner = {module for layer in fast.layers for module in _before_the_last(layer)}
    found: dict[torch.nn.Module, Matrix] = {}
    for module in _matrices(fast.layers):
        if module.weight.dtype == torch.float32:
            weight = module.weight if isinstance(module, torch.nn.Linear) else module.weight.T
            found[module] = (weight.bfloat16().contiguous(), module.bias, module in inner)
    return found


def _matrices(module: torch.nn.Module) -> list[Any]:
    from transformers.pytorch_utils import Conv1D  # a Linear whose weight is transposed

    return [m for m in module.modules() if isinstance(m, torch.nn.Linear | Conv1D)]


def _before_the_last(layer: torch.nn.Module) -> list[torch.nn.Module]:
    """The matrices of a plain MLP that only its activation and last matrix read."""
    mlp = getattr(layer, "mlp", None)
    if not isinstance(mlp, torch.nn.Module) or hasattr(mlp, "activation_sparsity"):
        return []  # Gemma 3n takes statistics of the activations
    found = _matrices(mlp)
    own = {id(p) for module in found for p in module.parameters()}
    if len(found) not in (2, 3) or any(id(p) not in own for p in mlp.parameters()):
        return []  # experts, norms
    *first, last = found
    inputs = {_shape(module)[1] for module in first}
    return first if inputs == {_shape(last)[0]} else []  # the last one leads back


def _shape(matrix: Any) -> tuple[int, int]:
    """Outputs and inputs."""
    rows, columns = matrix.weight.shape
    return (rows, columns) if isinstance(matrix, torch.nn.Linear) else (columns, rows)


def _product(
    weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor, *, rounded: bool
) -> torch.Tensor:
    found = linear(x.bfloat16(), weight)
    found = found if rounded else found.float()
    return found if bias is None else found + bias
