"""macOS and Windows: nothing that only Linux has, the same bytes, names that every system takes."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import hf_model, tokenizer
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

import airlens as al
from airlens import files
from airlens.ablation import MODES
from airlens.cli import ending
from airlens.cli.options import echo_json
from airlens.corpus.export import _weights_of
from airlens.errors import ConfigError, out_of_memory
from airlens.experiments.paper import compare_models
from airlens.experiments.validity.resumable_influence import resumable_influence
from airlens.files import atomic_file, atomic_write_text, need_out_file, portable_name
from airlens.folders import atomic_dir, write_tables
from airlens.heads import HeadSet
from airlens.losses.fast import process_settings
from airlens.model import gguf as gguf_model
from airlens.traces import splits
from airlens.views.figures import image_files

ROOT = Path(__file__).resolve().parents[2]

# What Windows lacks; airlens may ask for it only where it does without.
ELSEWHERE = """
import builtins, ctypes, importlib, os, pkgutil, signal, sys
sys.path.insert(0, sys.argv[1])
import airlens
from tiny_zoo import hf_model, tokenizer

def modules():
    found = pkgutil.walk_packages(airlens.__path__, "airlens.")
    return [module.name for module in found if not module.name.endswith("__main__")]

def score():
    model = airlens.load_model(hf_model("llama"), tokenizer=tokenizer(), device="cpu")
    traces = [airlens.Trace("a", "one two", "three. four")]
    return airlens.influence(model, traces, "L0H1", progress=False).samples

# Once as it is: what airlens imports of others may ask for what Linux has.
for name in modules():
    importlib.import_module(name)
score()
for name in [name for name in sys.modules if name.partition(".")[0] == "airlens"]:
    del sys.modules[name]

POSIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline"}
imported = builtins.__import__

def refusing(name, globals=None, *rest, **options):
    if name in POSIX and str((globals or {}).get("__name__", "")).startswith("airlens"):
        raise ModuleNotFoundError(f"No module named {name!r}")
    return imported(name, globals, *rest, **options)

