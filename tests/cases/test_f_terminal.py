"""F2, F6, F9, F11 and what a terminal does: every command, as a newcomer types it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
import typer
from conftest import tiny_config, word_tokenizer
from typer.testing import CliRunner

from airlens import cli
from airlens.cli import checks
from airlens.errors import ConfigError
from airlens.files import need_out_file, need_out_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and shells of POSIX")
GROUP: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = GROUP.commands
ROW = {"id": "a", "prompt": "2 + 3?", "response": "It is 5. So 5.", "domain": "maths"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type in: traces, a folder, and no model that can be loaded."""
    (tmp_path / "traces.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.testing._get_command", lambda app: GROUP)  # made once: quicker
    monkeypatch.setattr("airlens.model.load.load_model", _no_work)
    monkeypatch.setattr("airlens.model.files.load_hf", _no_work)
    return tmp_path


def _no_work(*given: Any, **options: Any) -> Any:
    raise AssertionError("a model was loaded")


NEEDED = {
    "score": ["traces.jsonl", "--heads", "L0H0", "--out", "out"],
    "status": ["folder"],
    "select": ["folder"],
    "report": ["folder"],
    "export": ["traces.jsonl", "--out", "out.jsonl"],
    "train": ["traces.jsonl", "--out", "out"],
    "evaluate": ["traces.jsonl"],
}
# What each kind of value may not be; an option's metavar says which kind it takes.
BAD = {
    "NAME": ["no-such-name", ""],
    "NAMES": ["no-such-name"],
    "NUMBER": ["0", "-1", "nan", "x"],
    "SHARE|COUNT": ["0", "-1", "1.5", "150%", "some"],
    "FILE|NAMES": ["no.json", "folder", "L1", "traces.jsonl"],
    "FILE|FOLDER|NAME": ["no.jsonl", "/no/such", "./no", "*.csv"],
    "DATA": ["no.jsonl", "/no/such", "./no", "*.csv"],
    "SELECTED": ["no.jsonl", "folder"],
    "FOLDER": ["traces.jsonl", "traces.jsonl/below", "/proc/no/folder"],
    "FILE": ["folder", "traces.jsonl/below", "/proc/no/file", "-", ""],
    "MAP": ["foo", "no.json", ""],
    "SIZES": ["lots", "0=20", ""],
    "DEVICE": ["h1000", "peak=1e12", ""],
    "MODEL": ["/no/such", "./no", "no.gguf", "traces.jsonl"],
}
# Text that any value of is fine, or that is checked against data: no kind of its own.
FREE = {
    *("title", "by", "within", "quota", "device", "prompt_column", "response_column"),
    *(
        "messages_column",
        "thinking_column",
        "steps_column",
        "domain_column",
        "id_column",
        "split",
        "config",
    ),
    *("ray_address", "columns", "parameter", "lm_eval", "system_column", "answer_column"),
}


def kinds() -> list[Any]:
    """(command, option as typed or "" for an argument, bad value) of all that is checked."""
    found = []
    for name, command in COMMANDS.items():
        for param in command.params:
            is_option = param.param_type_name == "option"
            typed = max(param.opts, key=len) if is_option else ""
            kind = "MODEL" if typed == "--model" else param.metavar
            found += [(name, typed, kind, bad) for bad in BAD.get(kind or "", [])]
    return found


def test_f9_every_text_that_a_command_takes_is_checked() -> None:
    """A text or a path has a parser, or is free; so a new option cannot forget its check."""
    unchecked = []
    for registered in cli.app.registered_commands:
        hints = get_type_hints(registered.callback, include_extras=True)
        for name, hint in hints.items():
            told = getattr(hint, "__metadata__", ())
            is_text = (
                any(kind in str(hint.__args__[0]) for kind in ("str", "Path")) if told else False
            )
            if is_text and told[0].parser is None and name not in FREE:
                unchecked.append((registered.name, name))
    assert unchecked == [("export", "out")]  # a file or a folder: by the format, see below


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "traces.jsonl/below.jsonl"],
        ["-o", "folder", "--format", "parquet"],
        ["-o", "file", "--format", "datasets"],
        ["-o", "folder/", "--format", "jsonl"],
    ],
)
def test_f2_export_checks_its_place(place: Path, words: list[str]) -> None:
    (place / "file").write_text("x")
    result = CliRunner().invoke(cli.app, ["export", "traces.jsonl", *words])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"--out {words[1].rstrip('/')}")


