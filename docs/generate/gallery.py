"""The gallery: each figure of `al.figures`, live, with the lines that make it.

A figure is taken from the committed outputs of the notebook that draws it, so that picture and code
belong together and no model is run. Those that no notebook draws are drawn from `gallery_run/`. The
first page shows each of them small.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly
import plotly.graph_objects as go
import plotly.io as pio
from PIL import Image

import airlens as al
from airlens.errors import AirlensError
from airlens.views.figures.style import fig_html

from . import ROOT, first_sentence, write_if_new
from .notebooks import paths, title

RUN = Path(__file__).parents[1] / "gallery_run"
RESULTS = ROOT / "data" / "results"
LINES = 3  # of a long cell, the last ones are shown
SMALL = 480  # pixels, the width of a small picture: twice what is seen

# The pages, by what a figure is about; the module of `airlens.figures` it lives in decides.
PAGES = {
    "heads": (
        "Heads",
        [
            "head_maps",
            "head_parts",
            "head_attention",
            "needle_grids",
            "detector_comparison",
            "emergence",
            "model_comparison",
        ],
    ),
    "ablation": ("Ablation", ["copying_curve", "accuracy_bars", "next_tokens", "speed"]),
    "traces": (
        "Traces and steps",
        [
            "single_trace",
            "coloured_text",
            "step_maps",
            "early_answer_figures",
            "source_matrix",
            "arcs",
            "fact_paths",
        ],
    ),
    "selection": (
        "Selection and training",
        ["selected_samples", "corpus_samples", "training_arms"],
    ),
    "validity": ("What the score reacts to", ["step_validity", "source_truth"]),
}
OTHER = "selection"

# Figures that a notebook shows through something else: the cell that has the picture, and the lines
# that draw the same from its data.
THROUGH = {
    "emergence_map": (
        'made["emergence"]',
        "from airlens.experiments.emergence import TinySettings, emergence\n"
        "grown = emergence(TinySettings())\n"
        "al.figures.emergence_map(grown.heads)",
    ),
    "answer_attention_map": (
        'head_view.figure("attention")',
        "head_view = al.HeadExplorer(lm, scores, probes, heads)\n"
        'head_view.figure("attention")\n'
        '# the same: al.figures.answer_attention_map(head_view.frame("attention"))',
    ),
    "next_token_bars": (
        "lab.figure()",
        "lab = al.AblationLab(lm, heads)\nlab.figure()  # al.figures.next_token_bars(...)",
    ),
}
# Figures drawn here, from the saved run.
FROM_RUN = {
    "head_parts": (
        'scores = al.HeadScores.load("docs/gallery_run/heads.json")\n'
        "al.figures.head_parts(scores.to_frame())",
        lambda: al.figures.head_parts(al.HeadScores.load(RUN / "heads.json").to_frame()),
    ),
    "step_heatmap": (
        'result = al.Influence.load("docs/gallery_run")\nal.figures.step_heatmap(result.steps)',
        lambda: al.figures.step_heatmap(al.Influence.load(RUN).steps),
    ),
    "domain_counts": (
        'result = al.Influence.load("docs/gallery_run")\n'
        'chosen = al.select(result.samples, by="ais", top=0.3, within=None)\n'
        "al.figures.domain_counts(chosen.samples)",
        lambda: al.figures.domain_counts(
            al.select(al.Influence.load(RUN).samples, by="ais", top=0.3, within=None).samples
        ),
    ),
    "early_answer_curve": (
        'early = al.EarlyAnswers.load("docs/gallery_run/early")\n'
        "al.figures.early_answer_curve(early.steps, controls=early.controls)",
        lambda: al.figures.early_answer_curve(_early().steps, controls=_early().controls),
    ),
    "step_gain_bars": (
        'early = al.EarlyAnswers.load("docs/gallery_run/early")\n'
        "al.figures.step_gain_bars(early.steps)",
        lambda: al.figures.step_gain_bars(_early().steps),
    ),
    "step_sources": (
        'found = al.Sources.load("docs/gallery_run/sources")\n'
        'al.figures.step_sources(found.pairs, "copies", found.units)',
        lambda: al.figures.step_sources(_sources().pairs, "copies", _sources().units),
    ),
    "source_arcs": (
        'found = al.Sources.load("docs/gallery_run/sources")\n'
        "al.figures.source_arcs(found.pairs, found.units)",
        lambda: al.figures.source_arcs(_sources().pairs, _sources().units),
    ),
    "fact_path": (
        'sources = al.Sources.load("docs/gallery_run/sources")\n'
        'found = al.paths(sources, "right of Umar", step=1)\n'
        "al.figures.fact_path(found.hops, sources.tokens, found.ends)",
        lambda: _fact_path(),
    ),
}

# Figures drawn here, from a table of results.
FROM_TABLE = {
    "source_truth": (RESULTS / "validity" / "sources" / "planted.csv", al.figures.source_truth),
    "accuracy_bars": (RESULTS / "heads_off" / "accuracy.csv", al.figures.accuracy_bars),
}


@dataclass(frozen=True)
class Example:
    """A picture and the code that makes it.

    Attributes:
        code: the last lines of a cell.
        html: the picture.
        source: where it comes from, in Markdown.
        png: the picture as PNG, where the notebook has one.
    """

    code: str
    html: str
    source: str
    png: bytes = b""


def _early() -> al.EarlyAnswers:
    return al.EarlyAnswers.load(RUN / "early")


def _fact_path() -> go.Figure:
    found = al.paths(_sources(), "right of Umar", step=1)
    return al.figures.fact_path(found.hops, _sources().tokens, found.ends)


def _sources() -> al.Sources:
    return al.Sources.load(RUN / "sources")


def figure_names() -> list[str]:
    """What `al.figures` draws; helpers that return tables are left out."""
    return [n for n in al.figures.__all__ if "DataFrame" not in str(_returns(n))]


def _returns(name: str) -> object:
    return inspect.signature(getattr(al.figures, name)).return_annotation


def cells() -> Iterator[tuple[Path, str, str, dict]]:
    """(notebook, its title, source, output data) of every code cell with a picture."""
    for path in paths():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        heading = title(notebook)
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "application/vnd.plotly.v1+json" in data or "text/html" in data:
                    yield path, heading, "".join(cell["source"]), data


def examples() -> dict[str, Example]:
    """An example of every figure that there is one of; the shortest cell wins."""
    found: dict[str, Example] = {}
    length: dict[str, int] = {}
    for path, heading, source, data in cells():
        called = re.findall(r"figures\.(\w+)\(", source)
        through = [n for n, (text, _) in THROUGH.items() if source.strip().endswith(text)]
        # The outermost call of the last line made the picture.
        for name in [*called[:1], *through]:
            size = source.count("\n")
            if name not in figure_names() or (name in length and length[name] <= size):
                continue
            html = _html(name, data)
            if html:
                code = THROUGH[name][1] if name in through else last_lines(source)
                link = f"[{heading}](../notebooks/{path.name})"
                png = base64.b64decode(data.get("image/png", ""))
                found[name], length[name] = Example(code, html, f"From {link}.", png), size
    drawn = {name: (code, draw()) for name, (code, draw) in FROM_RUN.items()}
    for name, (file, draw_table) in FROM_TABLE.items():
        code = f'table = pd.read_csv("{file.relative_to(ROOT)}")\nal.figures.{name}(table)'
        drawn[name] = (code, draw_table(pd.read_csv(file)))
    pictures = _pictures({name: fig for name, (_, fig) in drawn.items()})
    for name, (code, fig) in drawn.items():
        source = "From `docs/gallery_run`, a small run on the default model."
        if name in FROM_TABLE:
            source = f"From `{FROM_TABLE[name][0].relative_to(ROOT)}`."
        found[name] = Example(code, _live(fig.to_json(), name), source, pictures.get(name, b""))
    return found


def _pictures(figures: Mapping[str, go.Figure]) -> dict[str, bytes]:
    """The figures as PNG; none where there is no Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            paths = al.figures.save_figures(figures, folder, formats=("png",))
        except AirlensError:
            return {}
        return {path.stem: path.read_bytes() for path in paths}


