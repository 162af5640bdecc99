"""The figures of the benchmark and of single-head influence."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from airlens.errors import DataError
from airlens.experiments.figures.speed import speed_bars, speed_frame
from airlens.views.figures.head_maps import head_map

FOUND = {
    "influence_vs_hooks": 2.0,
    "influence_vs_hooks_range": [1.8, 2.1],
    "influence_vs_hooks_wall": 1.9,
    "influence_vs_hooks_bundled": 1.5,
    "influence_vs_hooks_bundled_range": [1.4, 1.6],
    "detect_4k_vs_pattern": 4.0,
    "detect_4k_extra_mb": 80,
    "provenance": {},
}


def test_bars_show_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(FOUND), encoding="utf-8")
    frame = speed_frame(path)
    keys = ["influence_vs_hooks", "influence_vs_hooks_bundled", "detect_4k_vs_pattern"]
    assert frame["key"].tolist() == keys
    assert frame[["lo", "hi"]].to_numpy().tolist() == [[1.8, 2.1], [1.4, 1.6], [4.0, 4.0]]
    assert frame.loc[1, "what"].endswith("(bundled traces)")
    bars = speed_bars(frame).data[0]
    assert list(bars.x) == [1.5, 2.0, 4.0]
    assert list(bars.error_x.array) == pytest.approx([0.1, 0.1, 0.0])
    assert len(speed_bars(frame[:0]).data) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("[1]", encoding="utf-8")
    for source in (path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="benchmark"):
            speed_frame(source)


def test_a_head_map_outlines_what_was_measured() -> None:
    rows = [(0, 0, "L0H0", 0.1, True), (0, 1, "L0H1", -0.2, False)]
    frame = pd.DataFrame(rows, columns=["layer", "head", "name", "delta", "exact"])
    fig = head_map(frame, "delta")
    assert "1 measured exactly" in fig.layout.title.text
    assert [t.name for t in fig.data].count("top heads") == 1
    full = head_map(frame.assign(exact=True), "delta")
    assert "top heads" not in [t.name for t in full.data]
