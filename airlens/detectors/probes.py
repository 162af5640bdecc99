"""Probes whose answer can only be copied from the context (kinds: :mod:`airlens.detectors`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from airlens.arguments import reader
from airlens.errors import ConfigError, DataError
from airlens.files import read_json, write_json
from airlens.provenance import fingerprint, versions

Span = tuple[int, int]


@dataclass(frozen=True)
class Probe:
    """One context with a needle and the answer that copies it; all spans are half-open.

    Attributes:
        id: unique within its set.
        tokens: token ids of context, question and answer.
        needle: span of the answer's source in the context.
        answer: span of the answer, to the end of ``tokens``.
        removable: span that can be cut so that the needle is gone and the rest stays well-formed.
        meta: kind-specific settings (context length, depth, …); ``query``: span of the question,
            ``null_query``: the tokens of the same question about "N/A", for QRHead.
    """

    id: str
    tokens: tuple[int, ...]
    needle: Span
    answer: Span
    removable: Span
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def answer_tokens(self) -> tuple[int, ...]:
        """The token ids to be copied."""
        return self.tokens[self.answer[0] : self.answer[1]]

    def without_needle(self) -> Probe:
        """The same question with its needle cut from the context: the floor of copy accuracy."""
        start, stop = self.removable
        cut = stop - start
        answer = (self.answer[0] - cut, self.answer[1] - cut)
        tokens = self.tokens[:start] + self.tokens[stop:]
        return Probe(self.id, tokens, (start, start), answer, (start, start), self.meta)


@dataclass(frozen=True)
class ProbeSet:
    """Probes of one kind, with the settings that made them."""

    probes: tuple[Probe, ...]
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes)

    def __len__(self) -> int:
        return len(self.probes)

    def __getitem__(self, index: int) -> Probe:
        return self.probes[index]

    def subset(self, indices: Sequence[int]) -> ProbeSet:
        """The probes at ``indices``, in that order."""
        return ProbeSet(tuple(self.probes[i] for i in indices), self.kind, self.settings)

    @property
    def hash(self) -> str:
        """16 hex digits that change with any token or span of any probe."""
        return fingerprint({"probes": [[p.tokens, p.needle, p.answer] for p in self.probes]})

    def info(self) -> dict[str, Any]:
        """Settings of the probes, as recorded with scores."""
        return {"kind": self.kind, "n": len(self), "hash": self.hash, **self.settings}

    def save(self, path: str | Path) -> Path:
        """Write JSON."""
        record = {"kind": self.kind, "settings": self.settings, "hash": self.hash}
        probes = [asdict(probe) for probe in self.probes]
        return write_json(path, {**record, "versions": versions(), "probes": probes})

    @classmethod
    def load(cls, path: str | Path) -> ProbeSet:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: not such a file, or its probes do not match its hash.
        """
        record = read_json(path)
        try:
            probes = tuple(Probe(**_tuples(probe)) for probe in record["probes"])
            loaded = cls(probes, str(record["kind"]), record["settings"])
            expected = record["hash"]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a probe set ({error})", file=str(path)) from error
        if loaded.hash != expected:
            raise DataError("the probes do not match their hash: edited?", file=str(path))
        return loaded


@reader("ProbeSet")
def as_probes(value: Any, name: str = "probes") -> ProbeSet:
    """A set of probes from one, from a list of probes, or from a single probe; at least one.

    Raises:
        ConfigError: no probe, or anything else; says how to make some.
    """
    items = [value] if isinstance(value, Probe) else value
    if isinstance(items, Iterable) and not isinstance(items, str | Mapping):
        items = tuple(items)
        if items and all(isinstance(item, Probe) for item in items):
            return value if isinstance(value, ProbeSet) else ProbeSet(items, "given")
        value = next((item for item in items if not isinstance(item, Probe)), None)
    what = "no probe" if items == () else f"expected probes, found a {type(value).__name__}"
    raise ConfigError(f"{name}: {what}; al.key_value_probes(model.tokenizer) makes some")


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
