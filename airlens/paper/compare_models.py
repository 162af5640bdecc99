"""The same measurements on several models, as one tidy table: which findings hold on all of them.

One row a model, measure and set of heads. The sets are ``top`` (the best 5 %, see ``share``),
``random`` (as many from any layer), ``layer-matched`` (as many from the layers of the top ones),
``base`` (nothing ablated), ``needle removed`` (the floor of copying), ``all`` (all heads), and the
differences ``top - random`` and ``top - layer-matched``, taken probe by probe or trace by trace.
Intervals (95 %) are bootstrapped over units and, for controls, over draws too.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, Mode, ablated
from airlens.analysis.confounds import confound_table
from airlens.analysis.needles import needle_recall
from airlens.analysis.statistics import N_BOOT, bootstrap_counts, interval
from airlens.arguments import checked
from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.needle_probes import needle_probes
from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file, data_path
from airlens.heads import TOP_SHARE, HeadScores, HeadSet
from airlens.model import load_model
from airlens.probes import ProbeSet
from airlens.provenance import fingerprint, model_info, provenance
from airlens.reading.load import first_of_each_domain, load_traces
from airlens.retrieval import copy_accuracy, retrieval_scores
from airlens.step_influence import influence
from airlens.storage import write_tables
from airlens.trace import Trace
from airlens.validity.benchmark import Group, head_groups
from airlens.validity.heuristics import add_overlap
from airlens.validity.planted import validate

from .comparison_rows import group_rows, loss_rows, measure_row
from .model_claims import comparison_claims

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


STANDS_OUT = 0.1  # Wu et al. §3: a retrieval head has a score of at least 0.1
COLUMNS = ["model", "measure", "heads", "value", "lo", "hi", "n", "unit", "draws", "weights", "run"]
BASE = HeadSet((), "base")


@dataclass(frozen=True)
class CompareSize:
    """How much is measured of each model.

    Attributes:
        share: of all heads, those that count as top.
        probes, probe_tokens: key-value probes that the heads are found on.
        copy_probes, copy_tokens: other probes, for copy accuracy.
        draws: control sets of each kind, where heads are ablated on probes.
        needles, needle_lengths, needle_depths: the needle grid; ``needles`` probes per cell.
        traces_per_domain: traces whose loss is measured, of each domain.
        trace_draws: layer-matched control sets on traces.
        planted: traces to plant steps in.
        kinds: of planted steps.
    """

    share: float = TOP_SHARE
    probes: int = 12
    probe_tokens: int = 840
    copy_probes: int = 12
    copy_tokens: int = 640
    draws: int = 3
    needles: int = 2
    needle_lengths: tuple[int, ...] = (256, 512)
    needle_depths: tuple[float, ...] = (0.0, 0.5, 1.0)
    traces_per_domain: int = 12
    trace_draws: int = 2
    planted: int = 24
    kinds: tuple[str, ...] = ("irrelevant", "other", "wrong_result", "wrong_numbers", "restated")


@dataclass(frozen=True)
class Comparison:
    """Several models side by side.

    Attributes:
        table: one row per model, measure and set of heads: model, measure, heads, value, lo, hi, n
            (units), unit (what was resampled), draws (of the heads), weights (hash of the model's),
            run (key into ``provenance["runs"]``).
        heads: one row per model and head: model, layer, head, name, score, lo, hi, rank, top, depth
            (layer over the last layer, 0 to 1).
        claims: from :func:`~airlens.paper.model_claims.comparison_claims`.
        provenance: sizes, versions, and by run the model and its top heads.
    """

    table: pd.DataFrame
    heads: pd.DataFrame
    claims: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the tables as CSV, and the provenance as JSON."""
        tables = {name: getattr(self, name) for name in ("table", "heads", "claims")}
        return write_tables(folder, tables, self.provenance)

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: a file is missing or unreadable.
        """
        folder = Path(folder)
        try:
            # A hash of digits only must not be read as a number.
            text = {"model": str, "weights": str, "run": str}
            names = ("table", "heads", "claims")
            table, heads, claims = (
                pd.read_csv(folder / f"{name}.csv", dtype=text) for name in names
            )
            note = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"not a saved comparison ({error})", file=str(folder)) from error
        return cls(table, heads, claims, provenance=note)


@checked
def compare_models(
    models: Sequence[str | Path | TransformerBridge],
    traces: Sequence[Trace] | None = None,
    *,
    size: CompareSize | None = None,
    mode: Mode = DEFAULT_MODE,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure each model in the same way: heads, copying, needles, traces, planted steps.

    Args:
        models: names for :func:`airlens.load_model`, loaded one at a time, or models.
        traces: with steps; default: the bundled ones.
        size: how much to measure.
        mode: ablation mode.
        seed: of probes, draws, planting and bootstrap.
        resume: a folder that stores each finished part, so that an interrupted run continues.
        progress: show progress bars.
        say: called with a line of text at each stage.

    Raises:
        ConfigError: no model, or two with the same name.
        ModelError: a model cannot be loaded.
    """
    size = size or CompareSize()
    items = list(load_traces(data_path("traces.jsonl")) if traces is None else traces)
    settings = {**asdict(size), "mode": mode, "seed": seed}
    settings["traces"] = fingerprint({t.id: [t.prompt, t.response] for t in items})
    tables: list[pd.DataFrame] = []
    heads: list[pd.DataFrame] = []
    runs: dict[str, Any] = {}
    for given in models:
        model = load_model(given) if isinstance(given, (str, Path)) else given
        job = _Job(model, items, size, mode, seed, settings, resume, progress, say)
        if job.name in {str(frame["model"].iloc[0]) for frame in tables}:
            raise ConfigError(f"two models are called {job.name!r}: nothing could tell them apart")
        table, found = job.run()
        tables.append(table)
        heads.append(found)
        runs[job.key] = {"model": model_info(model), "heads": job.top.names()}
        del model, job
        gc.collect()  # free the model before the next one is loaded
    if not tables:
        raise ConfigError("compare_models needs at least one model")
    whole = pd.concat(tables, ignore_index=True)
    note = provenance(None, **settings, runs=runs)
    return Comparison(
        whole, pd.concat(heads, ignore_index=True), comparison_claims(whole), provenance=note
    )


class _Job:
    """The measurements of one model, part by part."""

    def __init__(
        self,
        model: TransformerBridge,
        traces: Sequence[Trace],
        size: CompareSize,
        mode: Mode,
        seed: int,
        settings: dict[str, Any],
        resume: str | Path | None,
        progress: bool,
        say: Callable[[str], None],
    ) -> None:
        self.model, self.traces, self.size, self.mode, self.seed = model, traces, size, mode, seed
        self.progress, self.say = progress, say
        info = model_info(model)
        self.name, self.weights = str(info["name"]), str(info["weights"])
        self.key = fingerprint({**settings, "model": info})
        self.folder = None if resume is None else Path(resume)
        self.scores = self._scores()
        self.top = self.scores.top(size.share)
        self.draws = {"random": size.draws, "layer-matched": size.draws}

    def run(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of the table, and the heads."""
        parts = {
            "heads": self._head_rows,
            "copying": self._copying,
            "needles": self._needles,
            "traces": self._on_traces,
            "planted": self._planted,
        }
        rows = pd.concat([self._part(n, make) for n, make in parts.items()], ignore_index=True)
        rows = rows.assign(model=self.name, weights=self.weights, run=self.key)
        found = self.scores.to_frame(self.size.share)
        found.insert(0, "model", self.name)
        last = max(self.scores.n_layers - 1, 1)
        return rows[COLUMNS], found.assign(depth=found["layer"] / last)

    def _file(self, part: str, suffix: str) -> Path | None:
        return self.folder and self.folder / f"{self.name}-{part}-{self.key}{suffix}"

    def _part(self, name: str, make: Callable[[], list[dict[str, Any]]]) -> pd.DataFrame:
        path = self._file(name, ".csv")
        if path is not None and path.is_file():
            return pd.read_csv(path)
        self.say(f"{self.name}: {name}")
        frame = pd.DataFrame(make())
        if path is not None:
            with atomic_file(path) as temporary:
                frame.to_csv(temporary, index=False)
        return frame

    def _scores(self) -> HeadScores:
        path = self._file("scores", ".json")
        if path is not None and path.is_file():
            return HeadScores.load(path)
        self.say(f"{self.name}: scoring every head")
        size = self.size
        probes = key_value_probes(self.model.tokenizer, size.probes, size.probe_tokens, self.seed)
        scores = retrieval_scores(self.model, probes, progress=self.progress)
        if path is not None:
            scores.save(path)
        return scores

    def _head_rows(self) -> list[dict[str, Any]]:
        """Share of heads that retrieve; share of the whole score in the top heads, and their
        depth.
        """
        samples, k = self.scores.samples.astype(np.float64), len(self.top)
        n, depth = len(samples), np.arange(self.scores.n_layers) / max(self.scores.n_layers - 1, 1)
        layer, head = np.array(self.scores.grid.heads()).T
        where, flat = depth[layer], samples[:, layer, head]
        drawn = bootstrap_counts(n, N_BOOT, self.seed) / n

        def best(scores: np.ndarray) -> np.ndarray:
            return np.argsort(-scores, axis=-1, kind="stable")[..., :k]

        def held(scores: np.ndarray) -> np.ndarray:
            top = np.take_along_axis(scores, best(scores), axis=-1).sum(axis=-1)
            return np.asarray(top / np.maximum(scores.sum(axis=-1), 1e-12))

        measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            f"share of heads scoring {STANDS_OUT} or more": lambda s: (s >= STANDS_OUT).mean(-1),
            "share of the whole score held by the top heads": held,
            "mean depth of the top heads": lambda s: where[best(s)].mean(axis=-1),
        }
        rows = []
        for measure, of in measures.items():
            lo, hi = interval(of(drawn @ flat)) if n > 1 else (np.nan, np.nan)
            value = float(of(flat.mean(axis=0)))
            heads = "all" if measure.startswith("share of heads") else "top"
            rows.append(measure_row(measure, heads, value, lo, hi, n, "probes", 1))
        return rows

    def _groups(self) -> Iterator[Group]:
        yield ("base", BASE, 0)
        yield from head_groups(self.model, self.top, self.draws, self.seed)

    def _by_group(self, measure: Callable[[], np.ndarray]) -> dict[str, np.ndarray]:
        """[draws, units] of what ``measure`` gives with each group of heads ablated."""
        found: dict[str, list[np.ndarray]] = {}
        for group, heads, _ in self._groups():
            with ablated(self.model, heads, self.mode):
                found.setdefault(group, []).append(measure())
        return {group: np.stack(values) for group, values in found.items()}

    def _copying(self) -> list[dict[str, Any]]:
        size = self.size
        probes = key_value_probes(
            self.model.tokenizer, size.copy_probes, size.copy_tokens, self.seed + 1
        )
        found = self._by_group(lambda: copy_accuracy(self.model, probes).samples)
        floor = copy_accuracy(self.model, probes, needle_removed=True).samples
        rows = group_rows("copy accuracy", found, "probes", seed=self.seed)
        return rows + group_rows(
            "copy accuracy", {"needle removed": floor[None]}, "probes", seed=self.seed
        )

    def _needles(self) -> list[dict[str, Any]]:
        size = self.size
        probes: ProbeSet = needle_probes(
            self.model.tokenizer,
            size.needles,
            size.needle_lengths,
            size.needle_depths,
            seed=self.seed,
        )
        found = self._by_group(lambda: needle_recall(self.model, probes)["recall"].to_numpy(float))
        return group_rows("needle recall", found, "probes", seed=self.seed)

    def _on_traces(self) -> list[dict[str, Any]]:
        """Losses of each domain, and correlations of a trace's AIS."""
        chosen = first_of_each_domain(self.traces, self.size.traces_per_domain)
        result = influence(
            self.model,
            chosen,
            self.top,
            mode=self.mode,
            controls=self.size.trace_draws,
            seed=self.seed,
            progress=self.progress,
        )
        rows = loss_rows(result, self.seed)
        samples = add_overlap(result.samples, chosen)
        table = confound_table(samples, scores=("ais", "ais_control"), each=False, seed=self.seed)
        last = table["group"].iloc[-1]  # within domains where there are several
        for row in table[table["group"] == last].to_dict("records"):
            heads = "layer-matched" if row["score"] == "ais_control" else "top"
            name = f"ρ of AIS and {row['against']}, {row['group']}".replace(", all", "")
            draws = self.size.trace_draws if heads == "layer-matched" else 1
            found = (row["rho"], row["lo"], row["hi"], row["n"])
            rows.append(measure_row(name, heads, *found, "traces", draws))
        return rows

    def _planted(self) -> list[dict[str, Any]]:
        """Does AIS rank real steps above planted ones?"""
        folder = None if self.folder is None else self.folder / f"{self.name}-planted-{self.key}"
        result = validate(
            self.model,
            self.traces,
            self.top,
            n=self.size.planted,
            kinds=self.size.kinds,
            modes=(self.mode,),
            draws={"layer-matched": self.size.trace_draws},
            seed=self.seed,
            folder=folder,
            progress=self.progress,
        )
        rows = []
        for name, table in (("", result.auroc), (", equal loss", result.auroc_equal_loss)):
            for row in table[table["score"].isin(["ais", "loss"])].to_dict("records"):
                heads = row["heads"] or "base"
                score = "AIS" if row["score"] == "ais" else "base loss"
                measure = f"AUROC of real over {row['kind']} steps by {score}{name}"
                found = (row["auroc"], row["lo"], row["hi"], row["n"])
                rows.append(measure_row(measure, heads, *found, "traces", row["draws"]))
        return rows
