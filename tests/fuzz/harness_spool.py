"""Spool segments: every whole frame is found, whatever lies around it, and every byte is accounted for.

The input is cut at its zero bytes into payloads, which are written as the recorder writes them; then the bytes after
the last 255 byte are written over the file, in threes: a place and a value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from gnomon.recorder.spool import Segment, read_segment

_FRAME = 20


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"{1:020d}-0badcafe.spool"
        said, _, changes = data.rpartition(b"\xff")
        payloads = said.split(b"\0") if said else []
        segment = Segment(path)
        segment.append(payloads)
        segment.close()
        if payloads:
            assert read_segment(path).frames == tuple(payloads)
        _damage(path, changes)
        _read(path, payloads)
        path.write_bytes(data)
        _read(path, [])


def _damage(path: Path, changes: bytes) -> None:
    whole = bytearray(path.read_bytes() if path.exists() else b"")
    for at in range(0, len(changes) - 2, 3):
        if whole:
            place = int.from_bytes(changes[at : at + 2], "big") % len(whole)
            whole[place] = changes[at + 2]
            if changes[at + 2] == 0:
                del whole[place:]
    path.write_bytes(bytes(whole))


def _read(path: Path, payloads: list[bytes]) -> None:
    """Assert that what is read was written, in order, and that nothing in the file is unaccounted for."""
    found = read_segment(path)
    rest = iter(payloads)
    assert all(frame in rest for frame in found.frames)
    size = sum(_FRAME + len(frame) for frame in found.frames)
    lost = sum(length for _, length in found.gaps)
    assert size + lost + found.rest == path.stat().st_size


def seeds() -> Iterator[bytes]:
    yield b"one\0two\0\0three\xff" + bytes([0, 3, 1, 0, 30, 7])
    yield b"payload" * 20 + b"\0end\xff\x00\x50\x00"
    yield b"\xff"
