"""What is read reaches the run: the choice, the column of a bad row, all responses, no prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus_kit import score, write

import airlens as al
from airlens.corpus.rows import Corpus, Row, iter_rows
from airlens.corpus.score_part import Settings
from airlens.traces.columns import Columns

Q, A = "How many?", "Two a day.\nSo it is 12."
CHAT = [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]
NUMINA = {"problem": Q, "solution": A, "messages": CHAT}
SAID = "prompt from `problem`, response from `solution`; ignored: `messages`"


def test_b1_a_chat_beside_a_solution_changes_no_score(llama: Any) -> None:
    options: dict[str, Any] = {"controls": 0, "template": "plain", "progress": False}
    with_chat = al.influence(llama, al.load_traces([NUMINA]), ["L0H1"], **options)
    without = al.influence(
        llama, al.load_traces([{"problem": Q, "solution": A}]), ["L0H1"], **options
    )
    assert with_chat.samples["loss_base"].iloc[0] == without.samples["loss_base"].iloc[0]
    assert with_chat.provenance["reading"] == {SAID: 1}


def test_b_the_choice_is_in_run_json(llama: Any, tmp_path: Path) -> None:
    rows = [{**NUMINA, "problem": f"{Q} {i}"} for i in range(7)]
    result = score(llama, write(tmp_path / "x.jsonl", rows), tmp_path / "out")
    assert result.manifest["reading"] == {SAID: 7}


def test_f7_a_column_that_rows_lack_is_named_in_the_counts(llama: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"{Q} {i}", **({"response": A} if i < 7 else {})} for i in range(9)]
    result = score(llama, write(tmp_path / "x.jsonl", rows), tmp_path / "out", max_rejects=0.5)
    assert result.manifest["reject_reasons"] == {"`response`: missing": 2}


def test_b_all_generations_are_scored(llama: Any, tmp_path: Path) -> None:
    record = {"id": "p", "problem": Q, "generations": [A, "It is 13.", "It is 14."]}
    corpus = Corpus([record], Columns(generations="all"))
    result = score(llama, corpus, tmp_path / "out")
    assert sorted(result.samples["id"]) == ["p#0", "p#1", "p#2"]
    one = score(llama, Corpus([record]), tmp_path / "one")
    assert list(one.samples["id"]) == ["p"]


@pytest.mark.parametrize("scope", ["document", "response"])
def test_b11_nothing_but_the_text_is_scored(scope: Any, llama: Any, tmp_path: Path) -> None:
    record = {"prompt": Q, "response": A}
    corpus = Corpus([record], Columns(prompt="none"), scope=scope)
    (row,) = iter_rows(corpus)
    assert isinstance(row, Row)
    assert row.trace.as_document().response == A
    settings = Settings(scope=scope, template="plain")
    bare = score(llama, corpus, tmp_path / "bare", settings=settings)
    alone = score(llama, Corpus([{"text": A}], scope=scope), tmp_path / "alone", settings=settings)
    assert bare.samples["loss_base"].iloc[0] == alone.samples["loss_base"].iloc[0]


STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
)


def test_b13_one_odd_row_is_that_rows_rejection(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama.tokenizer, "chat_template", STRICT)
    rows: list[Any] = [
        {"id": f"r{i}", "messages": [{**CHAT[0], "content": f"{i}?"}, CHAT[1]]} for i in range(9)
    ]
    odd = {"id": "odd", "messages": [{"role": "system", "content": "Be brief."}, *CHAT]}
    source = write(tmp_path / "x.jsonl", [*rows[:4], odd, *rows[4:]])
    for again in range(2):
        result = score(llama, source, tmp_path / "out", max_rejects=0.2)
        assert sorted(result.samples["id"]) == [row["id"] for row in rows]
        assert result.counts.skipped == 9 * again
        lines = (tmp_path / "out" / "rejects.jsonl").read_bytes().split(b"\n")[:-1]
        (reject,) = map(json.loads, lines)
        assert (reject["line"], "no system role" in reject["reason"]) == (5, True)
