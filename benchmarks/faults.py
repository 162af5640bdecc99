"""Break scoring runs in every way the documentation promises to survive, and compare the scores.

Linux only: it fills a disk of its own, and sets limits on file sizes.

``python benchmarks/faults.py [--rows 2000] [--kills 10] [--ray] [--out FILE]`` prints one line a
fault: what was done, what was found, and whether the scores equal an uninterrupted run's.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from tiny_model import write_tiny_model

from airlens.provenance import provenance

HEADS = "L0H1,L2H3"
PART_ROWS = 10
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "and",
    "or",
    "so",
    "then",
    "plus",
    "minus",
    "is",
]
# A mount namespace, as a user who is root in it: nobody else sees the disk that is filled.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
# A damaged row of each kind and what its reason must say.
BAD: list[tuple[Any, str]] = [
    (b"{not json", "not JSON"),
    (b'["a list"]', "expected an object"),
    (b'{"prompt": "p", "response": "\xff\xfe"}', "not UTF-8"),
    ({"prompt": "p"}, "missing"),
    ({"prompt": "p", "response": None}, "found null"),
    ({"prompt": "p", "response": 7}, "found a number"),
    ({"prompt": "p", "response": " \n"}, "empty"),
    ({"prompt": ["p"], "response": "r"}, "found a list"),
    (b'{"prompt": "p", "response": "\\ud800"}', "lone surrogate"),
    (b'{"prompt": "p", "response": "' + b"x" * (33 * 2**20) + b'"}', "a line of"),
]


def main() -> None:
    """Try every fault; exit 1 if one was not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true", help="kill a Ray actor too")
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.rows, args.kills, args.seed)
        faults: list[Callable[[], str]] = [
            bench.kills_at_random,
            bench.truncated_part,
            bench.full_disk,
            bench.two_at_once,
            bench.bad_rows,
        ]
        faults += [bench.ray_actor_killed] if args.ray else []
        table = [bench.check(fault) for fault in faults]
    if args.out:
        record = {"faults": table, "provenance": provenance(rows=args.rows, seed=args.seed)}
        args.out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    sys.exit(0 if all(row["ok"] for row in table) else 1)