@pytest.mark.parametrize(("command", "typed", "kind", "bad"), kinds())
def test_f2_f9_a_bad_value_is_refused_at_once(
    place: Path, command: str, typed: str, kind: str, bad: str
) -> None:
    before = sorted(place.rglob("*"))
    needed = list(NEEDED.get(command, []))
    if typed:
        arguments = [*needed, typed, bad]
    else:
        arguments = [bad, *needed[1:]]
    start = time.process_time()
    result = CliRunner().invoke(cli.app, [command, *arguments])
    seconds = time.process_time() - start
    shown = result.stderr
    assert result.exit_code == 2, (result.exception, shown)
    assert (typed or (kind if kind in ("DATA", "SELECTED") else "FOLDER")) in shown
    assert bad in shown and "Traceback" not in shown
    assert sorted(place.rglob("*")) == before
    assert seconds < 2


def test_f9_refusing_imports_no_torch(place: Path) -> None:
    """A bad value of each option again, in one process of their own."""
    lines = {}
    for command, option, _, bad in kinds():
        needed = list(NEEDED.get(command, []))
        line = [*needed, option, bad] if option else [bad, *needed[1:]]
        lines.setdefault((command, option), [command, *line])
    code = (
        "import json, sys, typer.testing\n"
        "from airlens import cli\n"
        "group = typer.main.get_command(cli.app)\n"
        "typer.testing._get_command = lambda app: group\n"
        "for line in json.load(sys.stdin):\n"
        "    assert typer.testing.CliRunner().invoke(cli.app, line).exit_code == 2, line\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(list(lines.values())),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_f9_names_are_those_of_the_library() -> None:
    from typing import get_args

    from airlens.ablation import MODES
    from airlens.detectors.detect import DETECTORS
    from airlens.experiments.validity.planting import KINDS
    from airlens.heads import PARTS
    from airlens.step_influence.forcing import FORCINGS
    from airlens.step_influence.rival_scores import RIVALS
    from airlens.traces.chat_template import Template
    from airlens.training.step_weights import SCHEMES

    assert tuple(MODES.own) == checks.MODES
    assert tuple(DETECTORS.own) == checks.DETECTORS
    assert get_args(Template) == checks.TEMPLATES
    assert set(checks.SCHEMES) == set(SCHEMES)
    assert tuple(KINDS) == checks.KINDS
    assert tuple(FORCINGS) == checks.FORCINGS
    assert PARTS == checks.PARTS
    assert RIVALS == checks.RIVALS


def test_f9_a_name_that_a_package_offers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlens.registry.offers", lambda group: {"halved": []})
    assert checks.offered("airlens.ablation_modes", *checks.MODES)("halved") == "halved"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}\n', "layout"),
        ('{"prompt": "p", "response": ""}\n', "empty"),
        ("", "no records"),
        ("not json\n", "JSON"),
    ],
)
def test_f9_data_of_which_nothing_can_be_scored(place: Path, text: str, reason: str) -> None:
    (place / "bad.jsonl").write_text(text, encoding="utf-8")
    line = ["score", "bad.jsonl", "--heads", "L0H0", "--out", "out"]
    result = CliRunner().invoke(cli.app, line)
    assert "bad.jsonl" in str(result.exception) and reason in str(result.exception)
    assert not (place / "out").exists()


def test_f9_a_wrong_column_is_named_before_the_model_loads(place: Path) -> None:
    line = ["score", "traces.jsonl", "--heads", "L0H0", "--out", "out", "--response-column", "no"]
    result = CliRunner().invoke(cli.app, [*line, "--prompt-column", "prompt"])
    assert "'no'" in str(result.exception)


