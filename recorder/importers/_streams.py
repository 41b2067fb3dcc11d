"""Files as streams of bytes, decompressed by their extension."""

from __future__ import annotations

import contextlib
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...sdk.errors import TraceError

#: What a broken or foreign file makes the decompressors raise.
BROKEN = (EOFError, lzma.LZMAError, pa.ArrowException, OSError)
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading, decompressed; raises TraceError for one that is missing or broken."""
    if not path.is_file():
        raise TraceError(f"no file {path}; name the trace to import")
    try:
        with contextlib.closing(_stream(path)) as stream:
            yield stream
    except BROKEN as error:
        raise broken(path, error) from error


def broken(path: Path, error: Exception) -> TraceError:
    """Return the error that says in one line what is wrong with a file."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return TraceError(f"{path} cannot be read ({reason[:200]}); fetch it again, or name its format")


def _stream(path: Path) -> Any:
    """Return a stream of pyarrow's own where there is one: its threads read ahead, and one that runs
    Python while the interpreter ends takes the process down."""
    if path.suffix == ".xz":
        return lzma.open(path)
    return pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix))


def blocks(stream: Any, path: Path, record: int, most: int) -> Iterator[bytes]:
    """Yield a stream in whole records of ``record`` bytes, ``most`` at a time.

    Raises:
        TraceError: the file ends within a record.
    """
    size = record * most
    while block := _filled(stream, size):
        if rest := len(block) % record:
            raise TraceError(
                f"{path} ends {rest} bytes into a record of {record}; fetch it again, or name its format"
            )
        yield block


def _filled(stream: Any, size: int) -> bytes:
    """Return ``size`` bytes, fewer at the end only."""
    parts: list[bytes] = []
    while size and (part := bytes(stream.read(size))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
