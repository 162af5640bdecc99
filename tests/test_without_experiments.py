"""The library, its explorers and its commands work where the folder of experiments is deleted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import airlens as al

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python in a folder that has a copy of airlens without its experiments."""
    home = tmp_path_factory.mktemp("without")
    shutil.copytree(ROOT / "airlens", home / "airlens", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.rmtree(home / "airlens" / "experiments")
    for name in ("data", "notebooks"):
        (home / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(home)}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=home, env=environment, capture_output=True, text=True, timeout=500
        )

    return python


def _names(of_experiments: bool) -> list[str]:
    stub = (ROOT / "airlens" / "__init__.pyi").read_text(encoding="utf-8")
    places = re.findall(r"^from (\S+) import (\w+)", stub, re.M)
    return [name for place, name in places if ("experiments" in place) == of_experiments]


def test_all_other_public_names_are_there(run: Run) -> None:
    code = "import airlens as al\nassert 'without' in al.__file__\n"
    code += f"[getattr(al, name) for name in {_names(False)}]"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert {"influence", "figures", "HeadExplorer"} <= set(_names(False))


def test_a_name_of_the_experiments_is_missing_by_name(run: Run) -> None:
    done = run("-c", "import airlens as al\nal.validate")
    assert "No module named 'airlens.experiments'" in done.stderr
    assert set(_names(True)) >= {"validate", "compare_models", "study_table"}


def test_figures_of_the_library_are_there_without_those_of_experiments(run: Run) -> None:
    code = "import airlens as al\nprint(sorted(al.figures.FIGURES))\nal.figures.head_map"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    left = set(al.figures.FIGURES) - set(re.findall(r"\w+", done.stdout))
    assert "study_forest" in left
    assert "step_bars" not in left


def test_every_command_has_its_help(run: Run) -> None:
    names = ["heads", "score", "select", "export", "report", "page", "train", "evaluate", "demo"]
    code = "from typer.testing import CliRunner\nfrom airlens.cli import app\n"
    code += f"codes = [CliRunner().invoke(app, [n, '-h']).exit_code for n in {names}]\n"
    code += "assert not any(codes), codes"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.model
@pytest.mark.slow
def test_the_quickstart_of_the_readme_runs(run: Run) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    for long, short in (("n=12, max_tokens=840", "n=2, max_tokens=600"), ("[:8]", "[:2]")):
        assert long in code
        code = code.replace(long, short)
    done = run("-c", code + "\nprint(open('page.html').read()[:15])")
    assert done.returncode == 0, done.stderr
    assert "<!doctype html>" in done.stdout.lower()
