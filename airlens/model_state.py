"""What airlens knows about one model, found through a weak dictionary: nothing is hung on it.

Its weights as they are now, the ablations in effect around the caller, a lock, and what was derived
from it. Whatever is derived has one rule of expiry: it holds as long as the weights and the modules
are what they were when it was made (:meth:`ModelState.kept`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from .errors import ModelError, NumbersError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 10.0  # seconds until a thread that waits for a model says so
# Bytes are summed as 64-bit integers in this many columns. A prime: rows, columns or heads that
# change places change the sums.
COLUMNS = 8191
ROWS = 16  # summed at once: as much as a processor's cache holds


class ModelState:
    """What is known about one model.

    Attributes:
        lock: held by the thread that runs the model through airlens.
        ablations: heads, mode and means of each :func:`~airlens.ablation.ablated` block around the
            caller, outermost first.
        resting: how many of these blocks, from the outermost, let the model run as it is.
        rotary: modules whose tables depend on the longest sequence of a batch, see
            :func:`moving_rotary`; known inside of :func:`running`.
    """

    def __init__(self, model: TransformerBridge) -> None:
        self._model = weakref.ref(model)
        self.lock = threading.RLock()
        self.ablations: tuple[Any, ...] = ()
        self.resting = 0
        self.rotary: list[torch.nn.Module] = []
        self._running = 0  # blocks of `running` around the caller
        self._seen: tuple[Any, tuple[str, str]] | None = None  # in these
        self._said: set[str] = set()
        self._heads: tuple[int, ...] | None = None
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._offloaded: dict[tuple[int, str], bytes] = {}
        self._fused = {id(module): _sums(fused(module)) for module in splitters(self.source)}

    @property
    def source(self) -> torch.nn.Module:
        """The Hugging Face model inside the bridge."""
        model = self._model()
        if model is None:
            raise ReferenceError("the model of this state is gone")
        source: torch.nn.Module = model.original_model
        return source

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside the block no other thread runs this model through airlens; may be nested."""
        if not self.lock.acquire(timeout=PATIENCE):
            log.warning("another thread uses this model (or is inside al.ablated): waiting for it")
            self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    @contextmanager
    def _counted(self) -> Iterator[bool]:
        """Count a block of :func:`running`; gives whether it is in no other."""
        self._running += 1
        try:
            yield self._running == 1
        finally:
            self._running -= 1
            if not self._running:
                self._seen = None

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside the block the ``ablated`` blocks around it let the model run as it is."""
        kept, self.resting = self.resting, len(self.ablations)
        try:
            yield
        finally:
            self.resting = kept

    def say(self, log: logging.Logger, sentence: str) -> None:
        """Log a sentence about this model, the first time only."""
        if sentence not in self._said:
            self._said.add(sentence)
            log.warning(sentence)

    @property
    def busy(self) -> bool:
        """Whether the caller is inside of :func:`running`."""
        return self._running > 0

    def follow(self) -> None:
        """Copy a fused weight that has changed to the parts that TransformerLens made of it.

        It computes with these parts (of query, key and value; of gate and up), which are copies in
        some architectures; the Hugging Face model that a user trains has the fused weight alone.
        """
        for module in splitters(self.source):
            sums = _sums(fused(module))
            if self._fused.get(id(module)) != sums:
                split_again(module)
                self._fused[id(module)] = sums

    @property
    def heads_per_layer(self) -> tuple[int, ...]:
        """How many attention heads each layer has; 0 where TransformerLens reaches none."""
        if self._heads is None:
            model: Any = self._model()
            config = self.source.config
            each = getattr(config, "num_query_heads", getattr(config, "num_attention_heads", None))
            names, count = model.hook_dict, int(model.cfg.n_heads)
            self._heads = tuple(
                (int(each[i]) if isinstance(each, (list, tuple)) else count)
                if f"blocks.{i}.attn.hook_z" in names
                else 0
                for i in range(int(model.cfg.n_layers))
            )
        return self._heads

    def weights(self) -> str:
        """A hash of all weights as they are now: 16 hex digits, the same on every device."""
        return self._now()[0]

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """What ``make()`` derives from the model, made anew whenever the model has changed."""
        now = self._now()
        known = self._kept.get(name)
        if known is not None and known[0] == now:
            value: T = known[1]
            return value
        value = make()
        self._kept[name] = (now, value)
        return value

    def _now(self) -> tuple[str, str]:
        """Hashes of the weights, and of modules and of buffers that are not saved with weights.

        Read anew at each call, but inside of :func:`running` only where a tensor's version or
        address has changed: what is written to weights behind torch's back (``.data``, numpy) is
        noticed by what is in them, from one block to the next.
        """
        source = self.source
        counted = counters(source)
        if self._seen is not None and self._seen[0] == counted:
            return self._seen[1]
        now = (weights_of(source, self._offloaded), modules_of(source))
        if self._running:
            self._seen = (counted, now)
        return now


@contextmanager
def running(model: TransformerBridge, *, gradients: bool = False) -> Iterator[ModelState]:
    """A block in which airlens runs the model, so that a number depends on nothing around it.

    One thread at a time, :func:`undisturbed`; dropout and whatever else belongs to training is off,
    module by module as it was afterwards. Blocks may be nested.

    Args:
        model: the bridge.
        gradients: whether the block takes gradients; otherwise it runs in inference mode.

    Raises:
        ModelError: gradients of weights that can have none.
    """
    state = state_of(model)
    if gradients and any(p.is_inference() for p in state.source.parameters()):
        raise ModelError(
            "the weights were made under torch.inference_mode() and can take no part in a "
            "gradient: load the model outside of it"
        )
    with state.turn(), state._counted() as outermost, ExitStack() as stack:
        if outermost:
            own = every_module(model)
            state.follow()
            stack.enter_context(_evaluating(own))
            state.rotary = [module for module in own if moving_rotary(module)]
            stack.enter_context(undisturbed())
        stack.enter_context(torch.inference_mode(not gradients))
        stack.enter_context(torch.set_grad_enabled(gradients))
        yield state


@contextmanager
def undisturbed() -> Iterator[None]:
    """A block without what may be in effect around it and would change numbers.

    That is autocast, a default type other than float32, a default device, and rounded factors of
    float32 products (``torch.set_float32_matmul_precision``).
    """
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_default_dtype(torch.float32))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_exact_products())
        yield


def every_module(model: TransformerBridge) -> list[torch.nn.Module]:
    """Every module of the bridge and of the model inside, once; much faster than ``modules()``."""
    found: dict[int, torch.nn.Module] = {}
    waiting: list[Any] = [model, model.original_model]
    while waiting:
        module = waiting.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            waiting.extend(module._modules.values())
    return list(found.values())


def forward(
    model: TransformerBridge,
    tokens: torch.Tensor,
    *,
    check: bool = True,
    gradients: bool = False,
    **options: torch.Tensor,
) -> torch.Tensor:
    """Logits [B, T, V] of token rows [B, T], in the model's type, by the bridge and its hooks.

    Rows of different length must not stand together where :attr:`ModelState.rotary` is not empty.
    ``options`` are the bridge's, such as a mask.

    Raises:
        NumbersError: some logits are NaN; not looked for where ``check`` is False.
    """
    with running(model, gradients=gradients) as state:
        for module in state.rotary:
            settle(module)
        logits: torch.Tensor = model(tokens, **options)
        # One column will do: a NaN before the last product makes all of a row NaN.
        if check and logits[..., 0].isnan().any():
            raise NumbersError(not_finite(model, "NaN"))
        return logits


def not_finite(model: TransformerBridge, what: str) -> str:
    """What to say where a model gave NaN or infinity (``what``): in which type, and what helps."""
    weights = [
        (name, p) for name, p in model.original_model.named_parameters() if p.is_floating_point()
    ]
    broken = [name for name, p in weights if not p.is_meta and not torch.isfinite(p).all()]
    if broken:
        return f"the model gave {what}: its weight {plain(broken[0])} holds NaN or infinity"
    kind = str(weights[0][1].dtype).removeprefix("torch.") if weights else "its type"
    if kind == "float16":
        return (
            f"the model gave {what} in float16, whose numbers end at 65,504: "
            "load it with dtype='bfloat16' or dtype='float32'"
        )
    if kind == "float32":
        return f"the model gave {what} in float32, from finite weights: look at hooks and means"
    return f"the model gave {what} in {kind}: load it with dtype='float32'"


@contextmanager
def _evaluating(modules: list[torch.nn.Module]) -> Iterator[None]:
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(kept)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Products of float32 are those of float32, whatever the process has asked for otherwise."""
    try:
        kept = torch.get_float32_matmul_precision()
    except RuntimeError:  # it was set by the settings that torch 2.9 brought
        kept = ""
    if kept == "highest":
        yield
        return
    backends = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul] if not kept else []
    precisions = [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if kept:
            torch.set_float32_matmul_precision(kept)
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision


_STATES: weakref.WeakKeyDictionary[Any, ModelState] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def state_of(model: TransformerBridge) -> ModelState:
    """The state of a model, made on first use; it goes when the model goes."""
    with _MAKING:
        state = _STATES.get(model)
        if state is None:
            state = _STATES[model] = ModelState(model)
        return state


def counters(source: torch.nn.Module) -> tuple[tuple[int, int], ...]:
    """Address and version of each weight; 0 for the version of inference tensors, which have none.

    Cheap, and changed by what torch counts: in-place operations and new tensors.
    """
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in source.parameters())


