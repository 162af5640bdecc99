from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explore_tiny import HOSTILE, tiny_model, tiny_traces

import airlens as al
from airlens.errors import ConfigError
from airlens.views.explorers.jobs import Job, Took, Worker
from airlens.views.explorers.js import DataTable, GridMap, Picks, TraceText
from airlens.views.explorers.layout import put_figure
from airlens.views.explorers.traits import step_sides
from airlens.views.explorers.view_scripts import PARTS, STATIC, script
from airlens.views.figures.style import no_data


def test_a_worker_without_a_loop_works_at_once() -> None:
    worker, found = Worker(), []
    worker.start(lambda: 3, found.append)
    assert found == [3]


def test_an_error_is_shown_not_raised() -> None:
    worker = Worker()

    def fail() -> None:
        raise ConfigError(HOSTILE)

    worker.start(fail, lambda _: None)
    assert "&lt;script&gt;" in worker.note.value
    assert "<script>" not in worker.note.value
    worker.start(lambda: 1, lambda _: 1 / 0)
    assert "ZeroDivisionError" in worker.note.value


def test_a_worker_beside_a_loop_leaves_the_loop_free() -> None:
    worker, found, turns = Worker(), [], []

    async def main() -> None:
        worker.start(lambda: time.sleep(0.3) or threading.current_thread().name, found.append)
        while not found:
            turns.append(1)
            await asyncio.sleep(0.02)

    asyncio.run(main())
    assert len(turns) > 3
    assert found != [threading.main_thread().name]


def test_a_newer_job_replaces_the_older() -> None:
    worker, found = Worker(), []

    async def main() -> None:
        worker.start(lambda: time.sleep(0.2), lambda _: found.append("old"))
        await asyncio.sleep(0.05)
        worker.start(lambda: None, lambda _: found.append("new"))
        await asyncio.sleep(0.5)

    asyncio.run(main())
    assert found == ["new"]


def test_a_job_is_cancelled_inside_a_forward_pass() -> None:
    model = tiny_model()
    worker, found = Worker(model), []
    tokens = model.tokenizer("abc", return_tensors="pt")["input_ids"]

    async def main() -> None:
        def work() -> None:
            while True:
                model(tokens)

        worker.start(work, found.append)
        await asyncio.sleep(0.3)
        worker.cancel.click()
        await asyncio.sleep(0.3)

    asyncio.run(main())
    assert found == []
    assert "cancelled" in worker.note.value
    with al.ablated(model, "L0H1"):
        assert model(tokens).shape[1] == tokens.shape[1]


def test_the_bar_knows_work_that_was_done_before() -> None:
    worker = Worker(tiny_model())
    tokens = worker.model.tokenizer("abc", return_tensors="pt")["input_ids"]
    for known in (None, True):
        worker.start(lambda: worker.model(tokens), lambda _: None)
        assert worker.job is not None
        assert (worker.job.known is not None) == bool(known)
    assert worker.job.share(0.0) == 1


def test_waiting_finishes_a_job_that_has_not_begun() -> None:
    worker, found = Worker(), []

    async def main() -> None:
        worker.start(lambda: 5, found.append)
        worker.wait()
        assert found == [5]

    asyncio.run(main())
    assert found == [5]


def test_scripts_are_small_and_ask_no_server() -> None:
    files = list(STATIC.glob("*"))
    assert {f.suffix for f in files} == {".js", ".css"}
    for file in files:
        text = file.read_text()
        assert len(text) < 10_000, file
        for word in ("innerHTML", "insertAdjacentHTML", "outerHTML", "eval(", "import(", "fetch("):
            assert word not in text, (file, word)
        addresses = text.replace("http://www.w3.org/2000/svg", "")
        assert "http" not in addresses, file


def test_every_view_is_one_module_of_all_its_files() -> None:
    assert {part for parts in PARTS.values() for part in parts} == {
        file.stem for file in STATIC.glob("*.js")
    }
    for view in PARTS:
        assert (
            script(view).count("export ") == script(view).count("export default { render };") == 1
        )
        assert "import " not in script(view)


def test_a_view_has_the_helpers_that_it_calls() -> None:
    helpers = re.findall(r"^function (\w+)", (STATIC / "dom.js").read_text("utf-8"), re.MULTILINE)
    assert {"element", "moment", "listen"} <= set(helpers)
    for view in PARTS:
        own = (STATIC / f"{view}.js").read_text("utf-8")
        for name in helpers:
            called = re.search(rf"(?<![.\w]){name}\(", own) is not None
            assert not called or f"function {name}(" in script(view), (view, name)


def test_a_map_has_no_nan_in_its_json() -> None:
    grid = GridMap()
    grid.fill([[0.5, np.nan], [-2.0, 1.0]], ["0", "1"], ["0", "1"], ["a", "b", "c", "d"])
    assert grid.values == [0.5, None, -2.0, 1.0]
    assert 0 < grid.bound <= 2


