"""C7 and F9 for the options of a model: declared once, checked first, handed on to `load_model`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import tiny_config, word_tokenizer
from typer.testing import CliRunner

import airlens as al
from airlens import cli
from airlens.errors import AirlensError, ConfigError
from airlens.model.placement import read_map, read_memory

GROUP: Any = typer.main.get_command(cli.app)
LOADING = ("doctor", "heads", "demo", "score", "report", "page", "evaluate", "figures", "validate")
PLACES = ("device", "dtype", "n_devices", "device_map", "max_memory")
OFFLOADED = dict.fromkeys(("embed_tokens", "layers.0", "layers.2", "norm", "rotary_emb"), "cpu")
OFFLOADED = {f"model.{name}": device for name, device in OFFLOADED.items()}
OFFLOADED |= {"model.layers.1": "disk", "lm_head": "cpu"}
ROWS = [
    {"id": "a", "prompt": "2 + 3?", "response": "It is 5. So the answer is 5."},
    {"id": "b", "prompt": "2 + 4?", "response": "It is 6. So the answer is 6."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a folder, and traces."""
    from transformers import AutoModelForCausalLM

    path = tmp_path_factory.mktemp("place")
    config = tiny_config("llama", max_position_embeddings=2048, vocab_size=3000)
    AutoModelForCausalLM.from_config(config).save_pretrained(path / "model")
    word_tokenizer(3000).save_pretrained(path / "model")
    (path / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (path / "map.json").write_text(json.dumps(OFFLOADED))
    (path / "bad.json").write_text('{"lm_head": "gpu"}')
    (path / "text.json").write_text('"auto"')
    return path


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words))


def test_c7_every_command_that_loads_a_model_has_the_options() -> None:
    for name in LOADING:
        options = {param.name for param in GROUP.commands[name].params}
        assert {"model", *PLACES} <= options
        assert "n_ctx" in options or name == "evaluate"


