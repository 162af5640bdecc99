"""Switch attention heads off inside a ``with`` block.

Modes:

- ``uniform`` (AIR; AttentionInfluence app. C): the head attends uniformly, α_ij = 1/N over the
  positions that i can see. Done by zeroing that head's query after RoPE and QK-norm: its scores are
  then 0 before the mask, so the softmax is uniform over exactly what the mask leaves (a sliding
  window too; soft-capping leaves 0 at 0), and no other head of a grouped-query group is touched.
  Two kinds of attention need a word (ours, no paper says):

  - ALiBi (BLOOM, MPT, Falcon-RW): a zeroed query would leave the position bias. The head's scores
    are set to 0 after bias and mask, at visible positions only: α_ij = 1/N as everywhere else.
  - attention sinks (GPT-OSS): the learned sink logit s of the head stays and competes with N
    scores of 0: α_ij = 1/(N + e^s). A head that could rest on its sink still can.
- ``zero``: the head's output z is 0.
- ``mean``: z is the head's mean z over positions of reference texts (see :func:`mean_z`).

A mode of your own is a function ``(model, layer, heads)`` that returns the name of a hook point and
an edit of its tensor; ``al.register("ablation", name, function)`` makes it known by that name
(:mod:`airlens.plugins`). It runs on hooks: the fast engine knows the three above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float

from .arguments import checked, each, reader
from .errors import AblationError, ConfigError
from .files import sentences
from .heads import HeadGrid, Heads, HeadSet
from .heads import as_head_set as as_head_set
from .model.attached import attached
from .model.heads import heads_of
from .model.load import model_type, need_bridge
from .model.state import ModelState, forward, running, state_of
from .registry import Registry

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Mode: TypeAlias = str
"""``"uniform"``, ``"zero"``, ``"mean"``, or a mode that was registered."""
MeanZ: TypeAlias = Float[torch.Tensor, "L H D"]
"""Mean z of every head: L layers, H query heads, D dimensions of a head."""

# The papers' mode, kept after measuring all three (notebook 03): for AIS no other is better on
# every kind of step, and it needs no reference texts whose choice would change the numbers.
DEFAULT_MODE: Mode = "uniform"
HookList = list[tuple[str, Callable[..., "torch.Tensor | None"]]]
# What to do with the tensor at a hook point; returns one of the same shape.
Edit: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Ablation: TypeAlias = "tuple[HeadSet, Mode, MeanZ | None]"


@checked
@contextmanager
def ablated(
    model: TransformerBridge, heads: Heads, mode: Mode = DEFAULT_MODE, *, means: MeanZ | None = None
) -> Iterator[TransformerBridge]:
    """Any call of ``model`` inside the block, ``generate`` too, runs without these heads.

    Args:
        model: the bridge; it is unchanged after the block, whatever happens inside.
        heads: what to ablate; an empty set changes nothing.
        mode: ``"uniform"``, ``"zero"``, ``"mean"``, or one that was registered.
        means: for ``mean``: [L, H, D] from :func:`mean_z`; default: over bundled sentences.

    Raises:
        HeadError: a head outside the model's shape.
        ConfigError: an unknown mode.
        AblationError: TransformerLens has no hook for it in this kind of model (the message says
            what works instead), or the model ran but a hook did not fire.
    """
    heads = as_head_set(heads)
    need_bridge(model)
    state = state_of(model)
    runs: list[int] = []
    with state.turn():  # another thread's calls would run without these heads too
        if not state.busy:
            state.follow()
        outer = state.ablations
        hooks, fired = hooks_and_fired(model, heads, mode, means=means, block=len(outer))
        state.ablations = (*outer, (heads, mode, means))
        count = ("blocks.0.hook_in", partial(_count_run, (state, len(outer)), runs))
        try:
            with model.hooks(fwd_hooks=[count, *hooks]):
                yield model
        finally:
            state.ablations = outer
    silent = [name for name, _ in hooks if name not in fired]
    if runs and silent:
        raise AblationError(
            f"the model ran, but {', '.join(silent)} never fired: nothing was ablated there. "
            "Is the model run through the bridge, and is its architecture supported?"
        )


@checked
def ablation_hooks(
    model: TransformerBridge, heads: Heads, mode: Mode = DEFAULT_MODE, *, means: MeanZ | None = None
) -> HookList:
    """The ablation as plain TransformerLens hooks, for a loop of your own.

    ``model.run_with_hooks(tokens, fwd_hooks=al.ablation_hooks(model, heads, "zero"))`` gives the
    logits of ``with al.ablated(model, heads, "zero"): model(tokens)``, to the bit. Unlike
    :func:`ablated` it cannot tell when a hook never fired. The arguments are the same.

    Returns:
        (name of the hook point, function of its tensor and the hook), one for each layer.

    Raises:
        HeadError, ConfigError, AblationError: as :func:`ablated`.
        ModelError: ``model`` is no ``TransformerBridge``; the message says how to get one.
    """
    return hooks_and_fired(model, as_head_set(heads), mode, means=means)[0]


def hooks_and_fired(
    model: TransformerBridge,
    heads: HeadSet,
    mode: Mode,
    *,
    means: MeanZ | None = None,
    block: int | None = None,
) -> tuple[HookList, set[str]]:
    """The hooks that ablate ``heads``, and a set that fills with the names of those that fired.

    ``block``: how many :func:`ablated` blocks stand around the one that they belong to, if any.
    """
    make = MODES.find(mode)
    need_bridge(model)
    heads.check(model.cfg.n_layers, model.cfg.n_heads)
    if mode == "mean" and len(heads):
        make = partial(make, means=mean_z(model) if means is None else means)
    fired: set[str] = set()
    hooks: HookList = []
    for layer, indices in heads.by_layer().items():
        name, edit = make(model, layer, indices)
        if name not in model.hook_dict:
            raise AblationError(f"mode {mode!r}: layer {layer} has no hook point {name!r}")
        hooks.append((name, partial(_edit, (state_of(model), block), fired, name, edit)))
    return hooks, fired


# The state of a model, and which `ablated` block a hook belongs to, if to one.
_Block: TypeAlias = "tuple[ModelState, int | None]"


def _rests(block: _Block) -> bool:
    state, index = block
    return index is not None and index < state.resting


def _edit(
    block: _Block, fired: set[str], name: str, edit: Edit, value: Any, hook: Any
) -> torch.Tensor | None:
    if _rests(block):
        return None
    fired.add(name)
    edited = edit(value)
    if getattr(edited, "shape", None) != value.shape:
        found = tuple(edited.shape) if hasattr(edited, "shape") else type(edited).__name__
        raise AblationError(f"the edit at {name} made {found} of {tuple(value.shape)}")
    return edited


def _count_run(block: _Block, runs: list[int], value: Any, hook: Any) -> None:
    if not _rests(block):
        runs.append(1)


def active_ablation(model: TransformerBridge) -> Ablation | None:
    """What the one :func:`ablated` block around the caller ablates; None in several, or in none."""
    active: tuple[Ablation, ...] = state_of(model).ablations
    return active[0] if len(active) == 1 else None


def of_a_block(hook: Any) -> bool:
    """Whether a hook function is one that an :func:`ablated` block attaches."""
    ours = getattr(hook, "func", None) in (_edit, _count_run)
    return ours and hook.args[0][1] is not None


def z_edit(
    model: TransformerBridge, layer: int, indices: list[int], means: MeanZ | None = None
) -> tuple[str, Edit]:
    """The hook point on a layer's z, and the edit that sets it to 0 or its mean for these heads."""
    attention_of(model, layer)
    value = 0 if means is None else means[layer, indices]
    return f"blocks.{layer}.attn.hook_z", partial(_set, indices, value)


