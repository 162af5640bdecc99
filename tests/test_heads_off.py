"""Accuracy with heads off: a model that needs one head, and a loop without cache or padding."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_zoo
import torch
from handmade import VOCAB, induction_model
from tiny_zoo import tiny

import airlens as al
from airlens.errors import ConfigError, DataError, EngineError, HeadError
from airlens.heads import HeadSet
from airlens.losses import writing
from airlens.statistics.several import holm
from airlens.training import heads_off
from airlens.training.heads_off import runs_in_circles
from benchmarks import heads_off as measured_again

# Prompts of several lengths: left padding, were it seen, would take part in uniform attention.
TEXT = "Ann has 3 apples, gives 1 away, and 20 more come."
PROBLEMS = [al.Trace(f"p{i}", TEXT[i : 6 + 12 * i], "x", answer="1") for i in range(4)]


def solved(model: Any, problems: Any, conditions: Any, **options: Any) -> pd.DataFrame:
    options = {"max_new_tokens": 6, "progress": False, **options}
    return al.accuracy_under_ablation(model, problems, conditions, **options)


# A model whose answers depend on one head --------------------------------------------------------


def digits() -> Any:
    """A token a word: <s>, ten digits and 13 letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", *"0123456789abcdefghijklm"]
    assert len(names) == VOCAB
    tok = Tokenizer(models.WordLevel(vocab={n: i for i, n in enumerate(names)}, unk_token="<s>"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tok, unk_token="<s>", eos_token="<s>")


@pytest.fixture(scope="module")
def copying() -> Any:
    return al.load_model(induction_model(), tokenizer=digits(), device="cpu")


# What follows the key "a" is a digit and the end of the text.
LOOKUPS = [
    al.Trace(str(i), " ".join([*"bcdefghi"[: 1 + i % 4], "a", str(i), "<s>", "k", "a"]), str(i),
             answer=str(i))
    for i in range(9)
]  # fmt: skip
OTHERS = [HeadSet.parse(name) for name in ("L0H1", "L1H1", "L0H1, L1H1")]


def test_without_its_one_head_the_model_only_repeats_itself(copying: Any) -> None:
    found = solved(
        copying, LOOKUPS, {"base": "", "top": "L1H0", "random": OTHERS}, max_new_tokens=40
    )
    table = al.accuracy_table(found).set_index("condition")
    assert table["accuracy"].to_dict() == {"base": 1.0, "top": 0.0, "random": 1.0}
    assert table["repeats"].to_dict() == {"base": 0.0, "top": 1.0, "random": 0.0}
    assert table["draws"].to_dict() == {"base": 0, "top": 0, "random": 3}
    assert found.loc[found["condition"] == "random", "draw"].tolist() == [0] * 9 + [1] * 9 + [2] * 9
    assert found.loc[found["condition"] == "base", "text"].tolist() == [t.answer for t in LOOKUPS]
    [lost, same] = al.accuracy_differences(found).itertuples()
    assert (lost.one, lost.other, lost.difference, lost.verdict) == ("base", "top", 1.0, "holds")
    assert (same.other, same.difference, same.n, same.draws) == ("random", 0.0, 9, 3)
    assert same.verdict != "holds"
    [turned] = al.accuracy_differences(found, [("top", "random")]).itertuples()
    assert (turned.difference, turned.verdict) == (-1.0, "fails")


# Batched, cached and padded against a loop that is none of it ------------------------------------


def slow(
    model: Any, heads: str, mode: str, means: Any, ids: list[int], n: int, ends: Any = ()
) -> list[int]:
    """Argmax, token by token: the whole text anew each time."""
    made: list[int] = []
    with al.ablated(model, heads, mode, means=means), torch.no_grad():
        while len(made) < n:
            logits = model(torch.tensor([ids + made]))
            made.append(int(logits[0, -1].argmax()))
            if made[-1] in (model.tokenizer.eos_token_id, *ends):
                break
    return made


def varied(kind: str) -> Any:
    """A tiny model that does not only repeat its last token: the head is not the embedding."""
    inner = tiny_zoo.hf_model(kind)
    inner.lm_head.weight = torch.nn.Parameter(torch.randn_like(inner.lm_head.weight))
    inner.config.tie_word_embeddings = False
    return al.load_model(inner, tokenizer=tiny_zoo.tokenizer(), device="cpu")


@pytest.mark.parametrize(
    ("kind", "mode", "engine"),
    [
        *(("llama", mode, "fast") for mode in ("uniform", "zero", "mean")),
        *(("llama", mode, "hooks") for mode in ("uniform", "mean")),
        *(("gemma3", "uniform", engine) for engine in ("fast", "hooks")),
        ("mistral", "uniform", "fast"),
        ("qwen3", "zero", "fast"),
        ("bloom", "uniform", "auto"),
    ],
)
def test_batched_solutions_are_those_of_each_problem_alone(
    kind: str, mode: str, engine: str
) -> None:
    model, heads = varied(kind), "L0H0, L0H1, L1H0, L1H2, L1H3"
    options = {"mode": mode, "engine": engine}
    found = solved(model, PROBLEMS, {"off": heads}, template="plain", **options)
    assert found["id"].tolist() == [t.id for t in PROBLEMS]
    means = al.mean_z(model) if mode == "mean" else None
    changed = 0
    for row, trace in zip(found.itertuples(), PROBLEMS, strict=True):
        ids = model.tokenizer(trace.prompt + "\n")["input_ids"]
        alone = slow(model, heads, mode, means, ids, 6)
        assert row.text == model.tokenizer.decode(alone, skip_special_tokens=True)
        assert row.n_new == len(alone)
        changed += alone != slow(model, "", "uniform", None, ids, 6)
    assert changed  # the heads matter, or nothing was tested


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_solutions_that_have_ended_leave_the_batch(kind: str) -> None:
    model, heads, n = varied(kind), "L0H0, L1H2", 12
    traces = [
        dataclasses.replace(t, id=f"{t.id} {k}", prompt=f"{t.prompt} {k}")
        for t in PROBLEMS
        for k in range(4)
    ]
    # So that solutions end at different times: every fifth token ends one.
    model.original_model.generation_config.eos_token_id = ends = list(range(2, 2000, 5))
    sizes: list[int] = []
    seen = model.original_model.lm_head.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    found = solved(
        model, traces, {"off": heads}, template="plain",
        max_new_tokens=n, batch_size=len(traces), block=len(traces),
    )  # fmt: skip
    seen.remove()
    lengths = set()
    for row, trace in zip(found.itertuples(), traces, strict=True):
        ids = model.tokenizer(trace.prompt + "\n")["input_ids"]
        alone = slow(model, heads, "uniform", None, ids, n, ends)
        kept = alone[:-1] if alone[-1] in ends else alone
        assert row.text == model.tokenizer.decode(kept, skip_special_tokens=True)
        assert (row.n_new, row.truncated) == (len(alone), alone[-1] not in ends)
        lengths.add(len(alone))
    assert len(lengths) > 2  # they ended at different times
    batches = sizes[sizes.index(len(traces)) :]  # what is before looks at the padding
    written = [sum(n >= step for n in found["n_new"]) for step in range(1, max(lengths) + 1)]
    assert len(batches) == len(written)
    assert all(n <= batch < max(2 * n, 2) for n, batch in zip(written, batches, strict=True))


def test_greedy_whatever_the_generation_config_says() -> None:
    model = tiny("llama")
    plain = solved(model, PROBLEMS, {"base": ""}, template="plain")
    config = model.original_model.generation_config
    before = config.to_dict()
    config.update(do_sample=True, temperature=3.0, repetition_penalty=5.0, num_beams=2)
    try:
        again = solved(model, PROBLEMS, {"base": ""}, template="plain")
        assert model.original_model.generation_config is config
    finally:
        config.update(**before)
    assert plain["text"].tolist() == again["text"].tolist()


# Blocks that are kept ----------------------------------------------------------------------------


def test_a_stopped_run_goes_on_and_is_what_one_run_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, conditions = tiny("llama"), {"base": "", "top": "L1H0", "random": OTHERS[:2]}
    options: dict[str, Any] = {"block": 2, "template": "plain"}
    whole = solved(model, PROBLEMS, conditions, **options)
    real, asked = heads_off.generate_answers, []

    def counted(*args: Any, **how: Any) -> pd.DataFrame:
        if len(asked) == stop:
            raise KeyboardInterrupt
        asked.append([trace.id for trace in args[2]])
        return real(*args, **how)

    monkeypatch.setattr(heads_off, "generate_answers", counted)
    stop = 5  # the first block of all four sets, and one set of the second
    with pytest.raises(KeyboardInterrupt):
        solved(model, PROBLEMS, conditions, resume=tmp_path, **options)
    assert asked == [["p0", "p1"]] * 4 + [["p2", "p3"]]
    stop = 99
    again = solved(model, PROBLEMS, conditions, resume=tmp_path, **options)
    assert len(asked) == 8
    pd.testing.assert_frame_equal(again, whole)
    solved(model, PROBLEMS[:2], conditions, resume=tmp_path, **options)
    assert len(asked) == 8  # a smaller run is read
    solved(model, PROBLEMS[:2], {"base": ""}, resume=tmp_path, **options, mode="zero")
    assert len(asked) == 8  # without heads there is no mode
    solved(model, PROBLEMS[:2], {"top": "L1H0"}, resume=tmp_path, **options, mode="zero")
    solved(model, PROBLEMS[:2], {"base": ""}, resume=tmp_path, **{**options, "max_new_tokens": 5})
    assert len(asked) == 10


# How a solution ended ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "truncated", "outcome"),
    [
        ("It is 12.\n#### 12", False, "correct"),
        ("#### 12\n" + "and then some more " * 9, True, "correct"),  # marked, then a circle
        ("It is 13.\n#### 13", False, "wrong"),
        ("#### 13 and on", True, "wrong"),
        ("so it is 13.", False, "wrong"),
        ("First we add 12 and", True, "no answer"),
        ("I do not know", False, "no answer"),
        ("", False, "no answer"),
        ("we add 5 to it " * 9, True, "repeats"),
        ("000000000000000000", True, "repeats"),
    ],
)
def test_degenerate_solutions_are_counted_apart(
    monkeypatch: pytest.MonkeyPatch, text: str, truncated: bool, outcome: str
) -> None:
    problem = al.Trace("a", "What is 5 + 7?", "#### 12")
    row = {"id": "a", "draw": 0, "text": text, "n_new": 9, "truncated": truncated}
    monkeypatch.setattr(heads_off, "generate_answers", lambda *a, **k: pd.DataFrame([row]))
    found = solved(tiny("llama"), [problem], {"base": ""})
    assert found["outcome"].tolist() == [outcome]
    assert found["answer"].tolist() == ["12"]


