"""Models with attention in some layers only: their heads are those of these layers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import HYBRIDS, hf_model, tiny, tokenizer

import airlens as al
from airlens.detectors.induction import repeated_probes
from airlens.errors import AblationError, HeadError
from airlens.experiments.agreement import agreement, rank_table, stability
from airlens.experiments.needles import conditions
from airlens.experiments.validity.benchmark import head_groups
from airlens.heads import Head, HeadGrid, HeadScores, HeadSet, parse_head, random_heads
from airlens.model.heads import heads_of
from airlens.step_influence.ablation_curves import curve_sets
from airlens.step_influence.head_influence import head_influence
from airlens.views.figures.head_maps import head_map, score_ranking

TRACE = al.Trace("t", "ab cd", "efg hij. klm nop. qrs tuv.")
LAYERS = {"lfm2": [0], "jamba": [1, 3], "bamba": [0, 2]}


def probes(n: int = 2) -> Any:
    return repeated_probes(tokenizer(), n=n, half=8)


def layers_of(name: str) -> list[int]:
    """By the configuration, not by airlens."""
    if name in LAYERS:
        return LAYERS[name]
    kinds = hf_model(name).config.layer_types
    return [i for i, kind in enumerate(kinds) if kind == "full_attention"]


@pytest.mark.parametrize("name", HYBRIDS)
def test_c8_scores_of_the_attention_layers(name: str) -> None:
    model = tiny(name)
    scores = al.retrieval_scores(model, probes(), progress=False)
    there = np.isfinite(scores.scores).all(axis=1)
    assert np.flatnonzero(there).tolist() == layers_of(name)
    assert np.isnan(scores.scores[~there]).all()
    assert {h.layer for h in scores.ranked()} == set(layers_of(name))
    assert scores.grid == heads_of(model)
    frame = scores.to_frame()
    assert len(frame) == len(scores.grid) == 4 * len(layers_of(name))


@pytest.mark.parametrize("name", ["lfm2", "jamba", "qwen3_next"])
def test_c8_mean_z_by_hand(name: str) -> None:
    model, text = tiny(name), "the cat sat on the mat"
    means = al.mean_z(model, [text])
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        (f"blocks.{i}.attn.hook_z", lambda z, hook, i=i: seen.__setitem__(i, z[0].float()))
        for i in layers_of(name)
    ]
    with torch.no_grad():
        model.run_with_hooks(torch.tensor([tokenizer()(text)["input_ids"]]), fwd_hooks=hooks)
    for layer in range(int(model.cfg.n_layers)):
        if layer in layers_of(name):
            torch.testing.assert_close(means[layer], seen[layer].mean(dim=0), atol=1e-5, rtol=1e-4)
        else:
            assert means[layer].isnan().all()


@pytest.mark.parametrize("name", ["lfm2", "jamba"])
@pytest.mark.parametrize("mode", ["uniform", "zero", "mean"])
def test_c8_influence_with_controls(name: str, mode: str) -> None:
    model = tiny(name)
    heads = [Head(layers_of(name)[-1], 1)]
    found = al.influence(model, TRACE, heads, mode=mode, controls=3, progress=False)
    drawn = {parse_head(n) for names in found.provenance["controls"] for n in names}
    assert {head.layer for head in drawn} <= set(layers_of(name))
    assert np.isfinite(found.samples[["loss_base", "loss_ref", "loss_control"]]).all(axis=None)
    assert found.provenance["model"]["heads_per_layer"] == list(heads_of(model).per_layer)


@pytest.mark.parametrize("detector", ["locos", "retrieval_reasoning", "attribution", "causal"])
def test_c8_the_other_detectors(detector: str) -> None:
    scores = al.detect(tiny("jamba"), probes(1), detector, progress=False)
    assert np.isfinite(scores.scores).all(axis=1).tolist() == [False, True, False, True]


def test_c8_heads_that_do_not_exist_are_never_drawn() -> None:
    model = tiny("jamba")
    heads, grid = HeadSet.parse("L1H0, L3H1"), heads_of(model)
    drawn = [
        *random_heads(grid, heads, draws=20),
        *random_heads(grid, heads, draws=20, same_layers=False),
        *(heads for _, heads, _ in head_groups(model, heads, 5, 0)),
        *(heads for _, _, heads in conditions(model, heads, 5, 0, same_layers=5)),
    ]
    assert {head.layer for one in drawn for head in one} == {1, 3}
    with pytest.raises(HeadError, match=r"only 3 others"):
        random_heads(grid, HeadSet(tuple(grid.heads()[:5])))


def test_c8_a_head_that_does_not_exist_is_named() -> None:
    model = tiny("jamba")
    with pytest.raises(HeadError, match=r"L0H1: no such head.*in 2 of its 4 layers \(L1, L3\)"):
        al.influence(model, TRACE, "L0H1", progress=False)
    with pytest.raises(AblationError, match="layers that have: 1, 3"), al.ablated(model, "L0H1"):
        pass


def test_c8_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = al.load_model(hf_model("lfm2"), tokenizer=tokenizer(), device="cpu")
    with caplog.at_level(logging.WARNING):
        al.retrieval_scores(model, probes(), progress=False)
        al.influence(model, TRACE, "L0H1", progress=False)
    said = [r.message for r in caplog.records if "attention layers" in r.message]
    assert len(said) == 1
    assert "4 query heads (H0 to H3) in 1 of its 2 layers (L0)" in said[0]


@pytest.mark.parametrize("name", ["mamba", "rwkv", "recurrent_gemma"])
def test_c8_no_heads_at_all(name: str) -> None:
    model = tiny(name)
    for ask in (
        lambda: al.retrieval_scores(model, probes(), progress=False),
        lambda: al.mean_z(model),
        lambda: al.influence(model, TRACE, "L0H0", progress=False),
    ):
        with pytest.raises(AblationError, match=rf"'{name}' model has no attention heads"):
            ask()


# What ranks, draws and plots


def uneven() -> HeadScores:
    """Five layers of at most four heads: none in the last, two in the third."""
    grid = HeadGrid((4, 0, 2, 4, 0))
    samples = grid.zeros(6) + np.random.default_rng(0).random((6, 5, 4)).astype("f4")
    note = {"model": {"n_layers": 5, "n_heads": 4, "heads_per_layer": [4, 0, 2, 4, 0]}}
    return HeadScores(samples.mean(axis=0), samples, provenance=note)


def test_c8_a_share_counts_heads_that_exist() -> None:
    scores = uneven()
    assert len(scores.top(0.5)) == 5
    assert len(scores.top(1.0)) == len(scores.ranked()) == 10
    with pytest.raises(HeadError, match="from 1 to 10"):
        scores.top(11)
    lo, hi = scores.interval()
    assert (np.isnan(lo) == np.isnan(scores.scores)).all()
    assert (lo <= hi).sum() == 10


def test_c8_heads_that_were_not_measured_are_not_taken() -> None:
    scores = uneven()
    some = scores.samples.copy()
    some[:, 0] = np.nan
    part = HeadScores(some.mean(axis=0), some, provenance=scores.provenance)
    assert {head.layer for head in part.top(1.0)} == {2, 3}
    with pytest.raises(HeadError, match="only 6 heads have a score"):
        part.top(7)


def test_c8_saved_and_loaded(tmp_path: Path) -> None:
    scores = uneven()
    path = scores.save(tmp_path / "heads.json", top=3)
    again = HeadScores.load(path)
    assert again.grid == scores.grid
    np.testing.assert_array_equal(again.scores, scores.scores)
    assert len(json.loads(path.read_text())["heads"]) == 10


def test_c8_maps_and_tables_leave_blanks() -> None:
    scores = uneven()
    frame = scores.to_frame()
    grid = np.array(head_map(frame).data[0].z, dtype=float)
    assert grid.shape == (5, 4)
    np.testing.assert_array_equal(np.isnan(grid), np.isnan(scores.scores))
    assert len(score_ranking(frame).data[0].x) == 10
    assert len(rank_table({"a": scores}, n_boot=20)) == 10
    table = stability(scores, sizes=(2,), draws=5, top=0.5)
    assert np.isfinite(table[["jaccard", "spearman"]]).all(axis=None)
    assert agreement({"a": scores, "b": scores}, top=0.5)["top"].tolist() == [5]
    for group, _, heads in curve_sets(scores, 0.2, draws=2):
        assert all(head in scores.grid for head in heads), group


def test_c8_the_explorers_map() -> None:
    from airlens.views.explorers.traits import head_traits

    scores = uneven()
    traits = head_traits(scores)
    assert len(traits["notes"]) == 20
    assert traits["notes"][4] == "layer 1 has no head 0"
    assert traits["notes"][8].startswith("L2H0 ")


def test_c8_single_heads_of_a_hybrid() -> None:
    found = head_influence(tiny("lfm2"), TRACE, "exact", progress=False)
    assert np.isfinite(found.scores).all(axis=1).tolist() == [True, False]
    assert len(found.to_frame()) == 4


def test_c8_different_numbers_of_heads() -> None:
    """A grid such as OpenELM's, whose layers have 4, 6, 8 heads."""
    grid = HeadGrid((2, 3, 4))
    assert len(grid) == 9 and grid.n_heads == 4
    drawn = random_heads(grid, HeadSet.parse("L0H1, L2H3"), draws=30, same_layers=False)
    assert all(head in grid for one in drawn for head in one)
    with pytest.raises(HeadError, match=r"L0H3: no such head.*L0 2, L1 3, L2 4"):
        grid.check(HeadSet.parse("L0H3"))
