"""Whether a folder holds a whole model, before transformers reads it: one sentence where not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from airlens.errors import ModelError
from airlens.files import read_json

# One of these is what a tokenizer is read from.
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tokenizer.model.v3",
    "tiktoken.model",
    "qwen.tiktoken",
    "added_tokens.json",
)
_POINTER = b"version https://git-lfs"


def need_model_folder(folder: Path) -> None:
    """Raise :class:`ModelError` where configuration or weights are missing or damaged."""
    if not (folder / "config.json").is_file():
        raise ModelError(_no_config(folder))
    need_real_file(folder / "config.json")
    weights = list(_weight_files(folder))
    if not weights:
        raise ModelError(
            f"{folder}: no weights beside config.json (model.safetensors or pytorch_model.bin)"
        )
    for path in weights:
        _need_whole(path)


def need_tokenizer(folder: Path) -> None:
    """Raise :class:`ModelError` where the folder has no tokenizer, or a pointer to one."""
    there = [folder / name for name in TOKENIZERS if (folder / name).is_file()]
    config = folder / "tokenizer_config.json"
    own = config.is_file() and "auto_map" in read_json(config)  # code of its own may need no file
    if not there and not own:
        raise ModelError(
            f"no tokenizer in {folder} (tokenizer.json, tokenizer.model, …): put the model's there "
            "with tokenizer.save_pretrained, or pass tokenizer="
        )
    for path in there:
        need_real_file(path)


def need_real_file(path: Path) -> None:
    """Raise :class:`ModelError` where a file is what Git LFS leaves in the place of one."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ModelError(
                f"{path}: a Git LFS pointer, not the file itself: run `git lfs pull` in "
                f"{path.parent}, or download it again"
            )


def _no_config(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "BASE"
        return (
            f"{folder}: an adapter of PEFT for {base}, no model: load the base, add the adapter "
            f"(PeftModel.from_pretrained(base, {str(folder)!r})), and give that to load_model; or "
            "save what its merge_and_unload() returns, and load that folder"
        )
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if files:
        return f"{folder}: no config.json; for a GGUF file, give its path: {folder / files[0]}"
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    hint = f"; there is one in {', '.join(inside[:3])}" if inside else ""
    return f"{folder}: no config.json, so no model that save_pretrained wrote{hint}"


def _weight_files(folder: Path) -> Iterator[Path]:
    """The files of weights that transformers would read: of the first kind that is there."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            yield folder / name
            return
        index = folder / f"{name}.index.json"
        if index.is_file():
            need_real_file(index)
            for part in sorted(set(read_json(index).get("weight_map", {}).values())):
                if not (folder / part).is_file():
                    raise ModelError(f"{folder / part}: missing, though {index.name} names it")
                yield folder / part
            return
    yield from sorted(folder.glob("*.safetensors"))


def _need_whole(path: Path) -> None:
    """Raise :class:`ModelError` where a file of weights is a pointer, or not wholly there."""
    need_real_file(path)
    if path.suffix != ".safetensors":
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # reads the header, and compares sizes
            pass
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path}: damaged, or not wholly downloaded ({error}): get it again"
        ) from error
