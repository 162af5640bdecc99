"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airlens.json_lines import jsonable

from . import checks

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.heads import HeadScores, HeadSet

Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, for machines.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        parser=checks.offered("airlens.ablation_modes", *checks.MODES),
        metavar="NAME",
        help="uniform, zero or mean.",
    ),
]
Template = Annotated[
    str,
    typer.Option(
        "--template",
        parser=checks.choice(*checks.TEMPLATES),
        metavar="NAME",
        help="auto, chat or plain.",
    ),
]
Think = Annotated[
    str,
    typer.Option(
        "--think",
        parser=checks.choice(*checks.THINK),
        metavar="NAME",
        help="A thought: auto, as the template writes it; text, as it stands.",
    ),
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Longest probe, in tokens.")]
TracesPerDomain = Annotated[
    int, typer.Option("--traces", min=1, help="Traces scored in each domain.")
]
Controls = Annotated[
    int, typer.Option("--controls", min=0, help="Draws of random heads to compare with.")
]
Heads = Annotated[
    str,
    typer.Option(
        "--heads",
        parser=checks.heads_text,
        metavar="FILE|NAMES",
        help="heads.json of `airlens heads`, or L18H6,L17H3,… (default: found now)",
    ),
]
Within = Annotated[str, typer.Option("--within", help="Rank within: domain, or none.")]
ScoredFolder = Annotated[
    Path,
    typer.Argument(
        parser=checks.in_folder, metavar="FOLDER", help="A folder written by `airlens score`."
    ),
]


def top_option(text: str) -> Any:
    """The option --top: a share or a count."""
    return typer.Option("--top", help=text, parser=checks.share_or_count, metavar="SHARE|COUNT")


def name_option(text: str, *names: str, option: str = "", panel: str | None = None) -> Any:
    """An option that takes one of these names."""
    spelt = (option,) if option else ()
    read = checks.choice(*names)
    return typer.Option(*spelt, help=text, parser=read, metavar="NAME", rich_help_panel=panel)


def out_file(text: str, *names: str) -> Any:
    """The option --out, or that of ``names``, for a file."""
    names = names or ("--out", "-o")
    return typer.Option(*names, help=text, parser=checks.out_file, metavar="FILE")


def out_folder(text: str) -> Any:
    """The option --out for a folder."""
    return typer.Option("--out", "-o", help=text, parser=checks.out_folder, metavar="FOLDER")


def traces_option(text: str) -> Any:
    """The option --traces: where traces are read from."""
    return typer.Option(
        "--traces", "-t", help=text, parser=checks.traces_source, metavar="FILE|FOLDER|NAME"
    )


def data_argument(text: str) -> Any:
    """The argument DATA: where traces are read from."""
    return typer.Argument(help=text, parser=checks.traces_source, metavar="DATA")


def find_heads(
    bridge: TransformerBridge, text: str, *, seed: int = 0, progress: bool = True
) -> tuple[HeadScores | None, HeadSet]:
    """The heads that ``text`` names; where it is empty, heads scored now on key-value probes."""
    from airlens.detectors.key_value_probes import key_value_probes
    from airlens.detectors.retrieval import retrieval_scores

    if text:
        return None, checks.read_heads(text)
    probes = key_value_probes(bridge.tokenizer, seed=seed)
    scores = retrieval_scores(bridge, probes, progress=progress)
    return scores, scores.top()


def group_column(within: str) -> str | None:
    """The column that ``--within`` names; "none" or nothing: no groups."""
    return None if within in ("none", "") else within


def with_shared(
    command: Callable[..., None],
    place: str,
    shared: Sequence[inspect.Parameter],
    run: Callable[..., None],
) -> Callable[..., None]:
    """``run`` as the command, with options that several commands share in place of one parameter.

    Args:
        command: its own parameters are the other options.
        place: the name of the parameter of ``command`` in whose place the shared options stand.
        shared: these options.
        run: takes all options by name, and calls ``command``.
    """
    made: Any = functools.wraps(command)(run)
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in own
        for each in (shared if parameter.name == place else [parameter])
    ]
    made.__signature__ = inspect.Signature(parameters)
    made.__annotations__ = {each.name: each.annotation for each in parameters}
    return made  # type: ignore[no-any-return]


def echo_json(record: dict[str, Any]) -> None:
    """Print ``record`` as one line of JSON on stdout; what JSON lacks (NaN, infinity) is null."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(jsonable(record), ensure_ascii=not utf8, allow_nan=False, default=str))
