"""What airlens knows about one model, found through a weak dictionary: nothing is hung on it.

Its weights as they are now, the ablations in effect around the caller, a lock, and what was derived
from it. Whatever is derived has one rule of expiry: it holds as long as the weights and the modules
are what they were when it was made (:meth:`ModelState.kept`).
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from airlens.errors import ModelError, NumbersError

from .copies import diverged, fused, moved, split_again, splitters, sums_of
from .weights import counters, modules_of, moving_rotary, plain, settle, weights_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 10.0  # seconds until a thread that waits for a model says so


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
        self._tensors: list[torch.Tensor] = []
        self._running = 0  # blocks of `running` around the caller
        self._seen: tuple[Any, tuple[str, str]] | None = None  # in these
        self._said: set[str] = set()
        self._heads: tuple[int, ...] | None = None
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._offloaded: dict[tuple[int, str], bytes] = {}
        self._given: Callable[[], Any] = lambda: None
        self._shares = False  # its tensors, with the model that was handed over
        self._fused = {id(module): sums_of(fused(module)) for module in splitters(self.source)}

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

    def copied_from(self, given: Any) -> None:
        """Remember the model that the caller handed over, of which the bridge has a copy."""
        if given is not self.source and type(given) is type(self.source):
            self._given = weakref.ref(given)
            self._shares = not moved(given, self.source)

    def need_alike(self) -> None:
        """Raise :class:`ModelError` where the caller has since changed more than weights in it."""
        given = self._given()
        name = "" if given is None else diverged(given, self.source)
        if name:
            raise ModelError(
                f"{name} of the model that you handed over was changed afterwards (a "
                "parametrization, pruning, another forward or module), and the bridge has modules "
                "of its own: call load_model again"
            )
        if self._shares and given is not None and moved(given, self.source):
            self.say(
                log,
                "the model that you handed over has new tensors (moved, cast, or set by .data): "
                "the bridge has the old ones; call load_model again for later weights",
            )

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The weights; inside of :func:`running` those that it began with."""
        return self._tensors if self._running else list(self.source.parameters())

    @property
    def busy(self) -> bool:
        """Whether the caller is inside of :func:`running`."""
        return self._running > 0

    def follow(self) -> None:
        """Copy a fused weight that has changed to the parts that TransformerLens made of it.

        It computes with these parts (of query, key and value; of gate and up), which are copies in
        some architectures; the Hugging Face model that a user trains has the fused weight alone.
        """
        if getattr(self._model(), "compatibility_mode", False):
            return  # its weights are its own
        for module in splitters(self.source):
            sums = sums_of(fused(module))
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
        counted = counters(self.tensors)
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
        ModelError: gradients of weights that can have none; the model that the caller handed over
            is no longer like the one that the bridge runs.
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
            state._tensors = tensors_of(own)
            state.need_alike()
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


def tensors_of(modules: list[torch.nn.Module]) -> list[torch.Tensor]:
    """The weights of these modules, each once."""
    found = [weight for module in modules for weight in module._parameters.values()]
    return list({id(weight): weight for weight in found if weight is not None}.values())


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
