"""A tour through a page: states of it, each with a caption; given, or told from the results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode

import pandas as pd

from airlens.errors import ConfigError
from airlens.views.figures.labels import known, number, percent, shorten
from airlens.views.figures.source_matrix import unit_names
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.strongest_step import FEWEST, said_of, strongest_step

if TYPE_CHECKING:
    from airlens.step_influence.early_answers import EarlyAnswers
    from airlens.step_influence.influence import Influence
    from airlens.step_sources import Sources
    from airlens.traces.trace import Trace

Story: TypeAlias = Sequence[tuple[str, str]] | Literal["auto"]
PARTS = (
    "trace", "step", "source", "colour", "measure", "show", "least", "head", "without",
    "map", "large",
)  # fmt: skip
"""What the address of a page may hold, in its order."""


@dataclass(frozen=True)
class Stop:
    """A state of the page, as its address has it (``trace=3&step=12``), and what is said of it."""

    state: str
    said: str


def stops_of(story: Iterable[Any], n_traces: int) -> list[Stop]:
    """The stops of a story that somebody gave: pairs of a link to the page and a caption.

    Raises:
        ConfigError: what is no such pair, holds what an address has not, or names no trace.
    """
    return [_stop(item, f"story[{i}]", n_traces) for i, item in enumerate(story)]


def _stop(item: Any, name: str, n_traces: int) -> Stop:
    pair = isinstance(item, (tuple, list)) and len(item) == 2
    if not (pair and all(isinstance(part, str) and part.strip() for part in item)):
        raise ConfigError("give a link such as '#trace=1&step=4' and a caption", argument=name)
    link, said = item
    text = link.partition("#")[2] if "#" in link else link
    given = dict(parse_qsl(text, keep_blank_values=True))
    if not given or (other := [key for key in given if key not in PARTS]):
        what = repr(other[0]) if given else repr(link)
        raise ConfigError(f"{what} is none of {', '.join(PARTS)}", argument=name)
    trace = given.get("trace", "1")
    if not (re.fullmatch(r"\d{1,6}", trace) and 1 <= int(trace) <= n_traces):
        there = f"there {'is' if n_traces == 1 else 'are'} {n_traces}"
        raise ConfigError(f"there is no trace {trace}: {there}, counted from 1", argument=name)
    return Stop(urlencode(given), said.strip())


def told(
    result: Influence,
    sources: Sources | None,
    traces: Sequence[Trace],
    heads: Sequence[str],
    early: EarlyAnswers | None = None,
) -> list[Stop]:
    """A story told from the results: the finding, whence it copies, its control, an exception.

    Args:
        result: of the traces.
        sources: of the traces, where measured.
        traces: those of the page, in its order.
        heads: the critical heads.
        early: of the traces, where measured.
    """
    ids = [trace.id for trace in traces]
    steps = result.steps[result.steps["id"].astype(str).isin(ids)]
    best = strongest_step(steps)
    if best is None:
        return []
    where = f"these {len(ids)} traces" if len(ids) > 1 else "this trace"
    at = {"trace": ids.index(best.id) + 1, "step": best.step}
    found = [_at(at, f"{said_of(best, len(heads), where)}.")]
    if sources is not None:
        found += _copies(sources, best.id, best.step, at)
    if early is not None:
        found += _decided(early, best.id, at["trace"])
    return [*found, *_exception(steps, ids)]


def _at(state: dict[str, Any], said: str) -> Stop:
    return Stop(urlencode(state), said)


def _copies(sources: Sources, id: str, step: int, at: dict[str, Any]) -> Iterable[Stop]:
    """The source that most of the step is copied from, and the same of random heads."""
    pairs = sources.pairs[sources.pairs["id"].astype(str) == id]
    pairs = pairs[(pairs["step"] == step) & (pairs["copies"] > 0)]
    if pairs.empty:
        return
    row = row_dicts(pairs.loc[[pairs["copies"].idxmax()]])[0]
    name = unit_names(sources.units[sources.units["id"].astype(str) == id], long=True)
    words = f"They copy {percent(row['copies'])} of it from {name[int(row['source'])]}"
    control: Any = row.get("copies_control")
    other = f"; random heads copy {percent(control)} from there" if known(control) else ""
    yield _at(at | {"source": int(row["source"])}, f"{words}{other}.")
    if known(control):
        shown = at | {"show": "control"}
        yield _at(shown, "The control: what as many random heads copy into the same step.")


def _decided(early: EarlyAnswers, id: str, trace: int) -> Iterable[Stop]:
    rows = row_dicts(early.samples[early.samples["id"].astype(str) == id])
    if not rows or not known(rows[0].get("decided_at")) or int(rows[0]["decided_at"]) < 0:
        return
    step, ref = int(rows[0]["decided_at"]), rows[0].get("decided_at_ref")
    answer = shorten(rows[0]["answer"], 40)
    words = f"From step {step} on the model would answer “{answer}”, which is right"
    other = f"; without the heads from step {int(str(ref))} on" if known(ref) else ""
    lost = "" if known(ref) else "; without the heads it never stays so"
    yield _at({"trace": trace, "step": step, "colour": "gain"}, f"{words}{other or lost}.")


def _exception(steps: pd.DataFrame, ids: Sequence[str]) -> Iterable[Stop]:
    """The step for which random heads matter most, beside these."""
    rows = steps[steps["n_tokens"] >= FEWEST] if "n_tokens" in steps else steps
    rows = rows[rows["ais_control"] > rows["ais"]]
    if rows.empty:
        return
    row = row_dicts(rows.loc[[(rows["ais_control"] - rows["ais"]).idxmax()]])[0]
    name = shorten(str(row["id"]).rsplit("/", 1)[-1], 28)
    yield _at(
        {"trace": ids.index(str(row["id"])) + 1, "step": int(row["step"])},
        f"It is not so of every step: for step {int(row['step'])} of {name} random heads matter "
        f"more (AIS {number(row['ais_control'])} against {number(row['ais'])}).",
    )
