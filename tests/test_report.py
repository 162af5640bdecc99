"""The coloured trace and the report page: escaped, self-contained, whole or not at all."""

from __future__ import annotations

import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from airlens.views.figures.coloured_text import trace_html
from airlens.views.reports.html_page import Report, inline

HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>`x`'


class Page(HTMLParser):
    """Collects a page's tags and its text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.titles: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._skip = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.titles += [value or "" for name, value in attrs if name == "title"]
        self._skip = tag in {"style", "script"}

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.text += data


def tokens(*texts: str, spans: list[tuple[int, int]] | None = None, step: int = 0) -> pd.DataFrame:
    frame = pd.DataFrame({"id": "a", "token": list(texts), "step": step})
    frame["pos"] = np.arange(len(texts))
    frame["nll_base"], frame["nll_ref"] = 1.0, 1.5
    frame["delta"] = 0.5
    if spans is not None:
        frame["start"], frame["end"] = [s for s, _ in spans], [e for _, e in spans]
    return frame


def steps(**columns: object) -> pd.DataFrame:
    row = {"id": "a", "step": 0, "label": "computes", "ais": 0.5, "ais_control": 0.1} | columns
    return pd.DataFrame([row])


def test_trace_shows_text_numbers_and_margin() -> None:
    page = Page(trace_html(tokens("Two", " plus"), steps()))
    assert "Two plus" in page.text
    assert "computes" in page.text
    assert "0.50" in page.text
    assert "0.10" in page.text
    title = next(title for title in page.titles if "“·plus”" in title)
    assert "base NLL (nats): 1" in title
    assert "ablated NLL (nats): 1.50" in title
    assert "Δ NLL (nats): 0.500" in title


def test_hostile_text_stays_text_in_a_trace() -> None:
    html = trace_html(tokens(HOSTILE, "</style>"), steps(label=HOSTILE, id="a"))
    page = Page(html)
    assert HOSTILE in page.text
    assert not {"img", "script"} & set(page.tags)
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_tokens_that_split_a_character_become_one_piece() -> None:
    response = "a 🎉 b"
    spans = [(0, 1), (1, 3), (2, 3), (2, 3), (3, 5)]
    frame = tokens("a", " \ufffd", "\ufffd", "", " b", spans=spans)
    page = Page(trace_html(frame, response=response))
    assert response in page.text
    assert "\ufffd" not in page.text
    joined = next(title for title in page.titles if "3 tokens make this text" in title)
    assert joined.count("base NLL") == 3
    without = Page(trace_html(frame.drop(columns=["start", "end"])))
    assert without.text.count("\ufffd") == 1


def test_text_that_no_token_covers_is_still_shown() -> None:
    page = Page(trace_html(tokens("b", "c", spans=[(2, 3), (3, 4)]), response="a bc left out"))
    assert "a bc left out" in page.text


@pytest.mark.parametrize(
    "text", ["שלום עולם", "مرحبا", "👩\u200d🔬 works", "\u202egnp.exe", "日本語"]
)
def test_other_scripts_are_kept(text: str) -> None:
    html = trace_html(tokens(text, " end"), response=None)
    assert f"{text} end" in Page(html).text
    assert 'dir="auto"' in html


def test_newlines_are_marked_and_do_not_open_empty_lines() -> None:
    html = trace_html(tokens("a", "\n", "b", ".\n\n"))
    text = re.sub(r' title="[^"]*"', "", html.split('dir="auto">')[1])
    assert text.count('class="nl"') == 3
    assert text.count("\n") == 1


@pytest.mark.parametrize("value", ["delta", "nll_base", "ais"])
def test_colour_by_any_column(value: str) -> None:
    html = trace_html(tokens("a", "b"), steps(), value=value)
    assert "background:rgba(" in html


def test_missing_values_are_not_coloured() -> None:
    frame = tokens("a", "b").assign(delta=[np.nan, np.nan])
    html = trace_html(frame, steps(ais=np.nan, ais_control=np.nan, below_floor=True))
    assert "under the floor" in html
    assert 'style="background:rgba' not in html.split('dir="auto"')[1]


def test_empty_trace() -> None:
    assert "No tokens to show" in trace_html(pd.DataFrame())
    assert "No tokens to show" in trace_html(tokens("a"), id="b")


def test_twenty_thousand_tokens_take_a_few_seconds() -> None:
    texts = [" word"] * 20_000
    spans = [(5 * i, 5 * i + 5) for i in range(len(texts))]
    frame = tokens(*texts, spans=spans).assign(step=np.arange(len(texts)) // 40)
    begin = time.perf_counter()
    html = trace_html(frame, response=" word" * len(texts))
    assert time.perf_counter() - begin < 8
    assert html.count(" word</span>") == len(texts)


def small_report(text: str = "plain") -> Report:
    report = Report(f"Title {text}", f"Subtitle {text}", {"model": text, "seed": 0})
    report.add_section(f"First {text}")
    report.add_text(f"A **bold** and `code` paragraph {text}\n\n- one\n- two\n\n## Second\n\nmore")
    report.add_facts({f"accuracy {text}": 0.91234, "name": text})
    fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], name=text), layout={"title": {"text": "t"}})
    report.add_quote(f"## no heading **{text}**", f"Prompt {text}")
    report.add_figure(fig, f"Caption {text}")
    report.add_figure(fig, width=500)
    frame = pd.DataFrame({"name": [text, "b"], "value": [0.123456, -2.0], "ok": [True, False]})
    report.add_table(frame, f"Table {text}", bars=["value"])
    report.add_html(trace_html(tokens(text)), "trace")
    return report


def test_page_is_self_contained(tmp_path: Path) -> None:
    path = small_report().write(tmp_path / "out" / "report.html")
    html = path.read_text(encoding="utf-8")
    assert html.count("* plotly.js v") == 1
    assert html.count("Plotly.newPlot(node") == 1
    page = Page(re.sub(r"<script>.*?</script>", "", html, flags=re.S))
    assert not {"iframe", "object", "base", "img"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in {"src", "srcset", "action"}]
    assert sources == []
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert links == ["data:,", "#s1", "#s2"]  # the first says that there is no icon to load
    assert "@import" not in html.split("</style>")[0]
    assert "default-src 'none'" in html
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_page_without_figures_carries_no_plotly() -> None:
    report = Report("t")
    report.add_text("words")
    assert len(report.html()) < 30_000


def test_hostile_text_stays_text_on_the_page() -> None:
    html = small_report(HOSTILE).html()
    page = Page(html)
    assert "img" not in page.tags
    assert page.tags.count("script") == 4  # two figures' data, plotly.js, the page's own
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_table_is_formatted_and_says_what_it_leaves_out() -> None:
    report = Report("t")
    values = [0.123456, float("nan"), -12.0]
    report.add_table(
        pd.DataFrame({"value": values, "n": [1, 2, 3]}), "All.", bars=["value"], rows=2
    )
    html = report.html()
    assert "0.123</span>" in html
    assert ">\u2013<" in html
    assert "First 2 of 3 rows." in html
    assert 'class="bar"' in html
    assert 'data-v="0.123456"' in html


def test_empty_table_and_mixed_cells() -> None:
    report = Report("t")
    report.add_table(pd.DataFrame({"a": []}))
    report.add_table(pd.DataFrame({"a": [None, "x", 1.5, [1]], "b": pd.array([1, None, 3, 4])}))
    assert "no rows" in report.html()


def test_a_quote_is_not_read_as_markup() -> None:
    report = Report("t")
    report.add_quote("## a\n\n**b** <i>")
    assert "## a\n\n**b** &lt;i&gt;</div>" in report.html()


def test_inline_markup_is_set_after_escaping() -> None:
    assert (
        inline("**<b>** *x* `a<b`") == "<strong>&lt;b&gt;</strong> <em>x</em> <code>a&lt;b</code>"
    )
    assert inline("2 * 3 * 4") == "2 * 3 * 4"


def test_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    report = small_report()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        report.write(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.browser
def test_page_in_a_browser(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    path = small_report(HOSTILE).write(tmp_path / "report.html")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    seen: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 800, "height": 1000}, color_scheme="dark")
        page.on("dialog", lambda dialog: (seen.append("dialog"), dialog.dismiss()))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("console", lambda line: seen.append(line.text) if line.type == "error" else None)
        page.on("request", lambda r: seen.append(r.url) if r.url.startswith("http") else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]", state="attached", timeout=60_000)
        assert page.locator(".plot .main-svg").count() > 0
        assert page.locator("img").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.locator(".plot").first.bounding_box()["width"] >= 600  # titles are not cut
        assert page.locator(".wide").first.bounding_box()["width"] <= 400
        assert page.locator("tbody td").first.bounding_box()["width"] >= 80
        page.set_viewport_size({"width": 800, "height": 1000})
        page.get_by_role("button", name="value").click()
        assert page.locator("tbody tr").first.inner_text().split("\t")[1].strip() == "0.123"
        page.get_by_role("button", name="value").click()
        assert "2" in page.locator("tbody tr").first.inner_text()
        browser.close()
    assert seen == []