def test_picks_are_reported() -> None:
    grid, found = GridMap(), []
    grid.on_pick(lambda *given: found.append(given))
    grid.picked = [3, 0, 1]
    grid.picked = [3, 0, 2]
    assert found == [(3, 0), (3, 0)]


def test_a_click_that_arrives_late_does_not_undo_a_later_one() -> None:
    first, second, picks = GridMap(), TraceText(), Picks()
    chosen: list[int] = []
    first.on_pick(lambda index, _: chosen.append(index), picks)
    second.on_pick(chosen.append, picks)
    second.picked = [4, 10]
    first.picked = [7, 0, 30]
    second.picked = [5, 20]
    assert chosen == [4, 7, 5, 7]
    second.picked = [6, 40]
    assert chosen[-1] == 6


def tokens_of(model: Any, trace: al.Trace) -> al.Influence:
    return al.influence(model, trace, "L0H1, L1H2", controls=1, progress=False)


def test_the_text_is_the_response_and_the_colours_its_values() -> None:
    trace = tiny_traces()[1]
    found = tokens_of(tiny_model(), trace)
    text = TraceText()
    text.fill(found.tokens, found.steps, trace.response)
    assert "".join(text.texts) == trace.response == HOSTILE
    text.colour(found.tokens, "delta")
    assert np.nansum(np.array(text.values, dtype=float)) == pytest.approx(
        found.tokens["delta"].sum(), rel=1e-5
    )
    assert len(text.values) == len(text.texts) == len(text.notes) == len(text.steps)


def test_a_text_of_20000_tokens_is_quick() -> None:
    n = 20_000
    tokens = pd.DataFrame(
        {"id": "a", "step": np.arange(n) // 50, "pos": np.arange(n), "token": "ab ", "delta": 0.1}
    )
    text, begun = TraceText(), time.process_time()
    text.fill(tokens, pd.DataFrame({"step": range(n // 50)}), "")
    text.colour(tokens, "delta")
    assert len(text.values) == n
    assert time.process_time() - begun < 5


def test_margins_hold_value_control_and_floor() -> None:
    steps = pd.DataFrame(
        {
            "step": [0, 1],
            "label": ["plan", None],
            "ais": [0.5, np.nan],
            "ais_control": [-0.25, np.nan],
            "below_floor": [False, True],
        }
    )
    first, second = step_sides(steps)
    assert (first["share"], first["control_share"], first["name"]) == (1.0, 0.5, "plan")
    assert first["aria"] == "step 0 plan, AIS 0.500, random heads −0.250"
    assert (second["value"], second["note"]) == ("", "base loss under the floor")


def test_a_table_keeps_numbers_and_shortens_text() -> None:
    table = DataTable()
    frame = pd.DataFrame({"id": ["x" * 500], "n": [3], "v": [np.nan], "kept": [np.True_]})
    table.fill(frame, ["n"])
    assert table.rows[0][1:] == [3, None, True]
    assert len(table.rows[0][0]) <= 200
    assert table.bars == [0.0, 3.0, 0.0, 0.0]


def test_a_figure_becomes_plain_json() -> None:
    import ipywidgets as w

    from airlens.views.figures.head_maps import head_map

    output = w.Output()
    frame = pd.DataFrame({"layer": [0], "head": [0], "name": ["L0H0"], "score": [1.0]})
    fig = head_map(frame)
    put_figure(output, fig)
    text, figure = (shown["data"] for shown in output.outputs)
    data = figure["application/vnd.plotly.v1+json"]
    assert data["config"]["displaylogo"] is False
    json.dumps(data, allow_nan=False)
    # The headline is text of its own, and the figure gives back its room.
    assert "L0H0 leads" in text["text/html"]
    assert "title" not in data["layout"]
    assert 100 < data["layout"]["height"] < fig.layout.height
    assert 0 < data["layout"]["margin"]["t"] < fig.layout.margin.t


def test_a_headline_is_escaped() -> None:
    import ipywidgets as w

    output = w.Output()
    put_figure(output, no_data(HOSTILE, HOSTILE))
    text = output.outputs[0]["data"]["text/html"]
    assert "<img" not in text
    assert "<script" not in text
    assert "&lt;img" in text


def test_static_files_are_shipped() -> None:
    assert (Path(al.__file__).parent / "views" / "explorers" / "static" / "grid.js").is_file()


def test_the_bar_moves_on_where_nothing_is_counted() -> None:
    job = Job(None, lambda: None, print, lambda: None, Took(10, 4.0), lambda: None)
    job.operations = 4
    shares = [job.share(seconds) for seconds in (0.0, 1.0, 4.0, 8.0, 80.0)]
    assert shares[0] == 0.4
    assert shares == sorted(shares)
    assert shares[2] == pytest.approx(1 - 1 / 2.718281828)
    assert shares[3] < shares[4] <= 1
