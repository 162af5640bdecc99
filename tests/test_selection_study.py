"""The study's command on a tiny model: resumable, one row a run, the same run is not made twice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from explore_tiny import save_tiny

from airlens.errors import ConfigError
from airlens.training.study import read_runs, runs_provenance, study_table

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "selection_study.py"


@pytest.fixture(scope="module")
def study() -> Any:
    spec = importlib.util.spec_from_file_location("selection_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_command(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRLENS_DATA", raising=False)
    tiny = study.Setting(
        "tiny",
        model=str(save_tiny(tmp_path / "m")),
        pool=8,
        test=2,
        share=0.25,
        steps=2,
        seeds=2,
        repeat=False,
        probes=2,
        probe_tokens=1400,
        controls=1,
        template="plain",
        generate=False,
        on_gpu=False,
    )
    monkeypatch.setitem(study.SETTINGS, "tiny", tiny)
    command = ["study", "--setting", "tiny", "--out", str(tmp_path / "runs.parquet")]
    command += [
        "--work",
        str(tmp_path / "work"),
        "--arm",
        "random",
        "--arm",
        "AIR + linear weights",
    ]
    monkeypatch.setattr(sys, "argv", command)
    study.main()
    runs = read_runs(tmp_path / "runs.parquet")
    assert runs["arm"].tolist() == ["untrained", *(["random"] * 2 + ["AIR + linear weights"]) * 2]
    assert runs["budget"].tolist() == ["none"] + ["tokens"] * 3 + ["samples"] * 3
    assert set(runs.loc[runs["budget"] == "samples", "n_samples"]) == {2}
    assert runs_provenance(tmp_path / "runs.parquet")["tiny"]["n_pool"] == 8
    # The same samples, the same run.
    for _, part in runs.groupby(["arm", "seed", "data"]):
        assert part["nll"].nunique() == 1
    assert len(study_table(runs)) == 5
    study.main()
    pd.testing.assert_frame_equal(read_runs(tmp_path / "runs.parquet"), runs)
    monkeypatch.setattr(sys, "argv", [*command, "--lr", "1"])
    with pytest.raises(ConfigError, match="another --out"):
        study.main()
