"""Paths: heads made by hand, a slow walk over the events in pandas, forwards against backwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_sources import HEADS, fake_sources
from handmade import induction_model
from test_sources import TRACES, letters, measured
from tiny_zoo import tiny

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.heads import parse_head
from airlens.step_sources.source_paths import END_COLUMNS, HOP_COLUMNS

PROMPT = ["A box holds 12 eggs. ", "Nine boxes came. ", "How many eggs? "]
RESPONSE = """We know 12 eggs are in a box.
So 9 boxes of 12 eggs are here.
That is 108 eggs in all.
We check that 12 eggs in 9 boxes make 108 eggs.
#### 108"""


def made(seed: int = 0, controls: int = 1) -> al.Sources:
    """Sources by hand in which each word is copied from several earlier places."""
    trace = al.Trace("t", "".join(PROMPT), RESPONSE).with_steps("line")
    fake = fake_sources(trace, PROMPT, seed)
    rng = np.random.default_rng(seed)
    steps = fake.steps.assign(n_tokens=fake.units.query("kind == 'step'")["n_tokens"].to_numpy())
    events = several(fake.tokens, rng)
    few = (
        events.sort_values("weight", ascending=False)
        .drop_duplicates("pos")
        .sample(frac=0.5, random_state=seed)
    )
    drawn = [
        few.assign(draw=draw)[["id", "draw", "head", "pos", "source_index", "weight"]]
        for draw in range(controls)
    ]
    note = {"controls": [["L0H0"]] * controls}
    return al.Sources(fake.units, fake.tokens, fake.pairs, steps, events, note, pd.concat(drawn))


