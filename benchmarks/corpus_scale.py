"""Rows a second and peak memory of scoring at several corpus sizes, with a tiny model.

``python benchmarks/corpus_scale.py [--sizes 1000,10000,100000] [--out FILE]``: each size in a fresh
process, so that peaks don't mix; memory should not grow with the corpus.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tiny_model import write_tiny_model

from airlens.provenance import provenance


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(*map(Path, args.one))
        return
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_tiny_model(folder / "model")
        for size in map(int, args.sizes.split(",")):
            data = folder / f"{size}.jsonl"
            with data.open("w") as out:
                for i in range(size):
                    row = {"prompt": f"{i}?", "response": f"{i} is {i * 7 % 1000}.\nSo {i + 1}."}
                    out.write(json.dumps(row) + "\n")
            command = [sys.executable, __file__, "--one", str(model), str(data)]
            found = subprocess.run(command, check=True, capture_output=True, text=True)
            row = {"rows": size, **json.loads(found.stdout.splitlines()[-1])}
            table.append(row)
            print(
                f"{size:>8,} rows  {row['rows_per_s']:>8.1f} rows/s  peak {row['peak_mb']:.0f} MB"
                f"  (before the run {row['before_mb']:.0f} MB)",
                flush=True,
            )
    if args.out:
        args.out.write_text(json.dumps({"scale": table, "provenance": provenance()}, indent=1))


def measure(model: Path, data: Path) -> None:
    """Score one corpus and print seconds and peak resident memory."""
    from airlens.model import load_model
    from airlens.run import score_corpus

    bridge = load_model(model, device="cpu")
    before = peak()
    start = time.perf_counter()
    score_corpus(bridge, str(data), "L0H1", data.with_suffix(".out"), progress=False)
    seconds = time.perf_counter() - start
    rows = sum(1 for _ in data.open())
    print(json.dumps({"rows_per_s": rows / seconds, "peak_mb": peak(), "before_mb": before}))


def peak() -> float:
    """Peak resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
