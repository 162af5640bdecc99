"""``airlens report``: one HTML page about a scored folder and a selection from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .model_options import ModelOptions, loads_model
from .options import (
    AsJson,
    Quiet,
    ScoredFolder,
    Seed,
    Within,
    echo_json,
    group_column,
    out_file,
    top_option,
)

if TYPE_CHECKING:
    from airlens.corpus.run_folder import RunFolder


@loads_model(default=None, text="For the map; default: the run's own.")
def report(
    folder: ScoredFolder,
    by: Annotated[str, typer.Option(help="The selector that the page is about.")] = "ais",
    top: Annotated[Any, top_option("Kept of each group: a share (0.2, 20%) or how many.")] = "20%",
    within: Within = "domain",
    out: Annotated[Path | None, out_file("The page (default: FOLDER/report.html).")] = None,
    embed: Annotated[
        bool, typer.Option("--map/--no-map", help="Draw the map of samples (loads the model).")
    ] = True,
    *,
    model_options: ModelOptions,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page: scores by domain, AIS against length, overlap of selectors, samples."""
    from airlens.corpus.run_folder import RunFolder
    from airlens.files import need_out_file
    from airlens.views.reports.corpus_page import corpus_report

    run = RunFolder(folder)
    out = need_out_file(out or folder / "report.html")
    _check(run, by, group_column(within))
    page = corpus_report(
        run,
        by=by,
        top=top,
        within=group_column(within),
        seed=seed,
        model=_model(run, model_options) if embed and run.has("rows") else None,
        progress=not (quiet or json),
    )
    written = page.write(out)
    if json:
        echo_json({"report": str(written)})
        return
    typer.echo(f"report: {written.resolve()}")


def _check(run: RunFolder, by: str, within: str | None) -> None:
    """Raise where the first part shows that the samples cannot be ranked so."""
    from airlens.selection.select import select

    first = next(run.iter_table("parts"), None)
    if first is not None:
        select(first, by, within=within)


def _model(run: RunFolder, options: ModelOptions) -> Any:
    from airlens.errors import ConfigError

    wanted = options.name or run.manifest().get("model_source")
    if not wanted:
        raise ConfigError("which model scored this is not known: name it with --model, or --no-map")
    return options.named(str(wanted)).load()
