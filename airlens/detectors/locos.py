"""LOCOS (arXiv 2607.01002): how much a head adds to the answer's logit, and from which positions.

φ_{t,j} = α_{t,j} · u_{y_t}ᵀ W_O^h v_j is what position j contributes, through the head, to the
logit of the answer token y_t. The score is the mean over answer steps of the needle's contribution
less that of as many other positions: Σ_{j∈N} φ - (|N| / |off|) Σ_{j∉N} φ. Unlike the copying rule
it does not require that the needle holds y_t, so it finds heads that fetch a paraphrase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float

from airlens.errors import AblationError
from airlens.model.heads import heads_of

from .attention_scores import LayerView, PerHead

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def locos(view: LayerView) -> PerHead:
    """LOCOS score of each head of a layer; off are the visible positions outside the needle."""
    phi = contributions(view)
    start, stop = view.probe.needle
    inside = phi[:, :, start:stop].sum(dim=-1)
    outside = phi.sum(dim=-1) - inside
    first, last = view.probe.answer
    visible = torch.arange(first, last, device=phi.device)  # row t-1 sees t positions
    off = (visible - (stop - start)).clamp(min=1)
    return (inside - (stop - start) / off * outside).mean(dim=-1)


def contributions(view: LayerView) -> Float[torch.Tensor, "H n T"]:
    """φ: contribution of each position to the answer token's logit by head, before ln_final."""
    unembed = view.model.W_U.float()[:, view.target]  # [d_model, n]
    wanted = torch.einsum("hdm,mn->hnd", output_weights(view.model, view.layer), unembed)
    return view.pattern * torch.einsum("hnd,htd->hnt", wanted, view.value)


def output_weights(model: TransformerBridge, layer: int) -> Float[torch.Tensor, "H D M"]:
    """W_O of each query head, fp32, whichever way the architecture stores it."""
    module = model.blocks[layer].attn.o.original_component
    if not module.weight.is_floating_point() or module.weight.is_meta:
        raise AblationError(
            f"locos reads the output weights of layer {layer}, which are quantised or offloaded: "
            "use another detector"
        )
    weight = module.weight.float()
    if type(module).__name__ != "Conv1D":  # GPT-2 stores [in, out], every nn.Linear [out, in]
        weight = weight.T
    return weight.reshape(heads_of(model).per_layer[layer], -1, weight.shape[-1])