def test_f2_places(tmp_path: Path) -> None:
    """What can be written to, known by trying, with nothing left behind."""
    (tmp_path / "file").write_text("x")
    locked = tmp_path / "locked"
    locked.mkdir()
    for good in (tmp_path / "new", tmp_path / "a" / "b" / "new", tmp_path / "file"):
        assert need_out_file(good) == good
    for good in (tmp_path / "new", tmp_path / "a" / "b", tmp_path):
        assert need_out_folder(good) == good
    assert need_out_folder(f"{tmp_path}/new/") == tmp_path / "new"
    bad_files: list[Any] = [tmp_path, f"{tmp_path}/new/", tmp_path / "file" / "x", "", "-", None, 3]
    bad_files += [tmp_path / ("n" * 300), "nul\0", "/dev/null", "/proc/x"]
    for bad in bad_files:
        with pytest.raises(ConfigError, match=r"^out="):
            need_out_file(bad)
    for bad in (tmp_path / "file", tmp_path / "file" / "x", "", None, "/proc/x"):
        with pytest.raises(ConfigError, match=r"^out="):
            need_out_folder(bad)  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "locked"]


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """Run the program as a shell does; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/airlens", *words])
    handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    return stopped.value.code


LONG = {
    "heads": [],
    "score": NEEDED["score"],
    "validate": [],
    "page": ["--title", "two words"],
    "evaluate": NEEDED["evaluate"],
    "demo": [],
    "doctor": [],
}


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("command", LONG)
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_f6_an_interrupt_says_how_to_start_again(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    status: int,
) -> None:
    def stop(*given: Any, **options: Any) -> Any:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(5)

    for place_of_work in ("airlens.model.load.load_model", "airlens.model.files.load_hf"):
        monkeypatch.setattr(place_of_work, stop)
    words = [command, *LONG[command]]
    assert typed(monkeypatch, *words) == status
    shown = capsys.readouterr().err
    how = "interrupted" if name == "SIGINT" else "terminated"
    assert f"airlens: {how}; nothing was kept" in shown
    again = shown.strip().splitlines()[-1].strip()
    assert again == shlex.join(["airlens", *words])
    assert "Traceback" not in shown


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model saved as a folder."""
    from transformers import AutoModelForCausalLM

    path = tmp_path_factory.mktemp("model")
    config = tiny_config("llama", max_position_embeddings=2048, vocab_size=3000)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    word_tokenizer(3000).save_pretrained(path)
    return path


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_f6_score_keeps_its_parts_and_goes_on(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    from airlens.corpus.run_folder import RunFolder
    from airlens.corpus.score_part import PartScorer

    data, out = tmp_path / "t.jsonl", tmp_path / "out put"
    rows = [{**ROW, "id": str(i), "response": f"It is {i}. So {i}."} for i in range(6)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["score", str(data), "--heads", "L0H0", "--out", str(out), "--model", str(model)]
    words += ["--part-rows", "2", "-q"]
    scored, calls = PartScorer.__call__, []

    def stop(self: Any, *rows: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(5)
        return scored(self, *rows)

    monkeypatch.setattr(PartScorer, "__call__", stop)
    assert typed(monkeypatch, *words) == {"SIGINT": 130, "SIGTERM": 143}[name]
    shown = capsys.readouterr().err
    assert f"4 scored rows (2 parts) are kept in {out}. To go on:" in shown
    again = shlex.split(shown.strip().splitlines()[-1])
    assert again[1:] == words
    assert RunFolder(out).manifest()["state"] == "interrupted"
    assert CliRunner().invoke(cli.app, again[1:]).exit_code == 0
    assert RunFolder(out).manifest()["state"] == "done" and len(RunFolder(out).read()) == 6


def test_f6_the_command_of_a_module_is_typed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from airlens.cli.ending import command_line

    for folder, module in (("airlens/cli", "airlens.cli"), ("airlens", "airlens")):
        monkeypatch.setattr(sys, "argv", [f"/x/{folder}/__main__.py", "page", "--title", "a b"])
        assert command_line() == f"python -m {module} page --title 'a b'"
    monkeypatch.setattr(sys, "argv", ["C:/x/airlens.exe", "demo"])
    assert command_line() == "airlens demo"


def test_f6_a_second_command_says_nothing_of_the_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "folder" / "kept.json").write_text("{}")

    def stop(*given: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("airlens.model.load.load_model", stop)
    assert typed(monkeypatch, "validate", "--out", "folder") == 130
    assert "What was measured is kept in folder. To go on" in capsys.readouterr().err
    assert typed(monkeypatch, "heads") == 130
    assert "nothing was kept" in capsys.readouterr().err


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*COMMANDS, ""])
@pytest.mark.parametrize("columns", [80, 20])
def test_f11_help_is_plain_and_fits(
    command: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("typer.testing._get_command", lambda app: GROUP)
    words = [command, "--help"] if command else ["--help"]
    shown = CliRunner().invoke(cli.app, words).stdout
    assert "<bool>" not in shown and "│" not in shown and "range>" not in shown
    assert "..." not in shown.replace("[ARGS]...", "").replace("COMMAND [ARGS]", "")
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["help"], ["--help"]),
        (["-h"], ["--help"]),
        (["help", "score"], ["score", "--help"]),
        (["score", "-h"], ["score", "--help"]),
    ],
)
def test_f11_help_as_it_is_asked_for(words: list[str], same: list[str]) -> None:
    asked, right = CliRunner().invoke(cli.app, words), CliRunner().invoke(cli.app, same)
    assert asked.exit_code == right.exit_code == 0 and asked.stdout == right.stdout


