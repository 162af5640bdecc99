"""What is said of a selection: lengths, words, clusters, and the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airlens.corpus.embedding_map import embed_map, embeddings
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.errors import DataError
from airlens.selection import contrast
from airlens.selection.confounds import confound_table
from airlens.selection.select import select
from airlens.views.figures.corpus_samples import (
    cluster_bars,
    correlation_forest,
    lengths_by_selector,
    sample_map,
    word_overlap_map,
)
from airlens.views.reports.corpus_page import corpus_report

HEADS = "L0H1, L2H3"


@pytest.fixture(scope="module")
def folder(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("run")
    rows = [
        {
            "id": f"<b>{i}</b>",
            "prompt": f"{i} + 1?",
            "response": f"{['apples', 'pears'][i % 2]} cost {i}.\nSo <script>alert({i})</script>",
            "domain": ["sums", "fruit & veg"][i % 2],
        }
        for i in range(30)
    ]
    (path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_corpus(llama, str(path / "d.jsonl"), HEADS, path / "out", progress=False)
    return RunFolder(path / "out")


def test_the_report_has_every_part_and_escapes_its_data(folder: RunFolder, llama: Any) -> None:
    page = corpus_report(folder, top=0.2, model=llama).html()
    for heading in (
        *("What was scored", "Scores by domain", "Is it something simpler?", "Is it length?"),
        *("Overlap of selectors", "Words", "Chance: two random choices share"),
        *("Where the chosen lie", "Samples to read", "All samples"),
    ):
        assert heading in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<b>3</b>" not in page
    assert '"fingerprint"' in page or "&quot;fingerprint&quot;" in page


def test_a_report_needs_scores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="airlens score"):
        corpus_report(RunFolder(tmp_path))


def frame(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "domain": ["a", "b"] * (n // 2),
            "ais": rng.random(n),
            "n_tokens": np.arange(n) + 10,
            "loss_base": rng.random(n),
        }
    )


def test_lengths_are_those_of_the_chosen() -> None:
    table = contrast.length_table(frame(), ["length", "ais"], 0.25, within=None)
    rows = table[table["domain"] == "all"].set_index("selector")
    assert rows.loc["length", "selected"] == np.arange(40, 50).mean()
    assert rows.loc["length", "not_selected"] == np.arange(10, 40).mean()
    assert abs(rows.loc["ais, length-matched", "ratio"] - 1) < 0.1
    assert lengths_by_selector(table).data


def test_random_has_the_mean_and_range_of_its_draws() -> None:
    samples = frame()
    row = contrast.length_table(samples, ["random"], 0.25, within=None, seed=5).iloc[0]
    means = [
        select(samples, "random", 0.25, within=None, seed=5 + i).chosen["n_tokens"].mean()
        for i in range(3)
    ]
    assert row["selected"] == pytest.approx(sum(means) / 3)
    assert (row["lo"], row["hi"]) == (min(means), max(means))
    texts = pd.Series([f"{'abcdefgh'[i % 8] * 3} word" for i in range(40)], index=samples["id"])
    words = contrast.word_overlap(samples, texts, "ais", ["random", "loss"], (0.1,), within=None)
    words = words.set_index("other")
    assert words.loc["random", "tf_lo"] <= words.loc["random", "tf"] <= words.loc["random", "tf_hi"]
    assert words.loc["loss", ["tf_lo", "tf_hi"]].isna().all()


def test_correlations_are_those_of_scipy_overall_and_within() -> None:
    from scipy.stats import spearmanr

    samples = frame()
    samples["entropy"] = np.where(samples["domain"] == "a", 10, -10) + samples["ais"]
    table = contrast.correlations(samples).set_index(["column", "scope"])
    for name in ("n_tokens", "loss_base", "entropy"):
        row = table.loc[(name, "overall")]
        assert row["rho"] == pytest.approx(spearmanr(samples["ais"], samples[name])[0])
        assert row["lo"] <= row["rho"] <= row["hi"]
    assert table.loc[("entropy", "within domain"), "rho"] == pytest.approx(1)
    assert table.loc[("entropy", "overall"), "rho"] < 0.8
    figure = correlation_forest(table.reset_index())
    assert {trace.name for trace in figure.data} == {"overall", "within domain"}
    assert "base entropy" in figure.layout.title.text


def test_a_domain_called_all_is_not_taken_for_all() -> None:
    samples = frame()
    named = samples.assign(domain=samples["domain"].replace("a", "all"))
    pd.testing.assert_frame_equal(contrast.correlations(named), contrast.correlations(samples))
    table = confound_table(named, scores=["ais"], against=["loss_base"])
    want = confound_table(samples, scores=["ais"], against=["loss_base"])["rho"].to_list()
    assert table["rho"].to_list() == pytest.approx(want)


def test_word_overlap_of_what_is_known() -> None:
    samples = frame().assign(delta=lambda x: x["ais"] * 2, entropy=lambda x: -x["ais"])
    half = samples["ais"].rank(pct=True) > 0.5
    texts = pd.Series(np.where(half, "alpha beta", "gamma delta"), index=samples["id"])
    table = contrast.word_overlap(samples, texts, "ais", ["delta", "entropy"], within=None)
    shares = table.set_index(["other", "top"])
    assert (shares.loc["delta", ["tf", "tf_idf"]] == 1).all().all()
    assert (shares.loc["entropy", ["tf", "tf_idf"]] == 0).all().all()
    assert word_overlap_map(table).data
    with pytest.raises(DataError, match="no text"):
        contrast.word_overlap(samples, texts.iloc[1:])


def test_telling_samples_are_the_extremes() -> None:
    samples = frame()
    told = contrast.telling_samples(samples, "ais", "loss", 2).groupby("why", sort=False)["id"]
    ranked = samples.sort_values("ais")["id"].tolist()
    assert told.get_group("highest").tolist() == ranked[:-3:-1]
    assert told.get_group("lowest").tolist() == ranked[:2]
    gap = samples["ais"].rank(pct=True) - samples["loss_base"].rank(pct=True)
    assert told.get_group("disputed: ais high, loss low").iloc[0] == samples["id"][gap.idxmax()]


def test_embeddings_are_means_of_the_residual_stream(llama: Any) -> None:
    import torch

    texts = ["one two", "three"]
    found = embeddings(llama, [*texts, ""], layer=1, progress=False)
    for vector, text in zip(found, texts, strict=False):
        ids = llama.tokenizer(text, return_tensors="pt")["input_ids"]
        hidden = llama.original_model(ids, output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(torch.tensor(vector), hidden[0].mean(0), rtol=0, atol=1e-4)
    assert not found[2].any()


def test_the_map_finds_planted_clusters() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [30, 20, 10])
    vectors = rng.normal(size=(3, 16))[truth] * 10 + rng.normal(size=(60, 16))
    found = embed_map([f"s{i}" for i in range(60)], vectors, clusters=3)
    assert found["cluster"].tolist() == truth.tolist()
    selected = pd.Series(truth == 2, index=found["id"])
    shares = contrast.cluster_shares(found, selected)
    assert shares["selected"].tolist() == [0, 0, 1]
    assert shares["all"].tolist() == pytest.approx([0.5, 1 / 3, 1 / 6])
    words = found.assign(text=np.array(["apples", "pears", "plums"])[truth])
    assert contrast.cluster_words(words) == {0: "apples", 1: "pears", 2: "plums"}
    assert sample_map(found.assign(selected=selected.to_numpy())).data
    assert cluster_bars(shares).data
