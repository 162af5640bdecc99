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
from airlens.losses.fast.process_settings import matmul_precision
from airlens.step_influence.influence import influence
from airlens.traces.trace import Trace

TRACE = Trace("a", "How many?", "There are 3 and 4, so there are 7.")


def test_low_precision_is_close_recorded_and_undone() -> None:
    model = tiny("llama")
    options: Any = {"controls": 0, "progress": False}
    full = influence(model, TRACE, "L0H1", **options)
    low = influence(model, TRACE, "L0H1", precision="bf16", **options)
    assert (full.provenance["precision"], low.provenance["precision"]) == ("full", "bf16")
    assert np.abs(full.tokens["nll_base"] - low.tokens["nll_base"]).max() < 0.5
    assert torch.get_float32_matmul_precision() == "highest"
    again = influence(model, TRACE, "L0H1", **options)
    assert np.array_equal(full.tokens["nll_base"], again.tokens["nll_base"])


def test_low_precision_is_undone_after_an_error() -> None:
    with pytest.raises(RuntimeError), matmul_precision("bf16", torch.device("cpu")):
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == "highest"


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
