"""``airlens evaluate``: held-out NLL and accuracy of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .data_options import DataOptions, reads_data
from .options import (
    AsJson,
    Device,
    Dtype,
    Model,
    Quiet,
    Seed,
    Template,
    Think,
    data_argument,
    echo_json,
    out_folder,
)


@reads_data(limit_names=("--limit", "-n"))
def evaluate(
    data: Annotated[str, data_argument("Problems with reference solutions.")],
    *,
    data_options: DataOptions,
    model: Model = "smollm2-135m",
    generate: Annotated[
        bool, typer.Option("--generate", "-g", help="Also generate solutions, and score them.")
    ] = False,
    samples: Annotated[
        int, typer.Option("-k", min=0, help="Solutions sampled per problem; 0: one greedy one.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a solution.")] = 320,
    lm_eval: Annotated[
        str | None,
        typer.Option("--lm-eval", help="Also these lm-eval tasks (needs lm-eval and a hub)."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Solutions generated at once.")] = 16,
    template: Template = "auto",
    think: Think = "auto",
    out: Annotated[Path | None, out_folder("Folder for the tables, problem by problem.")] = None,
    device: Device = None,
    dtype: Dtype = "float32",
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model on held-out problems: NLL of the references, and accuracy of its answers.

    Intervals are 95 % bootstraps over problems.
    """
    import torch

    from airlens.provenance import provenance
    from airlens.reading.model_files import load_hf
    from airlens.training import evaluate as library
    from airlens.training.lm_tasks import check_lm_eval, run_lm_eval

    if lm_eval:
        check_lm_eval()
    if generate or samples:
        library.check_math_verify()
    traces = data_options.traces(data)
    student, tokenizer = load_hf(model, dtype=dtype)
    student = student.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    options: dict[str, Any] = {"template": template, "progress": not quiet}
    nll = library.held_out_nll(student, tokenizer, traces, **options, think=think)  # type: ignore[arg-type]
    tables = {"nll": nll}
    record: dict[str, Any] = {"problems": len(traces), "nll": library.per_token(tables["nll"])}
    if generate or samples:
        options |= {"samples": samples, "temperature": temperature, "seed": seed}
        options |= {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
        written = library.generate_answers(student, tokenizer, traces, **options)
        tables["answers"] = library.score_answers(written, traces)
        record["accuracy"] = library.accuracy(tables["answers"])
    if lm_eval:
        record["lm_eval"] = run_lm_eval(student, tokenizer, lm_eval.split(","))
    record["provenance"] = provenance(
        evaluated=model,
        data=data,
        limit=data_options.limit,
        reading=traces.reading,
        template=template,
        think=think,
        samples=samples,
        seed=seed,
    )
    if out is not None:
        _save(out, tables, record)
    if json:
        echo_json(record)
        return
    found = record["nll"]
    typer.echo(f"{len(traces)} problems")
    typer.echo(
        f"  NLL      {found['nll']:.4f} nats a token  [{found['lo']:.4f}, {found['hi']:.4f}]"
    )
    if "accuracy" in record:
        share = record["accuracy"]
        how = f"mean of {samples} draws" if samples else "greedy"
        typer.echo(
            f"  accuracy {share['accuracy']:.3f} ({how})  [{share['lo']:.3f}, {share['hi']:.3f}]"
        )
    for task, metrics in record.get("lm_eval", {}).items():
        typer.echo(f"  {task}: {metrics}")


def _save(folder: Path, tables: dict[str, Any], record: dict[str, Any]) -> None:
    import json

    from airlens.files import atomic_file, atomic_write_text

    for name, table in tables.items():
        with atomic_file(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
    atomic_write_text(folder / "evaluation.json", text)