def test_circles_by_counting_every_run() -> None:
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(200):
        tokens = rng.integers(0, 2, rng.integers(0, 60)).tolist()
        runs = [tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7)]
        expected = any(runs.count(run) >= 4 for run in runs)
        assert runs_in_circles(tokens) is expected
        verdicts.add(expected)
    assert verdicts == {True, False}


# Tables ------------------------------------------------------------------------------------------


def made_up(rates: dict[tuple[str, int | None], float], n: int = 60) -> pd.DataFrame:
    """Answers of conditions, right at these rates; hard problems are hard for all."""
    rng = np.random.default_rng(1)
    hard = rng.random(n)
    frames = []
    for (name, draw), rate in rates.items():
        right = 0.7 * hard + 0.3 * rng.random(n) < rate
        outcome = np.where(right, "correct", "wrong")
        frame = pd.DataFrame({"id": map(str, range(n)), "outcome": outcome, "n_new": 5})
        frames.append(frame.assign(condition=name, mode="uniform", draw=draw))
    return pd.concat(frames).astype({"draw": "Int64"})


def test_differences_are_paired_by_problem_and_corrected_together() -> None:
    answers = made_up(
        {("base", None): 0.6, ("top", None): 0.3, ("random", 0): 0.5, ("random", 1): 0.55}
    )
    pairs = [("base", "top"), ("random", "top"), ("base", "random")]
    shuffled = answers.sample(frac=1, random_state=0).sort_values("condition", kind="stable")
    found = al.accuracy_differences(shuffled, pairs)
    right = answers.assign(right=answers["outcome"] == "correct")
    share = right.groupby("condition")["right"].mean()
    expected = [share[one] - share[other] for one, other in pairs]
    assert found["difference"].tolist() == pytest.approx(expected)
    assert found["p_holm"].dropna().tolist() == pytest.approx(holm(found["p"][[0]]).tolist())
    # Two draws of random heads decide nothing about random heads.
    assert found["verdict"].tolist() == ["holds", "no verdict", "no verdict"]
    wide = right.pivot_table(index="id", columns="condition", values="right")
    gap = wide["base"] - wide["top"]
    half = 2.0 * gap.std() / np.sqrt(len(gap))  # paired, by the plain formula
    assert found["hi"][0] - found["lo"][0] == pytest.approx(2 * half, rel=0.2)


