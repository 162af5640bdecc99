"""Which engine runs: the fast one where it is known to give the numbers of the hooks.

On first use it is checked against the hooks (:mod:`.self_check`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch

from airlens.ablation import MODES, Ablation, Mode, of_a_block
from airlens.errors import ConfigError, EngineError, ModelError
from airlens.model.attached import attached, unheard
from airlens.model.state import running, state_of

from .fast.fast_model import fast_model
from .fast.packed_attention import Unsupported
from .fast.self_check import BASE, disagreement

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

Engine: TypeAlias = Literal["auto", "hooks", "fast"]

FAST_MODES = ("uniform", "zero", "mean")


def choose_engine(
    model: TransformerBridge,
    engine: Engine,
    *,
    ablation: Ablation | None = None,
    mode: Mode | Sequence[Mode] | None = None,
    longest: int | None = None,
) -> Literal["hooks", "fast"]:
    """The engine to run: the one asked for, or with ``auto`` the fast one where it can.

    Args:
        model: the bridge.
        engine: the one asked for.
        ablation: the ablation in effect around the caller, where the caller passes it to the
            engine.
        mode: the ablation mode or modes that the engine is to run.
        longest: tokens of the longest text that the engine is to run; default: the context.

    Raises:
        ConfigError: an unknown engine.
        ModelError: something attached to the model that no engine would honour.
        EngineError: ``fast`` where it cannot run; the message says why.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine={engine!r}: use one of {', '.join(get_args(Engine))}")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    for name in dict.fromkeys(modes):
        MODES.find(name)
    modes += [ablation[1]] if ablation is not None else []
    with running(model) as state, state.at_rest():
        if never := unheard(model):
            raise ModelError(
                f"{never} never takes effect: TransformerLens computes this module itself, from "
                "its weights; put a hook on a hook point of the bridge (model.hook_dict) instead"
            )
        if engine == "hooks":
            return "hooks"
        reason = why_not_fast(model, ablation, modes, longest)
        if not reason:
            return "fast"
        if engine == "fast":
            raise EngineError(f"engine='fast' cannot run here: {reason}; use 'auto' or 'hooks'")
        state.say(log, f"hooks engine: {reason}")
    return "hooks"


def why_not_fast(
    model: TransformerBridge,
    ablation: Ablation | None = None,
    modes: Sequence[Mode] = (),
    longest: int | None = None,
) -> str:
    """Why the fast engine cannot stand in for the bridge; empty if it can.

    Arguments are those of :func:`choose_engine`. Where the engine was not yet held against the
    hooks in one of the modes, or on texts longer than the model's switches, it is now.
    """
    foreign = [name for name in modes if name not in FAST_MODES]
    if foreign:
        return f"mode {foreign[0]!r} runs on hooks only"
    found = attached(model, of_a_block if ablation is not None else _no_hook)
    if found:
        return f"hooks are attached to the model ({found}), which only the hooks engine sees"
    if getattr(model, "compatibility_mode", False):
        return "the bridge is in compatibility mode, with weights of its own"
    if spread(state_of(model).tensors):
        return "the model's layers lie on several devices, or are loaded as they run"
    if state_of(model).rotary:
        return "the model's rotary table depends on the longest text of a row"
    try:
        fast = fast_model(model)
    except Unsupported as error:
        return str(error)
    longest = int(model.cfg.n_ctx) if longest is None else longest
    passed = [switch for switch in fast.switches if switch < longest]
    for check in [(mode, n) for n in (0, *passed[-1:]) for mode in dict.fromkeys(modes or [BASE])]:
        if check not in fast.verdicts:
            fast.verdicts[check] = disagreement(model, fast, check[0], beyond=check[1])
        if fast.verdicts[check]:
            return fast.verdicts[check]
    return ""


def _no_hook(hook: Any) -> bool:
    return False


def spread(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether weights lie on several devices, or come from memory or disk as a layer runs."""
    devices = {tensor.device for tensor in tensors}
    return len(devices) > 1 or any(device.type == "meta" for device in devices)
