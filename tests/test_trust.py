"""Stability, agreement, curves and the mirror table on scores and models that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_rel

import airlens as al
from airlens.ablation import ablated
from airlens.detectors.greedy_decoding import before_line_break, greedy, greedy_tokens
from airlens.detectors.probe_values import CORPORA, value_corpus
from airlens.errors import ConfigError, DataError
from airlens.experiments.agreement import (
    agreement,
    jaccard,
    rank_correlation,
    rank_table,
    recommend,
    stability,
)
from airlens.experiments.mirror import mirror_summary, mirror_table, say
from airlens.experiments.needles import (
    conditions,
    needle_costs,
    needle_grid,
    needle_recall,
    needle_summary,
)
from airlens.figures import rank_figure
from airlens.heads import HeadScores, HeadSet
from airlens.step_influence.ablation_curves import ablation_curves, curve_sets, trace_nll


def scores(samples: np.ndarray) -> HeadScores:
    samples = samples.astype(np.float32)
    return HeadScores(samples.mean(axis=0), samples)


def test_jaccard_by_hand() -> None:
    a, b = HeadSet.parse("L0H0, L0H1, L0H2"), HeadSet.parse("L0H1, L0H2, L0H3")
    assert jaccard(a, b) == 0.5 and jaccard(a, a) == 1 and jaccard(HeadSet(()), HeadSet(())) == 1


def test_rank_correlation_is_over_all_heads() -> None:
    a = np.array([1.0, 0.8, 0.6, 0.01, 0.02, 0.03])
    b = np.array([0.9, 0.7, 0.5, 0.03, 0.02, 0.01])
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(rank_correlation(a[:2], b[:2]))
    with_nan = np.where(np.arange(6) == 1, np.nan, a)
    assert rank_correlation(with_nan, b) == pytest.approx(
        spearmanr(np.delete(a, 1), np.delete(b, 1)).statistic
    )


def test_independent_scores_do_not_look_opposed() -> None:
    """Few heads stand out: those that do in one of two independent rankings are low in the other.

    Over the heads above a floor in either, their correlation is far under 0 by construction.
    """
    rng = np.random.default_rng(0)
    pairs = [agreement({n: scores(rng.random((1, 15, 12)) ** 12) for n in "ab"}) for _ in range(40)]
    found = pd.concat(pairs)
    assert abs(found["spearman"].mean()) < 0.05
    inside = found["spearman"].between(found["null_lo"], found["null_hi"])
    assert inside.mean() > 0.85
    assert found["null_hi"].between(0.1, 0.2).all()
    assert found["chance"].iloc[0] == pytest.approx(9**2 / 180)


def test_probes_that_agree_are_stable_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    same = scores(np.tile(rng.random((1, 10, 10)), (8, 1, 1)))
    noise = scores(rng.random((8, 10, 10)))
    for one, low, high in ((same, 1.0, 1.0), (noise, 0.0, 0.35)):
        frame = stability(one, sizes=(1, 2, 4), draws=50, top=0.1)
        assert set(frame["method"]) == {"split half", "bootstrap"}
        halves = frame[frame["method"] == "split half"]
        assert list(halves["n_probes"]) == [1, 2, 4]
        assert halves["jaccard"].between(low, high).all()
        assert (frame["jaccard_lo"] <= frame["jaccard_hi"]).all()
    assert recommend(stability(same, sizes=(1, 2))).startswith("1 probes: Jaccard 1.00")
    assert "use more probes" in recommend(stability(noise, sizes=(1, 2)))
    by_length = stability({840: same, 420: same}, sizes=(1, 2))
    assert recommend(by_length) == "1 probes of 420 tokens: Jaccard 1.00"
    with pytest.raises(DataError, match="two probes"):
        stability(scores(rng.random((1, 2, 2))))


def test_stability_is_the_same_for_the_same_seed() -> None:
    one = scores(np.random.default_rng(1).random((6, 5, 4)))
    pd.testing.assert_frame_equal(stability(one, seed=3), stability(one, seed=3))


def test_agreement_of_pairs() -> None:
    a = scores(np.arange(20.0).reshape(1, 5, 4))
    frame = agreement({"a": a, "b": a, "c": scores(-a.samples)}, top=4)
    assert list(zip(frame["a"], frame["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert frame["jaccard"].tolist() == [1, 0, 0] and frame["shared"].tolist() == [4, 0, 0]
    assert frame["spearman"].tolist() == pytest.approx([1, -1, -1])
    with pytest.raises(ConfigError, match="different models"):
        agreement({"a": a, "b": scores(np.zeros((1, 2, 2)))})


def test_curve_sets_are_as_many_heads_and_disjoint_controls() -> None:
    one = scores(np.random.default_rng(2).random((2, 6, 4)))
    sets = curve_sets(one, 0.25, draws=3)
    groups = [group for group, _, _ in sets]
    assert groups == ["top", "bottom"] + ["random"] * 3 + ["same_layers"] * 3
    assert {len(heads) for _, _, heads in sets} == {6}
    top = set(sets[0][2])
    assert all(not top & set(heads) for group, _, heads in sets if group != "top")
    assert [g for g, _, _ in curve_sets(one, 0.75)] == ["top", "bottom"]  # no room for controls


@pytest.fixture(scope="module")
def small(llama: Any, tokenizer: Any) -> dict[str, Any]:
    probes = al.key_value_probes(
        tokenizer, n=2, max_tokens=420, shots=1, values=["ab", "bc", "cd", "de"]
    )
    needles = al.needle_probes(tokenizer, lengths=(280,), depths=(0, 1))
    text = [al.Trace("t", "one two", "three four five")]
    return {
        "model": llama,
        "probes": probes,
        "needles": needles,
        "text": text,
        "scores": al.retrieval_scores(llama, probes, progress=False),
    }


def test_curves_hold_every_group_and_start_at_base(small: dict[str, Any]) -> None:
    frame = ablation_curves(
        small["model"],
        small["scores"],
        small["probes"],
        traces=small["text"],
        shares=(0.2,),
        draws=2,
        progress=False,
    )
    assert set(frame["mode"]) == {"uniform", "zero", "mean"}
    counts = frame[(frame["mode"] == "zero") & (frame["k"] == 2)].groupby("heads").size()
    assert counts.to_dict() == {"top": 1, "bottom": 1, "random": 2, "same_layers": 2}
    base = frame[frame["heads"] == "base"].iloc[0]
    start = frame[(frame["heads"] == "top") & (frame["k"] == 0)].iloc[0]
    assert start["nll"] == base["nll"] and start["trace_nll"] == base["trace_nll"]
    assert base["trace_nll"] == pytest.approx(trace_nll(small["model"], small["text"]))
    top = small["scores"].top(0.2)
    with al.ablated(small["model"], top, "uniform"):
        alone = al.copy_accuracy(small["model"], small["probes"]).nll
    found = frame[(frame["heads"] == "top") & (frame["k"] == 2) & (frame["mode"] == "uniform")]
    assert float(found["nll"].iloc[0]) == pytest.approx(alone, rel=1e-5)


def test_controls_can_be_measured_at_fewer_shares(small: dict[str, Any]) -> None:
    """Shares may be counts of heads; each group has its own."""
    frame = ablation_curves(
        small["model"],
        small["scores"],
        small["probes"],
        shares=[1, 2],
        control_shares=[2],
        modes=["zero"],
        groups=("top", "random"),
        draws=2,
        progress=False,
    )
    measured = frame[frame["k"] > 0].groupby(["heads", "k"]).size().to_dict()
    assert measured == {("top", 1): 1, ("top", 2): 1, ("random", 2): 2}


def test_trace_nll_sees_the_ablation_around_it(small: dict[str, Any]) -> None:
    model, text = small["model"], small["text"]
    base = trace_nll(model, text)
    with al.ablated(model, "L0H0, L1H1, L2H2"):
        inside = trace_nll(model, text)
    expected = al.influence(model, text, "L0H0, L1H1, L2H2", controls=0, progress=False).samples
    assert inside == pytest.approx(float(expected["loss_ref"].iloc[0]), rel=1e-4)
    assert inside != pytest.approx(base, rel=1e-4)
    assert np.isnan(trace_nll(model, []))


def test_curves_give_the_loss_of_each_domain(small: dict[str, Any]) -> None:
    texts = [al.Trace(d, "one two", f"three {d} five.", domain=d) for d in ("a", "b")]
    options: dict[str, Any] = {"shares": (1,), "draws": 1, "modes": ("uniform",)}
    frame = ablation_curves(
        small["model"], small["scores"], small["probes"], traces=texts, progress=False, **options
    )
    for text in texts:
        alone = frame.loc[frame["heads"] == "base", f"trace_nll_{text.domain}"].item()
        assert alone == pytest.approx(trace_nll(small["model"], [text]))
    lost = frame[frame["heads"] == "needle removed"]
    assert lost[["trace_nll", "trace_nll_a", "trace_nll_b"]].isna().all(axis=None)


def test_rank_intervals_are_of_paired_t_tests() -> None:
    """Against scipy's, head by head; one that always leads keeps its rank, ties share one."""
    rng = np.random.default_rng(0)
    samples = rng.random((6, 2, 4)).astype(np.float32)
    samples[:, 1, 2] = 2.0 + 0.1 * rng.random(6)
    samples[:, 0, :2] = 0
    one = scores(samples)
    table = rank_table({"a": one}, top=2, n_boot=400).set_index("name")
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7, 7]
    assert table.index.tolist() == [str(head) for head in one.ranked()]
    assert tuple(table.loc["L1H2", ["lo", "hi", "in_top"]]) == (1, 1, 1)
    assert tuple(table.loc["L0H0", ["lo", "hi"]]) == tuple(table.loc["L0H1", ["lo", "hi"]])
    assert table.loc["L0H0", "hi"] == 8
    values = {str(head): samples[:, head.layer, head.head].astype(float) for head in one.ranked()}
    for name, own in values.items():
        better = worse = 0
        for other in (v for n, v in values.items() if n != name and not (v == own).all()):
            test = ttest_rel(own, other)
            better += bool(test.pvalue < 0.05 and test.statistic < 0)
            worse += bool(test.pvalue < 0.05 and test.statistic > 0)
        assert tuple(table.loc[name, ["lo", "hi"]]) == (1 + better, 8 - worse)
    drawn = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=400)
    often = []
    for counts in drawn:
        again = scores(np.repeat(samples, counts, axis=0))
        often.append([h in again.top(2) for h in one.ranked()])
    assert table["in_top"].tolist() == pytest.approx(np.mean(often, axis=0))


