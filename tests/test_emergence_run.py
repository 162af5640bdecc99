"""Training until copying emerges: resuming, the tables, and scores that are known beforehand."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade import induction_model

import airlens as al
from airlens.detectors.induction import repeated_ids
from airlens.errors import ConfigError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import emergence as run
import emergence_scores as scores
import emergence_text as text

TINY = run.Settings(steps=20, batch=1, length=256, width=32, hidden=48, layers=2, heads=4)
TABLES = ("heads", "losses", "ablation")


def tables(folder: Path, out: Path) -> dict[str, pd.DataFrame]:
    run.report(folder, TINY, out, probes=2, draws=2, half=16)
    return {name: pd.read_csv(out / f"{name}.csv") for name in TABLES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("whole")
    run.train(folder, TINY)
    return tables(folder, folder / "out")


def test_a_stopped_run_ends_with_the_same_tables(
    whole: dict[str, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run._train_step

    def stops(model: Any, optimizer: Any, tokenizer: Any, settings: Any, step: int) -> Any:
        if step == 18:
            raise KeyboardInterrupt
        return real(model, optimizer, tokenizer, settings, step)

    monkeypatch.setattr(run, "_train_step", stops)
    with pytest.raises(KeyboardInterrupt):
        run.train(tmp_path / "run", TINY)
    with pytest.raises(ConfigError, match="no checkpoint of step 20"):
        tables(tmp_path / "run", tmp_path / "out")
    monkeypatch.setattr(run, "_train_step", real)
    run.train(tmp_path / "run", TINY)
    found = tables(tmp_path / "run", tmp_path / "out")
    for name in TABLES:
        pd.testing.assert_frame_equal(found[name], whole[name])
    log = pd.read_csv(tmp_path / "run" / "training.csv")
    assert list(log["step"]) == list(range(20))
    with pytest.raises(ConfigError, match="other settings"):
        run.train(tmp_path / "run", run.Settings(rate=1.0))


def test_tables_of_a_run(whole: dict[str, pd.DataFrame]) -> None:
    heads, losses, ablation = (whole[name] for name in TABLES)
    assert list(heads) == ["step", "layer", "head", "name", "retrieval", "induction"]
    assert len(heads) == 3 * 8 and list(losses["step"]) == [0, 16, 20]
    first = losses.iloc[0]
    # Untrained: all tokens cost the same, and what was said before costs as much again.
    assert first["loss"] == pytest.approx(np.log(TINY.vocab), abs=0.3)
    assert first["random_second"] == pytest.approx(first["random_first"], abs=0.2)
    assert first["copy_accuracy"] < 0.05
    start = heads[heads["step"] == 0]
    assert start["retrieval"].max() < 0.2 and start["induction"].max() < 0.1
    assert losses["loss"].iloc[-1] < first["loss"]
    assert losses["tokens"].tolist() == [0, 16 * 256, 20 * 256]
    groups = ablation.groupby(["detector", "heads"]).size()
    assert groups["retrieval", "base"] == 1 and groups["retrieval", "top"] == 2
    assert groups["induction", "random"] == 4
    assert set(ablation["probes"]) == {"key-value", "repeated"}


def test_a_model_that_copies_scores_as_one() -> None:
    """L1H0 of the handmade model is an induction head, and without it nothing is copied."""
    from airlens.experiments.emergence import _no_tokenizer

    tokenizer = _no_tokenizer(run.Settings(vocab=24))  # type: ignore[arg-type]
    model = al.load_model(induction_model(), tokenizer=tokenizer, device="cpu")
    # Token 0 stands first: its own previous-token head has nowhere to look but at itself.
    repeated = repeated_ids(list(range(1, 24)), 3, 12, first=[0])
    twice = [0, *range(1, 12), *range(1, 12)]
    asked = scores.HeldOut(repeated, repeated, np.array([twice]), [(twice, 12)])
    found, losses = scores.scored(model, asked)
    frame = scores.head_rows(7, found).set_index("name")
    assert frame.loc["L1H0", "induction"] > 0.99 and frame.loc["L1H0", "retrieval"] == 1
    assert frame.drop("L1H0")["induction"].max() < 0.2
    assert losses["random_second"] < 0.01 < 1 < losses["random_first"]
    assert losses["sentence_second"] < 0.01 < 1 < losses["sentence_first"]
    assert losses["loss_repeated"] < 0.01 < losses["loss_new"]
    assert losses["copy_accuracy"] == 1
    hurt = scores.ablations(model, found, asked, [1], draws=1, seed=0)
    top, base = (hurt[hurt["heads"] == name] for name in ("top", "base"))
    assert set(top["names"]) == {"L1H0"}
    assert base["copy_accuracy"].min() == 1 and top["copy_accuracy"].max() < 0.3


def test_copied_targets_are_runs_of_three_seen_before() -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(4, size=(2, 40))
    marks = text.copied_targets(batch)
    for row, mark in zip(batch.tolist(), marks, strict=True):
        for i in range(1, len(row)):
            said = i >= 2 and any(row[j : j + 3] == row[i - 2 : i + 1] for j in range(i - 2))
            assert mark[i - 1] == said


def test_text_is_the_same_for_a_seed_and_holds_no_test_sentence() -> None:
    train, test = text.split_sentences()
    assert not set(train) & set(test) and len(test) > 150
    once, again = (text.document(random.Random(3), train) for _ in range(2))
    assert once == again
    made = " ".join(text.document(random.Random(i), train) for i in range(200))
    assert not any(sentence in made for sentence in test)
    assert 'Corresponding value: "' in made and "Again: " in made
