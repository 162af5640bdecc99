"""Text written by a model without some heads: its own weights, and attention that copies no keys.

At each new token the bridge's attention repeats the keys and values of all tokens before it, once
for each head that shares them; in a batch of prompts that is most of the work. Here the heads of a
group read them where they are, and the cache is Hugging Face's own. Where this gives other logits
than the hooks, or cannot run, the hooks write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from airlens.ablation import MeanZ, Mode, ablated, mean_z
from airlens.errors import EngineError
from airlens.heads import Head, HeadSet
from airlens.model.state import running

from .choice import Engine, choose_engine
from .fast.fast_model import built, share
from .fast.packed_attention import Unsupported, unknown
from .fast.self_check import random_tokens, some_means

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
NAME = "airlens_writing"
ROUNDING, NARROW = 1e-4, 0.06  # of the largest logit: in fp32 and in narrower types
TRIED, PADDED = 8, 3  # tokens of two prompts, and those of the second that are padding


class Writer:
    """A Hugging Face model on the tensors of another one, some of whose heads may be ablated.

    Args:
        source: the model inside a bridge.

    Raises:
        Unsupported: its modules cannot be rebuilt.
    """

    def __init__(self, source: Any) -> None:
        register()
        self.model: PreTrainedModel = share(source, NAME)
        self.heads: dict[int, list[int]] = {}
        self.mode: Mode = "uniform"
        self.means: MeanZ | None = None
        self.verdicts: dict[Mode, str] = {}  # how it differs from the hooks, once that was tried
        for module in self.model.modules():
            if hasattr(module, "layer_idx"):
                module.airlens_writer = self

    @contextmanager
    def without(self, heads: HeadSet, mode: Mode, means: MeanZ | None) -> Iterator[PreTrainedModel]:
        """The model, which runs without these heads inside the block."""
        self.heads, self.mode, self.means = heads.by_layer(), mode, means
        try:
            yield self.model
        finally:
            self.heads, self.means = {}, None


@contextmanager
def writing(
    model: TransformerBridge,
    heads: HeadSet,
    mode: Mode,
    *,
    means: MeanZ | None = None,
    longest: int | None = None,
    engine: Engine = "auto",
) -> Iterator[PreTrainedModel]:
    """A Hugging Face model whose ``generate`` runs without these heads, inside the block.

    Args:
        model: the bridge.
        heads: what to ablate; an empty set is the model as it is.
        mode: of the ablation.
        means: for ``mean``: [L, H, D] from :func:`~airlens.mean_z`; default: over bundled
            sentences.
        longest: most tokens of a prompt and what is written after it; default: the context.
        engine: ``hooks``, ``fast``, or ``auto``.

    Raises:
        EngineError: ``fast`` where it cannot run; the message says why.
        HeadError, ConfigError, AblationError: as :func:`~airlens.ablated`.
    """
    if choose_engine(model, engine, mode=mode, longest=longest) == "fast":
        with running(model) as state:
            made = state.kept("writer", partial(built, partial(Writer, model.original_model)))
            reason = made if isinstance(made, str) else _disagreement(model, made, mode)
            if not reason:
                assert isinstance(made, Writer)
                if mode == "mean" and len(heads) and means is None:
                    means = mean_z(model)
                heads.check(int(model.cfg.n_layers), int(model.cfg.n_heads))
                made.model.generation_config = model.original_model.generation_config
                with made.without(heads, mode, means) as network:
                    yield network
                return
            if engine == "fast":
                raise EngineError(f"engine='fast' cannot write here: {reason}; use 'auto'")
            state.say(log, f"text is written under hooks: {reason}")
    with ablated(model, heads, mode, means=means):
        yield model.original_model


def _disagreement(model: TransformerBridge, writer: Writer, mode: Mode) -> str:
    """How a writer's logits differ from the hooks' in a mode; empty where they do not."""
    if mode not in writer.verdicts:
        try:
            writer.verdicts[mode] = _compared(model, writer, mode)
        except Exception as error:  # whatever a model unknown to us raises: the hooks can run it
            reason = f"it failed on this model ({type(error).__name__}: {error})"
            writer.verdicts[mode] = reason
    return writer.verdicts[mode]


def _compared(model: TransformerBridge, writer: Writer, mode: Mode) -> str:
    last = int(model.cfg.n_layers) - 1
    heads = HeadSet((Head(last // 2, 0), Head(last, int(model.cfg.n_heads) - 1)))
    means = some_means(model) if mode == "mean" else None
    device = writer.model.device
    ids = torch.tensor([random_tokens(model, TRIED, k) for k in (0, 1)], device=device)
    mask = torch.ones_like(ids)
    mask[1, :PADDED] = 0
    for some in (HeadSet(()), heads):
        with ablated(model, some, mode, means=means):
            wanted = _next_logits(model.original_model, ids, mask)
        with writer.without(some, mode, means) as network:
            found = _next_logits(network, ids, mask)
        rounding = ROUNDING if wanted.dtype in (torch.float32, torch.float64) else NARROW
        apart = float((found - wanted).abs().max())
        if not apart <= rounding * float(wanted.abs().max()):
            return f"its logits differ from the hooks' by {apart:.2g} (mode {mode!r})"
    return ""


def _next_logits(network: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits [B, 1 + 1, V] behind all tokens but the last, and behind that one, from the cache."""
    before = network(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], use_cache=True)
    after = network(
        input_ids=ids[:, -1:], attention_mask=mask, past_key_values=before.past_key_values
    )
    return torch.cat([before.logits[:, -1:], after.logits], dim=1)


def register() -> None:
    """Make :func:`attend` known to transformers under :data:`NAME`, with a mask of its own."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, eager_mask)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of the n newest of m positions, some of whose heads are ablated.

    Args:
        module: the attention module; its ``airlens_writer`` says which heads.
        query: [B, H, n, D], after RoPE and QK-norm.
        key: [B, K, m, D].
        value: [B, K, m, D].
        attention_mask: [B, 1, n, m], added to the scores; it holds a sliding window too.
        scaling: of the scores, default D ** -0.5.
        dropout: unused, the model is in eval mode.
        sliding_window: unused.
        softcap: must be None, as must all that follow but what changes nothing.
        s_aux: must be None.
        others: must be harmless or None.

    Returns:
        z, [B, n, H, D], and no weights.

    Raises:
        Unsupported: an argument whose meaning is not known here, or no mask.
    """
    strange = unknown({**others, "softcap": softcap, "s_aux": s_aux})
    if strange or attention_mask is None:
        raise Unsupported(f"attention with {', '.join(strange) or 'no mask'}")
    writer: Writer = module.airlens_writer
    layer = int(module.layer_idx)
    heads = writer.heads.get(layer, [])
    if heads and writer.mode == "uniform":
        query = query.clone()
        query[:, heads] = 0
    mask = attention_mask[..., : key.shape[2]]
    z = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
    ).transpose(1, 2)
    if heads and writer.mode != "uniform":
        z = z.clone()
        mean = 0 if writer.mode == "zero" else _mean(writer, layer, heads).to(z)[:, : z.shape[-1]]
        z[:, :, heads] = mean
    return z, None


def _mean(writer: Writer, layer: int, heads: list[int]) -> torch.Tensor:
    if writer.means is None:
        raise Unsupported("mean ablation without means")
    return writer.means[layer, heads]
