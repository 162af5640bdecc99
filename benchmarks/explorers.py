"""How long the explorers take to answer on the default model: ``python benchmarks/explorers.py``.

First the widgets are driven in this process: wall and CPU seconds from a pick to the last change
sent to the page. With ``--browser`` the notebook of the explorers is also run in JupyterLab, and
what is on the screen is timed, and so is a shared page of 32,000 made-up tokens in 1,000 steps that
is opened and clicked in, and whose map is zoomed; ``--page`` times that page alone, and prints the
sizes of pages with and without what fewer heads do. ``--workspace`` times the app: from opening its
address to a box to ask in (its first view), to the first trace in colour, and from a question to
its answer, coloured and with its sources (``--browser`` does that too). ``--out FILE`` writes the
numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOKENS = 300  # of the response that is recoloured
BOUNDS = {
    "head click": 2.0,
    "recolour by a head": 1.0,
    "recolour by a value": 1.0,
    "first figure": 15.0,
    "app: a box to ask in": 10.0,
    "app: a trace in colour": 10.0,
    "click on a step": 1.0,
    "point at a token": 1.0,
    "open a page of 1,000 steps": 2.0,
    "click in a page of 1,000 steps": 0.15,
    "zoom the map of 1,000 steps": 0.15,
}
LONG_STEPS, LONG_WORDS = 1000, 32
MANY, MANY_HEADS, MANY_STEPS, MANY_WORDS = 20, 14, 150, 26  # a page of many traces
CLICK = [(17, 3), (18, 6), (20, 6), (0, 0), (29, 8)]


def load_average() -> float:
    """Processes that want a core, mean over a minute; NaN on Windows, which has no such number."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


