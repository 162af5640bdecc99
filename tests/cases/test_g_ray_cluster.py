"""G5: why a Ray cluster could not be joined is said in Ray's own words."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from airlens.corpus.ray_cluster import ATTEMPTS, cluster
from airlens.errors import RunError

# As Ray 2.60 writes it, once a second, where the token is missing or another one.
SAID = (
    "[2026-11-30 00:52:{:02},441 W 14922 14922] gcs_client.cc:210: Failed to get cluster ID from "
    "GCS server: Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing or "
    "incorrect\n"
)


class Ray(SimpleNamespace):
    """Writes to the file that is stderr, as Ray's compiled part does, then raises or not."""

    def __init__(self, error: Exception | None, said: str = "") -> None:
        super().__init__(error=error, said=said, tried=0)

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.tried += 1
        os.write(2, self.said.encode())
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return {}

    def nodes(self) -> list[int]:
        return []

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="")


def refused(ray: Ray, monkeypatch: pytest.MonkeyPatch, address: str | None) -> str:
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(RunError) as error, cluster(address, None):
        pass
    return str(error.value)


def test_g5_a_cluster_that_wants_a_token(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = "".join(SAID.format(second) for second in range(20))
    ray = Ray(ConnectionError("Failed to connect to Ray cluster at 10.0.0.7:6379"), said)
    assert refused(ray, monkeypatch, "10.0.0.7:6379") == (
        "cannot join the Ray cluster at 10.0.0.7:6379: Failed to connect to Ray cluster at "
        "10.0.0.7:6379; Failed to get cluster ID from GCS server: Unauthenticated: RPC error: "
        "InvalidAuthToken: Authentication token is missing or incorrect"
    )
    assert ray.tried == 1
    assert capfd.readouterr().err == ""


def test_g5_a_token_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray(RuntimeError("Token authentication is enabled but no authentication token was found"))
    assert "enabled but no authentication token was found" in refused(ray, monkeypatch, "auto")
    assert ray.tried == 1


def test_g5_one_of_our_own_is_started_again_when_it_was_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = Ray(Exception("The current node timed out during startup"))
    assert refused(ray, monkeypatch, None).startswith(
        "cannot start the Ray cluster on this machine: The current node timed out"
    )
    assert ray.tried == ATTEMPTS


def test_g5_what_ray_says_otherwise_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", Ray(None, "a warning\n"))
    with cluster("auto", None):
        os.write(2, b"later\n")
    assert capfd.readouterr().err == "a warning\nlater\n"
