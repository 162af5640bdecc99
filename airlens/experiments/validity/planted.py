"""The planted-step benchmark from traces to tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airlens.ablation import Mode
from airlens.arguments import checked
from airlens.errors import ConfigError
from airlens.files import atomic_write_text, read_json
from airlens.folders import save_tables, write_tables
from airlens.heads import HeadSet
from airlens.provenance import fingerprint, model_info
from airlens.traces.chat_template import Template, template_identity
from airlens.traces.identity import traces_key
from airlens.traces.load import load_traces
from airlens.traces.trace import Trace
from airlens.traces.write_traces import save_traces

from .added_value import gain_table
from .alternatives import loss_in_place
from .auroc_tables import auroc_table, difference_table, matching_table, score_values
from .benchmark import Measured, measure_planted
from .claims import planted_claims
from .planting import KINDS, Place, plant, planted_info

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TABLES = ("auroc", "auroc_equal_loss", "differences", "gain", "matching", "claims")


@dataclass(frozen=True)
class Validation:
    """Results of the benchmark.

    Attributes:
        auroc: see :func:`airlens.experiments.validity.auroc_table`.
        auroc_equal_loss: the same among steps of equal base loss.
        differences: critical heads against random ones, see
            :func:`airlens.experiments.validity.auroc_tables.difference_table`.
        gain: what each score adds to the heuristics.
        matching: how well planted and real steps match in tokens and loss.
        claims: claim, verdict, holds (whether it may be stated), evidence, p, p_holm.
        measured: the measurements behind the tables.
        provenance: model, heads, settings, versions.
    """

    auroc: pd.DataFrame
    auroc_equal_loss: pd.DataFrame
    differences: pd.DataFrame
    gain: pd.DataFrame
    matching: pd.DataFrame
    claims: pd.DataFrame
    measured: Measured
    provenance: dict[str, Any]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, claims left out."""
        return {name: getattr(self, name) for name in TABLES if name != "claims"}

    def save(self, folder: str | Path) -> Path:
        """Write tables as CSV, measurements as ``measured_<name>.parquet``, provenance as JSON.

        The texts are in ``planted.jsonl``.
        """
        items = self.measured.items.drop(columns="text")
        raw = {"measured_items": items, "measured_losses": self.measured.losses}
        save_tables(folder, raw, self.provenance)
        return write_tables(folder, {name: getattr(self, name) for name in TABLES}, self.provenance)


@checked
def validate(
    model: TransformerBridge,
    traces: Sequence[Trace],
    heads: HeadSet,
    *,
    n: int | None = None,
    kinds: Sequence[str] | None = None,
    modes: Sequence[Mode] = ("uniform", "zero", "mean"),
    draws: Mapping[str, int] | int = 2,
    place: Place = "instead",
    seed: int = 0,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> Validation:
    """Plant one distractor of each kind in each of ``n`` traces and compare all scores on them.

    Args:
        model: the bridge.
        traces: with steps.
        heads: the critical heads.
        n: traces to plant in, drawn with the seed; None: all.
        kinds: of :data:`airlens.experiments.validity.planting.KINDS`; None: all.
        modes: ablation modes.
        draws: control head sets of each kind, see
            :func:`airlens.experiments.validity.benchmark.measure_planted`.
        place: the planted step is put ``instead`` of the real one or ``after`` it.
        seed: of planting, controls and cross-validation; the same seed gives the same tables.
        template: how the prompt is put before the response.
        folder: stores planted traces, measurements and tables; the same call resumes from it.
        progress: show progress bars.

    Raises:
        ConfigError: an unknown kind, mode or place, or ``folder`` holds another run.
        DataError: no trace has a suitable step.
    """
    names = list(KINDS if kinds is None else kinds)
    settings = {"n": n, "kinds": names, "place": place, "seed": seed, "template": template}
    home = None if folder is None else Path(folder)
    planted = _planted(model, traces, settings, home)
    measured = measure_planted(
        model,
        planted,
        heads,
        modes=modes,
        draws=draws,
        seed=seed,
        template=template,
        path=None if home is None else home / "measured.jsonl",
        progress=progress,
    )
    tables = planted_tables(measured, seed)
    note = {**measured.provenance, **settings}
    result = Validation(**tables, measured=measured, provenance=note)
    if home is not None:
        result.save(home)
    return result


def planted_tables(measured: Measured, seed: int = 0) -> dict[str, pd.DataFrame]:
    """The tables and claims of a :class:`Validation`, from its measurements; no model."""
    values, items = score_values(measured), measured.items
    table = auroc_table(values, items)
    equal = auroc_table(values, items, equal_loss=True)
    differences = difference_table(values, items)
    gain = gain_table(values, items, seed=seed)
    return {
        "auroc": table,
        "auroc_equal_loss": equal,
        "differences": differences,
        "gain": gain,
        "matching": matching_table(measured),
        "claims": planted_claims(table, equal, gain, differences),
    }


def _planted(
    model: TransformerBridge,
    traces: Sequence[Trace],
    settings: Mapping[str, Any],
    folder: Path | None,
) -> list[Trace]:
    """The planted set: that of an interrupted run of the same settings, or a new one."""
    of = {key: value for key, value in settings.items() if key != "n"}
    of |= {"model": model_info(model), "traces": traces_key(traces)}
    of["written"] = template_identity(model.tokenizer, settings["template"])
    identity = fingerprint(of)
    made_by = folder / "planted.json" if folder else None
    if folder and made_by and made_by.is_file():
        former = read_json(made_by)
        if former.get("run") != identity:
            raise ConfigError(f"{folder} holds a run with other settings; name another folder")
        if former["n"] is None or (settings["n"] or len(traces)) <= former["n"]:
            return _first(load_traces(folder / "planted.jsonl"), settings["n"])
    planted = plant(
        traces,
        model.tokenizer,
        kinds=settings["kinds"],
        n=settings["n"],
        seed=settings["seed"],
        place=settings["place"],
        loss_of=loss_in_place(model, settings["template"]),
    )
    if folder and made_by:
        save_traces(planted, folder / "planted.jsonl")
        atomic_write_text(made_by, json.dumps({"run": identity, **settings}))
    return planted


def _first(planted: Sequence[Trace], n: int | None) -> list[Trace]:
    """The plantings of the first ``n`` sources."""
    sources = list(dict.fromkeys(str(planted_info(trace)["source"]) for trace in planted))[:n]
    return [trace for trace in planted if planted_info(trace)["source"] in sources]
