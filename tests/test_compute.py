"""Low precision and the allocator: opt-in, and undone where they can be."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from tiny_zoo import tiny

from airlens.errors import ConfigError
from airlens.losses.fast import low_precision
from airlens.losses.fast.fast_model import fast_model
from airlens.step_influence.influence import influence
from airlens.traces.trace import Trace

TRACE = Trace("a", "How many?", "There are 3 and 4, so there are 7.")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has bf16 products (others compute them too, slowly)."""
    monkeypatch.setattr(low_precision, "has_bf16", lambda: True)


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_low_precision_is_close_recorded_and_undone(kind: str) -> None:
    model = tiny(kind)
    options: Any = {"controls": 0, "progress": False}
    full = influence(model, TRACE, "L0H1", **options)
    low = influence(model, TRACE, "L0H1", precision="bf16", **options)
    assert (full.provenance["precision"], low.provenance["precision"]) == ("full", "bf16")
    moved = np.abs(full.tokens["nll_base"] - low.tokens["nll_base"]).max()
    assert 0 < moved < 0.05
    again = influence(model, TRACE, "L0H1", **options)
    assert np.array_equal(full.tokens["nll_base"], again.tokens["nll_base"])


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_products_are_those_of_a_model_whose_matrices_are_bf16(kind: str) -> None:
    """Each product is that of the rounded factors; only inside a plain MLP it stays bf16."""
    fast = fast_model(tiny(kind))
    inner = ("mlp.gate_proj", "mlp.up_proj")
    for name, module in fast.layers.named_modules():
        if module not in low_precision._matrices(module):
            continue
        transposed = not isinstance(module, torch.nn.Linear)
        weight = module.weight.T if transposed else module.weight
        x = torch.randn(1, 5, weight.shape[1])
        wanted = torch.nn.functional.linear(
            x.bfloat16().float(), weight.bfloat16().float(), module.bias
        )
        before = module(x)
        with low_precision.low_precision(fast, "bf16"):
            found = module(x)
        assert (found.dtype == torch.bfloat16) == name.endswith(inner)
        torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=2**-7)
        assert torch.equal(module(x), before)


@pytest.mark.parametrize(
    ("shapes", "kept"),
    [
        ([(8, 24), (8, 24), (24, 8)], 2),  # gate, up, down
        ([(8, 24), (24, 8)], 1),
        ([(8, 24), (24, 8), (8, 24)], 0),  # gate, down, up: which one leads back is not known
        ([(8, 24)], 0),
    ],
)
def test_what_stays_bf16_is_read_by_the_matrix_that_leads_back(shapes: Any, kept: int) -> None:
    layer = torch.nn.Module()
    layer.mlp = torch.nn.ModuleList(torch.nn.Linear(*shape, bias=False) for shape in shapes)
    assert low_precision._before_the_last(layer) == list(layer.mlp)[:kept]
    layer.mlp.norm = torch.nn.LayerNorm(8)
    assert low_precision._before_the_last(layer) == []


@pytest.mark.usefixtures("bf16")
def test_copies_end_with_the_weights() -> None:
    model = tiny("llama")
    options: Any = {"controls": 0, "progress": False, "precision": "bf16"}
    first = influence(model, TRACE, "L0H1", **options)
    with torch.no_grad():
        for parameter in model.original_model.parameters():
            parameter.mul_(1.5)
    second = influence(model, TRACE, "L0H1", **options)
    full = influence(model, TRACE, "L0H1", **options | {"precision": "full"})
    assert np.abs(second.tokens["nll_base"] - first.tokens["nll_base"]).max() > 0.05
    assert np.abs(second.tokens["nll_base"] - full.tokens["nll_base"]).max() < 0.2


@pytest.mark.usefixtures("bf16")
def test_low_precision_is_undone_after_an_error() -> None:
    fast = fast_model(tiny("llama"))
    kept = [module.forward for module in fast.layers.modules()]
    with pytest.raises(RuntimeError), low_precision.low_precision(fast, "bf16"):
        assert [module.forward for module in fast.layers.modules()] != kept
        raise RuntimeError
    assert [module.forward for module in fast.layers.modules()] == kept


def test_a_processor_without_bf16_says_so_and_runs_in_full(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(low_precision, "has_bf16", lambda: False)
    low_precision._say_once.cache_clear()
    options: Any = {"controls": 0, "progress": False}
    found = influence(tiny("llama"), TRACE, "L0H1", precision="bf16", **options)
    assert found.provenance["precision"] == "full"
    assert caplog.text.count("no bf16 products") == 1
    full = influence(tiny("llama"), TRACE, "L0H1", **options)
    assert np.array_equal(full.tokens["nll_base"], found.tokens["nll_base"])


@pytest.mark.parametrize(
    "options", [{"precision": "int1"}, {"precision": "bf16", "engine": "hooks"}]
)
def test_what_cannot_be_is_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="precision"):
        influence(tiny("llama"), TRACE, "L0H1", **options)


def test_fast_allocator_in_a_process_of_its_own() -> None:
    code = "import airlens, torch; print(airlens.fast_allocator()); torch.ones(1 << 24).sum()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
