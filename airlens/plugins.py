"""Register a function under a name; its kind says what it takes and returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .errors import ConfigError
from .registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("detector", "ablation", "selector", "splitter", "figure")


def registry(kind: str) -> Registry[Any]:
    """The registry of a kind; its module is imported when first asked for, as some load torch.

    Raises:
        ConfigError: there is no such kind.
    """
    match kind:
        case "detector":
            from .detectors.detect import DETECTORS

            return DETECTORS
        case "ablation":
            from .ablation import MODES

            return MODES
        case "selector":
            from .selection.select import SELECTORS

            return SELECTORS
        case "splitter":
            from .traces.steps import SPLITTERS

            return SPLITTERS
        case "figure":
            from .figures import FIGURES

            return FIGURES
    raise ConfigError(f"kind {kind!r}: use one of {', '.join(KINDS)}")


def register(kind: str, name: str, function: F | None = None) -> Any:
    """Make a function known under a name, wherever airlens takes names of its kind.

    The function may be defined and registered anew, as when a notebook's cell is run again.

    Args:
        kind: "detector", "ablation", "selector", "splitter" or "figure"; the list below says what
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
        >>> from airlens.traces.steps import cut_at
        >>> @al.register("splitter", "semicolons")
        ... def semicolons(response):
        ...     return cut_at(response, [i + 1 for i, c in enumerate(response) if c == ";"])
        >>> [step.text for step in al.split_steps("x = 1; y = 2", "semicolons")]
        ['x = 1;', ' y = 2']
        >>> al.unregister("splitter", "semicolons")

    A package that is installed offers its own without being imported, by an entry point in its
    ``pyproject.toml``; the function is loaded when its name is first used::

        [project.entry-points."airlens.selectors"]
        shortest_prompt = "my_package:shortest_prompt"

    The groups of entry points, and the function of each kind:

    - ``airlens.detectors``: ``(model, probes, *, progress, …)`` → `HeadScores`
    - ``airlens.ablation_modes``: ``(model, layer, heads)`` → (hook point, edit of its tensor)
    - ``airlens.selectors``: ``(samples)`` → Series; the highest values are kept
    - ``airlens.splitters``: ``(response)`` → tuple of `Step` that join to the response
    - ``airlens.figures``: ``(frame, *, title=None)`` → Plotly figure
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
