from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from explore_tiny import save_tiny
from PIL import Image

from airlens.errors import ConfigError, DataError
from tools import run_notebooks as nb

ALL = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def write(path: Path, cells: list[dict], **metadata: object) -> Path:
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    full = {"nbformat": 4, "nbformat_minor": 5, "metadata": spec | metadata, "cells": cells}
    path.write_text(json.dumps(full))
    return path


def code(id: str, source: str, count: int | None = 1, **metadata: object) -> dict:
    return {
        "cell_type": "code",
        "id": id,
        "source": source,
        "metadata": metadata,
        "outputs": [],
        "execution_count": count,
    }


def parameters(source: str = "n = 3\nname = 'x'", count: int | None = 1) -> dict:
    return code("parameters", source, count, tags=["parameters"])


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_committed(path: Path) -> None:
    assert nb.problems(path) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebook_runs_with_small_parameters(path: Path, tmp_path: Path) -> None:
    small = nb.read(path).metadata.get("airlens", {}).get("small")
    assert small, 'its metadata name no small parameters ("airlens": {"small": {…}})'
    tiny = [name for name, value in small.items() if value == "tiny"]
    small = small | {name: str(save_tiny(tmp_path / "tiny")) for name in tiny}
    done = nb.execute(path, dict(small), timeout=300)
    shown = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert any(nb.PLOTLY in output.get("data", {}) for output in shown)


def test_parameters_are_read_and_set(tmp_path: Path) -> None:
    notebook = nb.read(write(tmp_path / "a.ipynb", [parameters(), code("use", "n", 2)]))
    assert nb.parameters(notebook) == {"n": 3, "name": "x"}
    nb.with_parameters(notebook, {"n": 5})
    assert [cell.id for cell in notebook.cells] == ["parameters", "injected-parameters", "use"]
    assert notebook.cells[1].source == "n = 5"


def test_an_unknown_parameter_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ipynb", [parameters()])
    with pytest.raises(ConfigError, match=r"no parameter m; the notebook has: n, name"):
        nb.execute(path, {"m": 1})
    assert nb.main([str(path), "-p", "m=1"]) == 1


def test_what_is_no_notebook_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(DataError, match="not a notebook"):
        nb.read(tmp_path / "a.ipynb")


def test_problems_are_named(tmp_path: Path) -> None:
    cells = [
        code("a", "def f():\n    pass", 2),
        code("a", "\n".join("x = 1" for _ in range(13)), 1),
    ]
    path = write(tmp_path / "a.ipynb", cells, kernelspec={"name": "r", "display_name": "R"})
    said = "; ".join(nb.problems(path))
    for part in ("0 cells are tagged", "kernelspec", "same", "defines a function", "12 lines"):
        assert part in said
    assert "top to bottom" in said


@pytest.mark.slow
def test_a_run_is_written_back_and_a_failure_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "a.ipynb", [parameters(count=None), code("use", "n + 1", None)])
    bad = write(tmp_path / "b.ipynb", [parameters(), code("use", "1 / 0", 2)])
    assert nb.main([str(good), "--no-png"]) == 0
    assert nb.read(good).cells[1].outputs[0]["data"]["text/plain"] == "4"
    before = good.read_bytes()
    assert nb.main([str(good), "-p", "n=10"]) == 0
    assert good.read_bytes() == before
    assert nb.main([str(bad)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_static_outputs_hold_no_widget(tmp_path: Path) -> None:
    live = {"output_type": "display_data", "metadata": {}}
    live["data"] = {nb.WIDGET: {"model_id": "1"}, "text/plain": "HeadExplorer(…)"}
    bar = live | {"data": {nb.WIDGET: {"model_id": "2"}, "text/plain": "  0%|  | 0/1"}}
    cell = code("live", "view") | {"outputs": [bar, live]}
    notebook = nb.make_static(nb.read(write(tmp_path / "a.ipynb", [cell])), png=False)
    assert [list(o["data"]) for o in notebook.cells[0].outputs] == [["text/plain"]]


def test_a_picture_of_few_colours_keeps_every_pixel() -> None:
    plain = Image.new("RGB", (64, 8))
    plain.putdata([(4 * x, 255 - 4 * x, 8 * y) for y in range(2) for x in range(64)] * 4)
    once = io.BytesIO()
    plain.save(once, "PNG")
    with Image.open(io.BytesIO(nb.in_few_colours(once.getvalue()))) as small:
        assert small.mode == "P"
        assert small.convert("RGB").tobytes() == plain.tobytes()