def several(tokens: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Copies of a word from each place before where it stands, some by equal weights."""
    rows = []
    records = tokens.to_dict("records")
    for here in records:
        for there in records[: here["index"]]:
            same = here["token"].strip() == there["token"].strip()
            if (
                not same
                or here["part"] != "response"
                or there["part"] == "template"
                or rng.random() < 0.2
            ):
                continue
            row = {
                "id": "t",
                "head": HEADS[int(rng.integers(3))],
                "pos": here["pos"],
                "step": here["unit"],
            }
            row |= {"token": here["token"], "source_index": there["index"], "source": there["unit"]}
            rows.append(
                row | {"source_token": there["token"], "weight": float(rng.integers(1, 4)) / 4}
            )
    return pd.DataFrame(rows)


def walk(sources: al.Sources, index: int) -> list[tuple[int, str]]:
    """The slow way: (source, head) of each hop from a token, by sorting the table."""
    begin = int((sources.tokens["part"] != "response").sum())
    found = []
    while True:
        own = sources.events[sources.events["pos"] == index - begin]
        if own.empty:
            return found
        heads = [parse_head(name) for name in own["head"]]
        own = own.assign(layer=[h.layer for h in heads], number=[h.head for h in heads])
        best = own.sort_values(
            ["weight", "layer", "number"], ascending=[False, True, True], kind="stable"
        ).iloc[0]
        index = int(best["source_index"])
        found.append((index, str(best["head"])))


@pytest.mark.parametrize("seed", range(2))
def test_paths_equal_a_walk_over_the_events(seed: int) -> None:
    sources = made(seed)
    answer = sources.tokens[sources.tokens["part"] == "response"]
    longest = 0
    for pos, index in zip(answer["pos"], answer["index"], strict=True):
        found = al.paths(sources, int(pos))
        hops = found.hops[found.hops["set"] == "top"]
        heads = [f"L{row.layer}H{row.head}" for row in hops.itertuples()]
        assert list(zip(hops["source_index"], heads, strict=True)) == walk(sources, int(index))
        assert (hops["source_index"] < hops["index"]).all()
        assert hops["index"].tolist() == [index, *hops["source_index"]][: len(hops)]
        assert hops["hop"].tolist() == list(range(1, len(hops) + 1))
        longest = max(longest, len(hops))
    assert longest >= 2


def test_forwards_is_backwards_turned_round() -> None:
    sources = made(1)
    answer = sources.tokens[sources.tokens["part"] == "response"]
    back = {int(i): [s for s, _ in walk(sources, int(i))] for i in answer["index"]}
    for unit, text in ((-3, "12"), (-3, "eggs."), (0, "12")):
        found = al.paths(sources, text, step=unit, direction="forward")
        hops = found.hops[found.hops["set"] == "top"]
        start = int(found.ends["start"].iloc[0])
        below = {i: at.index(start) + 1 for i, at in back.items() if start in at}
        assert dict(zip(hops["index"], hops["hop"], strict=True)) == below
        ends = found.ends[found.ends["set"] == "top"]
        assert set(ends["index"]) == {
            i for i in {*below, start} if all(i not in at[:1] for at in back.values())
        }
        assert set(ends["why"]) <= {"last use", "not used"}
    assert len(below) > 0


def test_a_path_says_where_and_why_it_ends() -> None:
    sources = made()
    answer = sources.tokens[sources.tokens["part"] == "response"]
    ways = {
        int(pos): walk(sources, int(i))
        for pos, i in zip(answer["pos"], answer["index"], strict=True)
    }
    into = next(pos for pos, way in ways.items() if way and way[-1][0] < answer["index"].min())
    end = al.paths(sources, into).ends.iloc[0]
    assert (end["why"], end["index"], end["hops"]) == ("prompt", ways[into][-1][0], len(ways[into]))
    assert end["unit"] < 0
    first = al.paths(sources, "108", step=2).ends.iloc[0]
    assert (first["why"], first["hops"]) == ("computed", 0)  # 108 stands nowhere before
    last = sources.events[:0]
    alone = al.Sources(sources.units, sources.tokens, sources.pairs, sources.steps, last)
    assert al.paths(alone, "12", step=0).ends["why"].tolist() == ["nothing copied"]
    assert al.paths(alone, "108").ends["why"].tolist() == ["nothing copied"]
    assert al.paths(alone, "108", step=2).ends["why"].tolist() == ["computed"]
    far = next(pos for pos, way in ways.items() if len(way) > 1)
    limit = al.paths(sources, far, most=1).ends.iloc[0]
    assert (limit["why"], limit["hops"], limit["index"]) == ("limit", 1, ways[far][0][0])


def test_what_was_cut_off_was_not_read() -> None:
    sources = made()
    steps = sources.steps.assign(n_tokens=[7, 0, 0, 0, 0])
    cut = al.Sources(sources.units, sources.tokens, sources.pairs, steps, sources.events[:0])
    assert al.paths(cut, 7).ends["why"].tolist() == ["not read"]
    assert al.paths(cut, 6).ends["why"].tolist() != ["not read"]


def test_starts() -> None:
    sources = made()
    assert al.paths(sources).ends["start_token"].str.strip().tolist() == [
        "108",
        "108",
    ]  # the answer
    assert al.paths(sources).ends["set"].tolist() == ["top", "control 0"]
    last = sources.tokens[sources.tokens["token"].str.strip() == "12"]["index"]
    assert set(al.paths(sources, "12").ends["start"]) == {last.max()}
    assert set(al.paths(sources, "12", direction="forward").ends["start"]) == {last.iloc[1]}
    assert set(al.paths(sources, "12", step=-3, direction="forward").ends["start"]) == {last.min()}
    both = al.paths(sources, "12 eggs", step=0)  # each token of a text starts a path
    assert sorted(both.ends["path"].unique()) == [0, 1]
    assert both.ends["start_token"].str.strip().unique().tolist() == ["12", "eggs"]
    empty = al.paths(sources, "We", step=0)
    assert empty.hops.empty
    assert empty.hops.columns.tolist() == HOP_COLUMNS
    assert empty.ends.columns.tolist() == END_COLUMNS


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": "1"}, "no trace has '1' in its response"),  # 12 and 108 are other numbers
        ({"start": "12", "step": 99}, "in unit 99"),
        ({"start": 400}, "no token 400"),
        ({"start": -1}, "index of a token"),
        ({"start": 1.5}, "index of a token"),
        ({"start": 3, "step": 1}, "give the text in that step"),
        ({"step": 1}, "give the text in that step"),
        ({"id": "u"}, "no trace 'u'"),
        ({"direction": "up"}, "back, forward"),
        ({"most": 0}, "most=0"),
    ],
)
def test_bad_arguments_say_what_to_do(options: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        al.paths(made(), **options)


def test_only_sources_have_paths() -> None:
    with pytest.raises(ConfigError, match=r"expected what al\.sources"):
        al.paths(made().events)  # type: ignore[arg-type]


# From a model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_an_induction_head_leads_to_the_prompt(engine: Any) -> None:
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    al.losses.fast.fast_model.fast_model(model).verdict = ""
    trace = al.Trace("x", "s t\na b c\nd e f", "g h\na b c").with_steps("line")
    found = measured(model, trace, "L1H0", controls=0, engine=engine, measures=("copies",))
    row = al.paths(found, "c").hops.iloc[0]
    assert (row["source"], row["kind"], row["source_token"], row["hop"]) == (-2, "prompt", "c", 1)
    assert (row["layer"], row["head"]) == (1, 0)
    assert row["weight"] > 0.99
    assert pd.isna(row["source_pos"])
    assert al.paths(found, "c").ends["why"].tolist() == ["prompt"]
    assert al.paths(found, "g").ends["why"].tolist() == ["computed"]
    assert al.paths(found, "a").ends["why"].tolist() == ["nothing copied"]  # it is in the prompt
    used = al.paths(found, "b", step=-2, direction="forward")
    assert used.hops["step"].tolist() == [1]
    assert used.ends["why"].tolist() == ["last use"]


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_copies_of_random_heads_are_the_strongest_of_each_token(engine: Any) -> None:
    model = tiny("llama")
    found = measured(model, controls=2, engine=engine, measures=("copies",))
    kept = found.control_events
    assert kept is not None
    assert not kept.duplicated(["id", "draw", "pos"]).any()
    some = 0
    for draw, names in enumerate(found.provenance["controls"]):
        alone = measured(
            model, heads=", ".join(names), controls=0, engine=engine, measures=("copies",)
        ).events
        alone["order"] = [parse_head(name) for name in alone["head"]]
        best = alone.sort_values(
            ["weight", "order"], ascending=[False, True], kind="stable"
        ).drop_duplicates(["id", "pos"])
        both = kept[kept["draw"] == draw].merge(
            best, on=["id", "pos"], how="outer", suffixes=("", "_alone")
        )
        assert (both["source_index"] == both["source_index_alone"]).all()
        assert (both["head"] == both["head_alone"]).all()
        np.testing.assert_allclose(both["weight"], both["weight_alone"], atol=1e-6)
        some += len(both)
    assert some > 10


def test_save_and_load_also_what_was_saved_before(tmp_path: Path) -> None:
    found = measured(tiny("llama"), measures=("copies",), controls=2)
    whole = al.paths(found, 5, id="b")
    assert whole.ends["set"].tolist() == ["top", "control 0", "control 1"]
    again = al.Paths.load(whole.save(tmp_path / "p"))
    pd.testing.assert_frame_equal(whole.hops, again.hops, check_dtype=False)
    pd.testing.assert_frame_equal(whole.ends, again.ends, check_dtype=False)
    assert again.provenance["paths"]["start"] == 5
    loaded = al.Sources.load(found.save(tmp_path / "s"))
    pd.testing.assert_frame_equal(al.paths(loaded, 5, id="b").hops, whole.hops)
    (tmp_path / "s" / "control_events.parquet").unlink()
    old = al.paths(al.Sources.load(tmp_path / "s"), 5, id="b")
    assert old.ends["set"].tolist() == ["top"]
    assert "saved without" in old.provenance["paths"]["controls"]
    pd.testing.assert_frame_equal(old.hops, whole.hops.query("set == 'top'"), check_dtype=False)


def test_traces_without_a_start_are_named() -> None:
    traces = [al.Trace("u", "hi", "so it is\n#### 7").with_steps("line"), *TRACES]
    found = measured(tiny("llama"), traces, measures=("copies",))
    assert al.paths(found).provenance["paths"]["without_start"] == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="which of 4 traces"):
        al.paths(found, 1)
    with pytest.raises(DataError, match="no trace has a final answer"):
        al.paths(measured(tiny("llama"), measures=("copies",)))
