"""``airlens figures``: the papers' figures at our scale, as files for print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import checks
from .model_options import ModelOptions, loads_model
from .options import AsJson, MaxTokens, Mode, Quiet, Seed, TracesPerDomain, echo_json, out_folder


@loads_model()
def figures(
    out: Annotated[Path, out_folder("Folder for the files.")] = Path("reports/figures"),
    *,
    model_options: ModelOptions,
    formats: Annotated[
        str,
        typer.Option(
            parser=checks.several(checks.choice("png", "svg", "pdf")),
            metavar="NAMES",
            help="Of png, svg, pdf.",
        ),
    ] = "png,svg,pdf",
    probes: Annotated[int, typer.Option(min=1, help="Probes that find the heads.")] = 12,
    max_tokens: MaxTokens = 840,
    traces: TracesPerDomain = 16,
    mode: Mode = "uniform",
    tiny_steps: Annotated[
        int, typer.Option(min=1, help="Training steps of the tiny transformer whose heads emerge.")
    ] = 1500,
    study: Annotated[
        Path | None,
        typer.Option(
            parser=checks.in_file,
            metavar="FILE",
            help="Runs of benchmarks/selection_study.py; default: bundled.",
        ),
    ] = None,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make every figure of the papers from a model and bundled traces, and write them as files.

    A README.md beside them says what the paper shows and whether our figure agrees. Needs kaleido
    (`pip install 'airlens[export]'`) and a Chromium. Some ten minutes on a CPU.
    """
    from airlens.experiments.emergence import TinySettings
    from airlens.experiments.paper.measurements import PaperSize, measure_paper, thirds
    from airlens.experiments.paper.reproductions import captions, make_figures, study_runs
    from airlens.files import atomic_write_text
    from airlens.views.figures.image_files import check_export, save_figures
    from airlens.views.reports.demo_results import DemoSize

    check_export()
    runs = study_runs(study)
    bridge = model_options.load()
    demo = DemoSize(
        probes=probes,
        probe_tokens=max_tokens,
        curve_tokens=max_tokens,
        traces_per_domain=traces,
    )
    data = measure_paper(
        bridge,
        size=PaperSize(demo, thirds(max_tokens), tiny=TinySettings(steps=tiny_steps)),
        mode=mode,
        seed=seed,
        runs=runs,
        progress=not (quiet or json),
    )
    written = save_figures(make_figures(data), out, formats=formats.split(","))
    written.append(out / "README.md")
    atomic_write_text(written[-1], captions(data))
    if json:
        echo_json({"written": [str(p) for p in written], "provenance": data.provenance})
        return
    for path in written:
        typer.echo(str(path))
