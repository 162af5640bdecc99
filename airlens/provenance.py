"""Where a number comes from: kept with every result that airlens saves."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PACKAGES = ("torch", "transformer_lens", "transformers", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Installed versions of the packages a number can depend on, and of Python."""
    own = {"python": platform.python_version(), "airlens": __version__}
    return {**own, **{name: _version(name) for name in PACKAGES}}


@cache
def _version(name: str) -> str:
    """Read from the package's files once: a run over a corpus asks for every part."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def weights_hash(model: TransformerBridge) -> str:
    """A hash of the model's weights as they are now: 16 hex digits, the same on every device.

    All of them count: one number changed in place is another model. It reads every weight, which
    takes about as long as a pass over a few tokens.
    """
    from .model.state import state_of

    return state_of(model).weights()


def model_info(model: TransformerBridge) -> dict[str, Any]:
    """Name, architecture, shape, dtype and weights hash of a model."""
    from .model.state import state_of

    cfg = model.cfg
    heads = state_of(model).heads_per_layer
    return {
        "name": str(getattr(cfg, "model_name", "")),
        "architecture": str(getattr(cfg, "architecture", "")),
        "n_layers": int(cfg.n_layers),
        "n_heads": int(cfg.n_heads),
        **({} if set(heads) == {int(cfg.n_heads)} else {"heads_per_layer": list(heads)}),
        "dtype": str(next(model.original_model.parameters()).dtype).removeprefix("torch."),
        "weights": weights_hash(model),
    }


def provenance(model: TransformerBridge | None = None, **settings: Any) -> dict[str, Any]:
    """A JSON-able record of what made a result: the model, if any, and whatever else decides it."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {} if model is None else {"model": model_info(model)}
    return {"versions": versions(), "time": now, **about, **settings}


def fingerprint(record: Mapping[str, Any]) -> str:
    """A 16-hex-digit hash of a JSON-able mapping, independent of key order.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """What JSON lacks, as it decides: all of an array, whose text leaves out its middle."""
    if getattr(value, "ndim", 0):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))  # the order of a set changes from process to process
    return str(value)
