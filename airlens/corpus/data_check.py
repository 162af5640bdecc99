"""Hold rows of a data set against a model, before hours are spent on them.

What :func:`airlens.load_model` checks on a few words of its own, on the rows that are to be scored:
the template writes them, every token has an embedding, something of them is scored, the losses are
numbers, and both engines give the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.arguments import checked, reader
from airlens.errors import ConfigError, DataError, ModelError, NumbersError
from airlens.json_lines import jsonable
from airlens.losses.choice import choose_engine
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.self_check import compared
from airlens.losses.token_losses import trace_losses
from airlens.losses.windows import windows
from airlens.model.checks import embedding_rows
from airlens.model.state import running
from airlens.traces.chat_template import Template, Think
from airlens.traces.encoding import EncodedTrace
from airlens.traces.load import Traces
from airlens.traces.model_encoding import encode_for
from airlens.traces.skipped import Skipped
from airlens.traces.trace import UNALIGNED, Trace, as_traces

from .score_part import nothing_scored

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SCORED = 4  # rows that the model is run on
SHOWN = 10  # sentences about rows, in what is printed
MODE = "uniform"


@dataclass(frozen=True)
class DataCheck:
    """What was found; printed, it is a table of counts and a sentence about each thing wrong.

    Attributes:
        rows: one row a trace: id, place (file and line), n_prompt_tokens, n_tokens (of the
            response), n_steps, long (longer than the context), loss (nats per token; NaN where the
            row was not run), problem (empty where there is none).
        counts: of the whole.
        problems: what is wrong, a sentence each, with the row's place.
        notes: what is sound, and yet worth to know.
    """

    rows: pd.DataFrame
    counts: dict[str, Any]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """All of it for ``json.dumps``; NaN is null."""
        rows = jsonable(self.rows.to_dict("records"))
        told = {"problems": list(self.problems), "notes": list(self.notes)}
        return {"sound": self.sound, "counts": self.counts, **told, "rows": rows}

    def __str__(self) -> str:
        lines = [f"  {name:<34} {_shown(value)}" for name, value in self.counts.items()]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  WRONG: {problem}" for problem in self.problems[:SHOWN]]
        more = len(self.problems) - SHOWN
        return "\n".join([*lines, *([f"  … and {more} more"] if more > 0 else [])])


@reader("Traces | Iterable[Trace] | Trace")
def _traces(value: Any, name: str) -> list[Trace]:
    """Traces; those that were loaded know their places."""
    items = as_traces(value, name)
    return value if isinstance(value, Traces) else items


@checked
def check_data(
    model: TransformerBridge,
    traces: Traces | Iterable[Trace] | Trace,
    *,
    template: Template = "auto",
    think: Think = "auto",
    scored: int = SCORED,
) -> DataCheck:
    """Check that traces can be scored with a model, and run it on a few of them.

    Args:
        model: the bridge.
        traces: from :func:`airlens.load_traces`, whose skipped rows count as wrong; or any others.
        template: as in :func:`airlens.influence`.
        think: as in :func:`airlens.influence`.
        scored: how many of the rows, the shortest ones, are run.

    Raises:
        ConfigError: an argument that makes no sense.
        ModelError: the model can score no text at all.
    """
    items = as_traces(traces)
    places = traces.places if isinstance(traces, Traces) else {}
    skipped = traces.skipped if isinstance(traces, Traces) else []
    encoded: dict[int, EncodedTrace] = {}
    rows = []
    for i, trace in enumerate(items):
        row, made = _row(model, trace, template, think)
        rows.append({"id": trace.id, "place": places.get(trace.id, ""), **row})
        if made is not None:
            encoded[i] = made
    shortest = sorted(encoded, key=lambda i: len(encoded[i].tokens))[:scored]
    engine = _run(model, {i: encoded[i] for i in shortest}, rows) if shortest else "none"
    frame = pd.DataFrame(rows, columns=COLUMNS)
    problems = [str(bad.error) for bad in skipped]
    for row in rows:
        if row["problem"]:
            name = f"row {row['id']!r}"
            where = f"{row['place']} ({name})" if row["place"] else name
            problems.append(f"{where}: {row['problem']}")
    counts = _counts(model, frame, len(skipped), len(shortest), engine)
    notes = _notes(model, frame, items, list(encoded.values()))
    return DataCheck(frame, counts, tuple(problems), tuple(notes))


COLUMNS = ["id", "place", "n_prompt_tokens", "n_tokens", "n_steps", "long", "loss", "problem"]


def _row(
    model: TransformerBridge, trace: Trace, template: Template, think: Think
) -> tuple[dict[str, Any], EncodedTrace | None]:
    """What is known of a trace without running it, and its tokens where something is scored."""
    row: dict[str, Any] = {"n_prompt_tokens": 0, "n_tokens": 0, "long": False, "loss": math.nan}
    row |= {"n_steps": len(trace.whole_steps()), "problem": ""}
    try:
        encoded = encode_for(model, [trace], template, think)[0]
    except (ConfigError, ModelError):
        raise
    except DataError as error:
        return row | {"problem": Skipped.of(trace.id, error).reason}, None
    except Exception as error:  # a template or a tokenizer may raise whatever it likes
        return row | {"problem": f"{type(error).__name__}: {error}"}, None
    n_ctx = int(model.cfg.n_ctx)
    row |= {"n_prompt_tokens": encoded.response_start, "n_tokens": encoded.n_response}
    row["long"] = len(encoded.tokens) > n_ctx
    if not sum(window.n_scored for window in windows(encoded, n_ctx)):
        row["problem"] = nothing_scored(encoded.n_response, encoded.response_start)
        return row, None
    return row, encoded


def _run(
    model: TransformerBridge, encoded: dict[int, EncodedTrace], rows: list[dict[str, Any]]
) -> str:
    """Fill in losses and what is wrong with them; returns the engine that would score the rows."""
    n_ctx = int(model.cfg.n_ctx)
    longest = min(max(len(each.tokens) for each in encoded.values()), n_ctx)
    with running(model) as state, state.at_rest():
        engine = choose_engine(model, "auto", mode=MODE, longest=longest)
        for i, each in encoded.items():
            try:
                loss = trace_losses(model, [each], [], MODE, engine="hooks", progress=False)[0]
            except NumbersError as error:
                rows[i]["problem"] = error.reason
                continue
            rows[i]["loss"] = float(np.nanmean(loss.base))
            if engine == "fast":
                first = windows(each, n_ctx)[:1]
                apart = compared(model, fast_model(model), MODE, first)
                if apart:
                    rows[i]["problem"] = f"the fast engine: {apart}; score with engine='hooks'"
    return engine


def _counts(
    model: TransformerBridge, rows: pd.DataFrame, skipped: int, scored: int, engine: str
) -> dict[str, Any]:
    known = rows[rows["n_tokens"] > 0]
    total = known["n_prompt_tokens"] + known["n_tokens"]
    losses = rows["loss"].dropna()
    found: dict[str, Any] = {
        "rows read": len(rows) + skipped,
        "rows that make no trace": skipped,
        "rows that cannot be scored": int((rows["problem"] != "").sum()),
        "rows without a prompt": int((known["n_prompt_tokens"] == 0).sum()),
        "tokens, median": int(total.median()) if len(known) else 0,
        "tokens, longest": int(total.max()) if len(known) else 0,
        f"longer than the context ({int(model.cfg.n_ctx)})": int(rows["long"].sum()),
        "steps": int(rows["n_steps"].sum()),
        "steps a row, median": float(rows["n_steps"].median()) if len(rows) else 0.0,
        "rows of a single step": int((rows["n_steps"] == 1).sum()),
        "rows run": scored,
        "engine": engine,
    }
    if len(losses):
        found["loss, lowest (nats per token)"] = float(losses.min())
        found["loss, highest (nats per token)"] = float(losses.max())
    return found


def _notes(
    model: TransformerBridge,
    rows: pd.DataFrame,
    traces: Sequence[Trace],
    encoded: Sequence[EncodedTrace],
) -> list[str]:
    notes = []
    if long := int(rows["long"].sum()):
        notes.append(
            f"{long} of {len(rows)} rows are longer than the context of {int(model.cfg.n_ctx)} "
            "tokens: they are scored in windows, or cut with long='cut'"
        )
    if len(rows) > 1 and (rows["n_steps"] <= 1).all():
        notes.append("no response was split into steps: another splitter may do so")
    empty = sum(len(e.trace.whole_steps()) - len(np.unique(e.step)) for e in encoded)
    if empty:
        notes.append(f"{empty} steps have no token of their own, and get no number")
    apart = sum(len(trace.reading.get(UNALIGNED, ())) for trace in traces)
    if apart:
        notes.append(f"{apart} steps that the data name were not found in their responses")
    unknown = _unknown_tokens(model.tokenizer, encoded)
    if unknown:
        notes.append(f"{unknown} tokens are unknown to the tokenizer, which loses their text")
    guess = math.log(embedding_rows(model.original_model) or int(model.cfg.d_vocab))
    if float(rows["loss"].median()) > guess:
        notes.append(
            f"the losses are above that of a blind guess ({guess:.1f} nats): are tokenizer and "
            "template this model's?"
        )
    return notes


def _unknown_tokens(tokenizer: Any, encoded: Sequence[EncodedTrace]) -> int:
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if unknown is None or unknown in others:  # GPT-2 names its end of text so
        return 0
    return sum(each.tokens[each.response_start :].count(unknown) for each in encoded)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
