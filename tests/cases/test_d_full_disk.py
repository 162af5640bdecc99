"""D14: where there is no room, one sentence, and what was there before is as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airlens.corpus import export as export_module
from airlens.corpus.export import export
from airlens.corpus.table_files import format_of, write_rows
from airlens.errors import ConfigError, RunError, WriteError
from airlens.files import atomic_file, atomic_write_text
from airlens.folders import atomic_dir
from tests.cases.corpus_kit import ROWS, files, refused, run, score, write

ROW = {"id": "a", "prompt": "p", "response": "r" * 100_000, "steps": []}
SMALL = 4096


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


@contextmanager
def no_room() -> Iterator[None]:
    """No file can grow beyond a few thousand bytes, as on a disk that is nearly full.

    Inside a test only: pytest itself may write to a file between fixtures.
    """
    resource = pytest.importorskip("resource")
    import signal

    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        signal.signal(signal.SIGXFSZ, handler)


NAMES = ["x.jsonl", "x.jsonl.gz", "x.json", "x.csv", "x.parquet", "x.arrow", "x"]


@pytest.mark.parametrize("name", NAMES)
def test_d14_an_export_that_finds_no_room(tmp_path: Path, name: str) -> None:
    rows = [{**ROW, "response": os.urandom(20_000).hex()}]
    if name != "x":
        (tmp_path / name).write_bytes(b"before")
    told = rf"{name} could not be written \(.*\): make room"
    with pytest.raises(WriteError, match=told), no_room():
        write_rows(lambda: rows, tmp_path / name, format_of(name))
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ([name] if name != "x" else [])
    if name != "x":
        assert (tmp_path / name).read_bytes() == b"before"


def test_d14_select_and_export_say_it(model: Any, tmp_path: Path) -> None:
    rows = [{**row, "note": os.urandom(3000).hex()} for row in ROWS]
    score(model, write(tmp_path / "d.jsonl", rows), tmp_path / "out")
    out = tmp_path / "s.jsonl"
    run("select", tmp_path / "out", "--top", "1.0", "--weights", "linear", "--out", out)
    before = {path: path.read_bytes() for path in tmp_path.glob("s.*")}
    parts = files(tmp_path / "out")
    with no_room():
        selected = refused("select", tmp_path / "out", "--top", "1.0", "--out", out)
        exported = refused("export", out, "--out", tmp_path / "x.parquet")
    assert "s.jsonl could not be written (File too large): make room" in selected
    assert "x.parquet could not be written" in exported
    assert {path: path.read_bytes() for path in tmp_path.glob("s.*")} == before
    assert not list(tmp_path.glob("x.*")) and files(tmp_path / "out") == parts


@pytest.mark.parametrize("step", ["_write_manifest", "_sums"])
def test_d14_no_room_for_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    chosen = write(tmp_path / "s.jsonl", [ROW])

    def full(*args: Any) -> None:
        raise WriteError("x.jsonl", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    monkeypatch.setattr(export_module, step, full)
    with pytest.raises(RunError, match="No space left on device"):
        export(chosen, tmp_path / "x.jsonl")


def test_d14_other_errors_are_not_about_room(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.txt"):
        (tmp_path / "absent").read_text()
    with pytest.raises(ConnectionError), atomic_file(tmp_path / "a.txt"):
        raise ConnectionError("no network")
    with pytest.raises(PermissionError), atomic_file(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/b.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_d14_a_device_that_is_always_full(tmp_path: Path) -> None:
    chosen = write(tmp_path / "s.jsonl", [ROW])
    with pytest.raises(ConfigError, match="no plain file; name one"):
        export(chosen, "/dev/full", kind="jsonl")
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="no plain file; name one"):
        export(chosen, tmp_path / "full.jsonl")
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            temporary.write_text("x")
        temporary.unlink()
        temporary.touch()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_d14_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="Permission denied"):
        atomic_write_text(tmp_path / "a.txt", "x")
    with pytest.raises(WriteError, match="Permission denied"), atomic_dir(tmp_path / "a"):
        pass
    tmp_path.chmod(0o700)
