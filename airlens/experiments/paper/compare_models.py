"""The same measurements on several models, as one tidy table: which findings hold on all of them.

One row a model, measure and set of heads. The sets are ``top`` (the best 5 %, see ``share``),
``random`` (as many from any layer), ``same_layers`` (as many from the layers of the top ones),
``base`` (nothing ablated), ``needle removed`` (the floor of copying), ``all`` (all heads), and the
differences ``top - random`` and ``top - same_layers``, taken probe by probe or trace by trace.
Intervals (95 %) are over independent units and, for controls, over draws too.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from airlens.ablation import DEFAULT_MODE, Mode, ablated
from airlens.arguments import checked
from airlens.detectors.key_value_probes import key_value_probes
from airlens.detectors.needle_probes import needle_probes
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import copy_accuracy, retrieval_scores
from airlens.errors import ConfigError, DataError
from airlens.experiments.needles import needle_recall
from airlens.experiments.validity.auroc_tables import auroc_table
from airlens.experiments.validity.benchmark import Group, head_groups
from airlens.experiments.validity.heuristics import add_overlap
from airlens.experiments.validity.planted import validate
from airlens.files import data_path, portable_name
from airlens.folders import kept, kept_table, save_tables, write_tables
from airlens.heads import TOP_SHARE, HeadScores, HeadSet
from airlens.model.load import load_model
from airlens.provenance import fingerprint, model_info, provenance
from airlens.selection.confounds import confound_table
from airlens.statistics.estimates import Estimate
from airlens.step_influence.influence import Influence, influence
from airlens.step_influence.settings import FLOOR
from airlens.traces.chat_template import template_identity
from airlens.traces.identity import traces_key
from airlens.traces.load import first_of_each_domain, load_traces
from airlens.traces.trace import Trace

from .comparison_rows import group_rows, loss_values, measure_row, unit_values
from .model_claims import comparison_claims

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


STANDS_OUT = 0.1  # Wu et al. §3: a retrieval head has a score of at least 0.1
COLUMNS = ["model", "measure", "heads", "value", "lo", "hi", "p", "n", "unit", "draws"]
COLUMNS += ["weights", "run"]
BASE = HeadSet((), "base")


@dataclass(frozen=True)
class CompareSize:
    """How much is measured of each model.

    Attributes:
        share: of all heads, those that count as top.
        probes, probe_tokens: key-value probes that the heads are found on.
        copy_probes, copy_tokens: other probes, for copy accuracy.
        draws: control sets of each kind, where heads are ablated on probes.
        needle_draws: the same for needles, which take longest.
        needles, needle_lengths, needle_depths: the needle grid; ``needles`` probes per cell. Only
            other needles are independent of each other, not other lengths or depths.
        traces_per_domain: traces whose loss is measured, of each domain.
        trace_draws: control sets of the same layers on traces.
        planted: traces to plant steps in.
        kinds: of planted steps.
    """

    share: float = TOP_SHARE
    probes: int = 12
    probe_tokens: int = 840
    copy_probes: int = 12
    copy_tokens: int = 640
    draws: int = 10
    needle_draws: int = 5
    needles: int = 10
    needle_lengths: tuple[int, ...] = (256, 512)
    needle_depths: tuple[float, ...] = (0.5,)
    traces_per_domain: int = 12
    trace_draws: int = 10
    planted: int = 24
    kinds: tuple[str, ...] = ("irrelevant", "other", "wrong_result", "wrong_numbers", "restated")


@dataclass(frozen=True)
class Comparison:
    """Several models side by side.

    Attributes:
        table: one row per model, measure and set of heads: model, measure, heads, value, lo, hi, p
            (of no effect), n (independent units), unit (what they are), draws (of random heads),
            weights (hash of the model's), run (key into ``provenance["runs"]``).
        heads: one row per model and head: model, layer, head, name, score, lo, hi, rank, top, depth
            (layer over the last layer, 0 to 1).
        claims: from :func:`~airlens.experiments.paper.model_claims.comparison_claims`.
        provenance: sizes, versions, and by run the model and its top heads.
        measured: the measurements behind the rows, of all models: ``units``
            (:func:`~airlens.experiments.paper.comparison_rows.unit_values`), ``samples`` (traces,
            with their scores) and ``planted`` (planted steps, with their losses).
    """

    table: pd.DataFrame
    heads: pd.DataFrame
    claims: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, pd.DataFrame] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write tables as CSV, measurements as ``measured_<name>.parquet``, provenance as JSON."""
        raw = {f"measured_{name}": table for name, table in self.measured.items()}
        save_tables(folder, raw, self.provenance)
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
            found = {path.stem: pd.read_parquet(path) for path in folder.glob("measured_*.parquet")}
        except (OSError, ValueError) as error:
            raise DataError(f"not a saved comparison ({error})", file=str(folder)) from error
        measured = {name.removeprefix("measured_"): frame for name, frame in found.items()}
        # What was saved before p values were kept has none, and decides nothing.
        table = table.reindex(columns=COLUMNS)
        return cls(table, heads, claims, note, measured)


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
        seed: of probes, draws and planting.
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
    settings["traces"] = traces_key(items)
    tables: list[pd.DataFrame] = []
    heads: list[pd.DataFrame] = []
    measured: dict[str, list[pd.DataFrame]] = {}
    runs: dict[str, Any] = {}
    for given in models:
        model = load_model(given) if isinstance(given, (str, Path)) else given
        job = _Job(model, items, size, mode, seed, settings, resume, progress, say)
        if job.name in {str(frame["model"].iloc[0]) for frame in tables}:
            raise ConfigError(f"two models are called {job.name!r}: nothing could tell them apart")
        table, found, raw = job.run()
        tables.append(table)
        heads.append(found)
        for name, part in raw.items():
            measured.setdefault(name, []).append(part.assign(model=job.name))
        runs[job.key] = {"model": model_info(model), "heads": job.top.names()}
        del model, job
        gc.collect()  # free the model before the next one is loaded
    if not tables:
        raise ConfigError("compare_models needs at least one model")
    whole = pd.concat(tables, ignore_index=True)
    note = provenance(None, **settings, runs=runs)
    every = pd.concat(heads, ignore_index=True)
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in measured.items()}
    return Comparison(whole, every, comparison_claims(whole), note, joined)


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
        written = {"written": template_identity(model.tokenizer), "model": info}
        self.key = fingerprint({**settings, **written})
        self.folder = None if resume is None else Path(resume)
        self.scores = self._scores()
        self.top = self.scores.top(size.share)
        self.chosen = first_of_each_domain(traces, size.traces_per_domain)
        self.scored: Influence | None = None

    def run(self) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
        """The rows of the table, the heads, and the measurements behind the rows."""
        parts = {"copying": self._copying, "needles": self._needles, "traces": self._losses}
        units = [self._part(name, make) for name, make in parts.items()]
        raw = {"units": pd.concat(units, ignore_index=True)}
        raw["samples"] = self._part("samples", self._samples)
        raw["planted"] = self._part("planted", self._planted)
        rows = [*self._head_rows(), *measured_rows(raw, self.size.trace_draws)]
        table = pd.DataFrame(rows).assign(model=self.name, weights=self.weights, run=self.key)
        found = self.scores.to_frame(self.size.share)
        found.insert(0, "model", self.name)
        last = max(self.scores.n_layers - 1, 1)
        return table[COLUMNS], found.assign(depth=found["layer"] / last), raw

    def _file(self, part: str, suffix: str) -> Path | None:
        return self.folder and self.folder / f"{portable_name(self.name)}-{part}-{self.key}{suffix}"

    def _part(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        def measured() -> pd.DataFrame:
            self.say(f"{self.name}: {name}")
            return make()

        return kept_table(self._file(name, ".parquet"), measured)

    def _scores(self) -> HeadScores:
        def scored() -> HeadScores:
            self.say(f"{self.name}: scoring every head")
            settings = (self.size.probes, self.size.probe_tokens, self.seed)
            probes = key_value_probes(self.model.tokenizer, *settings)
            return retrieval_scores(self.model, probes, progress=self.progress)

        return kept(self._file("scores", ".json"), scored, HeadScores.load, HeadScores.save)

    def _head_rows(self) -> list[dict[str, Any]]:
        """Share of heads that retrieve; share of the whole score in the top heads, and their depth.

        The limits of the first count the heads whose own interval is above the limit, and those
        whose interval reaches it. The others describe the heads found; they have no interval.
        """
        layer, head = np.array(self.scores.grid.heads()).T
        flat, k = self.scores.scores[layer, head].astype(np.float64), len(self.top)
        low, high = (side[layer, head] for side in self.scores.interval())
        sure = np.where(np.isnan(low), flat, low) >= STANDS_OUT
        maybe = np.where(np.isnan(high), flat, high) >= STANDS_OUT
        best = np.argsort(-flat, kind="stable")[:k]
        depth = layer / max(self.scores.n_layers - 1, 1)
        held = float(flat[best].sum() / max(flat.sum(), 1e-12))
        n = len(self.scores.samples)
        rows = []
        for measure, heads, value in (
            (f"share of heads scoring {STANDS_OUT} or more", "all", (flat >= STANDS_OUT).mean()),
            ("share of the whole score held by the top heads", "top", held),
            ("mean depth of the top heads", "top", depth[best].mean()),
        ):
            row = measure_row(measure, heads, Estimate(float(value), (), n), "probes")
            if heads == "all":
                row |= {"lo": float(sure.mean()), "hi": float(maybe.mean())}
            rows.append(row)
        return rows

    def _by_group(self, measure: Callable[[], np.ndarray], draws: int) -> dict[str, np.ndarray]:
        """[draws, units] of what ``measure`` gives with each group of heads ablated."""
        found: dict[str, list[np.ndarray]] = {}
        both = {"random": draws, "same_layers": draws}
        groups: list[Group] = [("base", BASE, 0)]
        for group, heads, _ in [*groups, *head_groups(self.model, self.top, both, self.seed)]:
            with ablated(self.model, heads, self.mode):
                found.setdefault(group, []).append(measure())
        return {group: np.stack(values) for group, values in found.items()}

    def _copying(self) -> pd.DataFrame:
        size = self.size
        probes = key_value_probes(
            self.model.tokenizer, size.copy_probes, size.copy_tokens, self.seed + 1
        )
        found = self._by_group(lambda: copy_accuracy(self.model, probes).samples, size.draws)
        found["needle removed"] = copy_accuracy(self.model, probes, needle_removed=True).samples[
            None
        ]
        return unit_values("copy accuracy", found, "probes", [probe.id for probe in probes])

    def _needles(self) -> pd.DataFrame:
        size = self.size
        probes: ProbeSet = needle_probes(
            self.model.tokenizer,
            size.needles,
            size.needle_lengths,
            size.needle_depths,
            seed=self.seed,
        )

        def recall() -> np.ndarray:
            return needle_recall(self.model, probes)["recall"].to_numpy(float)

        needles = [str(probe.meta.get("answer")) for probe in probes]
        found = self._by_group(recall, size.needle_draws)
        return unit_values("needle recall", found, "needles", needles)

    def _scored(self) -> Influence:
        if self.scored is None:
            self.scored = influence(
                self.model,
                self.chosen,
                self.top,
                mode=self.mode,
                controls=self.size.trace_draws,
                seed=self.seed,
                progress=self.progress,
            )
        return self.scored

    def _losses(self) -> pd.DataFrame:
        return loss_values(self._scored())

    def _samples(self) -> pd.DataFrame:
        return add_overlap(self._scored().samples, self.chosen)

    def _planted(self) -> pd.DataFrame:
        """Losses of planted and real steps: does AIS rank the real ones above?"""
        folder = self._file("planted", "")
        result = validate(
            self.model,
            self.traces,
            self.top,
            n=self.size.planted,
            kinds=self.size.kinds,
            modes=(self.mode,),
            draws={"same_layers": self.size.trace_draws},
            seed=self.seed,
            folder=folder,
            progress=self.progress,
        )
        return result.measured.scores()


def tables_of(former: Comparison) -> pd.DataFrame:
    """The table of a saved comparison again, from its measurements; no model."""
    parts = []
    for name, own in former.table.groupby("model", sort=False):
        heads = own[~own["unit"].isna() & own["measure"].str.contains("share of|mean depth")]
        raw = {key: part[part["model"] == name] for key, part in former.measured.items()}
        rows = pd.DataFrame(measured_rows(raw, int(former.provenance["trace_draws"])))
        place = own[["model", "weights", "run"]].iloc[0].to_dict()
        parts += [heads, rows.assign(**{str(key): value for key, value in place.items()})]
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def measured_rows(raw: Mapping[str, pd.DataFrame], draws: int) -> list[dict[str, Any]]:
    """The rows about what was measured with heads ablated.

    Args:
        raw: as in ``Comparison.measured``, of one model.
        draws: of random heads on traces.
    """
    rows = [*group_rows(raw["units"]), *correlation_rows(raw["samples"], draws)]
    return [*rows, *planted_rows(raw["planted"])]


def correlation_rows(samples: pd.DataFrame, draws: int) -> list[dict[str, Any]]:
    """Correlations of a trace's AIS with what is known for free.

    Args:
        samples: ``Influence.samples`` with overlap.
        draws: of random heads, whose mean AIS is correlated too.
    """
    table = confound_table(samples, scores=("ais", "ais_control"), each=False)
    last = table["group"].iloc[-1]  # within domains where there are several
    rows = []
    for row in table[table["group"] == last].to_dict("records"):
        control = row["score"] == "ais_control"
        name = f"ρ of AIS and {row['against']}, {row['group']}".replace(", all", "")
        place = {"measure": name, "heads": "same_layers" if control else "top"}
        numbers = {"value": row["rho"], **{key: row[key] for key in ("lo", "hi", "p", "n")}}
        rows.append({**place, **numbers, "unit": "traces", "draws": draws if control else 0})
    return rows


def planted_rows(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """AUROC of real over planted steps, by AIS and by the loss alone, also at equal loss.

    Args:
        scores: from :meth:`airlens.experiments.validity.benchmark.Measured.scores`.
    """
    columns = ["source", "kind", "mode", "heads", "draw"]
    air = scores[columns].assign(score="ais", value=scores["ais"].where(scores["loss"] >= FLOOR))
    items = scores.drop_duplicates(["source", "kind"])[["source", "kind", "loss"]]
    free = items.assign(score="loss", mode="", heads="", draw=0, value=items["loss"])
    values = pd.concat([air, free.drop(columns="loss")], ignore_index=True)
    rows = []
    for name, equal in (("", False), (", equal loss", True)):
        for row in auroc_table(values, items, equal_loss=equal).to_dict("records"):
            score = "AIS" if row["score"] == "ais" else "base loss"
            measure = f"AUROC of real over {row['kind']} steps by {score}{name}"
            place = {"measure": measure, "heads": row["heads"] or "base", "unit": "traces"}
            numbers = {"value": row["auroc"], **{k: row[k] for k in ("lo", "hi", "p", "n")}}
            rows.append({**place, **numbers, "draws": row["draws"]})
    return rows
