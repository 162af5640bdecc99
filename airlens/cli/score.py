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
    model_options: ModelOptions,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a corpus: parts under OUT/parts, one row per sample. Run it again to continue."""
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
