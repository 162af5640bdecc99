"""Evaluation: a problem's numbers are those it has alone, greedy is greedy, answers are found."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from airlens import cli
from airlens.errors import ConfigError, DataError, NumbersError
from airlens.traces.trace import Trace
from airlens.training.evaluate import (
    final_answer,
    generate_answers,
    held_out_nll,
    is_correct,
    score_answers,
    usable_problems,
)
from tests.cases.training_kit import student, two_step_traces


def problems(n: int = 4) -> list[Trace]:
    """Prompts of 1, 4, 7, … characters, responses that get shorter."""
    return [Trace(f"p{i}", "q" * (1 + 3 * i), f"answer {i}" * (n - i)) for i in range(n)]


def greedy(model: Any, ids: list[int], n: int, end: int | None) -> list[int]:
    """Argmax, token by token, without a cache, without padding."""
    made: list[int] = []
    while len(made) < n:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + made]), use_cache=False).logits
        made.append(int(logits[0, -1].argmax()))
        if made[-1] == end:
            break
    return made


ARCHITECTURES = ["llama", "gpt2", "opt", "bloom", "mpt", "falcon_alibi", "mamba", "rwkv", "lfm2"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_d13_padding_never_changes_a_solution(tokenizer: Any, name: str) -> None:
    model, items = student(name), problems()
    found = generate_answers(
        model, tokenizer, items, batch_size=4, max_new_tokens=5, progress=False
    )
    for row, trace in zip(found.itertuples(), items, strict=True):
        ids = tokenizer(trace.prompt + "\n")["input_ids"]
        alone = greedy(model, ids, 5, tokenizer.eos_token_id)
        assert row.text == tokenizer.decode(alone, skip_special_tokens=True)
        assert row.n_new == len(alone)


def test_d13_greedy_is_greedy_whatever_the_model_prefers(tokenizer: Any) -> None:
    model, items = student("llama"), problems()
    own = model.generation_config
    own.update(do_sample=True, temperature=2.0, repetition_penalty=3.0, num_beams=2, top_k=5)
    own.update(no_repeat_ngram_size=1, min_new_tokens=2, max_length=7)
    before = own.to_dict()
    found = generate_answers(model, tokenizer, items, max_new_tokens=6, progress=False)
    for row, trace in zip(found.itertuples(), items, strict=True):
        ids = tokenizer(trace.prompt + "\n")["input_ids"]
        alone = greedy(model, ids, 6, tokenizer.eos_token_id)
        assert row.text == tokenizer.decode(alone, skip_special_tokens=True)
    assert model.generation_config is own
    assert own.to_dict() == before


def test_d13_sampling_is_not_cut_off_by_the_models_config(tokenizer: Any) -> None:
    model = student("llama")
    model.generation_config.update(top_k=1, min_p=0.99)
    found = generate_answers(
        model, tokenizer, problems(1), samples=6, temperature=3.0, max_new_tokens=4, progress=False
    )
    assert found["text"].nunique() > 1


def test_d13_the_models_own_end_tokens_end_a_solution(tokenizer: Any) -> None:
    model = student("llama")
    [whole] = generate_answers(
        model, tokenizer, problems(1), max_new_tokens=6, progress=False
    ).itertuples()
    ids = tokenizer("q\n")["input_ids"]
    third = greedy(model, ids, 6, None)[2]
    model.generation_config.eos_token_id = [third, 2]
    [cut] = generate_answers(
        model, tokenizer, problems(1), max_new_tokens=6, progress=False
    ).itertuples()
    assert (whole.truncated, cut.truncated) == (True, False)
    assert cut.n_new <= 3
    assert whole.text.startswith(cut.text)


def test_d13_tokenizers_without_end_or_padding(tokenizer: Any) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.eos_token = bare.pad_token = None
    model = student("llama")
    model.generation_config.eos_token_id = None
    found = generate_answers(model, bare, problems(), max_new_tokens=3, progress=False)
    assert found["truncated"].all()
    assert (found["n_new"] == 3).all()
    assert len(held_out_nll(model, bare, problems(), progress=False)) == 4


def alone_nll(model: Any, tokenizer: Any, trace: Trace) -> float:
    ids = tokenizer(f"{trace.prompt}\n{trace.response}")["input_ids"]
    start = len(tokenizer(trace.prompt + "\n")["input_ids"])
    with torch.no_grad():
        logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return -sum(float(logp[t - 1, ids[t]]) for t in range(start, len(ids)))


@pytest.mark.parametrize("name", ["longrope", "opt", "bloom", "rwkv", "lfm2", "mixtral"])
def test_d13_a_problems_nll_is_that_of_it_alone(tokenizer: Any, name: str) -> None:
    """Longrope has another rotary table beyond 32 tokens: a short problem beside a long one."""
    model, items = student(name), two_step_traces(6)
    found = held_out_nll(model, tokenizer, items, progress=False)
    alone = [alone_nll(model, tokenizer, trace) for trace in items]
    assert list(found["nll"]) == pytest.approx(alone, rel=1e-4)


def test_d13_a_model_in_training_is_evaluated_without_dropout(tokenizer: Any) -> None:
    model = student("llama")
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    expected = held_out_nll(model, tokenizer, problems(), progress=False)
    model.train()
    model.model.layers[0].eval()
    for found in (held_out_nll(model, tokenizer, problems(), progress=False) for _ in range(2)):
        pd.testing.assert_frame_equal(found, expected)
    generate_answers(model, tokenizer, problems(), max_new_tokens=2, progress=False)
    modes = [layer.training for layer in model.model.layers]
    assert (model.training, modes) == (True, [False, True])


def test_d13_a_loss_of_nan_is_no_loss(tokenizer: Any) -> None:
    model = student("llama")
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(NumbersError, match=r"trace 'p0': the model gives nan .* float32"):
        held_out_nll(model, tokenizer, problems(), progress=False)


def test_d13_problems_that_cannot_be_evaluated_are_named(tokenizer: Any) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if 'bad' in m['content'] %}"
        "{{ raise_exception('not this one') }}{% endif %}{{ m['content'] }}: {% endfor %}"
    )
    items = [
        Trace("good", "1 + 1?", "#### 2"),
        Trace("empty", "what?", ""),
        Trace("long", "what?", "ab " * 60 + "#### 1"),
        Trace("refused", "bad", "#### 1"),
        Trace("silent", "what?", "no answer"),
        Trace("bare", "", "#### 1"),
    ]
    model = student("gpt2")  # 128 positions
    usable, skipped = usable_problems(model, strict, items, answers=True, on_error="skip")
    assert [t.id for t in usable] == ["good"]
    reasons = {each.id: each.reason for each in skipped}
    assert list(reasons) == ["empty", "long", "refused", "silent", "bare"]
    for name, part in {
        "empty": "no response",
        "long": "positions for 128",
        "refused": "not this one",
        "silent": "no reference answer",
        "bare": "no prompt",
    }.items():
        assert part in reasons[name]
        with pytest.raises(DataError, match=f"'{name}'"):
            usable_problems(
                model, strict, [t for t in items if t.id in ("good", name)], answers=True
            )
    usable, _ = usable_problems(model, strict, items, on_error="skip")
    assert [t.id for t in usable] == ["good", "silent", "bare"]


def test_d13_a_problem_longer_than_the_positions_is_no_index_error(tokenizer: Any) -> None:
    model, items = (
        student("gpt2"),
        [Trace("long", "q" * 126, "a"), Trace("longer", "q" * 140, "a")],
    )
    with pytest.raises(DataError, match=r"trace 'longer'.*positions for 128"):
        held_out_nll(model, tokenizer, items, progress=False)
    found = generate_answers(model, tokenizer, items[:1], max_new_tokens=50, progress=False)
    assert found["n_new"][0] == 1
    with pytest.raises(DataError, match="a prompt of 141 tokens"):
        generate_answers(model, tokenizer, items, progress=False)


def test_d13_a_solution_that_was_not_finished_is_right_only_by_its_mark() -> None:
    solutions = pd.DataFrame(
        {
            "id": ["a", "a", "a"],
            "draw": [0, 1, 2],
            "text": ["first 40 and then 42", "first 40 and then 42", "#### 42\nQ: next"],
            "truncated": [False, True, True],
        }
    )
    scored = score_answers(solutions, [Trace("a", "q", "#### 42")])
    assert scored["correct"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("solution", "answer", "right"),
    [
        (r"so \boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}", True),
        (r"\boxed{\{1,2\}}", r"\{1,2\}", True),
        (r"so \boxed{1} then \boxed{2}", "1", False),
        (r"so \boxed{1} then \boxed{2", "1", True),  # the last one that is whole
        (r"\boxed {5}", "5", True),
        (r"\fbox{5\text{ cm}}", "5", True),
        ("#### 72 dollars", "72", True),
        ("#### \\$1,234.50", "1234.5", True),
        ("#### 1\u202f234\u00a0567", "1234567", True),
        (r"\boxed{1\,234}", "1234", True),
        ("#### \u22125", "-5", True),
        ("#### \u2013 5", "-5", True),
        ("#### 5", "\u22125", False),
        ("#### 2\u00bd", "2.5", True),
        ("#### 2 1/2", "1", False),
        ("#### \uff15", "5", True),
        ("#### **42**", "42", True),
        ("#### (1,2)", "(1, 2)", True),
        ("#### Tuesday", "Tuesday", True),
        ("#### Tuesday", "Monday", False),
        # Titles in markdown
        ("#### Step 1\nadd\n#### Step 2\nSo \\boxed{7}.", "7", True),
        ("#### Step 1: add 3 and 4\n7\n#### 12", "12", True),
        ("#### Overview\nSo \\boxed{7}.", "7", True),
        ("#### Final Answer\nIt is 12.", "12", True),
        ("#### 72 dollars\n\nNext problem\n#### 7", "72", True),
        # What was thought is not what was answered
        ("<think>#### 3, or \\boxed{4}</think>\n#### 5", "5", True),
        ("[THINK]\\boxed{4}[/THINK] so \\boxed{6}", "4", False),
    ],
)
def test_d13_answers_as_they_are_written(solution: str, answer: str, right: bool) -> None:
    assert is_correct(solution, answer) is right


def test_d13_a_power_that_never_ends_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlens.training.answers.SECONDS", 1)
    assert not is_correct("#### 9^{9^{9^{9}}}", "5")
    assert final_answer("#### Step 1\n#### Solution") is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A student, whose template refuses a word, and six problems: three of them cannot be asked."""
    home = tmp_path_factory.mktemp("evaluate")
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% for m in messages %}{% if 'bad' in m['content'] %}"
        "{{ raise_exception('not this one') }}{% endif %}{{ m['content'] }}: {% endfor %}"
    )
    student("llama").save_pretrained(home / "model")
    strict.save_pretrained(home / "model")
    rows = [
        {"Frage": f"what is {i}?", "Antwort": f"It is {i}.\n#### {i}", "id": f"t{i}"}
        for i in range(4)
    ]
    rows += [{"Frage": "a bad one", "Antwort": "#### 1", "id": "refused"}]
    rows += [{"Frage": 7, "Antwort": "#### 7", "id": "broken"}]
    text = "\n".join(json.dumps(row) for row in rows)
    (home / "odd.jsonl").write_text(text, encoding="utf-8")
    return home