def test_heads_that_were_not_asked_about_have_no_rank() -> None:
    samples = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
    samples[:, 0, 0] = np.nan
    table = rank_table({"causal": scores(samples)}, top=1)
    assert len(table) == 5 and "L0H0" not in set(table["name"])
    assert rank_table({"one": scores(samples[:1])})["lo"].isna().all()
    fig = rank_figure(table, best=3)
    assert list(fig.data[0].y) == ["L1H2", "L1H1", "L1H0"]
    assert rank_figure(table.iloc[:0]).layout.annotations


def test_mirror_table_and_needle_grid(small: dict[str, Any]) -> None:
    model, heads = small["model"], small["scores"].top(2)
    texts = {"words NLL": small["text"]}
    table = mirror_table(
        model, heads, small["probes"], small["needles"], texts, draws=2, progress=False
    )
    assert table["condition"].value_counts().to_dict() == {"random": 6, "base": 3, "top": 3}
    summary = mirror_summary(table).set_index("measure")
    assert list(summary.index) == ["copy accuracy", "needle recall", "words NLL"]
    assert (summary["random_lo"] <= summary["random_hi"]).all()
    assert summary.loc["words NLL", "base"] == pytest.approx(trace_nll(model, small["text"]))
    grid = needle_grid(model, heads, small["needles"], progress=False)
    assert grid.groupby("condition").size().to_dict() == {"base": 2, "top": 2, "random": 2}
    assert set(grid["depth"]) == {0, 1} and grid["recall"].between(0, 1).all()


