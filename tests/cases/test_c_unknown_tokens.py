"""A token of the tokenizer that the model has no embedding for: one sentence, or that row's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_zoo import VOCAB, hf_model, tokenizer
from transformers import PreTrainedTokenizerFast

import airlens as al
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.errors import ConfigError, DataError, ModelError
from airlens.step_influence.head_influence import head_influence
from airlens.step_influence.single_heads import single_heads
from airlens.views.explorers.continuation import encode_prompt

GOOD = al.Trace("good", "ab", "cd ef")
LATE = al.Trace("late", "ab", "cd <new> ef")
ASKED = al.Trace("asked", "ab <new>", "cd ef")
SAID = r"trace '{}' has in its {} the token '<new>' \(id \d+\), which the model has no embedding"


def larger() -> PreTrainedTokenizerFast:
    """The zoo's tokenizer with one token more than the models have rows."""
    import copy

    made = copy.deepcopy(tokenizer())
    fill = [f"<fill{i}>" for i in range(VOCAB - len(made))]
    made.add_tokens([*fill, "<new>"])
    assert made.convert_tokens_to_ids("<new>") == VOCAB
    return made


@pytest.fixture(scope="module")
def model() -> Any:
    return al.load_model(hf_model("llama"), tokenizer=larger(), device="cpu")


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize(("trace", "part"), [(LATE, "response"), (ASKED, "prompt")])
def test_c_a_token_without_an_embedding_is_one_sentence(
    model: Any, engine: str, trace: al.Trace, part: str
) -> None:
    said = SAID.format(trace.id, part)
    with pytest.raises(DataError, match=said) as caught:
        al.influence(model, [GOOD, trace], "L0H1", engine=engine, progress=False)  # type: ignore[arg-type]
    assert f"it has {VOCAB}, its tokenizer {VOCAB + 1} ids" in str(caught.value)
    with pytest.raises(DataError, match=said):
        al.sources(model, trace, "L0H1", engine=engine, progress=False)  # type: ignore[arg-type]


def test_c_everything_that_runs_a_trace_says_so(model: Any) -> None:
    said = SAID.format("late", "response")
    with pytest.raises(DataError, match=said):
        head_influence(model, [LATE], progress=False)
    with pytest.raises(DataError, match=said):
        single_heads(model, LATE, "L0H1")
    with pytest.raises(ConfigError, match=f"the token {VOCAB}, which the model has no embedding"):
        encode_prompt(model, "ab <new>")


def test_c_the_row_is_rejected_and_the_rest_scored(model: Any, tmp_path: Path) -> None:
    data = [{"id": t.id, "prompt": t.prompt, "response": t.response} for t in (GOOD, LATE, ASKED)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    heads = al.HeadSet.parse("L0H1")
    how: dict[str, Any] = {"on_error": "skip", "max_rejects": 1.0, "progress": False}
    run = score_corpus(model, tmp_path / "data.jsonl", heads, tmp_path / "out", **how)
    assert (run.counts.scored, run.counts.rejects) == (1, 2)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").open()]
    assert [r["line"] for r in rejects] == [2, 3]
    assert all("no embedding" in r["reason"] for r in rejects)
    alone = al.influence(model, GOOD, heads, controls=1, progress=False).samples
    found = RunFolder(tmp_path / "out").read()
    np.testing.assert_allclose(found["loss_base"], alone["loss_base"], atol=1e-5)


def test_c_students_too(tmp_path: Path) -> None:
    from airlens.training.evaluate import held_out_nll, usable_problems
    from airlens.training.train import fine_tune

    student, own = hf_model("llama"), larger()
    said = SAID.format("late", "response")
    with pytest.raises(DataError, match=said):
        held_out_nll(student, own, [GOOD, LATE], progress=False)
    kept, skipped = usable_problems(student, own, [GOOD, LATE], on_error="skip")
    assert [t.id for t in kept] == ["good"] and "no embedding" in skipped[0].reason
    with pytest.raises(DataError, match=said):
        fine_tune(student, [GOOD, LATE], tmp_path / "a", tokenizer=own, progress=False)
    own.eos_token = "<new>"
    with pytest.raises(ModelError, match=r"EOS '<new>' \(id 260\) has no embedding"):
        fine_tune(student, [GOOD], tmp_path / "b", tokenizer=own, progress=False)
