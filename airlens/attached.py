"""What a user has attached to a model: hooks, parametrizations, functions in place of a forward.

The bridge runs with them; an engine that runs the model in its own way would pass them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules import module as torch_module

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
        for hook in hooks_of(module):
            if not passed_over(hook):
                return f"a hook on {name}"
        if hasattr(module, "parametrizations"):
            return f"a parametrization of {name}"
        forward = module.__dict__.get("forward")
        if forward is not None and not _own(forward):
            return f"a function in place of the forward of {name}"
    return ""


def modules(model: TransformerBridge) -> Iterator[tuple[str, torch.nn.Module]]:
    """Every module of the bridge and of the model inside, once, with a name."""
    from transformer_lens.hook_points import HookPoint

    seen: set[int] = set()
    for tree in (model, model.original_model):
        for name, module in tree.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                point = module.name if isinstance(module, HookPoint) else None
                yield point or name or "the model", module


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
