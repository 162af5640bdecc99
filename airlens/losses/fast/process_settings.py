"""Process-wide settings that trade precision or memory for speed; each must be asked for."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["full", "bf16"]


# mallopt(3): M_TRIM_THRESHOLD, M_MMAP_MAX.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


@contextmanager
def matmul_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Inside the block, matrix products of fp32 tensors round their factors to bf16.

    Sums, results, norms, softmax, the residual stream and the loss stay fp32 on CPU, where oneDNN
    rounds the factors (a processor without bf16 arithmetic computes as before). On CUDA this is
    autocast, whose results are bf16 too.
    """
    if precision == "full":
        yield
    elif device.type == "cpu":
        kept = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(kept)
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


def fast_allocator() -> bool:
    """Let this process reuse the memory it frees: fewer page faults, a higher resident size.

    glibc maps each large block anew and gives it back at once, so that every large temporary of a
    forward pass is page-faulted in again. This tells it (``mallopt``) to serve all blocks from its
    heap and not to shrink it. It holds for the whole process and cannot be undone.

    Returns:
        Whether it took effect; False where the C library is not glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
