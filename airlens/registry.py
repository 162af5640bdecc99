"""Tables of functions by name: ours, those a user registered, those that packages offer.

Detectors, ablation modes, selectors, splitters and figures are each such a table;
:mod:`airlens.plugins` says how to add to them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from .errors import ConfigError, one_of

T = TypeVar("T")


def named(place: str) -> Callable[..., Any]:
    """The function at ``module:name``, imported when it is called: how the core uses other parts.

    >>> named("math:gcd")(12, 18)
    6
    """
    return partial(_call, place)


def _call(place: str, *args: Any, **options: Any) -> Any:
    return pkgutil.resolve_name(place)(*args, **options)


_offers = named("airlens.entry_points:offers")
_load = named("airlens.entry_points:load")


class Registry(Mapping[str, T], Generic[T]):
    """Functions of one kind ("detector") by name: ``own`` and those of a group of entry points.

    >>> colours = Registry("colour", "example.colours", {"red": 1})
    >>> colours.add("blue", 2)
    >>> list(colours), colours.find("blue")
    (['red', 'blue'], 2)
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, T]) -> None:
        self.kind, self.group, self.own = kind, group, dict(own)
        self._added: dict[str, T] = {}
        self._offered: dict[str, Any] | None = None

    def add(self, name: Any, value: T) -> None:
        """Register a function; :class:`ConfigError` where the name is taken, or is no name."""
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(f"{name!r} is no name for a {self.kind}: use letters, digits and _")
        if name in self and not _same(self._added.get(name), value):
            raise ConfigError(f"there is a {self.kind} named {name!r} already; {self._there_are()}")
        self._added[name] = value

    def remove(self, name: str) -> None:
        """Take out what :meth:`add` put in; nothing happens where there is no such name."""
        self._added.pop(name, None)

    def find(self, name: Any, *, also: tuple[str, ...] = ()) -> T:
        """The function of that name, or a :class:`ConfigError` that lists all (``also`` too)."""
        if not isinstance(name, str) or name not in self:
            raise ConfigError(self._there_are(also, name), argument=self.kind, value=name)
        return self[name]

    def __getitem__(self, name: str) -> T:
        if name in self._added:
            return self._added[name]
        offered = self._entry_points().get(name)
        if not offered:
            return self.own[name]
        self._added[name] = _load(self.kind, name, offered, is_own=name in self.own)
        return self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *self._added, *self._entry_points()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def _there_are(self, also: tuple[str, ...] = (), given: object = None) -> str:
        return one_of(given, [*also, *self])

    def _entry_points(self) -> dict[str, Any]:
        if self._offered is None:
            self._offered = _offers(self.group)
        return self._offered


def _same(one: object, other: object) -> bool:
    """Whether two functions are one: the same object, or defined anew by a cell that ran again."""
    names = ("__module__", "__qualname__")
    again = [getattr(one, name, None) == getattr(other, name, object()) for name in names]
    return one is other or (callable(one) and all(again))
