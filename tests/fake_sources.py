"""Tables of sources made by hand for a trace, without a model: every word is a token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import airlens as al

HEADS = ("L1H2", "L0H1", "L10H3")


@dataclass(frozen=True)
class Tables:
    """What the views read of a measured trace: its sources, and its influence."""

    units: pd.DataFrame
    tokens: pd.DataFrame
    pairs: pd.DataFrame
    steps: pd.DataFrame
    events: pd.DataFrame
    influence: pd.DataFrame


def _words(text: str, start: int) -> list[tuple[int, int, str]]:
    return [
        (start + m.start(), start + m.end(), m[0]) for m in re.finditer(r"\s*\S+\s*\Z|\s*\S+", text)
    ]


def fake_sources(trace: al.Trace, prompt: list[str], seed: int = 0) -> Tables:
    """Sources of a trace whose prompt consists of these sentences; every equal word is copied."""
    rng = np.random.default_rng(seed)
    units: list[dict[str, Any]] = []
    tokens: list[dict[str, Any]] = [
        {
            "index": 0,
            "part": "template",
            "unit": pd.NA,
            "pos": pd.NA,
            "token": "<s>",
            "start": 0,
            "end": 3,
        }
    ]
    start = 3
    for unit, text in enumerate(prompt, start=-len(prompt)):
        units.append(_unit(unit, "prompt", None, text, start, len(tokens)))
        for a, b, word in _words(text, start):
            tokens.append(_token(len(tokens), "prompt", unit, pd.NA, word, a, b))
        units[-1]["last"] = len(tokens) - 1
        start += len(text)
    pos = 0
    for number, step in enumerate(trace.steps):
        units.append(_unit(number, "step", step.label, step.text, step.start, len(tokens)))
        for a, b, word in _words(step.text, step.start):
            tokens.append(_token(len(tokens), "response", number, pos, word, a, b))
            pos += 1
        units[-1]["last"] = len(tokens) - 1
    frame = (
        pd.DataFrame(tokens)
        .assign(id=trace.id, token_id=7)
        .astype({"unit": "Int64", "pos": "Int64"})
    )
    events = _events(frame, rng)
    table = pd.DataFrame(units).assign(id=trace.id)
    table["n_tokens"] = table["last"] - table["first"] + 1
    answer = frame[frame["part"] == "response"]
    influence = pd.DataFrame(
        {
            "id": trace.id, "step": answer["unit"].astype(int), "pos": answer["pos"].astype(int),
            "token": answer["token"], "token_id": 7, "start": answer["start"], "end": answer["end"],
            "delta": rng.normal(0, 0.3, len(answer)), "nll_base": rng.random(len(answer)),
        }
    )  # fmt: skip
    steps = pd.DataFrame(
        {"id": trace.id, "step": range(len(trace.steps)), "label": [s.label for s in trace.steps]}
    ).assign(ais=rng.random(len(trace.steps)), ais_control=rng.random(len(trace.steps)) / 5)
    pairs = _pairs(trace.id, table, events, rng)
    return Tables(
        table, frame, pairs, steps, events.assign(id=trace.id), influence.reset_index(drop=True)
    )


def _unit(
    unit: int, kind: str, label: str | None, text: str, start: int, first: int
) -> dict[str, Any]:
    span = {"start": start, "end": start + len(text), "first": first, "last": first}
    return {"unit": unit, "kind": kind, "label": label, "text": text, **span}


def _token(index: int, part: str, unit: int, pos: Any, word: str, a: int, b: int) -> dict[str, Any]:
    return {
        "index": index, "part": part, "unit": unit, "pos": pos, "token": word, "start": a, "end": b
    }  # fmt: skip


def _events(tokens: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    seen: dict[str, dict[str, Any]] = {}
    found = []
    for row in tokens.to_dict("records"):
        word = str(row["token"]).strip()
        if row["part"] == "response" and word in seen:
            source = seen[word]
            found.append(
                {
                    "head": HEADS[int(rng.integers(3))], "pos": row["pos"], "step": row["unit"],
                    "token": row["token"], "source_index": source["index"],
                    "source": source["unit"], "source_token": source["token"],
                    "weight": round(float(rng.uniform(0.2, 1)), 3),
                }
            )  # fmt: skip
        if row["part"] != "template":
            seen[word] = row
    names = ["head", "pos", "step", "token", "source_index", "source", "source_token", "weight"]
    return pd.DataFrame(found, columns=names)


def _pairs(
    id: str, units: pd.DataFrame, events: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    copied = events.groupby(["step", "source"])["pos"].nunique().rename("copies").reset_index()
    number = units["unit"].astype(int).to_numpy()
    step, source = (side.ravel() for side in np.meshgrid(number, number, indexing="ij"))
    kept = (step >= 0) & (source < step)
    rows = pd.DataFrame({"id": id, "step": step[kept], "source": source[kept]})
    sizes = units.set_index("unit")["n_tokens"].astype(int)
    own, other = rows["step"].map(sizes), rows["source"].map(sizes)
    distance = rows["step"] - rows["source"]
    near = 0.4 / (1 + distance) * rng.uniform(0.5, 1, len(rows))
    found = rows.merge(copied.astype({"step": int, "source": int}), how="left")["copies"]
    return rows.assign(
        kind=np.where(rows["source"] < 0, "prompt", "step"),
        distance=distance.where(rows["source"] >= 0),
        n_tokens=own,
        n_source_tokens=other,
        copies=found.fillna(0) / own,
        copies_control=(rng.random(len(rows)) < 0.1) / own,
        attention=near,
        attention_control=near * rng.uniform(0.5, 1, len(rows)),
        attention_per_token=near / other,
        attention_per_token_control=near * 0.8 / other,
        knockout=np.nan,
        knockout_control=np.nan,
        visible=1.0,
        measured=False,
    )


def long_trace(steps: int = 150, words: int = 26, seed: int = 1) -> tuple[al.Trace, list[str]]:
    """A trace of about ``steps * words`` tokens that repeats numbers, and its prompt."""
    rng = np.random.default_rng(seed)
    lines = [
        " ".join(["So"] + [str(int(n)) for n in rng.integers(100, 800, words - 2)] + [f"({i})."])
        for i in range(steps)
    ]
    labels = ["plan_generation", "active_computation", "uncertainty_management"]
    trace = al.Trace("long", "", "\n".join(lines)).with_steps("line")
    cut = tuple(al.Step(s.text, s.start, s.end, labels[i % 3]) for i, s in enumerate(trace.steps))
    prompt = [f"The number {int(n)} is given. " for n in rng.integers(100, 800, 10)]
    return al.Trace("long", "".join(prompt), trace.response, "", cut), prompt
