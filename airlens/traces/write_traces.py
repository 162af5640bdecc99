"""Write traces as JSON lines, which :func:`airlens.load_traces` reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file
from airlens.json_lines import json_line

from .trace import Trace


def save_traces(traces: Iterable[Trace], path: str | Path) -> Path:
    """Write traces as JSON lines, for :func:`airlens.load_traces` to read.

    The file appears when it is complete; a failure leaves what was there before.

    Raises:
        ConfigError: ``path`` does not end in ``.jsonl``.
        DataError: a trace whose ``meta`` JSON cannot express; names its number.
    """
    target = Path(path)
    if target.suffix.lower() != ".jsonl":
        raise ConfigError(f"traces are saved as JSON lines: name the file *.jsonl, not {target}")
    with atomic_file(target) as temporary, temporary.open("wb") as out:
        for number, trace in enumerate(traces, start=1):
            try:
                out.write(json_line(trace.to_json(), strict=False))
            except (TypeError, ValueError, RecursionError) as error:
                reason = f"cannot be written as JSON: {error}"
                raise DataError(reason, file=str(target), line=number, field="meta") from error
    return target
