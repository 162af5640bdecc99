"""The heads of a model, and whether a set of heads is one of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from airlens.errors import AblationError, HeadError
from airlens.heads import HeadGrid, Heads, HeadSet, as_head_set

from .load import model_type, need_bridge
from .state import running, state_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)


def heads_of(model: TransformerBridge) -> HeadGrid:
    """The attention heads that a model has; where not all layers have as many, it is said once.

    Raises:
        AblationError: it has none, or none that TransformerLens reaches.
        ModelError: it is no bridge.
    """
    need_bridge(model)
    state = state_of(model)
    grid = HeadGrid(state.heads_per_layer)
    kind = model_type(model)
    if not len(grid):
        raise AblationError(f"a {kind!r} model has no attention heads that can be reached")
    if len(grid) < grid.n_layers * grid.n_heads:
        state.say(log, f"heads of this {kind!r} model are those of its attention layers: {grid}")
    return grid


def need_all_read(model: TransformerBridge, seen: Collection[int]) -> None:
    """Raise :class:`AblationError` unless the attention of every layer with heads was read."""
    silent = [str(layer) for layer in heads_of(model).layers if layer not in seen]
    if silent:
        raise AblationError(
            f"the attention of layers {', '.join(silent)} of this {model_type(model)!r} model "
            "cannot be read: its hooks did not fire"
        )


def heads_in(model: TransformerBridge, heads: Heads) -> HeadSet:
    """A head set from what names one, all of them heads of the model.

    Where the set says on which model it was found, that must have been one of the same shape; other
    weights are warned of, once.

    Raises:
        HeadError: no such heads, or those of another model; the message says what to do.
    """
    need_bridge(model)
    chosen = as_head_set(heads)
    if not len(chosen):
        return chosen
    grid = heads_of(model)
    about = chosen.provenance.get("model")
    if isinstance(about, dict):
        _need_same_model(model, grid, about)
    grid.check(chosen)
    return chosen


def _need_same_model(model: TransformerBridge, grid: HeadGrid, about: dict[str, object]) -> None:
    name, own = about.get("name") or "another model", str(model.cfg.model_name)
    there = about.get("heads_per_layer") or (about.get("n_layers"), about.get("n_heads"))
    here = grid.per_layer if "heads_per_layer" in about else grid.shape
    if None not in tuple(there) and tuple(there) != tuple(here):  # type: ignore[arg-type]
        shape = f"{about.get('n_layers')} layers of {about.get('n_heads')} heads"
        raise HeadError(
            f"these heads were found on {name} ({shape}), and {own} has {grid}: find its own with "
            f"`airlens heads --model {own} --out heads.json`, or give heads by name (L18H6)"
        )
    dtype = str(next(model.original_model.parameters()).dtype).removeprefix("torch.")
    if about.get("dtype") != dtype:  # other numbers for the same weights: the name has to do
        other = name != own
    else:
        with running(model) as state:
            other = about.get("weights") != state.weights()
    if other:
        state_of(model).say(
            log,
            f"these heads were found on {name} with other weights than those of {own}: its own "
            f"critical heads may be others (`airlens heads --model {own}` finds them)",
        )
