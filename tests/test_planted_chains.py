"""Planted chains: their truth is in the text, rules without names miss it, scores are known."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_sources import fake_sources
from tiny_zoo import tiny
from typer.testing import CliRunner

import airlens as al
from airlens.cli import app
from airlens.errors import ConfigError
from airlens.experiments.validity.true_sources import path_report as path_module
from airlens.experiments.validity.true_sources.path_report import (
    chain_scores,
    path_report,
    path_tables,
    rule_scores,
)
from airlens.experiments.validity.true_sources.planted_chains import LENGTHS, plant_chains
from airlens.heads import HeadSet

TRACES = plant_chains(24)


def texts(trace: al.Trace) -> dict[int, str]:
    lines = trace.prompt.splitlines()
    return {i - len(lines): line for i, line in enumerate(lines)} | {
        i: step.text for i, step in enumerate(trace.steps)
    }


def listed(trace: al.Trace, text: str) -> list[str]:
    """The listed names in a text, in its order."""
    names = trace.prompt.splitlines()[1].removeprefix("On the list are: ").rstrip(".").split(", ")
    return sorted(
        (n for n in names if n.lower() in text.lower()), key=lambda n: text.lower().index(n.lower())
    )


def test_the_same_seed_gives_the_same_traces() -> None:
    assert plant_chains(3) == TRACES[:3]
    assert plant_chains(3, seed=1)[0].response != TRACES[0].response
    assert len({trace.response for trace in TRACES}) == len(TRACES)
    with pytest.raises(ConfigError, match="at least one"):
        plant_chains(0)


def test_each_link_names_the_thing_it_has_its_number_from() -> None:
    for trace in TRACES:
        said = texts(trace)
        assert "".join(step.text for step in trace.steps) == trace.response
        assert [chain["length"] for chain in trace.meta["chains"]] == list(LENGTHS)
        for chain in trace.meta["chains"]:
            units = chain["units"]
            assert len(units) == chain["length"] + 1
            assert units == sorted(units, reverse=True)
            for later, earlier in itertools.pairwise(units):
                text = said[later]
                assert re.findall(r"\d+", text) == re.findall(r"\d+", said[earlier])
                old = listed(trace, said[earlier])
                new = listed(trace, text)
                assert len(new) == 2
                assert len(set(old) & set(new)) == 1
                # Both names stand before the number: it can be known where it is predicted.
                assert all(text.lower().index(n.lower()) < text.index(chain["number"]) for n in new)


def test_chains_begin_in_the_prompt_and_in_steps_equally_often() -> None:
    for place in range(len(LENGTHS)):
        begins = [trace.meta["chains"][place]["units"][-1] < 0 for trace in TRACES]
        assert sum(begins) == len(TRACES) / 2


def test_the_number_alone_leads_astray() -> None:
    found = rule_scores(TRACES).groupby(["score", "length"])[["recovered", "first"]].mean()
    assert (found.loc["nearest number"] == 0).all().all()
    assert (found.loc["first number", "recovered"][1:] == 0).all()
    assert found.loc[("first number", 1), "recovered"] == 1


def exact(trace: al.Trace) -> al.Sources:
    """Sources in which the number of each link is copied from the link before, and no more."""
    fake = fake_sources(trace, [f"{line}\n" for line in trace.prompt.splitlines()])
    tokens = fake.tokens
    rows = []
    for chain in trace.meta["chains"]:
        at = [
            tokens[(tokens["unit"] == unit) & tokens["token"].str.contains(chain["number"])].iloc[0]
            for unit in chain["units"]
        ]
        for here, there in itertools.pairwise(at):
            row = {"id": trace.id, "head": "L0H1", "pos": here["pos"], "step": here["unit"]}
            row |= {"source_index": there["index"], "source": there["unit"], "weight": 0.5}
            rows.append(row | {"token": here["token"], "source_token": there["token"]})
    steps = fake.steps.assign(n_tokens=100)
    none = pd.DataFrame(columns=["id", "draw", "head", "pos", "source_index", "weight"])
    note = {"controls": [["L1H1"], ["L2H2"]]}
    return al.Sources(fake.units, tokens, fake.pairs, steps, pd.DataFrame(rows), note, none)


def test_exact_copies_recover_every_chain_and_one_hop_less_does_not() -> None:
    trace = TRACES[0]
    sources = exact(trace)
    scores, ends = chain_scores(sources, [trace], "random")
    top = scores[scores["heads"] == "top"]
    assert (top[["recovered", "origin", "first"]] == 1).all().all()
    assert (
        (scores.loc[scores["heads"] == "random", ["recovered", "origin", "first"]] == 0).all().all()
    )
    assert scores["draw"].tolist() == [0, 0, 1] * len(LENGTHS)
    begun = [chain["units"][-1] < 0 for chain in trace.meta["chains"]]
    why = ["prompt" if given else "computed" for given in begun]
    assert ends.loc[ends["heads"] == "top", "why"].tolist() == why
    # Without the copy of the last chain's first link, its path ends one step early.
    chain = trace.meta["chains"][-1]
    events = sources.events[sources.events["source"] != chain["units"][-1]]
    less = al.Sources(sources.units, sources.tokens, sources.pairs, sources.steps, events)
    cut, ends = chain_scores(less, [trace], "random")
    assert cut["recovered"].tolist() == [1, 1, 1, 0]
    assert cut["origin"].tolist() == [1, 1, 1, 0]
    assert cut["first"].tolist() == [1, 1, 1, 1]
    assert ends["why"].tolist()[-1] == "nothing copied"


def test_tables_count_traces_and_draws() -> None:
    parts = [chain_scores(exact(trace), [trace], "same_layers") for trace in TRACES[:3]]
    scores, ends = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    tables = path_tables(pd.concat([scores, rule_scores(TRACES[:3])]), ends)
    table = tables["paths"].set_index(["length", "score", "heads"])
    for length in LENGTHS:
        top = table.loc[(length, "path", "top")]
        assert (top["recovered"], top["n_traces"], top["draws"]) == (1, 3, 0)
        assert 0 < top["recovered_lo"] < 1
        assert top["recovered_hi"] == 1
        random = table.loc[(length, "path", "same_layers")]
        assert (random["recovered"], random["draws"]) == (0, 2)
    contrasts = tables["contrasts"]
    assert set(contrasts["against"]) == {"path", "nearest number", "first number"}
    assert contrasts.query("against == 'path' and value == 'recovered'")["diff"].tolist() == [1] * 4
    own = tables["ends"].query("heads == 'top'")
    assert own.groupby("length")["share"].sum().round(9).tolist() == [1] * 4


@pytest.mark.slow
def test_the_report_of_a_model(tmp_path: Path) -> None:
    report = path_report(
        tiny("llama"), HeadSet.parse("L0H1, L1H3"), n=1, draws=1, folder=tmp_path, progress=False
    )
    table = report.tables["paths"]
    kinds = ["top", "same_layers", "random", "", ""]
    assert table["heads"].tolist() == kinds * len(LENGTHS)
    assert table[["recovered", "origin", "first"]].stack().between(0, 1).all()
    assert {"paths.csv", "claims.csv", "measured_chains.parquet"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert set(report.claims["verdict"]) == {"no verdict"}  # one trace decides nothing
    assert set(report.provenance["controls"]) == {"same_layers", "random"}


def test_the_command_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("llama")
    monkeypatch.setattr("airlens.model.load.load_model", lambda *a, **k: model)
    options = ["--heads", "L0H1, L1H3", "--n", "2", "--draws", "1", "--quiet"]
    call = ["validate", "--what", "paths", *options, "--out", str(tmp_path / "out")]
    taken: list[str] = []
    real = path_module.sources

    def stopped(model: Any, traces: Any, *given: Any, **options: Any) -> Any:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(traces[0].id)
        return real(model, traces, *given, **options)

    monkeypatch.setattr(path_module, "sources", stopped)
    assert CliRunner().invoke(app, call).exit_code != 0
    taken[:] = []
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert len(taken) == 1  # of two traces beside two kinds of random heads
    assert "chains of 1 hop" in done.output