def test_what_cannot_be_run_is_said() -> None:
    model = tiny("llama")
    with pytest.raises(ConfigError, match="heads by name"):
        solved(model, PROBLEMS, {})
    with pytest.raises(ConfigError, match="'top'"):
        solved(model, PROBLEMS, {"base": "", "top": "L1H0"}, mode={"base": "uniform"})
    with pytest.raises(ConfigError, match="mode"):
        solved(model, PROBLEMS, {"top": "L1H0"}, mode="unifrom")
    with pytest.raises(HeadError, match="L9H0"):
        solved(model, PROBLEMS, {"top": [HeadSet.parse("L9H0")]})
    with pytest.raises(DataError, match="no reference answer"):
        solved(model, [al.Trace("a", "q", "nothing")], {"base": ""})
    with pytest.raises(DataError, match="outcome"):
        al.accuracy_table(pd.DataFrame({"id": ["a"]}))
    answers = made_up({("base", None): 0.5, ("a", 0): 0.5, ("b", 0): 0.5, ("b", 1): 0.4})
    with pytest.raises(ConfigError, match="top"):
        al.accuracy_differences(answers, [("base", "top")])
    answers = pd.concat([answers, answers[answers["condition"] == "a"].assign(draw=1)])
    answers = pd.concat([answers, answers[answers["condition"] == "a"].assign(draw=2)])
    with pytest.raises(ConfigError, match="numbers of draws"):
        al.accuracy_differences(answers, [("a", "b")])


