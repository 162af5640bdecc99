"""The views of a trace in a page without Python: a host like that of a widget, and a strict policy.

The host does what :class:`airlens.views.explorers.trace_explorer.TraceExplorer` does after a pick.
"""

from __future__ import annotations

import json
from pathlib import Path

from fake_sources import Tables

from airlens.views.explorers import source_traits as st
from airlens.views.explorers.traits import PALETTE, Traits, colour_traits, text_traits
from airlens.views.explorers.view_scripts import script, stylesheet
from airlens.views.figures.coloured_text import pieces
from airlens.views.figures.step_maps import row_dicts

POLICY = "default-src 'none'; script-src 'nonce-views'; style-src 'nonce-views'"
HOST = Path(__file__).with_name("views_host.js")
LAYOUT = """:root { color-scheme: light dark; }
body { margin: 12px; font-family: system-ui, sans-serif; }
.beside { display: flex; gap: 8px; align-items: flex-start; }
#arcs { flex: 0 0 170px; min-width: 0; } #text { flex: 1 1 0; min-width: 0; }"""
TEXT = {
    "empty": "", "legend": "margin: AIS", "hint": "Point at a token.", "threshold": 0.0,
    "strongest": 5, "show": "critical", "focus": [], "told": "",
    "current": -1, "version": 1, "picked": [], "numbers": [], "preview": [],
}  # fmt: skip


def traits_of(tables: Tables, response: str, measure: str = "copies") -> dict[str, Traits]:
    """The traits of the three views."""
    prompt = st.prompt_pieces(tables.units, tables.tokens)
    answer = pieces(row_dicts(tables.influence), response)
    colours = colour_traits(answer, tables.influence, "delta")
    whole = st.with_prompt(text_traits(answer, tables.steps) | colours, prompt, tables.units)
    events = st.event_traits(prompt, answer, tables.tokens, tables.events)
    pairs = st.pair_traits(tables.pairs, measure)
    text = {**TEXT, **whole, **events, **pairs}
    arcs = {**TEXT, **pairs, "units": st.arc_units(tables.units), "show": "both"}
    matrix: Traits = {"show": "critical", "picked": [], "told": "", "sides": whole["sides"]}
    matrix |= {"window": [], "large": False, "roomy": False, "hovered": []}
    matrix |= {"finding": "The finding.", "name": "long", "link": "page.html#trace=1"}
    matrix |= st.matrix_traits(tables.pairs, tables.units, measure)
    return {
        name: {"colours": PALETTE} | t
        for name, t in (("text", text), ("arcs", arcs), ("matrix", matrix))
    }


def write_page(path: Path, tables: Tables, response: str, measure: str = "copies") -> Path:
    """Write the page; it opens from disk."""
    data = json.dumps(traits_of(tables, response, measure), allow_nan=False).replace("<", "\\u003c")
    names = {"text": "text", "arcs": "arcs", "matrix": "matrix"}
    ending = ("export default { render };", "return { render };")
    views = ",\n".join(
        f"{name}: (() => {{ {script(file).replace(*ending)} }})()" for name, file in names.items()
    )
    path.write_text(
        f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>views</title>
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<style nonce="views">{stylesheet()}{LAYOUT}</style></head><body>
<div class="beside"><div id="arcs"></div><div id="text"></div></div><div id="matrix"></div>
<script type="application/json" id="data">{data}</script>
<script nonce="views">const views = {{ {views} }};
{HOST.read_text("utf-8")}</script></body></html>""",
        encoding="utf-8",
    )
    return path
