"""Training on repeated spans, and the figures of trust, emergence and needles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import airlens as al
from airlens.detectors.induction import repeated_ids
from airlens.errors import ConfigError, DataError, ModelError
from airlens.experiments.emergence import (
    TinySettings,
    checkpoint_steps,
    emergence,
    head_history,
    pythia_checkpoints,
    repeated_spans,
)
from airlens.figures import (
    agreement_figure,
    detector_curves,
    emergence_figure,
    generations_figure,
    mirror_figure,
    needle_grid_figure,
    stability_figure,
)

SMALL = TinySettings(steps=4, checkpoints=3, batch=2, length=12, span=4, vocab=12, width=16)


def test_spans_are_repeated_where_they_are_marked() -> None:
    tokens, marks = repeated_spans(SMALL, np.random.default_rng(0))
    assert tokens.shape == (2, 12) and marks.shape == (2, 11)
    assert (marks.sum(dim=1) == SMALL.span - 1).all()
    for row, mark in zip(tokens.tolist(), marks.tolist(), strict=True):
        again = mark.index(True)  # target index 0 is token 1
        span = row[again : again + SMALL.span]
        assert any(row[i : i + SMALL.span] == span for i in range(again - SMALL.span + 1))
    with pytest.raises(ConfigError, match="no room"):
        repeated_spans(TinySettings(length=8, span=5), np.random.default_rng(0))


def test_the_same_settings_give_the_same_run() -> None:
    state = torch.random.get_rng_state()
    first, second = (emergence(SMALL, probes=2, progress=False) for _ in range(2))
    pd.testing.assert_frame_equal(first.losses, second.losses)
    pd.testing.assert_frame_equal(first.heads, second.heads)
    assert torch.equal(state, torch.random.get_rng_state())
    assert sorted(first.heads["step"].unique()) == [0, 2, 4]
    assert len(first.losses) == 5 and len(first.heads) == 3 * 8
    assert first.losses["loss"].iloc[0] == pytest.approx(np.log(12), abs=0.2)
    assert checkpoint_steps(10, 3) == {0, 5, 10}


def test_history_of_given_models(llama: Any, tokenizer: Any) -> None:
    probes = al.key_value_probes(
        tokenizer, n=1, max_tokens=420, shots=1, values=["ab", "bc", "cd", "de"]
    )
    frame = head_history([(0, llama), (7, llama)], probes, "retrieval_reasoning")
    halves = [part["score"].tolist() for _, part in frame.groupby("step")]
    assert halves[0] == halves[1] and list(frame["step"].unique()) == [0, 7]
    with pytest.raises(ConfigError, match="no checkpoints"):
        head_history([], probes)
    with pytest.raises(ConfigError, match="checkpoint_index"):
        next(pythia_checkpoints(indices=[999]))


def test_published_checkpoints_are_read_by_their_revision(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub cache as Pythia's files lie in it, one revision for each training step, no ``main``."""
    from huggingface_hub import constants
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    repo = tmp_path / "models--EleutherAI--pythia-70m"
    models = {}
    for seed, step in enumerate((0, 4)):
        torch.manual_seed(seed)
        config = GPTNeoXConfig(
            vocab_size=260, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64,
        )  # fmt: skip
        models[step] = GPTNeoXForCausalLM(config).eval()
        commit = f"{seed}" * 40
        models[step].save_pretrained(repo / "snapshots" / commit)
        tokenizer.save_pretrained(repo / "snapshots" / commit)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / f"step{step}").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tokens = torch.tensor([[5, 6, 7, 8]])
    for step, model in pythia_checkpoints(indices=[0, 3]):
        expected = models[step](tokens).logits
        assert torch.allclose(model(tokens), expected, atol=1e-4)
    assert step == 4
    probes = repeated_ids(list(range(3, 200)), 2, 8)
    frame = head_history(pythia_checkpoints(indices=[0, 3]), probes, "induction")
    assert list(frame["step"].unique()) == [0, 4] and len(frame) == 8
    with pytest.raises(ModelError, match="pythia-70m"):
        next(pythia_checkpoints(indices=[1]))


