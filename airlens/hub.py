"""Open a data set of the Hugging Face hub, and fail fast where there is no network."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .errors import DataError

# Default configurations of data sets that have several.
DEFAULT_CONFIG = {"openai/gsm8k": "main", "gsm8k": "main"}
# Seconds to wait for the hub. The hub client itself retries for half a minute.
TIMEOUT = 3.0


def load_hub(name: str, *, split: str, config: str | None, stream: bool) -> Iterable[Any]:
    """The records of one split.

    Args:
        name: "owner/name".
        split: the split's name; slices such as "train[:100]" too.
        config: the configuration; None for the default one.
        stream: read over the network instead of downloading; not possible from the cache.

    Raises:
        DataError: the hub cannot be reached and there is no cached copy, or there is no such data
            set, configuration or split.
    """
    import datasets

    config = config or DEFAULT_CONFIG.get(name)
    obstacle = unreachable()
    try:
        if obstacle is None:
            return _records(datasets.load_dataset(name, config, split=split, streaming=stream))
        with _offline():
            return _records(datasets.load_dataset(name, config, split=split))
    except Exception as error:  # the clients below raise dozens of kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if obstacle:
            reason = (
                f"no such file, and as a data set of the hub: {obstacle}; from the cache: {reason}"
            )
        else:
            reason = f"no such file, and cannot be loaded from the hub: {reason}"
        raise DataError(reason, file=name) from error


def unreachable() -> str | None:
    """Why the hub (or the proxy before it) cannot be reached within `TIMEOUT`; None if it can."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    host, port = _address(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)
    outcome: list[str | None] = [f"no answer within {TIMEOUT:g} s"]

    def knock() -> None:
        try:
            socket.create_connection((host, port), timeout=TIMEOUT).close()
            outcome[0] = None
        except OSError as error:
            outcome[0] = str(error)

    # In a thread, because the timeout of a connection does not cover the look-up of the name.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return None if outcome[0] is None else f"{host} cannot be reached ({outcome[0]})"


def _address(endpoint: str) -> tuple[str, int]:
    """Host and port to connect to: those of the proxy where one is set."""
    target = urlsplit(endpoint)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return target.hostname or "", target.port or (443 if target.scheme == "https" else 80)


def _records(data: Any) -> Iterable[Any]:
    records: Iterable[Any] = data
    return records


@contextmanager
def _offline() -> Iterator[None]:
    """Restrict the hub's clients to their caches; they read the setting only at import."""
    from datasets import config
    from huggingface_hub import constants

    before = (config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE)
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
