"""Lookup and continuation heads: who they are, and what changes when only one kind is ablated.

    python benchmarks/lookup_heads.py MODEL --out runs/lookup-heads/MODEL --table TABLES

The top 5 % by the whole answer (average), by its first token (lookup) and by the later ones
(continuation): what they share with each other and with induction, QRHead and causal heads; what is
still copied without them, of first and of later tokens; AIS and AIS of novel tokens of planted
steps; and sources of planted traces. Each set stands beside random heads of the same layers and
from anywhere. Accuracy on GSM8K without them is `heads_off.py`.

What is finished is kept in ``--out``: the same command goes on where it was stopped. ``--only``
runs some of the parts, and the tables are of what was run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

import airlens as al
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import all_predictions
from airlens.experiments.validity.auroc_tables import cells, is_control, one_of, score_values
from airlens.experiments.validity.benchmark import head_groups
from airlens.experiments.validity.planted import Validation, validate
from airlens.experiments.validity.true_sources.head_contrasts import contrast_table
from airlens.experiments.validity.true_sources.source_report import source_report
from airlens.folders import kept, kept_table, write_tables
from airlens.heads import TOP_SHARE, HeadScores, HeadSet
from airlens.provenance import fingerprint, model_info, provenance
from airlens.statistics.auroc import auroc_difference
from airlens.statistics.grids import grid_of, proportion_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PARTS = ("agreement", "copying", "planted", "sources")
SETS = {"average": None, "lookup": "lookup", "continuation": "continuation"}
OTHERS = ("induction", "qrhead")
AIR = ("ais", "ais_novel", "delta")


class Run:
    """The model, the sets of heads, and where finished things are kept."""

    def __init__(self, model: TransformerBridge, args: argparse.Namespace) -> None:
        self.model, self.args = model, args
        self.home: Path = args.out
        self.draws = {"same_layers": args.draws, "random": args.draws}
        self.probes = self.key_value(args.probes, args.seed)
        self.scores = self.scored("retrieval", self.probes)
        self.sets: dict[str, HeadSet] = {
            name: HeadSet(tuple(sorted(self.scores.top(TOP_SHARE, part=part))), name)
            for name, part in SETS.items()
        }

    def of(self, what: str, heads: HeadSet) -> Path:
        """Where a measurement of a set of heads is kept; sets with the same heads share it."""
        return self.home / f"{what}-{fingerprint({'heads': heads.names()})}"

    def key_value(self, n: int, seed: int) -> ProbeSet:
        """Key-value probes of this model's tokenizer."""
        tokens = self.args.tokens
        return al.key_value_probes(self.model.tokenizer, n=n, max_tokens=tokens, seed=seed)

    def scored(self, detector: str, probes: ProbeSet) -> HeadScores:
        """Scores of a detector."""
        of = {"model": model_info(self.model), "probes": probes.hash, "detector": detector}
        return kept(
            self.home / f"scores-{fingerprint(of)}.json",
            lambda: al.detect(self.model, probes, detector),
            HeadScores.load,
            HeadScores.save,
        )


def agreement(run: Run) -> dict[str, pd.DataFrame]:
    """What the sets share with each other and with those of other detectors."""
    found = {name: run.scores.of_part(part) for name, part in SETS.items()}
    found |= {name: run.scored(name, run.probes) for name in OTHERS}
    if few := run.args.causal_probes:  # a pass for each head and probe
        found["causal"] = run.scored("causal", run.key_value(few, run.args.seed))
    return {"heads": run.scores.to_frame(), "agreement": al.agreement(found)}


def copying(run: Run) -> dict[str, pd.DataFrame]:
    """Accuracy of first and of later answer tokens on fresh probes, with each set ablated.

    Returns:
        "copying": set, part, heads (its own: "top", or of its controls), accuracy, lo, hi, n
        (probes), draws. "copying_contrasts": accuracy with the set ablated less that of rivals, see
        :func:`.head_contrasts.contrast_table`.
    """
    probes = run.key_value(run.args.probes, run.args.seed + 1)
    base = _answered(run, probes, HeadSet(()))
    own = {name: _answered(run, probes, heads) for name, heads in run.sets.items()}
    parts = []
    for name, heads in run.sets.items():
        for kind, chosen, draw in head_groups(run.model, heads, run.draws, run.args.seed):
            right = _answered(run, probes, chosen)
            score = "copied" if kind == "top" else "random heads"
            parts.append(right.assign(set=name, score=score, heads=kind, draw=draw))
        others = {"nothing ablated": base} | {k: v for k, v in own.items() if k != name}
        for rival, right in others.items():
            parts.append(right.assign(set=name, score=rival, heads="", draw=0))
    rows = pd.concat(parts, ignore_index=True)
    table = []
    for (name, part, score, heads), some in rows.groupby(
        ["set", "part", "score", "heads"], sort=False
    ):
        if heads or score == "nothing ablated":
            grid = grid_of(some["right"], some["id"], some["draw"])
            share = proportion_of(grid, random_draws=is_control(heads))
            lo, hi = share.interval()
            place = {"set": name, "part": part, "heads": heads or score}
            counts = {"n": share.clusters, "draws": share.draws}
            table.append({**place, "accuracy": share.value, "lo": lo, "hi": hi, **counts})
    contrasts = contrast_table(rows, ["set", "part"], ["id"], "right")
    return {"copying": pd.DataFrame(table), "copying_contrasts": contrasts}


