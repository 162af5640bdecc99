"""Does it pay? Fine-tune on every selection and weighting, and measure held-out problems.

    python benchmarks/selection_study.py --setting controlled
    python benchmarks/selection_study.py --setting controlled --report
    python benchmarks/selection_study.py --setting cpu
    python benchmarks/selection_study.py --setting gsm8k-20
    python benchmarks/selection_study.py --setting gpu --dry-run --device h100

Resumable: scores and finished runs are kept, a rerun does the rest. One row a run in the output;
every arm has one seed before any gets a second. ``controlled``: a pool of known composition, and
problems whose answers are checked (benchmarks/controlled). The others: GSM8K from the folder that
AIRLENS_DATA names, otherwise the bundled arithmetic traces split into pool and test
(benchmarks/gsm8k). ``--dry-run`` says what a study would cost and runs nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from controlled import report as controlled_report
from controlled import runs as controlled_runs
from gsm8k import costs, precision, runs
from gsm8k.settings import SETTINGS, Setting, problems

from airlens.experiments.studies.controlled_study import CONTROLLED_ARMS
from airlens.experiments.studies.study import ARMS, NOVEL_ARMS, arm_named

CONTROLLED = controlled_runs.Controlled()
OUT = Path("data/results/selection_study.parquet")
SCORES = Path("data/results/selection_scores")
CONTROLLED_OUT = Path("data/results/controlled_study/runs.parquet")


def main() -> None:
    """Run what has not been run."""
    args = _arguments()
    if args.setting == CONTROLLED.name:
        if args.report:
            print(controlled_report.report(args.out or CONTROLLED_OUT))
            return
        arms = [arm_named(n, CONTROLLED_ARMS) for n in args.arm] if args.arm else CONTROLLED_ARMS
        setting = replace(CONTROLLED, **_changes(args, ("lr", "steps", "seeds", "epochs")))
        controlled_runs.run_all(setting, arms, args.out or CONTROLLED_OUT, args.work)
        return
    names = ("model", "pool", "test", "steps", "lr", "seeds", "epochs")
    chosen = replace(SETTINGS[args.setting], **_changes(args, names))
    if args.dry_run:
        print(_costs(chosen, args).to_string(index=False))
    elif args.compare_bf16:
        print(precision.loss_curves(chosen).to_string(index=False))
    else:
        known = (*ARMS, *NOVEL_ARMS)
        arms = [arm_named(name, known) for name in args.arm] if args.arm else ARMS
        runs.run_all(chosen, list(arms), args.out or OUT, args.work, args.jobs)


def _costs(setting: Setting, args: argparse.Namespace) -> Any:
    from airlens.model.files import load_hf
    from airlens.traces.encoding import encode_traces

    model, tokenizer = load_hf(setting.model)
    pool, test = problems(setting, tokenizer)
    sizes = [
        sum(len(e.tokens) for e in encode_traces(tokenizer, part, setting.template))
        for part in (pool, test)
    ]
    known = sum(p.numel() for p in model.parameters())
    return costs.cost_table(
        setting,
        n_parameters=args.parameters or known,
        n_vocab=model.config.vocab_size,
        d_model=model.config.hidden_size,
        n_layers=model.config.num_hidden_layers,
        pool_tokens=sizes[0],
        test_tokens=sizes[1],
        test_problems=len(test),
        device=args.device,
    )


def _changes(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {k: getattr(args, k) for k in names if getattr(args, k) is not None}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--setting", choices=[CONTROLLED.name, *SETTINGS], default="cpu")
    parser.add_argument("--out", type=Path, help=f"default: {OUT} or {CONTROLLED_OUT}")
    parser.add_argument("--work", type=Path, default=SCORES, help="folder of scores")
    parser.add_argument("--arm", action="append", help="only this arm (repeatable)")
    parser.add_argument("--model", help="scorer and student")
    parser.add_argument("--pool", type=int, help="problems to select from")
    parser.add_argument("--test", type=int, help="held-out problems")
    parser.add_argument("--epochs", type=int, help="passes over a selection")
    parser.add_argument("--steps", type=int, help="optimizer steps an epoch")
    parser.add_argument("--lr", type=float, help="learning rate")
    parser.add_argument("--seeds", type=int, help="runs of an arm")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, which share the cores")
    parser.add_argument("--report", action="store_true", help="tables of the controlled study")
    parser.add_argument("--dry-run", action="store_true", help="say what it would cost")
    parser.add_argument("--device", choices=costs.DEVICES, default="h100", help="of --dry-run")
    parser.add_argument("--parameters", type=float, help="of a model not at hand, for --dry-run")
    parser.add_argument(
        "--compare-bf16", action="store_true", help="loss curves in fp32 and in bf16 autocast"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
