"""Which heads affect a step: each head ablated alone, as a map of heads and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import pandas as pd

from airlens.ablation import Mode
from airlens.heads import HeadSet
from airlens.step_influence.single_heads import by_step, heads_of_step
from airlens.traces.trace import Trace

from .jobs import Worker
from .js import GridMap
from .traits import step_head_traits

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

OF = [("the chosen heads", False), ("all heads, the most moved", True)]
SingleHeads = Callable[..., pd.DataFrame]
Key = tuple[Any, ...]


class StepHeads:
    """The map of heads and steps of a trace, and the measurements of single heads behind it.

    Args:
        model: the bridge.
        worker: runs the measurements.
        measure: measures each head alone, see
            :func:`airlens.step_influence.single_heads.single_heads`.
        most: how many heads are measured for a step when all heads are chosen.
        kept: how many measurements stay in memory.
    """

    def __init__(
        self, model: TransformerBridge, worker: Worker, measure: SingleHeads, most: int, kept: int
    ) -> None:
        self.model, self.worker, self.measure = model, worker, measure
        self.most, self.kept = most, kept
        self._found: dict[Key, pd.DataFrame] = {}
        self._shown: Key = ()
        self.map = GridMap()
        self.of = w.Dropdown(
            options=OF,
            description="a step",
            tooltip="whose influence on a step is shown when it is clicked",
        )

    def clear(self) -> None:
        """Clear the map before another trace is shown."""
        self.map.rows, self.map.column, self._shown = [], -1, ()
        self.map.title = self.map.hint = ""

    def ask(
        self, trace: Trace, heads: HeadSet, mode: Mode, written: Mapping[str, Any], key: Key
    ) -> None:
        """Show the heads of the step ``map.column``, measured first where necessary.

        ``written``: template, and think where it is not the default. ``key`` names the trace, its
        splitting and the mode.
        """
        step, every = self.map.column, self.of.value
        key = (*key, step if every else str(heads))
        if key in self._found:
            self._show(key)
            return
        options: dict[str, Any] = {"mode": mode, **written}

        def work() -> pd.DataFrame:
            chosen = heads
            if every:
                chosen = heads_of_step(self.model, trace, step, self.most, **options)
            return self.measure(self.model, trace, chosen, **options)

        def done(found: pd.DataFrame) -> None:
            keep_newest(self._found, key, found, self.kept)
            self._show(key)

        count = self.most if every else len(heads)
        what = f"each of {count} heads alone" + (" (chosen from all)" if every else "")
        self.worker.start(work, done, what=what, size=1 + count)

    def tokens(self) -> pd.DataFrame:
        """Δ of each head and token of the map that is shown: see `.single_heads`."""
        found = self._found.get(self._shown)
        columns = ["name", "layer", "head", "step", "pos", "delta"]
        return pd.DataFrame(columns=columns) if found is None else found

    def steps(self) -> pd.DataFrame:
        """Mean Δ of each head and step of the map that is shown (nats per token)."""
        return by_step(self.tokens())

    def _show(self, key: Key) -> None:
        self._shown = key
        rows = self.steps()
        if rows.empty:
            return
        self.map.hint = "Click a head to colour the text by what it alone changes."
        self.map.draw(step_head_traits(rows, self.map.column))


def keep_newest(store: dict[Key, Any], key: Key, value: Any, most: int) -> None:
    """Store a result, and drop the oldest ones beyond ``most``."""
    for old in list(store)[: max(0, len(store) - most + 1)]:
        del store[old]
    store[key] = value
