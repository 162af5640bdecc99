"""G7: how the actors of a run with Ray are set up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airlens.corpus.ray_runner import RayEngine
from airlens.errors import ConfigError

pytest.importorskip("ray")


class _Cluster:
    """What the engine asks of Ray to make an actor."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources
        self.asked: dict[str, Any] = {}
        self.given: tuple[Any, ...] = ()

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, *args: Any, **options: Any) -> Any:
        if options:
            self.asked = options
            return lambda worker: self
        self.given = args
        return self


SCORER = SimpleNamespace(
    out=None, heads=None, settings=None, identity={}, keep=("rows",), budget=None
)


SETTINGS = [
    ({"CPU": 8.0}, {"actors": 2}, 4, {"num_cpus": 0.5}),
    ({"CPU": 8.0}, {}, 1, {"num_cpus": 0.5}),
    ({"CPU": 32.0, "GPU": 4.0}, {}, 8, {"num_gpus": 1}),
    ({"CPU": 8.0}, {"actors": 2, "actor_threads": 3, "actor_cpus": 2.0}, 3, {"num_cpus": 2.0}),
]


@pytest.mark.parametrize(("resources", "options", "threads", "needs"), SETTINGS)
def test_g7_threads_and_cpus_of_an_actor(
    resources: dict[str, float], options: dict[str, Any], threads: int, needs: dict[str, Any]
) -> None:
    cluster = _Cluster(**resources)
    engine = RayEngine({"name": "x"}, **options)
    start, size = engine.actor(cluster, SCORER)  # type: ignore[arg-type]
    start()
    assert cluster.given[2] == threads
    assert cluster.asked == {"max_restarts": 0, "max_task_retries": 0, **needs}
    assert f"{size} actors of {threads} threads each" in engine.told


def test_c7_an_actor_has_the_gpus_that_its_model_is_spread_over() -> None:
    cluster = _Cluster(CPU=32.0, GPU=8.0)
    engine = RayEngine({"name": "x", "n_devices": 4})
    _, size = engine.actor(cluster, SCORER)  # type: ignore[arg-type]
    assert cluster.asked["num_gpus"] == 4 and size == 2
    assert "2 actors of 16 threads" in engine.told


@pytest.mark.parametrize("name", ["actor_cpus", "actor_threads"])
def test_g7_a_number_that_makes_no_sense(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}=0: give a number above 0"):
        RayEngine({"name": "x"}, **{name: 0})  # type: ignore[arg-type]
