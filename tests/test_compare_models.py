"""Several models in one table: the sums against slow ones, claims by their rules, figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_config, word_tokenizer

import airlens as al
from airlens.detectors.retrieval import copy_accuracy
from airlens.errors import ConfigError, DataError
from airlens.experiments.paper.compare_models import (
    COLUMNS,
    CompareSize,
    Comparison,
    first_of_each_domain,
    tables_of,
)
from airlens.experiments.paper.comparison_rows import group_rows, loss_values, unit_values
from airlens.experiments.paper.model_claims import comparison_claims
from airlens.figures import models_bars, models_forest, models_side_by_side

VOCAB = 1200
SMALL = CompareSize(
    share=0.2,
    probes=2,
    probe_tokens=1200,
    copy_probes=2,
    copy_tokens=1100,
    draws=2,
    needle_draws=1,
    needles=1,
    needle_lengths=(128,),
    needle_depths=(0.0, 1.0),
    traces_per_domain=2,
    trace_draws=1,
    planted=3,
    kinds=("irrelevant", "restated"),
)


@pytest.fixture(scope="module")
def models() -> list[Any]:
    """Two tiny random models of different shape whose tokens are parts of words."""
    from transformers import AutoModelForCausalLM

    tokenizer = word_tokenizer(VOCAB)
    found = []
    for kind, layers in (("llama", 3), ("qwen3", 2)):
        torch.manual_seed(layers)
        config = tiny_config(
            kind, vocab_size=VOCAB, num_hidden_layers=layers, max_position_embeddings=2048
        )
        config._name_or_path = f"tiny-{kind}"
        hf = AutoModelForCausalLM.from_config(config)
        found.append(al.load_model(hf, tokenizer=tokenizer, device="cpu"))
    return found


@pytest.fixture(scope="module")
def compared(models: list[Any]) -> Comparison:
    traces = first_of_each_domain(al.load_traces(al.data_path("traces.jsonl")), 8)
    return al.compare_models(models, traces, size=SMALL, progress=False)


def test_every_model_has_the_same_rows(compared: Comparison) -> None:
    table = compared.table
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(["model", "measure", "heads"]).any()
    of_model = {
        str(name): set(map(tuple, part[["measure", "heads"]].to_numpy()))
        for name, part in table.groupby("model")
    }
    assert list(of_model) == ["tiny-llama", "tiny-qwen3"]
    assert of_model["tiny-llama"] == of_model["tiny-qwen3"]
    heads = {h for m, h in of_model["tiny-llama"] if m == "copy accuracy"}
    assert heads == {
        "base", "top", "random", "same_layers", "needle removed",
        "top - random", "top - same_layers",
    }  # fmt: skip
    assert table.groupby("model")["weights"].nunique().eq(1).all()
    runs = compared.provenance["runs"]
    assert set(table["run"]) == set(runs)
    assert {run["model"]["name"] for run in runs.values()} == set(of_model)


def test_copy_accuracy_is_that_of_the_probes(compared: Comparison, models: list[Any]) -> None:
    """A second way: the same probes, made and asked here, the top heads taken from the table."""
    probes = al.key_value_probes(models[0].tokenizer, SMALL.copy_probes, SMALL.copy_tokens, 1)
    heads = compared.heads[(compared.heads["model"] == "tiny-llama") & compared.heads["top"]]
    with al.ablated(models[0], ", ".join(heads["name"])):
        expected = copy_accuracy(models[0], probes, engine="hooks").samples.mean()
    table = compared.table.set_index(["model", "measure", "heads"])["value"]
    assert table["tiny-llama", "copy accuracy", "top"] == pytest.approx(expected, abs=1e-6)


def test_depth_runs_from_the_first_layer_to_the_last(compared: Comparison) -> None:
    for _, part in compared.heads.groupby("model"):
        assert part.loc[part["layer"] == 0, "depth"].eq(0).all()
        assert part["depth"].max() == 1
        assert part["top"].sum() == round(0.2 * len(part))


def test_a_stopped_comparison_goes_on(
    models: list[Any], compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = first_of_each_domain(al.load_traces(al.data_path("traces.jsonl")), 8)
    options: dict[str, Any] = {"size": SMALL, "progress": False, "resume": tmp_path / "parts"}

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("airlens.experiments.paper.compare_models.influence", stop)
        with pytest.raises(KeyboardInterrupt):
            al.compare_models(models[:1], traces, **options)
    with monkeypatch.context() as patch:  # what was done is not done again
        patch.setattr("airlens.experiments.paper.compare_models.retrieval_scores", stop)
        patch.setattr("airlens.experiments.paper.compare_models.needle_recall", stop)
        found = al.compare_models(models[:1], traces, **options)
    expected = compared.table[compared.table["model"] == "tiny-llama"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.table, expected)


def test_saved_and_read_again(compared: Comparison, tmp_path: Path) -> None:
    compared.save(tmp_path)
    read = Comparison.load(tmp_path)
    pd.testing.assert_frame_equal(read.table, compared.table, rtol=1e-5)
    pd.testing.assert_frame_equal(read.claims, compared.claims)
    assert set(read.measured) == {"units", "samples", "planted"}
    again = tables_of(read)
    key = ["model", "measure", "heads"]
    pd.testing.assert_frame_equal(
        again.sort_values(key, ignore_index=True),
        compared.table.sort_values(key, ignore_index=True),
        rtol=1e-4,
        check_dtype=False,
    )
    assert read.provenance["runs"] == compared.provenance["runs"]
    with pytest.raises(DataError, match="not a saved comparison"):
        Comparison.load(tmp_path / "nothing")


def test_what_was_saved_before_p_values_were_kept_decides_nothing(
    compared: Comparison, tmp_path: Path
) -> None:
    folder = compared.save(tmp_path / "out")
    table = pd.read_csv(folder / "table.csv").drop(columns="p")
    table.to_csv(folder / "table.csv", index=False)
    found = Comparison.load(folder)
    assert list(found.table) == list(compared.table)
    assert set(comparison_claims(found.table)["verdict"]) <= {"no verdict", "undecided"}


def test_no_model_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        al.compare_models([])


def rows_of(values: dict[str, np.ndarray], weights: Any = None) -> dict[str, dict[str, Any]]:
    names = [f"unit {i:03}" for i in range(next(iter(values.values())).shape[1])]
    units = unit_values("m", values, "probes", names, weights)
    return {row["heads"]: row for row in group_rows(units)}


def test_rows_of_groups_are_means_and_differences_unit_by_unit() -> None:
    rng = np.random.default_rng(0)
    values = {
        "base": rng.random((1, 40)),
        "top": rng.random((1, 40)),
        "random": rng.random((3, 40)),
    }
    weights = rng.integers(1, 9, 40).astype(float)
    rows = rows_of(values, weights)
    assert set(rows) == {"base", "top", "random", "top - random"}
    each = [np.average(draw, weights=weights) for draw in values["random"]]
    assert rows["random"]["value"] == pytest.approx(np.mean(each))
    assert rows["top - random"]["value"] == pytest.approx(
        rows["top"]["value"] - rows["random"]["value"]
    )
    assert all(r["lo"] < r["value"] < r["hi"] for r in rows.values())
    assert {h: r["draws"] for h, r in rows.items()} == {
        "base": 0, "top": 0, "random": 3, "top - random": 3,
    }  # fmt: skip
    # What every unit shares is no spread: a paired difference knows the sign, its sides do not.
    shared = rng.normal(0, 10, (1, 40))
    noise = rng.normal(0, 0.1, (1, 40))
    rows = rows_of({"top": shared - 1, "random": np.repeat(shared + noise, 3, axis=0)})
    assert rows["top"]["hi"] > rows["random"]["lo"]
    assert rows["top - random"]["hi"] < -0.9


def test_only_other_needles_are_independent() -> None:
    rng = np.random.default_rng(0)
    values = {"base": np.repeat(rng.random((1, 10)), 4, axis=1)}
    clusters = [f"needle {i}" for i in np.repeat(range(10), 4)]
    row = group_rows(unit_values("needle recall", values, "needles", clusters))[0]
    assert row["n"] == 10
    assert row["value"] == pytest.approx(values["base"].mean())
    apart = group_rows(unit_values("r", values, "probes", [str(i) for i in range(40)]))[0]
    assert row["hi"] - row["lo"] > 1.7 * (apart["hi"] - apart["lo"])


def test_losses_of_a_domain_are_means_over_tokens(models: list[Any]) -> None:
    traces = first_of_each_domain(al.load_traces(al.data_path("traces.jsonl")), 3)
    result = al.influence(models[0], traces, "L1H0, L2H3", controls=2, progress=False)
    rows = {(r["measure"], r["heads"]): r for r in group_rows(loss_values(result))}
    tokens = result.tokens
    code = tokens[tokens["id"].str.startswith("code")]
    assert rows["NLL, code", "base"]["value"] == pytest.approx(code["nll_base"].mean(), rel=1e-5)
    assert rows["NLL, code", "top"]["value"] == pytest.approx(code["nll_ref"].mean(), rel=1e-5)
    assert rows["NLL, code", "same_layers"]["draws"] == 2


def row(model: str, measure: str, heads: str, lo: float, hi: float) -> dict[str, Any]:
    null = 0.5 if measure.startswith("AUROC") else 0.0
    return {
        "model": model, "measure": measure, "heads": heads, "value": (lo + hi) / 2,
        "lo": lo, "hi": hi, "p": 0.3 if lo <= null <= hi else 1e-4, "n": 40, "unit": "probes",
        "draws": 3 if " - " in heads else 0,
    }  # fmt: skip


def test_a_claim_holds_fails_differs_or_is_undecided() -> None:
    cost = "top - random"
    table = pd.DataFrame(
        [
            row("a", "copy accuracy", cost, -0.5, -0.3),
            row("b", "copy accuracy", cost, -0.2, -0.1),
            row("a", "needle recall", cost, -0.5, -0.3),
            row("b", "needle recall", cost, -0.2, 0.1),
            row("a", "NLL, code", cost, 0.5, 0.7),
            row("b", "NLL, code", cost, -0.7, -0.5),
            row("a", "AUROC of real over restated steps by AIS", "top", 0.2, 0.4),
            row("b", "AUROC of real over restated steps by AIS", "top", 0.1, 0.3),
            row("a", "ρ of AIS and n_tokens, within domain", "top", -0.04, 0.05),
            row("b", "ρ of AIS and n_tokens, within domain", "top", 0.5, 0.6),
            row("a", "copy accuracy", "base", 0.9, 1.0),
        ]
    )
    claims = comparison_claims(table).set_index("claim")
    assert claims["verdict"].tolist() == [
        "holds on all", "undecided", "differs", "fails on all", "differs",
    ]  # fmt: skip
    assert "AIS ranks real steps above restated steps" in claims.index
    assert "b -0.15 [-0.2, -0.1], n = 40: holds" in claims["evidence"].iloc[0]
    assert "rises further" in claims.index[2]
    few = comparison_claims(table.assign(draws=2)).set_index("claim")
    assert few["verdict"].tolist()[:3] == ["no verdict"] * 3
    assert "2 draws of random heads, at least 3 are needed" in few["evidence"].iloc[0]
    assert set(comparison_claims(table.assign(n=7))["verdict"]) == {"no verdict"}


def test_figures(compared: Comparison) -> None:
    fig = models_side_by_side(compared.heads)
    assert [a.text for a in fig.layout.annotations[:2]] == ["tiny-llama", "tiny-qwen3"]
    shown = [y for trace in fig.data for y in trace.y]
    assert len(shown) == len(compared.heads) and min(shown) == 0 and max(shown) == 1
    bars = models_bars(compared.table)
    assert [trace.name for trace in bars.data][:2] == ["nothing ablated", "top heads ablated"]
    assert all(len(trace.y) == 2 for trace in bars.data)
    forest = models_forest(compared.table, "AUROC", zero=0.5)
    assert [trace.name for trace in forest.data] == ["tiny-llama", "tiny-qwen3"]


def test_only_intervals_that_exclude_no_effect_agree_in_the_headline() -> None:
    rows = [
        {"model": model, "measure": f"NLL, {name}", "heads": "top", "value": 1, "lo": lo, "hi": 2}
        for name, lows in {"both": (0.5, 0.5), "one": (0.5, -0.5)}.items()
        for model, lo in zip("ab", lows, strict=True)
    ]
    said = models_forest(pd.DataFrame(rows), "NLL").layout.title.text
    assert "1 of 2 measures lie clearly on the same side of 0" in said.replace("<br>", " ")


def test_figures_escape_names_and_say_what_is_missing(compared: Comparison) -> None:
    named = compared.table.replace({"model": {"tiny-llama": "<b>x</b>"}})
    for fig in (models_bars(named), models_forest(named, "AUROC")):
        assert "<b>x</b>" not in str(fig.to_dict())
    heads = compared.heads.replace({"model": {"tiny-llama": "<b>x</b>"}})
    assert "<b>x</b>" not in str(models_side_by_side(heads).to_dict())
    assert models_bars(compared.table, "no such").layout.annotations
    assert models_forest(compared.table, "no such").layout.annotations
    assert models_side_by_side(compared.heads.iloc[:0]).layout.annotations
    with pytest.raises(DataError, match="depth"):
        models_side_by_side(compared.heads.drop(columns="depth"))
