"""The student in two parts against the whole model, and the runs of the study, on a tiny model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explore_tiny import save_tiny, tiny_parts

from airlens.experiments.studies.controlled_study import CONTROLLED_ARMS, CONTROLLED_FOLDER
from airlens.experiments.studies.study import Arm, append_run, read_runs, runs_provenance
from airlens.training.evaluate import generate_answers, held_out_nll
from airlens.training.examples import training_examples

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from controlled import answers, report, runs, student
from controlled.pool import KINDS, held_out, make_pool


def whole_vocabulary(tokenizer: Any) -> set[int]:
    return set(range(len(tokenizer)))


@pytest.fixture
def parts() -> tuple[Any, Any, student.Student]:
    model, tokenizer = tiny_parts()
    same, _ = tiny_parts()
    same.load_state_dict(model.state_dict())
    return model, tokenizer, student.make_student(same, whole_vocabulary(tokenizer), 2)


def texts() -> list[Any]:
    return held_out(4)["same"].traces


def test_both_parts_together_are_the_model(parts: tuple[Any, Any, Any]) -> None:
    model, tokenizer, cut = parts
    traces = texts()
    examples = training_examples(tokenizer, traces, template="plain")
    hidden = student.lower_outputs(cut, [e["input_ids"] for e in examples], batch_tokens=300)
    assert [len(h) for h in hidden] == [len(e["input_ids"]) for e in examples]
    found = student.read_references(cut, examples, hidden)
    # The reference's NLL by the whole model, on the text with its EOS.
    for example, reference in zip(examples, found, strict=True):
        ids = torch.tensor([example["input_ids"]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1]
        labels = torch.tensor(example["labels"][1:])
        nll = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        assert reference.nll == pytest.approx(float(nll), rel=1e-4)
        kept = labels >= 0
        assert reference.n == int(kept.sum())
        assert reference.written == bool((logits.argmax(-1) == labels)[kept].all())
    # And without the EOS as the library's own evaluation has it.
    alone = held_out_nll(model, tokenizer, traces, template="plain", progress=False)
    assert all(r.nll > n for r, n in zip(found, alone["nll"], strict=True))


def test_greedy_writes_what_the_model_generates(parts: tuple[Any, Any, Any]) -> None:
    model, tokenizer, cut = parts
    exam = answers.make_exam(cut, tokenizer, held_out(4)["same"])
    written = student.greedy(cut, exam.prompts.subset([0, 1, 2, 3]), tokenizer.eos_token_id, 12)
    expected = generate_answers(
        model, tokenizer, exam.held_out.traces, max_new_tokens=12, template="plain", progress=False
    )
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == expected["text"].tolist()
    # A subset does not depend on the others, and the prompts are not used up.
    again = student.greedy(cut, exam.prompts.subset([2]), tokenizer.eos_token_id, 12)
    assert again == [written[2]]


def test_rows_that_are_done_leave(parts: tuple[Any, Any, Any]) -> None:
    _, tokenizer, cut = parts
    exam = answers.make_exam(cut, tokenizer, held_out(4)["same"])
    rows = exam.prompts.subset([0, 1, 2, 3])
    free = student.greedy(cut, exam.prompts.subset([0, 1, 2, 3]), -1, 12)
    stop = free[1][3]  # as if this token ended a text
    cutoff = [row[: row.index(stop)] if stop in row else row for row in free]
    assert student.greedy(cut, rows, stop, 12) == cutoff


def test_a_smaller_vocabulary_is_the_same_logits(parts: tuple[Any, Any, Any]) -> None:
    model, _, whole = parts
    same, _ = tiny_parts()
    same.load_state_dict(model.state_dict())
    some = student.make_student(same, {2, 50, 7, 90}, 2)
    hidden = torch.randn(3, 32)
    assert some.vocabulary.tolist() == [2, 7, 50, 90]
    assert torch.allclose(some.logits(hidden), whole.logits(hidden)[:, [2, 7, 50, 90]])
    assert some.rows(torch.tensor([90, 2])).tolist() == [3, 0]


def test_packed_texts_do_not_see_each_other(parts: tuple[Any, Any, Any]) -> None:
    _, tokenizer, cut = parts
    examples = training_examples(tokenizer, texts(), template="plain")
    hidden = student.lower_outputs(cut, [e["input_ids"] for e in examples])
    pairs = list(zip(examples, hidden, strict=True))
    alone = student.read_references(cut, examples, hidden)
    together = student.train_step_loss(cut, pairs)
    mean = sum(r.nll for r in alone) / sum(r.n for r in alone)
    assert float(together.detach()) == pytest.approx(mean, rel=1e-4)


def test_only_the_upper_layers_learn_and_restart(parts: tuple[Any, Any, Any]) -> None:
    _, tokenizer, cut = parts
    setting = runs.Controlled(epochs=4, steps=2, lr=1e-2)
    examples = training_examples(tokenizer, texts(), template="plain")
    hidden = student.lower_outputs(cut, [e["input_ids"] for e in examples])
    pairs = list(zip(examples, hidden, strict=True))
    lower = {k: v.clone() for k, v in cut.lower.state_dict().items()}
    losses = runs.train(cut, pairs, setting, seed=0)
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    assert all(torch.equal(v, lower[k]) for k, v in cut.lower.state_dict().items())
    cut.restart()
    assert runs.train(cut, pairs, setting, seed=0) == pytest.approx(losses)
    cut.restart()
    assert runs.train(cut, pairs, setting, seed=1) != pytest.approx(losses)


def test_a_solution_that_would_be_written_is_not_generated(parts: tuple[Any, Any, Any]) -> None:
    """Taught one solution by heart, the student is right with and without decoding."""
    _, tokenizer, cut = parts
    exam = answers.make_exam(cut, tokenizer, held_out(4)["same"])
    pairs = list(zip(exam.examples[:1], exam.hidden[:1], strict=True))
    runs.train(cut, pairs, runs.Controlled(epochs=60, steps=1, lr=1e-2), seed=0)
    [reference] = student.read_references(cut, exam.examples[:1], exam.hidden[:1])
    assert reference.written
    ids = student.greedy(cut, exam.prompts.subset([0]), tokenizer.eos_token_id, 112)
    assert tokenizer.decode(ids[0]) == exam.held_out.traces[0].response
    assert answers.take(cut, tokenizer, exam)[0]["correct"]


ARMS = [CONTROLLED_ARMS[0], CONTROLLED_ARMS[1], Arm("AIR + prefix weights", "ais", scheme="prefix")]


@pytest.fixture
def setting(tmp_path: Path) -> runs.Controlled:
    counts = {**dict.fromkeys(KINDS, 2), "clean": 10}
    options: dict[str, Any] = {"counts": counts, "test": 2, "n_upper": 1, "epochs": 1, "steps": 2}
    options |= {"probes": 2, "probe_tokens": 1400, "seeds": 1}
    return runs.Controlled(model=str(save_tiny(tmp_path / "m")), **options)


def test_the_bundled_study_can_be_gone_on_with() -> None:
    whole = runs.Controlled(seeds=9)
    root = Path(__file__).resolve().parent.parent
    bundled = read_runs(root / "data" / CONTROLLED_FOLDER / "runs.parquet")
    assert set(bundled["fingerprint"]) == {runs.key_of(whole, make_pool(whole.counts))}


@pytest.mark.slow
def test_runs_are_resumed(
    setting: runs.Controlled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_NEW", 4)
    out, work = tmp_path / "runs.parquet", tmp_path / "work"
    made: list[tuple[str, int]] = []
    true_run = runs.one_run

    def counted(*arguments: Any) -> Any:
        made.append((arguments[1].name if arguments[1] else "untrained", arguments[2]))
        return true_run(*arguments)

    monkeypatch.setattr(runs, "one_run", counted)
    runs.run_all(setting, ARMS[:2], out, work)
    assert made == [("untrained", 0), ("random", 0), ("oracle: clean only", 0)]
    first = read_runs(out)
    # Half of a second run is lost; only what is missing is made again, nothing is scored again.
    out.unlink()
    for row in first.iloc[:2].to_dict("records"):
        append_run(out, {str(k): v for k, v in row.items()}, {})
    made.clear()
    scoring = property(lambda _: pytest.fail("scored again"))
    monkeypatch.setattr("pool_scores.PoolScores.model", scoring)
    runs.run_all(setting, ARMS, out, work)
    assert made == [("oracle: clean only", 0), ("AIR + prefix weights", 0)]
    again = read_runs(out)
    columns = ["arm", "seed", "n_labels", "data"]
    pd.testing.assert_frame_equal(again[columns].iloc[:3], first[columns])
    nll = [np.concatenate(list(f["problem_nll"].iloc[:3])) for f in (first, again)]
    assert nll[0] == pytest.approx(nll[1], rel=1e-4)
    made.clear()
    runs.run_all(setting, ARMS, out, work)
    assert made == []
    assert runs_provenance(out)["controlled"]["settings"]["test"] == 2
    assert sum(again["kind_samples"].iloc[1]) == again["n_samples"].iloc[1] > 0
    assert sum(again["pool_samples"].iloc[0]) == 2 * len(KINDS) + 8
    text = report.report(out)
    assert "4 runs" in text
    assert "not decided: too few seeds" in text
    assert set(pd.read_csv(tmp_path / "differences.csv")["part"]) == {"same", "longer", "other"}
    oracle = again[again["arm"] == "oracle: clean only"].iloc[0]
    assert oracle["kind_labels"][0] >= oracle["n_labels"] / 2
