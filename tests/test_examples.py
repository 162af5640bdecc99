"""The examples in the docstrings of the core, and of what needs no model, give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = [
    *("heads", "provenance", "registry", "retrieval", "selection"),
    *("step_influence", "steps", "token_losses", "trace"),
    *("statistics.auroc", "statistics.correlations", "statistics.estimates", "statistics.grids"),
    *("plugins.registration", "reading.load", "validity.heuristics"),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"airlens.{name}")
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted, "no example"
    assert not found.failed
