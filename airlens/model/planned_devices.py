"""Devices that a run may be planned for: their peak speed and memory, by name or by numbers."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from airlens.errors import ConfigError

# Of the peak: what a pass of a language model gets out of a device in practice (ours, cautious).
UTILISATION = 0.35
# A core of a CPU with AVX2 at 2 GHz: 2 units × 8 numbers × 2 (multiply and add).
CORE = 64e9


@dataclass(frozen=True)
class Device:
    """A device to plan for.

    Attributes:
        name: of it.
        flops: peak FLOP/s by dtype, dense, as its maker gives them.
        memory: bytes.
    """

    name: str
    flops: dict[str, float]
    memory: float
    utilisation: float = UTILISATION


def _gpu(name: str, half: float, full: float, memory: float) -> Device:
    flops = {"float32": full * 1e12, "bfloat16": half * 1e12, "float16": half * 1e12}
    return Device(name, flops, memory * 1e9)


# NVIDIA's data sheets: dense products in 16 bits on tensor cores, in 32 bits without them.
GPUS = {
    "h200": _gpu("h200", 989, 67, 141),
    "h100": _gpu("h100", 989, 67, 80),
    "a100": _gpu("a100", 312, 19.5, 80),
    "l40s": _gpu("l40s", 362, 91.6, 48),
    "l4": _gpu("l4", 121, 30.3, 24),
    "t4": _gpu("t4", 65, 8.1, 16),
}
NUMBERS = ("peak", "memory", "utilisation")


def device_of(text: str) -> Device:
    """The device of a name, or of numbers: ``peak=60e12,memory=24e9,utilisation=0.4``.

    ``cpu`` is this machine, all its cores; numbers may follow a name: ``h100,utilisation=0.5``.

    Raises:
        ConfigError: no such name or number.
    """
    name, *rest = [each.strip() for each in text.lower().split(",")]
    if "=" in name:
        name, rest = "", [name, *rest]
    given: dict[str, float] = {}
    for each in rest:
        key, _, value = each.partition("=")
        try:
            given[key] = float(value)
        except ValueError:
            given[key] = math.nan
        if key not in NUMBERS or not given[key] > 0:
            raise _unknown(text)
    if not name and not {"peak", "memory"} <= set(given):
        raise _unknown(text)
    found = _named(name, text) if name else Device("given", {}, 0.0)
    flops = dict.fromkeys(("float32", "bfloat16", "float16"), given.get("peak", 0.0))
    return Device(
        found.name,
        flops if "peak" in given else found.flops,
        given.get("memory", found.memory),
        given.get("utilisation", found.utilisation),
    )


def _named(name: str, text: str) -> Device:
    if name == "cpu":
        peak = CORE * (os.cpu_count() or 1)
        flops = dict.fromkeys(("float32", "bfloat16", "float16"), peak)
        pages = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
        known = hasattr(os, "sysconf")  # Windows does not say so
        memory = math.prod(map(os.sysconf, pages)) if known else math.inf
        return Device("cpu", flops, float(memory))
    if name not in GPUS:
        raise _unknown(text)
    return GPUS[name]


def _unknown(text: str) -> ConfigError:
    return ConfigError(
        f"use {', '.join(GPUS)}, cpu, or numbers such as peak=60e12,memory=24e9,utilisation=0.4",
        argument="plan",
        value=text,
    )
