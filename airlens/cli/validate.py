"""``airlens validate``: check what the score reacts to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import checks
from .data_options import DataOptions, reads_data
from .ending import kept_in, when_interrupted
from .model_options import ModelOptions, loads_model
from .options import (
    AsJson,
    Heads,
    Quiet,
    Seed,
    echo_json,
    find_heads,
    name_option,
    out_folder,
    traces_option,
)

WHAT = ("planted", "labelled", "confounds", "heads", "sources", "answers", "paths")

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from airlens.traces.load import Traces
    from airlens.traces.trace import Trace


@loads_model()
@reads_data()
def validate(
    traces: Annotated[str, traces_option("Traces: a file, a folder or a hub name.")] = "",
    what: Annotated[
        str, name_option("planted, labelled, confounds, heads, sources, answers or paths.", *WHAT)
    ] = "planted",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            help="planted: traces to plant in (40); labelled: the n shortest (all); "
            "confounds, heads: the first n of each domain (all; 4); sources: planted traces (216); "
            "answers: traces to plant in (48); paths: planted traces (48).",
        ),
    ] = None,
    *,
    data_options: DataOptions,
    heads: Heads = "",
    kinds: Annotated[
        str,
        typer.Option(
            parser=checks.several(checks.distractor, some=False),
            metavar="NAMES",
            help="Kinds of distractor, by comma (default: all).",
        ),
    ] = "",
    modes: Annotated[
        str,
        typer.Option(
            parser=checks.several(checks.offered("airlens.ablation_modes", *checks.MODES)),
            metavar="NAMES",
            help="Ablation modes, by comma.",
        ),
    ] = "uniform,zero,mean",
    draws: Annotated[
        int,
        typer.Option(
            min=0,
            help="Sets of random heads of the same layers to compare with; with fewer than three "
            "nothing is decided about them.",
        ),
    ] = 10,
    draws_anywhere: Annotated[
        int, typer.Option(min=0, help="Sets of random heads from anywhere in the model.")
    ] = 3,
    place: Annotated[
        str, name_option("'instead' of the real step or 'after' it.", "instead", "after")
    ] = "instead",
    knockout: Annotated[
        int,
        typer.Option(
            min=0,
            help="sources: planted traces in which sources are knocked out; answers: in which "
            "steps are hidden from all that follows too, for the first forcing text.",
        ),
    ] = 0,
    knockout_labelled: Annotated[
        int, typer.Option(min=0, help="The same for labelled traces, the shortest ones.")
    ] = 0,
    knockout_draws: Annotated[
        int,
        typer.Option(
            min=1,
            help="sources, with a knockout: of how many of the sets of random heads of each kind "
            "sources are knocked out too; a verdict against random heads needs three.",
        ),
    ] = 1,
    forcings: Annotated[
        str,
        typer.Option(
            parser=checks.several(checks.choice(*checks.FORCINGS)),
            metavar="NAMES",
            help="answers: forcing texts, by comma (sentence, question, hashes, boxed).",
        ),
    ] = "sentence,question,boxed",
    model_options: ModelOptions,
    out: Annotated[Path | None, out_folder("Folder for tables and measurements.")] = None,
    seed: Seed = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check what the score reacts to: seven reports, each with the claims that it supports.

    planted: put distractor steps in traces, and see which scores rank the real steps above them.
    labelled: influence by label of the step, beside known importances. confounds: what the sample
    score correlates with. heads: which single heads cause the rise in loss. sources: whether the
    measures of `airlens.sources` find true sources, planted ones and, in --traces whose steps say
    what they depend on, labelled ones. answers: whether early answers tell steps that the answer
    needs from filler, restated, repeated and foreign ones in the bundled traces, and, in --traces
    with importances, how far they go along with these. paths: whether `airlens.paths`
    follows planted chains of steps, by their length; it needs no traces.

    With --out FOLDER tables and measurements are stored there, and the same command continues an
    interrupted run.
    """
    from airlens.files import data_path

    own: Any = [] if what in ("sources", "answers", "paths") else data_path("traces.jsonl")
    given = data_options.traces(traces or own)
    if what == "labelled":
        _need_labels(given)
    when_interrupted(kept_in(out, "What was measured"))
    bridge = model_options.load()
    loaded, left_out = _usable(bridge, given, what, data_options.on_error)
    progress = not (quiet or json)
    _, critical = find_heads(bridge, heads, progress=progress)
    shared: dict[str, Any] = {"modes": _names(modes), "seed": seed, "folder": out}
    options: dict[str, Any] = {"place": place, "progress": progress}
    both = {"same_layers": draws, "random": draws_anywhere}
    result: Any
    if what == "planted":
        from airlens.experiments.validity.planted import validate as run

        result = run(
            bridge,
            loaded,
            critical,
            n=n or 40,
            kinds=_names(kinds) or None,
            draws=both,
            **options,
            **shared,
        )
    elif what == "paths":
        from airlens.experiments.validity.true_sources.path_report import path_report
        from airlens.experiments.validity.true_sources.planted_chains import N as CHAINS

        result = path_report(
            bridge, critical, n=n or CHAINS, draws=both, seed=seed, folder=out, progress=progress
        )
    elif what == "sources":
        from airlens.experiments.validity.true_sources.planted_traces import N
        from airlens.experiments.validity.true_sources.source_report import source_report

        result = source_report(
            bridge,
            critical,
            loaded,
            n=n or N,
            knockout=knockout,
            knockout_labelled=knockout_labelled,
            knockout_draws=knockout_draws,
            draws=both,
            seed=seed,
            folder=out,
            progress=progress,
        )
    elif what == "answers":
        from airlens.experiments.validity.early_report import N as IN_ALL
        from airlens.experiments.validity.early_report import early_report
        from airlens.traces.load import load_traces

        result = early_report(
            bridge,
            list(load_traces(data_path("traces.jsonl"))),
            critical,
            loaded,
            n=n or IN_ALL,
            forcings=_names(forcings),
            mode=_names(modes)[0],
            controls=draws,
            total=knockout,
            total_labelled=knockout_labelled,
            seed=seed,
            folder=out,
            progress=progress,
        )
    else:
        from airlens.experiments.validity import claim_reports as more

        if what == "heads":
            result = more.head_report(bridge, loaded, critical, n=n or 4, **shared)
        else:
            report = more.labelled_report if what == "labelled" else more.confound_report
            result = report(
                bridge, loaded, critical, n=n, controls=draws, progress=progress, **shared
            )
    if left_out:
        result.provenance.update(left_out)
        if out is not None:
            result.save(out)
    if json:
        tables = {name: _records(table) for name, table in result.tables.items()}
        claims = _records(result.claims)
        echo_json({**tables, "claims": claims, "provenance": result.provenance})
        return
    if what == "planted":
        lines = planted_lines(result)
    else:
        own_lines = {"sources": source_lines, "answers": answer_lines, "paths": path_lines}
        show = own_lines.get(what, table_lines)
        lines = show(result.tables)
    for line in [*lines, *claim_lines(result.claims)]:
        typer.echo(line)
    if out is not None:
        typer.echo(f"written to {out}")


