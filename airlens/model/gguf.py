"""GGUF files: converted to safetensors, once."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm.auto import tqdm

from airlens.errors import ModelError, first_line, out_of_memory
from airlens.folders import atomic_dir, cache_dir

log = logging.getLogger(__name__)

# Part of the folder name of a conversion: increase it when the conversion changes.
CONVERSION = "v2"


def converted(gguf: Path) -> Path:
    """A folder with ``gguf`` as safetensors and its tokenizer; converted once, then cached.

    The whole file's content decides which conversion is its own, so a file that was written again
    is converted again, whatever its name, size and times.

    Raises:
        ModelError: the file is not a whole GGUF model that transformers can read.
        ConfigError: the cache folder cannot be written.
    """
    part = re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})", gguf.stem)
    if part is not None and int(part[3]) > 1:
        raise ModelError(
            f"{gguf}: part {int(part[2])} of {int(part[3])}, and transformers reads GGUF models of "
            f"one file: `llama-gguf-split --merge {gguf.name} {part[1]}.gguf` joins the parts"
        )
    folder = cache_dir() / f"{gguf.stem}-{content_hash(gguf)}-{CONVERSION}"
    if folder.is_dir():
        return folder
    # One process converts, others wait for it: two at once would need twice the memory.
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        with FileLock(lock):
            if not folder.is_dir():
                _remove_unfinished(folder)
                log.info("converting %s to safetensors under %s (once)", gguf.name, folder)
                with atomic_dir(folder) as temporary, without_bars():
                    _convert(gguf, temporary)
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
    return folder


def content_hash(path: Path) -> str:
    """16 hex digits of the SHA-256 of the whole file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed conversion into ``folder`` left beside it; called under its lock."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Hide transformers' own progress bars, which say nothing useful for local files."""
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, name = str(gguf.parent), gguf.name
    bar = tqdm(total=3, desc=f"converting {name} (once)", leave=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, local_files_only=True)
        bar.update()
        model, found = AutoModelForCausalLM.from_pretrained(
            source,
            gguf_file=name,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
        bar.update()
    except Exception as error:  # transformers raises many kinds for an unreadable file
        if out_of_memory(error):
            reason = f"memory is too small to convert it ({first_line(error)})"
            raise ModelError(f"{gguf}: {reason}") from error
        raise ModelError(f"{gguf}: not a GGUF model that transformers can read: {error}") from error
    need_all_weights(found, gguf)
    _need_plain_rotation(gguf, str(model.config.model_type))
    # The weights are plain fp32 now; transformers refuses to save while they count as quantised.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.config._name_or_path = gguf.stem
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    bar.update()
    bar.close()


def need_all_weights(found: Mapping[str, Any], source: str | Path) -> None:
    """Raise :class:`ModelError` where transformers put random numbers for weights not in the files.

    Args:
        found: what ``from_pretrained(output_loading_info=True)`` says.
        source: the files, for the message.
    """
    lost = sorted(found["missing_keys"]) + sorted(str(key[0]) for key in found["mismatched_keys"])
    if lost:
        raise ModelError(
            f"{source}: {len(lost)} weights of the model are not in these files or have another "
            f"shape ({', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}), and would be random: "
            "give a whole causal language model"
        )


def _need_plain_rotation(gguf: Path, kind: str) -> None:
    """Raise :class:`ModelError` where the file scales its rotary table and transformers drops it.

    transformers reads the scaling from GGUF files of GPT-OSS only; of others (Llama 3.1, Phi-3,
    YaRN) it would rotate by the unscaled table, and every number would be slightly wrong.
    """
    from gguf import GGUFReader

    if kind == "gpt_oss":
        return
    reader = GGUFReader(gguf)
    tensors = [t.name for t in reader.tensors if re.match(r"rope_(freqs|factors)", t.name)]
    fields = [
        name
        for name, field in reader.fields.items()
        if name.endswith(".rope.scaling.type") and field.contents() != "none"
    ]
    if tensors or fields:
        raise ModelError(
            f"{gguf}: its rotary positions are scaled ({(tensors + fields)[0]}), which "
            "transformers does not read from GGUF files: load the model's safetensors instead"
        )
