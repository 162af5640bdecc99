"""``airlens page``: traces, steps, heads and sources as one interactive HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .data_options import DataOptions, reads_data
from .model_options import ModelOptions, loads_model
from .options import (
    AsJson,
    Controls,
    Heads,
    Mode,
    Quiet,
    Seed,
    Template,
    Think,
    echo_json,
    find_heads,
    out_file,
    traces_option,
)

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.heads import HeadSet
    from airlens.step_influence.settings import ScoreSettings
    from airlens.traces.trace import Trace


@loads_model()
@reads_data(limit=12, limit_names=("--limit", "--n", "-n"))
def page(
    traces: Annotated[
        str, traces_option("Traces: a file, a folder or a hub name (default: bundled ones).")
    ] = "",
    out: Annotated[Path, out_file("The page.")] = Path("page.html"),
    heads: Heads = "",
    mode: Mode = "uniform",
    controls: Controls = 3,
    knockout: Annotated[
        bool,
        typer.Option(
            "--knockout",
            help="Measure each source's effect on the loss and on what is predicted (KL) too (a "
            "partial pass per source).",
        ),
    ] = False,
    single_heads: Annotated[
        bool,
        typer.Option(
            "--single-heads",
            help="Ablate each of the heads alone too, for the map of heads and steps.",
        ),
    ] = False,
    early_answers: Annotated[
        bool,
        typer.Option(
            "--early-answers",
            help="Ask each trace for its answer after every step: the answers it would give.",
        ),
    ] = False,
    fewer_heads: Annotated[
        bool,
        typer.Option(
            "--fewer-heads",
            help="Ablate each head alone and the strongest 2, 4, 8, … too: a slider on the page.",
        ),
    ] = False,
    tour: Annotated[
        bool,
        typer.Option(
            "--tour", help="Tell the finding, its source and its control in a few clicks."
        ),
    ] = False,
    *,
    data_options: DataOptions,
    template: Template = "auto",
    think: Think = "auto",
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
    model_options: ModelOptions,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write one interactive page to share: click a step to see which text the heads fetch it from.

    The file opens from disk without a network and without Python: coloured text, steps beside
    random heads, sources as arcs and as a matrix, the map of heads, the traces as a table. Its
    address holds what is shown: send page.html#trace=3&step=12.
    """
    from airlens.files import data_path
    from airlens.heads import HeadScores
    from airlens.step_influence.early_answers import early_answers as measure_answers
    from airlens.step_influence.head_subsets import head_subsets
    from airlens.step_influence.influence import score_traces
    from airlens.step_influence.settings import ScoreSettings
    from airlens.step_sources import sources
    from airlens.step_sources.source_measures import Measure
    from airlens.views.page import page as write_page

    chosen = data_options.traces(traces or data_path("traces.jsonl"))
    kept = HeadScores.load(heads) if heads and Path(heads).is_file() else None
    bridge = model_options.load()
    progress = not (quiet or json)
    scores, critical = find_heads(bridge, heads, seed=seed, progress=progress)
    settings = ScoreSettings(
        mode=mode,
        controls=controls,
        seed=seed,
        template=template,  # type: ignore[arg-type]
        think=think,  # type: ignore[arg-type]
    )
    result = score_traces(bridge, chosen, critical, settings, progress=progress)
    measures: list[Measure] = ["copies", "attention", *(["knockout"] if knockout else [])]  # type: ignore[list-item]
    origins = sources(
        bridge,
        chosen,
        critical,
        measures=measures,
        kl=knockout,
        controls=settings.controls,
        control=settings.control,
        seed=settings.seed,
        template=settings.template,
        think=settings.think,
        long=settings.long,
        progress=progress,
    )
    alone = _alone(bridge, chosen, critical, settings, progress) if single_heads else None
    given, shared = (bridge, chosen, critical), {**settings.shared(), "progress": progress}
    known = scores or kept
    written = write_page(
        result,
        origins,
        chosen,
        known,
        out,
        step_heads=alone,
        early=measure_answers(*given, **shared) if early_answers else None,
        subsets=head_subsets(*given, **shared) if fewer_heads else None,
        story="auto" if tour else None,
        title=title or None,
    )
    if json:
        note = result.provenance
        echo_json({"page": str(written), "traces": len(chosen), "provenance": note})
        return
    typer.echo(f"page: {written.resolve()} ({written.stat().st_size / 1e6:.1f} MB)")


def _alone(
    bridge: TransformerBridge,
    traces: list[Trace],
    heads: HeadSet,
    settings: ScoreSettings,
    progress: bool,
) -> pd.DataFrame:
    """Each head alone on each trace: one row per trace, head and step."""
    import pandas as pd
    from tqdm.auto import tqdm

    from airlens.step_influence.single_heads import by_step, single_heads

    parts = []
    for trace in tqdm(traces, desc="single heads", unit="trace", disable=not progress):
        tokens = single_heads(
            bridge,
            trace,
            heads,
            mode=settings.mode,
            template=settings.template,
            think=settings.think,
        )
        parts.append(by_step(tokens).assign(id=trace.id))
    return pd.concat(parts, ignore_index=True)
