"""The corpus as a stream: ids, places, damaged input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airlens.corpus import Chunk, Corpus, Reject, Row, estimate_rows, iter_chunks, iter_rows, rows
from airlens.corpus.book import Book
from airlens.corpus.idset import IdSet
from airlens.corpus.markers import Marker
from airlens.errors import AirlensError
from airlens.traces import record_files

LINES = [json.dumps({"prompt": f"p{i}", "response": f"r{i}"}).encode() for i in range(12)]
# Pieces that a damaged file is made of.
PIECES = st.sampled_from(
    [*LINES[:3], b"{", b'{"prompt":', b"null", b"[]", b"\xff\xfe", b"\x00", b'"']
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(PIECES | st.binary(max_size=20), max_size=6),
    st.sampled_from(["jsonl", "json", "csv", "parquet", "jsonl.gz", "jsonl.zst"]),
    st.booleans(),
)
def test_no_file_raises_anything_but_ours(
    tmp_path: Path, pieces: list[bytes], suffix: str, packed: bool
) -> None:
    content = b"\n".join(pieces)
    if packed and suffix.endswith("gz"):
        content = gzip.compress(content)[: len(content) + 12]
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(content)
    try:
        found = list(iter_rows(Corpus(str(path))))
    except AirlensError:
        return
    for item in found:
        assert isinstance(item, Row) or item.reason
        assert item.file == str(path)


def test_a_line_too_long_is_rejected_and_the_next_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_files, "MAX_LINE", 100)
    path = tmp_path / "d.jsonl"
    path.write_bytes(LINES[0] + b"\n" + b"x" * 1000 + b"\n" + LINES[1] + b"\n" + b"y" * 101)
    found = list(iter_rows(Corpus(str(path))))
    assert [isinstance(item, Row) for item in found] == [True, False, True, False]
    assert [item.line for item in found] == [1, 2, 3, 4]
    assert isinstance(found[1], Reject)
    assert found[1].reason.startswith("a line of 1,001 bytes")


def test_a_text_too_long_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_CHARS", 10)
    found = list(iter_rows(Corpus([{"prompt": "p", "response": "r" * 10}])))
    assert isinstance(found[0], Reject)
    assert "11 characters" in found[0].reason


@given(st.sets(st.integers(0, 11)), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_chunks_hold_every_row_once(done: set[int], size: int) -> None:
    rows = [{"id": f"r{i}", "prompt": "p", "response": f"r{i}"} for i in range(12)]
    rows.insert(3, {"id": "bad"})
    source = Corpus(rows)
    known = [row for row in iter_rows(source) if isinstance(row, Row)]
    marker = Marker(0, "f", tuple(known[i].name for i in sorted(done)), tables={"parts": ""})
    chunks: list[Chunk] = list(iter_chunks(source, Book.of([marker], ["parts"]), size))
    ids = [row.trace.id for chunk in chunks for row in chunk.rows]
    assert ids == [f"r{i}" for i in range(12) if i not in done]
    assert sum(chunk.read for chunk in chunks) == 13
    assert sum(chunk.skipped for chunk in chunks) == len(done)
    assert sum(len(chunk.rejects) for chunk in chunks) == 1
    assert all(len(chunk.rows) <= size for chunk in chunks)


def test_an_id_set_is_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlens.corpus.idset.BUCKET_BITS", 3)
    ids = IdSet()
    assert [ids.add(f"r{i % 40}") for i in range(100)] == [i < 40 for i in range(100)]
    assert len(ids) == 40
    assert all(f"r{i}" in ids for i in range(40))
    assert "r40" not in ids


def test_rows_are_estimated_without_reading_all(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\n".join(LINES) + b"\n")
    assert estimate_rows(Corpus(str(path))) == 12
    assert estimate_rows(Corpus(str(path), limit=5)) == 5
    assert estimate_rows(Corpus(LINES)) == 12
    packed = tmp_path / "d.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert estimate_rows(Corpus(str(packed))) is None
