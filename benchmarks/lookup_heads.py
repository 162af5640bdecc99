"""Lookup and continuation heads: who they are, and what changes when only one kind is ablated.

    python benchmarks/lookup_heads.py MODEL --out runs/lookup-heads/MODEL --table TABLES

The top 5 % by the whole answer (average), by its first token (lookup) and by the later ones
(continuation): what they share with each other and with induction, QRHead and causal heads; what is
still copied without them, of first and of later tokens; AIS and AIS of novel tokens of planted
steps; and sources of planted traces. Each set stands beside random heads of the same layers and
from anywhere; what is decided of all this is in the table "claims". Accuracy on GSM8K without them
is `heads_off.py`.

What is finished is kept in ``--out``: the same command goes on where it was stopped. ``--only``
runs some of the parts, and the tables are of what was run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lookup_claims import SETS, lookup_claims

import airlens as al
from airlens.detectors.probes import ProbeSet
from airlens.detectors.retrieval import all_predictions
from airlens.experiments.validity.auroc_tables import cells, common, is_control, score_values
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
OTHERS = ("induction", "qrhead")
AIR = ("ais", "ais_novel", "delta")
# Every table that a part may write: those of parts that were not run do not stay beside the others.
WRITTEN = (
    "heads", "agreement", "copying", "copying_contrasts", "planted", "planted_equal_loss",
    "planted_controls", "planted_sets", "sources", "sources_contrasts", "sources_sets", "claims",
)  # fmt: skip


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

    @property
    def distinct(self) -> dict[str, HeadSet]:
        """The sets, of those with the same heads the first."""
        first = {heads.heads: name for name, heads in reversed(self.sets.items())}
        return {name: heads for name, heads in self.sets.items() if first[heads.heads] == name}

    def of(self, what: str, heads: HeadSet) -> Path:
        """Where a measurement of a set of heads is kept; sets with the same heads share it."""
        of = {"heads": heads.names(), "draws": self.draws, "seed": self.args.seed}
        return self.home / f"{what}-{fingerprint(of)}"

    def key_value(self, n: int, seed: int) -> ProbeSet:
        """Key-value probes of this model's tokenizer."""
        tokens = self.args.tokens
        return al.key_value_probes(self.model.tokenizer, n=n, max_tokens=tokens, seed=seed)

    def copy_probes(self) -> ProbeSet:
        """Fresh probes, others than those that the sets were found on."""
        return self.key_value(self.args.copy_probes, self.args.seed + 1)

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
    probes = run.copy_probes()
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
    if len(run.distinct) > 1:
        compared = _planted_sets({name: found[name] for name in run.distinct})
        joined["planted_sets"] = pd.DataFrame(compared)
    return joined


def _planted_sets(found: Mapping[str, Validation]) -> Iterator[dict[str, object]]:
    """AUROC of each set less that of each other one, of the same steps."""
    measured = {name: one.measured for name, one in found.items()}
    by_set = {}
    for name, one in measured.items():
        values = score_values(one)
        values = values[(values["heads"] == "top") & values["score"].isin(AIR)]
        by_set[name] = {(kind, key[0]): cell for kind, key, cell in cells(values, one.items)}
    for one, other in combinations(found, 2):
        for (kind, score), cell in by_set[one].items():
            gap = auroc_difference(*(c.wins() for c in common(cell, by_set[other][kind, score])))
            lo, hi = gap.interval()
            yield {
                "set": one, "against": other, "kind": kind, "score": score,
                "auroc": gap.first.value, "auroc_against": gap.second.value,
                "difference": gap.value, "lo": lo, "hi": hi, "p": gap.p(), "n": gap.clusters,
            }  # fmt: skip


def sources(run: Run) -> dict[str, pd.DataFrame]:
    """Sources of planted traces by each set."""
    found = {
        name: source_report(
            run.model, heads, n=run.args.sources, draws=run.draws, seed=run.args.seed,
            folder=run.of("sources", heads),
        )
        for name, heads in run.sets.items()
    }  # fmt: skip
    tables = {
        f"sources{ending}": _joined(
            {name: one.tables[f"planted{ending}"] for name, one in found.items()}
        )
        for ending in ("", "_contrasts")
    }
    if len(run.distinct) > 1:
        uses = {name: found[name].measured["uses"] for name in run.distinct}
        tables["sources_sets"] = _source_sets(uses)
    return tables


def _source_sets(uses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AUROC of true sources by each set less that by each other one, of the same uses."""
    own: dict[str, pd.DataFrame] = {}
    for name, one in uses.items():
        top = one[one["heads"] == "top"].rename(columns={"score": "measure"})
        in_steps = top[top["distance"] != "prompt"].assign(distance="all")
        own[name] = pd.concat([in_steps, top], ignore_index=True)
    parts = []
    for name, other in combinations(own, 2):
        rival = own[other].assign(score=other, heads="")
        rows = pd.concat([own[name].assign(score=name), rival], ignore_index=True)
        parts.append(contrast_table(rows, ["measure", "distance"], ["id", "step"]))
    renamed = {"score": "set", "diff": "difference"}
    dropped = ["value", "against_heads", "draws"]
    return pd.concat(parts, ignore_index=True).rename(columns=renamed).drop(columns=dropped)


def _joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of the sets below each other, the set as the first column."""
    named = []
    for name, table in parts.items():
        named.append(table.copy())
        named[-1].insert(0, "set", name)
    return pd.concat(named, ignore_index=True)


def write_only(folder: Path, tables: Mapping[str, pd.DataFrame], note: Mapping[str, Any]) -> Path:
    """Write these tables; those that an earlier run wrote of other parts do not stay."""
    for name in WRITTEN:
        (folder / f"{name}.csv").unlink(missing_ok=True)
    return write_tables(folder, tables, note)


def main() -> None:
    """Measure, or go on measuring, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=Path("runs/lookup-heads"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--probes", type=int, default=24)
    parser.add_argument("--copy-probes", type=int, default=24, help="fresh ones, for copying")
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
    if tables.keys() & {"copying", "planted", "sources"}:
        tables["claims"] = lookup_claims(tables, run.distinct)
    for name in ("agreement", "copying", "planted_sets", "claims"):
        if name in tables:
            print(tables[name].round(3).to_string(index=False), flush=True)
    if args.table:
        whole = run.scores.copy_accuracy, run.scores.parts["lookup"].copy_accuracy
        note = provenance(
            run.model, file=Path(args.model).name, parts=list(args.only), probes=run.probes.info(),
            causal_probes=args.causal_probes, copy_probes=run.copy_probes().info(), n=args.n,
            sources=args.sources, draws=args.draws, seed=args.seed, mode="uniform",
            heads={name: heads.names() for name, heads in run.sets.items()},
            copy_accuracy=whole[0], first_token_accuracy=whole[1],
        )  # fmt: skip
        print(write_only(args.table, tables, note))


if __name__ == "__main__":
    main()
