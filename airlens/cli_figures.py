"""``airlens figures``: the papers' figures at our scale, as files for print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import AsJson, Device, Dtype, Model, Quiet, Seed, echo_json


def figures(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path(
        "reports/figures"
    ),
    model: Model = "smollm2-135m",
    formats: Annotated[str, typer.Option(help="Of png, svg, pdf.")] = "png,svg,pdf",
    probes: Annotated[int, typer.Option(min=1, help="Probes that find the heads.")] = 12,
    max_tokens: Annotated[int, typer.Option(help="Longest probe, in tokens.")] = 840,
    traces: Annotated[int, typer.Option(min=1, help="Traces scored in each domain.")] = 16,
    mode: Annotated[str, typer.Option(help="uniform, zero or mean.")] = "uniform",
    study: Annotated[
        Path | None, typer.Option(help="Runs of benchmarks/selection_study.py; default: bundled.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make every figure of the papers from a model and bundled traces, and write them as files.

    Needs kaleido (`pip install 'airlens[export]'`) and a Chromium. Minutes on a CPU.
    """
    from .demo import DemoSize, run_demo
    from .figure_files import check_export, save_figures
    from .model import load_model
    from .paper_figures import PAPER_FIGURES, make_figures, study_runs

    check_export()
    runs = study_runs(study)
    bridge = load_model(model, device=device, dtype=dtype)
    size = DemoSize(
        probes=probes,
        probe_tokens=max_tokens,
        curve_tokens=min(DemoSize.curve_tokens, max_tokens),
        traces_per_domain=traces,
    )
    result = run_demo(
        bridge,
        size=size,
        mode=mode,  # type: ignore[arg-type]
        seed=seed,
        progress=not (quiet or json),
    )
    made = make_figures(result, runs)
    written = save_figures(made, out, formats=formats.split(","))
    left_out = [figure.name for figure in PAPER_FIGURES if figure.name not in made]
    if json:
        record = {"written": [str(p) for p in written], "left_out": left_out}
        echo_json({**record, "provenance": result.provenance})
        return
    for path in written:
        typer.echo(str(path))
    for name in left_out:
        typer.echo(f"left out: {name} (no runs of benchmarks/selection_study.py)")
