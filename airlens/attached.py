"""What a user has attached to a model: hooks, parametrizations, functions in place of a forward.

The bridge runs with them; an engine that runs the model in its own way would pass them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules import module as torch_module

from .model_state import forward, fused, plain, splitters

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Whose hooks belong to the model: they are there whenever it runs.
_OWN = ("transformer_lens.", "transformers.", "accelerate.")
_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")


def attached(
    model: TransformerBridge, passed_over: Callable[[Any], bool] = lambda hook: False
) -> str:
    """Where something of the user's is attached, in words; empty where nothing is.

    Args:
        model: the bridge.
        passed_over: whether a function at a hook point does not count.
    """
    if any(getattr(torch_module, f"_global_{kind}", None) for kind in _GLOBAL):
        return "a hook on every module of torch"
    for name, module in modules(model):
        if _changed(module) or any(not passed_over(hook) for hook in hooks_of(module)):
            return f"{attachment(module)} {name}"
    return ""


def _changed(module: torch.nn.Module) -> bool:
    """Whether a user has put a function in the place of its forward, or a parametrization."""
    forward = module.__dict__.get("forward")
    return "parametrizations" in module._modules or (forward is not None and not _own(forward))


def attachment(module: torch.nn.Module) -> str:
    """What is attached to a module, in words that its name follows."""
    if "parametrizations" in module._modules:
        return "a parametrization of"
    return "a function in place of the forward of" if _changed(module) else "a hook on"


def unheard(model: TransformerBridge) -> str:
    """What a user attached to a module that the bridge never calls, in words; empty if nothing.

    TransformerLens computes some modules itself from their weights, such as attention. A few tokens
    are run to see which; nothing of the user's is called meanwhile.
    """
    from transformer_lens.hook_points import HookPoint

    named = list(modules(model))
    wrapper = {
        id(inner): module
        for _, module in named
        if (inner := module._modules.get("_original_component")) is not None
    }
    suspects = [
        (name, module)
        for name, module in named
        if not isinstance(module, HookPoint)
        and not type(module).__module__.startswith("transformer_lens.")
        and (any(hooks_of(module)) or _changed(module))
    ]
    if not suspects:
        return ""
    called: set[int] = set()
    watched = [m for _, module in suspects for m in (module, wrapper.get(id(module))) if m]
    with _silent(module for _, module in named):
        handles = [m.register_forward_pre_hook(lambda m, args: called.add(id(m))) for m in watched]
        try:
            forward(model, torch.zeros(1, 2, dtype=torch.long, device=model.cfg.device))
        finally:
            for handle in handles:
                handle.remove()
    parts = {id(fused(module)) for module in splitters(model.original_model)}
    for name, module in suspects:
        outer = wrapper.get(id(module))
        replaced = outer is not None and (id(outer) in called or id(outer) in parts)
        if id(module) not in called and replaced:
            return f"{attachment(module)} {name}"
    return ""


@contextmanager
def _silent(every: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Inside the block no hook of the user's runs."""
    kept: list[tuple[Any, dict[Any, Any]]] = []
    for module in every:
        if any(hooks_of(module)):
            for kind in _KINDS:
                table = getattr(module, kind)
                kept.append((table, dict(table)))
                table.clear()
    try:
        yield
    finally:
        for table, entries in kept:
            table.clear()
            table.update(entries)


def modules(model: TransformerBridge) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every module of the bridge and of the model inside, once, with a name."""
    from transformer_lens.hook_points import HookPoint

    seen: set[int] = set()
    for tree in (model.original_model, model):
        for name, module in tree.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                point = module.name if isinstance(module, HookPoint) else None
                yield point or plain(name) or "the model", module


def hooks_of(module: torch.nn.Module) -> Iterator[Any]:
    """The hook functions that a user has put on a module; at a hook point, as they gave them."""
    handles = [*getattr(module, "fwd_hooks", ()), *getattr(module, "bwd_hooks", ())]
    given = {handle.hook.id: handle for handle in handles}
    for kind in _KINDS:
        for key, function in (getattr(module, kind, None) or {}).items():
            handle = given.get(key)
            if handle is None:
                if not _own(function):
                    yield function
            elif not (_own(handle.user_hook) and handle.is_permanent):
                yield handle.user_hook


def _own(function: Any) -> bool:
    """Whether a function is of the libraries that make the model."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    home = getattr(function, "__module__", None) or type(function).__module__
    return str(home).startswith(_OWN)
