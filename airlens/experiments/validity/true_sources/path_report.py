"""Whether :func:`airlens.paths` follows chains that are known, by their length.

Of each planted chain (:mod:`.planted_chains`) the paths begin at the number in its last step. Three
things are asked, of all tokens of the number together:

- recovered: the path visits the steps of the chain, all and only these, in order, and ends in the
  one where it begins
- origin: it comes by the step or sentence where the chain begins
- first: its first hop leads to the step before in the chain

Beside random heads stand two rules that need no model: "nearest number" goes to the nearest earlier
unit with the same number, "first number" to the very first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from airlens.control_kinds import CONTRASTED_WORDS, CONTROL_KINDS, Control
from airlens.experiments.validity.auroc_tables import is_control
from airlens.experiments.validity.claim_reports import ClaimReport
from airlens.experiments.validity.claims import number
from airlens.experiments.validity.trace_store import TraceStore
from airlens.folders import kept, load_tables, save_tables
from airlens.heads import HeadSet
from airlens.provenance import provenance
from airlens.statistics.grids import grid_of, proportion_of
from airlens.statistics.verdicts import Claim, claims_table, greater
from airlens.step_sources.source_measures import Sources, sources
from airlens.step_sources.source_paths import TOP, paths
from airlens.traces.answers import stands_in
from airlens.traces.chat_template import Template
from airlens.traces.trace import Trace

from .head_contrasts import contrast_table
from .measured_pairs import KEY
from .planted_chains import N, plant_chains

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

VALUES = ("recovered", "origin", "first")
PATH = "path"
RULES = ("nearest number", "first number")
NAMES = ("chains", "ends")  # what is measured of a trace


def path_report(
    model: TransformerBridge,
    heads: HeadSet,
    *,
    n: int = N,
    draws: Mapping[str, int] | int = 3,
    seed: int = 0,
    template: Template = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
) -> ClaimReport:
    """Follow the numbers of planted chains back, beside random heads and rules without a model.

    Args:
        model: the bridge.
        heads: the critical heads.
        n: planted traces, each with a chain of every length.
        draws: sets of random heads of each kind, or one number for both.
        seed: of planting and draws.
        template: how the prompt is put before the response.
        folder: stores the tables and each trace's measurements, so that the call can be resumed.
        progress: show progress bars.

    Returns:
        Tables "paths" (:func:`path_table`), "contrasts" (:func:`.head_contrasts.contrast_table` by
        length), and "ends": length, heads, why, share of the number's tokens whose path ends so.
    """
    wanted: dict[str, int] = {
        k: draws if isinstance(draws, int) else draws.get(k, 0) for k in CONTROL_KINDS
    }
    traces = plant_chains(n, seed=seed)
    scores = [rule_scores(traces)]
    ends: list[pd.DataFrame] = []
    drawn: dict[str, Any] = {}
    kinds = [kind for kind in CONTROL_KINDS if wanted.get(kind)] or [CONTROL_KINDS[-1]]
    measure = _Measured(model, heads, wanted, seed, template, folder)
    work = [(kind, trace) for kind in kinds for trace in traces]
    for kind, trace in tqdm(work, desc="paths", unit="trace", disable=not progress):
        found, drawn[kind] = measure(trace, kind)
        for parts, table in zip((scores, ends), found, strict=True):
            # the critical heads are the same beside either kind
            parts.append(table if kind == kinds[0] else table[table["heads"] != TOP])
    raw = {
        "chains": pd.concat(scores, ignore_index=True),
        "ends": pd.concat(ends, ignore_index=True),
    }
    tables = path_tables(**raw)
    note = provenance(model, heads=heads.names(), controls=drawn, seed=seed, template=template, n=n)
    report = ClaimReport(tables, path_claims(tables), note, raw)
    if folder is not None:
        report.save(folder)
    return report


class _Measured:
    """What :func:`chain_scores` says of a trace, kept in a folder."""

    def __init__(
        self,
        model: TransformerBridge,
        heads: HeadSet,
        draws: Mapping[str, int],
        seed: int,
        template: Template,
        folder: str | Path | None,
    ) -> None:
        self.model, self.heads, self.draws, self.seed = model, heads, draws, seed
        home = None if folder is None else Path(folder) / "measured"
        self.store = TraceStore(model, home, template, heads=heads.names(), seed=seed)

    def __call__(
        self, trace: Trace, kind: Control
    ) -> tuple[tuple[pd.DataFrame, pd.DataFrame], list[list[str]]]:
        """The two tables, and the random heads of each draw."""
        drawn: dict[str, Any] = {"control": kind, "controls": self.draws.get(kind, 0)}
        tables, note = kept(
            self.store.path("paths", trace, {"known": trace.meta}, **drawn),
            lambda: self._measure(trace, kind),
            lambda path: load_tables(path, NAMES, "measured paths"),
            lambda found, path: save_tables(path, *found),
            whole="provenance.json",
        )
        return (tables[NAMES[0]], tables[NAMES[1]]), note["controls"]

    def _measure(
        self, trace: Trace, kind: Control
    ) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
        found = sources(
            self.model,
            [trace],
            self.heads,
            measures=("copies",),
            control=kind,
            controls=self.draws.get(kind, 0),
            seed=self.seed,
            template=self.store.template,
            progress=False,
        )
        tables = dict(zip(NAMES, chain_scores(found, [trace], kind), strict=True))
        return tables, {"controls": found.provenance["controls"]}


def path_tables(chains: pd.DataFrame, ends: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of :func:`path_report` from its measurements; no model."""
    by_value = [contrast_table(chains, ["length"], ["id"], value) for value in VALUES]
    return {
        "paths": path_table(chains),
        "contrasts": pd.concat(by_value, ignore_index=True),
        "ends": _end_shares(ends),
    }


