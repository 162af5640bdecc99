"""``airlens report``: see what a scored folder holds and what a selection of it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import AsJson, Seed, echo_json


def report(
    folder: Annotated[Path, typer.Argument(help="A folder written by `airlens score`.")],
    by: Annotated[str, typer.Option(help="The selector that is looked at.")] = "ais",
    top: Annotated[float, typer.Option(help="Share that is kept.")] = 0.2,
    within: Annotated[str, typer.Option(help="Rank within: domain, or none.")] = "domain",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Write one HTML page: scores by domain, AIS against length, overlap of selectors, samples."""
    from .corpus_report import corpus_report
    from .parts import RunFolder

    group = None if within in ("none", "") else within
    page = corpus_report(RunFolder(folder), by=by, top=top, within=group, seed=seed)
    written = page.write(out or folder / "report.html")
    if json:
        echo_json({"report": str(written)})
        return
    typer.echo(f"report: {written.resolve()}")