def _answered(run: Run, probes: ProbeSet, heads: HeadSet) -> pd.DataFrame:
    """Of each probe (id) and part, right: whether the first token is, the share of the later."""
    of = {"model": model_info(run.model), "probes": probes.hash, "heads": sorted(heads.names())}

    def answer() -> pd.DataFrame:
        with al.ablated(run.model, heads, "uniform"):
            predicted = all_predictions(run.model, list(probes))
        rows = []
        for probe, (right, _) in zip(probes, predicted, strict=True):
            rows.append((probe.id, "first", float(right[0])))
            rows.append((probe.id, "later", float(right[1:].float().mean())))
        return pd.DataFrame(rows, columns=["id", "part", "right"])

    return kept_table(run.home / "copying" / f"{fingerprint(of)}.parquet", answer)


def planted(run: Run) -> dict[str, pd.DataFrame]:
    """The planted benchmark with each set as the critical heads, on the same planted steps."""
    traces = list(al.load_traces(al.data_path("traces.jsonl")))
    found = {
        name: validate(
            run.model, traces, heads, n=run.args.n, modes=("uniform",), draws=run.draws,
            seed=run.args.seed, folder=run.of("planted", heads),
        )
        for name, heads in run.sets.items()
    }  # fmt: skip
    tables = {
        "planted": {name: one.auroc for name, one in found.items()},
        "planted_equal_loss": {name: one.auroc_equal_loss for name, one in found.items()},
        "planted_controls": {name: one.differences for name, one in found.items()},
    }
    joined = {name: _joined(parts) for name, parts in tables.items()}
    return {**joined, "planted_sets": pd.DataFrame(_against(found))}


def _against(found: Mapping[str, Validation]) -> Iterator[dict[str, object]]:
    """AUROC of each set less that of each other one, of the same steps."""
    measured = {name: one.measured for name, one in found.items()}
    by_set = {}
    for name, one in measured.items():
        values = score_values(one)
        values = values[(values["heads"] == "top") & values["score"].isin(AIR)]
        by_set[name] = {(kind, key[0]): cell for kind, key, cell in cells(values, one.items)}
    for one, other in combinations(found, 2):
        for (kind, score), cell in by_set[one].items():
            rival = by_set[other][kind, score]
            both = [source for source in cell.sources if source in set(rival.sources)]
            sides = [one_of(side, both).wins() for side in (cell, rival)]
            gap = auroc_difference(*sides)
            lo, hi = gap.interval()
            yield {
                "set": one, "against": other, "kind": kind, "score": score,
                "auroc": gap.first.value, "auroc_against": gap.second.value,
                "difference": gap.value, "lo": lo, "hi": hi, "p": gap.p(), "n": gap.clusters,
            }  # fmt: skip


def sources(run: Run) -> dict[str, pd.DataFrame]:
    """Sources of planted traces by each set."""
    tables: dict[str, dict[str, pd.DataFrame]] = {}
    for name, heads in run.sets.items():
        report = source_report(
            run.model, heads, n=run.args.sources, draws=run.draws, seed=run.args.seed,
            folder=run.of("sources", heads),
        )  # fmt: skip
        for table in ("planted", "planted_contrasts"):
            tables.setdefault(table.replace("planted", "sources"), {})[name] = report.tables[table]
    return {name: _joined(parts) for name, parts in tables.items()}


def _joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of the sets below each other, the set as the first column."""
    named = []
    for name, table in parts.items():
        named.append(table.copy())
        named[-1].insert(0, "set", name)
    return pd.concat(named, ignore_index=True)


def main() -> None:
    """Measure, or go on measuring, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=Path("runs/lookup-heads"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--probes", type=int, default=24)
    parser.add_argument("--causal-probes", type=int, default=2, help="0: not compared with causal")
    parser.add_argument("--tokens", type=int, default=640, help="of a probe, at most")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--n", type=int, default=48, help="traces with planted steps")
    parser.add_argument("--sources", type=int, default=72, help="traces with planted sources")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run(al.load_model(args.model, dtype=args.dtype), args)
    tables: dict[str, pd.DataFrame] = {}
    for part in (agreement, copying, planted, sources):
        if part.__name__ in args.only:
            began = time.process_time()
            tables |= part(run)
            print(f"{part.__name__}: {time.process_time() - began:.0f} s of CPU", flush=True)
    if "heads" in tables:
        figure = al.figures.head_parts(tables["heads"])
        figure.write_html(args.out / "head_parts.html")
    for name in ("agreement", "copying", "planted_sets"):
        if name in tables:
            print(tables[name].round(3).to_string(index=False), flush=True)
    if args.table:
        whole = run.scores.copy_accuracy, run.scores.parts["lookup"].copy_accuracy
        note = provenance(
            run.model, file=Path(args.model).name, probes=run.probes.info(), n=args.n,
            sources=args.sources, draws=args.draws, seed=args.seed, mode="uniform",
            heads={name: heads.names() for name, heads in run.sets.items()},
            copy_accuracy=whole[0], first_token_accuracy=whole[1],
        )  # fmt: skip
        print(write_tables(args.table, tables, note))


if __name__ == "__main__":
    main()