def weights_of(source: torch.nn.Module, known: dict[tuple[int, str], bytes] | None = None) -> str:
    """A hash of the name, shape, type and bytes of each weight and saved buffer; 16 hex digits.

    Weights that accelerate keeps in memory or on disk until they are used are read once, and kept
    in ``known``.
    """
    digest = hashlib.sha256()
    known = {} if known is None else known
    kept_elsewhere = offloaded(source)
    for name, tensor in [*source.named_parameters(), *_saved_buffers(source)]:
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{plain(name)} {kind} {tuple(tensor.shape)}".encode())
        if tensor.is_meta and id(tensor) in kept_elsewhere:
            weights, key = kept_elsewhere[id(tensor)]
            if (id(weights), key) not in known:
                known[id(weights), key] = checksum(weights[key])
            digest.update(known[id(weights), key])
        else:
            digest.update(checksum(tensor))
    return digest.hexdigest()[:16]


def offloaded(source: torch.nn.Module) -> dict[int, tuple[Any, str]]:
    """Where accelerate keeps the weights that stand on the meta device: (mapping, key) by id."""
    found = {}
    for module in source.modules():
        hook = module.__dict__.get("_hf_hook")
        for one in getattr(hook, "hooks", [hook]):
            weights = getattr(one, "weights_map", None)
            if weights is not None:
                whole = bool(getattr(one, "place_submodules", False))
                for name, tensor in [
                    *module.named_parameters(recurse=whole),
                    *module.named_buffers(recurse=whole),
                ]:
                    if tensor.is_meta:
                        found[id(tensor)] = (weights, name)
    return found


