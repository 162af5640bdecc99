"""``airlens demo``: the whole method on a real model, and a report to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from .model_options import ModelOptions, loads_model
from .options import AsJson, Mode, Quiet, Seed, TracesPerDomain, echo_json, out_file


@loads_model()
def demo(
    out: Annotated[Path, out_file("The report.")] = Path("reports/demo.html"),
    page: Annotated[
        Path | None,
        out_file("The interactive page (default: page.html beside the report).", "--page"),
    ] = None,
    *,
    model_options: ModelOptions,
    traces: TracesPerDomain = 16,
    mode: Mode = "uniform",
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run AIR end to end on bundled traces: a report, and a page to click in (minutes on a CPU)."""
    from airlens.errors import ConfigError
    from airlens.files import need_out_file
    from airlens.views.page import page as write_page
    from airlens.views.reports.demo_page import demo_report
    from airlens.views.reports.demo_results import DemoSize, demo_sources, run_demo

    page = page or need_out_file(out.with_name("page.html"), "page")
    if page.resolve() == out.resolve():
        raise ConfigError(f"report and page cannot both be {out}: name one with --out or --page")

    def say(text: str) -> None:
        if not (json or quiet):
            typer.echo(text, err=True)

    say(f"0/5 loading {model_options.name}")
    bridge = model_options.load()
    result = run_demo(
        bridge,
        size=DemoSize(traces_per_domain=traces),
        mode=mode,
        seed=seed,
        progress=not (quiet or json),
        say=say,
    )
    demo_report(result, _address(page, out)).write(out)
    say("5/5 measuring the sources of steps, and writing the page")
    some, found = demo_sources(bridge, result, seed=seed, progress=not (quiet or json))
    report = _address(out, page)
    write_page(result.influence, found, some, result.scores, page, report=report, story="auto")
    summary = result.summary()
    if json:
        files = {"report": str(out), "page": str(page)}
        echo_json({**summary, **files, "provenance": result.provenance})
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        typer.echo(f"  {name:<{width}}  {text}")
    typer.echo(f"report: {out.resolve()}\npage to click in: {page.resolve()}")
    typer.echo("your own traces: airlens app (make app), or airlens page --traces FILE")


def _address(of: Path, seen_from: Path) -> str:
    """The address of a file in a link of another."""
    return quote(Path(os.path.relpath(of.resolve(), seen_from.resolve().parent)).as_posix())