def _set(indices: list[int], value: torch.Tensor | int, old: torch.Tensor) -> torch.Tensor:
    """The query or z [B, T, H, D] with these heads at ``value``."""
    new = old.clone()
    if isinstance(value, torch.Tensor):
        value = value.to(old)[..., : old.shape[-1]]  # of a model whose layers differ in D
    new[:, :, indices] = value
    return new


def without_each_head(
    z: torch.Tensor,
    layer: int,
    mode: Mode,
    *,
    even: torch.Tensor | None = None,
    means: MeanZ | None = None,
) -> torch.Tensor:
    """Every head's z [..., H, D] as it is when that head alone is ablated: for first-order effects.

    Args:
        z: of the layer, [..., H, D].
        layer: its index.
        mode: ``uniform``, ``zero`` or ``mean``.
        even: z under uniform attention, of the shape of ``z``; for ``uniform``.
        means: for ``mean``.

    Raises:
        ConfigError: another mode, or one whose ``even`` or ``means`` is not given.
    """
    if mode == "zero":
        return torch.zeros_like(z)
    if mode == "uniform" and even is not None:
        return even
    if mode == "mean" and means is not None:
        return means[layer, : z.shape[-2], : z.shape[-1]].to(z).expand_as(z)
    # The edit of a mode of one's own need not be a value of z.
    known = "use one of uniform, zero, mean"
    raise ConfigError(f"mode={mode!r}: {'needs means' if mode == 'mean' else known}")


