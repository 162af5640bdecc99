"""Weights that accelerate keeps elsewhere until a layer runs: by hooks, known by what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import hf_model, tokenizer

import airlens as al
from airlens.errors import EngineError
from airlens.losses.choice import choose_engine
from airlens.provenance import weights_hash

TRACE = al.Trace("a", "b", "cde fghi jklm")


def spread(kind: str, how: str, folder: Path, seed: int = 0) -> Any:
    import accelerate

    model, cpu = hf_model(kind, seed), torch.device("cpu")
    if how == "memory":
        accelerate.cpu_offload(model, execution_device=cpu)
    elif how == "disk":
        accelerate.disk_offload(model, str(folder), execution_device=cpu)
    else:
        accelerate.dispatch_model(model, {"": "cpu"})
    return al.load_model(model, tokenizer=tokenizer())


@pytest.mark.parametrize("how", ["memory", "disk"])
@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_c_offloaded_models_are_scored_by_the_hooks(kind: str, how: str, tmp_path: Path) -> None:
    model = spread(kind, how, tmp_path)
    plain = al.load_model(hf_model(kind), tokenizer=tokenizer(), device="cpu")
    assert choose_engine(model, "auto") == "hooks"
    with pytest.raises(EngineError, match="loaded as they run"):
        choose_engine(model, "fast")
    for mode in ("uniform", "mean"):
        found, expected = (
            al.influence(m, TRACE, "L0H1", mode=mode, engine="hooks", progress=False).tokens
            for m in (model, plain)
        )
        np.testing.assert_allclose(found["nll_ref"], expected["nll_ref"], atol=1e-5)
    assert weights_hash(model) == weights_hash(plain)


def test_c_offloaded_models_are_known_by_their_weights(tmp_path: Path) -> None:
    hashes = {
        weights_hash(spread("llama", how, tmp_path / f"{how}{seed}", seed))
        for how in ("memory", "disk")
        for seed in (0, 1)
    }
    assert len(hashes) == 2


def test_c_one_device_and_hooks_of_accelerate_are_no_matter(tmp_path: Path) -> None:
    model = spread("llama", "one device", tmp_path)
    assert choose_engine(model, "auto") == "fast"
