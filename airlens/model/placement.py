"""Where the parts of a model lie: on one device, or spread over several, memory and disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from airlens.errors import ConfigError, need_count, one_of

if TYPE_CHECKING:
    import torch

DeviceMap: TypeAlias = "str | Mapping[str, str | int]"
"""Where the parts of a model lie: "auto", "balanced", or a device for each module's name."""

MaxMemory: TypeAlias = "Mapping[str | int, str | int]"
"""Most memory to use on each device: a GPU's number, "cpu" or "disk" to bytes or "20GiB"."""

MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
_DEVICE = re.compile(r"(cpu|disk|cuda|mps|xpu|npu|hpu|mlu|musa|sdaa|meta)(:\d+)?")
_SIZE = re.compile(r"\d+(\.\d+)?[KMG]i?B")


@dataclass(frozen=True)
class Placement:
    """What was asked for; arguments as in :func:`~airlens.load_model`.

    Raises:
        ConfigError: an argument that makes no sense, or arguments that exclude each other. Whether
            the devices are there is not looked at.
    """

    device: str | torch.device | None = None
    n_devices: int | None = None
    device_map: DeviceMap | None = None
    max_memory: MaxMemory | None = None

    def __post_init__(self) -> None:
        if self.n_devices is not None:
            need_count(self.n_devices, "n_devices")
        if self.device_map is not None:
            _need_map(self.device_map)
        if self.max_memory is not None:
            _need_sizes(self.max_memory)
        chosen = {name: value for name, value in self._spreading().items() if value is not None}
        for name, value in chosen.items():
            if self.device is not None:
                raise ConfigError(
                    f"device and {name} are mutually exclusive: device={str(self.device)!r} puts "
                    f"the whole model on one device, {name} spreads it over several",
                    argument=name,
                    value=value,
                )
        if self.device_map is not None and "n_devices" in chosen:
            raise ConfigError(
                "n_devices and device_map are mutually exclusive: each says where the layers lie",
                argument="n_devices",
                value=self.n_devices,
            )

    def _spreading(self) -> dict[str, Any]:
        several = self.n_devices if self.n_devices is not None and self.n_devices > 1 else None
        return {
            "device_map": self.device_map,
            "n_devices": several,
            "max_memory": self.max_memory,
        }

    @property
    def spread(self) -> bool:
        """Whether accelerate places the model, rather than one device holding it."""
        return any(value is not None for value in self._spreading().values())

    def options(self) -> dict[str, Any]:
        """``device_map`` and ``max_memory`` of ``from_pretrained``; nothing unless :attr:`spread`.

        Raises:
            ConfigError: not so many GPUs here, or a map that TransformerLens does not take.
        """
        if not self.spread:
            return {}
        from transformer_lens.utilities.multi_gpu import resolve_device_map

        wanted: Any = self.device_map
        wanted = dict(wanted) if isinstance(wanted, Mapping) else wanted
        memory = None if self.max_memory is None else dict(self.max_memory)
        try:
            where, memory = resolve_device_map(self.n_devices, wanted, None, memory)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return {"device_map": "auto" if where is None else where, "max_memory": memory}


def need_context(n_ctx: int) -> int:
    """``n_ctx`` as an int, or :class:`ConfigError`: no text of so many tokens can be scored."""
    number = need_count(n_ctx, "n_ctx")
    if number < 2:
        raise ConfigError("a text needs two tokens at least", argument="n_ctx", value=n_ctx)
    return number


def _need_map(value: object) -> None:
    reason = ""
    if isinstance(value, str):
        if value not in MAPS and not _DEVICE.fullmatch(value):
            reason = f"{one_of(value, MAPS)}, or a device for each module"
    elif not isinstance(value, Mapping) or not value:
        reason = f"give one of {', '.join(MAPS)}, or a mapping from modules to devices"
    else:
        odd = [
            where
            for where in value.values()
            if (not isinstance(where, int) or isinstance(where, bool) or where < 0)
            and not (isinstance(where, str) and _DEVICE.fullmatch(where))
        ]
        if odd or not all(isinstance(name, str) for name in value):
            shown = f", not {odd[0]!r}" if odd else ""
            reason = f"a module's device is a GPU's number, 'cpu', 'disk' or 'cuda:0'{shown}"
    if reason:
        raise ConfigError(reason, argument="device_map", value=value)


def _need_sizes(value: object) -> None:
    known = isinstance(value, Mapping) and bool(value)
    for device, size in value.items() if isinstance(value, Mapping) else ():
        is_number = isinstance(device, int) and not isinstance(device, bool) and device >= 0
        known &= is_number or (isinstance(device, str) and bool(_DEVICE.fullmatch(device)))
        is_bytes = isinstance(size, int) and not isinstance(size, bool) and size >= 0
        known &= is_bytes or (isinstance(size, str) and bool(_SIZE.fullmatch(size)))
    if not known:
        raise ConfigError(
            'give the memory of each device, such as {0: "20GiB", "cpu": "64GiB"}',
            argument="max_memory",
            value=value,
        )


def read_map(text: str) -> DeviceMap:
    """A device map as it is typed: a name, or a JSON file with a device for each module.

    Raises:
        ConfigError: neither.
    """
    if not text.endswith(".json"):
        if text not in MAPS and not _DEVICE.fullmatch(text):
            files = "or a .json file with a device for each module"
            raise ConfigError(f"{text}: {one_of(text, MAPS)}, {files}")
        return text
    import json
    from pathlib import Path

    try:
        read = json.loads(Path(text).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"not JSON ({error})"
        raise ConfigError(f"{text}: {reason}") from error
    try:
        _need_map(None if isinstance(read, str) else read)
    except ConfigError as error:
        raise ConfigError(f"{text}: {error.reason}") from error
    found: DeviceMap = read
    return found


def read_memory(text: str) -> MaxMemory:
    """Most memory of each device as it is typed.

    Raises:
        ConfigError: anything else than devices and sizes.

    >>> read_memory("0=20GiB,cpu=64GiB")
    {0: '20GiB', 'cpu': '64GiB'}
    """
    found: dict[str | int, str | int] = {}
    for part in text.split(","):
        device, _, size = (word.strip() for word in part.partition("="))
        found[int(device) if device.isdecimal() else device] = size
    try:
        _need_sizes(found)
    except ConfigError as error:
        raise ConfigError(
            f"{text}: write the memory of each device, such as 0=20GiB,cpu=64GiB"
        ) from error
    return found
