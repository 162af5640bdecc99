"""What installed packages offer by entry points: found once, loaded when a name is first used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import ConfigError


def offers(group: str) -> dict[str, list[EntryPoint]]:
    """The entry points of a group, by name; none is loaded."""
    found: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=group):
        found.setdefault(offer.name, []).append(offer)
    return found


def load(kind: str, name: str, offered: list[EntryPoint], *, is_own: bool) -> Any:
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
