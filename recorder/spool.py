"""The spool: what has been acknowledged and is not yet in the store, on a local disk.

A segment is a file of frames, each ``mark, length, CRC-32 of the payload, CRC-32 of the head, payload``.
Appending ends in one fsync, so that a frame which was acknowledged is there after a crash; a frame cut
short at the end never was. The mark is the segment's own, so that a reader finds the next frame behind a
damaged one, and no sender can write one into a payload. A segment is removed when its records are in the
store under a name that derives from the segment's own: one that is stored twice replaces itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..sdk.errors import TraceError
from .files import sync

_MARK_SIZE = 8
_NUMBERS = struct.Struct("<II")  # length and CRC-32 of the payload
_CHECK = struct.Struct("<I")  # CRC-32 of mark and numbers
_HEAD = _MARK_SIZE + _NUMBERS.size + _CHECK.size
_SEGMENT = ".spool"
_KEYS = ".keys"
_KEY_SIZE = 16
#: How many stored segments' batch keys are kept; older repetitions are told apart by decision id.
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Contents:
    """What a segment holds.

    Attributes:
        frames: payloads of the whole frames, in the order of arrival.
        rest: bytes after the last of them: cut short by a crash, or damaged.
        gaps: (offset, bytes) of what is damaged before the last of them.
    """

    frames: tuple[bytes, ...]
    rest: int
    gaps: tuple[tuple[int, int], ...] = ()


class Spool:
    """A folder of segments, held by one process at a time.

    Args:
        folder: made when missing.

    Raises:
        TraceError: another recorder holds it, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise TraceError(f"cannot use spool {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise TraceError(
                f"another recorder uses the spool {folder}; give this one its own with --spool"
            ) from error

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def leftovers(self) -> list[Path]:
        """Return the segments that an earlier process left, oldest first."""
        return sorted(self.folder.glob("*" + _SEGMENT))

    def segment(self, time_ns: int, tag: str = "") -> Segment:
        """Start a segment whose name sorts by time; ``tag`` says in it how its payloads were changed."""
        end = f"-{tag}" if tag else ""
        return Segment(self.folder / f"{time_ns:020d}-{uuid.uuid4().hex[:8]}{end}{_SEGMENT}")

    def seen(self) -> Iterator[bytes]:
        """Yield the keys of the batches that were stored lately, oldest first."""
        for path in sorted(self.folder.glob("*" + _KEYS)):
            data = path.read_bytes()
            for at in range(0, len(data) - _KEY_SIZE + 1, _KEY_SIZE):
                yield data[at : at + _KEY_SIZE]

    def discard(self, segment: Path, keys: Iterable[bytes]) -> None:
        """Remove a segment whose records are in the store, and remember its batches."""
        kept = segment.with_suffix(_KEYS)
        hidden = kept.with_suffix(".tmp")
        hidden.write_bytes(b"".join(keys))
        sync(str(hidden))
        hidden.rename(kept)
        segment.unlink(missing_ok=True)  # the call may be a repetition
        for old in sorted(self.folder.glob("*" + _KEYS))[:-_REMEMBERED]:
            old.unlink()
        sync(str(self.folder))

    def set_aside(self, segment: Path) -> Path:
        """Keep a damaged segment under another name, for people; return it."""
        kept = segment.with_suffix(".damaged")
        with contextlib.suppress(FileExistsError):
            os.link(segment, kept)
        return kept

    def take_out(self, segment: Path) -> Path:
        """Keep a segment under another name only, so that no recorder publishes it; return that.

        Raises:
            OSError: the disk refused; the segment is as before.
        """
        kept = self.set_aside(segment)
        segment.unlink()
        sync(str(self.folder))
        return kept


class Segment:
    """A segment that is being written; the file is made by the first append.

    Attributes:
        size: bytes of whole frames.
        broken: a failed append could not be undone: what came after it would be lost, so that
            nothing more may be appended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.broken = False
        self._descriptor = -1
        self._mark = _mark(path)

    def append(self, payloads: Iterable[bytes]) -> None:
        """Make payloads durable, all or none.

        Raises:
            OSError: the disk refused; the segment holds what it held before, see ``broken``.
        """
        if self.broken:
            raise OSError(errno.EIO, "an earlier write to this segment could not be undone")
        data = b"".join(part for p in payloads for part in (_head(self._mark, p), p))
        try:
            self._open()
            self._write(data)
            os.fdatasync(self._descriptor)
        except BaseException:
            self._undo()
            raise
        self.size += len(data)

    def close(self) -> None:
        """Write no more; a segment without a frame leaves no file."""
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):  # what was acknowledged was synced before
            if descriptor >= 0:
                os.close(descriptor)
            if not self.size:
                self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            sync(str(self.path.parent))

    def _undo(self) -> None:
        """Take back what a failed append left in the file."""
        self.broken = not self.size  # perhaps it is not even in its folder
        try:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
        except OSError:
            self.broken = True

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


def tag_of(path: Path) -> str:
    """Return the tag that a segment was started with."""
    return path.stem.partition("-")[2].partition("-")[2]


def read_segment(path: Path) -> Contents:
    """Return a segment's whole frames, those behind damaged ones too."""
    data = path.read_bytes()
    mark = _mark(path)
    frames: list[bytes] = []
    gaps: list[tuple[int, int]] = []
    end = 0  # of the last whole frame
    at = data.find(mark)
    while at >= 0:
        payload = _payload(data, at)
        if payload is None:
            at = data.find(mark, at + 1)
            continue
        if at > end:
            gaps.append((end, at - end))
        frames.append(payload)
        end = at + _HEAD + len(payload)
        at = data.find(mark, end)
    return Contents(tuple(frames), len(data) - end, tuple(gaps))


def _mark(path: Path) -> bytes:
    """Return what every frame of a segment begins with; its name is known to no sender."""
    return hashlib.blake2b(path.stem.encode(), digest_size=_MARK_SIZE).digest()


def _head(mark: bytes, payload: bytes) -> bytes:
    head = mark + _NUMBERS.pack(len(payload), zlib.crc32(payload))
    return head + _CHECK.pack(zlib.crc32(head))


def _payload(data: bytes, at: int) -> bytes | None:
    """Return the payload of the frame at an offset, or None if it is not whole."""
    head = data[at : at + _HEAD]
    checked = head[: -_CHECK.size]
    if len(head) < _HEAD or _CHECK.pack(zlib.crc32(checked)) != head[-_CHECK.size :]:
        return None
    length, checksum = _NUMBERS.unpack_from(head, _MARK_SIZE)
    payload = data[at + _HEAD : at + _HEAD + length]
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None
