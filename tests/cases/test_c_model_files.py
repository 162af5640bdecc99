"""Files of models: another file is another model, and half of one is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from conftest import tiny_config
from tiny_zoo import hf_model, tokenizer

import airlens as al
from airlens.errors import ConfigError, ModelError
from airlens.folders import cache_dir
from airlens.model import gguf as gguf_model
from airlens.model.gguf import converted


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_gguf(path: Path, seed: int = 0, *, lost: str = "", **fields: Any) -> Path:
    """A tiny Llama as GGUF, fp32; without the tensors whose name holds ``lost``."""
    rng = np.random.default_rng(seed)
    d, heads, groups, ff, vocab = 32, 4, 2, 48, 260
    writer = gguf.GGUFWriter(path, fields.pop("arch", "llama"))
    writer.add_context_length(512)
    writer.add_embedding_length(d)
    writer.add_block_count(2)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(d // heads)
    writer.add_vocab_size(vocab)
    for name, value in fields.items():
        writer.add_string(name.replace("__", "."), value)
    names = tokenizer().convert_ids_to_tokens(range(len(tokenizer())))
    names += ["ab"]  # what the one merge makes
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(names)
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (vocab, d), "output": (vocab, d), "output_norm": (d,)}
    for i in range(2):
        at = f"blk.{i}."
        shapes |= {at + "attn_q": (d, d), at + "attn_k": (d // 2, d), at + "attn_v": (d // 2, d)}
        shapes |= {at + "attn_output": (d, d), at + "ffn_gate": (ff, d), at + "ffn_up": (ff, d)}
        shapes |= {at + "ffn_down": (d, ff), at + "attn_norm": (d,), at + "ffn_norm": (d,)}
    for name, shape in shapes.items():
        if not lost or lost not in name:
            values = np.ones(shape) if len(shape) == 1 else rng.standard_normal(shape)
            writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    if fields.get("general__name") == "scaled":
        writer.add_tensor("rope_freqs.weight", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def first_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out = model(torch.tensor([[5, 17, 99, 23, 42]]))
    return out if isinstance(out, torch.Tensor) else out.logits


# C12


def test_c12_other_bytes_in_the_middle_are_another_model(tmp_path: Path) -> None:
    """Same name, size, first and last MiB, and times: the whole file decides."""
    path = write_gguf(tmp_path / "m.gguf")
    before, folder = path.stat(), converted(path)
    first = first_logits(al.load_model(path, device="cpu"))
    content = bytearray(path.read_bytes())
    at = len(content) // 2 // 4 * 4
    content[at : at + 400] = np.full(100, 0.5, np.float32).tobytes()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert converted(path) != folder
    second = first_logits(al.load_model(path, device="cpu"))
    assert (first - second).abs().max() > 1e-4
    assert converted(path) == converted(path)


def test_c12_a_folder_whose_weights_are_replaced_is_read_again(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    found = []
    for seed in (0, 1):
        hf_model("llama", seed).save_pretrained(tmp_path)
        found.append(al.load_model(tmp_path, device="cpu"))
    weights = [al.retrieval_scores(m, _probes(m), progress=False).provenance for m in found]
    assert weights[0]["model"]["weights"] != weights[1]["model"]["weights"]
    assert (first_logits(found[0]) - first_logits(found[1])).abs().max() > 1e-3


def _probes(model: Any) -> Any:
    from airlens.detectors.induction import repeated_probes

    return repeated_probes(model.tokenizer, n=1, half=8)


def _convert(path: str, results: Any) -> None:
    try:
        results.put(str(converted(Path(path))))
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.slow
def test_c12_two_processes_convert_once(tmp_path: Path, cache: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_convert, args=(str(path), results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert found[0] == found[1]
    assert [p.name for p in cache.iterdir()] == [Path(found[0]).name]


def test_c12_what_a_killed_conversion_left_is_removed(tmp_path: Path, cache: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    name = f"m-{gguf_model.content_hash(path)}-{gguf_model.CONVERSION}"
    left = cache / f".{name}.abc123"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    assert converted(path).name == name
    assert [p.name for p in cache.iterdir()] == [name]


def test_c12_a_revision_is_part_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a network: the files of that revision are in the hub's cache."""
    from huggingface_hub import constants

    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(hub), raising=False)
    store = hub / "models--org--name"
    (store / "refs").mkdir(parents=True)
    for revision, seed in (("step1", 0), ("step2", 1)):
        commit = f"{seed + 1}" * 40
        (store / "refs" / revision).write_text(commit)
        hf_model("llama", seed).save_pretrained(store / "snapshots" / commit)
        tokenizer().save_pretrained(store / "snapshots" / commit)
    monkeypatch.setattr("socket.create_connection", _refuse)
    found = [al.load_model("org/name", revision=r, device="cpu") for r in ("step1", "step2")]
    assert [m.cfg.model_name for m in found] == ["org/name@step1", "org/name@step2"]
    assert (first_logits(found[0]) - first_logits(found[1])).abs().max() > 1e-3