builtins.__import__ = refusing
for name in ("fork", "getuid", "geteuid", "uname", "sched_getaffinity", "getloadavg", "killpg",
             "setsid", "mkfifo", "sync", "statvfs", "sysconf", "fchmod", "chown"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGALRM", "SIGKILL", "SIGUSR1", "alarm", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
load = ctypes.CDLL

def windows_dll(name, *rest, **options):
    if name is None:
        raise TypeError("argument of type 'NoneType' is not iterable")
    return load(name, *rest, **options)

ctypes.CDLL = windows_dll
import airlens

failed = []
for name in modules():
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{name}: {error!r}")
assert not failed, failed
assert score()["ais"].notna().all()
from airlens.losses.fast.process_settings import fast_allocator

sys.platform = "win32"
assert not fast_allocator()
"""


@pytest.mark.slow
def test_c24_every_module_is_imported_and_scores_without_what_only_posix_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(ROOT / "tests")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_c24_the_c_library_is_asked_only_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: object) -> Any:
        raise TypeError("no C library of that name")

    def unreadable() -> tuple[str, str]:  # an alias of the Windows Store
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(process_settings.ctypes, "CDLL", none)
    monkeypatch.setattr(process_settings.platform, "libc_ver", unreadable)
    for system in ("win32", "darwin"):
        monkeypatch.setattr(process_settings.sys, "platform", system)
        assert not process_settings.fast_allocator()


def text_calls(path: Path) -> list[str]:
    """Calls that read or write text without saying its encoding."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        owner = getattr(getattr(called, "value", None), "id", "")
        named = {word.arg for word in node.keywords}
        plain = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if name == "read_text":
            bad = not (node.args or "encoding" in named)
        elif name == "write_text":
            bad = "encoding" not in named
        elif name == "open":
            bad = owner not in ("archive", "Image") and "encoding" not in named
            bad = bad and not any(re.fullmatch("[rwax+]*b[rwax+]*", str(value)) for value in plain)
        elif name in ("run", "Popen", "check_output"):
            bad = bool({"text", "universal_newlines"} & named) and "encoding" not in named
        else:
            continue
        if bad:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


@pytest.mark.parametrize("folder", ["airlens", "tools", "benchmarks", "docs/generate"])
def test_c24_text_is_read_and_written_in_a_named_encoding(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    assert [place for path in paths for place in text_calls(path)] == []


def test_c24_files_are_the_same_bytes_where_lines_end_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "linesep", "\r\n")  # what pandas asks; io knows it without asking
    opened = Path.write_text

    def on_windows(self: Path, data: str, *rest: Any, **options: Any) -> int:
        if options.get("newline") is None:
            options["newline"] = "\r\n"
        return opened(self, data, *rest, **options)

    monkeypatch.setattr(Path, "write_text", on_windows)
    atomic_write_text(tmp_path / "a.json", '{"é": 1}\nb\n')
    assert (tmp_path / "a.json").read_bytes() == '{"é": 1}\nb\n'.encode()
    write_tables(tmp_path, {"t": pd.DataFrame({"a": [1, 2]})}, {})
    assert (tmp_path / "t.csv").read_bytes() == b"a\n1\n2\n"


def test_c24_a_checkout_has_the_lines_of_the_repository() -> None:
    """Git on Windows ends lines in CRLF, unless told; hashes of the bundled files would differ."""
    told = (ROOT / ".gitattributes").read_text(encoding="utf-8").split("\n")
    assert "* text=auto eol=lf" in told
    assert b"\r" not in al.data_path("sentences.txt").read_bytes()


def test_c24_a_file_that_another_process_has_open_is_replaced_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a status that is being read, or a scanner of viruses, must not end a run."""
    target, attempts = tmp_path / "run.json", []
    replace = Path.replace

    def held(self: Path, other: Any) -> Any:
        attempts.append(1)
        if len(attempts) < 4:
            raise PermissionError(13, "The process cannot access the file", str(other))
        return replace(self, other)

    waited: list[float] = []
    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(files.time, "sleep", waited.append)
    monkeypatch.setattr(files, "WINDOWS", False)
    with pytest.raises(al.AirlensError), atomic_file(target) as temporary:  # Linux does not wait
        temporary.write_bytes(b"1")
    assert not target.exists()
    monkeypatch.setattr(files, "WINDOWS", True)
    atomic_write_text(target, "2")
    assert target.read_bytes() == b"2" and waited == list(files.PAUSES[: len(waited)])
    attempts[:] = [0] * -99  # from now on it stays open
    monkeypatch.setattr(Path, "replace", lambda *_: held_for_ever())
    with pytest.raises(al.AirlensError, match=r"run\.json"):
        atomic_write_text(target, "3")
    assert target.read_bytes() == b"2"


def held_for_ever() -> None:
    raise PermissionError(13, "The process cannot access the file", "run.json")


def test_c24_a_folder_takes_the_place_of_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def on_windows(self: Path, target: Any) -> Any:
        if Path(target).exists():
            raise FileExistsError(17, "Cannot create a file when that file already exists")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", on_windows)
    target = tmp_path / "out"
    target.mkdir()
    with atomic_dir(target) as temporary:
        (temporary / "a").write_bytes(b"1")
    assert [path.name for path in target.iterdir()] == ["a"]
    with atomic_dir(target) as temporary:  # another process was first
        (temporary / "b").write_bytes(b"1")
    assert [path.name for path in target.iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_c24_a_result_is_not_lost_where_the_empty_folder_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "in use", str(tmp_path / "out"))

    monkeypatch.setattr(Path, "rename", refused)
    monkeypatch.setattr(Path, "rmdir", refused)
    (tmp_path / "out").mkdir()
    with pytest.raises(al.AirlensError, match="out"), atomic_dir(tmp_path / "out") as temporary:
        (temporary / "a").write_bytes(b"1")


def test_c24_a_drive_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nothing(self: Path, **_: Any) -> bool:
        asked.append(self)
        assert len(asked) < 100, "for ever"
        return False

    with monkeypatch.context() as patched, pytest.raises(ConfigError, match="there is no "):
        patched.setattr(Path, "exists", nothing)
        need_out_file("/somewhere/that/is/not")


def test_c24_patterns_of_a_readme_stay_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "Path", PureWindowsPath)
    listed = [
        "C:/Users/*.parquet",
        "C:x.parquet",
        "\\\\host\\share\\*",
        "/x",
        "..\\x",
        "data/*.parquet",
    ]
    assert splits._patterns(listed) == {"train": ["data/*.parquet"]}


def test_c24_files_are_read_in_the_same_order_on_every_system() -> None:
    names = ["b.jsonl", "B.jsonl", "a/z.jsonl", "a.jsonl", "A/y.jsonl", "a0.jsonl"]
    posix = [path.as_posix() for path in sorted(map(PurePosixPath, names))]
    windows = [PureWindowsPath(name.replace("/", "\\")) for name in names]
    assert [path.as_posix() for path in splits.in_order(windows)] == posix  # type: ignore[arg-type]


RESERVED = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


@given(
    st.lists(st.text(), unique=True, max_size=4), st.sampled_from(["zero", "org/M:1", "CON", "a."])
)
@settings(deadline=None)
def test_c24_names_of_files_are_such_on_every_system(texts: list[str], more: str) -> None:
    texts = list(dict.fromkeys([*texts, more, more.upper(), more.lower()]))
    names = [portable_name(text) for text in texts]
    assert len({name.casefold() for name in names}) == len(texts)
    for name in names:
        assert name and not set(name) & set('<>:"/\\|?*') and all(ord(c) > 31 for c in name)
        assert not name.endswith((" ", ".")) and name.split(".")[0].lower() not in RESERVED
        assert len(name) <= 100 and name.isascii()


def test_c24_plain_names_stay_as_they_are() -> None:
    for name in ("zero", "uniform", "smollm2-135m", "knockout-layer-matched-0", "v1.5"):
        assert portable_name(name) == name


def test_c24_measurements_of_modes_that_differ_in_case_are_kept_apart(tmp_path: Path) -> None:
    """On a file system that does not tell them apart one would be handed out for the other."""
    model = al.load_model(hf_model("llama"), tokenizer=tokenizer(), device="cpu")
    for name, share in (("aux", 0.5), ("AUX", 0.0)):
        al.register("ablation", name, partial(scaled, share))
    traces = [al.Trace("a", "ab", "cd. ef")]
    options: dict[str, Any] = {"modes": ("aux", "AUX"), "controls": 0, "progress": False}
    try:
        found = resumable_influence(model, traces, HeadSet([(0, 1)]), folder=tmp_path, **options)
    finally:
        for name in ("aux", "AUX"):
            MODES.remove(name)
    names = [path.name.casefold() for path in tmp_path.iterdir()]
    assert len(set(names)) == 2
    assert all(name.split(".")[0] not in RESERVED for name in names)
    assert not np.allclose(found["aux"].tokens["nll_ref"], found["AUX"].tokens["nll_ref"])


def scaled(share: float, model: Any, layer: int, heads: list[int]) -> Any:
    def edit(z: Any) -> Any:
        z = z.clone()
        z[:, :, heads] *= share
        return z

    return f"blocks.{layer}.attn.hook_z", edit


@pytest.mark.parametrize("name", ["/models/mine", "C:\\models\\mine", "org/model", "a:b"])
def test_c24_what_is_measured_of_a_model_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    """A model of one's own is called by its path, which was joined to the folder of the results."""
    job = compare_models._Job.__new__(compare_models._Job)
    job.name, job.key, job.folder = name, "0" * 16, tmp_path
    path = job._file("samples", ".parquet")
    assert path is not None and path.parent == tmp_path and not set(path.name) & set("/\\:")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("words", [["--help"], ["doctor", "--help"], ["score", "--help"]])
def test_c24_a_console_that_is_not_utf8_is_no_error(encoding: str, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airlens", *words],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"airlens" in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_c24_what_is_printed_of_any_text_is_no_error(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", out)
    ending._print_anything()
    echo_json({"name": "日本 × — ∞"})
    out.write("3 skipped × 日本 —\n")
    out.flush()
    lines = raw.getvalue().decode(encoding).splitlines()
    assert json.loads(lines[0]) == {"name": "日本 × — ∞"} and lines[1].startswith("3 skipped ")


@pytest.mark.parametrize("place", ["out\\s.weights.parquet", "out/s.weights.parquet"])
def test_c24_weights_are_found_whichever_system_wrote_the_selection(
    place: str, tmp_path: Path
) -> None:
    table = pd.DataFrame({"id": ["a", "a"], "step": [1, 0], "weight": [2.0, 1.0]})
    table.to_parquet(tmp_path / "s.weights.parquet")
    assert _weights_of(tmp_path / "s.jsonl", {"weights": place}) == {"a": [1.0, 2.0]}


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "MPS backend out of memory (MPS allocated: 1 GB)",
        "CUDA out of memory. Tried to allocate 1 GiB",
    ],
)
def test_c24_memory_that_ran_out_is_known_on_every_system(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows no batch was made smaller; a model that did not fit was "not supported"."""
    assert out_of_memory(RuntimeError(message)) and out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("size mismatch")) and not out_of_memory(
        ValueError(message)
    )

    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError(message)

    monkeypatch.setattr(TransformerBridge, "boot_transformers", full)
    with pytest.raises(al.AirlensError, match="memory is too small for it") as told:
        al.load_model(hf_model("llama"), tokenizer=tokenizer(), device="cpu")
    assert "supported" not in str(told.value)


def test_c24_figures_whose_names_are_one_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS the second replaced the first; on Windows "a:b" is a hidden part of the file "a"."""
    with pytest.raises(ConfigError, match="differ in case only"):
        image_files.save_figures({"Loss": go.Figure(), "loss": go.Figure()}, tmp_path)
    monkeypatch.setattr(image_files, "WINDOWS", True)
    with pytest.raises(ConfigError, match="'a:b' is no file name"):
        image_files.save_figures({"a:b": go.Figure()}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_c24_a_gguf_file_that_memory_is_too_small_for_is_a_gguf_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", full)
    with pytest.raises(al.AirlensError, match=r"m\.gguf: memory is too small to convert it"):
        gguf_model._convert(tmp_path / "m.gguf", tmp_path)
