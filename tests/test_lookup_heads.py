"""What is copied without lookup and continuation heads: `benchmarks/lookup_heads.py`."""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
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
from airlens.experiments.validity.planted import validate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import lookup_heads
from lookup_claims import lookup_claims
from lookup_heads import Run, copying, planted, sources


class Small(Run):
    """Its probes are six tokens, repeated."""

    def key_value(self, n: int, seed: int) -> ProbeSet:
        return repeated_ids(list(range(1, VOCAB)), n, 6, seed)


def test_copying_equals_passes_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    run = Small(model, Namespace(out=tmp_path, draws=2, probes=4, copy_probes=6, seed=0))
    found = copying(run)
    probes = run.key_value(6, 1)

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
    assert set(found["copying"]["n"]) == {6}
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


class ByHand(Run):
    """Sets as given, two of them the same."""

    def __init__(self, model: Any, out: Path, lookup: str = "L0H1", draws: int = 2) -> None:
        self.model, self.home = model, out
        self.args = Namespace(n=9, sources=9, seed=0, probes=4)
        self.draws = {"same_layers": draws, "random": draws}
        chosen = {"average": "L1H0, L2H3", "lookup": lookup, "continuation": "L1H0, L2H3"}
        self.sets = {
            name: al.HeadSet(al.HeadSet.parse(heads).heads, name) for name, heads in chosen.items()
        }


def test_sets_are_compared_on_the_same_steps_and_traces(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(validate, kinds=("restated", "other"))
    monkeypatch.setattr(lookup_heads, "validate", few)
    run = ByHand(llama, tmp_path)
    tables = planted(run) | sources(run)
    assert list(run.distinct) == ["average", "lookup"]
    assert set(tables["planted"]["set"]) == set(run.sets)

    alone = tables["planted"].query("heads == 'top'").set_index(["set", "kind", "score"])["auroc"]
    for row in tables["planted_sets"].itertuples():
        assert (row.set, row.against) == ("average", "lookup")
        own, rival = (alone[name, row.kind, row.score] for name in (row.set, row.against))
        assert (row.auroc, row.auroc_against) == pytest.approx((own, rival))
        assert row.difference == pytest.approx(own - rival)

    uses = {}
    for name, heads in run.distinct.items():
        one = pd.read_parquet(run.of("sources", heads) / "measured_uses.parquet")
        one = one[(one["score"] == "copies") & (one["distance"] != "prompt")]
        uses[name] = one.groupby(["heads", "id"])["auroc"].mean().groupby("heads").mean()
    compared = tables["sources_sets"].set_index(["measure", "distance"]).loc[("copies", "all")]
    assert compared["difference"] == pytest.approx(uses["average"]["top"] - uses["lookup"]["top"])
    assert compared["n"] == 9

    said = lookup_claims(tables, run.distinct).set_index("claim")
    assert said.index.is_unique
    assert not said.index.str.contains("continuation").any()
    start = "copies find true sources more by lookup heads than by random heads of the same layers"
    gap = uses["lookup"]["top"] - uses["lookup"]["same_layers"]
    assert said.loc[start, "evidence"].startswith(f"{gap:.2f} [")
    start = "AIS ranks real steps above restated ones more by average heads than by "
    gap = alone["average", "restated", "ais"] - alone["lookup", "restated", "ais"]
    assert said.loc[start + "lookup heads", "evidence"].startswith(f"{gap:.2f} [")
    # Two draws of random heads decide nothing, whatever the number of steps.
    by_draws = said[said.index.str.contains("than by random")]
    assert len(by_draws) == 2 * 2 * (2 * 2 + 1)  # sets, kinds of control; scores of kinds, sources
    assert set(by_draws["verdict"]) == {"no verdict"}
    assert by_draws["evidence"].str.contains("2 draws of random heads").all()


def test_sets_that_are_all_the_same_are_compared_with_random_heads_alone(
    llama: Any, tmp_path: Path
) -> None:
    run = ByHand(llama, tmp_path, lookup="L1H0, L2H3", draws=1)
    tables = sources(run)
    assert list(run.distinct) == ["average"]
    assert "sources_sets" not in tables
    said = lookup_claims(tables, run.distinct)["claim"]
    start = "copies find true sources more by average heads than by random heads"
    assert list(said) == [f"{start} of the same layers", f"{start} anywhere"]


def test_claims_say_which_set_stops_more_copying() -> None:
    rows = [("average", "lookup", ""), ("lookup", "average", ""), ("average", "continuation", "")]
    rows += [("lookup", "random heads", "random"), ("lookup", "nothing ablated", "")]
    gap = pd.DataFrame(rows, columns=["set", "against", "against_heads"])
    found = {"diff": [-0.5, 0.5, 0.0, -0.2, 0.3], "p": [0.001, 0.001, 1.0, 0.02, 0.04]}
    gap = gap.assign(part="first", **found, lo=gap.index - 9.0, hi=gap.index + 1.0, n=12, draws=3)
    said = lookup_claims({"copying_contrasts": gap}, ["average", "lookup"]).set_index("claim")
    start = "first tokens: ablating stops more copying by "
    assert list(said.index.str.removeprefix(start)) == [
        "average heads than by lookup heads",
        "lookup heads than by random heads anywhere",
        "lookup heads than by nothing ablated",
    ]
    assert list(said["verdict"]) == ["holds", "holds", "fails"]
    assert list(said["p_holm"]) == pytest.approx([0.003, 0.04, 0.04])
    assert said["evidence"].iloc[0] == "0.50 [-1.00, 9.00]"
    assert lookup_claims({}, ["average"]).empty


def test_tables_of_parts_that_were_not_run_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "planted_sets.csv").write_text("of another run")
    (tmp_path / "mine.csv").write_text("not of this command")
    tables = {"copying": pd.DataFrame({"set": ["average"]})}
    lookup_heads.write_only(tmp_path, tables, {"seed": 0})
    assert {path.name for path in tmp_path.iterdir()} == {
        "copying.csv",
        "mine.csv",
        "provenance.json",
    }
