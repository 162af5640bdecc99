"""SmolLM2-135M and Gemma-3 270M side by side: what `data/results/two_models/` is made by.

Passes only; about 40 CPU-minutes. A stopped run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from airlens.experiments.paper.compare_models import CompareSize, compare_models

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("smollm2-135m", "gemma3-270m")


def main() -> None:
    """Measure, and write tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "two_models")
    parser.add_argument("--resume", type=Path, default=ROOT / "runs" / "two_models")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found = compare_models(
        args.models, size=CompareSize(), seed=args.seed, resume=args.resume, progress=False,
        say=lambda text: print(text, flush=True),
    )  # fmt: skip
    print(found.save(args.out))
    print(found.claims.to_string())


if __name__ == "__main__":
    main()