class Times:
    """Wall and CPU seconds by name, printed as they come."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        print(f"  {'what':34} {'wall s':>8} {'worst':>8} {'CPU s':>8} {'load':>6}  bound")

    def take(self, name: str, calls: Iterable[Callable[[], Any]]) -> Any:
        """Run the calls one after the other; medians, and the worst wall time."""
        walls, cpus, result = [], [], None
        for call in calls:
            wall, cpu = time.perf_counter(), time.process_time()
            result = call()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        self.add(name, walls, statistics.median(cpus))
        return result

    def add(self, name: str, walls: list[float], cpu: float | None = None) -> None:
        load = load_average()
        row = {"wall": statistics.median(walls), "worst": max(walls), "load": load}
        self.found[name] = row | ({} if cpu is None else {"cpu": cpu})
        bound = next((b for key, b in BOUNDS.items() if name.startswith(key)), None)
        said = "" if bound is None else f"{bound:g} s {'met' if max(walls) <= bound else 'MISSED'}"
        shown = f"{cpu:8.2f}" if cpu is not None else " " * 8
        print(f"  {name:34} {row['wall']:8.2f} {row['worst']:8.2f} {shown} {load:6.1f}  {said}")


def long_trace(tokenizer: Any) -> Any:
    """Bundled traces one after the other, cut after TOKENS tokens of response."""
    import airlens as al
    from airlens.files import data_path

    text = ""
    for trace in al.load_traces(data_path("traces.jsonl"), limit=40):
        text += f"{trace.response}\n\n"
        ids = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        if len(ids["input_ids"]) >= TOKENS:
            end = ids["offset_mapping"][TOKENS - 1][1]
            return al.Trace("long", "Solve these.", text[:end]).with_steps("auto")
    raise SystemExit("the bundled traces are too short")


def in_python(times: Times, name: str) -> Any:
    """Drive the widgets, which answer at once without an event loop; returns the trace."""
    import airlens as al

    model = times.take("load the model", [lambda: al.load_model(name)])
    probes = al.key_value_probes(model.tokenizer, n=3, max_tokens=512)
    scores = times.take(
        "retrieval scores, 3 probes", [lambda: al.retrieval_scores(model, probes, progress=False)]
    )
    view = times.take(
        "HeadExplorer, all of it", [lambda: al.HeadExplorer(model, scores, probes, new_tokens=8)]
    )
    cells = [layer * scores.n_heads + head for layer, head in CLICK]
    times.take("head click", [lambda i=i: pick(view.map, i, 0) for i in cells])
    times.take("another probe", [lambda: setattr(view.probe, "value", 1)])
    trace = long_trace(model.tokenizer)
    heads = scores.top()
    look = times.take(
        f"score a trace of {TOKENS} tokens",
        [lambda: al.TraceExplorer(model, trace, heads, controls=1)],
    )
    values = [value for _, value in look.colour.options]
    times.take(
        "recolour by a value",
        [lambda v=v: setattr(look.colour, "value", v) for v in [*values[1:], values[0]]],
    )
    times.take(f"a step: each of {len(heads)} heads alone", [lambda: pick(look.text, 1)])
    times.take("another step, measured before", [lambda: pick(look.text, 0)])
    width = len(look.map.cols)
    times.take("recolour by a head", [lambda i=i: pick(look.map, i * width, 0) for i in range(5)])
    errors = [v.note.value for v in (view.worker, view.looker, look.worker) if v.note.value]
    assert not errors, errors
    return trace


def pick(widget: Any, *what: int) -> None:
    """What a click in the page sends."""
    widget.picked = [*what, time.perf_counter_ns() % 2**31]


def in_browser(times: Times, trace: Any, model: str) -> None:
    """Time what is seen in JupyterLab, from the click to the changed page."""
    sys.path.insert(0, str(ROOT / "tests"))
    import browser_pages as bp
    import browser_server as bs

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trace.jsonl").write_text(json.dumps(trace.to_json()) + "\n", encoding="utf-8")
        values = {"traces_from": str(folder / "trace.jsonl"), "model": model}
        bp.write_notebook(folder, values)
        with bs.jupyterlab(folder) as address, bp.open_page() as seen:
            page = seen.page
            page.set_default_timeout(600_000)
            bp.open_notebook(page, address)
            begun = time.perf_counter()
            bp.run_cells(page)
            page.locator(".airlens-grid svg").first.wait_for()
            times.add("first figure in JupyterLab", [time.perf_counter() - begun])
            page.wait_for_function(bp.IDLE)
            times.add("whole notebook, one trace", [time.perf_counter() - begun])
            times.add("head click in JupyterLab", [head_click(page, *cell) for cell in CLICK])
            text = page.locator(".airlens-text").first
            text.locator(".side").nth(1).click()
            grid = page.locator(".airlens-grid").nth(1)
            grid.locator("rect.cell").first.wait_for()
            times.add("recolour by a head in JupyterLab", [recolour(page, n) for n in range(5)])
            bp.screenshot(page, "explorers-default-model")
            assert not seen.errors, seen.errors


QUESTION = "Ann has 3 apples and buys 4 more. Then she gives 2 to Bert. How many are left?"
ANSWER = 40  # tokens


def in_app(times: Times, model: str) -> None:
    """Time the workspace as an app: its first view, then a question until its answer is sourced."""
    sys.path.insert(0, str(ROOT / "tests"))
    import browser_pages as bp
    import browser_server as bs

    with tempfile.TemporaryDirectory() as name, bp.open_page() as seen:
        page, folder = seen.page, Path(name)
        page.set_default_timeout(600_000)
        with bs.app(folder, {"model": model}) as address:
            clock = time.perf_counter()
            page.goto(address)
            page.get_by_role("textbox", name="question").wait_for()
            times.add("app: a box to ask in", [time.perf_counter() - clock])
            page.locator(".airlens-text .step [data-i]").first.wait_for()
            times.add("app: a trace in colour", [time.perf_counter() - clock])
            page.locator(".airlens-text .links:not([hidden])").first.wait_for(state="attached")
            times.add("app: its sources", [time.perf_counter() - clock])
            page.get_by_role("textbox", name="question").fill(QUESTION)
            page.get_by_role("spinbutton", name="tokens").fill(str(ANSWER))
            clock = time.perf_counter()
            page.get_by_role("button", name="let it write").click()
            page.locator(".airlens-written").wait_for()
            times.add("app: first tokens of an answer", [time.perf_counter() - clock])
            page.locator(".airlens-text .step.prompt", has_text="Bert").first.wait_for()
            times.add(f"app: {ANSWER} tokens, in colour", [time.perf_counter() - clock])
            page.locator(".airlens-text .links:not([hidden])").first.wait_for(state="attached")
            times.add(f"app: {ANSWER} tokens, sourced", [time.perf_counter() - clock])
            bp.screenshot(page, "app-default-model")
            assert not seen.errors, seen.errors


def on_page(times: Times) -> None:
    """Time a page to share with a long trace, inside the page: from the event to the next frame."""
    sys.path.insert(0, str(ROOT / "tests"))
    import browser_pages as bp
    from fake_sources import fake_sources, long_trace
    from views_page import write_page

    trace, prompt = long_trace()
    tables = fake_sources(trace, prompt)
    steps = sorted(tables.pairs["step"].unique())[:: max(1, tables.pairs["step"].nunique() // 8)]
    with tempfile.TemporaryDirectory() as name, bp.open_page() as seen:
        path = write_page(Path(name) / "page.html", tables, trace.response)
        clicked, pointed = [], []
        seen.page.route("file://**", lambda route: route.continue_())
        seen.page.goto(path.as_uri())
        seen.page.locator("#text .step").first.wait_for()
        for step in (int(s) for s in steps):
            clicked.append(seen.page.evaluate(bp.CLICK_STEP, step) / 1000)
            seen.page.wait_for_function(bp.STEP_IS_DRAWN, arg=step)
            pointed.append(seen.page.evaluate(bp.POINT_AT_TOKENS, step) / 1000)
        times.add("click on a step of a long page", clicked)
        times.add("point at a token of a long page", pointed)


def on_long_page(times: Times) -> None:
    """Time a page of 32,000 tokens and 1,000 steps, as its reader waits: opening, then clicks."""
    sys.path.insert(0, str(ROOT / "tests"))
    import browser_pages as bp
    from page_data import long_results, made_up_answers

    import airlens as al

    with tempfile.TemporaryDirectory() as name, bp.open_page() as seen:
        sizes, path = {}, Path(name) / "page.html"
        for steps in (LONG_STEPS // 2, LONG_STEPS):
            made = long_results(1, steps, LONG_WORDS)
            early = made_up_answers(made["result"].steps, made["result"].provenance["heads"])
            write = lambda made=made, early=early: al.page(path=path, early=early, **made)  # noqa: E731
            times.take(f"write a page of {steps:,} steps", [write])
            sizes[steps] = path.stat().st_size / 1e6
        print("  page: " + ", ".join(f"{n:,} steps {size:.1f} MB" for n, size in sizes.items()))
        page = seen.page
        page.route("file://**", lambda route: route.continue_())
        opened = []
        for _ in range(3):
            page.goto("about:blank")
            page.goto(path.as_uri())
            opened.append(page.evaluate(bp.FIRST_VIEW) / 1000)
        times.add(f"open a page of {LONG_STEPS:,} steps", opened)
        steps = [LONG_STEPS // 2, LONG_STEPS // 2 + 1, LONG_STEPS - 3, 5, LONG_STEPS // 3]
        clicked = [page.evaluate(bp.CLICK_STEP, step) / 1000 for step in steps]
        times.add(f"click in a page of {LONG_STEPS:,} steps", clicked)
        zoomed = [page.evaluate(bp.ZOOM_MAP, way) / 1000 for way in (1, 1, 1, -1, -1)]
        times.add(f"zoom the map of {LONG_STEPS:,} steps", zoomed)
        assert not seen.errors, seen.errors


def page_sizes() -> None:
    """Print the sizes of a page of many traces, with and without what fewer heads do."""
    from page_data import long_results, made_up_subsets

    import airlens as al

    made = long_results(MANY, MANY_STEPS, MANY_WORDS)
    heads = [f"L{k}H1" for k in range(MANY_HEADS)]
    made["result"].provenance["heads"] = made["sources"].provenance["heads"] = heads
    subsets = made_up_subsets(made["result"], heads)
    with tempfile.TemporaryDirectory() as name:
        for what, more in (("without", {}), ("with", {"subsets": subsets})):
            size = al.page(path=Path(name) / "page.html", **made, **more).stat().st_size / 1e6
            print(
                f"  page: {MANY} traces, {len(made['result'].tokens):,} tokens, {what} what fewer "
                f"of {MANY_HEADS} heads do: {size:.1f} MB"
            )


def head_click(page: Any, layer: int, head: int) -> float:
    """Seconds from a click on a head to its attention on the screen."""
    cell = page.locator(".airlens-grid").first.locator(
        f"rect.cell[data-index='{layer * 9 + head}']"
    )
    cell.scroll_into_view_if_needed()
    begun = time.perf_counter()
    cell.click()
    page.locator(
        ".airlens-pattern .airlens-headline", has_text=f"L{layer}H{head} copies"
    ).wait_for()
    page.locator(".airlens-pattern .main-svg").first.wait_for()  # drawn anew
    return time.perf_counter() - begun


def recolour(page: Any, row: int) -> float:
    """Seconds from a click on a head in the heads x steps map to the text in its colours."""
    grid = page.locator(".airlens-grid").nth(1)
    cell = grid.locator("rect.cell").nth(row * int(grid.get_attribute("data-columns") or 1))
    name = grid.locator("text.row").nth(row).text_content()
    cell.scroll_into_view_if_needed()
    begun = time.perf_counter()
    cell.click()
    page.locator(".airlens-text .key", has_text=f"{name} alone").first.wait_for()
    return time.perf_counter() - begun


def main() -> None:
    """Measure, print, and keep the numbers where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="JupyterLab too (playwright)")
    parser.add_argument("--page", action="store_true", help="time the long page alone")
    parser.add_argument("--workspace", action="store_true", help="time the app alone")
    parser.add_argument("--model", default="smollm2-135m", help="another of 30 layers, 9 heads")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {load_average():.1f}")
    times = Times()
    if not given.page and not given.workspace:
        trace = in_python(times, given.model)
        if given.browser:
            in_browser(times, trace, given.model)
            on_page(times)
    if given.browser or given.page:
        on_long_page(times)
        page_sizes()
    if given.browser or given.workspace:
        in_app(times, given.model)
    if given.out:
        from airlens.provenance import provenance

        record = {
            "model": given.model,
            "times": times.found,
            "provenance": provenance(cores=os.cpu_count()),
        }
        given.out.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
