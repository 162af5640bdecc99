"""A model or a tokenizer that the caller has in hand: what can be wrapped, and how it stays theirs.

TransformerLens replaces modules of the model that it wraps. What it gets is therefore a second set
of modules on the same tensors: the caller's own model can still be trained, saved and called, and
its new weights are the bridge's too. Quantised models, and those whose parts lie on several
devices, are wrapped themselves, as they are.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airlens.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

# Where wrappers that change no number keep the model.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


def given_model(model: Any, device: str | torch.device, dtype: torch.dtype) -> Any:
    """What of a model in hand is to be wrapped: it runs like the model, which is left unchanged.

    Args:
        model: a Hugging Face causal language model; also compiled, in ``DataParallel``, with a
            PEFT adapter (merged in what is returned), quantised or dispatched by accelerate.
        device: where the returned model's tensors are; those of quantised and dispatched models
            stay where they are.
        dtype: of its weights, likewise.

    Raises:
        ModelError: no such model; the message says what it is and what to do.
    """
    _need_model(model)
    model = _unwrapped(model)
    _need_whole(model)
    model = _merged(model)
    _need_language_model(model)
    if stays_as_it_is(model):
        return model
    return shared_copy(model, device, dtype)


def stays_as_it_is(model: Any) -> bool:
    """Whether a model is quantised, or placed by accelerate: never cast, moved or copied."""
    import torch

    config = getattr(model, "config", None)
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None:
        return True
    if getattr(config, "quantization_config", None) is not None:
        return True
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        return True
    plain = (torch.Tensor, torch.nn.Parameter)
    return any(
        not p.is_floating_point() or type(p.data) not in plain or p.device.type == "meta"
        for p in model.parameters()
    )


def shared_copy(model: Any, device: str | torch.device, dtype: torch.dtype) -> Any:
    """The same modules anew, on the same tensors where device and dtype are those asked for.

    Hooks registered on the caller's modules, now or later, also run in the copy. Buffers that are
    not saved (rotary frequencies) keep their dtype, as with ``from_pretrained``.
    """
    import torch

    known: dict[int, Any] = {}

    def shared(tensor: torch.Tensor, cast: bool) -> torch.Tensor:
        wanted = dtype if cast and tensor.is_floating_point() else tensor.dtype
        moved = tensor.detach().to(device=device, dtype=wanted)
        return moved.clone() if moved.is_inference() else moved

    with torch.inference_mode(False):
        for module in model.modules():
            for parameter in module._parameters.values():
                if parameter is not None and id(parameter) not in known:
                    known[id(parameter)] = torch.nn.Parameter(shared(parameter, True), False)
            for name, buffer in module._buffers.items():
                if buffer is not None and id(buffer) not in known:
                    saved = name not in module._non_persistent_buffers_set
                    known[id(buffer)] = shared(buffer, saved)
            for hooks in _hook_tables(module):
                known[id(hooks)] = hooks
            for value in module.__dict__.values():  # as pruning keeps what it derives
                if isinstance(value, torch.Tensor) and not value.is_leaf:
                    known[id(value)] = value.detach()
        return copy.deepcopy(model, known)


def _hook_tables(module: torch.nn.Module) -> Iterator[Any]:
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        yield getattr(module, name)
    for name in ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"):
        yield getattr(module, name)
    yield module._forward_pre_hooks_with_kwargs


def given_tokenizer(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model in hand, as a copy: TransformerLens sets special tokens in it.

    Raises:
        ModelError: it is no tokenizer of transformers; the message says what to do.
    """
    from transformers import PreTrainedTokenizerBase

    inner = getattr(tokenizer, "tokenizer", None)
    if not isinstance(tokenizer, PreTrainedTokenizerBase) and inner is not None:
        tokenizer = inner  # a processor of a multimodal model: its text part
    if isinstance(tokenizer, type) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            f"tokenizer: a {_kind(tokenizer)} is no tokenizer of transformers; give "
            "AutoTokenizer.from_pretrained(NAME), its NAME, or, around one of the tokenizers "
            "package, PreTrainedTokenizerFast(tokenizer_object=…)"
        )
    if not tokenizer.is_fast:
        log.warning(
            "%s is a slow tokenizer, without the character offsets that steps need: traces cannot "
            "be scored with it; load a fast one (tokenizer.json)",
            type(tokenizer).__name__,
        )
    return copy.deepcopy(tokenizer)