def uniform_edit(model: TransformerBridge, layer: int, indices: list[int]) -> tuple[str, Edit]:
    """The hook point, and the edit there, that makes these heads uniform, or `AblationError`."""
    from transformer_lens.model_bridge import generalized_components as kinds

    alibi = (kinds.BloomAttentionBridge, kinds.ALiBiJointQKVAttentionBridge)
    if isinstance(attention_of(model, layer), alibi):
        return f"blocks.{layer}.attn.hook_attn_scores", partial(_level_scores, indices)
    return query_hook(model, layer), partial(_set, indices, 0)


def _level_scores(indices: list[int], scores: torch.Tensor) -> torch.Tensor:
    """Scores [B, H, T, T] after bias and mask: 0 wherever the mask lets these heads look."""
    scores, own = scores.clone(), scores[:, indices]
    scores[:, indices] = own.masked_fill(own > torch.finfo(own.dtype).min / 2, 0)
    return scores


# Each makes the hook point and the edit of one layer's heads; `mean` also takes the means.
MODES: Registry[Callable[..., tuple[str, Edit]]] = Registry(
    "mode", "airlens.ablation_modes", {"uniform": uniform_edit, "zero": z_edit, "mean": z_edit}
)


@reader("Mode")
def _mode(value: Any, name: str) -> str:
    MODES.find(value)
    return str(value)


reader("Sequence[Mode]")(each(_mode))


def query_hook(model: TransformerBridge, layer: int) -> str:
    """The last hook point on the query, [B, T, H, D], before the scores.

    Attention that TransformerLens rebuilds (Llama, Qwen, Gemma, …) fires ``hook_rot_q``, after
    RoPE and QK-norm. The other kinds (GPT-2, NeoX, OPT, Phi-3, Falcon) have no QK-norm, and
    rotating a zero leaves zero, so there ``hook_q`` does the same; also before a norm of each
    head's query alone that has no bias (Qwen3-VL). Else :class:`AblationError`.
    """
    from transformer_lens.model_bridge import generalized_components as kinds

    attention = attention_of(model, layer)
    if isinstance(attention, kinds.PositionEmbeddingsAttentionBridge):
        return f"blocks.{layer}.attn.hook_rot_q"
    joint = isinstance(attention, kinds.JointQKVAttentionBridge)
    plain = joint or type(attention) is kinds.AttentionBridge
    if not plain or not _norm_keeps_zero(model, attention):
        raise AblationError(
            f"uniform attention is not defined here for a {model_type(model)!r} model "
            f"(layer {layer} is a {type(attention).__name__}): use mode='zero' or mode='mean'"
        )
    return f"blocks.{layer}.attn.hook_q"


