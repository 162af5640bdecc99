"""The store of a study's runs answers by what decides a run, not by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlens.errors import ConfigError
from airlens.experiments.studies.study import append_run, finished, same_run


def test_d13_a_run_of_another_setting_by_the_same_name_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    row = {"setting": "cpu", "fingerprint": "one", "arm": "AIR", "budget": "tokens", "seed": 0}
    append_run(path, {**row, "data": "d", "nll": 1.5}, {})
    found = same_run(path, "one", "AIR", 0, "d")
    assert found is not None
    assert found["nll"] == 1.5
    for key, arm, seed, data in [
        ("two", "AIR", 0, "d"),
        ("one", "AIR", 1, "d"),
        ("one", "AIR", 0, "e"),
    ]:
        assert same_run(path, key, arm, seed, data) is None
    assert finished(path, "cpu", "one") == {("AIR", "tokens", 0)}
    assert finished(path, "gpu", "two") == set()
    with pytest.raises(ConfigError, match="another setting 'cpu'"):
        finished(path, "cpu", "two")
