"""Heads name the model that they were found on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import hf_model, tiny, tokenizer

import airlens as al
from airlens.detectors.induction import repeated_probes
from airlens.errors import DataError, HeadError
from airlens.heads import HeadScores, load_heads

TRACE = al.Trace("t", "ab cd", "efg hij. klm nop.")


@pytest.fixture(scope="module")
def heads_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = al.retrieval_scores(tiny("llama"), probes(), progress=False)
    return scores.save(tmp_path_factory.mktemp("heads") / "heads.json", top=2)


def probes() -> Any:
    return repeated_probes(tokenizer(), n=2, half=8)


def score(model: Any, heads: Any) -> Any:
    return al.influence(model, TRACE, heads, controls=1, progress=False)


def test_f1_heads_of_their_own_model(heads_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = score(tiny("llama"), load_heads(heads_file))
    assert len(found.samples) == 1
    assert "other weights" not in caplog.text


def test_f1_heads_of_another_shape_are_refused(heads_file: Path) -> None:
    """Jamba has four layers of four heads (of which two have attention), Llama two."""
    for heads in (load_heads(heads_file), HeadScores.load(heads_file).top(2)):
        with pytest.raises(HeadError, match=r"found on .*2 layers of 4 heads.*airlens heads"):
            score(tiny("jamba"), heads)
    with pytest.raises(HeadError, match="airlens heads"):
        al.sources(tiny("jamba"), TRACE, load_heads(heads_file), progress=False)
    with pytest.raises(HeadError, match="airlens heads"):
        al.score_corpus(
            tiny("jamba"),
            [{"prompt": "a", "response": "b"}],
            load_heads(heads_file),
            heads_file.parent / "run",
        )
    assert len(score(tiny("jamba"), "L1H1").samples) == 1  # by name they are anybody's


def test_f1_other_weights_are_warned_of_once(
    heads_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hf = hf_model("llama")
    with torch.no_grad():
        hf.model.layers[0].mlp.up_proj.weight[3, 5] += 1
    model = al.load_model(hf, tokenizer=tokenizer(), device="cpu")
    with caplog.at_level(logging.WARNING):
        score(model, load_heads(heads_file))
        score(model, load_heads(heads_file))
    assert caplog.text.count("other weights") == 1


def test_f1_the_same_weights_in_another_precision(
    heads_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    low = al.load_model(hf_model("llama"), tokenizer=tokenizer(), device="cpu", dtype="bfloat16")
    with caplog.at_level(logging.WARNING):
        score(low, load_heads(heads_file))
    assert "other weights" not in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"top": [{"layer": 7, "head": 0}]}, "L7H0: no such head"),
        ({"top": [{"layer": 0, "head": -1}]}, "L0H-1: no such head"),
        ({"top": [{"layer": 0, "head": 1.5}]}, "cannot read a head"),
        ({"top": [{"layer": 0, "head": 1}, {"layer": 0, "head": 1}]}, "L0H1 more than once"),
        ({"top": 5}, "not iterable"),
        ({"shape": [2, -4]}, "shape"),
    ],
)
def test_f1_a_damaged_file_is_named(
    heads_file: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    record = json.loads(heads_file.read_text()) | change
    path = tmp_path / "heads.json"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"heads\.json.*{said}"):
        load_heads(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("heads", [{"layer": -1, "head": 0, "score": 1.0}]),
        ("heads", [{"layer": 0, "head": 4, "score": 1.0}]),
        ("heads", [{"layer": 0, "head": 0, "score": 1.0}] * 2),
        ("heads", [{"layer": 0, "head": 0, "score": "high"}]),
        ("samples", [[[1.0, 2.0]]]),
        ("shape", None),
        ("provenance", [1]),
    ],
)
def test_f1_damaged_scores_are_named(
    heads_file: Path, tmp_path: Path, key: str, value: Any
) -> None:
    record = json.loads(heads_file.read_text()) | {key: value}
    path = tmp_path / "heads.json"
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"heads\.json.*not a file of head scores"):
        HeadScores.load(path)


def test_f1_whole_numbers_of_any_kind() -> None:
    heads = al.HeadSet.parse([(np.int64(1), np.int32(2))])
    assert heads.names() == ["L1H2"]
    with pytest.raises(HeadError):
        al.HeadSet.parse([(True, 1)])
