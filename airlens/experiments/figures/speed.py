"""Speed of airlens against other ways to the same numbers, from a benchmark's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from airlens.arguments import checked
from airlens.errors import DataError
from airlens.views.figures.labels import number, plotly_text
from airlens.views.figures.style import COLOURS, INK, figure, need, no_data

# Key in the file -> what is compared.
COMPARED = {
    "influence_vs_hooks": "influence, against TransformerLens hooks",
    "influence_vs_two_hf": "influence, against two Hugging Face models",
    "influence_controls_vs_hooks": "influence with 3 controls, against hooks",
    "influence_lowp_vs_hooks": "influence, bf16 products, against hooks",
    "influence_lowp_vs_full": "influence, bf16 products, against full precision",
    "detect_2k_vs_pattern": "detection at 2k tokens, against the pattern hook",
    "detect_2k_vs_output_attentions": "detection at 2k tokens, against output_attentions",
    "detect_4k_vs_pattern": "detection at 4k tokens, against the pattern hook",
    "all_heads_exact_vs_naive": "all heads, exact, against one pass for each",
    "all_heads_screened_vs_naive": "all heads, screened, against one pass for each",
    "training_vs_transformers": "training on packed rows, against transformers",
}
# A key with this end: the same on the bundled traces, where the others are of GSM8K.
BUNDLED = "_bundled"
COLUMNS = ["key", "what", "ratio", "lo", "hi", "wall"]


@checked
def speed_frame(source: str | Path | dict[str, Any]) -> pd.DataFrame:
    """One row per comparison: key, what, ratio of median CPU time, its range, and by wall clock.

    Args:
        source: the file that ``make bench OUT=file.json`` wrote, or its content.

    Raises:
        DataError: not such a file.
    """
    try:
        found = (
            source
            if isinstance(source, dict)
            else json.loads(Path(source).read_text(encoding="utf-8"))
        )
        keys = [key + end for key in COMPARED for end in ("", BUNDLED) if key + end in dict(found)]
        rows = [_row(key, found[key], found) for key in keys]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"not a benchmark result ({error})", file=str(source)) from error
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(key: str, value: Any, found: dict[str, Any]) -> list[Any]:
    ratio = float(value)
    low, high = found.get(f"{key}_range", (ratio, ratio))
    what = COMPARED[key.removesuffix(BUNDLED)]
    what += " (bundled traces)" if key.endswith(BUNDLED) else ""
    return [key, what, ratio, low, high, found.get(f"{key}_wall")]


@checked
def speed_bars(frame: pd.DataFrame, *, title: str | None = None) -> go.Figure:
    """Return bars of how many times faster each computation is, with the range over repetitions.

    Args:
        frame: From `speed_frame`.
        title: Replaces the headline.
    """
    if frame.empty:
        return no_data(title or "Speed", "no comparison to show")
    need(frame, COLUMNS[:5], "speed_bars")
    rows = frame.sort_values("ratio")
    low, high = rows["ratio"].min(), rows["ratio"].max()
    head = title or f"{number(low)} to {number(high)} times as fast as the usual ways"
    aid = "Ratio of median CPU time in one process, runs interleaved; lines: range over runs"
    fig = figure(head, aid, height=170 + 34 * len(rows))
    fig.add_bar(
        x=rows["ratio"].tolist(),
        y=[plotly_text(what) for what in rows["what"]],
        orientation="h",
        marker_color=COLOURS["base"],
        text=[f"{ratio:.2f}" for ratio in rows["ratio"]],
        textposition="inside",
        customdata=rows[["lo", "hi"]].to_numpy().tolist(),
        hovertemplate="%{y}<br>%{x:.2f} times (%{customdata[0]:.2f} to %{customdata[1]:.2f})"
        "<extra></extra>",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["hi"] - rows["ratio"]).clip(lower=0).tolist(),
            "arrayminus": (rows["ratio"] - rows["lo"]).clip(lower=0).tolist(),
            "color": INK,
        },
    )
    fig.add_vline(x=1, line_dash="dot", line_color=INK)
    fig.update_xaxes(title="times as fast", rangemode="tozero")
    fig.update_yaxes(automargin=True)
    return fig
