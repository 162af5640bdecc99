"""Names for what a user may add: detectors, ablation modes, selectors, splitters and figures.

All five work alike: a function and a name.

>>> import airlens as al
>>> def shortest_prompt(samples):
...     return -samples["n_prompt_tokens"]
>>> _ = al.register("selector", "shortest_prompt", shortest_prompt)
>>> "shortest_prompt" in al.registered("selector")
True

A package that is installed offers its own without being imported, by an entry point in its
``pyproject.toml``; the function is loaded when its name is first used::

    [project.entry-points."airlens.selectors"]
    shortest_prompt = "my_package:shortest_prompt"

========== ============================= ===================================================
kind       group of entry points         the function
========== ============================= ===================================================
detector   ``airlens.detectors``         (model, probes, *, progress, …) → `HeadScores`
ablation   ``airlens.ablation_modes``    (model, layer, heads) → (hook point, edit of its tensor)
selector   ``airlens.selectors``         (samples) → Series; the highest values are kept
splitter   ``airlens.splitters``         (response) → tuple of `Step` that join to the response
figure     ``airlens.figures``           (frame, *, title=None) → Plotly figure
========== ============================= ===================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module, metadata
from typing import Any, Generic, TypeVar

from .errors import ConfigError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# Where the registry of each kind is kept: by name, since the core imports nothing around it.
_KEPT_IN: dict[str, tuple[str, str]] = {
    "detector": ("airlens.detectors", "DETECTORS"),
    "ablation": ("airlens.ablation", "MODES"),
    "selector": ("airlens.selection", "SELECTORS"),
    "splitter": ("airlens.steps", "SPLITTERS"),
    "figure": ("airlens.figures", "FIGURES"),
}
KINDS = tuple(_KEPT_IN)


class Registry(Mapping[str, T], Generic[T]):
    """Functions of one kind by name: airlens' own, those registered, those that packages offer.

    Args:
        kind: what they are, as in messages: "detector".
        group: of the entry points of installed packages.
        own: airlens' own.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, T]) -> None:
        self.kind, self.group, self.own = kind, group, dict(own)
        self._added: dict[str, T] = {}
        self._offered: dict[str, list[metadata.EntryPoint]] | None = None

    def add(self, name: str, value: T) -> None:
        """Register a function.

        Raises:
            ConfigError: the name is taken, or is no name; the message lists those there are.
        """
        if not name.isidentifier():
            raise ConfigError(f"{name!r} is no name for a {self.kind}: use letters, digits and _")
        if name in self and not _same(self._added.get(name), value):
            raise ConfigError(f"there is a {self.kind} named {name!r} already; {self._there_are()}")
        self._added[name] = value

    def remove(self, name: str) -> None:
        """Take out what :meth:`add` put in; nothing happens where there is no such name."""
        self._added.pop(name, None)

    def __getitem__(self, name: str) -> T:
        if name in self._added:
            return self._added[name]
        offers = self._entry_points().get(name, [])
        if name in self.own and not offers:
            return self.own[name]
        if len(offers) + (name in self.own) > 1:
            owners = ["airlens"] * (name in self.own) + [_package(offer) for offer in offers]
            raise ConfigError(
                f"the {self.kind} {name!r} is offered by {' and by '.join(owners)}: "
                f"uninstall or rename one; {self._there_are()}"
            )
        if not offers:
            raise KeyError(name)
        try:
            value: T = offers[0].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the {self.kind} {name!r} of {_package(offers[0])} could not be loaded: {error}"
            ) from error
        self._added[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *self._added, *self._entry_points()]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._added or name in self._entry_points()

    def find(self, name: str, *, also: tuple[str, ...] = ()) -> T:
        """The function of that name.

        Args:
            name: of the function.
            also: other names that the caller takes, for the message.

        Raises:
            ConfigError: there is none; the message lists the names there are.
        """
        if name not in self:
            raise ConfigError(f"{self.kind}={name!r}: {self._there_are(also)}")
        return self[name]

    def _there_are(self, also: tuple[str, ...] = ()) -> str:
        return f"use one of {', '.join([*also, *self])}"

    def _entry_points(self) -> dict[str, list[metadata.EntryPoint]]:
        if self._offered is None:
            self._offered = {}
            for offer in metadata.entry_points(group=self.group):
                self._offered.setdefault(offer.name, []).append(offer)
        return self._offered


def _same(one: object, other: object) -> bool:
    """Whether two functions are one: the same object, or defined anew by a cell that ran again."""
    if one is other:
        return True
    names = ("__module__", "__qualname__")
    return callable(one) and all(
        getattr(one, name, None) == getattr(other, name, object()) for name in names
    )


def _package(offer: metadata.EntryPoint) -> str:
    return f"{offer.dist.name if offer.dist else 'a package'} ({offer.value})"


def registry(kind: str) -> Registry[Any]:
    """The registry of a kind.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in _KEPT_IN:
        raise ConfigError(f"kind {kind!r}: use one of {', '.join(KINDS)}")
    module, name = _KEPT_IN[kind]
    found: Registry[Any] = getattr(import_module(module), name)
    return found


def register(kind: str, name: str, function: F | None = None) -> Any:
    """Make a function known under a name, wherever airlens takes names of its kind.

    The function may be defined and registered anew, as when a notebook's cell is run again.

    Args:
        kind: "detector", "ablation", "selector", "splitter" or "figure"; the table above says what
            the function takes and returns.
        name: how it is asked for: ``al.detect(…, name)``, ``mode=name``, ``by=name``,
            ``splitter=name``, ``al.figures.name``. It is noted in results.
        function: left out, this is a decorator.

    Returns:
        The function.

    Raises:
        ConfigError: an unknown kind, or a name that is taken; the message lists what there is.

    Example:
        >>> import airlens as al
        >>> from airlens.steps import cut_at
        >>> @al.register("splitter", "semicolons")
        ... def semicolons(response):
        ...     return cut_at(response, [i + 1 for i, c in enumerate(response) if c == ";"])
        >>> [step.text for step in al.split_steps("x = 1; y = 2", "semicolons")]
        ['x = 1;', ' y = 2']
        >>> al.unregister("splitter", "semicolons")
    """
    if function is None:
        return lambda made: register(kind, name, made)
    registry(kind).add(name, function)
    return function


def unregister(kind: str, name: str) -> None:
    """Take out what :func:`register` put in; airlens' own names stay.

    Raises:
        ConfigError: an unknown kind.
    """
    registry(kind).remove(name)


def registered(kind: str) -> list[str]:
    """All names of a kind: airlens' own, those registered, and those that packages offer.

    Raises:
        ConfigError: an unknown kind.
    """
    return list(registry(kind))
