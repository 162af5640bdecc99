"""What a report computes its claims from is stored beside it, without a word of the traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_planting import traces

import airlens as al
from airlens.experiments.validity import resumable_influence
from airlens.experiments.validity.claim_reports import confound_report, head_report, labelled_report
from airlens.heads import HeadSet
from airlens.statistics.correlations import spearman
from airlens.step_influence.influence import Influence, influence

HEADS = HeadSet.parse("L1H0, L2H3")


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"measured_{name}.parquet")


def test_steps_have_their_controls_one_by_one(llama: Any, tmp_path: Path) -> None:
    found = influence(llama, traces(3), HEADS, controls=3, progress=False)
    one_by_one = found.step_controls.groupby(["id", "step"])["loss_control"].mean()
    steps = found.steps.set_index(["id", "step"])["loss_control"]
    assert one_by_one[steps.index].to_numpy() == pytest.approx(steps.to_numpy(), abs=1e-5)
    assert sorted(found.step_controls["draw"].unique()) == [0, 1, 2]
    again = Influence.load(found.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.step_controls, found.step_controls)
    (tmp_path / "kept" / "step_controls.parquet").unlink()  # a folder of an older version
    assert Influence.load(tmp_path / "kept").step_controls.empty


def test_no_controls_no_rows(llama: Any) -> None:
    assert influence(llama, traces(2), HEADS, controls=0, progress=False).step_controls.empty


def test_labelled_steps_are_stored_with_every_draw(llama: Any, tmp_path: Path) -> None:
    labelled = [
        replace(t, steps=tuple(replace(s, label="ab"[i % 2]) for i, s in enumerate(t.steps)))
        for t in traces(3)
    ]
    report = labelled_report(
        llama, labelled, HEADS, modes=["zero"], controls=2, folder=tmp_path, progress=False
    )
    steps, controls = read(tmp_path, "steps"), read(tmp_path, "step_controls")
    assert "text" not in steps
    assert steps["problem"].notna().all()
    assert {"position", "overlap", "entropy", "label"} <= set(steps)
    joined = controls.merge(steps, on=["id", "step", "mode"], suffixes=("_of_draw", ""))
    assert len(joined) == 2 * len(steps)
    known = report.tables["functions"].query("value == 'delta_control'").set_index("label")["mean"]
    rise = joined["loss_control_of_draw"] - joined["loss_base"]
    again = rise.groupby(joined["label"]).mean()
    assert again[known.index].to_numpy() == pytest.approx(known.to_numpy(), abs=1e-5)


def test_scores_of_rivals_stand_beside_importances(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"line {i} has {i} and {i + 3}.\n" for i in range(9))
    meta = tuple({"forced_importance_kl": float(i % 5)} for i in range(9))
    plain = [al.Trace(f"t{n}", "count", text[n:]).with_steps("line") for n in range(3)]
    known = [
        replace(t, steps=tuple(replace(s, label="a") for s in t.steps), step_meta=meta)
        for t in plain
    ]
    options: Any = {"modes": ["zero"], "controls": 0, "folder": tmp_path, "progress": False}
    report = labelled_report(llama, known, HEADS, **options)
    table = report.tables["correlations"].set_index(["score", "id"])
    own = al.rival_scores(llama, known, progress=False).steps
    for name in ("lalp", "fai", "waad"):
        for trace in known:
            values = own.loc[own["id"] == trace.id, name].to_numpy()
            rho = spearman(values, np.arange(9) % 5, least=5)
            assert table.loc[(name, trace.id), "rho"] == pytest.approx(rho, nan_ok=True)
    assert table.loc["rsr", "rho"].notna().any()

    def no_more(*args: Any, **more: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(resumable_influence, "rival_scores", no_more)
    again = labelled_report(llama, known, HEADS, **options)
    pd.testing.assert_frame_equal(again.tables["importance"], report.tables["importance"])


def test_samples_and_single_heads_are_stored(llama: Any, tmp_path: Path) -> None:
    options: Any = {"modes": ["zero"], "folder": tmp_path / "a", "progress": False}
    confound_report(llama, traces(3), HEADS, controls=2, **options)
    samples = read(tmp_path / "a", "samples")
    assert len(samples) == 3
    assert len(read(tmp_path / "a", "controls")) == 6
    report = head_report(llama, traces(3), HEADS, modes=["zero"], folder=tmp_path / "b")
    rises = read(tmp_path / "b", "rises")
    whole = rises[rises["set"] == "all"]
    assert len(whole) == 3
    mean = whole["rise"].sum() / whole["n_tokens"].sum()
    table = report.tables["leave_one_out"]
    assert mean == pytest.approx(table["delta_all"][0])
    assert np.allclose(table["delta_all"] - table["delta_without"], table["drop"])
