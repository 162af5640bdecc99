"""Which engine runs: the fast one where it is known to give the numbers of the hooks.

On first use it is checked against the hooks on a few tokens of random text.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from airlens.ablation import MODES, Ablation, Mode, is_ablation_hook
from airlens.attached import attached
from airlens.errors import ConfigError
from airlens.heads import Head, HeadSet
from airlens.token_losses import Engine as Engine
from airlens.token_losses import Window, score_windows

from .fast_losses import score_fast
from .fast_model import fast_model
from .packed_attention import Unsupported

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

FAST_MODES = ("uniform", "zero", "mean")

# Largest difference, nats, allowed between the engines in the check. Ours; in low precision the
# order of summation alone changes a loss by that much.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
LOW_TOLERANCE = 0.2


def choose_engine(
    model: TransformerBridge,
    engine: Engine,
    *,
    ablation: Ablation | None = None,
    mode: Mode | Sequence[Mode] | None = None,
) -> Literal["hooks", "fast"]:
    """The engine to run: the one asked for, or with ``auto`` the fast one where it can.

    Args:
        model: the bridge.
        engine: the one asked for.
        ablation: the ablation in effect around the caller, where the caller passes it to the
            engine.
        mode: the ablation mode or modes that the engine is to run.

    Raises:
        ConfigError: an unknown engine, or ``fast`` where it cannot run; the message says why.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine={engine!r}: use one of {', '.join(get_args(Engine))}")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    for name in dict.fromkeys(modes):
        MODES.find(name)
    if engine == "hooks":
        return "hooks"
    modes += [ablation[1]] if ablation is not None else []
    foreign = [name for name in modes if name not in FAST_MODES]
    reason = f"mode {foreign[0]!r} runs on hooks only" if foreign else why_not_fast(model, ablation)
    if not reason:
        return "fast"
    if engine == "fast":
        raise ConfigError(f"engine='fast' cannot run here: {reason}; use 'auto' or 'hooks'")
    log.info("hooks engine: %s", reason)
    return "hooks"


def why_not_fast(model: TransformerBridge, ablation: Ablation | None = None) -> str:
    """Why the fast engine cannot stand in for the bridge; empty if it can."""
    own = is_ablation_hook if ablation is not None else lambda hook: False
    found = attached(model, own)
    if found:
        return f"hooks are attached to the model ({found}), which only the hooks engine sees"
    if getattr(model, "compatibility_mode", False):
        return "the bridge is in compatibility mode, with weights of its own"
    try:
        fast = fast_model(model)
    except Unsupported as error:
        return str(error)
    if fast.verdict is None and ablation is not None:
        return "it was not yet held against the hooks, which an ablation would disturb"
    if fast.verdict is None:
        fast.verdict = _disagreement(model)
    return fast.verdict


def _disagreement(model: TransformerBridge) -> str:
    """How the fast engine differs from the hooks on two short texts; empty if it does not."""
    rng = np.random.default_rng(0)
    size = max(4, min(16, int(model.cfg.n_ctx) - 1))
    texts = rng.integers(0, int(model.cfg.d_vocab), (2, size)).tolist()
    texts[1][: size // 2] = texts[0][: size // 2]  # shared rows are checked too
    items = [Window(text, 1, 0) for text in texts]
    last = int(model.cfg.n_layers) - 1
    heads = HeadSet((Head(last // 2, 0), Head(last, int(model.cfg.n_heads) - 1)))
    worst = 0.0
    try:
        # in one batch: with so few tokens the cost of a pass is reading the weights
        slow = score_windows(model, items, [heads], "uniform", max_tokens_per_batch=2 * size)
        quick = score_fast(model, items, [heads], "uniform")
        for a, b in zip(slow, quick, strict=True):
            worst = max(worst, float(np.abs(a.base - b.base).max()))
            worst = max(worst, float(np.abs(a.ablated - b.ablated).max()))
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"it failed on this model ({type(error).__name__}: {error})"
    dtype = next(model.original_model.parameters()).dtype
    if not worst <= TOLERANCE.get(dtype, LOW_TOLERANCE):
        return f"it differs from the hooks by {worst:.2g} nats on this model"
    return ""