def _refuse(*_: Any, **__: Any) -> None:
    raise OSError("no network in this test")


def test_c12_a_part_of_a_gguf_model_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "big-00001-of-00003.gguf")
    with pytest.raises(ModelError, match=r"part 1 of 3.*llama-gguf-split --merge"):
        al.load_model(path)
    renamed = write_gguf(tmp_path / "renamed.gguf", lost="blk.1")
    with pytest.raises(ModelError, match=r"9 weights of the model are not in these files"):
        al.load_model(renamed)


@pytest.mark.parametrize(
    "fields", [{"llama__rope__scaling__type": "yarn"}, {"general__name": "scaled"}]
)
def test_c12_a_gguf_file_whose_positions_would_be_read_wrongly(
    tmp_path: Path, fields: dict[str, str]
) -> None:
    path = write_gguf(tmp_path / "m.gguf", **fields)
    with pytest.raises(ModelError, match=r"rotary positions are scaled.*safetensors instead"):
        al.load_model(path)


def test_c12_an_unsupported_gguf_architecture_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", arch="wonder")
    with pytest.raises(ModelError, match="wonder is not supported"):
        al.load_model(path)


# F5


@pytest.mark.parametrize("where", ["a file", "below a file", "not there"])
def test_f5_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "not there" and sys.platform == "win32":
        pytest.skip("needs a folder that nobody can write into")
    blocked = tmp_path / "file"
    blocked.write_text("x")
    place = {"a file": blocked, "below a file": blocked / "x", "not there": Path("/proc/none")}
    monkeypatch.setenv("AIRLENS_CACHE", str(place[where]))
    with pytest.raises(ConfigError, match=r"cannot be written.*AIRLENS_CACHE"):
        cache_dir()
    with pytest.raises(ConfigError, match="AIRLENS_CACHE"):
        al.load_model(write_gguf(tmp_path / "m.gguf"))


def test_f5_home_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRLENS_CACHE")
    (tmp_path / "home").write_text("")
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="AIRLENS_CACHE"):
        al.load_model()


# F8, and folders that hold no whole model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    hf_model("llama").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def test_f8_no_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"no tokenizer in .*model .*pass tokenizer="):
        al.load_model(folder)
    expected = first_logits(hf_model("llama"))
    found = first_logits(al.load_model(folder, tokenizer=tokenizer(), device="cpu"))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_f8_a_git_lfs_pointer_is_named(folder: Path, file: str) -> None:
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelError, match=rf"{file}: a Git LFS pointer.*git lfs pull"):
        al.load_model(folder)


def test_f8_a_gguf_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelError, match="Git LFS pointer"):
        al.load_model(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1000])
def test_f8_a_half_downloaded_file_is_named(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged, or not wholly downloaded"):
        al.load_model(folder)


def test_f8_missing_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no weights beside config\.json"):
        al.load_model(folder)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"model-00001-of-00002\.safetensors: missing"):
        al.load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"model: no config\.json"):
        al.load_model(folder)
    (folder / "q4.gguf").write_bytes(b"")
    with pytest.raises(ModelError, match=r"give its path: .*q4\.gguf"):
        al.load_model(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(ModelError, match=r"an adapter of PEFT for org/base"):
        al.load_model(folder)


def test_f8_weights_that_would_be_random_are_refused(tmp_path: Path) -> None:
    """A file without the head, or without a layer: transformers only warns."""
    from transformers import AutoModelForCausalLM

    body = AutoModelForCausalLM.from_config(tiny_config("llama")).model
    body.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lm_head\.weight.*would be random"):
        al.load_model(tmp_path)
    hf_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"9 weights of the model are not in these files"):
        al.load_model(tmp_path)


def test_f8_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="is a file: name the folder"):
        al.load_model(path)
