"""What the weights and modules of a model are, as hashes in which every byte counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

# Bytes are summed as 64-bit integers in this many columns. A prime: rows, columns or heads that
# change places change the sums.
COLUMNS = 8191
ROWS = 16  # summed at once: as much as a processor's cache holds


def counters(tensors: list[torch.Tensor]) -> tuple[tuple[int, int], ...]:
    """Address and version of each weight; 0 for the version of inference tensors, which have none.

    Cheap, and changed by what torch counts: in-place operations and new tensors.
    """
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in tensors)


def weights_of(source: torch.nn.Module, known: dict[tuple[int, str], bytes] | None = None) -> str:
    """A hash of the name, shape, type and bytes of each weight and saved buffer; 16 hex digits.

    Weights that accelerate keeps in memory or on disk until they are used are read once, and kept
    in ``known``.
    """
    digest = hashlib.sha256()
    known = {} if known is None else known
    kept_elsewhere = offloaded(source)
    for name, tensor in [*source.named_parameters(), *_saved_buffers(source)]:
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{plain(name)} {kind} {tuple(tensor.shape)}".encode())
        if tensor.is_meta and id(tensor) in kept_elsewhere:
            weights, key = kept_elsewhere[id(tensor)]
            if (id(weights), key) not in known:
                known[id(weights), key] = checksum(weights[key])
            digest.update(known[id(weights), key])
        else:
            digest.update(checksum(tensor))
    return digest.hexdigest()[:16]


def _saved_buffers(source: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, module in source.named_modules():
        for name, tensor in module._buffers.items():
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}", tensor


def offloaded(source: torch.nn.Module) -> dict[int, tuple[Any, str]]:
    """Where accelerate keeps the weights that stand on the meta device: (mapping, key) by id."""
    found = {}
    for module in source.modules():
        hook = module.__dict__.get("_hf_hook")
        for one in getattr(hook, "hooks", [hook]):
            weights = getattr(one, "weights_map", None)
            if weights is not None:
                whole = bool(getattr(one, "place_submodules", False))
                for name, tensor in [
                    *module.named_parameters(recurse=whole),
                    *module.named_buffers(recurse=whole),
                ]:
                    if tensor.is_meta:
                        found[id(tensor)] = (weights, name)
    return found


def plain(name: str) -> str:
    """The name that a weight had before the model was wrapped."""
    return name.replace("_original_component.", "").removesuffix("._original_component")


def checksum(tensor: torch.Tensor) -> bytes:
    """Sums of a tensor's bytes, which depend on all of them and their order; equal on all devices.

    >>> first = torch.arange(20_000.0).reshape(100, 200)
    >>> second = first.clone()
    >>> checksum(first) == checksum(second)
    True
    >>> second[:, [0, 1]] = first[:, [1, 0]]
    >>> checksum(first) == checksum(second)
    False
    """
    if tensor.is_meta:
        return b"meta"
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.data_ptr() % 8 or flat.storage_offset() % 8:
        flat = flat.clone()
    words = len(flat) // 8
    rows = words // COLUMNS
    head = flat[: rows * COLUMNS * 8].view(torch.int64).view(rows, COLUMNS)
    sums = torch.zeros(COLUMNS, dtype=torch.int64, device=tensor.device)
    for some in head.split(ROWS if tensor.device.type == "cpu" else 64 * ROWS):
        sums += some.sum(dim=0)
    return bytes(sums.cpu().numpy()) + bytes(flat[head.numel() * 8 :].cpu().numpy())


def modules_of(source: torch.nn.Module) -> str:
    """A hash, good in this process, of what else decides a result: modules, their numbers, buffers.

    A rotary table that follows the length of what was last run is no part of it.
    """
    digest = hashlib.sha256()
    for name, module in source.named_modules():
        kind = type(module)
        digest.update(f"{name} {kind.__qualname__} {id(kind)} {id(kind.forward)}".encode())
        if moving_rotary(module):
            continue
        if not kind.__module__.startswith("transformer_lens."):
            digest.update(repr(plain_settings(module)).encode())
        for key, buffer in sorted(module._buffers.items()):
            if buffer is not None:
                digest.update(f"{key} {buffer.dtype} {buffer.device}".encode() + checksum(buffer))
    for tensor in source.parameters():
        digest.update(f"{tensor.device} {tensor.data_ptr()}".encode())
    return digest.hexdigest()


def plain_settings(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Plain attributes of a module, such as the scale of its scores or its window."""
    plain = (bool, int, float, str, type(None))
    return [
        (key, value)
        for key, value in sorted(module.__dict__.items())
        if key != "training" and not key.startswith("_") and type(value) in plain
    ]


def moving_rotary(module: torch.nn.Module) -> bool:
    """Whether a module makes rotary tables that depend on the longest sequence of a batch."""
    kinds = module.__dict__.get("rope_type")
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind == "longrope" or "dynamic" in str(kind) for kind in kinds)


def settle(module: torch.nn.Module) -> None:
    """Put a rotary table that grows with what is run ("dynamic") back to where it starts.

    transformers leaves it grown after a long sequence, for those that follow.
    """
    if "dynamic" not in str(module.__dict__.get("rope_type")):
        return
    start = module.__dict__.get("original_max_seq_len")
    for name in [key for key in module.__dict__ if key.endswith("max_seq_len_cached")]:
        setattr(module, name, start or module.config.max_position_embeddings)
    for name, table in list(module._buffers.items()):
        first = getattr(module, f"{name.removesuffix('inv_freq')}original_inv_freq", None)
        if table is not None and first is not None and not name.endswith("original_inv_freq"):
            module._buffers[name] = first.clone().to(table.device)
