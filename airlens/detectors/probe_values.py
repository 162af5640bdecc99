"""Values of other kinds of text for key-value probes, to see whether the heads stay the same.

Short seeded generators; each value fits into a JSON string (no double quote, no backslash).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from airlens.errors import ConfigError
from airlens.files import sentences

_CODE_NAMES = ("total", "price", "count", "items", "rows", "width", "offset", "index", "score")
_CODE = (
    "{a} = sum({b} * {c} for {b} in {d})",
    "for {a} in range({n}): {b} += {c}[{a}]",
    "if {a} > {n} and not {b}: return {c}",
    "def {a}({b}, {c}={n}): return {b} - {c}",
    "{a}, {b} = {c}.pop(), {d}[{n}:]",
    "while {a} < len({b}): {a} += {n}",
    "{a} = [{b} for {b} in {c} if {b} != {n}]",
    "assert {a}.{b}({c}) == {n}, {d}",
)
_GERMAN = {
    "wer": "Der Müller|Die Lehrerin|Ein alter Fischer|Das kleine Mädchen|Unser Nachbar|"
    "Die Bäckerin|Der junge Maler|Eine Reisende|Der Förster|Die Ärztin",
    "tut": "trägt|sucht|verkauft|findet|bemalt|versteckt|zeigt|öffnet|repariert|zählt",
    "was": "den blauen Krug|die nassen Schuhe|ein rundes Brot|das rostige Fahrrad|die alten Briefe|"
    "einen schweren Koffer|die reifen Äpfel|das dünne Buch|den langen Schlüssel|eine rote Laterne",
    "wo": "am Bahnhof|hinter der Scheune|auf dem Markt|neben dem Brunnen|im Keller|vor der Schule|"
    "unter der Brücke|in der Küche|am Waldrand|bei der Kirche",
    "wann": "am frühen Morgen|nach dem Regen|kurz vor Mitternacht|jeden Sonntag|im späten Herbst|"
    "während der Pause|seit drei Tagen|bei Sonnenaufgang",
}


def _code(rng: random.Random) -> str:
    names = dict(zip("abcd", rng.sample(_CODE_NAMES, 4), strict=True))
    return rng.choice(_CODE).format(**names, n=rng.randrange(2, 500))


def _numbers(rng: random.Random) -> str:
    return " ".join(str(rng.randrange(10, 10_000)) for _ in range(4))


def _german(rng: random.Random) -> str:
    parts = [rng.choice(words.split("|")) for words in _GERMAN.values()]
    return " ".join(parts) + "."


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "code": _code,
    "numbers": _numbers,
    "german": _german,
}
CORPORA = ("prose", *_MAKERS)


def value_corpus(name: str, n: int = 400, seed: int = 0) -> list[str]:
    """``n`` distinct values of a kind: ``prose`` (the bundled sentences), or generated.

    Raises:
        ConfigError: no corpus has that name.
    """
    if name not in CORPORA:
        raise ConfigError(f"corpus {name!r}: use one of {', '.join(CORPORA)}")
    if name == "prose":
        return list(sentences()[:n])
    rng = random.Random(f"{name}-{seed}")
    found: dict[str, None] = {}
    while len(found) < n:
        found[_MAKERS[name](rng)] = None
    return list(found)
