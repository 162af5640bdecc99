"""The influence of every single head: what ablating it alone costs each step and trace.

``exact`` runs the ablation of each head. ``attribution`` estimates all of them from one backward
pass for each step (the sum of grad_z L · (z_ablated - z)), much faster, but some heads come out far
off or with the wrong sign. ``screened`` runs exactly the heads whose products, squared before they
are summed over positions, are largest; the result says which. The sum itself is no good order
(ours): positions of opposite sign cancel in it, and heads that cost much come out near 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from airlens.ablation import DEFAULT_MODE, MeanZ, Mode, mean_z
from airlens.arguments import checked
from airlens.errors import ConfigError, DataError, NumbersError
from airlens.files import atomic_file
from airlens.folders import load_tables, save_tables
from airlens.heads import Head, HeadSet
from airlens.losses.choice import Engine, choose_engine
from airlens.losses.each_head_alone import each_head_alone, widest_row
from airlens.losses.fast.fast_losses import row_budget
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.packing import pack
from airlens.losses.fast.single_head_passes import attribution_row
from airlens.losses.hooks import check_finite
from airlens.losses.windows import Long, WindowLoss, windows
from airlens.model.heads import heads_of
from airlens.model.state import not_finite, running
from airlens.provenance import fingerprint, provenance
from airlens.traces.chat_template import Template, Think, resolve_template, template_note
from airlens.traces.encoding import EncodedTrace
from airlens.traces.model_encoding import encode_for
from airlens.traces.readings import how_read
from airlens.traces.trace import Trace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.heads import HeadArray
    from airlens.losses.windows import Window

Method: TypeAlias = Literal["exact", "attribution", "screened"]

# Ours: benchmarks/bench.py prints how many of the exact top 14 are among them, and at what cost.
SCREEN = 60
ATTRIBUTION_TOKENS = 512  # of a row on CPU: the backward pass keeps every layer's activations


@dataclass(frozen=True)
class HeadInfluence:
    """What each head costs when it alone is ablated: rises of the mean token NLL, in nats; S steps.

    Attributes:
        scores: fp32 [L, H], over all scored tokens.
        exact: bool [L, H], which scores are measured; the others are estimates.
        step_scores: fp32 [S, L, H], over the tokens of a step: measured, or estimated with method
            ``attribution``; NaN for the heads that ``screened`` did not run.
        estimate: fp32 [L, H], the attribution; NaN where none was made.
        steps: one row per step: id, step, n_tokens, loss_base.
        provenance: model, mode, method, settings, versions.
    """

    scores: HeadArray
    exact: np.ndarray
    step_scores: np.ndarray
    estimate: HeadArray
    steps: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def ranked(self, *, exact_only: bool = True) -> list[Head]:
        """Heads, largest rise first, ties by (layer, head); by default the measured ones."""
        measured = exact_only and self.exact.any()
        # NaN: the layer has no such head
        cells = np.argwhere(self.exact if measured else ~np.isnan(self.scores))
        order = sorted(map(tuple, cells.tolist()), key=lambda c: (-self.scores[c], c))
        return [Head(*c) for c in order]

    def top(self, k: int) -> HeadSet:
        """The ``k`` measured heads with the largest rise (of all, where none was measured)."""
        return HeadSet(tuple(self.ranked()[:k]), f"top {k} by influence", self.provenance)

    def to_frame(self) -> pd.DataFrame:
        """One row per head, largest first: layer, head, name, delta, exact, estimate, rank."""
        rows = [
            (h.layer, h.head, str(h), self.scores[h], bool(self.exact[h]), self.estimate[h], rank)
            for rank, h in enumerate(self.ranked(exact_only=False), start=1)
        ]
        columns = ["layer", "head", "name", "delta", "exact", "estimate", "rank"]
        return pd.DataFrame(rows, columns=columns)

    def save(self, folder: str | Path) -> Path:
        """Write arrays (.npz), steps (Parquet) and provenance (JSON) into ``folder``."""
        folder = Path(folder)
        with atomic_file(folder / "heads.npz") as temporary:
            np.savez_compressed(
                temporary,
                scores=self.scores,
                exact=self.exact,
                step_scores=self.step_scores,
                estimate=self.estimate,
            )
        return save_tables(folder, {"steps": self.steps}, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> HeadInfluence:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing or unreadable.
        """
        folder = Path(folder)
        tables, note = load_tables(folder, ["steps"], "a saved head influence")
        try:
            with np.load(folder / "heads.npz") as arrays:
                found = {name: arrays[name] for name in arrays.files}
            return cls(steps=tables["steps"], provenance=note, **found)
        except (OSError, ValueError, TypeError, BadZipFile) as error:
            raise DataError(f"not a saved head influence ({error})", file=str(folder)) from error