class Bench:
    """A corpus, a tiny model, and the scores of an uninterrupted run."""

    def __init__(self, folder: Path, rows: int, kills: int, seed: int) -> None:
        self.folder, self.kills = folder, kills
        self.rng = random.Random(seed)
        self.model = write_tiny_model(folder / "model")
        self.data = folder / "data.jsonl"
        self.rows = [self.row(number) for number in range(rows)]
        self.data.write_bytes(b"".join(encode(row) for row in self.rows))
        start = time.perf_counter()
        self.finish(self.folder / "whole")
        print(f"uninterrupted: {rows} rows in {time.perf_counter() - start:.1f} s", flush=True)
        self.whole = self.scores(self.folder / "whole")

    def row(self, number: int) -> dict[str, Any]:
        text = " ".join(self.rng.choices(WORDS, k=self.rng.randint(2, 12)))
        return {"id": f"r{number}", "prompt": f"{number}?", "response": f"{text}.\n{text}"}

    def command(self, out: Path, *more: str, data: Path | None = None) -> list[str]:
        command = [sys.executable, "-m", "airlens.cli", "score", str(data or self.data)]
        command += ["--heads", HEADS, "--model", str(self.model), "--out", str(out), "-q"]
        return [*command, "--part-rows", str(PART_ROWS), "--device", "cpu", *more]

    def start(self, out: Path, *more: str, data: Path | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        return subprocess.Popen(
            self.command(out, *more, data=data), stdout=log, stderr=subprocess.PIPE
        )

    def finish(self, out: Path, *more: str, data: Path | None = None) -> str:
        """Run to the end; what went to stderr."""
        process = self.start(out, *more, data=data)
        _, errors = process.communicate(timeout=1200)
        text = errors.decode(errors="replace")
        if process.returncode:
            raise RuntimeError(f"exit {process.returncode}: {text[-500:]}")
        return text

    def scores(self, out: Path) -> pd.DataFrame:
        frame = pd.read_parquet(out / "parts")
        return frame.sort_values("id").reset_index(drop=True)

    def parts(self, out: Path) -> int:
        return len(list((out / "parts").glob("part-*")))

    def check(self, fault: Callable[[], str]) -> dict[str, Any]:
        """Run one fault; its scores must be those of the uninterrupted run, row for row."""
        out = self.folder / fault.__name__
        name = fault.__name__.replace("_", " ")
        try:
            note = fault()
            found = self.scores(out)
            same = found.equals(self.whole)
            worst = 0.0
            if not same and list(found["id"]) == list(self.whole["id"]):
                numbers = found.select_dtypes("number") - self.whole.select_dtypes("number")
                worst = float(numbers.abs().max().max())
                same = worst < 1e-6
        except Exception as error:  # whatever it is, the fault was not survived
            note, same, worst = f"FAILED: {error}", False, float("nan")
        exact = "identical" if same and worst == 0 else f"largest difference {worst:.1g}"
        row = {"fault": name, "ok": same, "scores": exact if same else "DIFFER", "note": note}
        print(f"{name:<18} {'ok' if same else 'FAILED':<7} {row['scores']}; {note}", flush=True)
        shutil.rmtree(out, ignore_errors=True)
        return row

    def kills_at_random(self) -> str:
        out = self.folder / "kills_at_random"
        seen = []
        share = max(1, len(self.rows) // PART_ROWS // (self.kills + 1))
        for _ in range(self.kills):
            goal = self.parts(out) + self.rng.randint(1, share)
            process = self.start(out)
            while process.poll() is None and self.parts(out) < goal:
                time.sleep(0.02)
            time.sleep(self.rng.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen.append(self.parts(out))
        self.finish(out)
        return f"kill -9 with {seen} parts written, then resumed"

    def truncated_part(self) -> str:
        out = self.folder / "truncated_part"
        shutil.copytree(self.folder / "whole", out)
        for name in ("parts/part-000003.parquet", "rows/part-000007.parquet"):
            path = out / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.finish(out)
        damaged = json.loads((out / "run.json").read_text(encoding="utf-8"))["damaged_parts"]
        assert len(damaged) == 2, damaged
        return f"found {', '.join(damaged)} and scored their rows again"

    def full_disk(self) -> str:
        """A disk of half the room that the run needs; then room is made and the run goes on.

        The disk is a tmpfs in a mount namespace of its own; where that is not allowed, a limit on
        the size of files stands for it: the write fails half-way too.
        """
        out = self.folder / "full_disk"
        if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
            return self.files_too_large(out)
        whole = sum(path.stat().st_size for path in (self.folder / "whole").rglob("*"))
        disk = self.folder / "disk"
        disk.mkdir()
        run = shlex.join(self.command(disk / "out"))
        script = f"""
        mount -t tmpfs -o size={whole // 2} none {disk}
        {run}; echo code $?; ls {disk}/out/parts | wc -l
        mount -o remount,size=1g {disk} && {run} && cp -r {disk}/out {out}
        """
        done = subprocess.run(
            [*NAMESPACE, "sh", "-c", script], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr[-400:]
        assert "code 2" in done.stdout, (done.stdout, done.stderr[-400:])
        assert "No space left on device" in done.stderr, done.stderr[-400:]
        return f"exit 2 with {done.stdout.split()[2]} parts on a full disk; room made, resumed"

    def files_too_large(self, out: Path) -> str:
        process = self.start(out)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (3000, 3000))
        _, errors = process.communicate(timeout=600)
        text = errors.decode(errors="replace")
        assert process.returncode == 2, text[-400:]
        before = self.parts(out)
        self.finish(out)
        return f"exit 2 with {before} parts under a limit on file size, resumed"

    def two_at_once(self) -> str:
        out = self.folder / "two_at_once"
        first, second = self.start(out), self.start(out)
        texts = [process.communicate(timeout=1200)[1].decode() for process in (first, second)]
        codes = sorted([first.returncode, second.returncode])
        assert codes == [0, 2], (codes, texts)
        assert any("another run is writing" in text for text in texts)
        return "one went on, the other was refused with exit 2"

    def bad_rows(self) -> str:
        """3 % bad rows of twelve kinds among the good ones."""
        out = self.folder / "bad_rows"
        wanted = max(len(BAD), len(self.rows) * 3 // 97)
        bad = [BAD[number % (len(BAD) - 1)] for number in range(wanted - 1)] + [BAD[-1]]
        mixed = [(encode(row), None) for row in self.rows]
        for content, reason in bad:
            mixed.insert(self.rng.randrange(len(mixed)), (encode(content), reason))
        data = self.folder / "bad.jsonl"
        data.write_bytes(b"".join(line for line, _ in mixed))
        self.finish(out, data=data)
        lines = (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
        rejects = [json.loads(line) for line in lines]
        found = {reject["line"]: reject["reason"] for reject in rejects}
        want = {number: why for number, (_, why) in enumerate(mixed, 1) if why is not None}
        assert set(found) == set(want), set(found) ^ set(want)
        wrong = [(found[n], why) for n, why in want.items() if why not in found[n]]
        assert not wrong, wrong[:3]
        return f"{len(want)} bad rows of {len(BAD)} kinds, each rejected with line and reason"

    def ray_actor_killed(self) -> str:
        import psutil

        out = self.folder / "ray_actor_killed"
        process = self.start(out, "--engine", "ray", "--actors", "2")
        while process.poll() is None and self.parts(out) < 3:
            time.sleep(0.05)
        mine = psutil.Process(process.pid).children(recursive=True)
        actors = [p for p in mine if "ray::Worker" in " ".join(p.cmdline())]
        assert actors, "no actor found"
        actors[0].kill()
        before = self.parts(out)
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors.decode()[-400:]
        return f"killed one of {len(actors)} actors with {before} parts written; the run went on"


def encode(content: Any) -> bytes:
    """A row as a line; bytes are taken as they are."""
    line = content if isinstance(content, bytes) else json.dumps(content).encode()
    return line + b"\n"


if __name__ == "__main__":
    main()
