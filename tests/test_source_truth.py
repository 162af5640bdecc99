"""What finds true sources: scores whose answer is known, controls against slow ones, claims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import airlens as al
from airlens.cli import app
from airlens.errors import DataError
from airlens.experiments.validity.benchmark import head_groups
from airlens.experiments.validity.heuristics import overlap
from airlens.experiments.validity.true_sources.head_contrasts import contrast_table
from airlens.experiments.validity.true_sources.labelled_tables import (
    gain_table,
    labelled_table,
    trace_gains,
    trace_scores,
)
from airlens.experiments.validity.true_sources.measured_pairs import column, measured_pairs
from airlens.experiments.validity.true_sources.planted_tables import (
    distractor_table,
    planted_table,
    use_scores,
)
from airlens.experiments.validity.true_sources.planted_traces import DISTANCES, plant_sources
from airlens.experiments.validity.true_sources.source_claims import source_claims
from airlens.experiments.validity.true_sources.source_report import source_report
from airlens.experiments.validity.true_sources.true_pairs import (
    add_controls,
    add_truth,
    alignment_table,
    dependencies,
)
from airlens.heads import HeadSet
from airlens.step_sources import MEASURES
from airlens.traces.trace import Trace

HEADS = HeadSet.parse("L1H0, L2H3")
TRACES = plant_sources(36)


def pairs_of(traces: list[Trace]) -> pd.DataFrame:
    """All steps beside all units before them."""
    rows = [
        (trace.id, step, source)
        for trace in traces
        for step in range(len(trace.steps))
        for source in range(-len(trace.prompt.splitlines()), step)
    ]
    pairs = pd.DataFrame(rows, columns=["id", "step", "source"])
    pairs["distance"] = (pairs["step"] - pairs["source"]).where(pairs["source"] >= 0)
    return pairs.assign(n_source_tokens=8)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """Scores: the truth, noise, nothing, and three draws of noise as random heads."""
    frame = add_truth(pairs_of(TRACES), TRACES)
    rng = np.random.default_rng(0)
    frame[column("oracle", "top", 0)] = frame["true"].astype(float)
    frame[column("noise", "top", 0)] = rng.normal(size=len(frame))
    frame[column("flat", "top", 0)] = 0.0
    for draw in range(3):
        frame[column("oracle", "random", draw)] = rng.normal(size=len(frame))
    return add_controls(frame, TRACES)


@pytest.fixture(scope="module")
def uses(pairs: pd.DataFrame) -> pd.DataFrame:
    return use_scores(pairs, TRACES)


def test_the_truth_is_found_and_noise_is_not(uses: pd.DataFrame) -> None:
    table = planted_table(uses).set_index(["wording", "distance", "score", "heads"])
    for distance in ("all", *DISTANCES, "prompt"):
        oracle = table.loc["all", distance, "oracle", "top"]
        assert (oracle[["auroc", "hi", "p1", "p1_hi"]] == 1).all()
        assert (oracle[["lo", "p1_lo"]].astype(float) > 0.85).all()  # 36 traces are no certainty
        assert oracle["n"] == (144 if distance == "all" else 36)
        flat = table.loc["all", distance, "flat", "top"]
        assert flat["auroc"] == 0.5
        assert flat["p1"] == pytest.approx(flat["chance"])
    noise = table.loc["all", "all", "noise", "top"]
    assert noise["lo"] < 0.5 < noise["hi"]
    assert noise["p1_lo"] < noise["chance"] < noise["p1_hi"]
    assert table.loc["all", "all", "oracle", "random"]["draws"] == 3
    assert table.loc["own", "all", "flat", "top"]["n"] == 72


def test_free_signals_are_fooled(uses: pd.DataFrame) -> None:
    table = planted_table(uses)
    table = table[table["heads"] == ""].set_index(["wording", "distance", "score"])
    near = table.loc["all", "1", "proximity"]
    assert tuple(near[["auroc", "p1"]]) == (1, 1)
    for distance in ("2–3", "4–6", "7–12"):
        assert table.loc["all", distance, "proximity"]["p1"] == 0
    assert table.loc["all", "7–12", "proximity"]["auroc"] < 0.5
    assert table.loc["all", "all", "number_overlap"]["p1"] == pytest.approx(0.5)
    assert table.loc["repeated", "all", "word_overlap"]["p1"] < 0.2
    kinds = distractor_table(uses).set_index(["kind", "score", "heads"])["above"]
    assert kinds["numbers", "number_overlap", ""] == 0.5
    assert kinds["phrasing", "bigram_overlap", ""] < 0.1
    assert kinds["template", "oracle", "top"] == 1


def test_auroc_of_a_use_is_the_usual_one(pairs: pd.DataFrame, uses: pd.DataFrame) -> None:
    noise = uses[(uses["score"] == "noise") & (uses["distance"] != "prompt")]
    for row in noise.head(12).to_dict("records"):
        part = pairs[(pairs["id"] == row["id"]) & (pairs["step"] == row["step"])]
        part = part[part["source"] >= 0]
        expected = roc_auc_score(part["true"], part["noise/top/0"])
        assert row["auroc"] == pytest.approx(expected)
        first = part.loc[part["noise/top/0"].idxmax(), "true"]
        assert row["p1"] == float(first)


def test_a_score_not_measured_is_left_out(pairs: pd.DataFrame) -> None:
    some = pairs["id"].isin([trace.id for trace in TRACES[:3]])
    frame = pairs.assign(**{"knockout/top/0": pairs["oracle/top/0"].where(some)})
    table = planted_table(use_scores(frame, TRACES))
    row = table[(table["score"] == "knockout") & (table["distance"] == "all")].iloc[0]
    assert (row["auroc"], row["n"], row["n_traces"]) == (1, 12, 3)


def test_contrasts_pair_the_same_steps(uses: pd.DataFrame) -> None:
    found = contrast_table(uses, ["distance"], ["id", "step"])
    key = ["distance", "score", "against", "against_heads"]
    found = found.set_index(key)
    row = found.loc[("7–12", "oracle", "oracle", "random")]
    own = uses[(uses["distance"] == "7–12") & (uses["score"] == "oracle")]
    random = own.loc[own["heads"] == "random", "auroc"].mean()
    assert row["diff"] == pytest.approx(1 - random)
    assert row["lo"] > 0.3
    assert found.loc[("1", "oracle", "proximity", "")]["diff"] == 0
    row = found.loc[("1", "noise", "proximity", "")]
    assert row["hi"] < 0


def test_labelled_pairs_of_a_trace(pairs: pd.DataFrame) -> None:
    scores = trace_scores(pairs, (0, 3))
    one = scores[(scores["id"] == TRACES[0].id) & (scores["score"] == "noise")]
    part = pairs[(pairs["id"] == TRACES[0].id) & (pairs["distance"] > 3)]
    row = one[(one["beyond"] == 3) & (one["compared"] == "all pairs")].iloc[0]
    assert row["auroc"] == pytest.approx(roc_auc_score(part["true"], part["noise/top/0"]))
    assert row["n_true"] == 2
    steps = [
        roc_auc_score(own["true"], own["noise/top/0"])
        for _, own in part.groupby("step")
        if own["true"].any() and not own["true"].all()
    ]
    row = one[(one["beyond"] == 3) & (one["compared"] == "same step")].iloc[0]
    assert row["auroc"] == pytest.approx(np.mean(steps))
    table = labelled_table(scores).set_index(["beyond", "compared", "score", "heads"])
    for beyond in (0, 3):
        assert table.loc[(beyond, "all pairs", "oracle", "top"), "auroc"] == 1
        assert table.loc[(beyond, "same step", "flat", "top"), "auroc"] == 0.5
        assert table.loc[(beyond, "all pairs", "oracle", "top"), "n_traces"] == 36


def test_only_what_helps_has_a_gain() -> None:
    """True pairs drawn by chance: nothing free knows them, the oracle does."""
    found = chance_pairs()
    gain = gain_table(trace_gains(found, (0, 3))).set_index(["beyond", "score", "heads"])
    for beyond in (0, 3):
        oracle = gain.loc[(beyond, "copies", "top")]
        assert oracle["lo"] > 0.2
        assert oracle["auroc_with"] > 0.95
        assert abs(gain.loc[(beyond, "attention", "top"), "gain"]) < 0.1
        assert oracle["n_traces"] == 12
    few = found[found["id"].isin([trace.id for trace in TRACES[:5]])]
    assert gain_table(trace_gains(few, (0,))).empty


def chance_pairs() -> pd.DataFrame:
    """Copies that know the truth nearly, attention that is noise."""
    frame = pairs_of(TRACES[:12])
    rng = np.random.default_rng(1)
    frame["true"] = (frame["source"] >= 0) & (rng.random(len(frame)) < 0.05)
    frame[column("copies", "top", 0)] = frame["true"] + 0.3 * rng.normal(size=len(frame))
    frame[column("attention", "top", 0)] = rng.normal(size=len(frame))
    return add_controls(frame, TRACES)


def test_controls_are_what_they_say(pairs: pd.DataFrame) -> None:
    trace = TRACES[7]
    part = pairs[pairs["id"] == trace.id]
    texts = [*trace.prompt.splitlines(), *(step.text for step in trace.steps)]
    for row in part.sample(40, random_state=0).to_dict("records"):
        step, source = texts[row["step"] + 4], texts[row["source"] + 4]
        assert row["bigram_overlap//0"] == pytest.approx(overlap(step, source))
        assert row["proximity//0"] == pytest.approx(1 / (row["step"] - row["source"]))


def test_attention_received_leaves_the_step_itself_out() -> None:
    trace = Trace("t", "", "a\nb\nc\nd").with_steps("line")
    frame = pairs_of([trace])
    paid = {(1, 0): 1.0, (2, 0): 3.0, (3, 0): 5.0, (2, 1): 2.0, (3, 1): 4.0, (3, 2): 7.0}
    frame["attention_per_token/random/0"] = [
        paid[pair] for pair in zip(frame["step"], frame["source"], strict=True)
    ]
    found = add_controls(frame, [trace]).set_index(["step", "source"])["attention_received//0"]
    assert (found[1, 0], found[2, 0], found[3, 0], found[2, 1]) == (4, 3, 2, 4)
    assert found[3, 2] == np.mean([4, 3, 2, 4, 2])


def test_labels_of_steps_that_were_not_found_are_lost_and_counted() -> None:
    response = "one\ntwo\nthree\n"
    record = {
        "prompt": "p",
        "response": response,
        "steps": [
            {"text": "one", "depends_on": []},
            {"text": "missing", "depends_on": ["0"]},
            {"text": "two", "depends_on": ["0", "1"]},
            {"text": "three", "depends_on": ["2", "3"]},
        ],
    }
    (trace,) = al.load_traces([record])
    assert dependencies(trace) == {(1, 0), (2, 1)}
    table = alignment_table([trace]).iloc[0]
    assert (table["steps"], table["unaligned"], table["pairs"], table["lost"]) == (3, 1, 4, 2)
    record["steps"][0]["depends_on"] = ["none"]
    with pytest.raises(DataError, match="is no step"):
        dependencies(al.load_traces([record])[0])
    with pytest.raises(DataError, match="depend on another"):
        add_truth(pairs_of([trace]), [])


LINES = ("A drum holds 52.", "So far so good.", "Bay 31 is free.", "The drum has 52 now.", "Done.")


def short_traces() -> list[Trace]:
    """Two that fit into the tiny model, whose tokens are bytes."""
    known = [{"depends_on": []} for _ in LINES]
    known[3] = {"depends_on": [0], "number": "52", "numbers": [], "words": [], "template": [2]}
    made = []
    for name in ("a", "b"):
        text = "\n".join([*LINES[:3], f"The drum {name} has 52 now.", LINES[4]])
        cut = Trace(name, "Go on.", text).with_steps("line")
        made.append(replace(cut, step_meta=tuple(known)))
    return made


@pytest.fixture(scope="module")
def groups(llama: Any) -> Any:
    return head_groups(llama, HEADS, {"same_layers": 1, "random": 1}, 0)


def test_what_is_kept_is_what_sources_gives(llama: Any, groups: Any, tmp_path: Path) -> None:
    traces = short_traces()
    found = measured_pairs(llama, traces, groups, knocked_out=1, folder=tmp_path, progress=False)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2 + 3
    first = (found["id"] == "a").to_numpy()
    options: dict[str, Any] = {"controls": 0, "screen": None, "progress": False}
    for name, heads, draw in groups:
        own = al.sources(llama, traces, heads, measures=MEASURES, **options)
        assert list(zip(found["id"], found["step"], found["source"], strict=True)) == list(
            zip(own.pairs["id"], own.pairs["step"], own.pairs["source"], strict=True)
        )
        for score in ("copies", "attention", "attention_per_token", "knockout"):
            mine = found[column(score, name, draw)].to_numpy()
            assert (np.isfinite(mine) == (first | (score != "knockout"))).all()
            known = np.isfinite(mine)
            theirs = own.pairs[score].to_numpy()[known]
            np.testing.assert_allclose(mine[known], theirs, atol=1e-6)
        copied = found[column("copies_number", name, draw)].to_numpy()
        np.testing.assert_allclose(copied, number_copies(own, traces), atol=1e-6)


def test_more_draws_of_random_heads_are_knocked_out(llama: Any) -> None:
    traces = short_traces()[:1]
    groups = head_groups(llama, HEADS, {"same_layers": 3, "random": 1}, 0)
    found = measured_pairs(llama, traces, groups, knocked_out=1, knockout_draws=2, progress=False)
    options: dict[str, Any] = {"controls": 0, "screen": None, "progress": False}
    for name, heads, draw in groups:
        assert (column("knockout", name, draw) in found) == (draw < 2)
        if draw < 2:
            own = al.sources(llama, traces, heads, measures=MEASURES, **options)
            mine = found[column("knockout", name, draw)]
            np.testing.assert_allclose(mine, own.pairs["knockout"], atol=1e-6)


def number_copies(found: Any, traces: list[Trace]) -> np.ndarray:
    """Share of the tokens "5" and "2" of step 3 in the events of each source."""
    values = []
    for row in found.pairs.to_dict("records"):
        trace = next(trace for trace in traces if trace.id == row["id"])
        at = trace.response.rindex("52")
        events = found.events[(found.events["id"] == row["id"])]
        events = events[(events["source"] == row["source"]) & events["pos"].isin([at, at + 1])]
        values.append(events["pos"].nunique() / 2 if row["step"] == 3 else np.nan)
    return np.array(values)


def test_nothing_is_measured_twice(
    llama: Any, groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = short_traces()
    options: dict[str, Any] = {"folder": tmp_path, "progress": False}
    first = measured_pairs(llama, traces, groups, knocked_out=1, **options)
    monkeypatch.setattr(
        "airlens.experiments.validity.true_sources.measured_pairs.read_traces", None
    )
    again = measured_pairs(llama, traces, groups, knocked_out=1, **options)
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(TypeError):
        measured_pairs(llama, traces, groups, knocked_out=2, **options)


def test_the_report_of_planted_and_labelled_traces(llama: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"draws": 1, "progress": False, "folder": tmp_path}
    options |= {"n": 2, "knockout_labelled": 1}
    report = source_report(llama, HEADS, short_traces(), **options)
    planted, labelled = report.tables["planted"], report.tables["labelled"]
    assert {"copies", "attention", "copies_number", "proximity"} <= set(planted["score"])
    assert set(labelled.loc[labelled["score"] == "knockout", "n_traces"]) == {1}
    assert set(labelled["traces"]) == {"all", "knocked out"}
    names = {path.name for path in tmp_path.glob("*")}
    assert {"planted.csv", "labelled.csv", "claims.csv", "gain.csv", "provenance.json"} <= names
    same = source_report(llama, HEADS, short_traces(), **options)
    for name, table in report.tables.items():
        pd.testing.assert_frame_equal(table, same.tables[name])
    assert report.claims["claim"].is_unique


def test_claims_follow_the_tables(uses: pd.DataFrame) -> None:
    known = uses.replace({"score": {"oracle": "copies", "noise": "attention", "flat": "knockout"}})
    # What is the same in every trace does not vary, and has no interval.
    found = known["score"] == "copies"
    jitter = 1 - 0.02 * np.random.default_rng(0).random((int(found.sum()), 1))
    known.loc[found, ["auroc", "p1"]] *= jitter
    by_chance = chance_pairs()
    scores = trace_scores(by_chance, (0, 3))
    claims = source_claims(
        {
            "planted": planted_table(known),
            "distractors": distractor_table(known),
            "planted_contrasts": planted_contrasts(known),
            "labelled": labelled_table(scores),
            "labelled_contrasts": contrast_table(scores, ["beyond", "compared"], ["id"]),
            "gain": gain_table(trace_gains(by_chance, (0, 3))),
        }
    ).set_index("claim")["holds"]
    assert claims.index.is_unique
    far = "planted sources 7–12 steps before are {} by copies of the critical heads"
    for done in ("found", "put first"):
        assert claims[far.format(done) + ", better than by random heads anywhere"]
        assert claims[far.format(done) + ", better than by every free control"]
        assert claims[far.format(done) + ", better than by all that needs no critical heads"]
    assert claims[far.format("found")]
    assert claims[far.format("put first") + " more often than by chance"]
    noise = far.format("found").replace("copies", "attention")
    assert not claims[f"{noise}, better than by every free control"]
    near = "planted sources 1 step before are found by copies of the critical heads"
    assert claims[near]
    assert not claims[f"{near}, better than by every free control"]
    labelled = "labelled sources more than 3 steps before are found by {} of the critical heads"
    assert claims[labelled.format("copies") + ", beyond proximity, overlap and length"]
    assert not claims[labelled.format("attention")]
    alone = claims[[name for name in claims.index if " alone " in name]]
    assert len(alone)
    assert not alone.any()


def planted_contrasts(uses: pd.DataFrame) -> pd.DataFrame:
    where, unit = ["distance"], ["id", "step"]
    values = ("auroc", "p1")
    return pd.concat([contrast_table(uses, where, unit, v) for v in values])


def test_proximity_may_win(uses: pd.DataFrame) -> None:
    # Without "flat": what is .5 below in every trace does not vary, and has no verdict.
    worse = uses[~uses["score"].isin(["oracle", "flat"])].replace({"score": {"noise": "copies"}})
    planted = planted_table(worse)
    contrasts = planted_contrasts(worse)
    distractors = distractor_table(worse)
    tables = {"planted": planted, "planted_contrasts": contrasts, "distractors": distractors}
    claims = source_claims(tables).set_index("claim")["holds"]
    said = "planted sources 1 step before are found by proximity alone better than by every measure"
    assert claims[said]


def test_the_command_prints_and_keeps_the_tables(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airlens.traces.write_traces import save_traces

    monkeypatch.setattr("airlens.model.load.load_model", lambda *a, **k: llama)
    path = save_traces(short_traces(), tmp_path / "labelled.jsonl")
    options = ["--heads", "L1H0, L2H3", "--n", "1", "--quiet", "--draws", "2"]
    options += ["--draws-anywhere", "0", "--traces", str(path), "--knockout-labelled", "1"]
    options += ["--knockout-draws", "3"]
    call = ["validate", "--what", "sources", *options, "--out", str(tmp_path / "out")]
    plain = CliRunner().invoke(app, call)
    assert plain.exit_code == 0, plain.output
    for words in ("by distance", "Precision at 1", "> 0 apart, same step", "What may not be"):
        assert words in plain.output
    found = CliRunner().invoke(app, [*call, "--json"])
    record = json.loads(found.stdout.splitlines()[-1])
    assert {"planted", "distractors", "labelled", "gain", "claims"} <= set(record)
    assert record["provenance"]["knockout_draws"] == {"same_layers": 2}
    rows = pd.DataFrame(record["labelled_contrasts"])
    own = (rows["score"] == "knockout") & (rows["against"] == "knockout")
    assert set(rows.loc[own, "draws"]) == {2}
    kept_table = pd.read_csv(tmp_path / "out" / "labelled.csv")
    assert len(kept_table) == len(record["labelled"])
