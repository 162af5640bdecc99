"""Rows a second and peak memory of scoring at several corpus sizes, with a tiny model.

``python benchmarks/corpus_scale.py [--sizes 1000,10000,100000] [--out FILE]``: each size in a fresh
process, so that peaks don't mix; memory should not grow with the corpus. ``--ray ROWS`` holds the
Ray engine with two actors against the local one instead: the same command, relative paths, the
same scores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from timing import peak_mb
from tiny_model import write_tiny_model

from airlens.provenance import provenance


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--ray", type=int, metavar="ROWS", help="local against Ray, two actors")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(*map(Path, args.one))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiny_model(folder / "model")
        if args.ray:
            found = {"ray": local_against_ray(folder, args.ray)}
        else:
            found = {"scale": [scale(folder, size) for size in map(int, args.sizes.split(","))]}
    if args.out:
        args.out.write_text(
            json.dumps({**found, "provenance": provenance()}, indent=1), encoding="utf-8"
        )
    sys.exit(0 if found.get("ray", {}).get("identical", True) else 1)


def write_rows(path: Path, size: int) -> None:
    """A corpus of short sums."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for i in range(size):
            row = {"prompt": f"{i}?", "response": f"{i} is {i * 7 % 1000}.\nSo {i + 1}."}
            out.write(json.dumps(row) + "\n")


def scale(folder: Path, size: int) -> dict[str, Any]:
    """One size in a process of its own."""
    data = folder / f"{size}.jsonl"
    write_rows(data, size)
    command = [sys.executable, __file__, "--one", str(folder / "model"), str(data)]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    row = {"rows": size, **json.loads(done.stdout.splitlines()[-1])}
    print(
        f"{size:>8,} rows  {row['rows_per_s']:>8.1f} rows/s  {row['seconds']:.0f} s"
        f" ({row['cpu_s']:.0f} CPU-s)  peak {row['peak_mb']:.0f} MB"
        f"  (before the run {row['before_mb']:.0f} MB)",
        flush=True,
    )
    return row


def local_against_ray(folder: Path, size: int) -> dict[str, Any]:
    """Seconds of both engines, start and stop included, and whether their scores are the same."""
    write_rows(folder / "data.jsonl", size)
    frames, row = [], {"rows": size}
    for engine in ("local", "ray"):
        command = [sys.executable, "-m", "airlens.cli", "score", "data.jsonl", "--model", "model"]
        command += ["--heads", "L0H1", "--out", engine, "--engine", engine, "--device", "cpu", "-q"]
        more = ["--actors", "2"] if engine == "ray" else []
        start = time.perf_counter()
        subprocess.run([*command, *more], cwd=folder, check=True, capture_output=True, timeout=600)
        row[f"{engine}_s"] = round(time.perf_counter() - start, 1)
        frame = pd.read_parquet(folder / engine / "parts")
        frames.append(frame.sort_values("id").reset_index(drop=True))
    row["identical"] = frames[0].equals(frames[1])
    print(
        f"{size:,} rows: local {row['local_s']} s, Ray with 2 actors {row['ray_s']} s; scores "
        + ("identical" if row["identical"] else "DIFFER"),
        flush=True,
    )
    return row


def measure(model: Path, data: Path) -> None:
    """Score one corpus and print seconds and peak resident memory."""
    from airlens.corpus.run import score_corpus
    from airlens.model.load import load_model

    bridge = load_model(model, device="cpu")
    before = peak_mb()
    start, cpu = time.perf_counter(), time.process_time()
    score_corpus(bridge, str(data), "L0H1", data.with_suffix(".out"), progress=False)
    seconds = time.perf_counter() - start
    rows = sum(1 for _ in data.open(encoding="utf-8"))
    found = {"rows_per_s": rows / seconds, "seconds": seconds, "cpu_s": time.process_time() - cpu}
    print(json.dumps({**found, "peak_mb": peak_mb(), "before_mb": before}))


if __name__ == "__main__":
    main()
