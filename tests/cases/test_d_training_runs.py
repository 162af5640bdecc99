"""Which training a folder holds, what goes on from it, and what an interrupt leaves."""

from __future__ import annotations

import copy
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback
from typer.testing import CliRunner

from airlens import cli
from airlens.errors import ConfigError, DataError, RunError
from airlens.traces.chat_template import template_identity
from airlens.traces.trace import Trace
from airlens.traces.write_traces import save_traces
from airlens.training.examples import training_set
from airlens.training.run_identity import training_identity
from airlens.training.train import TrainSettings, fine_tune
from airlens.training.training_folder import TrainingFolder, differences
from tests.cases.training_kit import student, two_step_traces, weights_of

SETTINGS = TrainSettings(lr=1e-2, batch_size=2, cpu=True)


def save_student(folder: Path, tokenizer: Any, seed: int = 0, **changes: Any) -> None:
    model = student("llama", seed)
    for name, value in changes.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def trained(folder: Path, out: Path, **changes: Any) -> Any:
    items = changes.pop("items", two_step_traces(4))
    options = {"settings": SETTINGS, "progress": False, **changes}
    return fine_tune(folder, items, out, **options)


def test_d13_another_student_under_the_same_path(tokenizer: Any, tmp_path: Path) -> None:
    save_student(tmp_path / "student", tokenizer)
    first = trained(tmp_path / "student", tmp_path / "run")
    again = trained(tmp_path / "student", tmp_path / "run")
    assert again.model is None
    assert again.losses["loss"].tolist() == first.losses["loss"].tolist()
    # The same student elsewhere is the same run.
    (tmp_path / "student").rename(tmp_path / "moved")
    assert trained(tmp_path / "moved", tmp_path / "run").model is None
    save_student(tmp_path / "student", tokenizer, seed=1)
    with pytest.raises(ConfigError, match=r"another run \(a student with other weights\)"):
        trained(tmp_path / "student", tmp_path / "run")
    # Nor is one value of one weight less than another student.
    model = student("llama")
    with torch.no_grad():
        next(iter(model.parameters()))[7, 3] += 1e-3
    with pytest.raises(ConfigError, match="a student with other weights"):
        fine_tune(
            model, two_step_traces(4), tmp_path / "run", tokenizer=tokenizer, settings=SETTINGS
        )


def identity(tokenizer: Any, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"items": two_step_traces(4), "weights": (1.0, 2.0), "model": "llama"}
    known |= {"settings": SETTINGS, "template": "auto", "think": "auto", "devices": 1} | changes
    items = known["items"]
    weights = weights_of(items, *known["weights"]) if known["weights"] else None
    template, think = known["template"], known["think"]
    data = training_set(tokenizer, items, weights, template=template, think=think)
    model = known["model"] if not isinstance(known["model"], str) else student(known["model"])
    return training_identity(
        model, tokenizer, data, known["settings"], template, think, known["devices"]
    )


def _other_text() -> list[Any]:
    items = two_step_traces(4)
    return [replace(items[0], prompt="what else is 0?"), *items[1:]]


