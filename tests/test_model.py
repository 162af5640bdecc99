"""Loading: every kind of source, atomic conversion, and clear errors without a network."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_config

import airlens as al
from airlens.cli.install_checks import check_model, hugging_face_logits
from airlens.errors import ModelError
from airlens.files import atomic_file
from airlens.folders import atomic_dir
from airlens.model import load as model
from airlens.model.files import absolute_name
from airlens.model.packaged import DEFAULT_MODEL

TOKENS = torch.tensor([[5, 17, 99, 23, 42, 7, 88]])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.create_connection", refuse)


def test_a_loaded_model_and_a_folder_give_the_same(tmp_path: Path, tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(tiny_config("llama")).eval()
    expected = hf(TOKENS).logits.detach()
    hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for bridge in (al.load_model(tmp_path), al.load_model(hf, tokenizer=tokenizer)):
        torch.testing.assert_close(bridge(TOKENS), expected, atol=1e-5, rtol=1e-5)
        assert not any(p.requires_grad for p in bridge.parameters())


def test_a_config_without_architectures_loads(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(tiny_config("llama"))
    hf.config.architectures = None
    assert al.load_model(hf, tokenizer=tokenizer).cfg.n_heads == 4


def test_tokens_are_the_tokenizers_own(llama: Any, tokenizer: Any) -> None:
    ids = tokenizer("hello")["input_ids"]
    assert llama.to_tokens("hello")[0].tolist() == ids
    assert llama.tokenizer("hello")["input_ids"] == ids
    assert "add_bos_token" not in tokenizer.init_kwargs


def test_low_precision(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    hf = AutoModelForCausalLM.from_config(tiny_config("llama"))
    bridge = al.load_model(hf, tokenizer=tokenizer, dtype="bfloat16")
    assert bridge(TOKENS).dtype == torch.bfloat16
    with pytest.raises(ModelError, match="float32, bfloat16"):
        al.load_model(hf, tokenizer=tokenizer, dtype="float31")


@pytest.mark.usefixtures("no_network")
def test_a_hub_name_without_a_network_fails_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match="cannot be reached"):
        al.load_model("nobody/no-such-model")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["/no/such/folder", "./nope", "a/b/c", "/no/such.gguf"])
def test_missing_paths(name: str) -> None:
    with pytest.raises(ModelError, match="no such"):
        al.load_model(name)


def test_an_unreadable_gguf_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF but not really")
    with pytest.raises(ModelError, match="not a GGUF model"):
        al.load_model(path)
    assert not list((tmp_path / "cache").iterdir())


def test_a_model_needs_its_tokenizer(llama: Any) -> None:
    with pytest.raises(ModelError, match="tokenizer"):
        model.load_model(llama.original_model)


def test_an_unsupported_model_is_named(tokenizer: Any) -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = type(
                "C", (), {"architectures": ["OddForCausalLM"], "model_type": "odd"}
            )()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        device = torch.device("cpu")
        dtype = torch.float32

    with pytest.raises(ModelError, match="'odd'"):
        model.load_model(Odd(), tokenizer=tokenizer)  # type: ignore[arg-type]


def _die_while_writing(folder: str) -> None:
    with atomic_dir(Path(folder) / "model") as temporary:
        (temporary / "half").write_text("half")
        os._exit(9)  # as kill -9 would: no cleanup runs


def test_a_killed_conversion_leaves_no_model(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_die_while_writing, args=(str(tmp_path),)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not (tmp_path / "model").exists()
    with atomic_dir(tmp_path / "model") as temporary:
        (temporary / "whole").write_text("whole")
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["whole"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("new")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_hugging_face_parity(make_model: Any, kind: str) -> None:
    bridge = make_model(kind)
    with torch.inference_mode():
        torch.testing.assert_close(
            bridge(TOKENS), hugging_face_logits(bridge, TOKENS), atol=1e-4, rtol=1e-4
        )


@pytest.mark.slow
def test_doctor_finds_smollm2_sound(smollm2: Any) -> None:
    record = check_model(smollm2)
    assert record["parity"] and record["max_logit_difference"] < 1e-3
    assert record["copy_accuracy"] > 0.75
    assert smollm2.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )


def test_a_path_is_made_absolute_and_a_name_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / DEFAULT_MODEL).mkdir()  # the default model's name wins over a folder's
    assert absolute_name("own") == str(tmp_path / "own")
    assert absolute_name("own") == absolute_name("./own")
    assert absolute_name(DEFAULT_MODEL) == DEFAULT_MODEL
    assert absolute_name("gpt2") == "gpt2"
