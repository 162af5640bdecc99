"""Effect of ablating sets of heads on copying, on a few probes; each set is measured once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from airlens.ablation import MODES, Mode, ablated
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import CopyResult, copy_accuracy
from airlens.heads import HeadScores, HeadSet, control_sets
from airlens.model.heads import heads_of
from airlens.views.figures.labels import number

from .continuation import Continuations, compare

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

COLUMNS = ["heads", "mode", "k", "share", "copy_accuracy", "nll", "set"]
GROUPS = ("top", "random", "chosen")
Measured: TypeAlias = "tuple[list[dict[str, Any]], Continuations]"


class HeadEffects:
    """Copy accuracy, answer NLL and a continuation, with and without ablating sets of heads.

    Args:
        model: the bridge.
        probes: copy accuracy is measured on them; the first one is also continued.
        new_tokens: length of the continuation.
    """

    def __init__(self, model: TransformerBridge, probes: ProbeSet, new_tokens: int) -> None:
        self.model, self.probes, self.new_tokens = model, probes, new_tokens
        self.rows: list[dict[str, Any]] = []
        self.comparison: Continuations | None = None

    def plan(
        self, heads: HeadSet, mode: Mode, scores: HeadScores
    ) -> tuple[Callable[[], Measured], int]:
        """Measurements still to be made for ``heads`` and as many random ones, and their number.

        The work changes no state, so it can run in another thread and its result be dropped;
        :meth:`keep` stores the result.
        """
        sets = self._sets(heads, scores)
        known = {(r["heads"], r["mode"], r["set"]) for r in self.rows}
        todo = {k: s for k, s in sets.items() if len(s) and (k, mode, str(s)) not in known}
        base = self.comparison.base if self.comparison else None

        def work() -> Measured:
            rows = [] if known else self._levels()
            for name, chosen in todo.items():
                with ablated(self.model, chosen, mode):
                    rows.append(_row(name, mode, chosen, copy_accuracy(self.model, self.probes)))
            probe = self.probes[0]
            prompt = probe.tokens[: probe.answer[0]]
            length = self.new_tokens
            found = compare(self.model, prompt, heads, mode, max_new_tokens=length, base=base)
            return rows, found

        return work, (len(todo) + (0 if known else 2)) * len(self.probes)

    def keep(self, measured: Measured) -> None:
        """Store the results of the planned work."""
        total = len(heads_of(self.model))
        self.rows += [row | {"share": row["k"] / total} for row in measured[0]]
        self.comparison = measured[1]

    def frame(self) -> pd.DataFrame:
        """One row per measurement: heads (kind of set), mode, k, share, copy_accuracy, nll, set.

        ``k`` = 0 is the base model; "needle removed" is the floor, without the answer in the
        context.
        """
        return pd.DataFrame(self.rows, columns=COLUMNS)

    def shown(self, mode: Mode) -> pd.DataFrame:
        """The rows of one mode, without kinds of sets that were not measured yet."""
        rows = self.frame()
        rows = rows[rows["mode"] == mode]
        seen = set(rows.loc[rows["k"] > 0, "heads"]) | {"top", "random", "needle removed"}
        return rows[rows["heads"].isin(seen)]

    def table(self, heads: HeadSet, mode: Mode) -> pd.DataFrame:
        """One row each: all heads, ``heads`` ablated, random heads ablated, needle removed."""
        rows = self.frame()
        rows = rows[rows["mode"] == mode].drop_duplicates(["heads", "set"], keep="last")
        base = rows[(rows["heads"] == "top") & (rows["k"] == 0)].assign(heads="all heads")
        mine = rows[(rows["set"] == str(heads)) & rows["heads"].isin(["top", "chosen"])].head(1)
        random = rows[(rows["heads"] == "random") & (rows["k"] == len(heads))].tail(1)
        floor = rows[rows["heads"] == "needle removed"].head(1)
        parts = [base, mine[mine["k"] > 0], random[random["k"] > 0], floor]
        return pd.concat(parts, ignore_index=True)

    def headline(self, heads: HeadSet, mode: Mode) -> str | None:
        """The copy accuracy without ``heads``, and without as many random ones; None if unknown."""
        found = self.table(heads, mode).set_index("heads")["copy_accuracy"]
        mine = [kind for kind in ("top", "chosen") if kind in found.index]
        if not mine or not len(heads):
            return None
        named = (
            f"the {mine[0]} {len(heads)} head" if mine[0] == "top" else f"{len(heads)} chosen head"
        )
        said = f"Copy accuracy is {number(found[mine[0]])} without {named}{'s' * (len(heads) != 1)}"
        if "random" not in found.index:
            return said
        return f"{said}, {number(found['random'])} without {len(heads)} random ones"

    def _sets(self, heads: HeadSet, scores: HeadScores) -> dict[str, HeadSet]:
        best = scores.top(max(1, len(heads))).heads
        sets = {"top" if heads.heads == best else "chosen": heads}
        if len(heads) and 2 * len(heads) <= len(scores.grid):
            sets["random"] = control_sets(scores.grid, heads, "random", draws=1, seed=0)[0]
        return sets

    def _levels(self) -> list[dict[str, Any]]:
        """The base model, and the floor: the answer is not in the context."""
        base = copy_accuracy(self.model, self.probes)
        floor = copy_accuracy(self.model, self.probes, needle_removed=True)
        none = HeadSet(())
        rows = [_row(name, mode, none, base) for mode in MODES for name in GROUPS]
        return [*rows, *(_row("needle removed", mode, none, floor) for mode in MODES)]


def _row(name: str, mode: str, heads: HeadSet, result: CopyResult) -> dict[str, Any]:
    row = {"heads": name, "mode": mode, "k": len(heads), "set": str(heads)}
    return row | {"copy_accuracy": result.accuracy, "nll": result.nll}
