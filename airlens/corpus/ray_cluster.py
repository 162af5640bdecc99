"""Start a Ray cluster on this machine or join one, and say why where that fails."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from airlens.errors import RunError

log = logging.getLogger(__name__)

ATTEMPTS = 3  # to start a cluster: on a busy machine Ray's processes are sometimes late
# What Ray's own processes write before a message: time, level, process, line of their source.
_PREFIX = re.compile(r"^\[\d{4}-\d\d-\d\d [^\]]*\] (\S+:\d+: )?")


@contextmanager
def cluster(address: str | None, cpus: int | None) -> Iterator[Any]:
    """Ray, joined to a cluster; one that was started here is stopped afterwards.

    Args:
        address: of a cluster; default: ``RAY_ADDRESS``, else one is started here.
        cpus: of a cluster started here; default: all.

    Raises:
        RunError: it did not start, none is at the address, or it does not let us in.
    """
    import ray

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    joined = address or os.environ.get("RAY_ADDRESS", "local")
    options["address"] = joined
    if joined == "local":  # asked for no address, Ray would join a cluster that runs here
        options |= {"include_dashboard": False, "num_cpus": cpus}
    _start(ray, options)
    if joined != "local":
        _say_joined(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, options: dict[str, Any]) -> None:
    here = options["address"] == "local"
    for attempt in range(ATTEMPTS if here else 1):
        try:
            with _Overheard() as heard:
                ray.init(**options)
        except Exception as error:  # Ray raises a bare Exception when its processes are late
            ray.shutdown()
            if here and attempt + 1 < ATTEMPTS and not isinstance(error, ValueError):
                continue
            where = "on this machine" if here else f"at {options['address']}"
            reason = "; ".join(dict.fromkeys([str(error), *heard.reasons]))
            verb = "start" if here else "join"
            raise RunError(f"cannot {verb} the Ray cluster {where}: {reason}") from error
        else:
            return


class _Overheard:
    """What Ray's compiled part writes to stderr inside the block, where alone it gives a reason.

    A cluster that asks for a token tells it there, and Python only that no connection was made.
    What was written is passed on after the block, unless that raises: then `reasons` has it.
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __enter__(self) -> _Overheard:
        self._file = tempfile.TemporaryFile()
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        self._kept = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, *args: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._file.seek(0)
        said = self._file.read()
        self._file.close()
        if kind is None:
            with suppress(OSError):
                os.write(2, said)
            return
        lines = (_PREFIX.sub("", line) for line in said.decode(errors="replace").splitlines())
        self.reasons = list(dict.fromkeys(line.strip() for line in lines if line.strip()))[-3:]


def _say_joined(ray: Any) -> None:
    """Say which cluster was joined: "auto" takes whatever runs on this machine."""
    have = ray.cluster_resources()
    log.warning(
        "joined the Ray cluster at %s: %d machines, %d CPUs, %d GPUs",
        ray.get_runtime_context().gcs_address,
        len(ray.nodes()),
        have.get("CPU", 0),
        have.get("GPU", 0),
    )
