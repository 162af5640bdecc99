"""Attribution: the causal score to first order, for all heads from one backward pass a probe.

Σ grad_z L · (z_ablated - z), with L the mean answer NLL in nats: the change of L if L were linear
in every head's output z (attribution patching).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, attention_of, mean_z, without_each_head
from airlens.errors import AblationError, NumbersError
from airlens.heads import HeadScores
from airlens.model.heads import heads_of
from airlens.model.state import forward, not_finite, running
from airlens.provenance import provenance

from .attention_scores import by_position
from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def attribution(
    model: TransformerBridge,
    probes: ProbeSet,
    *,
    mode: Mode = DEFAULT_MODE,
    means: MeanZ | None = None,
    progress: bool = True,
) -> HeadScores:
    """Approximate rise of the mean answer NLL (nats) when each head is ablated.

    Args:
        model: the bridge, on a device that holds the activations of a backward pass.
        probes: the probes.
        mode: what z_ablated is: ``uniform``: the mean of the v that the position sees; ``zero``:
            0; ``mean``: ``means``.
        means: for ``mode="mean"``.
        progress: show a progress bar.

    Raises:
        ConfigError: an unknown mode.
    """
    means = mean_z(model) if mode == "mean" and means is None else means
    samples = heads_of(model).zeros(len(probes))
    for i, probe in enumerate(tqdm(probes, desc="attribution", disable=not progress)):
        _attribute(model, probe, mode, means, samples[i])
    note = provenance(model, probes=probes.info(), method="gradient times change of z", mode=mode)
    return HeadScores(samples.mean(axis=0), samples, "attribution", None, note)


def _attribute(
    model: TransformerBridge, probe: Probe, mode: Mode, means: MeanZ | None, out: np.ndarray
) -> None:
    """Fill ``out`` [L, H] with the estimate of each head."""
    kept: dict[str, dict[int, torch.Tensor]] = {"z": {}, "change": {}, "v": {}, "scores": {}}

    def start(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value.detach().requires_grad_(True)

    def keep(value: torch.Tensor, hook: Any, what: str, layer: int) -> None:
        kept[what][layer] = value.detach()[0]

    def read(z: torch.Tensor, hook: Any, layer: int) -> torch.Tensor:
        z.retain_grad()
        kept["z"][layer] = z
        now, even = z.detach()[0], None
        if mode == "uniform":
            even = _even_z(model, layer, kept["v"].pop(layer), kept["scores"].pop(layer, None), z)
        kept["change"][layer] = without_each_head(now, layer, mode, even=even, means=means) - now
        return z

    hooks: list[tuple[str, Any]] = [("blocks.0.hook_in", start)]
    layers = heads_of(model).layers
    for i in layers:
        at = f"blocks.{i}.attn.hook_"
        hooks.append((at + "z", lambda z, hook, i=i: read(z, hook, i)))
        if mode == "uniform":
            hooks.append(
                (at + "v", lambda v, hook, i=i: keep(by_position(v, hook)[None], hook, "v", i))
            )
            hooks.append((at + "attn_scores", lambda x, hook, i=i: keep(x, hook, "scores", i)))
    _answer_loss(model, probe, hooks)
    for i in layers:
        gradient = kept["z"][i].grad if i in kept["z"] else None
        if gradient is None:
            raise AblationError(f"no gradient reached the heads of layer {i}")
        found = (gradient[0].float() * kept["change"][i].float()).sum(dim=(0, 2)).cpu().numpy()
        if not np.isfinite(found).all():
            raise NumbersError(not_finite(model, "a gradient that is NaN or infinite"))
        out[i, : len(found)] = found


def _answer_loss(model: TransformerBridge, probe: Probe, hooks: list[tuple[str, Any]]) -> None:
    """Forward and backward of the mean answer NLL."""
    first, last = probe.answer
    tokens = torch.tensor([probe.tokens], device=model.cfg.device)
    with running(model, gradients=True), model.hooks(fwd_hooks=hooks):
        logits = forward(model, tokens, gradients=True)[0, first - 1 : last - 1].float()
        target = tokens[0, first:last].to(logits.device)
        torch.nn.functional.cross_entropy(logits, target).backward()


def _even_z(
    model: TransformerBridge,
    layer: int,
    v: torch.Tensor,
    scores: torch.Tensor | None,
    z: torch.Tensor,
) -> torch.Tensor:
    """Each head's z [T, H, D] under uniform attention, from the layer's v [T, Hkv, D]."""
    weights = uniform_pattern(model, layer, scores, z)
    v = v.repeat_interleave(weights.shape[0] // v.shape[1], dim=1)
    return torch.einsum("hts,shd->thd", weights.to(v), v)


def uniform_pattern(
    model: TransformerBridge, layer: int, scores: torch.Tensor | None, z: torch.Tensor
) -> torch.Tensor:
    """The pattern [H, T, T] of ``mode="uniform"``: even over the positions that a row sees.

    A head with an attention sink keeps it: 1/(N + e^s), see :mod:`airlens.ablation`.
    """
    length, heads = z.shape[1], z.shape[2]
    visible = torch.ones(length, length, dtype=torch.bool, device=z.device).tril()
    if scores is not None:
        visible = visible & (scores[0] > torch.finfo(scores.dtype).min / 2)
    count = visible.sum(dim=-1, keepdim=True).float().expand(heads, length, 1)
    sinks = getattr(attention_of(model, layer).original_component, "sinks", None)
    if sinks is not None:
        count = count + sinks.detach().float().exp()[:, None, None]
    return visible.float() / count
