"""Print the numbers of published code beside ours.

    git clone https://github.com/UmeanNever/RankSurprisalRatio there
    python -m benchmarks.parity rsr=there

Each argument is NAME=FOLDER, a checkout of yours that is read and run as it stands; nothing of it
is copied. ``transformer_lens`` is run as it is installed. ``--out FOLDER`` keeps the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

import airlens as al
from airlens.folders import write_tables
from airlens.provenance import provenance

from .adapters import ADAPTERS, INSTALLED
from .models import Models


def load(name: str) -> Models:
    """The bridge, and a Hugging Face model of its own on the same weights."""
    from transformers import AutoModelForCausalLM

    from airlens.losses.fast.fast_model import named_tensors

    bridge = al.load_model(name, device="cpu", dtype="float32")
    source = bridge.original_model
    plain = AutoModelForCausalLM.from_config(source.config, attn_implementation="eager")
    plain.load_state_dict(named_tensors(source), strict=False)
    return Models(bridge, plain.eval(), bridge.tokenizer)


def main(arguments: list[str] | None = None) -> int:
    """Run the adapters that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("checkouts", nargs="+", metavar="NAME=FOLDER", help=", ".join(ADAPTERS))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    asked = [text.partition("=") for text in given.checkouts]
    for name, _, folder in asked:
        if name not in ADAPTERS or not (name in INSTALLED or Path(folder).is_dir()):
            known = ", ".join(f"{n} ({ADAPTERS[n][0]} at {ADAPTERS[n][1]})" for n in ADAPTERS)
            parser.error(f"{name}={folder}: give NAME=FOLDER, a checkout of {known}")
    models = load(given.model)
    rows = []
    for name, _, folder in asked:
        repository, revision, adapter = ADAPTERS[name]
        for what, theirs, ours in adapter(Path(folder), models):
            rows.append((repository, revision, what, theirs, ours, ours - theirs))
    columns = ["repository", "revision", "what", "theirs", "ours", "difference"]
    table = pd.DataFrame(rows, columns=columns)
    sys.stdout.write(table.drop(columns="revision").to_string(index=False) + "\n")
    if given.out is not None:
        write_tables(given.out, {"parity": table}, provenance(models.ours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
