"""Turn attention and losses into the tables of :class:`airlens.step_sources.Sources`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from airlens.heads import HeadSet
from airlens.losses.knockout import KnockedOut

from .hook_reading import Reading
from .source_units import SINK, TEMPLATE, TOKEN_COLUMNS, UNIT_COLUMNS, Stretch, Units

PAIR_COLUMNS = [
    *("id", "step", "source", "kind", "distance", "n_tokens", "n_source_tokens"),
    *("copies", "copies_control", "attention", "attention_control"),
    *("attention_per_token", "attention_per_token_control"),
    *("knockout", "knockout_control", "visible", "measured"),
]
KL_COLUMNS = ["knockout_kl", "knockout_kl_control"]  # of pairs too, where asked for
STEP_COLUMNS = [
    *("id", "step", "label", "n_tokens", "sources", "self", "template", "sink"),
    *("sources_control", "self_control", "template_control", "sink_control"),
    *("copied", "copied_self", "copied_control", "copied_self_control"),
]
EVENT_COLUMNS = [
    *("id", "head", "pos", "step", "token"),
    *("source_index", "source", "source_token", "weight"),
]
CONTROL_EVENT_COLUMNS = ["id", "draw", "head", "pos", "source_index", "weight"]
COLUMNS = {
    "units": UNIT_COLUMNS,
    "tokens": TOKEN_COLUMNS,
    "pairs": PAIR_COLUMNS,
    "steps": STEP_COLUMNS,
    "events": EVENT_COLUMNS,
    "control_events": CONTROL_EVENT_COLUMNS,
}


@dataclass(frozen=True)
class Read:
    """All measurements of one trace; G groups of tokens, S steps.

    Attributes:
        units: its units.
        stretches: its windows.
        readings: of all heads in each window.
        sets: the critical heads, then the draws of random heads.
        groups: the groups that were knocked out.
        losses: for each window, those of its m tokens without each group.
    """

    units: Units
    stretches: tuple[Stretch, ...]
    readings: tuple[Reading, ...]
    sets: tuple[HeadSet, ...]
    groups: tuple[int, ...] = ()
    losses: tuple[KnockedOut, ...] = ()

    def with_losses(self, groups: Sequence[int], losses: Sequence[KnockedOut]) -> Read:
        """These measurements together with the losses under each knockout."""
        return replace(self, groups=tuple(groups), losses=tuple(losses))

    @cached_property
    def n_scored(self) -> np.ndarray:
        """Scored tokens of each step, int [S]."""
        counts = [np.bincount(s.step, minlength=self.units.n_steps) for s in self.stretches]
        return np.sum(counts, axis=0) if counts else np.zeros(self.units.n_steps, np.int64)

    @cached_property
    def size(self) -> np.ndarray:
        """Tokens of each group, int [G]."""
        return np.bincount(self.units.group, minlength=self.units.n_groups)

    def rows(self, heads: HeadSet) -> list[int]:
        """Indices of a set's heads in a reading."""
        place = {head: i for i, head in enumerate(self.readings[0].heads)}
        return [place[head] for head in heads]

    @cached_property
    def attention(self) -> np.ndarray:
        """Mean attention of each set from the tokens of a step to a group, fp64 [sets, S, G]."""
        shape = (len(self.sets), self.units.n_steps, self.units.n_groups)
        total = np.zeros(shape)
        for reading in self.readings:
            for i, heads in enumerate(self.sets):
                total[i] += reading.mass[self.rows(heads)].sum(axis=0, dtype=np.float64)
        count = np.maximum(self.n_scored, 1)[None, :, None]
        sizes = np.array([max(len(heads), 1) for heads in self.sets])[:, None, None]
        mean: np.ndarray = total / count / sizes
        return mean

    @cached_property
    def copied_groups(self) -> list[np.ndarray]:
        """The group that each head copies each token from, int [h, m] a window; -1 for none."""
        found = []
        for stretch, reading in zip(self.stretches, self.readings, strict=True):
            tokens = np.asarray(stretch.window.tokens)
            same = tokens[reading.best] == tokens[stretch.window.first :]
            found.append(np.where(same, stretch.group[reading.best], -1))
        return found

    @cached_property
    def copies(self) -> np.ndarray:
        """Share of a step's tokens that a head of a set copies from a group, fp64 [sets, S, G]."""
        shape = (len(self.sets), self.units.n_steps, self.units.n_groups)
        total = np.zeros(shape)
        for stretch, copied in zip(self.stretches, self.copied_groups, strict=True):
            for i, heads in enumerate(self.sets):
                of_set = copied[self.rows(heads)]
                for group in np.unique(of_set[of_set > TEMPLATE]):
                    hit = (of_set == group).any(axis=0)
                    total[i, :, group] += np.bincount(stretch.step[hit], minlength=shape[1])
        share: np.ndarray = total / np.maximum(self.n_scored, 1)[None, :, None]
        return share

    @cached_property
    def copied(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of a step's tokens copied from units before it, and from itself, [sets, S] each."""
        found = np.zeros((2, len(self.sets), self.units.n_steps))
        own = 2 + len(self.units.prompt)
        for stretch, copied in zip(self.stretches, self.copied_groups, strict=True):
            mine = copied == own + stretch.step
            for i, heads in enumerate(self.sets):
                rows = self.rows(heads)
                for k, where in enumerate(((copied > TEMPLATE) & ~mine, mine)):
                    hit = where[rows].any(axis=0)
                    found[k, i] += np.bincount(stretch.step[hit], minlength=found.shape[2])
        counted = np.maximum(self.n_scored, 1)
        return found[0] / counted, found[1] / counted

    @cached_property
    def visible(self) -> np.ndarray:
        """Share of the critical heads' rows of a step that see any of a group, fp64 [S, G]."""
        total = np.zeros((self.units.n_steps, self.units.n_groups))
        for stretch, reading in zip(self.stretches, self.readings, strict=True):
            last = np.full(self.units.n_groups, -1)
            np.maximum.at(last, stretch.group, np.arange(len(stretch.group)))
            row = np.arange(stretch.window.first - 1, len(stretch.window.tokens) - 1)
            reaches = reading.reach[self.rows(self.sets[0])]
            for reach, n_heads in zip(*np.unique(reaches, return_counts=True), strict=True):
                least = np.maximum(row - reach if reach else np.full(len(row), -1), -1)
                for step in np.unique(stretch.step):
                    # of the step's rows, those that see further back than a group's last token
                    rows = np.searchsorted(np.sort(least[stretch.step == step]), last)
                    total[step] += n_heads * rows
        share: np.ndarray = total / np.maximum(self.n_scored, 1)[:, None] / len(self.sets[0])
        return share

    def candidates(self, most: int | None) -> list[int]:
        """Groups to knock out: those with a step after them; of too many, the most read ones."""
        first = 2 + len(self.units.prompt)
        steps = [s for s in range(self.units.n_steps) if self.n_scored[s]]
        last = first + max(steps, default=0)
        groups = [g for g in range(2, last) if self.size[g]]
        if most is None or len(groups) <= most:
            return groups
        after = np.arange(self.units.n_steps)[:, None] + first > np.arange(self.units.n_groups)
        density = self.attention[0] / np.maximum(self.size, 1)
        strength = np.zeros(self.units.n_groups)
        for values in (self.copies[0], density):
            seen = np.where(after, values, 0)[:, 2:]
            strength[2:] = np.maximum(strength[2:], seen.max(axis=0) / (seen.max() or 1))
        return sorted(sorted(groups, key=lambda g: (-strength[g], g))[:most])

    @cached_property
    def rise(self) -> np.ndarray:
        """Rise of a step's mean NLL by knocking out a group, fp64 [sets, S, G]; NaN: unknown."""
        return self._mean([out.nll.astype(np.float64) - out.base for out in self.losses])

    @cached_property
    def kl(self) -> np.ndarray:
        """Mean KL(base || knocked out) of a step's tokens, as :attr:`rise`; NaN: unknown."""
        return self._mean([out.kl.astype(np.float64) for out in self.losses if out.kl is not None])

    def _mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Of the values [sets, groups, m] of each window, means over the tokens of a step."""
        n_sets = len(values[0]) if values else 1
        total = np.full((n_sets, self.units.n_steps, self.units.n_groups), np.nan)
        total[:, :, list(self.groups)] = 0
        for stretch, each in zip(self.stretches, values, strict=False):
            for i in range(n_sets):
                for j, group in enumerate(self.groups):
                    np.add.at(total[i, :, group], stretch.step, each[i, j])
        mean: np.ndarray = total / np.maximum(self.n_scored, 1)[None, :, None]
        return mean


def _control(values: np.ndarray) -> np.ndarray:
    """Mean over the draws of random heads ([sets, …] without its first row); NaN without draws."""
    return values[1:].mean(axis=0) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def pair_columns(kl: bool) -> list[str]:
    """The columns of the table of pairs."""
    return [*PAIR_COLUMNS, *KL_COLUMNS] if kl else PAIR_COLUMNS


def pair_rows(read: Read, measures: Sequence[str], kl: bool) -> pd.DataFrame:
    """One row per step and a unit before it."""
    units, own = read.units, 2 + len(read.units.prompt)
    step, group = np.nonzero(
        np.arange(units.n_groups)[None] < own + np.arange(units.n_steps)[:, None]
    )
    step, group = step[group > TEMPLATE], group[group > TEMPLATE]
    prompt = group < own
    columns: dict[str, object] = {
        "id": units.encoded.trace.id,
        "step": step,
        "source": group - own,
        "kind": np.where(prompt, "prompt", "step"),
        "distance": np.where(prompt, np.nan, step - (group - own)),
        "n_tokens": read.n_scored[step],
        "n_source_tokens": read.size[group],
        "visible": read.visible[step, group],
        "measured": np.isin(group, read.groups),
    }
    density = read.attention / np.maximum(read.size, 1)
    values = {"copies": read.copies, "attention": read.attention, "attention_per_token": density}
    values = {k: v for k, v in values.items() if k.split("_")[0] in measures}
    if "knockout" in measures:
        values["knockout"] = read.rise
    if kl:
        values["knockout_kl"] = read.kl
    scored = read.n_scored[step] > 0
    for name, value in values.items():
        columns[name] = np.where(scored, value[0, step, group], np.nan)
        columns[f"{name}_control"] = np.where(scored, _control(value)[step, group], np.nan)
    return pd.DataFrame(columns).reindex(columns=pair_columns(kl))


def step_rows(read: Read, measures: Sequence[str]) -> pd.DataFrame:
    """One row per step: the total attention of the heads to sources, itself, template and sink."""
    units, own = read.units, 2 + len(read.units.prompt)
    step = np.arange(units.n_steps)
    mass = read.attention
    mine = mass[:, step, own + step]
    rest = mass[:, :, TEMPLATE + 1 :].sum(axis=-1) - mine
    parts = {
        "sources": rest,
        "self": mine,
        "template": mass[:, :, TEMPLATE],
        "sink": mass[:, :, SINK],
    }
    if "attention" not in measures:
        parts = {}
    copied = dict(zip(("copied", "copied_self"), read.copied, strict=True))
    if "copies" in measures:
        parts |= copied
    columns: dict[str, object] = {
        "id": units.encoded.trace.id,
        "step": step,
        "label": [s.label for s in units.encoded.trace.whole_steps()],
        "n_tokens": read.n_scored,
    }
    scored = read.n_scored > 0
    for name, value in parts.items():
        columns[name] = np.where(scored, value[0], np.nan)
        columns[f"{name}_control"] = np.where(scored, _control(value), np.nan)
    return pd.DataFrame(columns).reindex(columns=STEP_COLUMNS)


def event_rows(read: Read) -> pd.DataFrame:
    """One row per token and critical head that copies it."""
    encoded = read.units.encoded
    text = encoded.prefix + encoded.trace.response
    parts = []
    windows = zip(read.stretches, read.readings, read.copied_groups, strict=True)
    for stretch, reading, copied in windows:
        rows = read.rows(read.sets[0])
        group = copied[rows]
        place, token = np.nonzero(group > TEMPLATE)
        at = reading.best[rows][place, token] + stretch.offset
        index = token + stretch.offset + stretch.window.first
        names = np.array([str(reading.heads[row]) for row in rows], dtype=object)
        table = {
            "id": encoded.trace.id,
            "head": names[place],
            "pos": index - encoded.response_start,
            "step": stretch.step[token],
            "token": [text[a:b] for a, b in encoded.spans[index].tolist()],
            "source_index": at,
            "source": group[place, token] - 2 - len(read.units.prompt),
            "source_token": [text[a:b] for a, b in encoded.spans[at].tolist()],
            "weight": reading.weight[rows][place, token],
        }
        parts.append(pd.DataFrame(table).sort_values(["pos", "head"], kind="stable"))
    if not parts:
        return pd.DataFrame(columns=EVENT_COLUMNS)
    return pd.concat(parts, ignore_index=True)[EVENT_COLUMNS]


def control_event_rows(read: Read) -> pd.DataFrame:
    """One row per token and draw of random heads that copies it, by its strongest head."""
    offset = read.units.encoded.response_start
    parts = []
    for stretch, reading, copied in zip(
        read.stretches, read.readings, read.copied_groups, strict=True
    ):
        for draw, heads in enumerate(read.sets[1:]):
            rows = sorted(read.rows(heads))  # of equal weights the first head in the model counts
            weight = np.where(copied[rows] > TEMPLATE, reading.weight[rows], -1)
            token = np.flatnonzero(weight.max(axis=0) >= 0)
            place = np.asarray(rows)[weight[:, token].argmax(axis=0)]
            table = {
                "id": read.units.encoded.trace.id,
                "draw": draw,
                "head": np.array([str(reading.heads[row]) for row in place], dtype=object),
                "pos": token + stretch.offset + stretch.window.first - offset,
                "source_index": reading.best[place, token] + stretch.offset,
                "weight": reading.weight[place, token],
            }
            parts.append(pd.DataFrame(table))
    if not parts:
        return pd.DataFrame(columns=CONTROL_EVENT_COLUMNS)
    joined = pd.concat(parts, ignore_index=True)
    return joined.sort_values(["draw", "pos"], kind="stable", ignore_index=True)
