"""Open a file as bytes, whatever compresses it, and text in UTF-16 as UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    import zstandard

    frames = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return cast(IO[bytes], io.BufferedReader(frames))


def _opener(read: Callable[..., Any]) -> Callable[[IO[bytes]], IO[bytes]]:
    return lambda raw: cast(IO[bytes], io.BufferedReader(read(raw)))


def _gunzip(raw: IO[bytes]) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=raw)


_BZ2, _XZ = _opener(bz2.BZ2File), _opener(lzma.LZMAFile)
SUFFIXES: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": _opener(_gunzip),
    ".bz2": _BZ2,
    ".xz": _XZ,
    ".lzma": _XZ,
    ".zst": _zstd,
    ".zstd": _zstd,
}
# How compressed data begin, for a file whose name does not say it.
_MAGIC = {
    b"\x1f\x8b\x08": ".gz",
    b"BZh91AY&SY": ".bz2",
    b"\xfd7zXZ\x00": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}
# What reading of damaged data raises.
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed; by its suffix, else by how it begins."""
    raw = path.open("rb")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        head = raw.read(max(map(len, _MAGIC)))
        raw.seek(0)
        suffix = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    return SUFFIXES[suffix](raw) if suffix else raw


def as_utf8(stream: IO[bytes]) -> IO[bytes]:
    """The stream without a byte order mark; UTF-16 and UTF-32, which begin with one, as UTF-8."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    head = buffered.peek(4)[:4]
    if head.startswith(codecs.BOM_UTF8):
        buffered.read(len(codecs.BOM_UTF8))
    elif head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return io.BytesIO(buffered.read().decode("utf-32").encode())
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # Spreadsheets and PowerShell write it; such files are small enough to be read whole.
        return io.BytesIO(buffered.read().decode("utf-16").encode())
    return buffered