# Which engine writes -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bloom", "gptj"])
def test_what_cannot_be_written_fast_is_written_under_hooks_and_says_so(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = varied(kind)
    with pytest.raises(EngineError, match="engine='fast' cannot"):
        solved(model, PROBLEMS, {"off": "L1H0"}, mode="zero", template="plain", engine="fast")
    solved(model, PROBLEMS, {"off": "L1H0"}, mode="zero", template="plain")
    assert "hooks" in caplog.text


def test_an_attention_that_differs_from_the_hooks_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = varied("llama")
    monkeypatch.setattr(writing, "_mean", lambda writer, layer, heads: writer.means[0, heads])
    with pytest.raises(EngineError, match="logits differ from the hooks"):
        solved(model, PROBLEMS, {"off": "L1H0"}, mode="mean", template="plain", engine="fast")
    right = solved(model, PROBLEMS, {"off": "L1H0"}, mode="mean", template="plain", engine="hooks")
    found = solved(model, PROBLEMS, {"off": "L1H0"}, mode="mean", template="plain")
    assert found["text"].tolist() == right["text"].tolist()


def test_changed_weights_write_otherwise() -> None:
    model = varied("llama")
    before = solved(model, PROBLEMS, {"base": ""}, template="plain", engine="fast")
    with torch.no_grad():
        model.original_model.lm_head.weight.mul_(-1)
    after = solved(model, PROBLEMS, {"base": ""}, template="plain", engine="fast")
    slowly = solved(model, PROBLEMS, {"base": ""}, template="plain", engine="hooks")
    assert after["text"].tolist() == slowly["text"].tolist() != before["text"].tolist()


# The benchmark that goes on from its tables ------------------------------------------------------


def tabled(folder: Path, rows: pd.DataFrame, note: dict[str, Any]) -> Path:
    """A folder of tables as the benchmark writes it."""
    from airlens.folders import write_tables

    write_tables(folder, {"answers": rows[measured_again.COLUMNS]}, note)
    return folder


def test_what_is_tabled_is_not_measured_again(
    copying: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets: Any = {"base": HeadSet(()), "random": OTHERS[:2]}
    size = {"max_new_tokens": 6, "batch_size": 4}
    note = {"model": "m", "data": "d", **size}
    note["heads"] = {name: measured_again.names(item) for name, item in sets.items()}
    whole = solved(copying, LOOKUPS, sets, **size)
    some = whole["id"].isin([trace.id for trace in LOOKUPS[:4]])
    folder = tabled(tmp_path / "t", whole[some | (whole["condition"] == "base")], note)

    known = measured_again.earlier(folder, note)
    # Of this problem one draw is lost.
    known = known[(known["draw"] != 1) | (known["id"] != "3")]
    asked: list[Any] = []
    real = al.accuracy_under_ablation

    def counted(model: Any, traces: Any, conditions: Any, **options: Any) -> pd.DataFrame:
        asked.append(([trace.id for trace in traces], list(conditions)))
        return real(model, traces, conditions, progress=False, **options)

    monkeypatch.setattr(al, "accuracy_under_ablation", counted)
    new = list(measured_again.lacking(copying, LOOKUPS, sets, known, **size))
    assert asked == [([trace.id for trace in LOOKUPS[3:]], ["random"])]
    found = measured_again.in_order(pd.concat([known, *new], ignore_index=True), list(sets))
    wanted = whole[measured_again.COLUMNS].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[measured_again.COLUMNS], wanted)


@pytest.mark.parametrize("other", ["model", "data", "max_new_tokens", "heads"])
def test_answers_of_other_heads_or_settings_are_not_written_over(
    copying: Any, tmp_path: Path, other: str
) -> None:
    note = {"model": "m", "data": "d", "max_new_tokens": 6, "batch_size": 4, "heads": {"base": []}}
    folder = tabled(tmp_path, solved(copying, LOOKUPS[:2], {"base": ""}), note)
    assert len(measured_again.earlier(folder, note)) == 2
    with pytest.raises(ConfigError, match=f"other {other}.*another folder"):
        measured_again.earlier(folder, note | {other: {"base": ["L0H0"]}})
    assert measured_again.earlier(tmp_path / "nothing", note).empty
    assert measured_again.earlier(None, note).empty


@pytest.mark.parametrize(
    ("before", "now", "goes_on"),
    [
        ([["L0H0"]], [["L0H0"], ["L0H1"]], True),
        ([["L0H0"]], [["L0H1"], ["L0H0"]], False),
        (["L0H0"], ["L0H0", "L0H1"], False),
        ([], ["L0H0"], False),
    ],
)
def test_draws_may_become_more(tmp_path: Path, before: Any, now: Any, goes_on: bool) -> None:
    note: dict[str, Any] = dict.fromkeys(measured_again.SAME, "m")
    table = pd.DataFrame(columns=measured_again.COLUMNS)
    folder = tabled(tmp_path, table, note | {"heads": {"set": before}})
    with nullcontext() if goes_on else pytest.raises(ConfigError, match="set"):
        measured_again.earlier(folder, note | {"heads": {"set": now}})
