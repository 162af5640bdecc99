"""Rows a second and peak memory of scoring at several corpus sizes, with a tiny model.

``python benchmarks/corpus_scale.py [--sizes 1000,10000,100000] [--out FILE]``: each size in a fresh
process, so that peaks don't mix; memory should not grow with the corpus.

``--ray ROWS`` holds the Ray engine with two actors against the local one instead: the same command,
relative paths, the same scores. ``--actors FILE`` scores 300 traces of a file with one Ray actor of
one thread, then with two, which should be 1.8 times as fast on an idle machine. ``--finished ROWS``
makes finished runs of these sizes and selects from, exports and reports them: CPU seconds should
grow as the rows do (at most 1.1 times that), peak memory by some hundred bytes a row.
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
from finished_runs import write_finished_run
from timing import peak_mb
from tiny_model import write_tiny_model

from airlens.provenance import provenance


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--ray", type=int, metavar="ROWS", help="local against Ray, two actors")
    parser.add_argument("--actors", type=Path, metavar="FILE", help="two actors against one")
    parser.add_argument("--finished", metavar="ROWS,ROWS", help="select, export, report")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of the finished runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "DATA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(*map(Path, args.one))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiny_model(folder / "model")
        if args.finished:
            sizes = [int(size) for size in args.finished.split(",")]
            found: dict[str, Any] = {"finished": finished((args.keep or folder).resolve(), sizes)}
        elif args.actors:
            found = {"actors": actors(folder, args.actors)}
        elif args.ray:
            found = {"ray": local_against_ray(folder, args.ray)}
        else:
            found = {"scale": [scale(folder, size) for size in map(int, args.sizes.split(","))]}
    if args.out:
        args.out.write_text(
            json.dumps({**found, "provenance": provenance()}, indent=1), encoding="utf-8"
        )
    tables = (found.get("ray", {}), found.get("actors", {}), *found.get("finished", []))
    sys.exit(0 if all(row.get("ok", True) for row in tables) else 1)


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
    row["ok"] = frames[0].equals(frames[1])
    print(
        f"{size:,} rows: local {row['local_s']} s, Ray with 2 actors {row['ray_s']} s; scores "
        + ("identical" if row["ok"] else "DIFFER"),
        flush=True,
    )
    return row


ACTOR_ROWS = 300
FASTER = 1.8  # two actors over one
LINEAR = 1.1  # CPU seconds for each row more, over those between the first two sizes


def actors(folder: Path, data: Path) -> dict[str, Any]:
    """Rows a second of one and of two actors of one thread each, once all are at work."""
    row: dict[str, Any] = {"rows": ACTOR_ROWS}
    for count in (1, 2):
        out = folder / f"actors{count}"
        command = [sys.executable, "-m", "airlens.cli", "score", str(data), "--heads", "L18H6"]
        command += ["--limit", str(ACTOR_ROWS), "--part-rows", "4", "--out", str(out), "-q"]
        command += ["--engine", "ray", "--actors", str(count), "--actor-threads", "1"]
        subprocess.run([*command, "--device", "cpu"], check=True, capture_output=True)
        ends = sorted(path.stat().st_mtime for path in (out / "done").iterdir())
        # From the first part of each actor on: what is before is the start.
        row[f"rows_per_s_{count}"] = 4 * (len(ends) - count) / (ends[-1] - ends[count - 1])
    row["times"] = row["rows_per_s_2"] / row["rows_per_s_1"]
    row["ok"] = row["times"] >= FASTER
    print(
        f"{ACTOR_ROWS} rows: one actor {row['rows_per_s_1']:.2f} rows/s, two "
        f"{row['rows_per_s_2']:.2f}: {row['times']:.2f} times (wanted: {FASTER})",
        flush=True,
    )
    return row


def finished(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """CPU seconds and peak memory of the commands that read finished runs."""
    table: list[dict[str, Any]] = []
    for size in sizes:
        run = write_finished_run(folder / str(size), size).path
        chosen, exported = folder / f"{size}.jsonl", folder / f"{size}.parquet"
        page = folder / f"{size}.html"
        commands = {
            "select": ["select", str(run), "--out", str(chosen)],
            "export": ["export", str(chosen), "--out", str(exported)],
            "report": ["report", str(run), "--no-map", "--out", str(page)],
        }
        for name, words in commands.items():
            row = {"command": name, "rows": size, **command_cost(words)}
            row["ms_a_row"] = _slope([*(r for r in table if r["command"] == name), row])
            known = [r["ms_a_row"] for r in table if r["command"] == name and r["ms_a_row"] > 0]
            row["growth"] = row["ms_a_row"] / known[0] if known else 1.0
            row["ok"] = row["growth"] <= LINEAR
            table.append(row)
            print(
                f"{name:<7} {size:>9,} rows {row['cpu_s']:>8.1f} CPU-s {row['seconds']:>8.1f} s "
                f"peak {row['peak_mb']:>6.0f} MB; {row['ms_a_row']:.3f} CPU-ms for each row more",
                flush=True,
            )
    return table


def _slope(rows: list[dict[str, Any]]) -> float:
    """CPU milliseconds for each row that the last has more than the one before: without the start.

    0 for the first, which has none before it.
    """
    if len(rows) < 2:
        return 0.0
    one, two = rows[-2:]
    return 1000 * float((two["cpu_s"] - one["cpu_s"]) / (two["rows"] - one["rows"]))


def command_cost(words: list[str]) -> dict[str, float]:
    """CPU seconds, seconds and peak memory of a command in a process of its own."""
    code = (
        "import json, sys, time; from airlens.cli import app; from timing import peak_mb\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(json.dumps({'cpu_s': time.process_time(), 'peak_mb': peak_mb()}))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        encoding="utf-8",
        cwd=Path(__file__).parent,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.perf_counter() - start}


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
