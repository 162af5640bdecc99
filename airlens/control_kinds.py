"""The kinds of random heads that stand beside the critical ones as controls, and their words.

Figures, claims, reports and studies name them by these; `heads` draws them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Control: TypeAlias = Literal["same_layers", "random"]
"""Where control heads are drawn: from the layers of the heads first, or from anywhere."""
CONTROL_KINDS: tuple[Control, ...] = ("random", "same_layers")
CONTROL_WORDS: dict[str, str] = {
    "random": "random heads",
    "same_layers": "random heads of the same layers",
}
CONTRASTED_WORDS: dict[str, str] = {**CONTROL_WORDS, "random": "random heads anywhere"}
"""Where a sentence or a legend sets one kind against the other."""
