"""``airlens validate``: what does the score react to?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_options import AsJson, Device, Dtype, Model, Out, Quiet, Seed, echo_json

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from .heads import HeadSet


def validate(
    traces: Annotated[
        str, typer.Option("--traces", "-t", help="Traces: a file, a folder or a hub name.")
    ] = "",
    n: Annotated[int, typer.Option("--n", min=2, help="Traces to plant in.")] = 40,
    heads: Annotated[
        str, typer.Option("--heads", help="File of `airlens heads`, or 'L18H6, L17H3'.")
    ] = "",
    kinds: Annotated[str, typer.Option(help="Kinds of distractor, by comma (default: all).")] = "",
    modes: Annotated[str, typer.Option(help="Ablation modes, by comma.")] = "uniform,zero,mean",
    draws: Annotated[
        int, typer.Option(min=0, help="Layer-matched sets of random heads to compare with.")
    ] = 2,
    draws_anywhere: Annotated[
        int, typer.Option(min=0, help="Sets of random heads from anywhere in the model.")
    ] = 2,
    place: Annotated[str, typer.Option(help="'instead' of the real step or 'after' it.")] = (
        "instead"
    ),
    model: Model = "smollm2-135m",
    out: Out = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "float32",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Plant distractor steps in traces, and see which scores rank the real steps above them.

    With --out FOLDER everything is kept there: the planted traces, each measurement as it is made
    (the same command goes on where it stopped) and the tables.
    """
    from .bundled import data_path
    from .load import load_traces
    from .model import load_model
    from .validate import validate as run

    bridge = load_model(model, device=device, dtype=dtype)
    loaded = load_traces(traces or data_path("traces.jsonl"))
    result = run(
        bridge,
        loaded,
        _heads(bridge, heads, not quiet),
        n=n,
        kinds=_names(kinds) or None,
        modes=_names(modes),
        draws={"layer-matched": draws, "random": draws_anywhere},
        place=place,
        seed=seed,
        folder=out,
        progress=not quiet,
    )
    if json:
        echo_json(
            {
                "auroc": result.auroc.to_dict("records"),
                "auroc_equal_loss": result.auroc_equal_loss.to_dict("records"),
                "gain": result.gain.to_dict("records"),
                "matching": result.matching.to_dict("records"),
                "claims": result.claims.to_dict("records"),
                "provenance": result.provenance,
            }
        )
        return
    for line in report_lines(result):
        typer.echo(line)
    if out is not None:
        typer.echo(f"written to {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _heads(bridge: TransformerBridge, heads: str, progress: bool) -> HeadSet:
    """The critical heads: of a file, as named, or found now on key-value probes."""
    from .heads import HeadSet, load_heads
    from .probes import key_value_probes
    from .retrieval import retrieval_scores

    if not heads:
        probes = key_value_probes(bridge.tokenizer)
        return retrieval_scores(bridge, probes, progress=progress).top()
    return load_heads(heads) if Path(heads).is_file() else HeadSet.parse(heads)


def report_lines(result: Any) -> list[str]:
    """The tables and claims as text."""
    lines = ["How well the planted steps match the real ones:", _text(result.matching), ""]
    lines += ["AUROC of real over planted steps, 95 % interval over traces:"]
    lines += [_text(_cells(result.auroc)), ""]
    lines += ["The same among steps of equal base loss:", _text(_cells(result.auroc_equal_loss))]
    gain = result.gain.assign(auroc=result.gain["gain"]) if len(result.gain) else result.gain
    if len(gain):
        lines += ["", "Gain in AUROC over a logistic model of the heuristics:"]
        lines += [_text(_cells(gain, sign=True))]
    lines += ["", "What may be claimed:"]
    marks = {True: "yes", False: "no "}
    for row in result.claims.itertuples():
        lines.append(f"  {marks[bool(row.holds)]}  {row.claim}  ({row.evidence})")
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
