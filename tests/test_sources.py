"""Sources: hand-made heads, a slow second implementation, identities, both engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from handmade import VOCAB, induction_model
from tiny_zoo import ARCHITECTURES, WINDOW, tiny

import airlens as al
from airlens.errors import AblationError, ConfigError, DataError
from airlens.heads import Head, HeadSet
from airlens.losses.choice import choose_engine
from airlens.losses.fast import knockout as fast
from airlens.losses.fast.fast_model import fast_model
from airlens.losses.fast.packed_attention import Plan, _packed
from airlens.losses.fast.packing import Segment
from airlens.losses.fast.past import Past
from airlens.losses.hooks import kl_divergence
from airlens.losses.knockout import knocked_out
from airlens.losses.windows import Window
from airlens.model.heads import heads_of
from airlens.step_sources.hook_reading import sliding_window
from airlens.step_sources.source_tables import COLUMNS
from airlens.step_sources.source_units import units_of
from airlens.traces.encoding import encode_trace

ALL: Any = ("copies", "attention", "knockout")
HEADS = "L0H1, L1H3, L1H2"
PROMPT = "1 + 2? It is this: 3 and 4.\nSecond line."
TRACES = [
    al.Trace("a", PROMPT, "first 3\nthen 3 first 4\nso 3 and 4\nend first").with_steps("line"),
    al.Trace("b", "", "a document. A document without a prompt. A doc.").with_steps("sentence"),
    al.Trace("c", "hi there", "one step only"),
]


def measured(model: Any, traces: Any = TRACES, heads: Any = HEADS, **options: Any) -> al.Sources:
    return al.sources(
        model, traces, heads, **{"measures": ALL, "controls": 1, "progress": False, **options}
    )


# Heads whose sources are known ------------------------------------------------------------------


def letters() -> Any:
    """A token a word: <s> and 23 letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", *"abcdefghijklmnopqrstuvw"]
    tok = Tokenizer(models.WordLevel(vocab={n: i for i, n in enumerate(names)}, unk_token="<s>"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tok, unk_token="<s>", eos_token="<s>")


@pytest.fixture(scope="module")
def induction() -> Any:
    assert len(letters()) == VOCAB
    model = al.load_model(induction_model(), tokenizer=letters(), device="cpu")
    # Logits of 60 move by more than the engines' tolerance with the order of summation alone.
    fast_model(model).verdict = ""
    return model


LINES = "s t\na b c\nd e f\ng h i\na b c"


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_an_induction_head_copies_from_the_one_known_step(induction: Any, engine: Any) -> None:
    trace = al.Trace("x", "", LINES).with_steps("line")
    found = measured(induction, trace, "L1H0", controls=0, engine=engine)
    events = found.events
    assert list(zip(events["token"], events["source_index"], events["pos"], strict=True)) == [
        ("b", 3, 12),
        ("c", 4, 13),
    ]
    assert (events["source"] == 1).all()
    assert (events["weight"] > 0.99).all()
    last = found.pairs[found.pairs["step"] == 4].set_index("source")
    # two of the three tokens of the last step; the first has nothing to be copied by
    assert last["copies"].to_dict() == {0: 0, 1: pytest.approx(2 / 3), 2: 0, 3: 0}
    assert last.loc[1, "knockout"] > 5
    # The first token of the step was never seen before: its head looks about, a little anywhere.
    assert last["knockout"].drop(1).abs().max() < 0.01 * last.loc[1, "knockout"]
    others = found.pairs[found.pairs["step"] < 4]
    assert others["copies"].max() == 0
    assert found.steps["copied"].tolist() == [0, 0, 0, 0, pytest.approx(2 / 3)]


def test_prompt_units_are_sources(induction: Any) -> None:
    trace = al.Trace("x", "s t\na b c\nd e f", "g h\na b c").with_steps("line")
    found = measured(induction, trace, "L1H0", controls=0)
    assert found.units["unit"].tolist() == [-3, -2, -1, 0, 1]
    pairs = found.pairs.set_index(["step", "source"])
    assert pairs.loc[(1, -2), "copies"] == pytest.approx(2 / 3)
    assert pairs.loc[(1, -2), "knockout"] > 5
    assert pairs.loc[(1, -2), "kind"] == "prompt"
    assert np.isnan(pairs.loc[(1, -2), "distance"])
    assert pairs.loc[(1, 0), "distance"] == 1


# Both engines, every architecture ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_shares_of_attention_add_up_to_one(kind: str) -> None:
    steps = measured(tiny(kind), measures=("copies", "attention")).steps
    for suffix in ("", "_control"):
        total = steps[[n + suffix for n in ("sources", "self", "template", "sink")]].sum(axis=1)
        np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (steps["sink"] > -1e-6).all()
    assert steps["sink"].max() > 0.01


@pytest.mark.parametrize("kind", [k for k in ARCHITECTURES if k not in ("opt",)])
def test_equals_the_hooks(kind: str) -> None:
    model = tiny(kind)
    slow, quick = (measured(model, engine=engine) for engine in ("hooks", "auto"))
    assert quick.provenance["engine"] == choose_engine(model, "auto")
    for name in ("pairs", "steps"):
        pd.testing.assert_frame_equal(getattr(slow, name), getattr(quick, name), atol=1e-5)
    pd.testing.assert_frame_equal(slow.events, quick.events, atol=1e-5)
    assert slow.pairs["knockout"].abs().max() > 1e-4


def test_opt_is_knocked_out_by_the_fast_engine_alone() -> None:
    assert measured(tiny("opt")).pairs["knockout"].abs().max() > 1e-4
    with pytest.raises(AblationError, match="engine='auto'"):
        measured(tiny("opt"), engine="hooks")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_knockout_equals_the_pattern_renormalised(kind: str) -> None:
    """Heads of the last layer: z is the base pattern without the source, rescaled, times v."""
    model = tiny(kind)
    window = Window(np.random.default_rng(0).integers(3, 250, 24).tolist(), 1, 0)
    tokens, span, heads = torch.tensor([window.tokens]), (5, 9), [0, 3]
    kept: dict[str, torch.Tensor] = {}

    def keep(value: torch.Tensor, hook: Any, name: str) -> None:
        kept[name] = value.clone()

    at = "blocks.1.attn."
    hooks = [(at + name, partial(keep, name=name)) for name in ("hook_pattern", "hook_v")]
    with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
        model(tokens)
    pattern, v = kept["hook_pattern"][0], kept["hook_v"][0]

    def put(z: torch.Tensor, hook: Any) -> torch.Tensor:
        z = z.clone()
        for head in heads:
            weights = pattern[head].clone()
            lost = weights[span[1] :, span[0] : span[1]].sum(-1, keepdim=True)
            weights[span[1] :, span[0] : span[1]] = 0
            weights[span[1] :] /= 1 - lost
            if kind == "gpt_oss":  # the sink's weight is shared among none but the positions
                sink = model.original_model.model.layers[1].self_attn.sinks[head].exp()
                whole = pattern[head].sum(-1, keepdim=True)
                scores = sink / (1 - whole) - sink  # sum of exp(score) over what was visible
                share = scores * pattern[head] / whole
                share[span[1] :, span[0] : span[1]] = 0
                weights = share / (share.sum(-1, keepdim=True) + sink)
            z[0, :, head] = weights @ v[:, head // (z.shape[2] // v.shape[1])]
        return z

    target = tokens[0, 1:]
    with torch.inference_mode(), model.hooks(fwd_hooks=[(at + "hook_z", put)]):
        logits = model(tokens)[0, :-1]
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none").numpy()
    run = fast.knocked_out if choose_engine(model, "auto") == "fast" else knocked_out
    out = run(model, window, [span], [HeadSet(tuple(Head(1, h) for h in heads))])
    base, found = out.base, out.nll
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)
    assert np.abs(found[0, 0] - base).max() > 1e-3
    np.testing.assert_allclose(found[0, 0, : span[1]], base[: span[1]], atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom"])
def test_copies_and_attention_equal_a_slow_implementation(kind: str) -> None:
    model, trace = tiny(kind), TRACES[0]
    heads = HeadSet.parse(HEADS)
    encoded = encode_trace(model.tokenizer, trace)
    patterns = {}
    for layer in (0, 1):
        with (
            torch.inference_mode(),
            model.hooks(
                fwd_hooks=[
                    (
                        f"blocks.{layer}.attn.hook_pattern",
                        lambda p, hook, i=layer: patterns.update({i: p[0].double().numpy()}),
                    )
                ]
            ),
        ):
            model(torch.tensor([encoded.tokens]))
    found = measured(model, trace)
    place = dict(zip(found.tokens["index"], found.tokens["unit"], strict=True))
    rows = {}
    for t in range(encoded.response_start, len(encoded.tokens)):
        step = int(encoded.step[t - encoded.response_start])
        mass: dict[Any, float] = {}
        copied = set()
        for head in heads:
            weights = patterns[head.layer][head.head][t - 1]
            for j, weight in enumerate(weights):
                if place[j] is not pd.NA:
                    mass[place[j]] = mass.get(place[j], 0) + weight / len(heads)
            best = int(weights.argmax())
            if encoded.tokens[best] == encoded.tokens[t] and place[best] is not pd.NA:
                copied.add(place[best])
        rows[t] = (step, mass, copied)
    for row in found.pairs.to_dict("records"):
        mine = [r for r in rows.values() if r[0] == row["step"]]
        attention = np.mean([r[1].get(row["source"], 0) for r in mine])
        assert row["attention"] == pytest.approx(attention, abs=1e-5)
        assert row["attention_per_token"] == pytest.approx(
            attention / row["n_source_tokens"], abs=1e-5
        )
        assert row["copies"] == pytest.approx(np.mean([row["source"] in r[2] for r in mine]))
    assert found.pairs["copies"].max() > 0


def test_knocking_nothing_out_changes_nothing() -> None:
    model = tiny("llama")
    window = Window(list(range(3, 33)), 1, 0)
    for run in (knocked_out, fast.knocked_out):
        out = run(model, window, [(30, 30)], [HeadSet.parse("L1H1")], kl=True)
        np.testing.assert_allclose(out.nll[0, 0], out.base, atol=1e-6)
        assert out.kl is not None
        assert not out.kl.any()
        out = run(model, window, [(4, 8)], [HeadSet(())])
        np.testing.assert_allclose(out.nll[0, 0], out.base, atol=1e-6)
        assert out.kl is None


def suppressed(model: Any, tokens: torch.Tensor, span: Any, first: int, heads: Any) -> Any:
    """Logits [T, V] without a span, for rows from ``first`` on: patterns renormalised, by hand."""

    def put(pattern: torch.Tensor, hook: Any, indices: list[int]) -> torch.Tensor:
        pattern = pattern.clone()
        for head in indices:
            for row in range(first, pattern.shape[-1]):
                weights = pattern[0, head, row]
                weights[span[0] : span[1]] = 0
                if weights.sum() == 0:
                    weights[row] = 1
                weights /= weights.sum()
        return pattern

    hooks = [
        (f"blocks.{layer}.attn.hook_pattern", partial(put, indices=indices))
        for layer, indices in heads.by_layer().items()
    ]
    with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
        return model(tokens)[0]


@pytest.mark.parametrize("hidden_from", ["after", "inside"])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "mistral", "bloom"])
def test_loss_and_kl_equal_a_slow_suppression(kind: str, hidden_from: Any) -> None:
    """With sliding windows of 8 and longer sources, rows inside a source may see nothing else."""
    model, trace, heads = tiny(kind), TRACES[0], HeadSet.parse(HEADS)
    encoded = encode_trace(model.tokenizer, trace)
    units, tokens = units_of(encoded), torch.tensor([encoded.tokens])
    begin = encoded.response_start
    with torch.inference_mode():
        whole = model(tokens)[0].double()
    distribution = torch.distributions.Categorical
    losses = partial(torch.nn.functional.cross_entropy, reduction="none")
    options = {"kl": True, "hidden_from": hidden_from, "controls": 0}
    slow, quick = (measured(model, trace, engine=e, **options).pairs for e in ("hooks", "auto"))
    own = 2 + len(units.prompt)
    assert any(stop - first > WINDOW for first, stop in map(units.span, range(2, own)))
    for source in sorted(set(slow["source"])):
        span = units.span(own + source)
        first = span[0] if hidden_from == "inside" else span[1]
        other = suppressed(model, tokens, span, first, heads).double()
        p, q = (distribution(logits=x[begin - 1 : -1]) for x in (whole, other))
        kl = torch.distributions.kl_divergence(p, q).numpy()
        rise = (losses(q.logits, tokens[0, begin:]) - losses(p.logits, tokens[0, begin:])).numpy()
        for pairs in (slow, quick):
            mine = pairs[pairs["source"] == source]
            steps = [encoded.step == step for step in mine["step"]]
            expected = [kl[step].mean() for step in steps]
            np.testing.assert_allclose(mine["knockout_kl"], expected, atol=3e-7)
            expected = [rise[step].mean() for step in steps]
            np.testing.assert_allclose(mine["knockout"], expected, atol=1e-5)
    assert slow["knockout_kl"].max() > 2e-5


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "gpt_oss", "qwen3", "falcon", "mixtral"])
def test_inside_equals_the_hooks(kind: str) -> None:
    options: dict[str, Any] = {"hidden_from": "inside", "kl": True}
    slow, quick = (measured(tiny(kind), TRACES[0], engine=e, **options) for e in ("hooks", "auto"))
    pd.testing.assert_frame_equal(slow.pairs, quick.pairs, atol=1e-5)
    assert slow.pairs["knockout_kl_control"].max() > 1e-6


