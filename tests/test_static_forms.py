"""What live views leave in a notebook: HTML without scripts, escaped, small, kept up to date."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from explore_tiny import HOSTILE, tiny_model, tiny_probes, tiny_traces

import airlens as al
from airlens.views.explorers.static_parts import MOST_TOKENS, steps_shown
from airlens.views.figures.cell_picture import CELL, cell_picture, pattern_picture


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def views(model: Any) -> dict[str, Any]:
    """Every live view, each of hostile text."""
    probes = tiny_probes(model.tokenizer)
    scores = al.retrieval_scores(model, probes, progress=False)
    trace = al.Trace(HOSTILE, HOSTILE, HOSTILE, HOSTILE).with_steps("line")
    scored = al.influence(model, trace, "L0H1", progress=False)
    return {
        "heads": al.HeadExplorer(model, scores, probes, new_tokens=2),
        "trace": al.TraceExplorer(model, trace, "L0H1, L1H2"),
        "lab": al.AblationLab(model, "L0H1", HOSTILE, new_tokens=2),
        "selection": al.SelectionExplorer(scored, trace),
    }


class Tags(HTMLParser):
    """The elements of a text, what is read of it, and attributes that could run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.words, self.handlers = "", list[str]()
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("name", ["heads", "trace", "lab", "selection"])
def test_a_static_form_is_plain_html_and_says_what_to_run(views: dict[str, Any], name: str) -> None:
    view = views[name]
    html = view.static_html()
    seen = Tags(html)
    assert not {"script", "iframe", "object", "b b"} & set(seen.names)
    assert seen.handlers == []
    assert seen.names.count("img") == html.count("data:image/png;base64,") == (name == "heads")
    assert f"What {type(view).__name__} showed last" in seen.words
    assert "run the cells" in seen.words
    if name != "heads":
        assert HOSTILE[:20] in seen.words
    assert len(html) < 20_000


def test_what_is_displayed_is_the_widget_and_below_it_its_form(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, data: Any, *, raw: bool) -> None:
            shown.append(data)

    def display(data: Any, *, raw: bool, display_id: bool = False) -> Any:
        shown.append(data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    view = al.TraceExplorer(model, tiny_traces(), "L0H1", controls=0)
    view._ipython_display_()
    widget, form = shown
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == view.model_id
    assert "text/html" not in widget  # or a reader without widgets would show the form twice
    assert "The answer is" in Tags(form["text/html"]).words
    view.trace_picker.value = 1  # the hostile one: what was left behind follows
    last = Tags(shown[-1]["text/html"])
    assert len(shown) > 2
    assert "onerror" in last.words
    assert "The answer is" not in last.words


def test_of_a_long_trace_the_steps_around_the_current_one_are_kept(model: Any) -> None:
    trace = al.Trace("long", "", "\n".join(f"line {i}." for i in range(400))).with_steps("line")
    view = al.TraceExplorer(model, trace, "L0H1", controls=0)
    view.text.current = 200
    html = view.static_html()
    assert len(html) < 250_000
    assert "line 200." in Tags(html).words
    assert "line 399." not in Tags(html).words
    found = re.search(r"shown here: steps (\d+) to (\d+) of 400", html)
    assert found is not None
    kept, _ = steps_shown(view.frame("tokens"), 200)
    assert len(kept) <= MOST_TOKENS + 20
    assert (int(found[1]), int(found[2])) == (kept["step"].min(), kept["step"].max())


def test_a_picture_of_cells_is_read_by_another_reader() -> None:
    image = pytest.importorskip("PIL.Image")
    values = np.array([[1.0, 0.0], [np.nan, -2.0], [0.5, 0.25]])
    png, width, height = cell_picture(values, bound=1.0, signed=True, marked=[0])
    with image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (height, width, 4) == (3 * CELL, 2 * CELL, 4)
    middle = pixels[CELL // 2 :: CELL, CELL // 2 :: CELL][::-1]  # rows upward
    assert middle[0, 0].tolist() == [213, 94, 0, 255]
    assert middle[1, 1].tolist() == [0, 114, 178, 255]
    assert middle[1, 0, 3] == 0
    assert middle[2, 0, 3] == 20 + 235 // 2
    assert middle[0, 0, 3] > middle[2, 0, 3] > middle[2, 1, 3] > middle[0, 1, 3] > 0
    outlined = pixels[2 * CELL + 1, 1]
    assert outlined.tolist() == [48, 54, 60, 255]
    assert pixels[1, 1].tolist() != outlined.tolist()


def test_patterns_of_a_missing_head_are_empty() -> None:
    image = pytest.importorskip("PIL.Image")
    shares = np.full((1, 2, 3, 3), 0.25, dtype=np.float32)
    shares[0, 1] = np.nan
    png, width, height = pattern_picture(shares)
    with image.open(io.BytesIO(png)) as opened:
        opacity = np.asarray(opened)[..., 3]
    assert opacity.shape == (height, width) == (4, 8)
    assert (opacity[:3, :3] > 0).tolist() == np.tri(3, dtype=bool).tolist()
    assert not opacity[:, 3:].any()