def _usable(
    bridge: Any, traces: Traces, what: str, on_error: Any
) -> tuple[list[Trace], dict[str, Any]]:
    """The traces that can be measured, and for the provenance what was left out.

    Raises:
        DataError: a trace that the template cannot write, or whose labels are none, where
            ``on_error`` is ``raise``; or none is left.
    """
    from airlens.experiments.validity.true_sources.true_pairs import dependencies
    from airlens.traces.model_encoding import encode_for
    from airlens.traces.skipped import Skipped, note_of, note_of_rows, said, usable

    def check(trace: Trace) -> None:
        encode_for(bridge, [trace])
        if what == "sources":
            dependencies(trace)

    silent = [Skipped(trace.id, "no response") for trace in traces if not trace.response]
    kept, refused = usable([trace for trace in traces if trace.response], check, on_error)
    if skipped := [*silent, *refused]:
        typer.echo(f"airlens: {said(skipped)}", err=True)
    note = {**note_of(skipped), **note_of_rows(traces.skipped)}
    return kept, note if skipped or traces.skipped else {}


def _records(table: pd.DataFrame) -> list[Any]:
    """Rows for JSON, which has no NaN."""
    return list(table.astype(object).where(table.notna(), None).to_dict("records"))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _need_labels(traces: Iterable[Trace]) -> None:
    from airlens.errors import DataError

    if not any(step.label is not None for trace in traces for step in trace.steps):
        raise DataError("no step of these traces has a label; name labelled ones with --traces")


def planted_lines(result: Any) -> list[str]:
    """The tables of the planted benchmark as text: scores × kinds."""
    lines = ["How well the planted steps match the real ones:", _text(result.matching), ""]
    lines += ["AUROC of real over planted steps, 95 % interval over traces and draws of heads:"]
    lines += [_text(_cells(result.auroc)), ""]
    lines += ["The same among steps of equal base loss:", _text(_cells(result.auroc_equal_loss))]
    if len(result.gain):
        gain = result.gain.assign(auroc=result.gain["gain"])
        lines += ["", "Gain in AUROC over a logistic model of the heuristics:"]
        lines += [_text(_cells(gain, sign=True))]
    return lines


