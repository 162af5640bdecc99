"""Put the explorers' notebook into the wheel without its outputs: the app runs it anew."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NOTEBOOK = "07_explorers.ipynb"


def without_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with its sources only: no outputs, counts or saved state of widgets."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell = {**cell, "outputs": [], "execution_count": None}
        cells.append(cell)
    metadata = {k: v for k, v in notebook["metadata"].items() if k != "widgets"}
    return {**notebook, "cells": cells, "metadata": metadata}


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling calls this when it builds a wheel (see ``pyproject.toml``)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the notebook without outputs, and have it included as package data."""
        self.folder = TemporaryDirectory()
        source = Path(self.root) / "notebooks" / NOTEBOOK
        target = Path(self.folder.name) / NOTEBOOK
        made = without_outputs(json.loads(source.read_text(encoding="utf-8")))
        target.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        build_data["force_include"][str(target)] = f"airlens/_data/{NOTEBOOK}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written."""
        self.folder.cleanup()