def test_all_heads_tell_the_readings_apart_in_the_next_token_alone() -> None:
    model = tiny("llama")
    window = Window(np.random.default_rng(0).integers(3, 250, 30).tolist(), 1, 0)
    heads, span = heads_of(model).all_heads(), (5, 12)
    for run in (knocked_out, fast.knocked_out):
        after = run(model, window, [span], [heads], kl=True)
        inside = run(model, window, [span], [heads], inside=True, kl=True)
        for name in ("nll", "kl"):
            a, b = getattr(after, name)[0, 0], getattr(inside, name)[0, 0]
            apart = np.abs(a - b) > 1e-5  # token 1 is the first that is scored
            assert np.flatnonzero(apart).tolist() == list(range(span[0], span[1])), name
            np.testing.assert_allclose(a[~apart], b[~apart], atol=1e-6)


def test_kl_costs_the_other_columns_not_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("qwen3")
    for engine in ("hooks", "fast"):
        plain, more = (measured(model, TRACES[0], engine=engine, kl=x).pairs for x in (False, True))
        assert [name for name in more if name not in plain] == [
            "knockout_kl",
            "knockout_kl_control",
        ]
        pd.testing.assert_frame_equal(plain, more[list(plain)], check_exact=True)
    monkeypatch.setattr("airlens.losses.fast.fast_losses.LOGIT_BYTES", 1)  # 16 rows at once
    chunks = measured(model, TRACES[0], engine="fast", kl=True).pairs
    pd.testing.assert_frame_equal(more, chunks, atol=1e-6)


