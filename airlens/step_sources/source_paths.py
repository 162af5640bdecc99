"""Follow a fact: from a token back to where it came from, copy by copy, or on to where it is used.

``al.paths(sources, "47", step=9).hops`` has a row for each copy on the way.

A path goes from a token to the position that a retrieval head copies it from, from there to where
that token was copied from, and so on. Of several copies the one with the largest attention decides,
so paths are those of the forest of :mod:`.copy_forest`: backwards a path climbs to its root, and
forwards it is all that lies below a token. That rule, and what the ends are called, is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd

from airlens.arguments import checked, expected, named, reader
from airlens.errors import ConfigError, DataError, short
from airlens.folders import load_tables, save_tables

from .copy_forest import Parents, TraceTokens, Way, back, forward, strongest
from .source_measures import Sources

Direction: TypeAlias = Literal["back", "forward"]
Start: TypeAlias = int | str
Unit: TypeAlias = int  # negative in the prompt
reader("Direction")(named(get_args(Direction)))
MOST = 64  # ours
TOP = "top"
HOP_COLUMNS = [
    *("path", "set", "hop", "id", "index", "pos", "step", "token"),
    *("source_index", "source_pos", "source", "kind", "source_token", "layer", "head", "weight"),
]
END_COLUMNS = [
    *("path", "set", "id", "start", "start_token", "hops", "why", "index", "unit", "token"),
]


@reader("Sources")
def _sources(value: Any, name: str) -> Sources:
    if isinstance(value, Sources):
        return value
    raise expected("what al.sources(…) gives", value, name)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@reader("Start")
def _start(value: Any, name: str) -> Start:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if _is_whole(value) and value >= 0:
        return int(value)
    message = "give the index of a token in the response, or a text"
    raise ConfigError(message, argument=name, value=value)


@reader("Unit")
def _unit(value: Any, name: str) -> int:
    if _is_whole(value):
        return int(value)
    raise ConfigError(
        "give the number of a step, or -1, -2, … of the prompt's sentences",
        argument=name,
        value=value,
    )


@dataclass(frozen=True)
class Paths:
    """The paths of tokens through traces, as tidy tables.

    Attributes:
        hops: one row per copy on a path: path (a number for each start token), set ("top" for the
            critical heads, "control 0", … for the draws of random heads), hop (from 1; forwards:
            how many copies from the start), id; of the token that is copied to: index (in the whole
            sequence), pos (in the response), step, token; of the one it is copied from:
            source_index, source_pos (NA in the prompt), source (a unit), kind ("prompt" or "step"),
            source_token; layer, head, weight (attention there).
        ends: one row per end of a path: path, set, id, start and start_token (where the path
            begins; an index in the whole sequence), hops (how many lead here), why; index, unit and
            token of the end. Backwards, why is ``prompt`` (a word of the prompt), ``computed`` (no
            head copies the token, and its word or number stands nowhere before), ``nothing copied``
            (no head copies it, though its word stands before), ``limit`` (``most`` hops), or ``not
            read`` (a token behind the cut of a long trace). Forwards, each token that nothing
            copies is an end: ``last use``, or ``not used`` where that is the start; or ``limit``.
        provenance: of the sources, and "paths": what was asked for, and the traces without a start.
    """

    hops: pd.DataFrame
    ends: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet and the provenance as JSON into ``folder``."""
        return save_tables(folder, {"hops": self.hops, "ends": self.ends}, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> Paths:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing or unreadable.
        """
        tables, note = load_tables(folder, ("hops", "ends"), "saved paths")
        return cls(**tables, provenance=note)


@checked
def paths(
    sources: Sources,
    start: Start | None = None,
    *,
    id: str | None = None,
    step: Unit | None = None,
    direction: Direction = "back",
    most: int = MOST,
) -> Paths:
    r"""Follow tokens through what heads copy: back to the prompt, or on to where they are used.

    Args:
        sources: from :func:`airlens.sources`; random heads have their paths if they were measured.
        start: the index of a token in the response (``pos``), or a text such as a number, each of
            whose tokens starts a path: where it stands last as a whole word (forwards: first). None
            for the final answer (``####``, ``\boxed{}``, an option) where it stands last.
        id: the trace; None for all.
        step: the unit in which the text is looked for, of the prompt too (-P to S-1); None for the
            response.
        direction: ``back`` to the sources, or ``forward`` to the users.
        most: hops of a path.

    Raises:
        ConfigError: an index for several traces or with a step; a step without a text.
        DataError: no such trace or token; no trace has the text, or an answer.
    """
    if step is not None and not isinstance(start, str):
        raise ConfigError("give the text in that step as start", argument="step", value=step)
    chosen = _traces(sources, id)
    if isinstance(start, int) and len(chosen) > 1:
        message = f"a token of which of {len(chosen)} traces? Name one with id"
        raise ConfigError(message, argument="start", value=start)
    hops: list[tuple[Any, ...]] = []
    ends: list[tuple[Any, ...]] = []
    missing: list[str] = []
    path = 0
    for name, words, sets in _forests(sources, chosen):
        starts = _starts(words, name, start, step, direction)
        missing += [] if starts else [name]
        for at in starts:
            for of, parents in sets.items():
                found = (
                    back(words, parents, at, most)
                    if direction == "back"
                    else forward(parents, at, most)
                )
                hops += [(path, of, *row) for row in _hop_rows(words, name, parents, found)]
                first = (path, of, name, at, words.texts[at])
                ends += [
                    (*first, e.hops, e.why, e.at, words.unit[e.at], words.texts[e.at])
                    for e in found.ends
                ]
            path += 1
    if not path:
        raise DataError(_nothing(start, step))
    asked: dict[str, Any] = {
        "start": start,
        "id": id,
        "step": step,
        "direction": direction,
        "most": most,
    }
    if missing:
        asked["without_start"] = missing
    if sources.control_events is None:
        asked["controls"] = "none: these sources were saved without copies of random heads"
    integers = {"source_pos": "Int64", "path": "int64", "hop": "int64"}
    return Paths(
        pd.DataFrame(hops, columns=HOP_COLUMNS).astype(integers),
        pd.DataFrame(ends, columns=END_COLUMNS).astype({"unit": "Int64"}),
        {**sources.provenance, "paths": asked},
    )


def _traces(sources: Sources, id: str | None) -> list[str]:
    ids = [str(name) for name in sources.units["id"].unique()]
    if id is None or id in ids:
        return ids if id is None else [id]
    raise DataError(f"no trace {short(id)} in these sources; they have {', '.join(ids[:5])}")


def _nothing(start: Start | None, step: int | None) -> str:
    if start is None:
        return "no trace has a final answer (#### 72, \\boxed{72}, an option): say where to start"
    where = "in its response" if step is None else f"in unit {step}"
    return f"no trace has {short(start)} {where}"


def _forests(
    sources: Sources, ids: list[str]
) -> Iterator[tuple[str, TraceTokens, dict[str, Parents]]]:
    """Each trace: its words, and by set of heads where each of its tokens is copied from."""
    names = ("tokens", "units", "steps", "events")
    tables = {name: dict(list(getattr(sources, name).groupby("id"))) for name in names}
    nothing = sources.events[:0]
    drawn = sources.control_events
    random: dict[Any, pd.DataFrame] = {}
    draws = 0
    if drawn is not None:
        random = dict(list(drawn.groupby(["id", "draw"])))
        draws = len(sources.provenance.get("controls") or ())
    for id in ids:
        if id not in tables["tokens"]:
            continue
        n_read = int(tables["steps"][id]["n_tokens"].sum()) if id in tables["steps"] else 0
        words = TraceTokens(tables["tokens"][id], tables["units"][id], n_read)
        begin = words.response_start
        sets = {TOP: strongest(tables["events"].get(id, nothing), begin)}
        for draw in range(draws):
            events = random.get((id, draw), nothing)
            sets[f"control {draw}"] = strongest(events, begin)
        yield id, words, sets


def _starts(
    words: TraceTokens, id: str, start: Start | None, step: int | None, direction: Direction
) -> list[int]:
    """Indices in the whole sequence of the tokens that paths start from."""
    if start is None:
        return words.of_answer(id)
    if isinstance(start, str):
        return words.of_text(start, step, last=direction == "back")
    count = len(words.texts) - words.response_start
    if start >= count:
        raise DataError(f"trace {id!r} has {count} tokens in its response: no token {start}")
    return [words.response_start + start]


def _hop_rows(
    words: TraceTokens, id: str, parents: Parents, found: Way
) -> Iterator[tuple[Any, ...]]:
    begin = words.response_start
    for hop, index in found.copies:
        source, head, weight = parents[index]
        here = (index, index - begin, words.unit[index], words.texts[index])
        in_prompt = source < begin
        place = (source, None if in_prompt else source - begin, words.unit[source])
        there = (*place, "prompt" if in_prompt else "step", words.texts[source])
        yield (hop, id, *here, *there, head.layer, head.head, weight)
