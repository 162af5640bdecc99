"""Early answers: plain Hugging Face, a loop over cuts, heads whose copying is known, thoughts."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from chat_templates import TEMPLATES, byte_tokenizer
from handmade import VOCAB, induction_model
from test_sources import letters
from tiny_zoo import hf_model, tiny

import airlens as al
from airlens.errors import ConfigError, DataError
from airlens.losses.fast.fast_model import fast_model
from airlens.step_influence.cut_losses import Said, looped
from airlens.step_influence.cut_passes import forked
from airlens.step_influence.early_answers import (
    CONTROL_COLUMNS,
    DEPEND_COLUMNS,
    SAMPLE_COLUMNS,
    STEP_COLUMNS,
    _answer_now,
    _decided,
)
from airlens.step_influence.forcing import cut_trace, ended
from airlens.traces.answers import named_answer, says, states, without_ending
from airlens.traces.encoding import encode_trace

HEADS = "L0H1, L1H3, L1H2"
LINES = "first 3\nthen 3 first 4\nso 3 and 4\nend first\n#### 34"
TRACES = [
    al.Trace("a", "1 + 2? It is this: 3 and 4.\nSecond line.", LINES, "maths").with_steps("line"),
    al.Trace("n", "q", "no answer here"),
    al.Trace("c", "hi there", "one step. only \\boxed{7}.").with_steps("sentence"),
]


def early(model: Any, traces: Any = TRACES, heads: Any = HEADS, **options: Any) -> al.EarlyAnswers:
    return al.early_answers(model, traces, heads, **{"controls": 2, "progress": False, **options})


@pytest.fixture(scope="module")
def result() -> al.EarlyAnswers:
    return early(tiny("llama"), depends=("direct", "total"))


def test_columns_are_the_documented_ones(result: al.EarlyAnswers) -> None:
    assert list(result.steps) == STEP_COLUMNS
    assert list(result.depends) == DEPEND_COLUMNS
    assert list(result.samples) == SAMPLE_COLUMNS
    assert list(result.controls) == CONTROL_COLUMNS
    assert result.steps["step"].tolist() == [-1, 0, 1, 2, 3, 4, -1, 0]
    assert result.provenance["forcing_text"] == "The final answer is"
    assert result.provenance["control"] == "same_layers"


def test_a_trace_without_an_answer_is_reported(
    result: al.EarlyAnswers, caplog: pytest.LogCaptureFixture
) -> None:
    samples = result.samples.set_index("id")
    assert samples["missing"].to_dict() == {"a": "", "n": "no answer", "c": ""}
    assert samples.loc["n", ["area", "decided_at"]].isna().all()
    assert "n" not in set(result.steps["id"])
    early(tiny("llama"), TRACES[1], controls=0)
    assert "1 of 1 traces left out: no answer ('n')" in caplog.text


def test_equals_plain_hugging_face(result: al.EarlyAnswers) -> None:
    """The text up to each cut, forcing text and answer by hand, and log-softmax at each token."""
    model, hf = tiny("llama"), hf_model("llama")
    encoded = encode_trace(model.tokenizer, TRACES[0])
    ids = lambda text: model.tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    rows = result.steps[result.steps["id"] == "a"].set_index("step")
    for step in range(-1, 5):
        at = encoded.response_start + int((encoded.step <= step).sum())
        # a tokenizer of bytes; every line but the last one ends in a line break
        before = [
            *encoded.tokens[:at],
            *ids("The final answer is" if step < 4 else "\nThe final answer is"),
        ]
        for column, answer in (("logp_base", " 34"), ("logp_contrast", " 35")):
            tokens = torch.tensor([[*before, *ids(answer)]])
            with torch.inference_mode():
                logp = hf(tokens).logits[0].float().log_softmax(-1)
            total = sum(
                float(logp[i - 1, tokens[0, i]]) for i in range(len(before), tokens.shape[1])
            )
            assert rows.loc[step, column] == pytest.approx(total, abs=1e-4)
    gains = rows["logp_base"].diff()
    np.testing.assert_allclose(rows["gain"], gains)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss", "mistral", "gpt2"])
def test_equals_the_loop_under_hooks(kind: str) -> None:
    options = {"depends": ("direct", "total"), "contrast": "last", "traces": [TRACES[0]]}
    fast = early(tiny(kind), engine="fast", controls=1, **options)
    loop = early(tiny(kind), engine="hooks", controls=1, **options)
    assert (fast.provenance["engine"], loop.provenance["engine"]) == ("fast", "hooks")
    for name in ("steps", "depends", "samples", "controls"):
        pd.testing.assert_frame_equal(
            getattr(fast, name), getattr(loop, name), atol=1e-4, rtol=1e-4
        )
    if kind != "mistral":  # whose window ends before the steps
        assert fast.depends[["direct", "total"]].abs().max().min() > 1e-3


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_equals_the_loop_in_each_mode(mode: Any) -> None:
    options = {"mode": mode, "depends": (), "controls": 1, "traces": [TRACES[0]]}
    fast, loop = (early(tiny("qwen3"), engine=e, **options) for e in ("fast", "hooks"))
    pd.testing.assert_frame_equal(fast.steps, loop.steps, atol=1e-4, rtol=1e-4)
    assert (fast.steps["logp_ref"] - fast.steps["logp_base"]).abs().max() > 1e-3


def test_more_cuts_than_share_one_attention() -> None:
    lines = "".join(f"{i}\n" for i in range(16)) + "#### 15"
    trace = al.Trace("long", "count", lines).with_steps("line")
    fast, loop = (
        early(tiny("mistral"), trace, controls=0, contrast="none", engine=e)
        for e in ("fast", "hooks")
    )
    assert len(fast.steps) == 18
    pd.testing.assert_frame_equal(fast.steps, loop.steps, atol=1e-4, rtol=1e-4)
    pd.testing.assert_frame_equal(fast.depends, loop.depends, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_an_answer_that_the_model_gives_itself(kind: str) -> None:
    model = tiny(kind)
    heads = [al.HeadSet.parse(HEADS), al.HeadSet.parse("L1H0")]
    cut = cut_trace(model.tokenizer, encode_trace(model.tokenizer, TRACES[0], "plain"), 2048)
    said = looped(model, cut, heads, [], "uniform").said
    # Its own answer behind each other cut: those rows are read with the trace.
    own = [replace(c, answer=s.tokens[:3]) for c, s in zip(cut.cuts, said, strict=True)]
    cut = replace(cut, cuts=tuple(c if i % 2 else own[i] for i, c in enumerate(cut.cuts)))
    loop = looped(model, cut, heads, heads[1:], "uniform")
    for budget in (None, 32):
        fast = forked(model, cut, heads, heads[1:], "uniform", None, budget)
        for name in ("said", "said_ref"):
            one, other = getattr(fast, name), getattr(loop, name)
            assert [s.tokens for s in one] == [s.tokens for s in other]
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(a.logp, b.logp, atol=1e-4)
        for name in ("answer", "contrast", "direct"):
            np.testing.assert_allclose(getattr(fast, name), getattr(loop, name), atol=1e-4)


def test_no_heads_change_nothing_to_the_bit() -> None:
    found = early(tiny("llama"), TRACES[0], "", depends=("direct", "total"))
    assert (found.steps["logp_ref"] == found.steps["logp_base"]).all()
    assert (found.steps["right_ref"] == found.steps["right_base"]).all()
    assert (found.depends[["direct", "total"]] == 0).all().all()
    assert found.depends["direct_all"].abs().max() > 1e-3
    assert found.controls.empty


def test_an_answer_copied_by_one_head_depends_on_the_one_step_that_has_it() -> None:
    assert len(letters()) == VOCAB
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    fast_model(model).verdict = ""  # logits of 60: see tests of sources
    trace = al.Trace("x", "", "s t\na b c\nd e f\ng h i", answer="c").with_steps("line")
    found = early(
        model, trace, "L1H0", controls=0, forcing="a b", depends=("direct", "total"), engine="fast"
    )
    steps = found.steps.set_index("step")
    # Known once step 1 is there: the head copies what came after "a b" then.
    assert steps["gain"].idxmax() == 1
    assert steps["gain"][1] > 5
    assert steps["answer_now"][1].startswith("c")
    assert steps["right_base"].tolist() == [False, False, True, True, True]
    assert not steps["right_ref"].any()
    assert found.samples.loc[0, "decided_at"] == 1
    assert steps["states_answer"].tolist() == [False, False, True, False, False]


def test_what_hiding_a_step_does_is_known_for_a_copying_head() -> None:
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    fast_model(model).verdict = ""
    # The last step writes the answer; what it is copied from is step 1.
    trace = al.Trace("x", "", "s t\na b c\nd e f\nc", answer="c").with_steps("line")
    found = early(model, trace, "L1H0", controls=0, forcing="a b", engine="fast")
    assert found.samples.loc[0, "asked_after"] == 2
    direct = found.depends.set_index("step")["direct"]
    assert direct[1] > 5
    assert direct.drop(1).abs().max() < 0.01 * direct[1]


@pytest.mark.parametrize("template", ["qwen 3", "qwen 3 thinking", "r1 distill", "plain"])
def test_a_thought_is_closed_before_the_answer_is_asked_for(template: str) -> None:
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.chat_template = TEMPLATES.get(template)
    response = "<think>\none\ntwo\n</think>\n\nIt is 2.\n#### 2"
    encoded = encode_trace(tokenizer, al.Trace("t", "1 + 1?", response).with_steps("line"))
    cut = cut_trace(tokenizer, encoded, 10_000)
    texts = [tokenizer.decode(encoded.tokens[: c.at]) for c in cut.cuts]
    asked = [tokenizer.decode(c.forcing) for c in cut.cuts]
    for text, forcing in zip(texts, asked, strict=True):
        both = text + forcing
        assert both.count("<think>") == both.count("</think>")
        assert both.endswith("\nThe final answer is")
        closed = "</think>" in text
        assert ("</think>" in forcing) is (not closed and "<think>" in text)
    assert "</think>" in asked[2]
    assert "</think>" not in asked[-1]


def test_cuts_that_the_context_does_not_hold_are_counted() -> None:
    encoded = encode_trace(tiny("llama").tokenizer, TRACES[0])
    whole = cut_trace(tiny("llama").tokenizer, encoded, 10_000)
    some = cut_trace(tiny("llama").tokenizer, encoded, whole.cuts[2].length)
    assert (len(whole.cuts), len(some.cuts), some.n_left_out) == (6, 3, 3)
    none = cut_trace(tiny("llama").tokenizer, encoded, 10)
    assert none.missing == "longer than the context"


def test_the_contrast_is_wrong_and_as_long() -> None:
    tokenizer = tiny("llama").tokenizer
    for answer, near in (("34", "35"), ("199", "190"), ("B", "A"), ("a cat", "")):
        encoded = encode_trace(tokenizer, al.Trace("x", "q", "text", answer=answer))
        cut = cut_trace(tokenizer, encoded, 1000)
        assert cut.contrast == near
        assert len(cut.cuts[0].contrast) in (0, len(cut.cuts[0].answer))
    encoded = encode_trace(tokenizer, TRACES[0])
    cut = cut_trace(tokenizer, encoded, 1000, contrast="last")
    said = [tokenizer.decode(c.contrast) for c in cut.cuts]
    assert said == [" 4", " 3", " 4", " 4", " 4", " 4"]


def test_where_an_answer_is_found() -> None:
    made = lambda text, **more: al.Trace("x", "q", text, **more)  # noqa: E731
    assert named_answer(made("1 + 1 = 2\n#### 2")) == ("2", "hashes")
    assert named_answer(made(r"so \boxed{\frac{1}{2}}.")) == (r"\frac{1}{2}", "boxed")
    assert named_answer(made("#### 2", answer="7")) == ("7", "field")
    assert named_answer(made("The answer is (C).")) == ("C", "option")
    assert named_answer(made("#### 2", answer="7"), "hashes") == ("2", "hashes")
    assert named_answer(made("#### 2"), "boxed") is None
    found = early(tiny("llama"), TRACES[1], controls=0, depends=(), answers=lambda t: "here")
    assert found.samples.loc[0, ["answer", "answer_from"]].tolist() == ["here", "function"]


def test_what_counts_as_stating_and_saying() -> None:
    assert states("48 + 24 = 72 clips", "72")
    assert states("so 1,234.", "1234")
    assert not states("172, 7.2 and 72.5", "72")
    assert says("$72 a day", "72")
    assert says(" 45.", "$45")
    assert says(" $45", "$45")
    assert says(r" \(\boxed{72}\)", "72")
    assert not says("720", "72")
    assert not says("it is 72", "72")


def test_where_a_greedy_answer_ends() -> None:
    tokenizer = tiny("llama").tokenizer
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    assert ended(tokenizer, ids(" 72")) is None
    assert ended(tokenizer, ids(" 72.")) is None
    assert ended(tokenizer, ids(" 72. The")) == 3
    assert ended(tokenizer, ids(" 72.5\nso")) == 5
    assert ended(tokenizer, [*ids(" 7"), tokenizer.eos_token_id]) == 2


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (" 72.", "72"),
        (" 72.\n", "72"),
        ("72}$.", "72"),
        ("72}.\nSo", "72"),
        (" 7.5. Then", "7.5"),
        ("\\frac{1}{2}}.", "\\frac{1}{2}"),
        (" \\{1, 2\\}.", "\\{1, 2\\}"),
        ("$x$.", "$x$"),
        (".", ""),
    ],
)
def test_an_answer_is_given_without_what_ends_it(said: str, answer: str) -> None:
    """Also its probability: each byte has .5, and those of the ending do not count."""
    model = tiny("llama")
    tokens = tuple(model.tokenizer(said, add_special_tokens=False)["input_ids"])
    text, p = _answer_now(model, Said(tokens, (float(np.log(0.5)),) * len(tokens)))
    assert text == answer == without_ending(answer)
    lead = len(said) - len(said.lstrip()) if answer else 0
    assert p == pytest.approx(0.5 ** (len(answer) + lead))
    assert says(text, answer)


def test_decided_is_the_first_step_after_which_all_are_right() -> None:
    table = pd.DataFrame({"step": [-1, 0, 1, 2, 3], "right": [False, True, False, True, True]})
    assert _decided(table, "right") == 2
    assert _decided(table.head(3), "right") is None
    assert _decided(table.tail(2), "right") == 2


def test_is_saved_and_loaded(result: al.EarlyAnswers, tmp_path: Path) -> None:
    again = al.EarlyAnswers.load(result.save(tmp_path / "early"))
    for name in ("steps", "depends", "samples", "controls"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    assert again.provenance == result.provenance
    (tmp_path / "early" / "depends.parquet").unlink()
    with pytest.raises(DataError, match="not saved early answers"):
        al.EarlyAnswers.load(tmp_path / "early")


@pytest.mark.parametrize(
    ("option", "value"),
    [("forcing", " "), ("contrast", "far"), ("answers", "elsewhere"), ("depends", ["sideways"])],
)
def test_a_wrong_option_names_those_there_are(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        early(tiny("llama"), **{option: value})


def test_selects_samples_and_weighs_steps(result: al.EarlyAnswers) -> None:
    samples = result.samples.set_index("id")
    rows = result.steps[result.steps["id"] == "a"].set_index("step")
    # asked before the last step, which writes the answer
    assert samples.loc["a", "gain"] == pytest.approx(
        rows.loc[3, "logp_base"] - rows.loc[-1, "logp_base"]
    )
    falls = result.depends.loc[result.depends["id"] == "a", "direct"]
    assert samples.loc["a", "depends"] == pytest.approx(falls.sum())
    chosen = al.select(result.samples, by="gain", top=1, within=None)
    assert chosen.ids == [samples["gain"].idxmax()]
    found = al.influence(tiny("llama"), [TRACES[0], TRACES[2]], HEADS, controls=0, progress=False)
    joined = result.on_steps(found.steps)
    assert len(joined) == len(found.steps)
    assert joined.loc[joined["step"] == 4, "depends"].tolist() == [0.0]
    for by in ("gain", "depends"):
        table = al.step_weights(joined, "linear", by=by).table
        best = table.loc[table[table["id"] == "a"]["weight"].idxmax(), "step"]
        assert best == joined.loc[joined[joined["id"] == "a"][by].idxmax(), "step"]
    with pytest.raises(ConfigError, match="early_answers"):
        al.select(found.samples, by="gain")
