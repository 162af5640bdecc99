"""``airlens score``: score a corpus into a folder; a stopped run can be continued."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks
from .checks import read_heads
from .data_options import PANEL, DataOptions, reads_data
from .ending import when_interrupted
from .model_options import ModelOptions, loads_model
from .options import (
    AsJson,
    Controls,
    Mode,
    Quiet,
    Seed,
    Template,
    Think,
    data_argument,
    echo_json,
    name_option,
    out_folder,
)

if TYPE_CHECKING:
    from airlens.corpus import Corpus
    from airlens.corpus.run import RunResult
    from airlens.corpus.score_part import CorpusSettings
    from airlens.heads import HeadSet
    from airlens.model.planned_devices import Device


@loads_model()
@reads_data(on_error="skip")
def score(
    data: Annotated[str, data_argument("File, folder, glob or hub data set.")],
    heads: Annotated[
        str,
        typer.Option(
            "--heads",
            parser=checks.heads_text,
            metavar="FILE|NAMES",
            help="heads.json of `airlens heads`, or L18H6,L17H3,…",
        ),
    ],
    out: Annotated[Path, out_folder("Folder for parts, rejects, run.json.")],
    engine: Annotated[str, name_option("local or ray.", "local", "ray")] = "local",
    scope: Annotated[
        str, name_option("response (AIR) or document.", "response", "document")
    ] = "response",
    mode: Mode = "uniform",
    controls: Controls = 1,
    ifd: Annotated[bool, typer.Option("--ifd", help="Score responses without prompt too.")] = False,
    early_answers: Annotated[
        bool,
        typer.Option("--early-answers", help="Ask each trace for its answer after every step."),
    ] = False,
    rivals: Annotated[
        str,
        typer.Option(
            parser=checks.several(checks.choice(*checks.RIVALS), some=False),
            metavar="NAMES",
            help="Scores of rival papers too, by comma: lalp, fai, waad.",
        ),
    ] = "",
    circuit: Annotated[
        str,
        typer.Option(
            "--circuit",
            parser=checks.heads_text,
            metavar="FILE|NAMES",
            help="Heads of a reasoning circuit, for CircuitSeer's score.",
        ),
    ] = "",
    max_rejects: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of bad rows.")
    ] = 0.05,
    tokens: Annotated[bool, typer.Option("--tokens", help="Keep token tables too.")] = False,
    steps: Annotated[bool, typer.Option(help="Keep step tables.")] = True,
    texts: Annotated[bool, typer.Option(help="Keep texts, for select and export.")] = True,
    *,
    data_options: DataOptions,
    stream: Annotated[
        bool, typer.Option("--stream", help="Don't download a hub set.", rich_help_panel=PANEL)
    ] = False,
    template: Template = "auto",
    think: Think = "auto",
    long: Annotated[str, name_option("Over-long rows: stride or cut.", "stride", "cut")] = "stride",
    part_rows: Annotated[int, typer.Option(min=1, help="Rows per part.")] = 256,
    max_tokens_per_batch: Annotated[int | None, typer.Option(min=1)] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="Ray actors (default: all).")] = None,
    actor_cpus: Annotated[
        float | None, typer.Option(help="CPUs that Ray's scheduler counts for an actor.")
    ] = None,
    actor_threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of an actor (default: an equal share).")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster to join: HOST:PORT; auto: whichever runs here."),
    ] = None,
    plan: Annotated[
        Any,
        typer.Option(
            parser=checks.planned_device,
            metavar="DEVICE",
            help="Only say what it will take on h100, a100, l4, cpu, …, or numbers such as "
            "peak=60e12,memory=24e9.",
        ),
    ] = None,
    model_options: ModelOptions,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a corpus: parts under OUT/parts, one row per sample. Run it again to continue.

    With --plan nothing is scored: from a sample of the data it says tokens, FLOPs, memory, hours
    and parts.
    """
    from airlens.corpus import Corpus
    from airlens.corpus.rows import need_rows

    reading = data_options.how()
    on_error = reading.pop("on_error")
    corpus = Corpus(data, **reading, stream=stream or None, scope=scope)
    need_rows(corpus)
    from airlens.corpus.score_part import CorpusSettings

    settings = CorpusSettings(
        mode=mode,
        controls=controls,
        seed=seed,
        scope=scope,  # type: ignore[arg-type]
        template=template,  # type: ignore[arg-type]
        think=think,  # type: ignore[arg-type]
        long=long,  # type: ignore[arg-type]
        ifd=ifd,
        early_answers=early_answers,
        rivals=[name for name in rivals.split(",") if name],
        circuit=read_heads(circuit) if circuit else (),
    )
    if plan is not None:
        _plan(plan, corpus, settings, model_options, part_rows, actors or 1, json)
        return
    ray = {"address": ray_address, "actors": actors, "actor_cpus": actor_cpus}
    ray["actor_threads"] = actor_threads
    when_interrupted(lambda: _kept(out))
    wanted = {"rows": texts, "steps": steps, "tokens": tokens}
    result = _run(
        corpus,
        settings,
        read_heads(heads),
        out,
        model=model_options,
        ray=ray if engine == "ray" else None,
        on_error=on_error,
        max_rejects=max_rejects,
        tables=[name for name, keep in wanted.items() if keep],
        part_rows=part_rows,
        max_tokens_per_batch=max_tokens_per_batch,
        progress=not (quiet or json),
    )
    if json:
        echo_json({"out": str(out), **result.manifest})
        return
    _say(result)


