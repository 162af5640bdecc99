"""Whether the fast engine gives what the hooks give on a model: base and each mode, short and long.

Both run a few tokens of random text. What they may differ by is measured, not set: as much as the
model's own type moves the same passes, which a third run, in a wider type, shows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from airlens.ablation import MeanZ, Mode
from airlens.heads import Head, HeadSet
from airlens.losses.hooks import score_windows
from airlens.losses.windows import Window, WindowLoss

from .fast_losses import score_fast
from .fast_model import FastModel

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

# Ours. The engines may differ (root mean square) by this many times what the type moves the fast
# one's numbers, and by a rounding of fp32 more.
TIMES = 4.0
ROUNDINGS = 32.0
# Where the wider run fails: nats, root mean square, in fp32 and in narrower types.
NARROW, WIDE = 2e-2, 1e-5
# In a narrow type a token may go to another expert of a mixture in one engine and not in the other.
# There this share of the values, the largest, does not count, and where the engines are apart in
# the first of the draws, the others decide.
OUTLIERS = 1 / 8
DRAWS = 3
BASE: Mode = ""  # no ablation at all
SCORED = 16  # tokens scored beyond a switch
LONGEST = 8192  # tokens: a check beyond a later switch would cost too much
BYTES = 64 << 20  # of a weight in the wider type at once


def disagreement(model: TransformerBridge, fast: FastModel, mode: Mode, *, beyond: int = 0) -> str:
    """How the fast engine differs from the hooks in a mode; empty where it does not.

    Args:
        model: the bridge.
        fast: its fast model.
        mode: of the ablation, which is checked together with the base model; or :data:`BASE`.
        beyond: a length beyond which the model computes in another way
            (:func:`~airlens.losses.fast.fast_model.switches`); the text is longer. 0 for a short
            text.
    """
    if beyond + SCORED > LONGEST:
        return f"it computes otherwise beyond {beyond} tokens, too many to check"
    try:
        verdicts: list[str] = []
        for draw in range(DRAWS):
            items = long_text(model, beyond, draw) if beyond else pair(model, fast, draw)
            verdicts.append(compared(model, fast, mode, items))
            if verdicts[0] == "" or verdicts.count("") == DRAWS - 1:
                return ""
    except Exception as error:  # whatever a model unknown to us raises: the hooks can run it
        return f"it failed on this model ({type(error).__name__}: {error})"
    return verdicts[0]


def compared(model: TransformerBridge, fast: FastModel, mode: Mode, items: Sequence[Window]) -> str:
    """How the engines differ on these texts, base and ``mode``; empty where they do not."""
    last = int(model.cfg.n_layers) - 1
    ablated = HeadSet((Head(last // 2, 0), Head(last, int(model.cfg.n_heads) - 1)))
    heads = [] if mode == BASE else [ablated]
    means = some_means(model) if mode == "mean" else None
    size = sum(len(item.tokens) for item in items)
    slow = score_windows(model, items, heads, mode, means=means, max_tokens_per_batch=size)

    def quick() -> np.ndarray:
        return _values(score_fast(model, items, heads, mode, means=means))

    own = next(p.dtype for p in fast.model.parameters() if p.is_floating_point())
    wide = own in (torch.float32, torch.float64)
    values = quick()
    worst = _size(_values(slow) - values, wide)
    if worst <= _allowed(fast, values, quick, wide):
        return ""
    length = max(len(item.tokens) for item in items)
    which = f" (mode {mode!r})" if mode else ""
    return f"it differs from the hooks by {worst:.2g} nats on {length} tokens{which}"


def pair(model: TransformerBridge, fast: FastModel, draw: int) -> list[Window]:
    """Two texts of random tokens that begin alike, so that shared rows are checked too."""
    size = max(4, min(16, int(model.cfg.n_ctx) - 1, *fast.switches[:1]))
    first, second = (random_tokens(model, size, 10 * draw + k) for k in (0, 1))
    second[: size // 2] = first[: size // 2]
    return [Window(first, 1, 0), Window(second, 1, 0)]


def long_text(model: TransformerBridge, switch: int, draw: int) -> list[Window]:
    """A text of random tokens of which those beyond ``switch`` positions are scored."""
    return [Window(random_tokens(model, switch + SCORED, 10 * draw + 2), switch, 0)]


def random_tokens(model: TransformerBridge, n: int, seed: int) -> list[int]:
    """Ids without special ones, which may stand for an image or an end."""
    special = set(getattr(model.tokenizer, "all_special_ids", ()) or ())
    known = [i for i in range(int(model.cfg.d_vocab)) if i not in special] or [0]
    return [int(i) for i in np.random.default_rng(seed).choice(known, n)]


def some_means(model: TransformerBridge) -> MeanZ:
    """Means for a check of ``mean``, [L, H, D]: random, as large as the model's z."""
    kept: list[torch.Tensor] = []
    layers = range(int(model.cfg.n_layers))
    hooks = [(f"blocks.{i}.attn.hook_z", lambda z, hook: kept.append(z.detach())) for i in layers]
    with model.hooks(fwd_hooks=hooks):
        model(torch.tensor([random_tokens(model, 4, 3)], device=model.cfg.device))
    draw = torch.Generator().manual_seed(0)
    shape = (len(layers), kept[0].shape[2], max(z.shape[3] for z in kept))  # D may differ
    values = torch.randn(shape, generator=draw, dtype=torch.float32, device="cpu")
    size = float(torch.stack([z.float().std().cpu() for z in kept]).mean())
    return (values * size).to(kept[0].device)


