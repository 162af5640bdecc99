"""Probes whose answer can only be copied from the context.

The key-value probe is AttentionInfluence's (arXiv 2505.07293 §4.1, app. A): a JSON object of random
keys and sentences, demonstrations, and a query key whose value has to be copied.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError
from .files import read_json, sentences, write_json
from .provenance import fingerprint, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]

KEY_LENGTH = 32  # AttentionInfluence §4.1: 32 random alphanumeric characters
SHOTS = 3  # AttentionInfluence §4.1
_HEADER = (
    "Extract the value corresponding to the specified key in the JSON object below.\n\n"
    "JSON data:\n{\n"
)


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
        record = {
            "kind": self.kind,
            "settings": self.settings,
            "hash": self.hash,
            "versions": versions(),
            "probes": [asdict(p) for p in self.probes],
        }
        return write_json(path, record)

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


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}


def bos_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts before a text (none for SmolLM2)."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    return list(full[: full.index(plain[0])]) if plain and plain[0] in full else []


def key_value_probes(
    tokenizer: PreTrainedTokenizerBase,
    n: int = 12,
    max_tokens: int = 840,
    seed: int = 0,
    *,
    shots: int = SHOTS,
    values: Sequence[str] | None = None,
    key_length: int = KEY_LENGTH,
) -> ProbeSet:
    """JSON objects from which one value has to be copied (AttentionInfluence §4.1, app. A).

    Args:
        tokenizer: the model's.
        n: number of probes (the paper uses 800; 12 give the same top heads on small models).
        max_tokens: upper bound of a probe, answer included (the paper: 4,096).
        seed: same seed, same probes.
        shots: demonstrations before the query.
        values: sentences to be copied; default: the bundled English ones.
        key_length: characters of a key; fewer fit a model of a short context.

    Raises:
        ConfigError: not even ``shots + 2`` pairs fit into ``max_tokens``.
    """
    pool = list(values) if values is not None else list(sentences())
    build = _KeyValueBuilder(tokenizer, pool, max_tokens, shots, key_length)
    probes = tuple(build(i, random.Random(f"{seed}-{i}")) for i in range(n))
    name = str(getattr(tokenizer, "name_or_path", ""))
    settings = {
        "max_tokens": max_tokens,
        "seed": seed,
        "shots": shots,
        "template": fingerprint({"header": _HEADER, "version": 1}),
        "values": "bundled" if values is None else fingerprint({"values": pool}),
        "tokenizer": Path(name).name,
    }
    if key_length != KEY_LENGTH:
        settings["key_length"] = key_length
    return ProbeSet(probes, "key-value", settings)


class _KeyValueBuilder:
    """Splices token lists: a value has the same tokens in the context and in the answer."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pool: list[str],
        max_tokens: int,
        shots: int,
        key_length: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.pool = pool
        self.max_tokens = max_tokens
        self.shots = shots
        self.key_length = key_length
        self.header = bos_tokens(tokenizer) + self._encode(_HEADER)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def __call__(self, index: int, rng: random.Random) -> Probe:
        pairs = self._pairs(rng)
        needle, *demos = rng.sample(range(len(pairs)), self.shots + 1)
        tokens = list(self.header)
        spans: list[tuple[int, int, int]] = []
        for key, value in pairs:
            start = len(tokens)
            tokens += self._encode(f'"{key}": "')
            value_start = len(tokens)
            tokens += value
            spans.append((start, value_start, len(tokens)))
            tokens += self._encode('",\n')
        line_stop = spans[needle + 1][0] if needle + 1 < len(spans) else len(tokens)
        tokens += self._encode("}\n")
        for demo in demos:
            tokens += self._question(pairs[demo][0]) + pairs[demo][1] + self._encode('"\n')
        tokens += self._question(pairs[needle][0])
        answer = (len(tokens), len(tokens) + len(pairs[needle][1]))
        tokens += pairs[needle][1]
        line_start, start, stop = spans[needle]
        meta = {
            "pairs": len(pairs),
            "needle_pair": needle,
            "key": pairs[needle][0],
            "query": [answer[0] - len(self._question(pairs[needle][0])), answer[0]],
            "null_query": self._question("N/A"),
        }
        return Probe(
            f"kv-{index}", tuple(tokens), (start, stop), answer, (line_start, line_stop), meta
        )

    def _question(self, key: str) -> list[int]:
        return self._encode(f'\nKey: "{key}"\nCorresponding value: "')

    def _pairs(self, rng: random.Random) -> list[tuple[str, list[int]]]:
        """As many pairs as fit when demonstrations and query are the longest ones."""
        values = rng.sample(self.pool, len(self.pool))
        pairs: list[tuple[str, list[int]]] = []
        used = len(self.header) + 8
        longest: list[int] = []
        for text in values:
            key = "".join(rng.choices(string.ascii_letters + string.digits, k=self.key_length))
            value = self._encode(text)
            line = len(self._encode(f'"{key}": "')) + len(value) + len(self._encode('",\n'))
            asked = len(self._question(key)) + len(value) + 3
            candidates = sorted([*longest, asked], reverse=True)[: self.shots + 1]
            if used + line + sum(candidates) > self.max_tokens:
                break
            longest = candidates
            used += line
            pairs.append((key, value))
        if len(pairs) < self.shots + 2:
            raise ConfigError(
                f"max_tokens={self.max_tokens} holds {len(pairs)} key-value pairs, but "
                f"{self.shots} demonstrations need at least {self.shots + 2}: raise max_tokens"
            )
        return pairs