def last_lines(source: str) -> str:
    """The last lines of a cell, without the tail of a call that began before them."""
    lines = source.strip().splitlines()
    start = max(0, len(lines) - LINES)
    while start > 0 and (lines[start][0] in " )]}" or not lines[start].strip()):
        start -= 1
    return "\n".join(lines[start:])


def _html(name: str, data: dict) -> str:
    if "application/vnd.plotly.v1+json" in data:
        return _live(json.dumps(data["application/vnd.plotly.v1+json"]), name)
    if name == "trace_html":
        return f'<div class="plot-page">{"".join(data["text/html"])}</div>'
    return ""


def _live(text: str, name: str) -> str:
    """A Plotly figure as HTML; plotly.js is loaded once, by the page."""
    record = json.loads(text)
    fig = go.Figure(pio.from_json(json.dumps({k: record[k] for k in ("data", "layout")})))
    return f'<div class="plot">{fig_html(fig, f"plot-{name}")}</div>'


def page_of(name: str) -> str:
    """The page of a figure."""
    module = getattr(al.figures, name).__module__.rsplit(".", 1)[-1]
    return next((page for page, (_, mods) in PAGES.items() if module in mods), OTHER)


def _section(name: str, example: Example | None) -> str:
    about = first_sentence(inspect.getdoc(getattr(al.figures, name))).replace("``", "`")
    about = re.sub(r"^Return (\S)", lambda m: m[1].upper(), about)
    about = about.replace("<", "&lt;")
    # A label of its own: what MyST makes of a heading's underscores changed between its versions.
    head = f"({_label(name)})=\n## {name}\n\n{about} {{py:func}}`airlens.figures.{name}`\n"
    if example is None:
        raise ValueError(f"no notebook shows al.figures.{name}: draw it in one, or in gallery.py")
    code = f"```python\n{example.code}\n```\n"
    return f"{head}\n{code}\n```{{raw}} html\n{example.html}\n```\n\n{example.source}\n"