def test_f11_without_a_command() -> None:
    result = CliRunner().invoke(cli.app, [])
    assert result.exit_code == 2 and "heads" in result.output


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["haeds"], "heads"),
        (["evalaute"], "evaluate"),
        (["heads", "--tpo", "5"], "--top"),
        (["score", "x", "--contrls", "3"], "--controls"),
        (["page", "--mode", "unifrom"], "uniform"),
        (["heads", "--detector", "qrheda"], "qrhead"),
        (["heads", "--dtype", "bf16"], "bfloat16"),
    ],
)
def test_f11_what_was_meant_is_named(words: list[str], meant: str) -> None:
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2 and meant in result.stderr


def test_f11_completion_is_offered_and_help_imports_little() -> None:
    assert "--install-completion" in CliRunner().invoke(cli.app, ["--help"]).stdout
    heavy = {"torch", "transformers", "pandas", "numpy", "rich"}
    code = (
        "import sys\nsys.argv = ['airlens', '--help']\nfrom airlens.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "_AIRLENS_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": "airlens ev", "COMP_CWORD": "1"}
    line = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'airlens'; import airlens.cli as c; c.main()",
    ]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert "evaluate" in done.stdout


def test_f11_the_smallest_max_tokens_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["heads", "--model", str(model), "-n", "3", "-q", "--max-tokens"]
    assert typed(monkeypatch, *words, "400") == 2
    shown = capsys.readouterr().err
    assert "--max-tokens 400: too few" in shown and "max_tokens" not in shown
    least = int(shown.split("raise --max-tokens to ")[1].split()[0])
    run = CliRunner()
    assert run.invoke(cli.app, [*words, str(least)]).exit_code == 0
    assert "too few" in str(run.invoke(cli.app, [*words, str(least - 1)]).exception)


# -- JSON -----------------------------------------------------------------------------------------


