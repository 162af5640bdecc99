"""``airlens demo``: the whole method on a real model, and a report to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Device, Dtype, Mode, Model, Quiet, Seed, TracesPerDomain, echo_json


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The report.")] = Path(
        "reports/demo.html"
    ),
    model: Model = "smollm2-135m",
    traces: TracesPerDomain = 16,
    mode: Mode = "uniform",
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run AIR end to end on bundled traces and write one HTML report (minutes on a CPU)."""
    from airlens.model import load_model
    from airlens.reports.demo_page import demo_report
    from airlens.reports.demo_results import DemoSize, run_demo

    def say(text: str) -> None:
        if not (json or quiet):
            typer.echo(text, err=True)

    say(f"0/4 loading {model}")
    bridge = load_model(model, device=device, dtype=dtype)
    result = run_demo(
        bridge,
        size=DemoSize(traces_per_domain=traces),
        mode=mode,
        seed=seed,
        progress=not (quiet or json),
        say=say,
    )
    demo_report(result).write(out)
    summary = result.summary()
    if json:
        echo_json({**summary, "report": str(out), "provenance": result.provenance})
        return
    width = max(map(len, summary))
    for name, value in summary.items():
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        typer.echo(f"  {name:<{width}}  {shown}")
    typer.echo(f"report: {out.resolve()}")
