"""Write the bundled reasoning traces, with a labelled step list for each.

Run ``python -m tools.bundled_data.traces --out data/traces.jsonl --seed 0 --n 60``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .arithmetic_counts import COUNTS
from .arithmetic_money import MONEY
from .lookup import LOOKUPS
from .maths import Maths
from .programs import PROGRAMS
from .prose import prose
from .written_trace import Pad, Sketch

DOMAINS = ("arithmetic", "lookup", "code", "prose")
MAX_TRIES = 200


def _arithmetic(rng: random.Random, index: int) -> Sketch:
    situations = MONEY + COUNTS
    return situations[index % len(situations)](Maths(rng))


def _lookup(rng: random.Random, index: int) -> Sketch:
    return LOOKUPS[index % len(LOOKUPS)](Pad(rng))


def _code(rng: random.Random, index: int) -> Sketch:
    return PROGRAMS[index % len(PROGRAMS)](Pad(rng))


MAKERS: dict[str, Callable[[random.Random, int], Sketch]] = {
    "arithmetic": _arithmetic,
    "lookup": _lookup,
    "code": _code,
    "prose": prose,
}


def joiner(domain: str) -> str:
    """What stands between the steps of a response in a domain."""
    return " " if domain == "prose" else "\n"


def record(domain: str, index: int, sketch: Sketch) -> dict[str, Any]:
    """The JSON object for one trace."""
    return {
        "id": f"{domain}-{index:04d}",
        "domain": domain,
        "prompt": sketch.prompt,
        "response": joiner(domain).join(step.text for step in sketch.steps),
        "steps": [{"text": step.text, "label": step.label} for step in sketch.steps],
        "answer": sketch.answer,
    }


def domain_traces(domain: str, n: int, seed: int) -> list[dict[str, Any]]:
    """The ``n`` traces of one domain, no two with the same response."""
    rng = random.Random(f"{seed}-{domain}")
    seen: set[tuple[str, ...]] = set()
    traces: list[dict[str, Any]] = []
    for index in range(n):
        for _ in range(MAX_TRIES):
            sketch = MAKERS[domain](rng, index)
            key = tuple(step.text for step in sketch.steps)
            if key not in seen and 5 <= len(key) <= 10:
                break
        else:
            raise ValueError(f"no further distinct {domain} trace after {index}")
        seen.add(key)
        traces.append(record(domain, index, sketch))
    return traces


def generate_traces(n: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` traces of every domain, domain by domain."""
    return [trace for domain in DOMAINS for trace in domain_traces(domain, n, seed)]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write the traces as JSON lines."""
    parser = argparse.ArgumentParser(description="Write the bundled reasoning traces.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=60, help="traces in each domain")
    args = parser.parse_args(argv)
    traces = generate_traces(args.n, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(trace) + "\n" for trace in traces)
    args.out.write_text(text, encoding="utf-8", newline="\n")
    sys.stdout.write(f"{len(traces)} traces -> {args.out}\n")


if __name__ == "__main__":
    main()
