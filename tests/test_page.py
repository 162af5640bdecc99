"""The shared page as text: its data, its policy, hostile words, its size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explore_tiny import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from page_data import long_results, made_up_answers, made_up_subsets, measured

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.views import html_file
from airlens.views.explorers import view_scripts as parts
from airlens.views.page import data, page_html, page_script


class Page(HTMLParser):
    """A page's tags, attributes, and what its scripts and styles hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._open = None

    def handle_data(self, text: str) -> None:
        if self._open:
            self.blocks.append((*self._open, text))
        else:
            self.text += text

    def data(self, id: str) -> Any:
        """The data of a script element."""
        kind, text = next((a["type"], t) for _, a, t in self.blocks if a.get("id") == id)
        if kind == "application/json":
            return json.loads(text)
        return json.loads(zlib.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def given_results() -> dict[str, Any]:
    return measured()


@pytest.fixture(scope="module")
def html(given_results: dict[str, Any]) -> str:
    return page_html(**given_results, title=HOSTILE)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@settings(max_examples=40)
@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_json_in_a_page_is_inert_and_whole(value: Any) -> None:
    text = html_file.script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value
    packed = html_file.packed_json(value)
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", packed)
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == value


def test_what_json_has_not_is_refused() -> None:
    for write in (html_file.script_json, html_file.packed_json):
        with pytest.raises(ValueError):
            write([float("nan")])
    assert data.compact({"a": [float("nan"), 1.23456, 2.0, 7, "x"]}) == {
        "a": [None, 1.23, 2, 7, "x"]
    }


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(page: Page) -> None:
    policy = next(v for n, v in page.attributes if n == "content" and v and "default-src" in v)
    allowed = set(re.findall(r"'(sha256-[^']+)'", policy))
    found = {
        "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag, attributes, text in page.blocks
        if tag == "style" or "type" not in attributes
    }
    assert allowed == found
    assert len(found) == 2
    assert policy.startswith("default-src 'none';")
    for word in ("unsafe", "http", "blob", "connect-src", "*"):
        assert word not in policy


def test_hostile_words_stay_words(page: Page, html: str) -> None:
    assert HOSTILE in page.text
    assert not {"img", "iframe", "object", "base", "textarea"} & set(page.tags)
    # The data of three traces and of the index, and the one script.
    assert page.tags.count("script") == 5
    names = {name for name, _ in page.attributes}
    assert "style" not in names
    assert not any(name.startswith("on") for name in names)
    links = [v or "" for n, v in page.attributes if n in ("href", "src", "action")]
    known = ("https://arxiv.org/abs/", "#trace=")
    assert all(link == "data:," or link.startswith(known) for link in links)
    assert html.count("<title>") == html.count("</title>") == 1


def test_the_data_of_a_trace_are_those_of_the_tables(
    page: Page, given_results: dict[str, Any]
) -> None:
    result, sources, traces = (given_results[n] for n in ("result", "sources", "traces"))
    for i, trace in enumerate(traces):
        found = page.data(f"trace-{i}")
        text = found["text"]
        answer = [t for t, step in zip(text["texts"], text["steps"], strict=True) if step >= 0]
        assert "".join(answer) == trace.response
        tokens = result.tokens[result.tokens["id"] == trace.id]
        for name in ("delta", "nll_base", "entropy", "delta_control"):
            shown = np.array(found["colours"][name]["values"], dtype=float)
            assert len(shown) == len(text["texts"])
            rounded = 0.005 * float(tokens[name].abs().sum())
            assert np.nansum(shown) == pytest.approx(tokens[name].sum(), abs=rounded)
        pairs = sources.pairs[sources.pairs["id"] == trace.id].set_index(["step", "source"])
        wide = len(found["units"])
        for name in ("copies", "attention", "knockout", "knockout_kl"):
            of = found["measures"][name]
            cells = [(cell // wide, found["units"][cell % wide]) for cell in of["at"]]
            for column, shown in ((name, of["values"]), (f"{name}_control", of["controls"])):
                wanted = [pairs.loc[cell, column] for cell in cells]
                np.testing.assert_allclose(np.array(shown, dtype=float), wanted, rtol=6e-3)
            rest = pairs.drop(cells)
            assert not rest[[name, f"{name}_control"]].fillna(0).to_numpy().any()


def test_the_strongest_sources_of_each_step_are_kept() -> None:
    made = long_results(1, 40)
    found = Page(page_html(**made, most_sources=5)).data("trace-0")
    pairs, wide = made["sources"].pairs, len(found["units"])
    for name in ("copies", "attention", "attention_per_token"):
        at = found["measures"].get(name, {}).get("at") or found["measures"]["attention"]["at"]
        cells = {(cell // wide, found["units"][cell % wide]) for cell in at}
        size = pairs[[name, f"{name}_control"]].max(axis=1)
        for step, rows in pairs.assign(size=size).groupby("step"):
            best = rows[rows["size"] > 0].nlargest(5, "size")
            mine = rows[[(step, source) in cells for source in rows["source"]]]
            np.testing.assert_allclose(sorted(mine["size"]), sorted(best["size"]))
    assert "5 strongest sources are kept" in found["matrix"]["hint"]
    whole = Page(page_html(**made)).data("trace-0")
    assert "kept" not in whole["matrix"]["hint"]
    with pytest.raises(ConfigError, match="most_sources"):
        page_html(**made, most_sources=0)


def test_a_page_grows_with_its_steps_and_not_with_their_square() -> None:
    sizes = []
    for steps in (75, 150, 300):
        html = page_html(**long_results(1, steps, 6), most_sources=8)
        sizes.append(len(html))
    assert sizes[2] - sizes[1] < 2.3 * (sizes[1] - sizes[0])


def test_attention_per_token_is_attention_by_the_size_of_the_source(
    page: Page, given_results: dict[str, Any]
) -> None:
    found = page.data("trace-0")
    assert "values" not in found["measures"]["attention_per_token"]
    pairs = given_results["sources"].pairs
    pairs = pairs[pairs["id"] == "plain"].set_index(["step", "source"])
    attention, wide = found["measures"]["attention"], len(found["units"])
    for cell, value in zip(attention["at"], attention["values"], strict=True):
        key = (cell // wide, found["units"][cell % wide])
        shared = value / found["sizes"][cell % wide]
        assert shared == pytest.approx(pairs.loc[key, "attention_per_token"], rel=6e-3)


def test_notes_are_whole_when_their_columns_are_joined() -> None:
    notes = ["“a”  (token 1)   x: 1   y: 2", "“  b: c”   x: 3", "", "“d”   y: 4   z: −1"]
    columns = data.in_columns(notes)
    joined = [
        data.BETWEEN.join(begin + rest[i] for begin, rest in columns if rest[i] is not None)
        for i in range(len(notes))
    ]
    assert joined == notes
    assert data.in_columns([]) == []


def test_copied_shares_are_those_of_the_events(given_results: dict[str, Any]) -> None:
    sources = given_results["sources"]
    events = sources.events[sources.events["source"] != sources.events["step"]]
    found = data.copied_shares(sources.steps).set_index("id")
    for id, rows in sources.steps.groupby("id"):
        copied = events[events["id"] == id].drop_duplicates("pos")
        assert found.loc[id, "copied"] == pytest.approx(len(copied) / rows["n_tokens"].sum())


def test_the_table_has_one_scale_for_a_score_and_its_control(page: Page) -> None:
    table = page.data("index")["table"]
    bars = dict(zip(table["columns"], table["bars"], strict=True))
    assert bars["AIS"] == bars["AIS (random)"] > 0
    assert bars["copied"] == bars["copied (random)"]
    assert bars["tokens"] == 0


def test_the_same_input_gives_the_same_bytes(html: str, given_results: dict[str, Any]) -> None:
    assert page_html(**given_results, title=HOSTILE) == html


def test_a_long_trace_is_small() -> None:
    made = long_results(1)
    assert len(made["result"].tokens) == 3900
    whole = page_html(**made)
    trace = len(next(text for _, a, text in Page(whole).blocks if a.get("id") == "trace-0"))
    rest = len(whole.encode()) - trace
    assert 20 * trace + rest < 8_000_000
    assert rest < 198_000  # style, scripts and texts, whatever the traces


def test_views_are_those_of_the_widgets_but_for_their_export() -> None:
    script = page_script.page_script()
    for view in page_script.VIEWS:
        module = parts.script(view)
        before, after = module.split(page_script.EXPORT)
        assert before.rstrip() in script
        assert after.strip() == ""
    for word in ("innerHTML", "eval(", "import(", "fetch(", "XMLHttpRequest", "new Function"):
        assert word not in script


@pytest.mark.parametrize(
    "module", ["function render() {}", 'import x from "y";\nexport default { render };']
)
def test_a_module_that_cannot_be_inlined_is_refused(module: str) -> None:
    with pytest.raises(ConfigError, match="export default"):
        page_script.as_function(module)


def test_without_sources_there_are_no_arcs(given_results: dict[str, Any]) -> None:
    text = page_html(**{**given_results, "sources": None, "scores": None})
    places = {value for name, value in Page(text).attributes if name == "id"}
    assert {"text", "table", "colour"} <= places
    assert not {"arcs", "matrix", "measure", "map", "alone"} & places


def test_heads_alone_are_shown_where_given(given_results: dict[str, Any]) -> None:
    rows = [("plain", f"L{k}H0", step, 0.1 * k) for k in range(2) for step in range(3)]
    alone = pd.DataFrame(rows, columns=["id", "name", "step", "delta"])
    found = Page(page_html(**given_results, step_heads=alone))
    assert found.data("trace-0")["alone"]["rows"] == ["L0H0", "L1H0"]
    assert found.data("trace-1")["alone"] is None
    with pytest.raises(DataError, match="delta"):
        page_html(**given_results, step_heads=alone.drop(columns="delta"))


def test_early_answers_are_those_of_the_tables(given_results: dict[str, Any]) -> None:
    result, traces = given_results["result"], given_results["traces"]
    early = made_up_answers(result.steps, result.provenance["heads"])
    early.steps.loc[early.steps["id"] == traces[1].id, "answer_now"] = HOSTILE
    none = early.samples["id"] == traces[2].id
    early.samples.loc[none, ["answer", "missing"]] = ["", "no answer"]
    early.samples.loc[none, "decided_at"] = np.nan
    tables = {
        name: getattr(early, name)[getattr(early, name)["id"] != traces[2].id]
        for name in ("steps", "depends")
    }
    early = replace(early, **tables)
    found = Page(page_html(**given_results, early=early))
    assert "track" in {value for name, value in found.attributes if name == "id"}
    assert "img" not in found.tags
    names = [colour["name"] for colour in found.data("index")["colours"]]
    assert names[-2:] == ["gain", "depends"]
    for i, trace in enumerate(traces[:2]):
        rows = early.steps[early.steps["id"] == trace.id]
        shown = found.data(f"trace-{i}")
        track = shown["track"]
        assert track["cuts"] == rows["step"].tolist()
        assert track["right"] == rows["right_base"].tolist()
        p = np.exp(rows[["logp_base", "logp_ref", "logp_control"]].to_numpy()).T
        np.testing.assert_allclose(np.array(track["curves"], dtype=float), p, rtol=6e-3)
        # A token has the gain of its step.
        gain = rows.set_index("step")["gain"]
        values = shown["colours"]["gain"]["values"]
        for step, value in zip(shown["text"]["steps"], values, strict=True):
            wanted = gain[step] if step >= 0 else None
            assert value == (None if wanted is None else pytest.approx(wanted, rel=6e-3))
        ais, gains, depends = shown["text"]["numbers"]
        assert [name for name, _ in gains["parts"]][0] == ""
        np.testing.assert_allclose(gains["parts"][0][1], gain.drop(-1), rtol=6e-3)
        assert depends["parts"][0][1][-1] == 0  # once the answer is written
        steps = result.steps[result.steps["id"] == trace.id]
        np.testing.assert_allclose(
            np.array(ais["parts"][0][1], dtype=float), steps["ais"], rtol=6e-3
        )
    empty = found.data("trace-2")
    assert empty["track"]["cuts"] == empty["text"]["numbers"] == []
    assert "no answer" in empty["track"]["empty"]
    with pytest.raises(ConfigError, match=r"al\.early_answers"):
        page_html(**given_results, early=made_up_answers(result.steps, ["L0H0"]))


def test_what_fewer_heads_do_is_in_the_page(given_results: dict[str, Any]) -> None:
    result = given_results["result"]
    subsets = made_up_subsets(result, result.provenance["heads"])
    found = Page(page_html(**given_results, subsets=subsets))
    assert {"top", "one-alone"} <= {value for name, value in found.attributes if name == "id"}
    names = [one["name"] for one in found.data("index")["subsets"]]
    assert names == ["L0H1", "L1H2", "L2H0", "top 2"]
    for i, trace in enumerate(given_results["traces"]):
        shown = found.data(f"trace-{i}")
        steps = shown["text"]["steps"]
        for name in names:
            tokens, scores = (
                table[(table["id"] == trace.id) & (table["set"] == name)]
                for table in (subsets.tokens, subsets.steps)
            )
            mine = shown["subsets"]["sets"][name]
            assert len(mine["values"]) == len(steps)
            values = np.array(mine["values"], dtype=float)
            summed = [np.nansum(values[np.array(steps) == step]) for step in scores["step"]]
            wanted = tokens.groupby("step")["delta"].sum().reindex(scores["step"], fill_value=0)
            near = 0.05 * tokens["delta"].abs().sum() + 0.005 * len(tokens)
            np.testing.assert_allclose(summed, wanted, atol=near)
            np.testing.assert_allclose(np.array(mine["ais"], dtype=float), scores["ais"], rtol=6e-3)
        assert set(shown["subsets"]["controls"]) == {"1", "2"}
    assert "top" not in {v for n, v in Page(page_html(**given_results)).attributes if n == "id"}


def test_twenty_traces_with_what_fewer_heads_do_are_under_10_mb() -> None:
    made = long_results(1)
    heads = [f"L{k}H1" for k in range(14)]
    made["result"].provenance["heads"] = made["sources"].provenance["heads"] = heads
    subsets = made_up_subsets(made["result"], heads)
    html = page_html(**made, subsets=subsets)
    trace = len(next(text for _, a, text in Page(html).blocks if a.get("id") == "trace-0"))
    assert 20 * trace + len(html) - trace < 10_000_000
    n, values = len(made["result"].tokens), len(subsets.sets) + 2
    assert len(html) - len(page_html(**made)) < 3 * n * values


def test_a_story_is_stops_of_the_page(given_results: dict[str, Any]) -> None:
    story = [("#trace=1&step=2", HOSTILE), ("page.html#trace=2&colour=ais&show=both", "Two.")]
    found = Page(page_html(**given_results, story=story))
    assert found.data("index")["story"] == ["trace=1&step=2", "trace=2&colour=ais&show=both"]
    assert "img" not in found.tags and HOSTILE in found.text
    assert ("href", "#trace=2&colour=ais&show=both") in found.attributes
    assert "story" not in {v for n, v in Page(page_html(**given_results)).attributes if n == "id"}
    for wrong, said in (
        ([("#trace=4", "x")], "no trace 4: there are 3"),
        ([("#trace=1&stop=2", "x")], "'stop' is none of trace, step"),
        ([("#trace=1", "x"), ("#trace=1", " ")], "caption"),
        (["#trace=1"], "caption"),
        ([("", "x")], "caption"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            page_html(**given_results, story=wrong)


def test_a_story_is_told_from_the_tables() -> None:
    made = long_results(2, 30)
    early = made_up_answers(made["result"].steps, made["result"].provenance["heads"])
    steps = made["result"].steps
    found = Page(page_html(**made, early=early, story="auto"))
    states = [dict(part.split("=") for part in s.split("&")) for s in found.data("index")["story"]]
    best = steps.loc[(steps["ais"] - steps["ais_control"]).idxmax()]
    ids = [trace.id for trace in made["traces"]]
    at = (ids.index(best["id"]) + 1, best["step"])
    assert (int(states[0]["trace"]), int(states[0]["step"])) == at
    pairs = made["sources"].pairs.query("id == @best.id and step == @best.step")
    assert int(states[1]["source"]) == pairs.loc[pairs["copies"].idxmax(), "source"]
    assert states[2]["show"] == "control"
    decided = early.samples.set_index("id").loc[best["id"], "decided_at"]
    assert states[3] == {"trace": str(at[0]), "step": str(decided), "colour": "gain"}
    worst = steps.loc[(steps["ais"] - steps["ais_control"]).idxmin()]
    assert states[4] == {
        "trace": str(ids.index(worst["id"]) + 1),
        "step": str(worst["step"]),
    }


def test_traces_keep_the_order_in_which_they_are_given(given_results: dict[str, Any]) -> None:
    few = given_results["traces"][:2][::-1]
    found = Page(page_html(**{**given_results, "traces": few}))
    assert found.data("index")["table"]["rows"][1][0] == "plain"
    assert "".join(found.data("trace-1")["text"]["texts"]).endswith("14 pears.")


def test_what_does_not_fit_together_is_named(given_results: dict[str, Any]) -> None:
    other = replace(given_results["traces"][0], id="another")
    with pytest.raises(DataError, match="another"):
        page_html(**{**given_results, "traces": [other]})
    with pytest.raises(DataError, match="at least one"):
        page_html(**{**given_results, "traces": []})
    sources = given_results["sources"]
    sources = replace(sources, provenance={**sources.provenance, "heads": ["L0H0"]})
    with pytest.raises(ConfigError, match="different heads"):
        page_html(**{**given_results, "sources": sources})


def test_a_page_is_written_whole_or_not_at_all(
    given_results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = al.page(path=tmp_path / "new" / "page.html", **given_results)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        al.page(path=path, **given_results)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