def plain(name: str) -> str:
    """The name that a weight had before the model was wrapped."""
    return name.replace("_original_component.", "").removesuffix("._original_component")


def _saved_buffers(source: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, module in source.named_modules():
        for name, tensor in module._buffers.items():
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}", tensor


def checksum(tensor: torch.Tensor) -> bytes:
    """Sums of a tensor's bytes, which depend on all of them and their order; equal on all devices.

    >>> first = torch.arange(20_000.0).reshape(100, 200)
    >>> second = first.clone()
    >>> checksum(first) == checksum(second)
    True
    >>> second[:, [0, 1]] = first[:, [1, 0]]
    >>> checksum(first) == checksum(second)
    False
    """
    if tensor.is_meta:
        return b"meta"
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.data_ptr() % 8 or flat.storage_offset() % 8:
        flat = flat.clone()
    words = len(flat) // 8
    rows = words // COLUMNS
    head = flat[: rows * COLUMNS * 8].view(torch.int64).view(rows, COLUMNS)
    sums = torch.zeros(COLUMNS, dtype=torch.int64, device=tensor.device)
    for some in head.split(ROWS if tensor.device.type == "cpu" else 64 * ROWS):
        sums += some.sum(dim=0)
    return bytes(sums.cpu().numpy()) + bytes(flat[head.numel() * 8 :].cpu().numpy())


