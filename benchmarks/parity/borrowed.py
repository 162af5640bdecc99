"""Functions of a checkout as they stand in its files, without what these files import.

Published code loads models with CUDA kernels, reads data sets and parses arguments at its top; what
is compared are its definitions. A file is parsed, the functions asked for are compiled from its own
text, unchanged, and run in a namespace that has only what the adapter gives them.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def borrow(file: Path, *names: str, **given: Any) -> dict[str, Any]:
    """Top-level functions and constants of a file by name, or methods as ``Class.method``.

    Args:
        file: of the checkout.
        names: what is wanted; a method is returned as a plain function under its own name.
        given: what the functions find under these names: modules, types, other functions.

    Raises:
        SystemExit: the file is not there, or does not have a name; says which.
    """
    if not file.is_file():
        raise SystemExit(f"{file}: no such file; is this the checkout, at the revision named?")
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    space = dict(given)
    for name in names:
        body = tree.body
        *owner, leaf = name.split(".")
        for part in owner:
            body = next(
                (n.body for n in body if isinstance(n, ast.ClassDef) and n.name == part), []
            )
        node = next((n for n in body if leaf in _names(n)), None)
        if node is None:
            raise SystemExit(f"{file} has no {name}; is this the revision named?")
        node = _plain(node)
        exec(compile(ast.Module([node], []), str(file), "exec"), space)
    return space


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _plain(node: ast.stmt) -> ast.stmt:
    """The same function without annotations of its arguments, whose types were not imported."""
    if isinstance(node, ast.FunctionDef):
        node.returns = None
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            argument.annotation = None
    return node
