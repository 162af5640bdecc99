"""The Ray engine gives the local engine's numbers; a lost actor changes nothing.

In a process of its own with a hard limit: a cluster that hangs must not hang the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explore_tiny import save_tiny

from airlens.corpus.ray_runner import RayEngine
from airlens.corpus.run import score_corpus
from airlens.errors import ConfigError

SECONDS = 240
SCRIPT = """
import os, pathlib, signal, sys, threading, time
import psutil
import ray
from airlens.model.load import load_model
from airlens.corpus.ray_runner import RayEngine
from airlens.corpus.run import score_corpus

def kill_one(out):
    while len(list(out.glob("parts/part-*"))) < 2:
        time.sleep(0.02)
    mine = psutil.Process().children(recursive=True)
    [p for p in mine if "ray::MapWorker" in " ".join(p.cmdline())][0].kill()
    pathlib.Path(out / "killed").touch()

if __name__ == "__main__":
    model, data, out = sys.argv[1:4]
    if sys.argv[4] == "kill":
        threading.Thread(target=kill_one, args=[pathlib.Path(out)], daemon=True).start()
    else:  # a cluster that was started in another folder than the paths are relative to
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        os.chdir(sys.argv[5])
    engine = RayEngine({"name": model, "device": "cpu"}, actors=2, cpus=2)
    bridge = load_model(model, device="cpu")
    score_corpus(bridge, data, "L0H1,L2H3", out, part_rows=2, engine=engine, progress=False)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("ray")
    save_tiny(folder / "model")
    rows = [{"id": f"r{i}", "prompt": f"{i}?", "response": f"{i}.\nSo {i}."} for i in range(40)]
    rows.insert(7, {"id": "bad"})
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    from airlens.model.load import load_model

    model = load_model(folder / "model", device="cpu")
    local = score_corpus(model, str(data), "L0H1,L2H3", folder / "local", progress=False)
    return folder / "model", data, local.samples.sort_values("id").reset_index(drop=True)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["relative paths", "kill"])
def test_ray_gives_the_numbers_of_local(
    corpus: tuple[Path, Path, Any], tmp_path: Path, case: str
) -> None:
    model, data, local = corpus
    folder = model.parent
    if case == "relative paths":
        model, data = model.relative_to(folder), data.relative_to(folder)
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    command = [sys.executable, str(script), str(model), str(data), str(out), case, str(folder)]
    # Ray's workers would give way to all else on the machine, other tests too, until time is up.
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
    )
    if "timed out during startup" in done.stderr:
        pytest.skip("Ray's own processes did not start in time on this machine")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "killed").exists() == (case == "kill")
    found = pd.read_parquet(out / "parts").sort_values("id").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, local, rtol=1e-6, atol=1e-6)
    (reject,) = map(json.loads, (out / "rejects.jsonl").read_text().splitlines())
    assert (reject["file"], reject["line"]) == (str(data), 8)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ConfigError, match=r"airlens\[ray\]"):
        RayEngine({"name": "x"})
