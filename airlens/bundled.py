"""The files that come with airlens: probe sentences and generated traces."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .errors import ConfigError


def data_path(name: str) -> Path:
    """The path of a bundled file, in a checkout's ``data/`` or inside an installed wheel.

    Raises:
        ConfigError: no bundled file has that name.
    """
    here = Path(__file__).resolve().parent
    for folder in (here.parent / "data", here / "_data"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"airlens has no bundled file {name!r}; reinstall airlens or run `make data`")


@lru_cache(maxsize=1)
def sentences() -> tuple[str, ...]:
    """The bundled English sentences (values of the key-value probes), in file order."""
    lines = data_path("sentences.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
