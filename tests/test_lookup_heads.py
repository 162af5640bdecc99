"""What is copied without lookup and continuation heads: `benchmarks/lookup_heads.py`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from handmade import VOCAB, induction_model
from test_sources import letters

import airlens as al
from airlens.detectors.induction import repeated_ids
from airlens.detectors.probes import ProbeSet
from airlens.experiments.validity.benchmark import head_groups
from benchmarks import lookup_heads
from benchmarks.lookup_heads import Run, copying


class Small(Run):
    """Its probes are six tokens, repeated."""

    def key_value(self, n: int, seed: int) -> ProbeSet:
        return repeated_ids(list(range(1, VOCAB)), n, 6, seed)


def test_copying_equals_passes_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    run = Small(model, Namespace(out=tmp_path, draws=2, probes=4, seed=0))
    found = copying(run)
    probes = run.key_value(4, 1)

    def accuracy(heads: Any) -> dict[str, float]:
        right: dict[str, list[float]] = {"first": [], "later": []}
        for probe in probes:
            start, stop = probe.answer
            with torch.inference_mode(), al.ablated(model, heads, "uniform"):
                said = model(torch.tensor([probe.tokens]))[0, start - 1 : stop - 1].argmax(-1)
            same = (said == torch.tensor(probe.tokens[start:stop])).double()
            right["first"].append(float(same[0]))
            right["later"].append(float(same[1:].mean()))
        return {part: sum(values) / len(values) for part, values in right.items()}

    table = found["copying"].set_index(["set", "part", "heads"])["accuracy"]
    groups = head_groups(model, run.sets["lookup"], run.draws, 0)
    for kind in ("top", "same_layers", "random"):
        each = [accuracy(heads) for name, heads, _ in groups if name == kind]
        for part in ("first", "later"):
            mean = sum(one[part] for one in each) / len(each)
            # of tied logits either may be taken
            ties = 0 if kind == "top" else 1 / 4
            assert table["lookup", part, kind] == pytest.approx(mean, abs=ties + 1e-6), kind
    base = accuracy(al.HeadSet(()))
    assert base["first"] > table["lookup", "first", "top"]
    assert run.sets["lookup"].names() == ["L1H0"]
    assert table["average", "later", "nothing ablated"] == pytest.approx(base["later"])
    gaps = found["copying_contrasts"].set_index(["set", "part", "against"])["diff"]
    gap = table["lookup", "later", "top"] - base["later"]
    assert gaps["lookup", "later", "nothing ablated"] == pytest.approx(gap)
    monkeypatch.setattr(lookup_heads, "all_predictions", lambda *_: pytest.fail("measured"))
    again = copying(run)
    for name, frame in found.items():
        pd.testing.assert_frame_equal(frame, again[name])
