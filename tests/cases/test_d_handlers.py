"""What is caught is what is meant: no number, file or interrupt is lost in a handler."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

import airlens as al
from airlens import hub, registry
from airlens.cli.train import _selection
from airlens.corpus.export import manifest_path
from airlens.corpus.markers import Marker, checksum, read_marker, write_marker
from airlens.corpus.run_folder import RunFolder
from airlens.errors import AirlensError, ConfigError, DataError, RunError
from airlens.experiments.paper.compare_models import Comparison
from airlens.experiments.validity.labelled import IMPORTANCES, add_importance
from airlens.experiments.validity.true_sources.true_pairs import dependencies
from airlens.files import read_json
from airlens.folders import kept, kept_table
from airlens.provenance import fingerprint
from airlens.selection import contrast
from airlens.step_influence.ablation_curves import curve_sets
from airlens.step_influence.head_influence import HeadInfluence, _Job
from airlens.traces import source_types, splits
from airlens.training.training_folder import MARK, TrainingFolder
from airlens.views.explorers.jobs import Worker
from airlens.views.explorers.notebook_files import parse_values


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Files of these names are there, but cannot be opened now."""
    names: set[str] = set()
    read = Path.read_bytes

    def refusing(self: Path) -> bytes:
        if self.name in names and self.exists():
            raise OSError(24, "Too many open files", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    return names.add


def test_d24_a_part_that_cannot_be_read_now_is_not_lost(tmp_path: Path, unreadable: Any) -> None:
    """It counted as not there: its number was used again, its rows were scored again."""
    folder = RunFolder(tmp_path)
    table = tmp_path / "parts" / "part-000000.parquet"
    table.parent.mkdir()
    pq.write_table(pa.table({"id": ["a"]}), table)
    write_marker(tmp_path, Marker(0, "f", ("x y",), tables={"parts": checksum(table)}))
    before = (tmp_path / "done" / "part-000000.json").read_bytes()
    unreadable("part-000000.parquet")
    with pytest.raises(RunError, match=r"part-000000\.parquet cannot be read \(Too many open"):
        folder.clean()
    assert (tmp_path / "done" / "part-000000.json").read_bytes() == before
    unreadable("part-000000.json")
    with pytest.raises(RunError, match=r"part-000000\.json cannot be read"):
        folder.next_part()
    assert read_marker(tmp_path, 1) is None and checksum(tmp_path / "none") == ""


def test_d24_damaged_types_of_the_source_are_told(tmp_path: Path) -> None:
    """An export gave other types of columns, without a word."""
    folder = RunFolder(tmp_path)
    assert len(folder.types()) == 0
    folder.write_types(pa.schema([pa.field("n", pa.int8())]))
    assert folder.types().field("n").type == pa.int8()
    path = tmp_path / "types.arrow"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match=r"types\.arrow.*damaged"):
        folder.types()


def test_d24_a_checkpoint_that_cannot_be_read_now_is_kept(tmp_path: Path, unreadable: Any) -> None:
    folder = TrainingFolder(tmp_path, {"a": 1})
    folder.begin({})
    for step in (1, 2, 3):
        (tmp_path / f"checkpoint-{step}").mkdir()
    folder.mark(1)
    (tmp_path / "checkpoint-2" / MARK).write_bytes(b'{"finge')
    folder.remove_broken()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]
    unreadable(MARK)
    with pytest.raises(DataError, match="cannot be read"):
        folder.remove_broken()
    assert (tmp_path / "checkpoint-1").is_dir()


def test_d24_front_matter_that_is_no_yaml_is_told(tmp_path: Path, caplog: Any) -> None:
    """Files were then chosen by their names, silently."""
    (tmp_path / "README.md").write_bytes(b"---\nconfigs: [a: b: c\n---\nText\n")
    with caplog.at_level(logging.WARNING):
        assert splits.listed_files(tmp_path, None, None) is None
    assert "front matter" in caplog.text and "README.md" in caplog.text
    caplog.clear()
    (tmp_path / "README.md").write_bytes(b"# A text\n")
    assert splits.listed_files(tmp_path, None, None) is None
    assert not caplog.records