def test_json_is_one_object_on_stdout(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each command that a script reads; demo, train and figures, which take long, elsewhere."""
    monkeypatch.chdir(tmp_path)
    rows = [{**ROW, "id": str(i), "response": f"It is {i}.\n\nSo {i}."} for i in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "p", "response": ""}])
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8")
    of = ["-m", str(model)]
    lines = [
        ["heads", *of, "-n", "2", "--max-tokens", "800", "--top", "3", "--out", "h.json"],
        ["doctor", *of],
        [*("score", "t.jsonl", *of, "--heads", "h.json", "--out", "run", "--max-rejects", "1")],
        ["status", "run"],
        ["select", "run", "--top", "2", "--out", "s.jsonl"],
        ["export", "s.jsonl", "--out", "e.jsonl"],
        ["report", "run", "--no-map"],
        ["page", *of, "--traces", "t.jsonl", "--heads", "h.json", "-n", "2", "--on-error", "skip"],
        ["evaluate", "t.jsonl", *of, "--on-error", "skip"],
        ["validate", "-t", "s.jsonl", *of, "--what", "heads", "--heads", "h.json", "--n", "1"],
    ]
    tested = {line[0] for line in lines} | {"demo", "train", "figures", "app"}
    assert tested == set(COMMANDS)
    for line in lines:
        result = CliRunner().invoke(cli.app, [*line, "--json"])
        assert result.exit_code == 0, (line, result.exception, result.stderr)
        assert result.stdout.count("\n") == 1 and result.stdout.startswith("{"), line
        json.loads(result.stdout, parse_constant=_no_json)
    for name, command in COMMANDS.items():
        assert name == "app" or "--json" in {word for p in command.params for word in p.opts}


def _no_json(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def test_json_of_what_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from airlens.cli.options import echo_json

    half = np.float32(0.5)
    echo_json({"a": float("nan"), "b": [half, np.int64(2), Path("x")], "c": {"d": float("inf")}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [0.5, 2, "x"], "c": {"d": None}}


# -- terminals -------------------------------------------------------------------------------------


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    program = f"{shlex.quote(sys.executable)} -m airlens"
    return subprocess.run(
        ["bash", "-c", line.replace("airlens", program)],
        env={**os.environ, **environment},
        capture_output=True,
    )


def test_a_reader_that_stops_reading() -> None:
    done = shell("airlens score --help | head -1; exit ${PIPESTATUS[0]}")
    assert b"Usage" in done.stdout and b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
    ],
)
def test_a_terminal_that_is_not_utf8(tmp_path: Path, environment: dict[str, str]) -> None:
    done = shell("airlens score --help", **environment)
    assert done.returncode == 0 and not done.stderr
    folder = tmp_path / "größe…"
    folder.mkdir()
    done = shell(f"airlens status {shlex.quote(str(folder))}", **environment)
    assert done.returncode == 2 and b"no run was started here" in done.stderr


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    from airlens.cli import ending

    seen: list[Any] = []
    monkeypatch.setattr(ending.typer, "secho", lambda *a, **o: seen.append(o["color"]))
    monkeypatch.setenv("NO_COLOR", "1")
    ending.say("x", "red")
    monkeypatch.delenv("NO_COLOR")
    ending.say("x", "red")
    assert seen == [False, None]


def test_a_full_disk_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device", "heads.json")

    monkeypatch.setattr("airlens.model.load.load_model", full)
    assert typed(monkeypatch, "heads") == 2
    assert capsys.readouterr().err == "airlens: heads.json: No space left on device\n"


# -- Ray -------------------------------------------------------------------------------------------


class FakeRay(SimpleNamespace):
    """What `RayEngine` asks of Ray to join or start a cluster."""

    def __init__(self) -> None:
        super().__init__(options={}, data=SimpleNamespace())

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.options = options

    def shutdown(self) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 64.0, "GPU": 8.0}

    def nodes(self) -> list[int]:
        return [1, 2]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="10.0.0.7:6379")


@pytest.mark.parametrize(
    ("typed_address", "variable", "asked", "said"),
    [
        (None, None, "local", False),
        ("auto", None, "auto", True),
        (None, "10.0.0.7:6379", "10.0.0.7:6379", True),
        ("10.0.0.8:6379", "10.0.0.7:6379", "10.0.0.8:6379", True),
    ],
)
def test_f11_the_ray_cluster_that_is_joined_is_said(
    typed_address: str | None,
    variable: str | None,
    asked: str,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airlens.corpus.ray_cluster import cluster

    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with cluster(typed_address, None):
        pass
    assert fake.options["address"] == asked
    line = "joined the Ray cluster at 10.0.0.7:6379: 2 machines, 64 CPUs, 8 GPUs"
    assert caplog.messages == ([line] if said else [])
