"""``airlens train``: fine-tune on traces, steps weighted by their scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks
from .data_options import DataOptions, reads_data
from .ending import when_interrupted
from .model_options import model_option
from .options import (
    AsJson,
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
    from airlens.traces.trace import Trace
    from airlens.training.step_weights import StepWeights


@reads_data()
def train(
    data: Annotated[str, data_argument("Traces to train on, e.g. what `airlens select` wrote.")],
    out: Annotated[Path, out_folder("Folder of the run.")],
    *,
    data_options: DataOptions,
    model: Annotated[str, model_option()] = "smollm2-135m",
    scheme: Annotated[
        str | None,
        name_option(
            "Weigh steps: threshold, linear, softmax, prefix or uniform.",
            *checks.SCHEMES,
            panel="Step weights",
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            parser=checks.in_folder,
            metavar="FOLDER",
            help="Scores of the steps, for --scheme; prefix and uniform need none.",
            rich_help_panel="Step weights",
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Score a step is weighed by.", rich_help_panel="Step weights")
    ] = "ais",
    prefix: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="--scheme prefix: tokens that count (default: 32).",
            rich_help_panel="Step weights",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            parser=checks.in_file,
            metavar="FILE",
            help="Weights already made (Parquet or CSV: id, step, weight).",
            rich_help_panel="Step weights",
        ),
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 1.0,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-5,
    batch_size: Annotated[int, typer.Option(help="Traces per device and forward pass.")] = 8,
    accumulation: Annotated[
        int, typer.Option(help="Forward passes per step of the optimiser.")
    ] = 1,
    packing: Annotated[bool, typer.Option(help="Pack a batch instead of padding it.")] = False,
    max_length: Annotated[int, typer.Option(help="Most tokens; longer traces are cut.")] = 2048,
    lora: Annotated[int | None, typer.Option(help="Rank of LoRA; default: all weights.")] = None,
    bf16: Annotated[bool, typer.Option(help="bf16 mixed precision.")] = False,
    save_steps: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    template: Template = "auto",
    think: Think = "auto",
    cpu: Annotated[bool, typer.Option(help="Use the CPU even where there is a GPU.")] = False,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune on traces, their tokens weighted by the influence of their steps.

    An interrupted run continues from its last checkpoint. For several devices:
    `accelerate launch -m airlens.cli train DATA --out DIR`.
    """
    from airlens.traces.skipped import note_of_rows
    from airlens.training.train import TrainSettings, fine_tune

    when_interrupted(lambda: _checkpoint(out))

    settings = TrainSettings(
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        accumulation=accumulation,
        packing=packing,
        max_length=max_length,
        lora=lora,
        bf16=bf16,
        save_steps=save_steps,
        seed=seed,
        cpu=cpu,
    )
    _check_weights(scheme, scores, prefix, weights)
    traces = data_options.traces(data)
    result = fine_tune(
        model,
        traces,
        out,
        weights=_weights(traces, scheme, scores, by, prefix, weights),
        settings=settings,
        template=template,  # type: ignore[arg-type]
        think=think,  # type: ignore[arg-type]
        on_error=data_options.on_error,  # type: ignore[arg-type]
        selection={
            **_selection(data, traces),
            "reading": traces.reading,
            **note_of_rows(traces.skipped),
        },
        progress=not (quiet or json),
    )
    if os.environ.get("RANK", "0") != "0":
        return  # only the first of several processes prints
    losses = result.losses["loss"]
    summary = {
        "steps": len(losses),
        "loss_first": float(losses.iloc[0]),
        "loss_last": float(losses.iloc[-1]),
        **{name: result.provenance[name] for name in ("n_examples", "n_cut", "n_skipped")},
        "n_rows_skipped": len(traces.skipped),
        "out": str(out),
    }
    if json:
        echo_json({**summary, "losses": losses.tolist(), "provenance": result.provenance})
        return
    typer.echo(
        f"{summary['n_examples']} traces, {summary['steps']} steps: loss "
        f"{summary['loss_first']:.3f} at first, {summary['loss_last']:.3f} at last; {out}/model"
    )
    if summary["n_cut"]:
        lost, limit = result.provenance["n_labels_cut"], result.provenance["max_length"]
        typer.echo(
            f"  {summary['n_cut']} traces cut at {limit} tokens, {lost} response tokens lost"
        )
    for reason, n in result.provenance["reasons"].items():
        typer.echo(f"  {n} skipped × {reason}")


def _checkpoint(out: Path) -> str:
    """The last checkpoint of an interrupted run."""
    from airlens.training.training_folder import MARK

    steps = [int(path.parent.name.split("-")[1]) for path in out.glob(f"checkpoint-*/{MARK}")]
    return f"The training up to step {max(steps)} is kept in {out}." if steps else ""


def _selection(data: str, traces: list[Trace]) -> dict[str, Any]:
    """The data, and how they were chosen where `airlens select` wrote it beside them."""
    from airlens.corpus.export import manifest_path
    from airlens.files import read_json

    path = manifest_path(data)
    if not path.is_file():
        return {"data": data}
    manifest = read_json(path)
    if not {trace.id for trace in traces} <= set(map(str, manifest.get("ids", []))):
        typer.echo(f"airlens: {path} is of other rows, and is not kept with the run", err=True)
        return {"data": data, "manifest": None}
    return {"data": data, "manifest": {k: v for k, v in manifest.items() if k != "ids"}}


def _check_weights(
    scheme: str | None, scores: Path | None, prefix: int | None, file: Path | None
) -> None:
    """Refuse options of weights that make no sense together, before anything is read."""
    from airlens.errors import ConfigError
    from airlens.training.step_weights import UNSCORED

    if file is not None and (scheme or scores):
        raise ConfigError("give --weights, or --scheme with --scores, not both")
    if file is None and (scores is not None) != (scheme is not None) and scheme not in UNSCORED:
        free = " and ".join(UNSCORED)
        raise ConfigError(f"step weights need both --scheme and --scores (but for {free})")
    if prefix is not None and scheme != "prefix":
        raise ConfigError(f"--prefix {prefix} is for --scheme prefix")


def _weights(
    traces: list[Trace],
    scheme: str | None,
    scores: Path | None,
    by: str,
    prefix: int | None,
    file: Path | None,
) -> StepWeights | None:
    from airlens.training.step_weights import PREFIX, StepWeights, step_weights, unscored_weights

    if file is not None:
        return StepWeights.load(file)
    if scheme is None:
        return None
    if scores is None:
        return unscored_weights(traces, scheme, prefix=prefix or PREFIX)
    steps, tokens, note = _scored(scores)
    return step_weights(steps, scheme, by=by, tokens=tokens, prefix=prefix or PREFIX, source=note)


def _scored(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """(steps, tokens or None, provenance) of `airlens score`'s folder or of a saved influence."""
    from airlens.corpus.run_folder import RunFolder
    from airlens.errors import DataError
    from airlens.step_influence.influence import Influence

    if (folder / "samples.parquet").exists():
        found = Influence.load(folder)
        return found.steps, found.tokens, found.provenance
    run = RunFolder(folder)
    if not run.has("steps"):
        raise DataError("no scores of steps in this folder", file=str(folder), field="steps")
    tokens = run.read("tokens", ["id", "token_id"]) if run.has("tokens") else None
    return run.read("steps"), tokens, run.manifest()