def chain_scores(
    found: Sources, traces: Sequence[Trace], kind: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether each chain is followed by the critical heads and by each draw, and how paths end.

    Returns:
        id, length, score, heads ("top", or the kind of random heads), draw and `VALUES` (0 or 1);
        and id, length, heads, draw, why, a row a token of the number.
    """
    rows, ends = [], []
    for trace in traces:
        for chain in trace.meta["chains"]:
            units = [int(unit) for unit in chain["units"]]
            given = paths(found, chain["number"], id=trace.id, step=units[0])
            for of, own in given.ends.groupby("set", sort=False):
                heads, draw = (TOP, 0) if of == TOP else (kind, int(str(of).split()[-1]))
                place = {"id": trace.id, "length": len(units) - 1, "heads": heads, "draw": draw}
                hops = given.hops[given.hops["set"] == of]
                visited = [
                    _visited(units[0], hops.loc[hops["path"] == path, "source"])
                    for path in own["path"]
                ]
                rows.append({**place, "score": PATH, **_followed(visited, units)})
                ends += [{**place, "why": why} for why in own["why"]]
    return pd.DataFrame(rows), pd.DataFrame(ends)


def _visited(start: int, units: Iterable[Any]) -> list[int]:
    """The units on a path, the one it begins in first; hops inside of a unit do not count."""
    found = [start]
    for unit in units:
        if int(unit) != found[-1]:
            found.append(int(unit))
    return found


def _followed(visited: Sequence[Sequence[int]], chain: Sequence[int]) -> dict[str, float]:
    return {
        "recovered": float(all(list(units) == list(chain) for units in visited)),
        "origin": float(all(chain[-1] in units for units in visited)),
        "first": float(all(list(units[:2]) == list(chain[:2]) for units in visited)),
    }


def rule_scores(traces: Sequence[Trace]) -> pd.DataFrame:
    """The scores of `RULES`, in the columns of :func:`chain_scores`."""
    rows = []
    for trace in traces:
        lines = trace.prompt.splitlines()
        texts = {i - len(lines): line for i, line in enumerate(lines)}
        texts |= {i: step.text for i, step in enumerate(trace.steps)}
        for chain in trace.meta["chains"]:
            units, said = chain["units"], chain["number"]
            having = [u for u, text in texts.items() if u <= units[0] and stands_in(text, said)]
            for rule, way in zip(RULES, (having[::-1], [units[0], having[0]]), strict=True):
                place = {"id": trace.id, "length": len(units) - 1, "heads": "", "draw": 0}
                rows.append({**place, "score": rule, **_followed([way], units)})
    return pd.DataFrame(rows)


def path_table(chains: pd.DataFrame) -> pd.DataFrame:
    """Shares of chains, means over traces, by length.

    Returns:
        length, score ("path" or a rule), heads, and for each of `VALUES` the share, its limits
        (``…_lo``, ``…_hi``); n_traces, draws (of random heads).
    """
    rows = []
    for (length, *key), own in chains.groupby(["length", *KEY], sort=True):
        row: dict[str, Any] = {"length": length, **dict(zip(KEY, key, strict=True))}
        for value in VALUES:
            grid = grid_of(own[value], own["id"], own["draw"])
            found = proportion_of(grid, random_draws=is_control(str(row["heads"])))
            lo, hi = found.interval()
            row |= {value: found.value, f"{value}_lo": lo, f"{value}_hi": hi}
        rows.append({**row, "n_traces": found.clusters, "draws": found.draws})
    table = pd.DataFrame(rows)
    order = table["heads"].map(lambda name: [TOP, *reversed(CONTROL_KINDS), ""].index(name))
    return (
        table.assign(order=order)
        .sort_values(["length", "order"], kind="stable", ignore_index=True)
        .drop(columns="order")
    )


def _end_shares(ends: pd.DataFrame) -> pd.DataFrame:
    """length, heads, why, share of the tokens whose path ends so (mean over draws)."""
    share = ends.groupby(["length", "heads"])["why"].value_counts(normalize=True)
    return share.rename("share").reset_index()


def path_claims(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Claims from the tables of :func:`path_report`, as `statistics.verdicts.claims_table`."""
    return claims_table(_claims(tables["paths"], tables["contrasts"]))


def _claims(table: pd.DataFrame, contrasts: pd.DataFrame) -> Iterator[Claim]:
    words = {"recovered": "whole", "origin": "to the origin", "first": "for one hop"}
    for row in table[table["heads"] == TOP].to_dict("records"):
        for value, how in words.items():
            hops = f"chains of {row['length']} hop{'s' if row['length'] > 1 else ''}"
            said = f"{hops} are followed {how} by the critical heads more often than by"
            share = number(row, value, f"{value}_")
            same = (contrasts["length"] == row["length"]) & (contrasts["value"] == value)
            for rival in contrasts[same].to_dict("records"):
                kind = str(rival["against_heads"])
                if value == "origin" and not kind:
                    continue  # a rule that goes by the number alone comes by all that have it
                by = CONTRASTED_WORDS.get(kind) or f"the rule of the {rival['against']}"
                evidence = f"{share}, difference {number(rival, 'diff', form='+.2f')}"
                yield greater(f"{said} {by}", rival, evidence, value="diff")