def table_lines(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Tables as text, without those that have a row for every trace."""
    shown = {name: table for name, table in tables.items() if "id" not in table}
    return [line for name, table in shown.items() for line in (f"{name}:", _text(table), "")]


def source_lines(tables: dict[str, pd.DataFrame]) -> list[str]:
    """The tables of the sources' benchmark as text: scores × distances."""
    lines = []
    if "planted" in tables:
        table = tables["planted"].query("wording == 'all'").assign(mode="")
        shown = table.assign(kind=table["distance"])
        first = shown.assign(auroc=table["p1"], lo=table["p1_lo"], hi=table["p1_hi"])
        lines += ["AUROC of the planted source over the other steps before, by distance:"]
        lines += [_text(_cells(shown)), "", "Precision at 1:", _text(_cells(first)), ""]
        kinds = tables["distractors"].assign(mode="").rename(columns={"above": "auroc"})
        lines += ["AUROC of the planted source over its distractors:", _text(_cells(kinds)), ""]
    if "labelled" in tables:
        table = tables["labelled"].query("traces == 'all'").assign(mode="")
        apart = table["beyond"].map("> {} apart, ".format) + table["compared"]
        lines += ["AUROC of labelled sources, mean over problems, which count alike:"]
        lines += [_text(_cells(table.assign(kind=apart))), ""]
        lines += [f"gain over the controls:\n{_text(tables['gain'])}", ""]
        lines += [f"labels and steps:\n{_text(tables['alignment'])}"]
    return lines


def answer_lines(tables: dict[str, pd.DataFrame]) -> list[str]:
    """The tables of early answers as text: scores × kinds."""
    lines = []
    if "needed" in tables:
        table = tables["needed"].assign(mode=tables["needed"]["forcing"], heads="")
        lines += ["AUROC of needed steps over the others, 95 % interval over traces:"]
        lines += [_text(_cells(table)), ""]
    rest = {name: table for name, table in tables.items() if name != "needed"}
    return lines + table_lines(rest)


def path_lines(tables: dict[str, pd.DataFrame]) -> list[str]:
    """The tables of the paths' benchmark as text: heads and rules × lengths."""
    lines = []
    table = tables["paths"].assign(mode="")
    for value, head in (
        ("recovered", "Share of planted chains that are followed whole, by their hops:"),
        ("origin", "Share that is followed to the origin, by whatever way:"),
        ("first", "Share whose last hop is found:"),
    ):
        ends = {"lo": table[f"{value}_lo"], "hi": table[f"{value}_hi"]}
        shown = table.assign(kind=table["length"], auroc=table[value], **ends)
        lines += [head, _text(_cells(shown)), ""]
    return [*lines, "How the paths of the number's tokens end:", _text(tables["ends"])]


def claim_lines(claims: pd.DataFrame) -> list[str]:
    """The claims as text by verdict, those that hold first."""
    lines = [""]
    for verdict, head in (
        ("holds", "What may be claimed (Holm's correction over all claims):"),
        ("fails", "What may not be claimed, the opposite holds:"),
        ("undecided", "What may not be claimed, not decided:"),
        ("no verdict", "What may not be claimed, too little was measured to decide:"),
    ):
        part = claims[claims["verdict"] == verdict]
        lines += [head, *(f"  {row.claim}  ({row.evidence})" for row in part.itertuples())]
    return lines


def _cells(table: pd.DataFrame, sign: bool = False) -> pd.DataFrame:
    """Scores × kinds, each cell "value [lo, hi]"."""
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if sign else "{:.2f} [{:.2f}, {:.2f}]"
    names = [" ".join(filter(None, key)) for key in table[["score", "mode", "heads"]].to_numpy()]
    cells = [form.format(*row) for row in table[["auroc", "lo", "hi"]].to_numpy()]
    frame = table.assign(name=names, cell=cells)
    order = list(dict.fromkeys(names))
    kinds = list(dict.fromkeys(table["kind"]))
    return frame.pivot(index="name", columns="kind", values="cell").loc[order, kinds]


def _text(frame: pd.DataFrame) -> str:
    index = not isinstance(frame.index[0], int) if len(frame) else False
    return frame.to_string(index=index, float_format=lambda v: f"{v:.2f}", na_rep="")
