"""Read and write notebooks, and set the parameters declared in them.

Parameters are the names assigned in the cell tagged ``parameters``, as papermill has it; papermill
itself would be needed only to run a notebook, which the app leaves to voila.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_write_text

TAG = "parameters"


def _nbformat() -> Any:
    return importlib.import_module("nbformat")  # its functions have no types


def read(path: str | Path) -> Any:
    """A notebook.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return _nbformat().read(str(path), as_version=4)
    except Exception as error:  # nbformat raises its own kinds, OSError and ValueError
        raise DataError(f"not a notebook ({error})", file=str(path)) from error


def parameters(notebook: Any) -> dict[str, Any]:
    """Names assigned in the cell tagged ``parameters``, with the values that are literals."""
    found: dict[str, Any] = {}
    for cell in tagged(notebook):
        for statement in ast.parse(cell.source).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found[target.id] = _literal(getattr(statement, "value", None))
    return found


def tagged(notebook: Any) -> list[Any]:
    """The cells tagged ``parameters``."""
    return [c for c in notebook.cells if TAG in c.metadata.get("tags", [])]


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError):
        return ...


def with_parameters(notebook: Any, values: Mapping[str, Any]) -> Any:
    """The notebook with a cell after its parameters that sets ``values`` (as papermill does).

    Raises:
        ConfigError: a name that is not among the notebook's parameters.
    """
    known = parameters(notebook)
    unknown = [name for name in values if name not in known]
    if unknown:
        names = ", ".join(known) or "none"
        raise ConfigError(f"no parameter {', '.join(unknown)}; the notebook has: {names}")
    if not values:
        return notebook
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    cell = _nbformat().v4.new_code_cell(
        "\n".join(lines), metadata={"tags": ["injected-parameters"]}
    )
    cell.id = "injected-parameters"
    place = notebook.cells.index(tagged(notebook)[-1]) + 1
    notebook.cells.insert(place, cell)
    return notebook


def write(path: str | Path, notebook: Any) -> None:
    """Write a notebook in one step."""
    text = _nbformat().writes(notebook)
    atomic_write_text(path, text if text.endswith("\n") else text + "\n")


def parse_values(texts: Iterable[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value that is no Python literal is text.

    Raises:
        ConfigError: no ``=``.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r}: write a parameter as name=value")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError):
            found[name] = value
    return found