def _values(losses: Sequence[WindowLoss]) -> np.ndarray:
    """Base and ablated NLL of all tokens, one after the other, float64."""
    parts = [np.concatenate([loss.base, *loss.ablated]) for loss in losses]
    return np.concatenate(parts).astype(np.float64)


def _size(values: np.ndarray, wide: bool) -> float:
    """Root mean square; in a narrow type without the largest."""
    squares = np.sort(values**2)
    return float(np.sqrt(squares[: None if wide else -round(OUTLIERS * len(squares))].mean()))


def _allowed(
    fast: FastModel, values: np.ndarray, again: Callable[[], np.ndarray], wide: bool
) -> float:
    """How far apart the engines may be, nats, root mean square.

    Args:
        fast: the fast model.
        values: what it gave.
        again: the same run once more.
        wide: whether the model's type is float32 or wider.
    """
    wider = torch.float64 if wide else torch.float32
    largest = max(1.0, float(np.abs(values).max()))
    rounding = ROUNDINGS * float(torch.finfo(torch.float32).eps) * largest
    try:
        with widened(fast.model, wider):
            exact = again()
    except Exception as error:  # not every module can run in another type
        log.debug("no run in %s: %s", wider, error)
        return rounding + (WIDE if wide else NARROW)
    return rounding + TIMES * _size(values - exact, wide)


@contextmanager
def widened(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block the model computes in a wider type, on the same weights.

    Each module's own weights are converted while it runs: no more than one module's are there
    twice.
    """
    handles: list[Any] = []
    changed: list[nn.Module] = []
    try:
        for module in model.modules():
            own = {k: p for k, p in module._parameters.items() if _float(p)}
            if isinstance(module, nn.Embedding):
                handles.append(module.register_forward_hook(partial(_convert, dtype)))
            elif type(module) is nn.Linear:
                changed.append(module)
                module.forward = partial(_linear, module, dtype)
            elif own:
                handles.append(module.register_forward_pre_hook(partial(_widen, own, dtype)))
                handles.append(
                    module.register_forward_hook(partial(_narrow, own), always_call=True)
                )
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in changed:
            del module.forward


def _float(value: torch.Tensor | None) -> bool:
    return value is not None and value.is_floating_point()


def _convert(dtype: torch.dtype, module: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
    return out.to(dtype)


def _linear(module: nn.Linear, dtype: torch.dtype, x: torch.Tensor) -> torch.Tensor:
    """The layer in another type, some rows of its weight at a time."""
    rows = max(1, BYTES // (8 * module.in_features))
    parts = [nn.functional.linear(x.to(dtype), w.to(dtype)) for w in module.weight.split(rows)]
    out = torch.cat(parts, dim=-1)
    return out if module.bias is None else out + module.bias.to(dtype)


def _widen(own: dict[str, nn.Parameter], dtype: torch.dtype, module: nn.Module, args: Any) -> None:
    for name, value in own.items():
        module._parameters[name] = nn.Parameter(value.to(dtype), requires_grad=False)


def _narrow(own: dict[str, nn.Parameter], module: nn.Module, args: Any, out: Any) -> None:
    module._parameters.update(own)
