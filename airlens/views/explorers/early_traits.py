"""Early answers as plain values: from the tables of `EarlyAnswers` to the traits of the views.

For ``track.js`` (what the model would answer after each step), and for the colours and numbers in
``text.js``. All functions take the rows of one trace. No widget is used here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from airlens.views.figures.labels import clean, known, shorten
from airlens.views.figures.step_maps import row_dicts
from airlens.views.figures.style import floats

from .source_traits import rounded
from .traits import Traits

ANSWER = 80  # characters of an answer that are shown
COLOURS_EARLY = [("gain of the step", "gain"), ("what the answer depends on", "depends")]
"""What a text can be coloured by where early answers are known: name and column."""
NUMBERS: list[tuple[str, str, list[tuple[str, str]]]] = [
    (
        "AIS",
        "relative rise of the step's loss without the heads",
        [("", "ais"), ("random heads", "ais_control")],
    ),
    (
        "gain, nats",
        "what the step adds to the log-probability of the trace's answer: of the model, and where "
        "heads are ablated",
        [("", "gain"), ("without the heads", "gain_ref"), ("without random heads", "gain_control")],
    ),
    (
        "the answer depends on it, nats",
        "fall of the answer's log-probability when the step is hidden from the heads, while it is "
        "given",
        [("", "depends"), ("random heads", "direct_control"), ("all heads", "direct_all")],
    ),
]
"""The numbers of a step that stand side by side: name, what it is, and whose, by column."""


def track_traits(steps: pd.DataFrame, samples: pd.DataFrame) -> Traits:
    """The track of answers of one trace; no cuts where it has no answer.

    Args:
        steps: `EarlyAnswers.steps` of the trace.
        samples: its row of `EarlyAnswers.samples`.
    """
    row = row_dicts(samples)[0] if len(samples) else {}
    if not len(steps):
        why = row.get("missing")
        said = f"no early answers of this trace: {why}" if known(why) else ""
        return {**EMPTY_TRACK, "empty": said}
    steps = steps.sort_values("step", kind="stable")
    given = [shorten(text, ANSWER) for text in steps["answer_now"].fillna("")]
    answers = list(dict.fromkeys(given))
    place = {text: i for i, text in enumerate(answers)}
    curves = ("logp_base", "logp_ref", "logp_control")
    decided: Any = row.get("decided_at")
    return {
        "cuts": [int(step) for step in steps["step"]],
        "answers": [clean(text) for text in answers],
        "said": [place[text] for text in given],
        "p_now": rounded(floats(steps, "p_now")),
        "right": _flags(steps, "right_base"),
        "right_ref": _flags(steps, "right_ref"),
        "writes": _flags(steps, "states_answer"),
        "curves": [rounded(np.exp(floats(steps, name))) for name in curves],
        "answer": shorten(row.get("answer", ""), ANSWER),
        "decided": int(decided) if known(decided) else None,
        "beyond": _beyond(row.get("n_left_out")),
        "empty": "",
    }


EMPTY_TRACK: Traits = {
    **{name: [] for name in ("cuts", "answers", "said", "p_now", "right", "right_ref", "writes")},
    "curves": [[], [], []],
    "answer": "",
    "decided": None,
    "beyond": "",
    "empty": "",
}


def number_traits(steps: pd.DataFrame) -> list[dict[str, Any]]:
    """What is known of each step, for the line of numbers under the text.

    Args:
        steps: of one trace, from :meth:`EarlyAnswers.on_steps`: step and the columns of `NUMBERS`.
    """
    rows = steps.set_index("step").reindex(range(int(steps["step"].max()) + 1))
    found = []
    for name, hint, parts in NUMBERS:
        values = [(who, rounded(floats(rows, column))) for who, column in parts]
        shown = [[who, line] for who, line in values if any(v is not None for v in line)]
        if values[0][1].count(None) < len(rows):
            found.append({"name": name, "hint": hint, "parts": shown})
    return found


def _beyond(left_out: Any) -> str:
    """What is said of cuts that the model's context has no room to ask after."""
    n = int(left_out) if known(left_out) else 0
    steps = f"{n} steps" if n > 1 else "step"
    return f" (no room in the context to ask after the last {steps})" if n else ""


def _flags(frame: pd.DataFrame, column: str) -> list[bool]:
    return [bool(value) for value in frame[column].fillna(False)]
