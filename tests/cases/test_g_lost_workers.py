"""G4, G8: a run with Ray ends whatever its actors die of, and leaves the files of a local run.

Ray is replaced by something that does the actors' work here, one piece at a time in any order, and
loses actors as it is told.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlens.corpus import part_files
from airlens.corpus.lost_workers import LIVES, Case
from airlens.corpus.ray_pool import LOST_IN_A_ROW, STARTS
from airlens.corpus.ray_runner import RayEngine
from airlens.corpus.ray_worker import Worker
from airlens.corpus.run import score_corpus
from airlens.corpus.run_folder import RunFolder
from airlens.corpus.run_record import run_status
from airlens.corpus.score_part import PartScorer
from airlens.errors import RunError
from tests.cases.corpus_kit import HEADS, ROWS, by_id, files, lines, score, write

pytest.importorskip("ray")


class Died(BaseException):
    """The process of an actor ended."""


class RayError(Exception):
    """What Ray says of it."""


class RayTaskError(RayError):
    """An exception in an actor."""


class Ref:
    """A call that is not done yet, or a value."""

    def __init__(
        self, actor: Any = None, name: str = "", args: Any = (), value: Any = None
    ) -> None:
        self.actor, self.name, self.args, self.value = actor, name, args, value
        self.error: Exception | None = None
        self.is_done = actor is None

    def run(self) -> None:
        """Do it, after what the actor was given before."""
        for ref in self.actor.calls:
            if not ref.is_done:
                ref._run()
            if ref is self:
                return

    def _run(self) -> None:
        self.is_done = True
        if self.actor.is_dead:
            self.error = RayError("The actor died.\nWorker exit detail: gone.")
            return
        try:
            args = [arg.value if isinstance(arg, Ref) else arg for arg in self.args]
            args = pickle.loads(pickle.dumps(args))
            if self.actor.worker is None:
                self.actor.worker = self.actor.make()
            answer = getattr(self.actor.worker, self.name)(*args)
            self.value = pickle.loads(pickle.dumps(answer))
        except Died:
            self.actor.is_dead = True
            self._run()


class Actor:
    """Makes its worker when it is first asked for something."""

    def __init__(self, make: Any) -> None:
        self.make, self.worker, self.is_dead = make, None, False
        self.calls: list[Ref] = []

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any) -> Ref:
            self.calls.append(Ref(self, name, args))
            return self.calls[-1]

        return SimpleNamespace(remote=remote)


class FakeRay:
    """The calls of Ray that the engine uses."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.started = 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0}

    def remote(self, **options: Any) -> Any:
        assert options["max_restarts"] == options["max_task_retries"] == 0

        def made(worker: type) -> Any:
            def start(*args: Any) -> Actor:
                self.started += 1
                return Actor(lambda: worker(*args))

            return SimpleNamespace(remote=start)

        return made

    def put(self, value: Any) -> Ref:
        return Ref(None, value=value)

    def get(self, ref: Ref) -> Any:
        if ref.error is not None:
            raise ref.error
        return ref.value

    def wait(self, refs: list[Ref], **options: Any) -> tuple[list[Ref], list[Ref]]:
        assert refs, "nothing to wait for"
        chosen = self.rng.choice(refs)
        chosen.run()
        return [chosen], []

    def kill(self, actor: Actor) -> None:
        actor.is_dead = True


@pytest.fixture(scope="module")
def model(make_model: Any) -> Any:
    return make_model("llama")


def engine_of(
    model: Any, monkeypatch: pytest.MonkeyPatch, deadly: Collection[str], seed: int, losses: float
) -> tuple[RayEngine, FakeRay]:
    """An engine whose actors die of these rows, and now and then by themselves."""
    ray = FakeRay(seed)
    monkeypatch.setitem(sys.modules, "ray", ray)

    class Deadly(PartScorer):
        def __call__(self, rows: Any, tables: Any = None) -> Any:
            if any(row.trace.id in deadly for row in rows):
                raise Died
            found = super().__call__(rows, tables)
            if ray.rng.random() < losses:
                raise Died
            return found

    class Here(Worker):
        def __init__(self, name: Any, scorer: Any, threads: int, folder: str, sign: Any) -> None:
            self.error, self.folder = "", Path(folder)
            self.scorer = Deadly(model, **scorer)

    return RayEngine({"name": "x"}, worker=Here), ray