def test_needles_decoded_together_are_answered_as_alone(small: dict[str, Any]) -> None:
    model = small["model"]
    depths = (0, 0.25, 0.5, 0.75, 1)
    probes = al.needle_probes(model.tokenizer, 2, (280,), depths, seed=1, template="plain")
    assert len({probe.answer[0] for probe in probes}) < len(probes)  # some decode together
    for heads in (HeadSet(()), small["scores"].top(2)):
        with ablated(model, heads):
            together = needle_recall(model, probes)
            alone = [greedy(model, probe) for probe in probes]
            whole = [
                greedy_tokens(model, probe.tokens[: probe.answer[0]], len(probe.answer_tokens) + 16)
                for probe in probes
            ]
        assert list(together["id"]) == [probe.id for probe in probes]
        assert list(together["said"]) == [answer.text for answer in alone]
        assert [a.tokens for a in alone] == [tuple(before_line_break(model, w)) for w in whole]


def test_a_needle_grid_goes_on_where_it_stopped(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, heads = small["model"], small["scores"].top(2)
    options: dict[str, Any] = {"same_layers": 1, "resume": tmp_path, "progress": False}
    grid = needle_grid(model, heads, small["needles"], **options)
    assert list(dict.fromkeys(grid["condition"])) == ["base", "top", "random", "same_layers"]
    sets = {name: chosen for name, _, chosen in conditions(model, heads, 1, 0, same_layers=1)}
    layers = {name: sorted(h.layer for h in chosen) for name, chosen in sets.items()}
    assert layers["same_layers"] == layers["top"] and not set(sets["same_layers"]) & set(heads)

    def fail(*args: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("airlens.experiments.needles.needle_recall", fail)
    again = needle_grid(model, heads, small["needles"], **options)
    pd.testing.assert_frame_equal(again, grid, check_dtype=False)
    base = needle_grid(model, HeadSet(()), small["needles"], resume=tmp_path, progress=False)
    assert set(base["condition"]) == {"base"} and len(base) == len(small["needles"])
    with pytest.raises(AssertionError):  # other heads are another run
        needle_grid(model, small["scores"].top(3), small["needles"], **options)


def needle_answers(found: np.ndarray, condition: str = "base", draw: int = 0) -> pd.DataFrame:
    """Answers [needles, depths] as rows of a needle grid."""
    rows = [
        {"condition": condition, "draw": draw, "length": 64, "depth": depth / 4}
        | {"expected": f"answer {needle}", "found": bool(found[needle, depth])}
        for needle in range(found.shape[0])
        for depth in range(found.shape[1])
    ]
    return pd.DataFrame(rows)


def test_shares_of_needles_are_over_needles() -> None:
    """Wilson's interval: of independent answers as usual, of alike ones as of one each."""
    rng = np.random.default_rng(0)
    proportion_confint = pytest.importorskip("statsmodels.stats.proportion").proportion_confint
    alike = np.repeat(rng.random((40, 1)) < 0.6, 5, axis=1)
    whole = needle_summary(needle_answers(alike)).iloc[-1]
    assert np.isnan(whole["depth"])
    assert (whole["n"], whole["needles"], whole["draws"]) == (200, 40, 0)
    low, high = proportion_confint(int(alike[:, 0].sum()), 40, method="wilson")
    # Student's t instead of the normal quantile, and n - 1 in the variance.
    assert whole["lo"] == pytest.approx(low, abs=0.01)
    assert whole["hi"] == pytest.approx(high, abs=0.01)
    apart = rng.random((200, 1)) < 0.6
    cell = needle_summary(needle_answers(apart)).iloc[0]
    low, high = proportion_confint(int(apart.sum()), 200, method="wilson")
    assert (cell["lo"], cell["hi"]) == pytest.approx((low, high), abs=0.004)
    sure = needle_summary(needle_answers(np.ones((6, 5), bool))).iloc[-1]
    assert 0.4 < sure["lo"] < 0.6  # six needles, not thirty answers
    assert sure["hi"] == 1


def test_what_the_heads_cost_is_found_needle_by_needle() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((20, 1)) < 0.5
    base = np.repeat(hard, 5, axis=1)
    parts = [needle_answers(base), needle_answers(base & (rng.random((20, 5)) < 0.2), "top")]
    parts += [
        needle_answers(base & (rng.random((20, 5)) < 0.8), "random", draw) for draw in range(4)
    ]
    costs = needle_costs(pd.concat(parts)).set_index(["length", "against"])
    assert costs.loc[(64, "random"), "hi"] < 0
    assert costs.loc[(64, "random"), ["needles", "draws"]].tolist() == [20, 4]
    assert costs["draws"].tolist() == [0, 4, 0, 4]


def test_say_gives_tokens_of_three_models(small: dict[str, Any]) -> None:
    said = say(small["model"], "hello", small["scores"].top(2), max_tokens=4)
    assert set(said["condition"]) <= {"base", "top", "random"}
    assert list(said.columns) == ["condition", "pos", "token"]


def test_value_corpora() -> None:
    for name in CORPORA:
        values = value_corpus(name, n=50)
        assert len(set(values)) == 50 and values == value_corpus(name, n=50)
        assert not any('"' in v or "\\" in v for v in values)
    with pytest.raises(ConfigError, match="use one of prose"):
        value_corpus("latin")


@pytest.mark.parametrize("style", ["literal", "paraphrase"])
def test_needle_probes(tokenizer: Any, style: Any, tmp_path: Path) -> None:
    probes = al.needle_probes(tokenizer, n=3, lengths=(400, 600), depths=(0, 0.5, 1), style=style)
    assert len(probes) == 18 and len({p.id for p in probes}) == 18
    for probe in probes:
        assert len(probe.tokens) <= probe.meta["length"]
        needle = tokenizer.decode(probe.tokens[slice(*probe.needle)])
        answer = tokenizer.decode(probe.answer_tokens).strip()
        assert (answer in needle) == (style == "literal")
        assert "Question:" in tokenizer.decode(probe.tokens[slice(*probe.meta["query"])])
        assert "N/A" in tokenizer.decode(probe.meta["null_query"])
        cut = probe.without_needle()
        assert needle not in tokenizer.decode(cut.tokens)
    first, last = probes[0], probes[2]
    assert first.needle[0] < last.needle[0]
    assert al.ProbeSet.load(probes.save(tmp_path / "p.json")) == probes
    assert (
        probes.hash
        == al.needle_probes(
            tokenizer, n=3, lengths=(400, 600), depths=(0, 0.5, 1), style=style
        ).hash
    )
    for bad, match in (
        ({"style": "x"}, "style"),
        ({"depths": (2,)}, "depth"),
        ({"lengths": (20,)}, "too short"),
    ):
        with pytest.raises(ConfigError, match=match):
            al.needle_probes(tokenizer, **bad)


def test_published_scores(tmp_path: Path) -> None:
    path = tmp_path / "some-7b.json"
    path.write_text('{"0-0": [0, 0.5], "0-1": [1, 1], "1-0": [0.25], "1-1": []}')
    found = al.load_published_scores(path)
    np.testing.assert_allclose(found.scores, [[0.25, 1], [0.25, np.nan]])
    assert found.samples.shape == (2, 2, 2) and found.top(1).names() == ["L0H1"]
    assert found.provenance["probes"]["hash"] is None
    for text in ("[1]", '{"a": [1]}', "{}", "no"):
        path.write_text(text)
        with pytest.raises(DataError):
            al.load_published_scores(path)


def test_wu_et_al_files(shared_data: Path) -> None:
    """Llama-2-7B-80k: 32 layers of 32 heads, and L16H19 their best-known head."""
    path = shared_data / "retrieval_head_scores" / "llama-2-7b-80k.json"
    if not path.exists():
        pytest.skip("AIRLENS_DATA has no retrieval_head_scores")
    found = al.load_published_scores(path)
    assert found.scores.shape == (32, 32)
    assert found.top(1).names() == ["L16H19"]
    assert 0.01 < float((found.scores > 0.1).mean()) < 0.08
