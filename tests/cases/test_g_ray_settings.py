"""G6, G7: what a run with Ray leaves behind, and how its actors are set up."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest

from airlens.corpus import ray_runner
from airlens.corpus.ray_runner import RayEngine
from airlens.errors import ConfigError

pytest.importorskip("ray")


def test_g6_the_callers_settings_come_back() -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.target_max_block_size = 12345
    context.execution_options.preserve_order = True
    before = copy.deepcopy(context)
    logging.getLogger("ray.data").setLevel(logging.DEBUG)
    with pytest.raises(KeyError), ray_runner._one_chunk_a_block(), ray_runner._quiet("ray.data"):
        assert context.target_max_block_size == 1
        assert not context.execution_options.preserve_order
        assert logging.getLogger("ray.data").level == logging.ERROR
        raise KeyError
    assert logging.getLogger("ray.data").level == logging.DEBUG
    for name in ("enable_progress_bars", "target_max_block_size"):
        assert getattr(context, name) == getattr(before, name)
    assert context.execution_options.preserve_order
    logging.getLogger("ray.data").setLevel(logging.NOTSET)


class _Cluster:
    """What a pipeline asks of Ray."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources
        self.asked: dict[str, Any] = {}
        self.data = self

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def get_runtime_context(self) -> Any:
        return self

    def get_node_id(self) -> str:
        return "0" * 56

    def read_datasource(self, *args: Any, **options: Any) -> Any:
        return self

    def map_batches(self, *args: Any, **options: Any) -> Any:
        self.asked = options
        return self


SETTINGS = [
    ({"CPU": 8.0}, {"actors": 2}, 4, {"num_cpus": 0.5}),
    ({"CPU": 8.0}, {}, 1, {"num_cpus": 0.5}),
    ({"CPU": 32.0, "GPU": 4.0}, {}, 8, {"num_gpus": 1}),
    ({"CPU": 8.0}, {"actors": 2, "actor_threads": 3, "actor_cpus": 2.0}, 3, {"num_cpus": 2.0}),
]


@pytest.mark.parametrize(("resources", "options", "threads", "needs"), SETTINGS)
def test_g7_threads_and_cpus_of_an_actor(
    resources: dict[str, float],
    options: dict[str, Any],
    threads: int,
    needs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_runner, "_without_model", lambda scorer: {})
    cluster = _Cluster(**resources)
    engine = RayEngine({"name": "x"}, **options)
    engine._pipeline(cluster, None, lambda: iter(()))  # type: ignore[arg-type]
    assert cluster.asked["fn_constructor_args"][2] == threads
    assert {name: cluster.asked[name] for name in needs} == needs
    assert f"of {threads} threads each" in engine.told


def test_c7_an_actor_has_the_gpus_that_its_model_is_spread_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_runner, "_without_model", lambda scorer: {})
    cluster = _Cluster(CPU=32.0, GPU=8.0)
    engine = RayEngine({"name": "x", "n_devices": 4})
    engine._pipeline(cluster, None, lambda: iter(()))  # type: ignore[arg-type]
    assert cluster.asked["num_gpus"] == 4 and "2 actors of 16 threads" in engine.told


@pytest.mark.parametrize("name", ["actor_cpus", "actor_threads"])
def test_g7_a_number_that_makes_no_sense(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=0: give a number above 0"):
        RayEngine({"name": "x"}, **{name: 0})  # type: ignore[arg-type]