def _need_model(model: Any) -> None:
    """Raise :class:`ModelError` unless it is a module with a configuration."""
    import torch

    kind = _kind(model)
    if isinstance(model, type):
        raise ModelError(f"{kind} is a class: give a model, {model.__name__}.from_pretrained(NAME)")
    names = {base.__name__ for base in type(model).__mro__}
    if "TransformerBridge" in names:
        raise ModelError("this is a TransformerBridge already: use it as it is")
    if "HookedTransformer" in names:
        raise ModelError(
            "this is a HookedTransformer, which TransformerLens 4 replaced by TransformerBridge: "
            "load the same weights with al.load_model(NAME)"
        )
    if isinstance(getattr(model, "model", None), torch.nn.Module) and hasattr(model, "preprocess"):
        raise ModelError(
            f"this is a {kind}: give its parts, load_model(pipe.model, tokenizer=pipe.tokenizer)"
        )
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"a {kind} is no Hugging Face model: give a name, a folder, or a model that "
            "AutoModelForCausalLM.from_pretrained returned"
        )


def _unwrapped(model: Any) -> Any:
    """The model inside ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel``."""
    while inner := _WRAPPERS.get(type(model).__name__):
        model = getattr(model, inner)
    return model


def _need_whole(model: Any) -> None:
    """Raise :class:`ModelError` where this process has only a part of the weights."""
    names = {base.__name__ for base in type(model).__mro__}
    sharded = names & {"FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine"}
    for p in () if sharded else model.parameters():
        if hasattr(p, "ds_id") or type(p.data).__name__ == "DTensor":
            sharded = {"a sharded tensor"}
            break
    if sharded:
        raise ModelError(
            f"the weights are sharded over processes ({', '.join(sharded)}): save the whole model "
            "with save_pretrained, and load that folder"
        )


def _merged(model: Any) -> Any:
    """A model with a PEFT adapter merged into copies of the weights that it changes.

    An adapter that is switched off at the time is left out.

    Raises:
        ModelError: an adapter that cannot be merged.
    """
    config = getattr(model, "peft_config", None) or {}
    tuned = [module for module in model.modules() if _of_peft(module)]
    if not tuned and not config:
        return model
    if any(c.is_prompt_learning for c in config.values()):
        raise ModelError(
            f"a {_kind(model)} with learnt prompts ({_adapters(model)}) has weights beside the "
            "model's own, which airlens cannot score"
        )
    if not hasattr(model, "merge_and_unload"):
        raise ModelError(
            "an adapter of PEFT was loaded into this model: give the PeftModel "
            "(PeftModel.from_pretrained(base, ADAPTER)), or the merged model that its "
            "merge_and_unload() returns"
        )
    if stays_as_it_is(model.get_base_model()):
        raise ModelError(
            "a PEFT adapter on a quantised or dispatched model would be rounded when merged: load "
            "the base model unquantised on one device, add the adapter, and give that"
        )
    layers = [module for module in tuned if module not in (model, model.base_model)]
    whole = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    for module in layers:  # what merging writes to; the rest is shared
        for tensor in [*module.parameters(), *module.buffers()]:
            whole.pop(id(tensor), None)
    off = any(getattr(module, "disable_adapters", False) for module in layers)
    own: Any = copy.deepcopy(model, dict(whole))
    try:
        return own.unload() if off else own.merge_and_unload()
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ModelError(f"the adapter ({_adapters(model)}) cannot be merged: {error}") from error


def _of_peft(module: Any) -> bool:
    """Whether a module is one that PEFT puts in the place of another."""
    return type(module).__module__.startswith("peft.")


def _adapters(model: Any) -> str:
    return ", ".join(
        str(getattr(c.peft_type, "value", c.peft_type)) for c in model.peft_config.values()
    )


def _need_language_model(model: Any) -> None:
    """Raise :class:`ModelError` unless it predicts the next token of one text."""
    config = getattr(model, "config", None)
    kind = _kind(model)
    if config is None:
        raise ModelError(f"a {kind} is no Hugging Face model: it has no config")
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"a {kind} is an encoder-decoder model; airlens scores decoder-only ones")
    heads = getattr(model, "get_output_embeddings", None)
    if heads is not None and heads() is None:
        raise ModelError(
            f"a {kind} has no language-model head, so it predicts no tokens: load the weights with "
            "AutoModelForCausalLM"
        )


def _kind(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__