def _card(name: str, example: Example, folder: Path) -> str:
    """A small picture that leads to the figure, and its name."""
    picture = ""
    if example.png:
        with Image.open(io.BytesIO(example.png)) as image:
            whole = image.convert("RGBA")
        paper = Image.new("RGBA", whole.size, "white")
        paper.alpha_composite(whole)
        paper.thumbnail((SMALL, SMALL))
        paper.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / f"{name}.png")
        picture = f":img-top: small/{name}.png\n:img-alt: {name}\n"
    link = f":link: {_label(name)}\n:link-type: ref\n"
    return f":::{{grid-item-card}}\n{link}:class-card: small\n{picture}\n`{name}`\n:::\n"


def _label(name: str) -> str:
    return f"figure-{name.replace('_', '-')}"


def write(folder: Path) -> None:
    """Write the pages, and put plotly.js beside them."""
    shown = examples()
    names = figure_names()
    cards = []
    small = folder / "gallery" / "small"
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    for page, (heading, _) in PAGES.items():
        own = [n for n in names if page_of(n) == page]
        script = '```{raw} html\n<script src="../_static/plotly.min.js"></script>\n```\n'
        text = [f"# {heading}\n", script, *(_section(n, shown.get(n)) for n in own)]
        write_if_new(folder / "gallery" / f"{page}.md", "\n".join(text))
        cards.append(f"## [{heading}]({page}.md)\n\n::::{{grid}} 2 3 4 4\n:gutter: 2\n")
        cards += [_card(n, shown[n], small) for n in own]
        cards.append("::::\n")
    toc = "\n".join(PAGES)
    intro = (
        "# Gallery\n\nEvery figure of `al.figures`: it takes a table and returns a Plotly figure "
        "(`fig.show()`, `fig.write_html(...)`, or print with `al.figures.save_figures`). They "
        "read on light and dark pages. The pictures are those of the committed notebooks: a "
        "small run on SmolLM2-135M.\n"
    )
    text = "\n".join([intro, *cards, f"```{{toctree}}\n:hidden:\n\n{toc}\n```\n"])
    write_if_new(folder / "gallery" / "index.md", text)
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    target = folder / "_static" / "plotly.min.js"
    if not target.exists() or target.stat().st_size != script.stat().st_size:
        shutil.copyfile(script, target)