def _windowed() -> Any:
    model = student("llama")
    model.config.rms_norm_eps = 1e-3
    return model


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"items": _other_text()}, "other texts"),
        ({"items": two_step_traces(4)[::-1]}, "other texts"),
        ({"items": two_step_traces(3)}, "other texts"),
        ({"weights": (2.0, 1.0)}, "other step weights"),
        ({"weights": (0.0, 1.0)}, "other step weights"),
        ({"weights": None}, "other step weights"),
        ({"model": _windowed()}, "a student of another configuration"),
        ({"settings": replace(SETTINGS, seed=1)}, "seed is 0 there and 1 here"),
        ({"settings": replace(SETTINGS, lr=0.5)}, "lr is 0.01 there and 0.5 here"),
        ({"devices": 2}, "devices is 1 there and 2 here"),
    ],
)
def test_d13_what_makes_another_run_is_named(
    tokenizer: Any, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    TrainingFolder(tmp_path, identity(tokenizer)).begin({})
    TrainingFolder(tmp_path, identity(tokenizer))
    with pytest.raises(ConfigError, match="holds another run") as raised:
        TrainingFolder(tmp_path, identity(tokenizer, **changes))
    assert said in str(raised.value)


def test_d13_how_it_is_kept_makes_no_other_run(tokenizer: Any) -> None:
    renamed = [replace(t, id=f"x{t.id}", domain="d", meta={"more": 1}) for t in two_step_traces(4)]
    other = replace(SETTINGS, save_steps=3, cpu=False)
    assert identity(tokenizer, items=renamed, settings=other) == identity(tokenizer)


def test_d13_another_template_is_another_run(tokenizer: Any, tmp_path: Path) -> None:
    first, second = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    first.chat_template = "{% for m in messages %}{{ m['content'] }}:{% endfor %}"
    second.chat_template = "{% for m in messages %}{{ m['content'] }};{% endfor %}"
    found = differences(identity(first), identity(second))
    assert found == ["another chat template or tokenizer, or another think"]
    assert differences(identity(first), identity(first, template="plain"))
    assert template_identity(first) != template_identity(second)


def test_d13_a_template_with_the_date_goes_on_tomorrow(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import chat_template_utils

    dated = copy.deepcopy(tokenizer)
    dated.chat_template = (
        "{{ strftime_now('%d %b') }}{% for m in messages %}{{ m['content'] }}:{% endfor %}"
    )
    today = identity(dated)

    class Tomorrow(chat_template_utils.datetime):  # type: ignore[misc,name-defined]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2031, 1, 2)

    chat_template_utils._compile_jinja_template.cache_clear()
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert identity(dated) == today
    chat_template_utils._compile_jinja_template.cache_clear()


def test_d13_a_folder_of_somebody_else_is_left_alone(tokenizer: Any, tmp_path: Path) -> None:
    """Today the checkpoints of another training would be gone on from."""
    (tmp_path / "theirs" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds checkpoint-5, but no run\.json"):
        TrainingFolder(tmp_path / "theirs", identity(tokenizer))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json.*not JSON"):
        TrainingFolder(tmp_path / "odd", identity(tokenizer))


def test_d13_a_checkpoint_that_was_cut_short_is_not_used(tokenizer: Any, tmp_path: Path) -> None:
    settings = replace(SETTINGS, save_steps=2, epochs=2)
    save_student(tmp_path / "student", tokenizer)
    whole = trained(tmp_path / "student", tmp_path / "run", settings=settings)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["losses"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    last = tmp_path / "run" / "checkpoint-4"
    (last / "airlens.json").unlink()
    (last / "model.safetensors").write_bytes(b"half")
    resumed = trained(tmp_path / "student", tmp_path / "run", settings=settings)
    assert resumed.losses["loss"].tolist() == pytest.approx(whole.losses["loss"].tolist())
    same = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)


def test_d13_a_record_without_its_model_is_no_finished_run(tokenizer: Any, tmp_path: Path) -> None:
    save_student(tmp_path / "student", tokenizer)
    trained(tmp_path / "student", tmp_path / "run")
    (tmp_path / "run" / "model").rename(tmp_path / "away")
    assert trained(tmp_path / "student", tmp_path / "run").model is not None
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_d13_what_is_cut_and_skipped_is_said_and_kept(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_student(tmp_path / "student", tokenizer)
    lengths = [len(f"{t.prompt}\n{t.response}") + 1 for t in two_step_traces(4)]  # and an EOS
    n_cut = sum(n > 25 for n in lengths)
    assert 0 < n_cut < 4
    with caplog.at_level(logging.WARNING, logger="airlens"):
        result = trained(
            tmp_path / "student", tmp_path / "run", settings=replace(SETTINGS, max_length=25)
        )
    assert f"{n_cut} of 4 traces are cut at 25 tokens" in caplog.text
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    for record in (kept, result.provenance):
        assert (record["n_examples"], record["n_cut"]) == (4, n_cut)
        assert record["n_labels_cut"] == sum(n - 25 for n in lengths if n > 25)
    with pytest.raises(DataError, match=r"nothing to train on: 4 traces skipped \('t0': no resp"):
        trained(tmp_path / "student", tmp_path / "none", settings=replace(SETTINGS, max_length=9))
    assert not (tmp_path / "none").exists()


def test_d13_a_student_with_fewer_positions_than_max_length(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = [Trace("long", "what?", "ab " * 60), Trace("short", "what?", "ab")]
    result = fine_tune(
        student("gpt2"), items, tokenizer=tokenizer, settings=SETTINGS, progress=False
    )
    assert "cut at 128 tokens instead of 2048" in caplog.text
    assert (result.provenance["max_length"], result.provenance["n_cut"]) == (128, 1)


def test_d13_a_loss_that_is_no_number_ends_the_run(tokenizer: Any) -> None:
    model = student("llama")
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(RunError, match="the loss is nan at step 1"):
        fine_tune(model, two_step_traces(2), tokenizer=tokenizer, settings=SETTINGS, progress=False)


def test_f6_a_full_disk_is_one_sentence(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(Trainer, "save_model", full)
    save_student(tmp_path / "student", tokenizer)
    with pytest.raises(RunError, match="no space left on the device"):
        trained(tmp_path / "student", tmp_path / "run")


_SCRIPT = """
import os, sys
from transformers import Trainer, TrainerCallback
import airlens.training.train as module
from airlens.cli import main
from airlens.training import weighted_loss

at, number = int(sys.argv[1]), int(sys.argv[2])
inner = weighted_loss.refuse_odd_losses

class Send(TrainerCallback):
    def on_step_begin(self, args, state, control, **more):
        if state.global_step + 1 == at:
            os.kill(os.getpid(), number)

def both():
    return type("Both", (Send, type(inner())), {})()

module.refuse_odd_losses = both
sys.argv = ["airlens", *os.environ["ARGUMENTS"].split("|")]
main()
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[str], list[str]]:
    """The arguments of a training of six steps into a folder."""
    home = tmp_path_factory.mktemp("interrupts")
    save_student(home / "student", tokenizer, attention_dropout=0.1)
    save_traces(two_step_traces(6), home / "traces.jsonl")

    def made(out: str) -> list[str]:
        words = ["train", home / "traces.jsonl", "--out", home / out, "--model", home / "student"]
        words += ["--batch-size", 2, "--epochs", 2, "--lr", 0.01, "--cpu", "--quiet"]
        return [str(word) for word in words]

    return made


def stopped(arguments: list[str], at: int, number: int) -> Any:
    environment = {**os.environ, "ARGUMENTS": "|".join(arguments)}
    call = [sys.executable, "-c", _SCRIPT, str(at), str(number)]
    return subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.slow
def test_f6_an_interrupt_keeps_a_checkpoint_and_the_run_goes_on(
    command: Callable[[str], list[str]],
) -> None:
    """At the first step by SIGTERM, then at the fifth by Ctrl+C: the end is that of a whole run."""
    whole, parts = command("whole"), command("parts")
    CliRunner().invoke(cli.app, whole, catch_exceptions=False)
    first = stopped(parts, 1, signal.SIGTERM)
    assert first.returncode == 143, first.stderr
    out = Path(parts[3])
    assert "up to step 1 is kept" in first.stderr
    assert "airlens train" in first.stderr.splitlines()[-1]
    assert "losses" not in json.loads((out / "run.json").read_text())
    assert not (out / "model").exists()
    second = stopped(parts, 5, signal.SIGINT)
    assert second.returncode == 130, second.stderr
    assert "up to step 5 is kept" in second.stderr
    assert [p.name for p in sorted(out.glob("checkpoint-*"))] == ["checkpoint-1", "checkpoint-5"]
    CliRunner().invoke(cli.app, parts, catch_exceptions=False)
    records = [json.loads((Path(a[3]) / "run.json").read_text()) for a in (whole, parts)]
    expected, found = ([row["loss"] for row in record["losses"]] for record in records)
    assert len(expected) == 6
    assert found == expected
    theirs, ours = weights_in(Path(whole[3])), weights_in(out)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert not list(out.glob("checkpoint-*"))  # none was asked for


class SendAt(TrainerCallback):  # type: ignore[misc]
    """Sends Ctrl+C to this process as a step begins."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.times = step, times

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step + 1 == self.step:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def sending(monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    monkeypatch.setattr("airlens.training.train.refuse_odd_losses", lambda: SendAt(step, times))


@pytest.mark.usefixtures("interruptible")
def test_f6_ctrl_c_in_python(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first step, at the last but one, in the last: the losses are those of a whole run."""
    settings = replace(SETTINGS, epochs=2)
    save_student(tmp_path / "student", tokenizer, attention_dropout=0.1)
    whole = trained(tmp_path / "student", tmp_path / "whole", settings=settings)
    before = signal.getsignal(signal.SIGINT)
    for step in (1, 3):
        sending(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "student", tmp_path / "run", settings=settings)
        assert (tmp_path / "run" / f"checkpoint-{step}" / "airlens.json").is_file()
        assert signal.getsignal(signal.SIGINT) == before
    sending(monkeypatch, 4)
    done = trained(tmp_path / "student", tmp_path / "run", settings=settings)
    assert done.losses["loss"].tolist() == whole.losses["loss"].tolist()
    same = zip(done.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in same)
    assert not list((tmp_path / "run").glob("checkpoint-*"))  # none was asked for


@pytest.mark.usefixtures("interruptible")
def test_f6_ctrl_c_again_stops_at_once(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airlens.training.interrupts.SAME", -1.0)
    sending(monkeypatch, 1, times=2)
    save_student(tmp_path / "student", tokenizer)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "student", tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint-*"))
