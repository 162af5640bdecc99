"""What is measured of a trace keeps the names under which earlier runs stored it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_zoo import tiny

import airlens as al
from airlens.experiments.validity import early_steps
from airlens.experiments.validity.early_steps import measured_steps
from airlens.experiments.validity.trace_store import TraceStore
from airlens.experiments.validity.true_sources.measured_pairs import measured_pairs
from airlens.experiments.validity.true_sources.path_report import path_report
from airlens.experiments.validity.true_sources.planted_chains import plant_chains
from airlens.heads import HeadSet
from airlens.provenance import fingerprint, model_info
from airlens.traces.chat_template import template_identity
from airlens.traces.encoding import encode_trace

HEADS = HeadSet.parse("L0H1, L1H3")
TRACE = al.Trace(
    "a", "2 and 3?", "2 + 3 is 5.\nSo 5.\n#### 5", answer="5", domain="sums"
).with_steps("line")


def named(settings: dict[str, Any], trace: al.Trace, **read: Any) -> str:
    """Folder and name as they were written out where each was measured, without the suffix."""
    model = tiny("llama")
    of = {"model": model_info(model), **template_identity(model.tokenizer), **settings}
    digest = encode_trace(model.tokenizer, trace).digest()
    return f"{fingerprint(of)}/{fingerprint({'id': trace.id, **read, 'measured': digest})}"


def stored(folder: Path) -> set[str]:
    """Folder and name of all that is stored, without suffix."""
    return {f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*")}


def test_measured_pairs(tmp_path: Path) -> None:
    groups = [("top", HEADS, 0), ("random", HeadSet.parse("L0H0"), 0)]
    measured_pairs(tiny("llama"), [TRACE], groups, knocked_out=1, folder=tmp_path, progress=False)
    read = {"prompt": TRACE.prompt, "known": TRACE.step_meta}
    expected = {
        "read-"
        + named({"sets": [("top", ["L0H1", "L1H3"], 0), ("random", ["L0H0"], 0)]}, TRACE, **read)
    }
    for name, heads, draw in groups:
        sets = {"sets": [(name, heads.names(), draw)]}
        expected.add(f"knockout-{name}-{draw}-" + named(sets, TRACE, **read))
    assert stored(tmp_path) == expected


def test_paths(tmp_path: Path) -> None:
    path_report(
        tiny("llama"), HEADS, n=1, draws={"random": 1}, seed=3, folder=tmp_path, progress=False
    )
    trace = plant_chains(1, seed=3)[0]
    settings = {"heads": HEADS.names(), "seed": 3, "control": "random", "controls": 1}
    expected = {"paths-" + named(settings, trace, known=trace.meta)}
    assert stored(tmp_path / "measured") == expected


def test_early_answers_and_influence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"mode": "uniform", "controls": 1, "seed": 2}

    def measure() -> Any:
        return measured_steps(
            tiny("llama"), [TRACE], HEADS, **how, forcings=["sentence"], total=1,
            folder=tmp_path, progress=False,
        )  # fmt: skip

    first = measure()
    asked = {"forcing": "sentence", "depends": ["direct", "total"]}
    early = named({"heads": HEADS.names(), **how, **asked}, TRACE, answer="5")
    settings = {"heads": HEADS.names(), "controls": 1, "seed": 2}
    labels = [step.label for step in TRACE.steps]
    influence = named(settings, TRACE, domain="sums", labels=labels)
    assert stored(tmp_path) == {f"early-{early}", f"uniform-{influence}"}
    monkeypatch.setattr(early_steps, "early_answers", lambda *_, **__: pytest.fail("measured"))
    assert measure().equals(first)


def test_what_decides_a_measurement_is_in_its_name(tmp_path: Path) -> None:
    model = tiny("llama")
    store = TraceStore(model, tmp_path, seed=0)
    path = store.path("kind", TRACE, {"known": 1})
    others = [
        store.path("kind", TRACE, {"known": 2}),
        store.path("kind", TRACE, {"known": 1}, draws=3),
        store.path(
            "kind", replace(TRACE, response="Other.", steps=()).with_steps("line"), {"known": 1}
        ),
        TraceStore(model, tmp_path, seed=1).path("kind", TRACE, {"known": 1}),
        TraceStore(tiny("qwen3"), tmp_path, seed=0).path("kind", TRACE, {"known": 1}),
    ]
    assert path not in others
    assert len(set(others)) == len(others)
    assert TraceStore(model, None).path("kind", TRACE, {}) is None
