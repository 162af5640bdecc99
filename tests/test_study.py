"""What the arms choose, and the table of runs, on hand-built samples and runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from airlens.errors import ConfigError, DataError
from airlens.study import (
    ARMS,
    Arm,
    append_run,
    arm_named,
    choose,
    length_bins,
    read_runs,
    residual,
    runs_provenance,
    study_table,
)


def samples(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"{i:03}" for i in range(n)], "n_tokens": rng.integers(20, 90, n)})
    for name in ("ais", "ais_control", "ais_mean", "loss_base", "entropy", "ifd"):
        frame[name] = rng.random(n)
    frame["ais_residual"] = residual(frame["ais"], frame["loss_base"])
    return frame.assign(length_bin=length_bins(frame["n_tokens"]))


@pytest.mark.parametrize("arm", [a for a in ARMS if a.by], ids=lambda a: a.name)
def test_equal_samples_and_equal_tokens(arm: Arm) -> None:
    frame = samples()
    assert len(choose(arm, frame, 0.25, "samples")) == 10
    chosen = choose(arm, frame, 0.25, "tokens")
    total = frame.set_index("id").loc[chosen, "n_tokens"].sum()
    assert abs(total - 0.25 * frame["n_tokens"].sum()) <= frame["n_tokens"].max() / 2
    assert len(set(chosen)) == len(chosen)


def test_the_whole_pool_and_the_best_first() -> None:
    frame = samples()
    assert len(choose(Arm("full data"), frame, 0.25, "all")) == 40
    best = choose(Arm("AIR", "ais"), frame, 0.25, "samples")
    assert best == list(frame.sort_values("ais", ascending=False)["id"][:10])


def test_length_matched_takes_from_every_length() -> None:
    frame = samples()
    chosen = choose(arm_named("AIR, length-matched"), frame, 0.25, "samples")
    counts = frame.set_index("id").loc[chosen, "length_bin"].value_counts()
    assert set(counts) == {1}
    assert len(counts) == 10


def test_residual_is_free_of_what_it_is_taken_on() -> None:
    x = pd.Series(np.linspace(0, 1, 50))
    y = 3 * x + pd.Series(np.random.default_rng(0).normal(size=50))
    left = residual(y, x)
    assert abs(np.corrcoef(left, x)[0, 1]) < 1e-9
    assert residual(3 * x + 1, x).abs().max() < 1e-9


def test_unknown_arm() -> None:
    with pytest.raises(ConfigError, match="random"):
        arm_named("best")


def run(arm: str, seed: int, nll: list[float], budget: str = "tokens") -> dict[str, object]:
    row: dict[str, object] = {"setting": "s", "arm": arm, "budget": budget, "seed": seed}
    row |= {"n_samples": 4, "n_labels": 100, "steps": 2, "nll": sum(nll) / 20, "accuracy": np.nan}
    return {**row, "problem_id": ["a", "b"], "problem_tokens": [10, 10], "problem_nll": nll}


def test_table_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    for row in (
        run("random", 0, [10.0, 20.0]),
        run("random", 1, [14.0, 20.0]),
        run("AIR", 0, [10.0, 18.0]),
        run("full data", 0, [5.0, 5.0], "all"),
    ):
        append_run(path, row, {"n": 1})
    assert runs_provenance(path) == {"s": {"n": 1}}
    table = study_table(read_runs(path)).set_index("arm")
    assert table.loc["random", "nll"] == pytest.approx(1.6)  # (12 + 20) / 20
    assert table.loc["random", "n_runs"] == 2
    assert table.loc["random", "seed_std"] == pytest.approx(np.std([1.5, 1.7], ddof=1))
    assert table.loc["AIR", "difference"] == pytest.approx(-0.2)  # (-2 - 2) / 20
    assert table.loc["AIR", "difference_hi"] == pytest.approx(-0.2)
    assert table.loc["full data", "difference"] == pytest.approx(-1.1)


def test_no_runs_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="selection_study"):
        read_runs(tmp_path / "absent.parquet")
