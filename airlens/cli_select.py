"""``airlens select``: choose samples of a scored folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import AsJson, Seed, echo_json


def select(
    folder: Annotated[Path, typer.Argument(help="A folder written by `airlens score`.")],
    by: Annotated[
        str, typer.Option(help="ais, delta, random, length, shortest, loss, …, or a column.")
    ] = "ais",
    top: Annotated[float | None, typer.Option(help="Share that is kept, in (0, 1].")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Number kept of each group.")] = None,
    within: Annotated[str, typer.Option(help="Rank within: domain, or none.")] = "domain",
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON lines with the chosen.")] = Path(
        "selected.jsonl"
    ),
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Choose the best samples by a score and write them as JSON lines, best first."""
    from .errors import ConfigError
    from .export import write_selection
    from .parts import RunFolder
    from .selection import TOP, select

    if top is not None and k is not None:
        raise ConfigError("give --top or -k, not both")
    run = RunFolder(folder)
    group = None if within in ("none", "") else within
    chosen = select(run.read(), by, k or top or TOP, within=group, seed=seed)
    written = write_selection(run, chosen, out)
    summary = {"chosen": len(chosen.chosen), "of": len(chosen.samples), "out": str(written)}
    if json:
        echo_json(
            {**summary, "by": by, "domains": chosen.chosen["domain"].value_counts().to_dict()}
        )
        return
    typer.echo(f"{summary['chosen']} of {summary['of']} samples chosen by {by}: {written}")