def test_d24_what_the_cache_said_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong split of a cached copy was told as "no copy in the cache"."""

    def refused(*_: Any, **__: Any) -> None:
        raise ValueError('Unknown split "x". Should be one of ["train"].')

    monkeypatch.setattr(hub, "unreachable", lambda: "no network")
    monkeypatch.setattr(datasets, "load_dataset", refused)
    with pytest.raises(DataError, match=r"no network; from the cache: Unknown split \"x\""):
        hub.load_hub("org/name", split="x", config=None, stream=False)


def test_d24_only_an_unreadable_source_has_no_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    assert len(source_types.source_types(str(tmp_path / "a.parquet"))) == 0
    stream = datasets.Dataset.from_dict({"a": [1]}).to_iterable_dataset()
    assert source_types.source_types(stream).names == ["a"]
    stream._info.features = None
    assert len(source_types.source_types(stream)) == 0

    def wrong(*_: Any) -> Any:
        raise NameError("a mistake of ours")

    monkeypatch.setattr(source_types, "_of_name", wrong)
    with pytest.raises(NameError):
        source_types.source_types("x.parquet")


def test_d24_a_group_of_heads_that_is_left_out_is_told(caplog: Any) -> None:
    scores = al.HeadScores(values := np.arange(4, dtype=np.float32).reshape(1, 4), values[None])
    with caplog.at_level(logging.WARNING):
        groups = {group for group, _, _ in curve_sets(scores, 3, draws=2)}
    assert groups == {"top", "bottom"}
    assert "'random'" in caplog.text and "'same_layers'" in caplog.text


def test_d24_only_missing_words_are_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    frame = pd.DataFrame({"text": ["1 2", "3"], "cluster": [0, 1]})
    assert contrast.cluster_words(frame) == {}

    def wrong(*_: Any) -> None:
        raise ValueError("another mistake")

    monkeypatch.setattr(TfidfVectorizer, "fit_transform", wrong)
    with pytest.raises(ValueError, match="another mistake"):
        contrast.cluster_words(frame)


def test_d24_a_parameter_that_is_no_literal_is_a_text() -> None:
    assert parse_values(["a={[]: 1}", "b=2"]) == {"a": "{[]: 1}", "b": 2}


@pytest.mark.parametrize("error", [SyntaxError("bad"), ValueError("bad"), KeyError("bad")])
def test_d24_a_package_whose_code_fails_is_named(error: Exception) -> None:
    class Offered:
        value, dist = "mine:make", None

        def load(self) -> Any:
            raise error

    with pytest.raises(ConfigError, match=rf"'mine' of a package .*{type(error).__name__}"):
        registry._load(
            "detector",
            "mine",
            [Offered()],  # type: ignore[list-item]
            is_own=False,
        )


def test_d24_an_interrupt_of_work_in_the_callers_thread_goes_on_to_the_caller() -> None:
    def work() -> None:
        raise KeyboardInterrupt

    worker, dropped = Worker(), []
    with pytest.raises(KeyboardInterrupt):
        worker.start(work, lambda _: None, dropped=lambda: dropped.append(1))
    assert dropped == [1] and "cancelled" in worker.note.value


def trace_of(**meta: Any) -> al.Trace:
    trace = al.Trace("a", "p", "One. Two. Three.").with_steps("sentence")
    return al.Trace("a", "p", trace.response, steps=trace.steps, step_meta=({}, {}, meta))


@pytest.mark.parametrize("given", [1.5, "x", None, True, float("nan"), float("inf"), [1]])
def test_d24_a_step_that_is_no_whole_number_is_refused(given: Any) -> None:
    """1.5 counted as step 1."""
    with pytest.raises(DataError, match="is no step"):
        dependencies(trace_of(depends_on=[given]))
    with pytest.raises(DataError, match="is no step"):
        dependencies(trace_of(index=given))


def test_d24_a_step_may_be_a_text_or_a_float() -> None:
    assert dependencies(trace_of(depends_on=["0", 1.0, np.int64(0)])) == {(2, 0), (2, 1)}


def test_d24_importances_are_numbers() -> None:
    """A text became NaN, which is "not scored"."""
    steps = pd.DataFrame({"id": ["a"] * 3, "step": range(3)})
    name = IMPORTANCES[0]
    found = add_importance(steps, [trace_of(**{name: "0.5"})])
    assert found[name].tolist()[2] == 0.5 and np.isnan(found[name][0])
    with pytest.raises(DataError, match=name):
        add_importance(steps, [trace_of(**{name: "high"})])


def test_d24_files_that_are_cut_short_are_named(tmp_path: Path) -> None:
    arrays = tmp_path / "heads.npz"
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "steps.parquet")
    (tmp_path / "provenance.json").write_bytes(b"{}")
    np.savez(arrays, scores=np.zeros((2, 2)))
    arrays.write_bytes(arrays.read_bytes()[:-30])
    with pytest.raises(DataError, match="not a saved head influence"):
        HeadInfluence.load(tmp_path)
    for content in (arrays.read_bytes(), b"text", b""):
        (tmp_path / "stopped.npz").write_bytes(content)
        with pytest.raises(DataError, match="not a stopped run"):
            _Job._restore(_Job.__new__(_Job), tmp_path / "stopped", "key")
    for name in ("table", "heads", "claims"):
        pd.DataFrame({"model": ["a"]}).to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "measured_units.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a saved comparison"):
        Comparison.load(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_d24_a_manifest_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    data = tmp_path / "chosen.jsonl"
    manifest_path(data).write_bytes(content)
    with pytest.raises(DataError, match="JSON"):
        _selection(str(data), [])


def test_d24_a_file_that_cannot_be_opened_is_not_said_to_be_no_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "a.json").write_bytes(b"{}")
    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(AirlensError, match=r"cannot be read \(Permission denied\)"):
        read_json(tmp_path / "a.json")


def test_d24_an_identity_is_of_all_of_an_array_and_of_no_order_of_a_set() -> None:
    """The text of a long array is its first and last numbers: two runs had one identity."""
    values = np.zeros(5000)
    other = values.copy()
    other[2500] = 1.0
    assert fingerprint({"a": values}) != fingerprint({"a": other})
    names = [f"name-{i}" for i in range(50)]
    assert fingerprint({"a": set(names)}) == fingerprint({"a": sorted(names)})
    assert fingerprint({"a": np.float32(0.5)}) == fingerprint({"a": "0.5"})  # as it always was


@pytest.mark.parametrize("content", [b"", b"PAR1", b"{", b"[]"])
def test_d24_what_was_stored_and_is_damaged_is_named(tmp_path: Path, content: bytes) -> None:
    table = tmp_path / "a.parquet"
    table.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet.*delete the file"):
        kept_table(table, pd.DataFrame)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"run\.json.*JSON"):
        RunFolder(tmp_path).manifest()


def test_d24_a_folder_without_its_last_file_is_made_again(tmp_path: Path) -> None:
    made: list[str] = []

    def make() -> str:
        made.append("now")
        return "now"

    def save(text: str, path: Path) -> None:
        path.mkdir(exist_ok=True)
        (path / "text").write_text(text)
        (path / "done").write_text("")

    def load(path: Path) -> str | None:
        return (path / "text").read_text() or None

    def ask(place: Path | None) -> str:
        return kept(place, make, load, save, whole="done")

    assert ask(None) == "now" and not any(tmp_path.iterdir())
    place = tmp_path / "result"
    place.mkdir()
    (place / "text").write_text("half")  # what a killed run leaves
    assert (ask(place), ask(place), made) == ("now", "now", ["now"] * 2)
    (place / "text").write_text("before")
    assert (ask(place), len(made)) == ("before", 2)
    (place / "text").write_text("")  # not what is wanted, says `load`
    assert (ask(place), len(made), (place / "text").read_text()) == ("now", 3, "now")
