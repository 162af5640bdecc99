"""The files that say what airlens needs agree, and the package holds what it should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import airlens as al

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS = ("linux", "darwin", "win32")
TORCH = "2.13.0"
MAX_KB = 1000


@lru_cache(maxsize=1)
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@lru_cache(maxsize=1)
def constraints() -> tuple[Requirement, ...]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return tuple(Requirement(line) for line in lines if line.strip() and not line.startswith("#"))


def requirements() -> list[Requirement]:
    """Every requirement of the project and its extras, but for those on its own extras."""
    listed = [*project()["dependencies"]]
    for extra in project()["optional-dependencies"].values():
        listed += extra
    return [r for r in map(Requirement, listed) if r.name != "airlens"]


def pins(python: str, platform: str = "linux") -> dict[str, Version]:
    """Name -> pinned version, as pip reads constraints.txt on that Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_machine": "arm64" if platform == "darwin" else "x86_64",
        "os_name": "nt" if platform == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, Version] = {}
    for pin in constraints():
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python} on {platform}"
            (specifier,) = pin.specifier
            found[name] = Version(specifier.version)
    return found


def checkout_files() -> list[Path]:
    """The files that are, or could be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_constraints_are_exact_pins() -> None:
    for pin in constraints():
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        assert "*" not in specifier.version
        assert Version(specifier.version).local is None, f"{pin}: a local version fits one machine"


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_a_pin_within_its_bounds(python: str, platform: str) -> None:
    pinned = pins(python, platform)
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} has no pin for Python {python}: run `make lock`"
        assert requirement.specifier.contains(pinned[name]), f"{requirement}, pin {pinned[name]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_torch_stays_where_it_is(python: str) -> None:
    assert pins(python)["torch"] == Version(TORCH)


def test_every_dependency_has_a_lower_bound() -> None:
    for requirement in requirements():
        assert any(s.operator == ">=" for s in requirement.specifier), str(requirement)


def test_dev_holds_every_other_extra() -> None:
    extras = dict(project()["optional-dependencies"])
    (own,) = [r for r in map(Requirement, extras.pop("dev")) if r.name == "airlens"]
    assert own.extras == set(extras)


def test_python_versions_agree() -> None:
    supported = SpecifierSet(project()["requires-python"])
    named = {
        text.rsplit(" ", 1)[1]
        for text in project()["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)
    }
    assert named == set(PYTHONS)
    assert {f"3.{minor}" for minor in range(30) if supported.contains(f"3.{minor}.9")} == named


def test_the_conda_environment_installs_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == project()["name"]
    *conda, last = environment["dependencies"]
    (python,) = [entry.partition("=")[2] for entry in conda if entry.startswith("python=")]
    assert python in PYTHONS
    assert "pip" in conda
    assert last["pip"] == ["-c constraints.txt", "-e .[dev]"]


def test_the_makefile_installs_the_same() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^TORCH = torch==(.*)$", makefile, re.M) == [TORCH]
    (model,) = re.findall(r"^MODEL = (\S+==\S+)$", makefile, re.M)
    assert model in (ROOT / "environment.yml").read_text(encoding="utf-8")
    source = (ROOT / "airlens" / "model" / "packaged.py").read_text(encoding="utf-8")
    name, version = re.findall(r'^PACKAGE(?:_VERSION)? = "(.*)"$', source, re.M)
    assert model == f"{name}=={version}"


def test_versions_agree() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == al.__version__


def test_the_citation_names_the_papers() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    urls = {reference["url"].rsplit("/", 1)[1] for reference in cited["references"]}
    assert urls == {"2512.13279", "2505.07293", "2404.15574"}


def test_nothing_names_a_registry_or_somebodys_machine() -> None:
    folders = "|".join(("work", "opt", "root", "home", "Users", "mnt", "srv"))
    hosts = "|".join(
        (r"pypi\.org", r"pythonhosted\.org", r"download\.pytorch\.org", r"registry\.npmjs")
    )
    path = re.compile(rf"(?<![\w.~-])/(?:{folders})/\w[\w.-]*")
    host = re.compile(rf"(?:{hosts})/?", re.I)
    found = []
    for file in checkout_files():
        if file == Path(__file__).resolve():
            continue
        content = file.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", errors="replace")
        for pattern in (path, host):
            found += [f"{file.relative_to(ROOT)}: {m.group()}" for m in pattern.finditer(text)]
    assert not found, "\n".join(found[:20])


def test_no_file_is_large() -> None:
    large = [p.name for p in checkout_files() if p.stat().st_size > MAX_KB * 1024]
    assert not large, f"over {MAX_KB} kB: {large}"


def test_import_is_light() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import airlens; "
        "print(time.perf_counter() - start); "
        "print(*sorted({'torch', 'transformers', 'transformer_lens', 'plotly', 'datasets'} "
        "& set(sys.modules)))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\n")
        for _ in range(3)
    ]
    assert runs[0][1] == "", f"import airlens imports {runs[0][1]}"
    assert min(float(seconds) for seconds, *_ in runs) < 1.0


def test_the_wheel_holds_the_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling to build a wheel")
    program = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("airlens-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        shipped = json.loads(archive.read("airlens/_data/07_explorers.ipynb"))
    committed = json.loads((ROOT / "notebooks" / "07_explorers.ipynb").read_text(encoding="utf-8"))
    cells = list(zip(shipped["cells"], committed["cells"], strict=True))
    assert all(cell["source"] == own["source"] for cell, own in cells)
    assert all(cell["metadata"] == own["metadata"] for cell, own in cells)
    assert not any(cell.get("outputs") for cell, _ in cells), "the app makes its own outputs"
    assert any(own.get("outputs") for _, own in cells)
    assert "airlens/__init__.py" in held
    assert "airlens/py.typed" in held, "without it, type checkers ignore airlens' annotations"
    data = {f"airlens/_data/{p.relative_to(ROOT / 'data')}" for p in (ROOT / "data").rglob("*")}
    assert {name for name in data if name.endswith((".txt", ".jsonl"))} <= held
    tops = {name.split("/")[0] for name in held}
    assert tops == {"airlens", f"airlens-{al.__version__}.dist-info"}
