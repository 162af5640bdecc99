"""What decides the scores of traces, in one object for Python, corpora and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from airlens.ablation import DEFAULT_MODE, MODES, Mode
from airlens.arguments import number
from airlens.control_kinds import Control
from airlens.errors import ConfigError, need_count
from airlens.heads import HeadSet, Shape, control_sets
from airlens.losses.windows import Long
from airlens.traces.chat_template import Template, Think

CONTROLS = 3  # ours: draws of random heads beside every score
# Ours: under this base loss (nats a token) the text is as good as known to the model, and a ratio
# to it says nothing.
FLOOR = 0.01
Scope: TypeAlias = Literal["response", "document"]
_CHOICES = {"control": Control, "scope": Scope, "template": Template, "think": Think, "long": Long}


@dataclass(frozen=True)
class ScoreSettings:
    """Settings that change the numbers; see :func:`airlens.influence` for each.

    Raises:
        ConfigError: a value that makes no sense; the message says which there are.
    """

    mode: Mode = DEFAULT_MODE
    controls: int = CONTROLS
    control: Control = "same_layers"
    seed: int = 0
    scope: Scope = "response"
    template: Template = "auto"
    think: Think = "auto"
    long: Long = "stride"
    floor: float = FLOOR

    def __post_init__(self) -> None:
        MODES.find(self.mode)
        need_count(self.controls, "controls", 0)
        need_count(self.seed, "seed", 0)
        number(self.floor, "floor")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                names = ", ".join(get_args(kind))
                raise ConfigError(f"{name}={getattr(self, name)!r}: use one of {names}")

    def control_sets(self, shape: Shape, heads: HeadSet) -> list[HeadSet]:
        """The random heads that stand beside ``heads``."""
        return control_sets(shape, heads, self.control, draws=self.controls, seed=self.seed)

    def shared(self) -> dict[str, Any]:
        """What all that ablates heads in traces takes, by name; not `scope`, `long` and `floor`."""
        names = ("mode", "controls", "control", "seed", "template", "think")
        return {name: getattr(self, name) for name in names}

    @property
    def written(self) -> tuple[Template, Think]:
        """How prompt and thought are written: a document is plain text."""
        return ("plain" if self.scope == "document" else self.template), self.think
