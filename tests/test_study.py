"""What the arms choose, and the table of runs, on hand-built samples and runs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from airlens.errors import ConfigError, DataError
from airlens.experiments.studies.study import (
    ARMS,
    Arm,
    append_run,
    arm_named,
    choose,
    finished,
    largest_setting,
    read_runs,
    runs_provenance,
    study_table,
    weights_table,
)
from airlens.files import atomic_file


def samples(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"{i:03}" for i in range(n)], "n_tokens": rng.integers(20, 90, n)})
    for name in ("ais", "ais_control", "ais_mean", "loss_base", "entropy", "ifd"):
        frame[name] = rng.random(n)
    return frame


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
    tenth = (frame.set_index("id")["n_tokens"].rank(method="first") - 1) // 4
    assert sorted(tenth[chosen]) == list(range(10))


def test_residualised_does_not_choose_by_loss() -> None:
    frame = samples(200)
    frame["ais"] -= 3 * frame["loss_base"]
    plain, free = (
        choose(arm_named(n), frame, 0.25, "samples") for n in ("AIR", "AIR, loss-residualised")
    )
    loss = frame.set_index("id")["loss_base"]
    assert loss[plain].mean() < 0.25
    assert abs(loss[free].mean() - loss.mean()) < 0.1


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
    # One run of an arm whose kind has no other says nothing about its other runs.
    assert np.isnan(table.loc["AIR", "difference_hi"])
    assert table.loc["full data", "difference"] == pytest.approx(-1.1)


def test_a_file_is_read_whole_while_a_study_replaces_it(tmp_path: Path) -> None:
    path, over = tmp_path / "runs.parquet", threading.Event()
    texts = []
    for n in (1, 40):
        append_run(path, run("AIR", 0, [float(i) for i in range(n)]), {})
        texts.append(path.read_bytes())
        path.unlink()

    def replace() -> None:
        while not over.is_set():
            for text in texts:
                with atomic_file(path) as temporary:
                    temporary.write_bytes(text)

    path.write_bytes(texts[0])
    writer = threading.Thread(target=replace)
    writer.start()
    try:
        sizes = {len(read_runs(path)["problem_nll"][0]) for _ in range(300)}
    finally:
        over.set()
        writer.join()
    assert sizes <= {1, 40}


def test_the_largest_setting() -> None:
    small, large = run("AIR", 0, [1.0, 2.0]), run("AIR", 0, [1.0, 2.0])
    large |= {"setting": "more labels", "n_labels": 200}
    assert set(largest_setting(pd.DataFrame([small, large, small]))["setting"]) == {"more labels"}
    wide = {**run("AIR", 0, [1.0, 2.0, 3.0]), "setting": "more problems", "problem_id": list("abc")}
    assert set(largest_setting(pd.DataFrame([wide, large]))["setting"]) == {"more problems"}


def test_a_setting_under_way_is_not_the_largest_yet() -> None:
    selecting = [arm.name for arm in ARMS if arm.by]
    whole = [run(name, 0, [1.0, 2.0]) for name in selecting]
    wide = {"setting": "under way", "n_labels": 900}
    part = [{**row, **wide} for row in whole[:-1]]
    assert set(largest_setting(pd.DataFrame(whole + part))["setting"]) == {whole[0]["setting"]}
    assert set(
        largest_setting(pd.DataFrame([*whole, *part, {**whole[-1], **wide}]))["setting"]
    ) == {"under way"}


def test_weights_against_the_same_data() -> None:
    rows = [
        run("AIR", 0, [10.0, 20.0]),
        run("AIR + linear weights", 0, [10.0, 18.0]),
        run("AIR + shuffled weights", 0, [12.0, 20.0]),
        run("full data", 0, [1.0, 1.0], "all"),
        run("random", 0, [1.0, 1.0]),
    ]
    table = weights_table(pd.DataFrame(rows))
    assert set(table["arm"]) == {"AIR + linear weights"}
    gaps = table.set_index("against")["difference"]
    assert gaps.to_dict() == pytest.approx({"AIR": -0.1, "AIR + shuffled weights": -0.2})


def test_a_file_of_another_setting_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    assert finished(path, "s", "k") == set()
    append_run(path, {**run("AIR", 2, [1.0, 2.0]), "fingerprint": "k"}, {})
    assert finished(path, "s", "k") == {("AIR", "tokens", 2)}
    assert finished(path, "other", "z") == set()
    with pytest.raises(ConfigError, match="another --out"):
        finished(path, "s", "z")


def test_no_runs_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="selection_study"):
        read_runs(tmp_path / "absent.parquet")
