"""Write figures as files for print: PNG, SVG and PDF, through kaleido and a local Chromium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from airlens.errors import AirlensError, ConfigError
from airlens.files import WINDOWS
from airlens.folders import atomic_dir

FORMATS = ("png", "svg", "pdf")
WIDTH = 680  # pixels of 1/96 inch: 180 mm, the text width of most papers
HEIGHT = 450  # where a figure names none: Plotly's own
SCALE = 3  # of PNG: 288 dots an inch
PAPER_INK = "#30363c"
TITLE_ROOM = 12  # pixels


def save_figures(
    figures: Mapping[str, go.Figure],
    folder: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    width: int = WIDTH,
) -> list[Path]:
    """Write each figure as ``folder/name.format``, on white paper at print size.

    Args:
        figures: file name without suffix → figure; the figures stay unchanged.
        folder: created if necessary.
        formats: of ``png``, ``svg``, ``pdf``.
        width: in pixels of 1/96 inch; each figure keeps its height.

    Raises:
        ConfigError: an unknown format, or a name that is no file name.
        AirlensError: kaleido or a Chromium is missing.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(f"formats={list(formats)}: use {', '.join(FORMATS)}")
    bad = [name for name in figures if Path(name).name != name or not name]
    bad += [name for name in figures if WINDOWS and set(name) & set('<>:"|?*')]
    if bad:
        raise ConfigError(f"{bad[0]!r} is no file name")
    if len({name.casefold() for name in figures}) < len(figures):
        raise ConfigError(
            f"{', '.join(map(repr, figures))}: two names differ in case only, and would be one "
            "file on macOS and Windows"
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    # First into a folder of their own: a browser that crashes leaves no half-written file.
    with atomic_dir(target / ".new") as temporary:
        paths = [temporary / f"{name}.{kind}" for kind in formats for name in figures]
        _write([printed(fig, width) for fig in figures.values()] * len(formats), paths)
        for path in paths:
            written.append(path.replace(target / path.name))
    (target / ".new").rmdir()
    return written


def printed(fig: go.Figure, width: int = WIDTH) -> go.Figure:
    """A copy of a figure with dark ink on white paper, ``width`` pixels wide."""
    copy = go.Figure(fig)
    _room_above(copy)
    copy.update_layout(
        width=width,
        height=copy.layout.height or HEIGHT,
        paper_bgcolor="white",
        plot_bgcolor="white",
        font_color=PAPER_INK,
    )
    return copy


def _room_above(fig: Any) -> None:
    """Move a title of several lines down: in a file its first line would touch the edge."""
    if "<br>" in (fig.layout.title.text or "") and fig.layout.title.pad.t is not None:
        fig.layout.title.pad.t += TITLE_ROOM
        fig.layout.margin.t += TITLE_ROOM
        fig.layout.height = (fig.layout.height or HEIGHT) + TITLE_ROOM


def check_export() -> None:
    """Raise AirlensError if kaleido is missing; to be called before long computations."""
    try:
        import kaleido  # noqa: F401
    except ImportError as error:
        raise AirlensError(
            f"writing figures as files needs kaleido ({error}): pip install 'airlens[export]'"
        ) from error


def _write(figures: list[Any], paths: list[Path]) -> None:
    import plotly.io as pio

    check_export()
    kinds = [path.suffix[1:] for path in paths]
    scales = [SCALE if kind == "png" else 1 for kind in kinds]
    try:
        # All in one browser: starting it takes most of the time.
        pio.write_images(
            figures,
            [str(p) for p in paths],
            format=kinds,
            scale=scales,
            width=[fig.layout.width for fig in figures],
            height=[fig.layout.height for fig in figures],
        )
    except Exception as error:  # kaleido raises kinds of its own, choreographer others
        if "chrom" not in f"{type(error).__name__} {error}".lower():
            raise
        raise AirlensError(
            f"writing figures as files needs a Chromium or Chrome ({error}). Install one, or set "
            "BROWSER_PATH to where it is; in a notebook the figures need neither"
        ) from error
