"""``airlens evaluate``: held-out NLL and accuracy of a model."""

from __future__ import annotations

from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any

import typer

from . import checks
from .data_options import DataOptions, reads_data
from .model_options import ModelOptions, loads_model
from .options import AsJson, Quiet, Seed, Template, Think, data_argument, echo_json, out_folder

TABLES = ("nll", "answers")


@loads_model(context=False)
@reads_data(limit_names=("--limit", "-n"))
def evaluate(
    data: Annotated[str, data_argument("Problems with reference solutions.")],
    *,
    data_options: DataOptions,
    model_options: ModelOptions,
    generate: Annotated[
        bool, typer.Option("--generate", "-g", help="Also generate solutions, and score them.")
    ] = False,
    samples: Annotated[
        int, typer.Option("-k", min=0, help="Solutions sampled per problem; 0: one greedy one.")
    ] = 0,
    temperature: Annotated[
        float, typer.Option(parser=checks.positive, metavar="NUMBER", help="Of the sampling.")
    ] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a solution.")] = 320,
    lm_eval: Annotated[
        str | None,
        typer.Option("--lm-eval", help="Also these lm-eval tasks (needs lm-eval and a hub)."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Solutions generated at once.")] = 16,
    template: Template = "auto",
    think: Think = "auto",
    out: Annotated[Path | None, out_folder("Folder for the tables, problem by problem.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on held-out problems: NLL of the references, and accuracy of its answers.

    Intervals are 95 % over problems; they are about the models given, not other runs.
    """
    from airlens.model.files import load_hf
    from airlens.model.load import as_device
    from airlens.provenance import fingerprint, provenance
    from airlens.traces.chat_template import template_note
    from airlens.traces.skipped import note_of, note_of_rows, said
    from airlens.training import evaluate as library
    from airlens.training.lm_tasks import check_lm_eval, run_lm_eval
    from airlens.training.run_identity import evaluation_identity

    where = model_options.placement
    place = None if where.spread else as_device(where.device)
    if lm_eval:
        check_lm_eval()
    answers = generate or samples > 0
    if answers:
        library.check_math_verify()
    traces = data_options.traces(data)
    dtype = model_options.dtype
    student, tokenizer = load_hf(model_options.name or "", dtype=dtype, **where.options())
    student = (student if place is None else student.to(place)).eval()
    how: dict[str, Any] = {"template": template, "think": think}
    on_error: Any = data_options.on_error
    problems, skipped = library.usable_problems(
        student, tokenizer, traces, answers=answers, on_error=on_error, **how
    )
    if skipped:
        typer.echo(f"airlens: {said(skipped)}", err=True)
    shown: dict[str, Any] = {"progress": not (quiet or json)}
    tables = {"nll": library.held_out_nll(student, tokenizer, problems, **how, **shown)}
    record: dict[str, Any] = {"problems": len(problems), "nll": library.per_token(tables["nll"])}
    settings: dict[str, Any] = {}
    if answers:
        settings = {"samples": samples, "temperature": temperature if samples else None}
        settings |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "seed": seed}
        given = {name: value for name, value in settings.items() if value is not None}
        written = library.generate_answers(student, tokenizer, problems, **given, **how, **shown)
        tables["answers"] = library.score_answers(written, problems)
        record["accuracy"] = library.accuracy(tables["answers"])
        cut = tables["answers"]["truncated"]
        record["truncated"] = {"solutions": int(cut.sum()), "of": len(cut)}
    if lm_eval:
        record["lm_eval"] = run_lm_eval(student, tokenizer, lm_eval.split(","))
    identity = evaluation_identity(student, tokenizer, problems, **how)
    record["provenance"] = provenance(
        evaluated=model_options.name,
        data=data,
        limit=data_options.limit,
        reading=traces.reading,
        dtype=dtype,
        device=str(place or student.hf_device_map),
        settings=settings,
        few_shot=0,  # a problem is asked as it is trained on: its prompt and nothing before it
        identity=identity,
        fingerprint=fingerprint({**identity, **settings, "dtype": dtype}),
        **template_note(tokenizer, **how),
        **note_of(skipped),
        **note_of_rows(traces.skipped),
    )
    if out is not None:
        _save(out, tables, record)
    if json:
        echo_json(record)
        return
    found = record["nll"]
    typer.echo(f"{len(problems)} problems")
    typer.echo(
        f"  NLL      {found['nll']:.4f} nats a token  [{found['lo']:.4f}, {found['hi']:.4f}]"
    )
    if "accuracy" in record:
        share = record["accuracy"]
        drawn = f"mean of {samples} draws" if samples else "greedy"
        typer.echo(
            f"  accuracy {share['accuracy']:.3f} ({drawn})  [{share['lo']:.3f}, {share['hi']:.3f}]"
        )
        if cut := record["truncated"]["solutions"]:
            typer.echo(
                f"  {cut} of {record['truncated']['of']} solutions had not ended after "
                f"{max_new_tokens} tokens; they are right only where the answer is marked"
            )
    for task, metrics in record.get("lm_eval", {}).items():
        typer.echo(f"  {task}: {metrics}")


def _save(folder: Path, tables: dict[str, Any], record: dict[str, Any]) -> None:
    """The tables, and last the record; nothing of an earlier evaluation stays beside them."""
    from airlens.files import atomic_file, write_json

    for name in ("evaluation.json", *(f"{each}.parquet" for each in TABLES)):
        (folder / name).unlink(missing_ok=True)
    for name, table in tables.items():
        with atomic_file(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_json(folder / "evaluation.json", loads(dumps(record, default=str)), indent=1)