def test_kl_divergence_is_torchs_own() -> None:
    base, other = torch.randn(7, 50), torch.randn(7, 50)
    p, q = (torch.distributions.Categorical(logits=x.double()) for x in (base, other))
    expected = torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(kl_divergence(base, other).double(), expected, atol=1e-6, rtol=0)
    base[:, 3] = other[:, 3] = -float("inf")  # a token that the model rules out
    left = [x[:, [i for i in range(50) if i != 3]] for x in (base, other)]
    torch.testing.assert_close(kl_divergence(base, other), kl_divergence(*left), atol=1e-6, rtol=0)
    assert kl_divergence(base, base + 3).max() < 1e-6
    assert kl_divergence(base, base + 3).min() >= 0


def test_heads_of_the_same_group_are_not_touched() -> None:
    q, k, v = torch.randn(1, 4, 12, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    before = Past()
    before.keep(1, k[:, :, :6], v[:, :, :6])
    segment = Segment(0, 6, np.arange(12))
    plan = Plan([segment], before=before)
    options = {"window": None, "softcap": None, "sinks": None}
    whole = _packed(plan, q[:, :, 6:], k, v, 0.3, options, [])
    blocked = _packed(plan, q[:, :, 6:], k, v, 0.3, options, [(0, [1], 2, 5)])
    assert torch.equal(whole[:, :, [0, 2, 3]], blocked[:, :, [0, 2, 3]])
    assert not torch.allclose(whole[:, :, 1], blocked[:, :, 1])


@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_any_budget_gives_the_same(budget: int) -> None:
    model = tiny("qwen3")
    whole, parts = measured(model), measured(model, max_tokens_per_batch=budget)
    pd.testing.assert_frame_equal(whole.pairs, parts.pairs, atol=1e-5)


# What can be seen, what is measured --------------------------------------------------------------


def test_a_sliding_window_says_what_is_out_of_sight() -> None:
    model = tiny("mistral")
    assert sliding_window(model, 0) == WINDOW
    pairs = measured(model).pairs
    hidden = pairs[pairs["visible"] == 0]
    assert len(hidden)
    assert (hidden[["attention", "copies"]] == 0).all(axis=None)
    # A head that cannot see a source loses nothing with it, nor do the layers above it.
    seen = pairs[pairs["visible"] > 0]
    assert ((seen["visible"] <= 1) & (seen["attention"] > 0)).all()
    assert (measured(tiny("llama")).pairs["visible"] == 1).all()


def test_a_trace_longer_than_the_context_is_read_in_strides() -> None:
    model = tiny("gpt2")
    steps = [f"step {i} has some words in it, and a number {i * 7}." for i in range(60)]
    trace = al.Trace("long", "Count.", "\n".join(steps)).with_steps("line")
    found = measured(model, trace, measures=("copies", "attention"))
    assert len(found.tokens) > model.cfg.n_ctx
    assert (found.steps["n_tokens"] > 0).all()
    total = found.steps[["sources", "self", "template", "sink"]].sum(axis=1)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    pairs = found.pairs.set_index(["step", "source"])
    assert pairs.loc[(59, 0), "visible"] == 0
    assert pairs.loc[(59, 58), "visible"] == 1


def test_screening_knocks_out_the_most_looked_at() -> None:
    model = tiny("llama")
    every, some = measured(model, TRACES[0], screen=None), measured(model, TRACES[0], screen=2)
    assert some.pairs.loc[some.pairs["measured"], "source"].nunique() == 2
    assert some.pairs.loc[~some.pairs["measured"], "knockout"].isna().all()
    both = every.pairs.merge(some.pairs[some.pairs["measured"]], on=["step", "source"])
    np.testing.assert_allclose(both["knockout_x"], both["knockout_y"], atol=1e-6)
    most = every.pairs.loc[every.pairs["copies"].idxmax(), "source"]
    assert most in set(some.pairs.loc[some.pairs["measured"], "source"])


def test_all_heads_have_no_control() -> None:
    model = tiny("llama")
    slow, quick = (measured(model, all_heads=True, engine=e) for e in ("hooks", "fast"))
    np.testing.assert_allclose(slow.pairs["knockout"], quick.pairs["knockout"], atol=1e-5)
    assert quick.pairs["knockout_control"].isna().all()
    few = measured(model).pairs["knockout"]
    assert (quick.pairs["knockout"] - few).abs().max() > 1e-3


def test_without_controls_and_measures_the_columns_are_empty() -> None:
    pairs = measured(tiny("llama"), measures=("copies",), controls=0).pairs
    assert pairs["copies"].notna().all()
    for name in ("attention", "knockout", "copies_control"):
        assert pairs[name].isna().all()


def test_controls_are_disjoint_and_seeded() -> None:
    model = tiny("llama")
    note = measured(model, controls=2).provenance
    drawn = {name for draw in note["controls"] for name in draw}
    assert drawn
    assert drawn.isdisjoint(note["heads"])
    a, b = (measured(model, seed=1).pairs for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


# Tables -----------------------------------------------------------------------------------------


def test_units_cover_prompt_and_response() -> None:
    found = measured(tiny("llama"))
    for name, columns in COLUMNS.items():
        assert list(getattr(found, name)) == columns, name
    for trace in TRACES:
        mine = found.units[found.units["id"] == trace.id]
        assert "".join(mine.loc[mine["kind"] == "step", "text"]) == trace.response
        assert "".join(mine.loc[mine["kind"] == "prompt", "text"]) == trace.prompt
        tokens = found.tokens[found.tokens["id"] == trace.id]
        counted = tokens.groupby("unit").size()
        assert counted.to_dict() == mine.set_index("unit")["n_tokens"].to_dict()
        assert tokens["unit"].iloc[0] is pd.NA
    first = found.units.iloc[:3]["text"].tolist()
    assert first == ["1 + 2? ", "It is this: 3 and 4.\n", "Second line."]


def test_a_chat_template_is_no_source(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "<|system|>Be kind: hi there\n{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
        "\n{% endfor %}<|assistant|>"
    )
    try:
        units = units_of(encode_trace(tokenizer, TRACES[2], "chat"))
        text = units.encoded.prefix
        assert [text[a:b] for a, b in units.prompt] == ["hi there"]
        assert units.prompt[0][0] == text.rindex("hi there")
        turns = [{"role": "user", "content": "One. Two."}, {"role": "user", "content": "Three."}]
        trace = al.Trace("m", "Three.", "so", turns=turns)
        units = units_of(encode_trace(tokenizer, trace, "chat"))
        text = units.encoded.prefix
        assert [text[a:b] for a, b in units.prompt] == ["One. ", "Two.", "Three."]
        assert units.number(2) == -3
        assert units.number(1) is None
    finally:
        tokenizer.chat_template = None


def test_save_and_load(tmp_path: Path) -> None:
    found = measured(tiny("llama"))
    again = al.Sources.load(found.save(tmp_path / "s"))
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(found, name), getattr(again, name), check_dtype=False)
    assert again.provenance == found.provenance
    (tmp_path / "s" / "pairs.parquet").unlink()
    with pytest.raises(DataError, match="not saved sources"):
        al.Sources.load(tmp_path / "s")


def test_an_empty_response_has_no_sources() -> None:
    found = measured(tiny("llama"), al.Trace("e", "a prompt", ""))
    assert found.pairs.empty
    assert found.events.empty
    assert found.units["kind"].tolist() == ["prompt"]


def test_bad_arguments_say_what_to_do() -> None:
    model = tiny("llama")
    with pytest.raises(ConfigError, match="copies, attention, knockout"):
        measured(model, measures=("copy",))
    with pytest.raises(ConfigError, match="at least one head"):
        measured(model, heads="")
    with pytest.raises(ConfigError, match='add "knockout" to measures'):
        measured(model, measures=("copies",), kl=True)
    with pytest.raises(ConfigError, match="hidden_from='before'"):
        measured(model, hidden_from="before")
    with pytest.raises(ConfigError, match="screen=0"):
        measured(model, screen=0)
    with pytest.raises(DataError, match="two traces"):
        measured(model, [TRACES[0], TRACES[0]])