def _norm_keeps_zero(model: TransformerBridge, attention: Any) -> bool:
    """Whether a query of 0 of one head is still 0 after QK-norm, and no other head changes."""
    if "q_norm" not in attention.submodules:
        return True
    norm = attention.q_norm.original_component
    shapes = [tuple(p.shape) for p in norm.parameters()]
    size = int(model.cfg.d_head)
    if shapes != [(size,)]:
        return False
    weight = next(norm.parameters())
    with torch.no_grad():
        return not norm(torch.zeros(1, size, dtype=weight.dtype, device=weight.device)).any()


def attention_of(model: TransformerBridge, layer: int) -> Any:
    """The attention of a layer.

    Raises:
        AblationError: the layer has none (state-space and hybrid models), or keeps its heads' z
            where TransformerLens cannot reach it.
    """
    names = model.hook_dict  # made anew each time it is asked for
    if f"blocks.{layer}.attn.hook_z" in names:
        return model.blocks[layer].attn
    reached = [str(i) for i in range(model.cfg.n_layers) if f"blocks.{i}.attn.hook_z" in names]
    others = f"layers that have: {', '.join(reached)}" if reached else "use a transformer"
    kind = f"layer {layer} of a {model_type(model)!r} model"
    raise AblationError(f"{kind} has no attention heads that can be reached; {others}")


@checked
def mean_z(
    model: TransformerBridge, texts: Sequence[str] | None = None, *, max_tokens: int = 512
) -> MeanZ:
    """Each head's mean z over all positions of reference texts, in the model as it is.

    An :func:`ablated` block around the call does not count; hooks of the user's own do.

    Args:
        model: the bridge.
        texts: reference texts; default: 8 paragraphs of 20 bundled sentences, whose result is kept
            until a weight of the model changes.
        max_tokens: of each text; longer ones are cut.

    Returns:
        fp32 tensor [L, H, D] on the model's device; NaN where a layer has no such head, and beyond
        the dimensions of its heads where layers differ in them.

    Raises:
        AblationError: the model has no heads that can be reached.
    """
    grid = heads_of(model)
    default = (" ".join(sentences()[i : i + 20]) for i in range(0, 160, 20))
    length = min(max_tokens, int(model.cfg.n_ctx))
    rows = [model.tokenizer(text)["input_ids"][:length] for text in texts or default]
    with running(model) as state, state.at_rest():
        if texts is not None or attached(model, of_a_block):
            return _mean_z(model, grid, rows)
        name = hashlib.sha256(repr(rows).encode()).hexdigest()
        return state.kept(f"mean_z {name}", lambda: _mean_z(model, grid, rows))


def _mean_z(model: TransformerBridge, grid: HeadGrid, rows: Sequence[Sequence[int]]) -> MeanZ:
    """Mean z over all positions of the token rows; layers may be on several devices."""
    total: dict[int, torch.Tensor] = {}

    def add(z: torch.Tensor, hook: Any, layer: int) -> None:
        total[layer] = total.get(layer, 0) + z.float().sum(dim=(0, 1))

    layers = [i for i, n_heads in enumerate(grid.per_layer) if n_heads]
    hooks = [(f"blocks.{i}.attn.hook_z", partial(add, layer=i)) for i in layers]
    with model.hooks(fwd_hooks=hooks):
        for row in rows:
            forward(model, torch.tensor([row], device=model.cfg.device))
    count = sum(len(row) for row in rows)
    shape = (*grid.shape, max(value.shape[-1] for value in total.values()))
    device = next(iter(total.values())).device
    with torch.inference_mode(False):  # they may take part in a gradient
        means = torch.full(shape, torch.nan, device=device, dtype=torch.float32)
    for layer, value in total.items():
        means[layer, : value.shape[0], : value.shape[1]] = value / count
    return means
