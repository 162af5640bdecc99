"""What fewer heads do: against the influence of these heads, asked for one set at a time."""

from __future__ import annotations

import numpy as np
import pytest
from explore_tiny import tiny_model, tiny_traces

import airlens as al
from airlens.step_influence.head_subsets import subsets_of


def test_subsets_are_each_head_alone_and_the_first_2_4_8() -> None:
    heads = al.HeadSet.parse(", ".join(f"L{k}H0" for k in range(9)))
    found = subsets_of(heads)
    assert list(found) == [*heads.names(), "top 2", "top 4", "top 8"]
    assert found["top 4"].heads == heads.heads[:4]
    assert list(subsets_of(al.HeadSet.parse("L0H0, L0H1"))) == ["L0H0", "L0H1"]


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_a_subset_is_scored_as_if_it_were_asked_for_alone(engine: str) -> None:
    model, traces, heads = tiny_model(), tiny_traces()[:1], al.HeadSet.parse("L0H1, L1H2, L2H0")
    options = {"progress": False, "engine": engine, "mode": "zero"}
    found = al.head_subsets(model, traces, heads, controls=2, **options)
    draws = al.influence(model, traces, heads, controls=2, **options).provenance["controls"]
    assert draws == found.provenance["controls"]
    assert list(found.sets) == ["L0H1", "L1H2", "L2H0", "top 2"]
    for name in ("L1H2", "top 2"):
        some = found.sets[name]
        wanted = al.influence(model, traces, some, controls=0, **options)
        tokens, steps = (
            table[table["set"] == name].reset_index(drop=True)
            for table in (found.tokens, found.steps)
        )
        assert tokens["id"].tolist() == wanted.tokens["id"].tolist()
        np.testing.assert_allclose(tokens["delta"], wanted.tokens["delta"], atol=1e-4)
        np.testing.assert_allclose(steps["ais"], wanted.steps["ais"], atol=1e-4)
        # As many of the random heads that all of them are compared with.
        random = [
            al.influence(model, traces, draw[: len(some)], controls=0, **options) for draw in draws
        ]
        mean = np.mean([one.tokens["delta"] for one in random], axis=0)
        np.testing.assert_allclose(tokens["delta_control"], mean, atol=1e-4)
        mean = np.mean([one.steps["ais"] for one in random], axis=0)
        np.testing.assert_allclose(steps["ais_control"], mean, atol=1e-4)
