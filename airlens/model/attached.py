"""What a user has attached to a model: hooks, parametrizations, functions in place of a forward.

The bridge runs with them; an engine that runs the model in its own way would pass them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules import module as torch_module

from .copies import fused, splitters
from .state import every_module, forward
from .weights import plain

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
    for module in every_module(model):
        if _changed(module) or any(not passed_over(hook) for *_, hook in hooks_of(module)):
            return f"{attachment(module)} {name_of(model, module)}"
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

    suspects = [
        module
        for module in every_module(model)
        if (_changed(module) or any(hooks_of(module)))
        and not isinstance(module, HookPoint)
        and not type(module).__module__.startswith("transformer_lens.")
    ]
    if not suspects:
        return ""
    every = every_module(model)
    wrapper = {id(module._modules.get("_original_component")): module for module in every}
    called: set[int] = set()
    with _silent(every):
        watched = [m for s in suspects for m in (s, wrapper.get(id(s))) if m is not None]
        handles = [m.register_forward_pre_hook(lambda m, args: called.add(id(m))) for m in watched]
        try:
            forward(model, torch.zeros(1, 2, dtype=torch.long, device=model.cfg.device))
        finally:
            for handle in handles:
                handle.remove()
    parts = {id(fused(module)) for module in splitters(model.original_model)}
    for module in suspects:
        outer = wrapper.get(id(module))
        replaced = outer is not None and (id(outer) in called or id(outer) in parts)
        if id(module) not in called and replaced:
            return f"{attachment(module)} {name_of(model, module)}"
    return ""


@contextmanager
def _silent(every: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Inside the block no hook of the user's runs."""
    kept = []
    for table, key, _ in [entry for module in every for entry in hooks_of(module)]:
        kept.append((table, dict(table)))
        del table[key]
    try:
        yield
    finally:
        for table, entries in reversed(kept):
            table.clear()
            table.update(entries)


def name_of(model: TransformerBridge, module: torch.nn.Module) -> str:
    """The name of a hook point, or of a module in the Hugging Face model or the bridge."""
    from transformer_lens.hook_points import HookPoint

    if isinstance(module, HookPoint) and module.name:
        return str(module.name)
    for tree in (model.original_model, model):
        for name, other in tree.named_modules():
            if other is module:
                return plain(name) or "the model"
    return type(module).__name__


def hooks_of(module: torch.nn.Module) -> Iterator[tuple[dict[int, Any], int, Any]]:
    """The hooks that a user has put on a module: torch's table, key there, and the function.

    At a hook point the function is the one that they gave.
    """
    tables = [table for kind in _KINDS if (table := module.__dict__.get(kind))]
    if not tables:
        return
    handles = [*module.__dict__.get("fwd_hooks", ()), *module.__dict__.get("bwd_hooks", ())]
    given = {handle.hook.id: handle for handle in handles}
    for table in tables:
        for key, function in table.items():
            handle = given.get(key)
            if handle is None:
                if not _own(function):
                    yield table, key, function
            elif not (_own(handle.user_hook) and handle.is_permanent):
                yield table, key, handle.user_hook


def _own(function: Any) -> bool:
    """Whether a function is of the libraries that make the model, by where its code stands.

    Its ``__module__`` would not do: ``functools.wraps`` gives a user's function that of a library.
    """
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    function = getattr(function, "__func__", function)
    places = getattr(function, "__globals__", None)
    home = places.get("__name__") if places is not None else type(function).__module__
    return str(home).startswith(_OWN)