def test_c7_the_options_reach_load_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded(Exception):
        pass

    given: dict[str, Any] = {}

    def load_model(**options: Any) -> Any:
        given.update(options)
        raise Loaded

    monkeypatch.setattr("airlens.model.load.load_model", load_model)
    words = ["--model", str(folder / "model"), "--dtype", "bfloat16", "--n-ctx", "64"]
    words += ["--device-map", str(folder / "map.json"), "--max-memory", "0=20GiB,cpu=64GiB"]
    data = str(folder / "traces.jsonl")
    needed = {
        "score": [data, "--heads", "L0H0", "--out", str(folder / "out")],
        "page": ["--traces", data],
        "validate": ["--traces", data],
    }
    for name in ("doctor", "heads", "demo", "score", "page", "validate"):
        given.clear()
        assert isinstance(run(name, *needed.get(name, []), *words).exception, Loaded)
        assert given == {
            "name": str(folder / "model"),
            "device": None,
            "dtype": "bfloat16",
            "n_ctx": 64,
            "n_devices": None,
            "device_map": OFFLOADED,
            "max_memory": {0: "20GiB", "cpu": "64GiB"},
        }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n-ctx", "0"], "--n-ctx"),
        (["--n-ctx", "1"], "--n-ctx"),
        (["--n-devices", "0"], "--n-devices"),
        (["--device-map", "foo"], "foo: use one of auto, balanced"),
        (["--device-map", "blanced"], "did you mean 'balanced'?"),
        (["--device-map", ""], "--device-map"),
        (["--device-map", "none.json"], "none.json: No such file"),
        (["--device-map", "traces.jsonl"], "use one of auto"),
        (["--device-map", "bad.json"], "bad.json: a module's device is a GPU's number, 'cpu'"),
        (["--device-map", "text.json"], "text.json: give one of"),
        (["--max-memory", "lots"], "lots: write the memory of each device"),
        (["--max-memory", "0=20"], "such as 0=20GiB"),
        (["--max-memory", "moon=20GiB"], "such as 0=20GiB"),
        (["--device-map", "auto", "--device", "cpu"], "mutually exclusive"),
        (["--n-devices", "2", "--device", "cpu"], "mutually exclusive"),
        (["--max-memory", "cpu=1GiB", "--device", "cpu"], "mutually exclusive"),
        (["--device-map", "auto", "--n-devices", "2"], "mutually exclusive"),
    ],
)
@pytest.mark.parametrize("command", ["heads", "evaluate"])
def test_c7_nonsense_is_refused_before_anything_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str], said: str
) -> None:
    def loaded(*given: Any, **options: Any) -> Any:
        raise AssertionError("a model was loaded")

    if command == "evaluate" and words[0] == "--n-ctx":
        said = "No such option"
    monkeypatch.chdir(folder)
    monkeypatch.setattr("airlens.model.load.load_model", loaded)
    monkeypatch.setattr("airlens.model.files.load_hf", loaded)
    result = run(command, *(["traces.jsonl"] if command == "evaluate" else []), *words)
    stopped = isinstance(result.exception, AirlensError)
    shown = str(result.exception) if stopped else " ".join(result.stderr.replace("│", "").split())
    assert said in shown and (stopped or result.exit_code == 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_ctx": 0}, "n_ctx=0"),
        ({"n_ctx": 2.5}, "n_ctx=2.5"),
        ({"n_devices": 0}, "n_devices=0"),
        ({"n_devices": True}, "n_devices=True"),
        ({"device_map": "foo"}, "device_map='foo': use one of auto"),
        ({"device_map": {}}, "device_map={}"),
        ({"device_map": {"lm_head": "gpu"}}, "not 'gpu'"),
        ({"device_map": {0: "cpu"}}, "device_map={0: 'cpu'}"),
        ({"max_memory": "20GiB"}, "max_memory='20GiB'"),
        ({"max_memory": {0: "20 bananas"}}, "max_memory="),
        ({"n_devices": 2, "device": "cpu"}, "device and n_devices are mutually exclusive"),
        ({"max_memory": {"cpu": "1GiB"}, "device": "cpu"}, "mutually exclusive"),
        ({"n_devices": 2, "device_map": "auto"}, "n_devices and device_map"),
    ],
)
def test_c7_nonsense_in_python_is_refused_before_anything_is_looked_for(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        al.load_model("nobody/no-such-model", **options)
    assert said in str(caught.value)


def test_c7_what_is_typed_is_read() -> None:
    assert read_map("auto") == "auto" and read_map("cpu") == "cpu"
    assert read_memory("0=20GiB, 1=1.5GB,cpu=64GiB") == {0: "20GiB", 1: "1.5GB", "cpu": "64GiB"}


def test_c7_a_model_spread_at_the_terminal_gives_the_same_scores(
    folder: Path, tmp_path: Path
) -> None:
    from airlens.corpus.run_folder import RunFolder

    data, model = str(folder / "traces.jsonl"), str(folder / "model")
    scored = {}
    for name, words in (
        ("plain", ["--device", "cpu"]),
        ("spread", ["--device-map", str(folder / "map.json")]),
        ("short", ["--n-ctx", "8"]),
    ):
        out = tmp_path / name
        line = ["score", data, "--heads", "L0H0", "--model", model, "--out", str(out), "-q"]
        result = run(*line, *words)
        assert result.exit_code == 0, result.exception
        scored[name] = RunFolder(out).read().set_index("id")
        identity = RunFolder(out).manifest()["identity"]
        assert identity["n_ctx"] == (8 if name == "short" else 2048)
    moved = {name: abs(each["ais"] - scored["plain"]["ais"]).max() for name, each in scored.items()}
    assert moved["spread"] < 1e-5 and 0 < moved["short"] < 1


def test_c7_evaluate_and_doctor_take_a_spread_model(folder: Path) -> None:
    found = []
    for words in (["--device", "cpu"], ["--device-map", str(folder / "map.json")]):
        line = [str(folder / "traces.jsonl"), "--model", str(folder / "model"), "--json"]
        result = run("evaluate", *line, *words)
        assert result.exit_code == 0, result.exception
        found.append(json.loads(result.stdout)["nll"]["nll"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    map_file = str(folder / "map.json")
    result = run("doctor", "--model", str(folder / "model"), "--device-map", map_file, "--json")
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["parity"] is True
