"""A table of functions by name: ours, those a user registered, those that packages offer.

Detectors, ablation modes, selectors, splitters and figures are each such a table;
:mod:`airlens.plugins` says how to add to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Generic, TypeVar

from .errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Functions of one kind by name.

    Args:
        kind: what they are, as in messages: "detector".
        group: of the entry points of installed packages.
        own: airlens' own.

    >>> colours = Registry("colour", "example.colours", {"red": 1})
    >>> colours.add("blue", 2)
    >>> list(colours), colours.find("blue")
    (['red', 'blue'], 2)
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

    def find(self, name: str, *, also: tuple[str, ...] = ()) -> T:
        """The function of that name; ``also`` are other names that the caller takes.

        Raises:
            ConfigError: there is none; the message lists the names there are.
        """
        if name not in self:
            raise ConfigError(f"{self.kind}={name!r}: {self._there_are(also)}")
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name in self._added:
            return self._added[name]
        offers = self._entry_points().get(name, [])
        if not offers:
            return self.own[name]
        owners = ["airlens"] * (name in self.own) + [_package(offer) for offer in offers]
        if len(owners) > 1:
            raise ConfigError(
                f"the {self.kind} {name!r} is offered by {' and by '.join(owners)}: "
                f"uninstall or rename one; {self._there_are()}"
            )
        try:
            self._added[name] = offers[0].load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the {self.kind} {name!r} of {owners[0]} could not be loaded: {error}"
            ) from error
        return self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *self._added, *self._entry_points()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def _there_are(self, also: tuple[str, ...] = ()) -> str:
        return f"use one of {', '.join([*also, *self])}"

    def _entry_points(self) -> dict[str, list[metadata.EntryPoint]]:
        """What installed packages offer; looked up once, loaded when it is asked for."""
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
