"""The app's notebook, page and settings, without starting its server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from airlens.cli import app as commands
from airlens.errors import ConfigError
from airlens.views.explorers import notebook_files as nb
from airlens.views.explorers import served_app as app


def test_the_app_runs_the_live_cells_with_its_parameters(tmp_path: Path) -> None:
    source = nb.read(app.explorers_notebook())
    made = app.app_notebook(nb.read(app.explorers_notebook()), {"n_traces": 3}, tmp_path)
    kept = {cell.id for cell in made.cells}
    assert {"load", "workspace-live"} <= kept
    assert not {"heads-live", "trace-live", "lab-live", "selection-live"} & kept
    static = {c.id for c in source.cells if app.STATIC in c.metadata.get("tags", [])}
    assert static
    assert not static & kept
    assert made.cells[0].source.endswith(f"os.chdir({str(tmp_path)!r})")
    assert not any("load_model" in cell.source for cell in made.cells)  # the box comes first
    assert "n_traces = 3" in [cell.source for cell in made.cells]
    assert not any(cell.get("outputs") for cell in made.cells)
    with pytest.raises(ConfigError, match="no parameter nope"):
        app.app_notebook(source, {"nope": 1}, tmp_path)


def test_the_policy_names_this_machine_only() -> None:
    addresses = re.findall(r"\S+:\S+|\*", app.POLICY)
    assert addresses
    assert all(re.match(r"(data|blob):|ws://(127\.0\.0\.1|localhost):", a) for a in addresses)


def test_the_page_asks_no_other_server_for_style() -> None:
    """Of voila's own page, whatever its version, no link to another server is left."""
    jinja2 = pytest.importorskip("jinja2")
    folder = app.HERE / "app_template" / "voila" / "templates" / app.TEMPLATE
    ours = (folder / "index.html.j2").read_text()
    theirs = (
        "{%- block notebook_css -%}<style>a</style>\n"
        '<link rel="stylesheet" href="https://cdn.example/a.css" type="text/css" />\n'
        '<link rel="stylesheet" href="/voila/b.css"><style>c</style>{%- endblock -%}'
    )
    pages = jinja2.DictLoader({"ours": ours, "voila/templates/lab/index.html.j2": theirs})
    page = jinja2.Environment(loader=pages, autoescape=True).get_template("ours").render()
    assert "https://" not in page
    assert "<style>a</style>" in page
    assert '<link rel="stylesheet" href="/voila/b.css"><style>c</style>' in page


def test_a_wrong_parameter_is_told_before_anything_starts() -> None:
    result = CliRunner().invoke(commands, ["app", "--no-browser", "-p", "nope=1"])
    assert isinstance(result.exception, ConfigError)
    assert "no parameter nope" in str(result.exception)
