"""The Hugging Face model under a bridge, run without the bridge's hooks, on the same weights.

TransformerLens replaces the model's modules by its components and runs eager attention. Here a
second set of modules is made without memory (on the meta device) and given the same tensors:
nothing is copied, and a changed weight changes both.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import torch

from airlens.ablation import MeanZ, Mode
from airlens.heads import HeadSet
from airlens.model.state import state_of
from airlens.model.weights import plain, plain_settings

from .packed_attention import NAME, Plan, Unsupported, register
from .packing import Pack, Segment, to_device
from .slices import Slice, in_slices

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


Matrix: TypeAlias = "tuple[torch.Tensor, torch.Tensor | None, bool]"
"""In bf16: the weight, the bias, and whether the product stays bf16."""


log = logging.getLogger(__name__)
T = TypeVar("T")
# Ours. Whether a model may run in slices is tried on this many rows: the last hidden states differ,
# in norm, by less than the square root of the type's precision.
TRIED = 24


class Run:
    """Holds the plan of the current pass where every attention module can read it."""

    def __init__(self) -> None:
        self.plan: Plan | None = None


class FastModel:
    """A causal language model that runs packed rows and forks where heads are ablated.

    Args:
        source: the Hugging Face model inside a bridge.

    Raises:
        Unsupported: its modules cannot be rebuilt, or do not use the attention interface.
    """

    def __init__(self, source: torch.nn.Module) -> None:
        self.model = share(source)
        config = self.model.config.get_text_config()
        self.body: torch.nn.Module = self.model.get_decoder()
        self.head: torch.nn.Module = self.model.get_output_embeddings()
        self.n_layers = int(config.num_hidden_layers)
        self.layers = decoder_layers(self.body, self.n_layers)
        self.softcap = getattr(config, "final_logit_softcapping", None)
        self.scale = _logit_scale(config)
        self.switches = switches(config)
        # Of the checks against the hooks, by mode and switch that the text was longer than: empty
        # where both agree.
        self.verdicts: dict[tuple[Mode, int], str] = {}
        self.tuples: set[int] = set()  # layers that return a tuple
        # bf16 copies of matrices, once asked for
        self.bf16: dict[torch.nn.Module, Matrix] | None = None
        self.sliceable: bool | None = None  # None until it was tried
        self.run = Run()
        for module in self.model.modules():
            if hasattr(module, "layer_idx"):
                module.airlens_run = self.run

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def hidden(
        self, pack: Pack, plan: Plan, forks: Sequence[int] = (), *, rows: int | None = None
    ) -> torch.Tensor:
        """The last hidden state of a packed row, [1 + len(forks), N, d], after the final norm.

        Args:
            pack: the row.
            plan: what is ablated where; batch row 0 is the base model.
            forks: for each further batch row, ascending: the layer from which it differs from row
                0.
            rows: most rows of the pack that a layer computes at once; a longer pack runs in slices,
                with the same result. None for all of them.

        Raises:
            Unsupported: the model did not run as planned.
        """
        return self._run(pack, plan, forks, self._slices(pack, plan, rows))

    def _slices(self, pack: Pack, plan: Plan, rows: int | None) -> int | None:
        """``rows`` where the pass is to run in slices. It may try that out, by passes of its own:
        it is asked before a hook is set.
        """
        long = rows is not None and len(pack.tokens) > rows and plan.on_z is None
        return rows if long and self._sliceable(pack) else None

    def _run(self, pack: Pack, plan: Plan, forks: Sequence[int], rows: int | None) -> torch.Tensor:
        """:meth:`hidden`, in slices where ``rows`` is given."""
        device = self.device
        tokens, positions = (to_device(x, device)[None] for x in (pack.tokens, pack.positions))
        plan.slice = None if rows is None else Slice(len(pack.tokens))
        self.run.plan = plan
        try:
            with self._forking(forks), self._slicing(plan, rows):
                out = self.body(input_ids=tokens, position_ids=positions, use_cache=False)
        finally:
            self.run.plan = None
        if plan.calls != self.n_layers:
            raise Unsupported(f"{plan.calls} attention calls in {self.n_layers} layers")
        return out[0] if isinstance(out, tuple) else out.last_hidden_state

    def residuals(
        self,
        pack: Pack,
        plan: Plan,
        layers: Sequence[int] | None = None,
        forks: Sequence[int] = (),
        *,
        rows: int | None = None,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Residual stream before the layers (default: all), [1, N, d], and the last hidden state.

        Layers that were not asked for have an empty tensor in the list. With ``forks``, as for
        :meth:`hidden`, the residual stream is that of the base model.
        """
        rows = self._slices(pack, plan, rows)
        kept: list[torch.Tensor] = []

        def keep(module: Any, args: tuple[Any, ...], out: Any) -> None:
            wanted = layers is None or len(kept) in layers
            kept.append(args[0][:1] if wanted else args[0].new_empty(0))
            if isinstance(out, tuple):
                self.tuples.add(len(kept) - 1)

        handles = [layer.register_forward_hook(keep) for layer in self.layers]
        try:
            return kept, self._run(pack, plan, forks, rows)
        finally:
            for handle in handles:
                handle.remove()

    def resume(
        self,
        pack: Pack,
        plan: Plan,
        layer: int,
        residual: torch.Tensor,
        batch: int,
        *,
        rows: int | None = None,
    ) -> torch.Tensor:
        """The last hidden state [batch, N, d] of passes that begin at ``layer``.

        Args:
            pack: the row.
            plan: what is ablated where; without a base row, batch rows count from 0.
            layer: where the passes begin.
            residual: input of that layer, [1, N, d], from :meth:`residuals`.
            batch: batch rows.
            rows: as in :meth:`hidden`.
        """
        rows = self._slices(pack, plan, rows)
        kept = [module.forward for module in self.layers[:layer]]
        for i, module in enumerate(self.layers[:layer]):
            module.forward = _skip_tuple if i in self.tuples else _skip

        def begin(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (residual.expand(batch, -1, -1), *args[1:])

        handle = self.layers[layer].register_forward_pre_hook(begin)
        plan.calls = layer  # those skipped
        try:
            return self._run(pack, plan, (), rows)
        finally:
            handle.remove()
            for module, forward in zip(self.layers[:layer], kept, strict=True):
                module.forward = forward

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """fp32 logits [n, V] of hidden states [n, d]."""
        logits = self.head(hidden).float()
        if self.scale != 1:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    @contextmanager
    def _slicing(self, plan: Plan, rows: int | None) -> Iterator[None]:
        if plan.slice is None or rows is None:
            yield
            return
        norms = [m for m in self.body.children() if "norm" in type(m).__name__.lower()]
        layers, told = self.layers[plan.calls :], plan.on_share
        with in_slices(layers, norms, plan.slice, rows, told, plan.unread):
            yield

    def _sliceable(self, pack: Pack) -> bool:
        """Whether slices give what a whole pass gives, tried once on the beginning of a row."""
        if self.sliceable is None:
            n = min(TRIED, len(pack.tokens))
            begin = Pack((0,), (Segment(0, n, np.arange(n)),), pack.tokens[:n], np.arange(n))
            try:
                with torch.inference_mode():
                    unread = n // 2  # tried too: these rows differ
                    whole, parts = (
                        self._run(begin, Plan(begin.segments, unread=unread), (), rows).float()
                        for rows in (None, 7)
                    )
                    whole, parts = whole[:, unread:], parts[:, unread:]
                apart = float((parts - whole).norm() / whole.norm())
                self.sliceable = apart <= torch.finfo(self.head.weight.dtype).eps ** 0.5
                why = f"by {apart:.2g}"
            except Exception as error:  # whatever a model unknown to us raises: it runs whole
                self.sliceable, why = False, f"{type(error).__name__}: {error}"
            if not self.sliceable:
                log.warning("long texts run whole: slices differ on this model (%s)", why)
        return self.sliceable

    @contextmanager
    def _forking(self, forks: Sequence[int]) -> Iterator[None]:
        handles = []
        for layer in sorted(set(forks)):
            extra = list(forks).count(layer)

            def fork(module: Any, args: tuple[Any, ...], extra: int = extra) -> tuple[Any, ...]:
                hidden = args[0]
                return (torch.cat([hidden, hidden[:1].expand(extra, -1, -1)]), *args[1:])

            handles.append(self.layers[layer].register_forward_pre_hook(fork))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _skip(hidden: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    return hidden


def _skip_tuple(hidden: torch.Tensor, *args: Any, **options: Any) -> tuple[torch.Tensor]:
    return (hidden,)


def share(source: torch.nn.Module, attention: str = NAME) -> Any:
    """A model like ``source`` before it was wrapped, on the same tensors.

    ``attention`` is its ``attn_implementation``.

    Raises:
        Unsupported: the architecture does not use the attention interface, a tensor has no
            counterpart, or a module is not what the configuration makes.
    """
    kind: Any = type(source)
    config: Any = source.config
    if not getattr(kind, "_supports_attention_backend", False):
        raise Unsupported(f"{kind.__name__} does not use transformers' attention interface")
    layers = set(getattr(config.get_text_config(), "layer_types", None) or [])
    if layers - {"full_attention", "sliding_attention"}:
        raise Unsupported(f"layers of kind {', '.join(sorted(layers))}")
    register()
    with torch.inference_mode(False):  # or its weights could take no part in a gradient
        with torch.device("meta"):
            model = kind._from_config(copy.deepcopy(config), attn_implementation=attention)
        _same_modules(source, model)
        tensors = named_tensors(source)
        for name, old in [*model.named_parameters(), *model.named_buffers()]:
            if name not in tensors or tensors[name].shape != old.shape:
                raise Unsupported(f"no tensor for {name} of {kind.__name__}")
            parent, _, leaf = name.rpartition(".")
            module = model.get_submodule(parent)
            if leaf in module._parameters:
                module._parameters[leaf] = torch.nn.Parameter(tensors[name], requires_grad=False)
            else:
                module._buffers[leaf] = tensors[name]
        model.tie_weights()
    if any(t.is_meta for t in [*model.parameters(), *model.buffers()]):
        raise Unsupported(f"a tensor of {kind.__name__} could not be shared")
    return model.eval()


def _same_modules(source: torch.nn.Module, model: torch.nn.Module) -> None:
    """Raise `Unsupported` where a module of ``source`` is of another kind, or has other settings.

    A module that was replaced, quantised or changed after it was made, and that a model made from
    the configuration would not have.
    """
    made = dict(model.named_modules())
    for name, module in source.named_modules(remove_duplicate=False):
        own = plain(name)
        other = made.get(own)
        if other is None or type(module).__module__.startswith("transformer_lens."):
            continue
        if type(module) is not type(other):
            kinds = f"{type(module).__name__}, not a {type(other).__name__}"
            raise Unsupported(f"{own or 'the model'} is a {kinds}")
        before, after = dict(plain_settings(module)), dict(plain_settings(other))
        changed = [k for k in after if before.get(k) != after[k] and not _of_training(other, k)]
        if changed:
            now = before.get(changed[0])
            raise Unsupported(f"{own}.{changed[0]} is {now!r}, not {after[changed[0]]!r}")


def _of_training(module: torch.nn.Module, name: str) -> bool:
    return "dropout" in name or isinstance(module, torch.nn.Dropout)


def switches(config: Any) -> list[int]:
    """Lengths of text beyond which a layer computes in another way: a window, a scale."""
    rope = getattr(config, "rope_parameters", None) or {}
    found = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if getattr(config, "attn_temperature_tuning", False):
        found.append(getattr(config, "floor_scale", None))
    if rope.get("llama_4_scaling_beta"):
        found.append(rope.get("original_max_position_embeddings"))
    return sorted(int(length) for length in found if length)


def named_tensors(source: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers under the names that they had before the model was wrapped."""
    found: dict[str, torch.Tensor] = {}
    everything = [
        *source.named_parameters(remove_duplicate=False),
        *source.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in everything:
        found.setdefault(plain(name), tensor.detach())
    return found


def decoder_layers(body: torch.nn.Module, n_layers: int) -> torch.nn.ModuleList:
    """The list of decoder layers.

    Raises:
        Unsupported: there is no single such list.
    """
    lists = [m for m in body.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers]
    lists = [m for m in lists if any(hasattr(s, "layer_idx") for s in m[0].modules())]
    if len(lists) != 1:
        raise Unsupported(f"{len(lists)} lists of {n_layers} decoder layers")
    return lists[0]


def _logit_scale(config: Any) -> float:
    """Cohere multiplies its logits, Granite divides them."""
    return float(getattr(config, "logit_scale", None) or 1) / float(
        getattr(config, "logits_scaling", None) or 1
    )


def order(head_sets: Sequence[HeadSet]) -> tuple[list[int], list[int]]:
    """Non-empty head sets in the order of their first layer: (indices, first layers)."""
    first = {i: min(h.layer for h in heads) for i, heads in enumerate(head_sets) if len(heads)}
    indices = sorted(first, key=lambda i: (first[i], i))
    return indices, [first[i] for i in indices]


def plan_of(
    pack: Pack,
    head_sets: Sequence[HeadSet],
    indices: Sequence[int],
    mode: Mode | Sequence[Mode],
    means: MeanZ | None,
) -> Plan:
    """The plan in which batch row k + 1 ablates head set ``indices[k]``; ``mode`` is one for each
    head set, or one for all.
    """
    edits: dict[int, list[tuple[int, list[int]]]] = {}
    for row, index in enumerate(indices, start=1):
        for layer, heads in head_sets[index].by_layer().items():
            edits.setdefault(layer, []).append((row, heads))
    modes = (mode,) if isinstance(mode, str) else tuple(mode[index] for index in indices)
    return Plan(pack.segments, edits, modes, means)


def fast_model(model: TransformerBridge) -> FastModel:
    """The bridge's fast model, made once and reused until something about the model changes.

    After a change of weights it is made and checked again: the bridge keeps copies of some (a fused
    query-key-value weight beside its parts), and a change may reach one and not the other.

    Raises:
        Unsupported: it cannot be made.
    """
    build = partial(FastModel, model.original_model)
    made = state_of(model).kept("fast model", partial(built, build))
    if isinstance(made, str):
        raise Unsupported(made)
    return made


def built(build: Callable[[], T]) -> T | str:
    """What is built on a model's weights, or why it cannot be."""
    try:
        return build()
    except Unsupported as error:
        return str(error)
    except Exception as error:  # whatever a model unknown to us raises: the hooks can run it
        return f"it cannot be rebuilt ({type(error).__name__}: {error})"
