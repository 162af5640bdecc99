"""What the documentation is made by, without building it: `make docs` does that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import airlens as al

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from generate import api, architecture, claims, gallery, lookup, notebooks, offline, rooms  # noqa: E402

import links  # noqa: E402  # isort: skip


def test_every_public_name_is_on_one_page_with_a_docstring() -> None:
    names = [name for listed in api.names_by_room().values() for name in listed]
    assert len(names) == len(set(names))
    public = {f"airlens.{n}" for n in al.__all__ if not n.startswith("__")} - {"airlens.figures"}
    assert public <= set(names)
    assert not [bad for name in names for bad in api.missing_docstrings(name)]


def test_a_missing_docstring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def method(self) -> None:
            pass

    monkeypatch.setattr(al, "Bare", Bare, raising=False)
    assert api.missing_docstrings("airlens.Bare") == ["airlens.Bare", "airlens.Bare.method"]


def test_rows_and_arrows_of_a_known_graph() -> None:
    arrows = {"app": {"plot", "core", "run"}, "plot": {"core"}, "run": {"core"}, "core": set()}
    assert architecture.layers(arrows) == {"app": 2, "plot": 1, "run": 1, "core": 0}
    needed = architecture.needed_arrows(arrows)
    assert needed["app"] == {"plot", "run"}
    with pytest.raises(ValueError, match="circle of imports: core → plot → core"):
        architecture.layers({"core": {"plot"}, "plot": {"core"}})


def test_every_file_of_the_package_is_in_its_room() -> None:
    found = rooms.read_rooms()
    files = {module.path for room in found.values() for module in room.modules}
    assert files == set((ROOT / "airlens").rglob("*.py")) - {ROOT / "airlens" / "__init__.py"}
    assert rooms.room_of("airlens.views.figures.head_maps") == "views"
    assert rooms.room_of("airlens.heads") == "heads"
    assert rooms.room_of("airlens.errors") == rooms.GROUND
    assert "airlens" not in found


def test_rooms_are_read_in_an_order_in_which_each_imports_what_was_read() -> None:
    found = rooms.read_rooms()
    assert set(rooms.READING) == set(found)
    for at, name in enumerate(rooms.READING):
        assert found[name].imports <= set(rooms.READING[:at]), name
    assert set(api.names_by_room()) <= {*rooms.READING, "errors"}


def test_tables_hold_the_numbers_of_the_results() -> None:
    frame = pd.read_csv(claims.VALIDITY / "planted" / "auroc.csv")
    row = frame.query("kind == 'restated' and score == 'ais' and mode == 'uniform'")
    row = row[row["heads"] == "top"].iloc[0]
    line = next(x for x in claims.planted_table().splitlines() if x.startswith("| `restated`"))
    assert f"{row.auroc:.2f}\u00a0[{row.lo:.2f},\u00a0{row.hi:.2f}]" in line
    every = pd.read_csv(claims.VALIDITY / "heads" / "claims.csv")
    table = claims.claims_table("heads")
    assert table.count("**holds**") == int(every["holds"].sum())
    assert all(text.replace("|", "\\|") in table for text in every["claim"])


def test_sets_of_heads_stand_beside_each_other_pair_by_pair(tmp_path: Path) -> None:
    pairs = [("average", "lookup"), ("average", "continuation"), ("lookup", "continuation")]
    rows = [
        {"set": one, "against": other, "kind": "restated", "score": score}
        | {"auroc": 0.1 * i, "auroc_against": 0.2, "difference": 0.1 * i - 0.2, "n": 48}
        | {"lo": -0.5, "hi": 0.5}
        for i, (one, other) in enumerate(pairs)
        for score in ("ais", "ais_novel", "delta")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "planted_sets.csv", index=False)
    table = lookup.planted_table(tmp_path)
    heads = "| planted | score | lookup heads | continuation heads | difference | n |"
    assert table.count("| planted |") == 3 and heads in table and "delta" not in table
    own = table[table.index(heads) :]
    assert "| restated | AIS | 0.20 | 0.20 | 0.00\u00a0[-0.50,\u00a00.50] | 48 |" in own


def test_the_sentence_on_lookup_heads_is_what_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "ranks real steps above restated ones more by average heads than by"
    verdicts = {
        f"AIS {words} lookup heads": "fails",
        f"Novel AIS {words} lookup heads": "undecided",
        "first tokens: ablating stops more copying by average heads than by lookup heads": "holds",
        f"AIS {words} random heads anywhere": "holds",
    }
    frame = pd.DataFrame({"claim": list(verdicts), "verdict": list(verdicts.values())})
    folder = tmp_path / "model"
    folder.mkdir()
    frame.to_csv(folder / "claims.csv", index=False)
    (folder / "provenance.json").write_text(json.dumps({"model": {"name": "m"}}))
    monkeypatch.setattr(lookup, "FOLDERS", [folder])
    monkeypatch.setattr(lookup, "LOOKUP", tmp_path)
    (line,) = lookup.lookup_sentences()
    assert "(m, of 4 claims 2 hold, 1 fail" in line and "3 set them against" in line
    more, less = line.split("decided more by the average heads: ")[1].split("; decided more by ")
    assert more == "first tokens: ablating stops more copying"
    assert less == "the lookup heads: AIS ranks real steps above restated ones."


def test_each_figure_has_a_picture_and_the_lines_that_make_it() -> None:
    shown = gallery.examples()
    names = gallery.figure_names()
    assert {"head_map", "step_bars", "trace_html"} <= set(names) and "speed_frame" not in names
    assert set(names) <= set(shown)
    placed = {module for _, modules in gallery.PAGES.values() for module in modules}
    assert {getattr(al.figures, name).__module__.rsplit(".", 1)[-1] for name in names} == placed
    for name in set(names) & set(shown):
        made = shown[name].code
        assert name in made or name in gallery.THROUGH
        assert "plot" in shown[name].html


def test_the_last_lines_of_a_cell() -> None:
    short = "a = 1\nal.figures.x(a)"
    assert gallery.last_lines(short) == short
    cell = "a = 1\nb = 2\nc = f(\n    a,\n    b,\n)\nd = 3\nal.figures.x(c)\n"
    assert gallery.last_lines(cell) == "c = f(\n    a,\n    b,\n)\nd = 3\nal.figures.x(c)"


def test_what_is_loaded_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="https://x.org">fine</a><link rel="canonical" href="https://x.org">'
        '<script src="https://x.org/a.js"></script><img src="//x.org/b.png">'
        '<link rel="stylesheet" href="style.css"><img src="data:image/png;base64,AAAA">'
    )
    (tmp_path / "style.css").write_text("@font-face { src: url('https://x.org/f.woff2') }")
    assert offline.loads_from_elsewhere(tmp_path) == [
        "a.html: https://x.org/a.js",
        "a.html: //x.org/b.png",
        "style.css: https://x.org/f.woff2",
    ]


def test_notebooks_lose_what_a_page_does_not_show() -> None:
    path = notebooks.paths()[0]
    shown = notebooks.shown(json.loads(path.read_text(encoding="utf-8")))
    kinds = {k for c in shown["cells"] for o in c.get("outputs", []) for k in o.get("data", {})}
    assert "image/png" in kinds and not any("plotly" in kind for kind in kinds)
    assert len(notebooks.paths()) == len(list((ROOT / "notebooks").glob("*.ipynb")))


def test_links_for_a_clone() -> None:
    for address in ("git@github.com:a/b.git", "https://github.com/a/b", "a/b"):
        assert links.repository(address) == "a/b"
    with pytest.raises(ValueError, match="not on GitHub"):
        links.repository("https://example.org/a/b.git")
    name, binder, colab = links.links("a/b")[0]
    assert name == "00_quickstart"
    assert binder.startswith("https://mybinder.org/v2/gh/a/b/HEAD") and "/a/b/blob/" in colab


def test_ci_runs_what_ci_run_runs_on_every_python() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = flow["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])
    assert "make check" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^check: lint types test docs ", makefile, re.MULTILINE)
    assert re.search(r"sphinx -W ", makefile)


def test_c24_ci_runs_the_fast_tests_on_every_system_that_is_named() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = flow["jobs"]["elsewhere"]
    assert job["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    said = "\n".join(step.get("run", "") for step in job["steps"])
    assert "not slow" in said and "mypy" in said
    named = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    systems = re.findall(r'"Operating System :: (?:.* :: )?(\w+)"', named)
    assert systems == ["MacOS", "Windows", "Linux"]


def test_binder_has_the_torch_that_is_tested() -> None:
    torch = re.search(r"^TORCH = (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert torch is not None
    lines = (ROOT / ".binder/requirements.txt").read_text(encoding="utf-8").split()
    assert torch[1] in lines
    model = re.search(r"^MODEL = (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert model is not None
    assert model[1] in (ROOT / ".binder/postBuild").read_text(encoding="utf-8")


def test_the_diffs_of_contributing_apply(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    diffs = re.findall(r"```diff\n(.*?)```", text, re.S)
    assert len(diffs) == 5
    shutil.copytree(ROOT / "airlens", tmp_path / "airlens", ignore=shutil.ignore_patterns("*.pyc"))
    for diff in diffs:
        assert diff.count("\n") < 40
        check = ["git", "apply", "--check", "--recount", "-"]
        done = subprocess.run(check, cwd=tmp_path, input=diff, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_the_architecture_page_names_files_that_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Where do I change") : text.index("## Every file")]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for name in re.findall(r"`([a-z_.]+)`", " ".join(rows)):
        place = ROOT / "airlens" / name.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), name
