"""Interleaved timings in one process, peak memory in fresh ones, and the floor of FLOPs."""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Timing:
    """Seconds of each repetition."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def add(self, cpu: float, wall: float) -> None:
        self.cpu.append(cpu)
        self.wall.append(wall)

    def median(self, clock: str = "cpu") -> float:
        """Median seconds by ``cpu`` or ``wall``."""
        return statistics.median(getattr(self, clock))


def interleaved(
    variants: Mapping[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Run all variants one after the other, ``rounds`` times: what slows one slows all.

    Returns:
        Timings, and each variant's last result.
    """
    times = {name: Timing() for name in variants}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, run in variants.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            results[name] = run()
            times[name].add(time.process_time() - cpu, time.perf_counter() - wall)
    return times, results


def table(title: str, times: Mapping[str, Timing], tokens: int, base: str) -> None:
    """Print medians, ranges and how many times faster than ``base`` each variant is."""
    print(f"\n{title} ({tokens} tokens, {len(times[base].cpu)} rounds)")
    print(f"  {'variant':34} {'CPU s':>8} {'range':>15} {'wall s':>8} {'tok/CPU s':>10} {'x':>6}")
    for name, t in times.items():
        low, high = min(t.cpu), max(t.cpu)
        speed = times[base].median() / t.median()
        print(
            f"  {name:34} {t.median():8.2f} {f'{low:.2f} to {high:.2f}':>15} "
            f"{t.median('wall'):8.2f} {tokens / t.median():10.0f} {speed:6.2f}",
            flush=True,
        )


def gemm_peak(rows: int = 2048, inner: int = 576, outer: int = 1536) -> float:
    """GFLOP a CPU-second of an fp32 product of the default model's size, the best of ten."""
    x, w = torch.randn(rows, inner), torch.randn(outer, inner)
    best = 0.0
    for _ in range(10):
        cpu = time.process_time()
        for _ in range(10):
            torch.nn.functional.linear(x, w)
        best = max(best, 20 * rows * inner * outer / (time.process_time() - cpu) / 1e9)
    return best


def fresh_process(*args: str) -> dict[str, Any]:
    """What ``bench.py --child`` prints, run by itself, so that its peak memory is its own."""
    script = Path(__file__).with_name("bench.py")
    command = [sys.executable, str(script), "--child", *args]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def reset_peak() -> None:
    """Forget the peak so far, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Largest resident size of this process since :func:`reset_peak`, MB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return float(next(x.split()[1] for x in lines if x.startswith("VmHWM"))) / 1024
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / (1 << 20)
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1 << 20 if sys.platform == "darwin" else 1 << 10)