def called(*words: Any) -> Any:
    return CliRunner().invoke(cli.app, [str(w) for w in words], catch_exceptions=False)


COLUMNS = ("--prompt-column", "Frage", "--response-column", "Antwort")


def test_d13_evaluate_on_an_odd_layout_with_two_bad_rows(folder: Path, tmp_path: Path) -> None:
    common = ("evaluate", folder / "odd.jsonl", "--model", folder / "model", "--device", "cpu")
    with pytest.raises(DataError, match=r"--prompt-column|prompt_column|prompt="):
        called(*common, "--quiet")
    with pytest.raises(DataError, match=r"odd\.jsonl, line 6"):
        called(*common, *COLUMNS, "--quiet")
    answers = ("--generate", "--max-new-tokens", 3)
    options = (*common, *COLUMNS, "--quiet", "--on-error", "skip", "--out", tmp_path)
    found = called(*options, *answers, "--json")
    record = json.loads(found.stdout.splitlines()[-1])
    assert record["problems"] == 4
    kept = record["provenance"]
    assert list(kept["skipped"]) == ["refused"]
    assert "not this one" in kept["skipped"]["refused"]
    assert kept["n_rows_skipped"] == 1
    assert "line 6" in kept["rows_skipped"][0]
    assert "'refused'" in found.stderr
    assert record["truncated"] == {"solutions": 4, "of": 4}
    assert (kept["settings"]["max_new_tokens"], kept["dtype"], kept["few_shot"]) == (
        3,
        "float32",
        0,
    )
    assert len(pd.read_parquet(tmp_path / "answers.parquet")) == 4
    # The next one leaves no answers of this one beside its record.
    again = json.loads(called(*options, "--json").stdout.splitlines()[-1])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evaluation.json", "nll.parquet"]
    assert again["provenance"]["identity"] == kept["identity"]
    assert again["nll"] == record["nll"]