def _plan(
    device: Device,
    corpus: Corpus,
    settings: CorpusSettings,
    model: ModelOptions,
    part_rows: int,
    actors: int,
    as_json: bool,
) -> None:
    """Say what the run will take."""
    from airlens.corpus.plan import model_size, plan_score
    from airlens.model.files import read_config, read_tokenizer

    name = str(model.name)
    made = plan_score(
        model_size(read_config(name), model.n_ctx),
        read_tokenizer(name),
        corpus,
        settings,
        device,
        dtype=model.dtype,
        part_rows=part_rows,
        devices=actors * (model.n_devices or 1),
    )
    if as_json:
        echo_json(made.to_json())
        return
    rows = "an unknown number of rows" if made.rows is None else f"about {made.rows:,} rows"
    room = "fits" if made.fits else "DOES NOT FIT"
    typer.echo(
        f"{rows}, {made.tokens:,.0f} tokens (the longest looked at has {made.longest:,}); "
        f"{made.rejected:,} of {made.sample:,} rows looked at cannot be scored\n"
        f"{made.flops:.3g} FLOP in {made.passes} passes\n"
        f"{made.memory / 1e9:,.1f} GB of memory: {room} into {made.device_memory / 1e9:,.0f} GB\n"
        f"{made.hours:,.2f} h on {made.devices} × {made.device} "
        f"({made.peak * made.utilisation / 1e12:,.2f} TFLOP/s each)\n"
        f"{made.parts:,} parts of {part_rows:,} rows\n"
        "assumed: " + ";\n  ".join(made.assumptions)
    )


def _kept(out: Path) -> str:
    """What an interrupted run leaves in its folder."""
    from airlens.corpus.run_record import run_status

    status = run_status(out)
    rows, parts = status["done"], status["parts"]
    plural = "" if parts == 1 else "s"
    return f"{rows:,} scored rows ({parts} part{plural}) are kept in {out}." if parts else ""


def _run(
    corpus: Corpus,
    settings: CorpusSettings,
    heads: HeadSet,
    out: Path,
    *,
    model: ModelOptions,
    ray: dict[str, Any] | None,
    **options: Any,
) -> RunResult:
    from airlens.corpus.run import score_corpus
    from airlens.model.files import absolute_name

    if ray is not None:
        from airlens.corpus.ray_runner import RayEngine

        options["engine"] = RayEngine(model.how(), **ray)
    # an absolute path: a report may be made from another folder
    options["model_source"] = absolute_name(model.name or "")
    return score_corpus(model.load(), corpus, heads, out, settings=settings, **options)


def noted(manifest: dict[str, Any]) -> Iterator[str]:
    """Lines about rows that are not simply scored, from what ``run.json`` says."""
    how = "cut to it" if manifest.get("identity", {}).get("long") == "cut" else "scored in strides"
    told = {
        "long": f"rows longer than the context, {how}",
        "changed": "rows were changed since they were scored: scored again, old scores left out",
        "removed": "rows are no longer in the data: left out",
        "left_out": "rows of the parts in all that are not handed out",
        "halved_batches": "times the batches were halved, as memory ran out",
    }
    for name, what in told.items():
        if manifest.get(name):
            yield f"{manifest[name]:,} {what}"
    if manifest.get("engine", "this process") != "this process":
        yield f"Ray: {manifest['engine']}"
    if manifest.get("damaged_tables"):
        yield f"damaged and made again: {', '.join(manifest['damaged_tables'])}"


def _say(result: RunResult) -> None:
    counts = result.counts
    typer.echo(
        f"{counts.scored} rows scored, {counts.skipped} were there before, {counts.rejects} "
        f"rejected, {counts.duplicates} duplicates; {result.manifest['tokens_per_s']} tokens/s"
    )
    for reason, n in counts.reasons.most_common(5):
        typer.echo(f"  rejected {n} × {reason} ({counts.examples[reason]})")
    for line in noted(result.manifest):
        typer.echo(f"  {line}")
    typer.echo(f"written to {result.folder.path}")
