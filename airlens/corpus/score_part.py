"""Score one part of a corpus: the same code for a local run and for Ray, hence equal numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.errors import (
    AblationError,
    AirlensError,
    ConfigError,
    DataError,
    HeadError,
    ModelError,
    RunError,
    out_of_memory,
)
from airlens.heads import HeadGrid, Heads, HeadSet, as_head_set
from airlens.model.heads import heads_in
from airlens.model.state import state_of
from airlens.provenance import fingerprint, model_info
from airlens.step_influence.early_answers import EarlyAnswers, early_answers
from airlens.step_influence.forcing import FEW, FORCING, FORCINGS
from airlens.step_influence.ifd import ifd
from airlens.step_influence.influence import Influence, score_traces
from airlens.step_influence.rival_scores import RIVALS, RivalScores, rival_scores
from airlens.step_influence.settings import ScoreSettings
from airlens.traces.chat_template import template_identity
from airlens.traces.identity import tokenizer_key
from airlens.traces.model_encoding import encode_for
from airlens.traces.trace import Trace

from .part_files import PARTS, ROWS, Part
from .row_table import row_table
from .rows import Chunk, Reject, Row

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Ours: the first batch size tried after memory ran out with the engine's default.
FIRST_BUDGET = 16_384


@dataclass(frozen=True)
class CorpusSettings(ScoreSettings):
    """Settings that affect the scores of a corpus run; see :func:`airlens.influence` for each.

    ``airlens.Settings``, the name it had, goes on working.

    Args:
        ifd: score each response without its prompt too, for IFD = L(y given x) / L(y)
            (Cherry LLM, 2308.12032).
        early_answers: ask each trace for its answer after every step too
            (:func:`airlens.early_answers`, with its own choices of where the answer stands and what
            asks for it).
        rivals: scores of rival papers to give too, of ``lalp``, ``fai`` and ``waad``
            (:func:`airlens.rival_scores`).
        circuit: heads of a reasoning circuit (:func:`airlens.circuit_heads`), for CircuitSeer's
            score; kept by name.
    """

    controls: int = 1
    ifd: bool = False
    early_answers: bool = False
    rivals: Sequence[str] = ()
    circuit: Heads = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ifd and self.scope == "document":
            raise ConfigError(
                "IFD compares a response with and without prompt: a document has none"
            )
        if self.early_answers and self.scope == "document":
            raise ConfigError(
                "early answers ask for the answer to a prompt: score them with scope='response'"
            )

        for name in self.rivals:
            if name not in RIVALS:
                raise ConfigError(f"rivals: {name!r}; use {', '.join(RIVALS)}")
        object.__setattr__(self, "rivals", tuple(self.rivals))
        object.__setattr__(self, "circuit", tuple(as_head_set(self.circuit).names()))


Settings = CorpusSettings  # the name it had


def run_identity(
    model: TransformerBridge, heads: HeadSet, settings: CorpusSettings, how: dict[str, Any]
) -> dict[str, Any]:
    """Everything that decides the scores of a row; its fingerprint is the run's key.

    Args:
        model: identified by its weights, not its name.
        heads: in any order.
        settings: of the score.
        how: how rows are read (columns, splitter), which decides prompts, responses and steps.
    """
    info = model_info(model)
    heads_in(model, heads)
    grid = HeadGrid(state_of(model).heads_per_layer)
    draws = settings.control_sets(grid, heads)
    heads_in(model, settings.circuit)
    decides = asdict(settings)
    # Runs without these are named as before there were any.
    further = {name: decides.pop(name) for name in ("early_answers", "rivals", "circuit")}
    further = {name: x if x is True else sorted(x) for name, x in further.items() if x}
    if settings.early_answers:
        further["early_answers"] = {"forcing": FORCINGS[FORCING], "few": FEW}
    return {
        "weights": info["weights"],
        "dtype": info["dtype"],
        "n_ctx": int(model.cfg.n_ctx),
        "heads": sorted(heads.names()),
        "control_heads": [sorted(draw.names()) for draw in draws],
        **{k: v for k, v in decides.items() if k not in ("controls", "control", "seed")},
        **further,
        "template": template_identity(model.tokenizer, *settings.written),
        "tokenizer": tokenizer_key(model.tokenizer),
        **how,
    }


# Of the whole run: another row will fare no better.
_OF_THE_RUN = (ConfigError, HeadError, AblationError, RunError)


class PartScorer:
    """A model, its heads and settings; call it with the rows of a part.

    Attributes:
        out: the folder of the run, for engines that let those who score write (absolute or of the
            process that began the run).
        halved: how often a batch was halved because memory ran out.
    """

    def __init__(
        self,
        model: TransformerBridge,
        heads: HeadSet,
        settings: CorpusSettings,
        identity: dict[str, Any],
        *,
        keep: Sequence[str] = (ROWS, "steps"),
        max_tokens_per_batch: int | None = None,
        out: Path | None = None,
    ) -> None:
        self.model, self.heads, self.settings = model, heads, settings
        self.identity, self.key = identity, fingerprint(identity)
        self.keep = tuple(keep)
        self.budget = max_tokens_per_batch
        self.out = out
        self.halved = 0

    def score(self, chunk: Chunk, bad: Sequence[Reject] = ()) -> tuple[Chunk, Part | None]:
        """Score the rows of a chunk: the chunk with the rows that failed, and what is written.

        Args:
            chunk: the rows.
            bad: those of them that are known to fail.

        Raises:
            AirlensError: nothing can be scored, or a row fails that belongs to a part.
        """
        rejects: list[Reject] = list(bad)
        known = {reject.id for reject in bad}
        rows: list[Row] = [row for row in chunk.rows if row.trace.id not in known]
        long: tuple[int, ...] = ()
        if not chunk.rows:
            return chunk, None
        tables = chunk.tables or (PARTS, *self.keep)
        try:
            found = self(rows, tables) if rows else {}
        except (AirlensError, TypeError, ValueError) as error:
            if isinstance(error, _OF_THE_RUN):
                raise
            rows, more = self._apart(rows, error)
            rejects += more
            found = self(rows, tables) if rows else {}
        if PARTS in found:
            samples = found[PARTS]
            bare = samples["n_tokens"].to_numpy() == 0
            counts = samples[["n_left_out", "n_prompt_tokens"]].astype(int)
            for i in np.flatnonzero(bare):
                reason = nothing_scored(*counts.iloc[i])
                rejects.append(rows[i].reject(reason, "response"))
            if bare.any():
                ids = set(samples["id"][bare])
                rows = [row for row in rows if row.trace.id not in ids]
                found = {name: _without(table, ids) for name, table in found.items()}
            long = tuple(np.flatnonzero(self._is_long(found[PARTS])).tolist())
        if rejects and chunk.again:
            raise RunError(
                f"part {chunk.part} cannot be made as it was: {rejects[0].place} now fails "
                f"({rejects[0].reason})"
            )
        chunk = replace(chunk, rejects=[*chunk.rejects, *rejects])
        if not rows:
            return chunk, None
        names = {row.trace.id: row.name for row in chunk.rows}
        out = tuple(
            {"row": names[str(r.id)], "field": r.field, "reason": r.reason} for r in rejects
        )
        return chunk, Part(self.key, found, tuple(row.name for row in rows), out, long)

    def __call__(
        self, rows: Sequence[Row], tables: Sequence[str] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Tables of a part: ``parts`` (one row per sample) and side tables; default: all kept."""
        wanted = (PARTS, *self.keep) if tables is None else tables
        made = {ROWS: row_table(rows)} if ROWS in wanted else {}
        if set(wanted) <= set(made):
            return made
        traces = [row.trace for row in rows]
        result = self._with_memory(self._influence, traces)
        if PARTS in wanted:
            samples = result.samples
            if self.settings.ifd:
                found = self._with_memory(partial(self._ifd, result), traces)
                samples = samples.assign(loss_alone=found["loss_alone"], ifd=found["ifd"])
            n_chars = [len(trace.response) for trace in traces]
            made[PARTS] = samples.assign(n_chars=n_chars, fingerprint=self.key)
        made |= {name: getattr(result, name) for name in wanted if name not in made}
        if self.settings.early_answers and {PARTS, "steps"} & set(wanted):
            early = self._with_memory(self._early, traces)
            if PARTS in made:
                made[PARTS] = made[PARTS].merge(_of_samples(early), how="left", on="id")
            if "steps" in made:
                made["steps"] = early.on_steps(made["steps"])
        if (self.settings.rivals or self.settings.circuit) and {PARTS, "steps"} & set(wanted):
            rivals = self._with_memory(self._rivals, traces)
            made |= {name: rivals.on(made[name]) for name in (PARTS, "steps") if name in made}
        return made

    def _apart(self, rows: list[Row], error: Exception) -> tuple[list[Row], list[Reject]]:
        """The rows that can be scored, and the others with their reasons.

        Raises:
            Exception: ``error``, where no row by itself is at fault, or every row is.
        """
        kept, rejects = [], []
        for row in rows:
            try:
                encode_for(self.model, [self._trace(row)], *self.settings.written)
            except (ModelError, MemoryError):  # of the machine, not of the row
                raise
            except Exception as failure:  # a template or a tokenizer may raise whatever it likes
                rejects.append(_failed(row, failure))
            else:
                kept.append(row)
        if not rejects:
            kept, rejects = self._halved(rows)
        if not rejects or (not kept and not isinstance(error, DataError)):
            raise error
        return kept, rejects

    def _halved(self, rows: list[Row]) -> tuple[list[Row], list[Reject]]:
        """The rows that can be scored and those that cannot, found by halving."""
        try:
            self(rows, [PARTS])
        except (AirlensError, TypeError, ValueError) as error:
            if isinstance(error, _OF_THE_RUN):
                raise
            if len(rows) == 1:
                return [], [_failed(rows[0], error)]
            middle = len(rows) // 2
            (a, bad), (b, worse) = self._halved(rows[:middle]), self._halved(rows[middle:])
            return [*a, *b], [*bad, *worse]
        return rows, []

    def _trace(self, row: Row) -> Trace:
        return row.trace.as_document() if self.settings.scope == "document" else row.trace

    def _is_long(self, samples: pd.DataFrame) -> np.ndarray:
        """Which samples are longer than the context."""
        parts = ("n_prompt_tokens", "n_tokens", "n_left_out")
        total = sum(samples[name].to_numpy() for name in parts)
        return np.asarray(total > int(self.model.cfg.n_ctx))

    def _influence(self, traces: list[Trace], budget: int | None) -> Influence:
        return score_traces(
            self.model,
            traces,
            self.heads,
            self.settings,
            max_tokens_per_batch=budget,
            progress=False,
        )

    def _ifd(self, result: Influence, traces: list[Trace], budget: int | None) -> pd.DataFrame:
        long = self.settings.long
        return ifd(self.model, traces, result, long=long, max_tokens_per_batch=budget)

    def _rivals(self, traces: list[Trace], budget: int | None) -> RivalScores:
        of = self.settings
        return rival_scores(
            self.model,
            traces,
            [name for name in RIVALS if name in of.rivals],
            circuit=of.circuit or None,
            scope=of.scope,
            template=of.template,
            think=of.think,
            long=of.long,
            max_tokens_per_batch=budget,
            progress=False,
        )

    def _early(self, traces: list[Trace], budget: int | None) -> EarlyAnswers:
        return early_answers(
            self.model,
            traces,
            self.heads,
            **self.settings.shared(),
            max_tokens_per_batch=budget,
            progress=False,
        )

    def _with_memory(self, score: Any, traces: list[Trace]) -> Any:
        """Score, with smaller batches each time memory runs out; the size found stays in use.

        Raises:
            RunError: memory is too small for a single window.
        """
        while True:
            try:
                return score(traces, self.budget)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                smaller = FIRST_BUDGET if self.budget is None else self.budget // 2
                if smaller < 1:
                    raise RunError(f"out of memory with one text at a time: {error}") from error
            # Outside the handler: its traceback holds the tensors that are to be freed.
            self.budget = smaller
            self.halved += 1
            _free(self.model)


