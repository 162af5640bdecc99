"""What axe-core finds wrong in a page, one line a rule and node."""

from __future__ import annotations

from typing import Any


def violations(page: Any, within: str = "") -> list[str]:
    """One line a rule and node that axe-core finds wrong; ``within``: a selector."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=within or None).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:160]}"
        for rule in found
        for node in rule["nodes"]
    ]