def test_d13_another_model_or_text_is_another_evaluation(tokenizer: Any) -> None:
    from airlens.training.run_identity import evaluation_identity

    first = evaluation_identity(student("llama"), tokenizer, problems())
    assert evaluation_identity(student("llama"), tokenizer, problems()) == first
    assert evaluation_identity(student("llama", 1), tokenizer, problems()) != first
    assert evaluation_identity(student("llama"), tokenizer, problems(3)) != first
    renamed = [Trace(t.id, t.prompt, t.response, answer="9") for t in problems()]
    assert evaluation_identity(student("llama"), tokenizer, renamed) != first


def test_d13_train_on_an_odd_layout_with_two_bad_rows(folder: Path, tmp_path: Path) -> None:
    options = ("train", folder / "odd.jsonl", "--model", folder / "model", "--cpu", "--quiet")
    options += ("--out", tmp_path / "run", "--scheme", "prefix", "--prefix", 4, "--max-length", 22)
    with pytest.raises(DataError, match=r"odd\.jsonl, line 6"):
        called(*options, *COLUMNS)
    found = called(*options, *COLUMNS, "--on-error", "skip")
    assert "4 traces, 1 steps" in found.stdout
    assert "4 traces cut at 22 tokens" in found.stdout
    assert "1 skipped ×" in found.stdout
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert list(record["skipped"]) == ["refused"]
    assert record["selection"]["n_rows_skipped"] == 1
    assert record["weights"]["scheme"] == "prefix"
    assert record["weights"]["prefix"] == 4


