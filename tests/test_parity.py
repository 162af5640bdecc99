"""Adapters that run published code: a function is run as it stands in its file."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import pytest
from tiny_zoo import tiny, tokenizer

from benchmarks.parity.__main__ import main
from benchmarks.parity.borrowed import borrow
from benchmarks.parity.head_adapters import transformer_lens
from benchmarks.parity.models import Models

FILE = """
import a_package_that_is_not_there
from torch.of_another_time import List

RANKS = {"a": 2}


def ratio(values: List[float], scale: "Unknown" = 1) -> List:
    return [scale * math.sqrt(v) * RANKS["a"] for v in values]


class Tester:
    def count(self, x):
        self.n += x
        return helper(self.n)
"""


def test_a_function_runs_without_its_imports(tmp_path: Path) -> None:
    file = tmp_path / "theirs.py"
    file.write_text(FILE)
    own = borrow(file, "RANKS", "ratio", "Tester.count", math=math, helper=lambda n: -n)
    assert own["ratio"]([4.0, 9.0]) == [4.0, 6.0]
    here = type("Here", (), {"n": 3})()
    assert own["count"](here, 2) == -5
    with pytest.raises(SystemExit, match=r"has no Tester\.missing"):
        borrow(file, "Tester.missing")
    with pytest.raises(SystemExit, match="no such file"):
        borrow(tmp_path / "other.py", "ratio")


def test_what_is_no_checkout_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rsr=/no/such/folder"])
    assert "UmeanNever/RankSurprisalRatio at 1c908ee" in capsys.readouterr().err


def test_transformer_lens_finds_the_same_induction_heads() -> None:
    models = Models(tiny("llama"), None, tokenizer())
    rows = list(islice(transformer_lens(Path(), models), 2))  # those of its head detector
    for what, theirs, ours in rows:
        assert ours == pytest.approx(theirs, abs=1e-6), what
    assert max(ours for _, _, ours in rows) > 0