def modules_of(source: torch.nn.Module) -> str:
    """A hash, good in this process, of what else decides a result: modules, their numbers, buffers.

    A rotary table that follows the length of what was last run is no part of it.
    """
    digest = hashlib.sha256()
    for name, module in source.named_modules():
        kind = type(module)
        digest.update(f"{name} {kind.__qualname__} {id(kind)} {id(kind.forward)}".encode())
        if moving_rotary(module):
            continue
        if not kind.__module__.startswith("transformer_lens."):
            digest.update(repr(plain_settings(module)).encode())
        for key, buffer in sorted(module._buffers.items()):
            if buffer is not None:
                digest.update(f"{key} {buffer.dtype} {buffer.device}".encode() + checksum(buffer))
    for tensor in source.parameters():
        digest.update(f"{tensor.device} {tensor.data_ptr()}".encode())
    return digest.hexdigest()


def plain_settings(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Plain attributes of a module, such as the scale of its scores or its window."""
    plain = (bool, int, float, str, type(None))
    return [
        (key, value)
        for key, value in sorted(module.__dict__.items())
        if key != "training" and not key.startswith("_") and type(value) in plain
    ]


def splitters(source: torch.nn.Module) -> list[Any]:
    """Components of TransformerLens that made parts of a fused weight."""
    names = ("split_qkv_matrix", "split_gate_up_matrix")
    found = {id(m): m for m in source.modules() if any(name in m.__dict__ for name in names)}
    return [m for m in found.values() if next(iter(fused(m).parameters()), None) is not None]


def fused(module: Any) -> torch.nn.Module:
    """The module whose weight a component made parts of."""
    name = getattr(module, "fused_attr", "qkv")
    part = getattr(module, name, None) or getattr(module.original_component, name, None)
    return part if isinstance(part, torch.nn.Module) else torch.nn.Module()


def _sums(module: torch.nn.Module) -> bytes:
    return b"".join(checksum(p) for p in module.parameters())


def split_again(module: Any) -> None:
    """Write to the parts of a component what they are in its fused weight now."""
    if hasattr(module, "split_qkv_matrix"):
        parts = zip("qkv", module.split_qkv_matrix(module.original_component), strict=True)
    else:
        halves = module.split_gate_up_matrix(module.original_component)
        parts = zip(("gate", "in"), halves, strict=True)
    with torch.inference_mode():
        for name, new in parts:
            for old, value in zip(
                getattr(module, name).original_component.parameters(), new.parameters(), strict=True
            ):
                if not torch.equal(old, value):
                    old.copy_(value)


def moving_rotary(module: torch.nn.Module) -> bool:
    """Whether a module makes rotary tables that depend on the longest sequence of a batch."""
    kinds = module.__dict__.get("rope_type")
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind == "longrope" or "dynamic" in str(kind) for kind in kinds)


def settle(module: torch.nn.Module) -> None:
    """Put a rotary table that grows with what is run ("dynamic") back to where it starts.

    transformers leaves it grown after a long sequence, for those that follow.
    """
    if "dynamic" not in str(module.__dict__.get("rope_type")):
        return
    start = module.__dict__.get("original_max_seq_len")
    for name in [key for key in module.__dict__ if key.endswith("max_seq_len_cached")]:
        setattr(module, name, start or module.config.max_position_embeddings)
    for name, table in list(module._buffers.items()):
        first = getattr(module, f"{name.removesuffix('inv_freq')}original_inv_freq", None)
        if table is not None and first is not None and not name.endswith("original_inv_freq"):
            module._buffers[name] = first.clone().to(table.device)
