"""Every figure on small, empty, one-row and hostile frames."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from airlens.errors import DataError
from airlens.statistics.correlations import spearman
from airlens.views.figures import labels as figtext
from airlens.views.figures import style as figstyle
from airlens.views.figures.accuracy_bars import accuracy_bars
from airlens.views.figures.copying_curve import ablation_curve
from airlens.views.figures.early_answer_figures import early_answer_curve, step_gain_bars
from airlens.views.figures.head_maps import head_map, score_ranking
from airlens.views.figures.head_parts import head_parts
from airlens.views.figures.selected_samples import (
    ais_by_domain,
    domain_counts,
    selection_scatter,
    selector_overlap,
)
from airlens.views.figures.single_trace import step_bars, token_strip
from airlens.views.figures.step_maps import ais_by_label, head_step_heatmap, step_heatmap

HOSTILE = "<img src=x onerror=alert(1)></s> & `$x$` </script>"


def heads_frame(layers: int = 3, heads: int = 2) -> pd.DataFrame:
    places = list(itertools.product(range(layers), range(heads)))
    score = np.linspace(0, 0.9, len(places))
    return pd.DataFrame(
        {
            "layer": [layer for layer, _ in places],
            "head": [head for _, head in places],
            "name": [f"L{layer}H{head}" for layer, head in places],
            "score": score,
            "lo": score * 0.9,
            "hi": score * 1.1,
            "rank": np.arange(len(places), 0, -1),
            "top": score > 0.8,
        }
    )


def parts_frame() -> pd.DataFrame:
    frame = heads_frame()
    return frame.assign(lookup=frame["score"] ** 2, continuation=frame["score"])


def curve_frame() -> pd.DataFrame:
    rows = [("top", "uniform", k, k / 270, 0, 0.9 - 0.04 * k, 1.0 + k / 10) for k in (0, 7, 14)]
    rows += [
        ("random", "uniform", k, k / 270, draw, 0.9 - 0.001 * draw, 1.0)
        for k in (0, 7, 14)
        for draw in range(3)
    ]
    rows.append(("needle removed", "uniform", 0, 0.0, 0, 0.27, 3.0))
    names = ["heads", "mode", "k", "share", "draw", "copy_accuracy", "nll"]
    return pd.DataFrame(rows, columns=names)


def steps_frame(text: str = "Two and two\nmake four.") -> pd.DataFrame:
    rows = []
    for id, step in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]:
        ais = float("nan") if (id, step) == ("a", 2) else 0.1 * (step + 1)
        rows.append(
            {
                "id": id,
                "domain": "logic",
                "step": step,
                "label": ["looks up", "computes", None][step],
                "text": text,
                "n_tokens": 4,
                "loss_base": 0.01 if ais != ais else 1.0,
                "loss_ref": 1.1,
                "delta": 0.1,
                "ais": ais,
                "ais_control": 0.02,
                "ais_control_std": 0.01,
                "delta_control": 0.02,
                "below_floor": ais != ais,
            }
        )
    return pd.DataFrame(rows)


def tokens_frame(tokens: tuple[str, ...] = (" the", " the", "\n", "</s>", "é")) -> pd.DataFrame:
    n = len(tokens)
    return pd.DataFrame(
        {
            "id": ["a"] * n,
            "step": [0 if i < 3 else 1 for i in range(n)],
            "pos": range(n),
            "token_id": range(n),
            "token": list(tokens),
            "nll_base": np.linspace(0.1, 2, n),
            "nll_ref": np.linspace(0.2, 1, n),
            "delta": np.linspace(0.1, -1, n),
        }
    )


def early_frame() -> pd.DataFrame:
    logp = np.array([-6.0, -7.0, -2.0, -0.1])
    return pd.DataFrame(
        {
            "id": "a",
            "step": [-1, 0, 1, 2],
            "answer_now": ["7 x 4", "28", "$45", "$45"],
            "p_now": [0.1, 0.2, 0.5, 0.9],
            "logp_base": logp,
            "logp_ref": logp - 1,
            "logp_control": logp - 0.5,
            "gain": np.diff(logp, prepend=np.nan),
            "gain_ref": np.diff(logp, prepend=np.nan),
            "right_base": [False, False, True, True],
            "states_answer": [False, False, False, True],
        }
    )


def gains_frame() -> pd.DataFrame:
    return early_frame().iloc[1:]


def accuracy_frame() -> pd.DataFrame:
    rows = [
        ("base", 0.3, 0.2, 0.4, 0.7, 0.0, 0.0, 0),
        ("<b>top</b>", 0.1, 0.0, 0.2, 0.4, 0.2, 0.3, 3),
    ]
    names = ["condition", "accuracy", "lo", "hi", "wrong", "no answer", "repeats", "draws"]
    return pd.DataFrame(rows, columns=names)


def samples_frame() -> pd.DataFrame:
    n = 8
    ais = np.linspace(-0.1, 0.6, n)
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "domain": ["logic", "code"] * (n // 2),
            "n_tokens": np.arange(10, 10 + n),
            "loss_base": np.linspace(2, 1, n),
            "entropy": np.linspace(1, 2, n),
            "ais": ais,
            "ais_control": 0.01,
            "selected": ais > 0.4,
            "rank_in_group": np.arange(n, 0, -1),
        }
    )


def overlap_frame() -> pd.DataFrame:
    rows = [("ais", "length", 0.1, 0.2), ("ais", "loss", 0.1, 0.5), ("length", "loss", 0.1, 0.3)]
    return pd.DataFrame(rows, columns=["a", "b", "top", "jaccard"])


def head_step_frame() -> pd.DataFrame:
    rows = [(s, name, 0.1 * s - 0.1) for name in ("L1H1", "L0H0") for s in range(3)]
    return pd.DataFrame(rows, columns=["step", "name", "delta"])


FIGURES = {
    "head_map": (head_map, heads_frame, "score"),
    "score_ranking": (score_ranking, heads_frame, "score"),
    "head_parts": (head_parts, parts_frame, "lookup"),
    "accuracy_bars": (accuracy_bars, accuracy_frame, "accuracy"),
    "ablation_curve": (ablation_curve, curve_frame, "copy_accuracy"),
    "step_bars": (step_bars, steps_frame, "ais"),
    "early_answer_curve": (early_answer_curve, early_frame, "logp_base"),
    "step_gain_bars": (step_gain_bars, gains_frame, "gain"),
    "ais_by_label": (ais_by_label, steps_frame, "ais"),
    "step_heatmap": (step_heatmap, steps_frame, "ais"),
    "head_step_heatmap": (head_step_heatmap, head_step_frame, "delta"),
    "token_strip": (token_strip, tokens_frame, "delta"),
    "selection_scatter": (selection_scatter, samples_frame, "ais"),
    "selector_overlap": (selector_overlap, overlap_frame, "jaccard"),
    "ais_by_domain": (ais_by_domain, samples_frame, "ais"),
    "domain_counts": (domain_counts, samples_frame, None),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def words(fig: go.Figure) -> str:
    """All text of a figure, as it is written to a file."""
    return str(fig.to_json())


@every_figure
def test_small_frame_gives_a_titled_figure(name: str) -> None:
    make, frame, _ = FIGURES[name]
    fig = make(frame())
    assert isinstance(fig, go.Figure)
    assert fig.data
    assert fig.layout.title.text
    assert fig.layout.height >= 200
    assert fig.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"


@every_figure
def test_empty_frame_says_no_data(name: str) -> None:
    make, frame, _ = FIGURES[name]
    for empty in (pd.DataFrame(), frame().iloc[:0]):
        fig = make(empty)
        assert not fig.data
        assert "no " in fig.layout.annotations[0].text


@every_figure
def test_one_row(name: str) -> None:
    make, frame, _ = FIGURES[name]
    assert make(frame().iloc[:1]).data


@every_figure
def test_missing_values_do_not_raise(name: str) -> None:
    make, frame, value = FIGURES[name]
    if value is None:
        return
    gaps = frame()
    gaps[value] = gaps[value].where(np.arange(len(gaps)) != 0)
    assert make(gaps).data
    fig = make(frame().assign(**{value: np.nan}))
    assert fig.layout.annotations or name == "token_strip"


@every_figure
def test_missing_column_is_named(name: str) -> None:
    make, frame, value = FIGURES[name]
    column = value or "domain"
    with pytest.raises(DataError, match=column):
        make(frame().drop(columns=column).assign(other=1))


@every_figure
def test_a_given_title_is_kept_and_escaped(name: str) -> None:
    make, frame, _ = FIGURES[name]
    assert make(frame(), title="a < b").layout.title.text.startswith("a &lt; b")


def test_head_map_puts_layers_upward_and_names_heads() -> None:
    fig = head_map(heads_frame())
    heat = fig.data[0]
    assert np.shape(heat.z) == (3, 2)
    assert heat.z[2][1] == pytest.approx(0.9)
    assert "L2H1" in heat.hovertext[2][1]
    assert "95 % interval" in heat.hovertext[2][1]
    assert "rank 1 of 6" in heat.hovertext[2][1]
    low, high = fig.layout.yaxis.range
    assert low < high
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("head", "layer")
    assert len(fig.data[1].x) == 6  # one outlined head
    assert "L2H1 leads with 0.900" in fig.layout.title.text


def test_head_map_of_an_influence_has_zero_in_the_middle() -> None:
    heat = head_map(heads_frame().assign(delta=[-0.3, 0, 0, 0.1, 0, 0]), "delta").data[0]
    assert heat.zmin == -heat.zmax
    assert "nats" in heat.colorbar.title.text


def test_head_map_leaves_missing_heads_blank() -> None:
    grid = np.array(head_map(heads_frame().iloc[1:]).data[0].z, dtype=float)
    assert np.isnan(grid[0, 0])


def test_head_parts_puts_each_head_at_its_scores() -> None:
    frame = parts_frame()
    fig = head_parts(frame, names=2)
    points = {(x, y) for data in fig.data for x, y in zip(data.x, data.y, strict=True)}
    assert points == set(zip(frame["continuation"], frame["lookup"], strict=True))
    assert [note.text for note in fig.layout.annotations if note.text.startswith("L")] == [
        "L2H1",
        "L2H0",
    ]
    assert "L0H0" not in [note.text for note in fig.layout.annotations]  # copies nothing


def test_score_ranking_is_sorted_and_marks_the_cut() -> None:
    fig = score_ranking(heads_frame())
    assert list(fig.data[0].y) == sorted(fig.data[0].y, reverse=True)
    assert fig.layout.shapes[0].x0 == 1.5
    assert any("1 heads" in note.text for note in fig.layout.annotations)


def test_ablation_curve_has_band_floor_and_mode() -> None:
    fig = ablation_curve(curve_frame())
    names = [trace.name for trace in fig.data if trace.name]
    assert names == ["top", "random", "needle removed (0.270)"]
    assert any(trace.fill == "tonexty" for trace in fig.data)
    assert "uniform" in fig.layout.title.text
    assert "is 0.340 without the top 14" in fig.layout.title.text
    assert fig.layout.yaxis.title.text == "copy accuracy (share of answer tokens)"
    assert "nats" in ablation_curve(curve_frame(), "nll").layout.yaxis.title.text


def test_ablation_curve_with_two_modes_names_them() -> None:
    both = pd.concat([curve_frame(), curve_frame().assign(mode="zero")])
    names = {trace.name for trace in ablation_curve(both).data}
    assert {"top, uniform", "top, zero"} <= names


def test_step_bars_show_the_control_with_its_spread() -> None:
    fig = step_bars(steps_frame(), "a")
    assert [trace.name for trace in fig.data] == ["critical heads", "random heads (control)"]
    assert list(fig.data[1].error_x.array) == [0.01] * 3
    assert "step 0" in fig.data[0].hovertext[0]
    assert "looks up" in fig.data[0].hovertext[0]
    assert "Two and two<br>make four." in fig.data[0].hovertext[0]
    assert [note.text for note in fig.layout.annotations] == ["base loss under the floor"]
    assert "nats" in step_bars(steps_frame(), "a", "delta").layout.xaxis.title.text


def test_early_answers_say_when_the_answer_is_decided_and_what_was_said_before() -> None:
    frame = early_frame()
    draws = pd.DataFrame(
        {"id": "a", "step": [-1, 0, 1, 2] * 2, "draw": [0] * 4 + [1] * 4, "logp_control": -3.0}
    )
    fig = early_answer_curve(frame, controls=draws)
    assert "decided after step 1 of 2" in fig.layout.title.text
    assert [note.text for note in fig.layout.annotations] == ["7 x 4", "28", "&#36;45", "decided"]
    assert any(trace.fill == "tonexty" for trace in fig.data)
    assert {trace.name for trace in fig.data if trace.name} >= {"the model"}
    not_yet = early_answer_curve(frame.assign(right_base=[True, True, True, False]))
    assert "not decided" in not_yet.layout.title.text


def test_gain_bars_mark_the_step_that_writes_the_answer() -> None:
    fig = step_gain_bars(early_frame())
    assert list(fig.layout.yaxis.ticktext) == ["<b>0</b>", "<b>1</b>", "<b>2</b> *"]
    assert [trace.name for trace in fig.data] == ["the model", "without the critical heads"]
    assert list(fig.data[0].x) == pytest.approx([-1, 5, 1.9])
    assert "Step 1 adds most" in fig.layout.title.text


def test_unknown_trace_is_said() -> None:
    for fig in (step_bars(steps_frame(), "zzz"), token_strip(tokens_frame(), "zzz")):
        assert fig.layout.annotations[0].text == "no trace with id zzz"


def test_steps_without_label_form_their_own_group() -> None:
    assert any(
        "(none)" in tick
        for tick in ais_by_label(steps_frame().fillna({"ais": 1.0})).layout.yaxis.ticktext
    )


def test_step_heatmap_says_what_it_leaves_out() -> None:
    fig = step_heatmap(steps_frame(), traces=1)
    assert "the first 1 of 2 traces" in fig.layout.title.text
    assert np.shape(fig.data[0].z) == (1, 3)


def test_head_step_heatmap_keeps_the_order_of_heads() -> None:
    fig = head_step_heatmap(head_step_frame())
    assert list(fig.layout.yaxis.ticktext) == ["L1H1", "L0H0"]
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1]


def test_equal_tokens_stay_apart_and_white_space_is_seen() -> None:
    bars = token_strip(tokens_frame()).data[0]
    assert list(bars.text) == ["·the", "·the", "⏎", "&lt;/s&gt;", "é"]
    places = list(zip(bars.base, bars.y, strict=True))
    assert len(set(places)) == len(places)
    assert bars.y[3] == 1  # a step starts a line
    assert "base NLL (nats)" in bars.hovertext[0]


def test_token_strip_wraps_a_long_trace() -> None:
    rows = tokens_frame(tuple(" token" for _ in range(300))).assign(step=0)
    bars = token_strip(rows, wrap=60).data[0]
    ends = np.array(bars.base) + np.array(bars.x)
    assert ends.max() <= 60
    assert max(bars.y) == 29


def test_scatter_gives_rho_and_marks_the_chosen() -> None:
    fig = selection_scatter(samples_frame())
    assert "ρ = 1" in fig.layout.title.text
    assert fig.layout.xaxis.title.text == "response length (tokens)"
    assert {trace.meta for trace in fig.data} == {"selected", "unselected"}
    assert sum(trace.showlegend for trace in fig.data) == 2
    assert "nats" in selection_scatter(samples_frame(), "loss_base").layout.xaxis.title.text


def test_spearman() -> None:
    x = np.array([1.0, 2, 3, 4, np.nan])
    assert spearman(x, -(x**3)) == pytest.approx(-1)
    assert np.isnan(spearman(x, np.ones(5)))


def test_overlap_is_symmetric_with_an_empty_diagonal() -> None:
    grid = np.array(selector_overlap(overlap_frame()).data[0].z, dtype=float)
    assert np.isnan(np.diag(grid)).all()
    assert grid[0, 1] == grid[1, 0] == 0.2
    several = pd.concat([overlap_frame(), overlap_frame().assign(top=0.5)])
    assert len(selector_overlap(several).data) == 2
    assert len(selector_overlap(several, top=0.5).data) == 1


def test_counts_of_a_selection() -> None:
    fig = domain_counts(samples_frame())
    assert {trace.name for trace in fig.data} == {"all", "selected"}
    assert "2 of 8 samples" in fig.layout.title.text
    assert len(domain_counts(samples_frame().drop(columns="selected")).data) == 1


def test_hostile_text_stays_text_in_every_figure() -> None:
    figures = [
        head_map(heads_frame().assign(name=HOSTILE)),
        score_ranking(heads_frame().assign(name=HOSTILE)),
        ablation_curve(curve_frame().replace({"top": HOSTILE})),
        step_bars(steps_frame(HOSTILE).assign(label=HOSTILE, id=HOSTILE)),
        early_answer_curve(early_frame().assign(answer_now=HOSTILE, id=HOSTILE)),
        step_gain_bars(early_frame().assign(answer_now=HOSTILE, id=HOSTILE)),
        ais_by_label(steps_frame().assign(label=HOSTILE)),
        step_heatmap(steps_frame(HOSTILE).assign(id=HOSTILE)),
        head_step_heatmap(head_step_frame().assign(name=HOSTILE)),
        token_strip(tokens_frame((HOSTILE, "</s>")).assign(id=HOSTILE)),
        selection_scatter(samples_frame().assign(domain=HOSTILE, id=HOSTILE)),
        selector_overlap(overlap_frame().replace({"ais": HOSTILE})),
        ais_by_domain(samples_frame().assign(domain=HOSTILE)),
        domain_counts(samples_frame().assign(domain=HOSTILE)),
    ]
    for fig in figures:
        shown = words(fig).replace("\\u003c", "<")
        assert "<img" not in shown
        assert "</s>" not in shown
        assert "</script" not in shown
        assert "$x$" not in shown
        assert "</script" not in figstyle.fig_html(fig).replace("</script>", "", 1)


@pytest.mark.parametrize(
    ("token", "seen"),
    [
        (" a", "·a"),
        ("\n\n", "⏎⏎"),
        ("\t", "⇥"),
        ("", "∅"),
        ("\u202e", "\\u202e"),
        ("\x00", "\\u0000"),
        ("\ud800", "\ufffd"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("שלום", "שלום"),
    ],
)
def test_visible(token: str, seen: str) -> None:
    assert figtext.visible(token) == seen


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8664, "0.866"),
        (12345.678, "12,346"),
        (14, "14"),
        (np.int64(1240), "1,240"),
        (-0.5, "\u22120.500"),
        (3.14e-7, "3.14e\u221207"),
        (0.0, "0"),
        (float("nan"), "\u2013"),
        (None, "\u2013"),
        (float("-inf"), "\u2212∞"),
        (True, "yes"),
    ],
)
def test_number(value: object, text: str) -> None:
    assert figtext.number(value) == text


def test_wrapped_text_is_cut_and_escaped() -> None:
    text = figtext.wrapped("<b>\n" + "word " * 400, lines=3)
    assert text.startswith("&lt;b&gt;<br>word")
    assert text.endswith("<br>…")


def test_figures_send_nothing_anywhere() -> None:
    html = figstyle.fig_html(head_map(heads_frame()))
    assert '"showSendToCloud": false' in html
    assert figstyle.CONFIG["plotlyServerURL"] == ""
    assert 'src="http' not in html


def test_domains_keep_colour_and_symbol() -> None:
    looks = figstyle.domain_colours(["b", "a", "b"])
    assert list(looks) == ["a", "b"]
    assert len(set(looks.values())) == 2


def test_accuracy_bars_say_how_solutions_ended_and_add_up() -> None:
    fig = accuracy_bars(accuracy_frame())
    *bars, interval = fig.data
    assert [trace.name for trace in bars] == [
        "correct", "wrong answer", "no answer", "runs in a circle"
    ]  # fmt: skip
    assert np.allclose(sum(np.asarray(trace.x) for trace in bars), 1)
    assert np.allclose(interval.x, bars[0].x)
    assert np.allclose(interval.error_x.array, [0.1, 0.1])
    assert np.allclose(interval.error_x.arrayminus, [0.1, 0.1])
    title = fig.layout.title.text.replace("<br>", " ")
    assert title.startswith(
        "base: 30 % of the problems solved; fewest with &lt;b&gt;top&lt;/b&gt; off"
    )
    assert "<b>top</b>" not in "".join(bars[0].hovertext)


def test_accuracy_of_other_problems_is_not_put_beside_the_first() -> None:
    frame = pd.concat([accuracy_frame(), accuracy_frame().assign(condition="few", accuracy=0.0)])
    same = accuracy_bars(frame.assign(n=200))
    assert "same problems" not in same.layout.title.text
    assert list(same.data[0].y)[-1] == "few"
    fig = accuracy_bars(frame.assign(n=[200, 200, 100, 100]))
    assert "Not all answered the same problems" in fig.layout.title.text
    assert "fewest with &lt;b&gt;top&lt;/b&gt; off" in fig.layout.title.text.replace("<br>", " ")
    assert [str(name).endswith("n = 200") for name in fig.data[0].y] == [True, True, False, False]
