"""The Ray engine gives the local engine's files, whatever happens to an actor.

In a process of its own with a hard limit: a cluster that hangs must not hang the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from explore_tiny import save_tiny

from airlens.corpus.ray_runner import RayEngine
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.errors import ConfigError
from tests.cases.corpus_kit import by_id, files, lines, write

SECONDS = 1500  # on a busy machine; on one that is not it takes one or two minutes
SCRIPT = """
import os, signal, sys
import ray
from airlens.model.load import load_model
from airlens.corpus.ray_runner import RayEngine
from airlens.corpus.ray_worker import Worker
from airlens.corpus.run import score_corpus
from airlens.corpus.score_part import PartScorer

class KilledWorker(Worker):
    def score(self, chunk, bad=()):
        answer = super().score(chunk, bad)
        if chunk.part > 2:  # once, when the files are written and nobody knows
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                return answer
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

class Deadly(PartScorer):
    def __call__(self, rows, tables=None):
        if any(row.trace.id == "deadly" for row in rows):
            os._exit(1)
        return super().__call__(rows, tables)

class DeadlyWorker(Worker):
    def __init__(self, *args):
        super().__init__(*args)
        self.scorer.__class__ = Deadly

if __name__ == "__main__":
    model, folder = sys.argv[1:]
    # a cluster that was started in another folder than the paths are relative to
    for attempt in range(4):  # on a busy machine Ray's processes are sometimes late
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception:
            ray.shutdown()
            if attempt == 3:
                raise
    os.chdir(folder)
    bridge = load_model(model, device="cpu")
    for name, worker, rows in (("killed", KilledWorker, 4), ("deadly", DeadlyWorker, 2)):
        how = {"actors": 2, "actor_threads": 1, "worker": worker}
        engine = RayEngine({"name": model, "device": "cpu"}, **how)
        how = {"part_rows": rows, "engine": engine, "progress": False}
        score_corpus(bridge, name + ".jsonl", "L0H1,L2H3", name, **how)
"""


def scored_here(model: Path, data: str, out: Path, part_rows: int) -> dict[str, bytes]:
    """The files of a run without Ray, with one thread."""
    from airlens.model.load import load_model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bridge = load_model(model, device="cpu")
        score_corpus(bridge, data, "L0H1,L2H3", out, part_rows=part_rows, progress=False)
    finally:
        torch.set_num_threads(threads)
    return files(out)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
def test_ray_gives_the_files_of_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cluster for all cases: to start one takes long."""
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    save_tiny(Path("model"))
    rows = [{"id": f"r{i}", "prompt": f"{i}?", "response": f"{i}.\nSo {i}."} for i in range(40)]
    write(Path("killed.jsonl"), [*rows[:7], {"id": "bad"}, *rows[7:]])
    rest = [row for row in rows if row["id"] != "r13"]
    write(Path("rest.jsonl"), rest)
    write(Path("deadly.jsonl"), [*rest[:13], {**rows[13], "id": "deadly"}, *rest[13:]])
    Path("run.py").write_text(SCRIPT)
    # Ray's workers would give way to all else on the machine, other tests too, until time is up.
    environment = {**os.environ, "RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
    done = subprocess.run(
        [sys.executable, "run.py", "model", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment,
        check=False,
    )
    if "timed out during startup" in done.stderr:
        pytest.skip("Ray's own processes did not start in time on this machine")
    assert done.returncode == 0, done.stderr[-2000:]

    # An actor was killed when its files were written and nobody knew: the same files.
    assert Path("killed/killed").exists()
    local = scored_here(Path("model"), "killed.jsonl", Path("local"), 4)
    assert files(Path("killed")) == local and sum(name[:6] == "parts/" for name in local) == 10
    (reject,) = lines(Path("killed/rejects.jsonl"))
    assert (reject["file"], reject["line"]) == ("killed.jsonl", 8)
    assert not list(Path("killed").rglob(".part-*"))

    # G4: of a row that kills its worker nothing is left but its name; the others are as without it.
    (reject,) = lines(Path("deadly/rejects.jsonl"))
    assert (reject["id"], reject["line"]) == ("deadly", 14)
    assert reject["reason"].startswith("killed its worker: ")
    scored_here(Path("model"), "rest.jsonl", Path("rest"), 2)
    found, wanted = (by_id(RunFolder(name).read()) for name in ("deadly", "rest"))
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5)
    before = files(Path("deadly"))
    assert scored_here(Path("model"), "deadly.jsonl", Path("deadly"), 2) == before  # it is known
    assert lines(Path("deadly/rejects.jsonl")) == [reject]


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"airlens\[ray\]"):
        RayEngine({"name": "x"})
