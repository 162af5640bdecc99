"""The whole benchmark on a tiny model: measurements, resuming, determinism, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_planting import traces

import airlens as al
from airlens.ablation import ablated
from airlens.errors import ConfigError
from airlens.experiments.validity.alternatives import loss_in_place, step_window
from airlens.experiments.validity.attention_received import FOLLOW, attention_received
from airlens.experiments.validity.auroc_tables import score_values
from airlens.experiments.validity.benchmark import Measured, head_groups, measure_planted
from airlens.experiments.validity.planted import validate
from airlens.experiments.validity.planting import plant, planted_info
from airlens.heads import HeadSet
from airlens.losses.shared_beginnings import score_all
from airlens.step_influence.influence import influence

KINDS = ["irrelevant", "wrong_result", "repeated"]
HEADS = HeadSet.parse("L1H0, L2H3")


def run(model: Any, folder: Any = None, n: int = 3, seed: int = 0) -> Any:
    return validate(
        model,
        traces(4),
        HEADS,
        n=n,
        kinds=KINDS,
        modes=["uniform", "mean"],
        draws={"random": 1, "same_layers": 1},
        seed=seed,
        folder=folder,
        progress=False,
    )


def test_measured_losses_are_those_of_influence(llama: Any) -> None:
    planted = plant(traces(2), llama.tokenizer, kinds=["other"])
    measured = measure_planted(llama, planted, HEADS, modes=["zero"], draws=1, progress=False)
    expected = influence(llama, planted, HEADS, mode="zero", controls=0, progress=False).steps
    scores = measured.scores()
    for trace in planted:
        info = planted_info(trace)
        want = expected[(expected["id"] == trace.id) & (expected["step"] == info["step"])].iloc[0]
        mine = scores[(scores["source"] == info["source"]) & (scores["kind"] == "other")]
        got = mine[mine["heads"] == "top"].iloc[0]
        assert got["loss"] == pytest.approx(want["loss_base"], abs=1e-4)
        assert got["delta"] == pytest.approx(want["delta"], abs=1e-4)


def test_rivals_are_those_of_whole_traces(llama: Any) -> None:
    """RSR, LALP, FAI and WAAD of a planted step are those of the step tables."""
    planted = plant(traces(2), llama.tokenizer, kinds=["other", "restated"])
    measured = measure_planted(llama, planted, HEADS, modes=["zero"], draws=0, progress=False)
    base = influence(llama, planted, "", controls=0, progress=False)
    want = al.rival_scores(llama, planted, progress=False).on(base.steps).set_index(["id", "step"])
    items = measured.items.set_index(["source", "kind"])
    values = score_values(measured).set_index(["source", "kind", "score"])["value"]
    seen = 0
    for trace in planted:
        info = planted_info(trace)
        mine, row = items.loc[info["source"], info["kind"]], want.loc[trace.id, info["step"]]
        assert mine["rsr"] == pytest.approx(row["rsr"], rel=1e-4)
        assert mine["lalp"] == pytest.approx(row["lalp"], abs=1e-4)
        assert values[info["source"], info["kind"], "rsr"] == -mine["rsr"]
        assert values[info["source"], info["kind"], "lalp"] == mine["lalp"]
        # FAI looks at 50 tokens (bytes, here) behind the step: what comes after them is left out.
        end = trace.steps[info["step"]].end + 50
        steps = [s for s in trace.steps if s.start < end]
        steps[-1] = replace(steps[-1], text=trace.response[steps[-1].start : end], end=end)
        cut = replace(trace, response=trace.response[:end], steps=tuple(steps))
        flow = al.rival_scores(llama, cut, ["fai", "waad"], progress=False).steps
        of_step = flow.iloc[info["step"]]
        assert mine["waad"] == pytest.approx(of_step["waad"], rel=1e-3)
        assert mine["fai"] == pytest.approx(of_step["fai"], rel=1e-3)
        seen += end < len(trace.response)
        # Without BOS the first token has no prediction in the step alone: it counts in neither.
        text = al.Trace("t", "", trace.steps[info["step"]].text)
        bare = influence(llama, text, "", controls=0, progress=False).tokens["nll_base"]
        at = (base.tokens["id"] == trace.id) & (base.tokens["step"] == info["step"])
        given = base.tokens[at]["nll_base"]
        assert len(given) == len(bare)
        assert mine["ifd"] == pytest.approx(given[1:].mean() / bare[1:].mean(), rel=1e-4)
    assert seen and items["ifd"].nunique() > 1


def test_novel_ais_is_measured_with_its_control_and_its_free_share(llama: Any) -> None:
    """Of the same texts through `influence`, whose controls are the same sets."""
    planted = plant(traces(2), llama.tokenizer, kinds=["other", "repeated"])
    draws = {"same_layers": 2}
    measured = measure_planted(llama, planted, HEADS, modes=["zero"], draws=draws, progress=False)
    expected = influence(llama, planted, HEADS, mode="zero", controls=2, progress=False).steps
    scores, items = measured.scores(), measured.items.set_index(["source", "kind"])
    values = score_values(measured).set_index(["source", "kind", "score", "heads", "draw"])["value"]
    for trace in planted:
        info = planted_info(trace)
        want = expected[(expected["id"] == trace.id) & (expected["step"] == info["step"])].iloc[0]
        place = (info["source"], info["kind"])
        assert items.loc[place, "novel"] == pytest.approx(want["novel"])
        assert values[(*place, "novel", "", 0)] == items.loc[place, "novel"]
        mine = scores[(scores["source"] == place[0]) & (scores["kind"] == place[1])]
        means = mine.groupby("heads")["ais_novel"].mean()
        assert means["top"] == pytest.approx(want["ais_novel"], abs=1e-4)
        assert means["same_layers"] == pytest.approx(want["ais_novel_control"], abs=1e-4)
        assert values[(*place, "ais_novel", "top", 0)] == pytest.approx(means["top"])
        share = mine["novel"].iloc[0]
        assert values[(*place, "ais_novel_share", "top", 0)] == pytest.approx(means["top"] * share)
    assert items["novel"].nunique() > 1
    bare = Measured(measured.items.drop(columns=["novel", "loss_novel"]), measured.losses)
    assert "ais_novel" not in set(score_values(bare)["score"])  # as it was stored before


def test_controls_are_disjoint_from_the_heads(llama: Any) -> None:
    groups = head_groups(llama, HEADS, 2, seed=0)
    assert [name for name, _, _ in groups] == ["top"] + ["random"] * 2 + ["same_layers"] * 2
    for _, heads, _ in groups[1:]:
        assert len(heads) == len(HEADS)
        assert not set(heads) & set(HEADS)
    with pytest.raises(ConfigError, match="same_layers"):
        head_groups(llama, HEADS, {"others": 1}, seed=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_several_modes_at_once_are_each_mode_alone(make_model: Any, kind: str) -> None:
    model = make_model(kind)
    windows = [step_window(model.tokenizer, trace, 1)[0] for trace in traces(3)]
    sets, modes = [HEADS, HEADS, HeadSet.parse("L0H1")], ["uniform", "mean", "zero"]
    for engine in ("auto", "hooks"):
        together = score_all(model, windows, sets, modes, engine=engine)
        for i, (heads, mode) in enumerate(zip(sets, modes, strict=True)):
            alone = score_all(model, windows, [heads], mode, engine="hooks")
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_allclose(a.ablated[i], b.ablated[0], atol=1e-4)
                np.testing.assert_allclose(a.base, b.base, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_attention_received_is_the_mean_of_the_patterns(make_model: Any, kind: str) -> None:
    """Packed or not, against the patterns of one plain pass a trace."""
    import torch

    model = make_model(kind)
    pairs = [step_window(model.tokenizer, trace, 1) for trace in traces(3)]
    got = attention_received(model, [w for w, _ in pairs], [after for _, after in pairs])
    for (window, after), value in zip(pairs, got, strict=True):
        tokens = [*window.tokens, *after[:FOLLOW]]
        with torch.inference_mode():
            _, cache = model.run_with_cache(torch.tensor([tokens]))
        stop = len(window.tokens)
        layers = [
            cache[f"blocks.{i}.attn.hook_pattern"][0, :, stop:, window.first : stop].mean()
            for i in range(model.cfg.n_layers)
        ]
        assert value == pytest.approx(float(torch.stack(layers).mean()), rel=1e-3)


def test_attention_of_nothing_is_nan(llama: Any) -> None:
    window, _ = step_window(llama.tokenizer, traces(1)[0], 1)
    assert np.isnan(attention_received(llama, [window], [[]])[0])


def test_loss_in_place_is_the_loss_of_the_planted_trace(llama: Any) -> None:
    from airlens.experiments.validity.planting import put

    trace = traces(1)[0]
    got = loss_in_place(llama)(trace, 1, ["Nothing at all.", "Quite another text."])
    for text, value in zip(["Nothing at all.", "Quite another text."], got, strict=True):
        with ablated(llama, ""):
            steps = influence(llama, put(trace, 1, text), "", controls=0, progress=False).steps
        assert value == pytest.approx(steps["loss_base"][1], abs=1e-4)


def test_a_run_is_deterministic_and_resumes(llama: Any, tmp_path: Path) -> None:
    first = run(llama, tmp_path / "a")
    second = run(llama, tmp_path / "b")
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(table, second.tables[name])
    kept = tmp_path / "a" / "measured.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    # Killed while writing its last line.
    kept.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    again = run(llama, tmp_path / "a")
    pd.testing.assert_frame_equal(first.auroc, again.auroc)
    assert len(kept.read_text().splitlines()) == len(lines)


def test_fewer_and_more_traces_in_the_same_folder(llama: Any, tmp_path: Path) -> None:
    assert set(run(llama, tmp_path, n=2).auroc["n"]) == {2}
    assert set(run(llama, tmp_path, n=3).auroc["n"]) == {3}
    assert set(run(llama, tmp_path, n=2).auroc["n"]) == {2}


def test_another_run_in_the_same_folder_is_refused(llama: Any, tmp_path: Path) -> None:
    run(llama, tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        run(llama, tmp_path, seed=1)


def test_the_command_prints_and_keeps_the_tables(
    llama: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from typer.testing import CliRunner

    from airlens.cli import app
    from airlens.traces.write_traces import save_traces

    monkeypatch.setattr("airlens.model.load.load_model", lambda *a, **k: llama)
    path = save_traces(traces(4), tmp_path / "traces.jsonl")
    options = ["--traces", str(path), "--heads", "L1H0, L2H3", "--n", "2", "--quiet", "--kinds"]
    options += ["irrelevant,restated", "--modes", "zero", "--draws", "1", "--draws-anywhere", "0"]
    plain = CliRunner().invoke(app, ["validate", *options, "--out", str(tmp_path / "out")])
    assert plain.exit_code == 0, plain.output
    assert "What may not be claimed" in plain.output
    stored = {p.stem: pd.read_parquet(p) for p in (tmp_path / "out").glob("measured_*.parquet")}
    assert list(stored["measured_losses"]["heads"].unique()) == ["top", "same_layers"]
    assert "text" not in stored["measured_items"]
    assert (tmp_path / "out" / "auroc.csv").is_file()
    found = CliRunner().invoke(app, ["validate", *options, "--json"])
    record = json.loads(found.stdout.splitlines()[-1])
    assert {"kind", "score", "mode", "heads", "auroc", "lo", "hi", "n"} <= set(record["auroc"][0])
    for what in ("confounds", "heads"):
        other = ["validate", "--what", what, *options[:6], "--quiet", "--modes", "zero,mean"]
        result = CliRunner().invoke(app, other)
        assert result.exit_code == 0, result.output
    bad = CliRunner().invoke(app, ["validate", "--what", "all"])
    assert bad.exit_code


@pytest.mark.slow
@pytest.mark.model
def test_labelled_traces_are_scored_whole(smollm2: Any, shared_data: Path) -> None:
    from airlens.experiments.validity.claim_reports import labelled_report
    from airlens.traces.load import load_traces

    path = shared_data / "thought_anchors" / "deepseek-r1-distill-llama-8b.jsonl"
    if not path.is_file():
        pytest.skip(f"no labelled traces at {path}")
    report = labelled_report(
        smollm2,
        load_traces(path),
        HeadSet.parse("L18H6, L17H3"),
        n=1,
        modes=["uniform"],
        controls=0,
        progress=False,
    )
    functions, importance = report.tables["functions"], report.tables["importance"]
    assert {"active_computation", "final_answer_emission"} & set(functions["label"])
    assert functions.loc[functions["value"] == "delta", "n_steps"].sum() == 24
    assert {"ais", "length", "overlap"} <= set(importance["score"])