def test_d13_what_makes_no_sense_is_said_before_the_data_are_read(folder: Path) -> None:
    options = ("train", folder / "odd.jsonl", "--model", folder / "model", "--out", folder / "x")
    for words, reason in [
        (("--scheme", "linear"), "both --scheme and --scores"),
        (("--scheme", "uniform", "--prefix", 3), "--prefix 3 is for"),
        (("--prefix", 3), "--prefix 3 is for"),
        (("--lr", 0), "lr"),
        (("--lr", "nan"), "lr"),
        (("--epochs", "inf"), "epochs"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            called(*options, *words)


def test_d13_a_manifest_of_other_rows_is_not_kept(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text((folder / "odd.jsonl").read_text(encoding="utf-8").split("\n{", 4)[0])
    manifest = Path(f"{data}.manifest.json")
    options = ("train", data, "--model", folder / "model", "--cpu", "--quiet", *COLUMNS)
    for ids, kept in ((["t0", "t1", "t2", "t3"], True), (["other"], False)):
        manifest.write_text(json.dumps({"by": "ais", "ids": ids}))
        found = called(*options, "--out", tmp_path / f"run{kept}")
        record = json.loads((tmp_path / f"run{kept}" / "run.json").read_text())
        assert record["selection"]["manifest"] == ({"by": "ais"} if kept else None)
        assert ("is of other rows" in found.stderr) is not kept


def test_d13_validate_leaves_the_bad_rows_out(folder: Path, tmp_path: Path) -> None:
    options = ("validate", "--traces", folder / "odd.jsonl", "--model", folder / "model", *COLUMNS)
    options += ("--what", "heads", "--heads", "L0H1", "--modes", "uniform", "--device", "cpu")
    options += ("--quiet", "--out", tmp_path / "report")
    with pytest.raises(DataError, match=r"odd\.jsonl, line 6"):
        called(*options)
    found = called(*options, "--on-error", "skip")
    assert "'refused'" in found.stderr
    assert "idle:" in found.stdout
    [path] = (tmp_path / "report").glob("*.json")
    note = json.loads(path.read_text())
    assert list(note["skipped"]) == ["refused"]
    assert note["n_rows_skipped"] == 1