@checked
def head_influence(
    model: TransformerBridge,
    traces: Iterable[Trace] | Trace,
    method: Method = "screened",
    *,
    mode: Mode = DEFAULT_MODE,
    top: int = SCREEN,
    template: Template = "auto",
    think: Think = "auto",
    long: Long = "stride",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    engine: Engine = "auto",
    resume: str | Path | None = None,
    progress: bool = True,
) -> HeadInfluence:
    """Effect of ablating every head alone, measured or estimated.

    Args:
        model: the bridge.
        traces: the response of each is scored, its prompt is context.
        method: ``exact``, ``attribution``, or ``screened``: the ``top`` heads by the squares of
            their attribution at each position are run exactly.
        mode: ablation mode, see :mod:`airlens.ablation`.
        top: heads that ``screened`` runs exactly.
        template: how a prompt is put before its response.
        think: how a thought in a response is written, see :func:`airlens.influence`.
        long: a trace longer than the context is scored in strides or cut.
        means: for ``mode="mean"``.
        max_tokens_per_batch: bounds memory: tokens of a row times heads run side by side.
        engine: ``hooks`` runs one pass for each head, and only ``exact``.
        resume: a file that stores finished rows, so that an interrupted run continues.
        progress: show a progress bar.

    Raises:
        ConfigError, DataError: bad arguments; see the message.
        NumbersError: the model gave NaN or infinity for a token to be scored.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method={method!r}: use one of {', '.join(get_args(Method))}")
    items = [traces] if isinstance(traces, Trace) else list(traces)
    template = resolve_template(model.tokenizer, template)
    encoded = encode_for(model, items, template, think)
    with running(model):
        if mode == "mean" and means is None:
            means = mean_z(model)
        job = _Job(model, encoded, long, mode, means, max_tokens_per_batch, progress)
        chosen = choose_engine(model, engine, mode=mode, longest=job.longest)
        if chosen == "hooks" and method != "exact":
            raise ConfigError(f"method={method!r} needs the fast engine, which cannot run here")
        estimate = np.full(job.shape, np.nan, np.float32)
        heads = job.grid.heads()
        if method != "exact":
            estimate, squares = job.attribution(by_step=method == "attribution")
            order = np.argsort(-squares, axis=None, kind="stable")
            heads = sorted(heads[i] for i in order[: top if method == "screened" else 0])
        note = provenance(
            model,
            method=method,
            mode=mode,
            top=top if method == "screened" else None,
            **template_note(model.tokenizer, template, think),
            long=long,
            engine=chosen,
            n_traces=len(items),
            reading=how_read(items),
        )
        if heads:
            job.exact(heads, chosen, Path(resume) if resume else None)
    return job.result(heads, estimate, note)


class _Job:
    """The windows of all traces, and sums over the tokens of their steps."""

    def __init__(
        self,
        model: TransformerBridge,
        encoded: Sequence[EncodedTrace],
        long: Long,
        mode: Mode,
        means: MeanZ | None,
        budget: int | None,
        progress: bool,
    ) -> None:
        self.model, self.mode, self.means, self.progress = model, mode, means, progress
        self.grid = heads_of(model)
        self.shape = self.grid.shape
        self.on_cpu = str(model.cfg.device) == "cpu"
        self.budget = row_budget(budget, model.cfg.device)
        self.items: list[Window] = []
        self.step_of: list[np.ndarray] = []  # index into all steps of each scored token
        self.rows: list[dict[str, Any]] = []
        for e in encoded:
            self._add(e, windows(e, int(model.cfg.n_ctx), long))
        self.longest = max((len(w.tokens) for w in self.items), default=0)
        n = len(self.rows)
        self.count = np.zeros(n)
        self.base = np.zeros(n)
        self.rise = self.grid.zeros(n).astype(np.float64)
        self.estimated = np.full((n, *self.shape), np.nan)

    def _add(self, encoded: EncodedTrace, parts: Sequence[Window]) -> None:
        first = len(self.rows)
        n_steps = max(len(encoded.trace.steps), 1)
        self.rows += [{"id": encoded.trace.id, "step": i} for i in range(n_steps)]
        for part in parts:
            self.items.append(part)
            scored = slice(part.position, part.position + part.n_scored)
            self.step_of.append(first + encoded.step[scored])

    def attribution(self, *, by_step: bool) -> tuple[np.ndarray, np.ndarray]:
        """[L, H] estimate of the rise, and sum of its squares over positions.

        Also fills the base losses, and each step's estimate.
        """
        fast = fast_model(self.model)
        self.count[:], self.base[:] = 0, 0
        sums = np.zeros_like(self.rise)
        squares = np.zeros(self.shape)
        size = min(self.budget, ATTRIBUTION_TOKENS) if self.on_cpu else self.budget
        packs = pack([w.tokens for w in self.items], size, share=False)
        for row in tqdm(packs, desc="attribution", disable=not self.progress):
            steps, parts = self._parts(row.items, by_step)
            chosen = [self.items[i] for i in row.items]
            with running(self.model, gradients=True):
                options = (self.mode, self.means)
                base, found, squared = attribution_row(fast, row, chosen, parts, *options)
            self._check(row.items, base)
            if not np.isfinite(squared).all():
                raise NumbersError(not_finite(self.model, "a gradient that is NaN or infinite"))
            self._add_base(row.items, base)
            squares += squared.sum(axis=(0, 1))
            for window, own in enumerate(steps):
                np.add.at(sums, own, found[: len(own), window])
        if by_step:
            with np.errstate(invalid="ignore", divide="ignore"):
                self.estimated = sums / self.count[:, None, None]
        return np.asarray(sums.sum(axis=0) / max(self.count.sum(), 1), np.float32), squares

    def _parts(self, items: Sequence[int], by_step: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """The steps of each window, and the index among them of the step of each scored token.

        Without ``by_step`` a window is one part, attributed to its first step.
        """
        if not by_step:
            steps = [self.step_of[i][:1] for i in items]
            return steps, np.zeros(sum(len(self.step_of[i]) for i in items), np.int64)
        pairs = [np.unique(self.step_of[i], return_inverse=True) for i in items]
        return [own for own, _ in pairs], np.concatenate([part for _, part in pairs])

    def _add_base(self, items: Sequence[int], base: np.ndarray) -> np.ndarray:
        steps = np.concatenate([self.step_of[i] for i in items])
        np.add.at(self.count, steps, 1)
        np.add.at(self.base, steps, base)
        return steps

    def exact(self, heads: Sequence[Head], engine: Engine, resume: Path | None) -> None:
        """Fill the sums of ``heads``; rows found in ``resume`` are not run again."""
        self.count[:], self.base[:] = 0, 0
        widest = widest_row(self.budget) if engine == "fast" else 0
        packs = pack([w.tokens for w in self.items], widest)  # after each the sums are kept
        settings: dict[str, Any] = {"heads": [str(h) for h in heads], "mode": self.mode}
        settings["budget"] = self.budget
        tokens = [w.tokens for w in self.items]
        settings["steps"] = [step.tolist() for step in self.step_of]
        key = fingerprint({**provenance(self.model)["model"], **settings, "tokens": tokens})
        done = self._restore(resume, key)
        with tqdm(total=len(packs) * len(heads), desc="heads", disable=not self.progress) as bar:
            bar.update(done * len(heads))
            for k, row in enumerate(packs[done:], start=done + 1):
                for i, loss in zip(
                    row.items, self._run(row.items, heads, engine, bar), strict=True
                ):
                    steps = self._add_base([i], loss.base)
                    for head, line in zip(heads, loss.ablated, strict=True):
                        np.add.at(self.rise[:, head.layer, head.head], steps, line - loss.base)
                self._keep(resume, key, k)

    def _run(
        self, items: Sequence[int], heads: Sequence[Head], engine: Engine, bar: Any
    ) -> list[WindowLoss]:
        """The losses of some windows without each head; where one is not finite it is named."""
        try:
            return each_head_alone(
                self.model,
                [self.items[i] for i in items],
                heads,
                self.mode,
                engine=engine,
                means=self.means,
                max_tokens_per_batch=self.budget,
                on_progress=bar.update,
            )
        except NumbersError as error:
            raise self._of_step(error, items[error.item or 0]) from None

    def _check(self, items: Sequence[int], base: np.ndarray) -> None:
        """Raise where a base loss of the windows of a row, [n], is not finite; names it."""
        start = 0
        for i in items:
            own = base[start : start + self.items[i].n_scored]
            start += len(own)
            none = np.zeros((0, len(own)), np.float32)
            try:
                check_finite(self.model, WindowLoss(own, np.zeros_like(own), none), i)
            except NumbersError as error:
                raise self._of_step(error, i) from None

    def _of_step(self, error: NumbersError, item: int) -> NumbersError:
        """The error with the trace and the step named."""
        step = self.step_of[item][error.token or 0]
        place = "trace {id!r}, step {step}".format(**self.rows[step])
        return NumbersError(error.reason, place=place)

    def _keep(self, path: Path | None, key: str, done: int) -> None:
        if path is not None:
            with atomic_file(path.with_suffix(".npz")) as temporary:
                state = {"count": self.count, "base": self.base, "rise": self.rise}
                np.savez(temporary, key=np.asarray(key), done=np.asarray(done), **state)  # type: ignore[arg-type]

    def _restore(self, path: Path | None, key: str) -> int:
        """Number of rows already done."""
        if path is None or not path.with_suffix(".npz").exists():
            return 0
        try:
            with np.load(path.with_suffix(".npz")) as kept:
                found = {name: kept[name] for name in ("key", "count", "base", "rise", "done")}
        except (OSError, KeyError, EOFError, ValueError, BadZipFile) as error:
            raise DataError(f"not a stopped run ({error})", file=str(path)) from error
        if str(found["key"]) != key:
            raise ConfigError(
                f"{path} was made with another model, other traces, heads or settings: "
                "name another file, or delete it"
            )
        self.count, self.base, self.rise = found["count"], found["base"], found["rise"]
        return int(found["done"])

    def result(
        self, heads: Sequence[Head], estimate: np.ndarray, note: dict[str, Any]
    ) -> HeadInfluence:
        exact = np.zeros(self.shape, dtype=bool)
        for head in heads:
            exact[head] = True
        with np.errstate(invalid="ignore", divide="ignore"):
            per_step = self.rise / self.count[:, None, None]
            steps = pd.DataFrame(self.rows, columns=["id", "step"])
            steps["n_tokens"] = self.count.astype(int)
            steps["loss_base"] = self.base / self.count
        overall = self.rise.sum(axis=0) / max(self.count.sum(), 1)
        scores = np.where(exact, overall, estimate).astype(np.float32)
        per_step = np.where(exact, per_step, self.estimated).astype(np.float32)
        return HeadInfluence(scores, exact, per_step, estimate, steps, note)
