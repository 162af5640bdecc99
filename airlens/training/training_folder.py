"""The folder of a training run: what the run is, its checkpoints, and the mark that it is done.

``run.json`` names what decides the run. It is written before the first step, so that no other run
goes on from its checkpoints, and again at the end, with the losses: a run is done when they are
there. A checkpoint is whole when it holds the mark that is written after all of its files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airlens.errors import ConfigError, DataError, RunError
from airlens.files import read_json, write_json
from airlens.provenance import fingerprint

RECORD = "run.json"
MODEL = "model"
MARK = "airlens.json"  # in a checkpoint
_CHECKPOINTS = "checkpoint-*"

# How a message names what decides a run.
_NAMES = {
    "student.weights": "a student with other weights",
    "student.config": "a student of another configuration",
    "texts": "other texts",
    "step_weights": "other step weights",
    "template": "another chat template or tokenizer, or another think",
    "tokenizer": "another tokenizer",
}


class TrainingFolder:
    """The folder of one run.

    Args:
        path: the folder; it need not exist.
        identity: all that decides the run; JSON-able, nested by at most one level.

    Raises:
        ConfigError: the folder holds another run, or a model or checkpoints of none.
        DataError: its record cannot be read.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.key = fingerprint(self.identity)
        self._record = self._known()

    def _known(self) -> dict[str, Any]:
        path = self.path / RECORD
        if path.exists():
            record = read_json(path)
            if record.get("fingerprint") != self.key:
                differ = differences(record.get("identity", {}), self.identity)
                raise ConfigError(
                    f"{self.path} holds another run ({'; '.join(differ)}): choose another folder"
                )
            return record
        others = [p.name for p in (self.path / MODEL, *self.path.glob(_CHECKPOINTS)) if p.exists()]
        if others:
            raise ConfigError(
                f"{self.path} holds {others[0]}, but no {RECORD} that says what it is: choose "
                "another folder"
            )
        return {}

    @property
    def finished(self) -> dict[str, Any] | None:
        """The record of the run, with its losses, if it is done and its model is there."""
        model = self.path / MODEL
        saved = any((model / name).is_file() for name in ("config.json", "adapter_config.json"))
        return self._record if "losses" in self._record and saved else None

    def begin(self, note: Mapping[str, Any]) -> None:
        """Say which run this is, unless the folder says so."""
        if not self._record:
            self._write(note)

    def checkpoint(self) -> Path | None:
        """The last checkpoint that is whole."""
        whole = [p for p in self.path.glob(_CHECKPOINTS) if self._is_whole(p)]
        return max(whole, key=_step_of, default=None)

    def remove_broken(self) -> None:
        """Remove checkpoints whose writing was cut short."""
        for path in self.path.glob(_CHECKPOINTS):
            if not self._is_whole(path):
                shutil.rmtree(path, ignore_errors=True)

    def mark(self, step: int) -> None:
        """Mark the checkpoint of a step as whole."""
        place = self.path / f"checkpoint-{step}"
        if place.is_dir():
            write_json(place / MARK, {"fingerprint": self.key, "step": step})

    def finish(self, note: Mapping[str, Any], losses: list[dict[Any, Any]], keep: bool) -> None:
        """Mark the run as done; without ``keep`` its checkpoints are removed."""
        self._write({**note, "losses": losses})
        for path in [] if keep else self.path.glob(_CHECKPOINTS):
            shutil.rmtree(path, ignore_errors=True)

    def _is_whole(self, checkpoint: Path) -> bool:
        mark = checkpoint / MARK
        try:
            found = json.loads(mark.read_bytes())
        except (FileNotFoundError, ValueError):  # not marked, or the mark itself was cut short
            return False
        except OSError as error:  # what is not known to be broken must not be removed
            raise DataError(
                f"cannot be read ({error.strerror or error})", file=str(mark)
            ) from error
        return isinstance(found, dict) and found.get("fingerprint") == self.key

    def _write(self, record: Mapping[str, Any]) -> None:
        whole = {**record, "fingerprint": self.key, "identity": self.identity}
        write_json(self.path / RECORD, json.loads(json.dumps(whole, default=str)), indent=1)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a disk that is full, in whatever words, into a :class:`RunError`."""
        try:
            yield
        except Exception as error:  # safetensors and torch each raise kinds of their own
            if not _no_space(error):
                raise
            raise RunError(
                f"{self.path}: no space left on the device. The last whole checkpoint is kept; "
                "make room, and the same call goes on from it"
            ) from error


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between a stored run and this one, in words."""
    if not there:
        return ["its record does not say what decides it: an older airlens wrote it"]
    flat, mine = _flat(there), _flat(here)
    found: dict[str, None] = {}  # ordered, each once
    for key in sorted({*flat, *mine}):
        if flat.get(key) != mine.get(key):
            group, _, name = key.rpartition(".")
            values = f"{name} is {flat.get(key)} there and {mine.get(key)} here"
            found[_NAMES.get(group, _NAMES.get(key, values))] = None
    return list(found)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in record.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        flat.update({f"{key}.{name}".rstrip("."): item for name, item in inner.items()})
    return flat


def _step_of(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _no_space(error: BaseException | None) -> bool:
    while error is not None:
        if "no space left" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False