@pytest.mark.parametrize("seed", range(4))
def test_actors_that_die_by_themselves_change_nothing(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    source = write(tmp_path / "d.jsonl", [*ROWS[:3], {"id": "bad"}, *ROWS[3:]])
    engine, ray = engine_of(model, monkeypatch, (), seed, 0.15)
    how = {"part_rows": 2, "max_rejects": 0.5}
    score(model, source, tmp_path / "ray", engine=engine, **how)
    score(model, source, tmp_path / "local", **how)
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert lines(tmp_path / "ray" / "rejects.jsonl") == lines(tmp_path / "local" / "rejects.jsonl")
    assert not list((tmp_path / "ray").rglob(".part-*"))
    if seed == 0:
        assert ray.started > 3


@pytest.mark.parametrize("deadly", [{"r0"}, {"r4", "r7"}, {"r5", "r6", "r7", "r8", "r9"}])
def test_g4_rows_that_kill_their_worker(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deadly: set[str]
) -> None:
    source = write(tmp_path / "d.jsonl", ROWS)
    engine, ray = engine_of(model, monkeypatch, deadly, 0, 0.0)
    result = score(model, source, tmp_path / "ray", engine=engine, max_rejects=1.0)
    rejects = lines(tmp_path / "ray" / "rejects.jsonl")
    assert {reject["id"] for reject in rejects} == deadly
    assert all(reject["reason"] == "killed its worker: gone." for reject in rejects)
    assert result.manifest["reject_reasons"] == {"killed its worker": len(deadly)}
    assert ray.started < 3 + 12 * len(deadly)
    rest = [row for row in ROWS if row["id"] not in deadly]
    alone = score(model, write(tmp_path / "rest.jsonl", rest), tmp_path / "rest")
    found = by_id(RunFolder(tmp_path / "ray").read())
    assert found["id"].tolist() == by_id(alone.samples)["id"].tolist()
    assert (found["ais"] - by_id(alone.samples)["ais"]).abs().max() < 1e-5
    # A chunk of which nothing is left has no part that could remember its rows.
    again = score(model, source, tmp_path / "ray", max_rejects=1.0)
    assert again.counts.rejects + again.counts.scored == len(deadly)
    assert again.counts.scored in (0, 5)


def test_g4_actors_that_die_of_everything_end_the_run(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "d.jsonl", [{**ROWS[0], "id": f"r{i}"} for i in range(60)])
    everything = [f"r{i}" for i in range(60)]
    engine, ray = engine_of(model, monkeypatch, everything, 0, 0.0)
    with pytest.raises(RunError, match=r"Ray actors were lost with nothing done: gone\."):
        score(model, source, tmp_path / "out", engine=engine, part_rows=60)
    assert ray.started <= 3 * (LOST_IN_A_ROW + 1) + 1


def test_g4_actors_that_never_start_end_the_run(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, ray = engine_of(model, monkeypatch, (), 0, 0.0)

    class Unborn(engine.worker):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any) -> None:
            raise Died

    engine.worker = Unborn
    with pytest.raises(RunError, match=rf"{STARTS} Ray actors in a row could not start: gone\."):
        score(model, ROWS, tmp_path / "out", engine=engine)
    assert ray.started == 3 + STARTS - 1


def test_rows_that_kill_only_together_are_told(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = engine_of(model, monkeypatch, (), 0, 0.0)
    inner = engine.worker

    class Small(inner):  # type: ignore[valid-type,misc]
        def score(self, chunk: Any, bad: Any = ()) -> Any:
            if len(chunk.rows) > 4:
                raise Died
            return super().score(chunk, bad)

    engine.worker = Small
    with pytest.raises(RunError, match=r"none does alone \(gone\.\).*--part-rows"):
        score(model, ROWS, tmp_path / "out", engine=engine)


def test_what_an_actor_cannot_do_is_said(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = engine_of(model, monkeypatch, (), 0, 0.0)

    class Other(engine.worker):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.error = "host: another model on this machine: weights differ"

    engine.worker = Other
    with pytest.raises(RunError, match="another model on this machine: weights differ"):
        score(model, ROWS, tmp_path / "out", engine=engine)


def test_an_actor_that_finds_no_room_ends_the_run_with_the_reason(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = engine_of(model, monkeypatch, (), 0, 0.0)
    written: list[Path] = []
    original = part_files.write_table

    def full(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 8:  # the second of the third part's three files
            path.write_bytes(content[:10])
            raise OSError(28, "No space left on device")
        original(path, content)

    monkeypatch.setattr(part_files, "write_table", full)
    with pytest.raises(RunError, match=r"^part \d of .*No space left on device.*make room"):
        score(model, ROWS, tmp_path / "out", engine=engine, part_rows=2)
    assert run_status(tmp_path / "out")["state"] == "failed"
    monkeypatch.setattr(part_files, "write_table", original)
    score(model, ROWS, tmp_path / "local", part_rows=2)
    score(model, ROWS, tmp_path / "out", part_rows=2)
    assert by_id(RunFolder(tmp_path / "out").read()).equals(
        by_id(RunFolder(tmp_path / "local").read())
    )
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_actors_that_do_not_see_the_folder_send_the_bytes(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = engine_of(model, monkeypatch, (), 0, 0.0)

    class Blind(engine.worker):  # type: ignore[name-defined,misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.folder = None

    engine.worker = Blind
    score(model, ROWS, tmp_path / "ray", engine=engine)
    score(model, ROWS, tmp_path / "local")
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert "tables pass through the calling process" in engine.told


def test_no_table_passes_through_the_caller(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes back of a part is a record whose size does not depend on the texts."""
    engine, _ = engine_of(model, monkeypatch, (), 0, 0.0)
    sizes: list[int] = []

    def watched(scorer: Any, chunks: Any) -> Any:
        for chunk, part in engine(scorer, chunks):
            sizes.append(len(pickle.dumps((chunk, part))))
            assert part is None or (not part.contents and not chunk.rows)
            yield chunk, part

    long = [{**row, "note": "x" * 100_000} for row in ROWS]
    score_corpus(model, long, HEADS, tmp_path / "ray", engine=watched, progress=False)
    assert sizes and max(sizes) < 5_000


# --- the search by itself


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.data())
def test_g4_the_search_finds_the_rows_with_few_workers(n: int, data: st.DataObject) -> None:
    deadly = data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=3))
    case = Case(0, n)
    waiting, lost = [case.first()], 0
    while True:
        work = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        rows = set(range(n)) - set(case.killers) if work.places is None else set(work.places)
        if rows & deadly:
            lost += 1
            waiting += work.lost("gone")
        elif work.places is None:
            break
        else:
            waiting += work.survived()
    assert case.killers == sorted(deadly) and not waiting
    # The whole twice, each row twice, and once each stretch between that holds one of them.
    levels = max(0, (n - 1).bit_length() - 1)
    assert lost <= LIVES + len(deadly) * (LIVES + levels)