def _of_samples(early: EarlyAnswers) -> pd.DataFrame:
    """What early answers say of each sample; the same types in every part."""
    names = ["decided_at", "decided_at_ref", "area", "area_ref", "area_control"]
    names += ["gain", "gain_ref", "gain_control", "depends"]
    numbers = early.samples[names].astype("Float64").astype("float64")
    texts = early.samples[["id", "answer"]].assign(no_early_answer=early.samples["missing"])
    return pd.concat([texts, numbers], axis=1)


def _free(model: TransformerBridge) -> None:
    import gc

    import torch

    gc.collect()
    if str(model.cfg.device).startswith("cuda"):
        torch.cuda.empty_cache()


def _failed(row: Row, error: Exception) -> Reject:
    where = error.field if isinstance(error, DataError) else None
    reason = error.reason if isinstance(error, AirlensError) else f"{type(error).__name__}: {error}"
    return row.reject(reason, where)


def nothing_scored(n_left_out: int, n_prompt_tokens: int) -> str:
    """Why no token of a response got a number.

    Args:
        n_left_out: tokens of the response, none of which was scored.
        n_prompt_tokens: tokens before it.
    """
    if not n_left_out:
        return "the tokenizer makes no token of it: nothing to score"
    if n_prompt_tokens:
        return (
            f"the prompt fills the context ({n_prompt_tokens:,} tokens): nothing of the response "
            "is scored when long rows are cut"
        )
    return "a single token with nothing before it: nothing predicts it"


def _without(table: pd.DataFrame, ids: set[str]) -> pd.DataFrame:
    return table[[name not in ids for name in table["id"]]].reset_index(drop=True)
