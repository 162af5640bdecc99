"""Key-value probes: a JSON object of random keys and sentences, one value of which is asked for.

AttentionInfluence (arXiv 2505.07293 §4.1, app. A): demonstrations, and then a query key whose value
has to be copied from the object.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from airlens.arguments import checked
from airlens.errors import ConfigError, need_count
from airlens.files import sentences
from airlens.provenance import fingerprint

from .probes import Probe, ProbeSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEY_LENGTH = 32  # AttentionInfluence §4.1: 32 random alphanumeric characters
SHOTS = 3  # AttentionInfluence §4.1
_HEADER = (
    "Extract the value corresponding to the specified key in the JSON object below.\n\n"
    "JSON data:\n{\n"
)


@checked
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
        ConfigError: not even ``shots + 2`` pairs fit into ``max_tokens``: the message has the
            smallest number that works.
    """
    pool = list(values) if values is not None else list(sentences())
    need_count(n, "n")
    if len(pool) < shots + 2:
        raise ConfigError(f"{len(pool)} values: {shots} demonstrations need {shots + 2} at least")
    build = _KeyValueBuilder(tokenizer, pool, max_tokens, shots, key_length)
    seeds = [f"{seed}-{i}" for i in range(n)]
    try:
        probes = tuple(build(i, random.Random(each)) for i, each in enumerate(seeds))
    except _TooShort as error:
        least = max(build.least(random.Random(each)) for each in seeds)
        raise ConfigError(
            f"too few for {shots} demonstrations and a question: raise max_tokens to {least} at "
            "least",
            argument="max_tokens",
            value=max_tokens,
        ) from error
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


def bos_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts before a text (none for SmolLM2)."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    return list(full[: full.index(plain[0])]) if plain and plain[0] in full else []


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
        """The pairs of a probe: as many as fit with the longest demonstrations and query."""
        pairs: list[tuple[str, list[int]]] = []
        for key, value, room in self._sized(rng):
            if room > self.max_tokens:
                break
            pairs.append((key, value))
        if len(pairs) < self.shots + 2:
            raise _TooShort
        return pairs

    def least(self, rng: random.Random) -> int:
        """The smallest ``max_tokens`` for the probe of this generator."""
        sized = islice(self._sized(rng), self.shots + 2)
        return max(room for _, _, room in sized)

    def _sized(self, rng: random.Random) -> Iterator[tuple[str, list[int], int]]:
        """Key, value, and how many tokens the probe has with this pair and those before it."""
        used = len(self.header) + 8
        longest: list[int] = []
        for text in rng.sample(self.pool, len(self.pool)):
            key = "".join(rng.choices(string.ascii_letters + string.digits, k=self.key_length))
            value = self._encode(text)
            line = len(self._encode(f'"{key}": "')) + len(value) + len(self._encode('",\n'))
            asked = len(self._question(key)) + len(value) + 3
            longest = sorted([*longest, asked], reverse=True)[: self.shots + 1]
            used += line
            yield key, value, used + sum(longest)


class _TooShort(Exception):
    """Too few pairs fit into a probe."""
