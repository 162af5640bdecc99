"""Tables of functions by name: ours, those a user registered, those that packages offer.

Detectors, ablation modes, selectors, splitters and figures are each such a table;
:mod:`airlens.plugins` says how to add to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .errors import ConfigError, one_of

T = TypeVar("T")


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
        self._offered: dict[str, list[EntryPoint]] | None = None

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

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        if self._offered is None:
            self._offered = offers(self.group)
        return self._offered


def _same(one: object, other: object) -> bool:
    """Whether two functions are one: the same object, or defined anew by a cell that ran again."""
    names = ("__module__", "__qualname__")
    again = [getattr(one, name, None) == getattr(other, name, object()) for name in names]
    return one is other or (callable(one) and all(again))


def offers(group: str) -> dict[str, list[EntryPoint]]:
    """The entry points of a group, by name; none is loaded."""
    found: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=group):
        found.setdefault(offer.name, []).append(offer)
    return found


def _load(kind: str, name: str, offered: list[EntryPoint], *, is_own: bool) -> Any:
    """The function that a package offers.

    Args:
        kind: what it is, as in messages: "detector".
        name: its name.
        offered: all entry points of that name.
        is_own: whether airlens has one of that name too.

    Raises:
        ConfigError: more than one has the name, or it cannot be loaded; names the packages.
    """
    packages = [f"{o.dist.name if o.dist else 'a package'} ({o.value})" for o in offered]
    owners = ["airlens"] * is_own + packages
    if len(owners) > 1:
        raise ConfigError(
            f"the {kind} {name!r} is offered by {' and by '.join(owners)}: uninstall or rename one"
        )
    try:
        return offered[0].load()
    except Exception as error:  # the package's own code runs, and may raise whatever it likes
        what = f"{type(error).__name__}: {error}"
        reason = f"the {kind} {name!r} of {owners[0]} could not be loaded ({what})"
        raise ConfigError(reason) from error
