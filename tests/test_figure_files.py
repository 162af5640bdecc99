"""Figures as files, and the forest plot of a study."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from airlens.errors import AirlensError, ConfigError
from airlens.experiments.figures.training_arms import study_forest
from airlens.views.figures.image_files import printed, save_figures


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "setting": "s",
            "budget": ["tokens", "tokens", "samples", "all", "none"],
            "arm": ["random", "AIR", "AIR", "full data", "untrained"],
            "n_runs": [3, 1, 1, 1, 1],
            "nll": [1.2, 1.3, 1.25, 1.0, 1.6],
            "seed_std": [0.01, np.nan, np.nan, np.nan, np.nan],
            "difference": [0.0, 0.1, 0.05, -0.2, 0.4],
            "difference_lo": [0.0, 0.05, -0.01, -0.3, 0.3],
            "difference_hi": [0.0, 0.15, 0.11, -0.1, 0.5],
        }
    )


def test_forest_shows_every_arm_and_says_who_wins() -> None:
    fig = study_forest(table())
    assert [t.name for t in fig.data] == ["equal tokens", "equal samples", "whole pool"]
    assert "0.1 higher" in fig.layout.title.text.replace("0.100", "0.1")
    assert "untrained" not in str(fig.data)
    better = table().assign(difference_lo=-0.3, difference_hi=-0.1)
    assert "lower" in study_forest(better).layout.title.text
    level = table().assign(difference_lo=-0.3, difference_hi=0.1)
    assert "not told apart" in study_forest(level).layout.title.text


def test_forest_without_random_runs_says_so() -> None:
    fig = study_forest(table().assign(difference=np.nan))
    assert "no run of random" in fig.layout.annotations[0].text


def test_names_in_the_forest_are_escaped() -> None:
    fig = study_forest(table().replace("AIR", "<b>x</b>"))
    assert "<b>x</b>" not in str(fig.data[0].y)


def test_printed_leaves_the_figure_alone() -> None:
    fig = go.Figure(layout={"paper_bgcolor": "rgba(0,0,0,0)"})
    assert printed(fig).layout.paper_bgcolor == "white"
    assert fig.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_printed_has_room_above_a_title_of_several_lines() -> None:
    fig = study_forest(table())
    copy = printed(fig)
    room = copy.layout.height - fig.layout.height
    assert room > 0
    assert copy.layout.margin.t - fig.layout.margin.t == room


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="png"):
        save_figures({"a": go.Figure()}, tmp_path, formats=["gif"])
    with pytest.raises(ConfigError, match="file name"):
        save_figures({"../a": go.Figure()}, tmp_path)


def test_no_browser_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import plotly.io as pio

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("Kaleido requires Google Chrome to be installed.")

    pytest.importorskip("kaleido")
    monkeypatch.setattr(pio, "write_images", fails)
    with pytest.raises(AirlensError, match="Chromium"):
        save_figures({"a": go.Figure()}, tmp_path / "f")
    assert list((tmp_path / "f").iterdir()) == []


@pytest.mark.browser
@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))),
    reason="no Chromium on the path",
)
def test_files_of_every_format(tmp_path: Path) -> None:
    pytest.importorskip("kaleido")
    written = save_figures({"forest": study_forest(table())}, tmp_path)
    heads = {path.suffix: path.read_bytes()[:5] for path in written}
    png = (tmp_path / "forest.png").read_bytes()
    size = [int.from_bytes(png[i : i + 4], "big") for i in (16, 20)]
    assert size == [3 * 680, 3 * printed(study_forest(table())).layout.height]
    assert heads[".png"][1:4] == b"PNG"
    assert heads[".pdf"] == b"%PDF-"
    assert heads[".svg"].startswith(b"<svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["forest.pdf", "forest.png", "forest.svg"]
