"""GGUF files: converted to safetensors, once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from airlens.errors import ModelError
from airlens.storage import atomic_dir, cache_dir

log = logging.getLogger(__name__)

# Part of the folder name of a conversion: increase it when the conversion changes.
CONVERSION = "v1"


def converted(gguf: Path) -> Path:
    """A folder with ``gguf`` as safetensors and its tokenizer; converted once, then cached.

    Raises:
        ModelError: the file is not a GGUF model that transformers can read.
    """
    folder = cache_dir() / f"{gguf.stem}-{_file_key(gguf)}-{CONVERSION}"
    if not folder.is_dir():
        log.info("converting %s to safetensors under %s (once)", gguf.name, folder)
        with atomic_dir(folder) as temporary, without_bars():
            _convert(gguf, temporary)
    return folder


def _file_key(path: Path) -> str:
    """A hash of size and of the file's first and last MiB: quick for files of any size."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read())
    return digest.hexdigest()[:12]


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
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.float32, local_files_only=True
        )
        bar.update()
    except Exception as error:  # transformers raises many kinds for an unreadable file
        raise ModelError(f"{gguf}: not a GGUF model that transformers can read: {error}") from error
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