def test_figures_show_what_they_are_given() -> None:
    run = emergence(SMALL, probes=2, progress=False)
    fig = emergence_figure(run.heads, run.losses)
    assert len(fig.frames) == 3 and fig.layout.sliders[0].steps[2].label == "4"
    cells = np.array(fig.frames[-1].data[0].z)
    last = run.heads[run.heads["step"] == 4]
    row = last.iloc[0]
    assert cells[row["layer"], row["head"]] == pytest.approx(row["score"])
    assert np.array_equal(fig.data[0].z, fig.frames[-1].data[0].z)

    by_checkpoint = run.losses[run.losses["step"].isin([0, 2, 4])]
    fig = emergence_figure(run.heads, by_checkpoint, follow=2, seed=1)
    assert list(fig.data[1].y) == pytest.approx(by_checkpoint["loss"].tolist(), abs=1e-4)
    lines = {
        name: [t for t in fig.data if t.name == name] for name in ("top heads", "random heads")
    }
    assert [len(some) for some in lines.values()] == [2, 2]
    ends = sorted(last["score"], reverse=True)
    assert [line.y[-1] for line in lines["top heads"]] == pytest.approx(ends[:2], abs=1e-4)
    assert len({line.hovertemplate for some in lines.values() for line in some}) == 4

    stable = pd.DataFrame(
        {
            "max_tokens": [512, 512],
            "method": ["split half", "bootstrap"],
            "n_probes": [4, 4],
            "jaccard": [0.8, 0.1],
            "jaccard_lo": [0.7, 0.0],
            "jaccard_hi": [0.9, 0.2],
        }
    )
    fig = stability_figure(stable)
    assert list(fig.data[0].y) == [0.8] and "0.8" in fig.layout.title.text

    pairs = pd.DataFrame({"a": ["x", "x"], "b": ["y", "<z>"], "jaccard": [0.5, np.nan]})
    fig = agreement_figure(pairs)
    grid = np.array(fig.data[0].z, dtype=float)
    assert grid[0, 1] == grid[1, 0] == 0.5 and grid[0, 0] == 1 and np.isnan(grid[0, 2])
    assert "<z>" not in str(fig.data[0].x)

    curves = pd.DataFrame(
        {
            "detector": ["a", "b", "a"],
            "heads": ["top", "top", "random"],
            "k": [5, 5, 5],
            "copy_accuracy": [0.4, 0.9, 0.8],
        }
    )
    fig = detector_curves(curves)
    assert [trace.name for trace in fig.data if trace.name] == ["a", "b", "random"]
    assert "of a hurt most" in fig.layout.title.text
    # The whole curve decides: b ends lower, with more heads.
    more = curves.iloc[[0, 1, 1]].assign(k=[9, 9, 14], copy_accuracy=[0.3, 0.3, 0.2])
    headline = detector_curves(pd.concat([curves, more])).layout.title.text
    assert "of a hurt most: 0.300 without 9" in headline
    assert detector_curves(curves.assign(k=0)).layout.annotations


def test_figures_of_needles_and_generations() -> None:
    grid = pd.DataFrame(
        {
            "condition": ["base", "top", "base", "top"],
            "length": [128, 128, 256, 256],
            "depth": [0.0, 0.0, 0.0, 0.0],
            "recall": [1.0, 0.0, 0.5, 0.25],
        }
    )
    fig = needle_grid_figure(grid)
    assert [list(trace.z[0]) for trace in fig.data] == [[1.0, 0.5], [0.0, 0.25]]
    # At 512 tokens only one condition was asked: the headline compares the other lengths.
    longer = pd.concat([grid, grid.iloc[:1].assign(length=512, recall=0.0)])
    headline = needle_grid_figure(longer).layout.title.text.replace("<br>", " ")
    assert "base 0.750, top 0.125" in headline

    summary = pd.DataFrame(
        {
            "condition": ["base", "top"] * 2,
            "length": [128, 128, 256, 256],
            "depth": [np.nan] * 4,
            "found": [1.0, 0.0, 0.5, 0.25],
            "lo": [0.6, 0.0, 0.2, 0.1],
            "hi": [1.0, 0.4, 0.8, 0.6],
            "n": [6] * 4,
        }
    )
    fig = needle_grid_figure(grid, summary)
    lines = [list(trace.y) for trace in fig.data if trace.type == "scatter"]
    assert lines == [[1.0, 0.5], [0.0, 0.25]]
    assert "6 answers" in fig.data[-1].hovertext[0]

    said = pd.DataFrame(
        {
            "condition": ["base"] * 3 + ["top"] * 3,
            "pos": [0, 1, 2] * 2,
            "token": ["a", " b", "<c>", "a", " x", "<c>"],
        }
    )
    fig = generations_figure(said, width=3)
    assert [list(row) for row in fig.data[0].z] == [[0, 0, 0], [0, 1, 1]]
    assert "<c>" not in str(fig.data[0].text) and "first 1 tokens" in fig.layout.title.text

    summary = pd.DataFrame(
        {
            "measure": ["copy <accuracy>"],
            "base": [0.9],
            "random": [0.8],
            "random_lo": [0.7],
            "random_hi": [0.85],
            "top": [0.2],
        }
    )
    fig = mirror_figure(summary)
    assert fig.data[0].cells["values"][2][0] == "0.800 (0.700 to 0.850)"
    assert "<accuracy>" not in str(fig.data[0].cells["values"][0])


def test_empty_frames_give_a_figure_that_says_so_and_missing_columns_an_error() -> None:
    empty = {
        agreement_figure: ["a", "b", "jaccard"],
        needle_grid_figure: ["condition", "length", "depth", "recall"],
        generations_figure: ["condition", "pos", "token"],
        detector_curves: ["detector", "heads", "k", "copy_accuracy"],
    }
    for make, columns in empty.items():
        assert make(pd.DataFrame(columns=columns)).layout.annotations
        with pytest.raises(DataError, match=columns[0]):
            make(pd.DataFrame())


@pytest.mark.slow
def test_an_induction_head_emerges() -> None:
    """The loss of the repeated tokens falls far under chance as one head of layer 1 comes up."""
    run = emergence(TinySettings(steps=1500, checkpoints=4), probes=4, progress=False)
    assert run.heads[run.heads["step"] == 0]["score"].max() < 0.1
    last = run.heads[run.heads["step"] == 1500]
    assert last["score"].max() > 0.4 and last.loc[last["score"].idxmax(), "layer"] == 1
    assert run.losses["loss_repeated"].tail(20).mean() < 1.0
