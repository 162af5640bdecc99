"""``airlens select``: choose samples of a scored folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks
from .options import (
    AsJson,
    ScoredFolder,
    Seed,
    Within,
    echo_json,
    group_column,
    name_option,
    out_file,
    top_option,
)

if TYPE_CHECKING:
    import pandas as pd

    from airlens.corpus.run_folder import RunFolder
    from airlens.selection.select import Selection


def select(
    folder: ScoredFolder,
    by: Annotated[
        str, typer.Option(help="ais, delta, random, length, shortest, loss, …, or a column.")
    ] = "ais",
    top: Annotated[
        Any, top_option("Kept of each group: a share (0.2, 20%) or how many (20). Default: 20%.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Number kept of each group.")] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Budget: keep so many response tokens in all.")
    ] = None,
    within: Within = "domain",
    quota: Annotated[
        list[str] | None, typer.Option(help="DOMAIN=SHARE or DOMAIN=COUNT; may be repeated.")
    ] = None,
    length_matched: Annotated[
        bool, typer.Option("--length-matched", help="The same share of each tenth of the lengths.")
    ] = False,
    min_loss: Annotated[float | None, typer.Option(help="Least base loss, nats per token.")] = None,
    at_most: Annotated[
        float | None, typer.Option(help="Largest value; 1 for ifd is Cherry LLM's own rule.")
    ] = None,
    dedup: Annotated[
        float | None,
        typer.Option(
            help="First leave out near-duplicates, at this Jaccard index or more, e.g. 0.8."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        name_option(
            "Also write step weights: threshold, linear, softmax, prefix.", *checks.SCHEMES
        ),
    ] = None,
    out: Annotated[Path, out_file("JSON lines with the chosen.")] = Path("selected.jsonl"),
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Choose the best samples by a score and write them as JSON lines, best first.

    Beside OUT a manifest, OUT.manifest.json, says how they were chosen; `airlens export` turns both
    into what trainers read. The score rewards repetition: --dedup keeps one of several near-copies.
    """
    from airlens.corpus.export import need_selection_name, write_selection
    from airlens.corpus.run_folder import RunFolder
    from airlens.errors import ConfigError
    from airlens.selection.select import TOP, columns_to_rank, select

    if sum(value is not None for value in (top, k, tokens)) > 1:
        raise ConfigError("give one of --top, -k and --tokens")
    need_selection_name(out)
    run = RunFolder(folder)
    samples = run.read(columns=columns_to_rank(by, group_column(within)))
    removed = None
    if dedup is not None:
        removed = _near_duplicates(run, samples, by, seed, dedup, out)
    if removed is not None:
        samples = samples[~samples["id"].isin(removed["id"])]
    chosen = select(
        samples,
        by,
        next(value for value in (k, top, TOP) if value is not None),
        within=group_column(within),
        seed=seed,
        tokens=tokens,
        quotas=_quotas(quota or []),
        length_matched=length_matched,
        min_loss=min_loss,
        at_most=at_most,
    )
    note: dict[str, Any] = {"dedup": dedup, "notes": [*run.current().notes, *chosen.notes]}
    if removed is not None:
        note |= {"near_duplicates": len(removed), "left_out": removed.to_dict("records")}
    if weights is not None:
        note["weights"] = str(_write_weights(run, chosen, weights, out))
    manifest = write_selection(run, chosen, out, note)
    _say(chosen, manifest, out, json)


def _quotas(items: list[str]) -> dict[str, float | int]:
    from airlens.errors import ConfigError
    from airlens.shares import share_or_count

    found: dict[str, float | int] = {}
    for item in items:
        name, sign, value = item.rpartition("=")
        try:
            found[name] = 0 if value.strip() == "0" else share_or_count(value)
        except ConfigError:
            sign = ""
        if not sign:
            raise ConfigError(f"--quota {item}: write it as DOMAIN=SHARE or DOMAIN=COUNT")
    return found


def _near_duplicates(
    run: RunFolder, samples: pd.DataFrame, by: str, seed: int, threshold: float, out: Path
) -> pd.DataFrame:
    """Near-copies of a sample with a higher value of the selector."""
    import json

    from airlens.corpus.chosen_rows import ordered_lines, texts_at
    from airlens.corpus.near_duplicates import near_duplicates
    from airlens.selection.select import selector_values

    values = selector_values(samples, by, seed)
    order = samples["id"].loc[values.sort_values(ascending=False, kind="stable").index]
    with ordered_lines(texts_at(run, list(order)), len(order), out) as lines:
        return near_duplicates(map(tuple, map(json.loads, lines)), threshold)


def _write_weights(run: RunFolder, chosen: Selection, scheme: str, out: Path) -> Path:
    from airlens.corpus.export import weights_path
    from airlens.training.step_weights import joined_weights, step_weights

    source = run.manifest().get("provenance", {})
    parts = run.iter_some("steps", chosen.ids)
    made = joined_weights([step_weights(part, scheme, source=source) for part in parts])
    return made.save(weights_path(out))


def _say(chosen: Selection, manifest: dict[str, Any], out: Path, as_json: bool) -> None:
    rows = chosen.chosen
    summary = {
        "chosen": len(rows),
        "of": len(chosen.samples),
        "tokens": int(rows["n_tokens"].sum()),
        "out": str(out),
        "near_duplicates": manifest["near_duplicates"],
        "by": chosen.by,
        "notes": manifest["notes"],
        "domains": {str(k): int(v) for k, v in rows["domain"].value_counts().items()},
    }
    if as_json:
        echo_json(summary)
        return
    typer.echo(
        f"{summary['chosen']} of {summary['of']} samples ({summary['tokens']:,} tokens) chosen by "
        f"{chosen.by}"
    )
    if summary["near_duplicates"]:
        typer.echo(f"  {summary['near_duplicates']} near-duplicates were left out first")
    for note in summary["notes"]:
        typer.echo(f"  note: {note}")
    for name, count in summary["domains"].items():
        typer.echo(f"  {name or '(no domain)'}: {count}")
    typer.echo(f"written to {out}")
