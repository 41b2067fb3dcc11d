"""Reads one field after the other of many messages at once, a step of numpy for all of them.

Nothing here trusts its bytes: a message that does not have what is asked for, or has it in another than
the shortest form, is marked as bad and never looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]
_MOST_VARINT = 10


class Octets:
    """Bytes of many messages.

    Attributes:
        bytes: u8, all of them.
    """

    def __init__(self, data: bytes) -> None:
        self.bytes = np.frombuffer(data, np.uint8)
        self._windows: dict[int, Array] = {}

    def windows(self, size: int) -> Array:
        """Return all windows of so many bytes, void[], without a copy: these are copied by the piece."""
        found = self._windows.get(size)
        if found is None:
            shape = max(0, len(self.bytes) - size + 1)
            found = np.ndarray(shape, f"V{size}", self.bytes, strides=(1,))
            self._windows[size] = found
        return found


class Cursor:
    """A position in each of n messages.

    Args:
        octets: with all messages.
        starts, ends: i64[n], where each message lies in it.

    Attributes:
        at: i64[n], position of each message; of no meaning where ``good`` is False.
        good: bool[n], whether everything that was asked for was there.
    """

    def __init__(self, octets: Octets, starts: Array, ends: Array) -> None:
        self.at = starts.copy()
        self.good = np.ones(len(starts), bool)
        self.octets = octets
        self._data = octets.bytes
        self.ends = ends

    @property
    def room(self) -> Array:
        """Bytes from here to the end of each message, i64[n]."""
        return self.ends - self.at

    def only(self, rows: Array) -> Cursor:
        """Return a cursor at the same places of some of the messages, i64[m]."""
        return Cursor(self.octets, self.at[rows], self.ends[rows])

    def finish(self) -> None:
        """Mark messages that do not end here."""
        self.good &= self.at == self.ends

    def literal(self, expected: bytes, where: Array | None = None) -> None:
        """Step over these bytes, in all messages or in those of a mask."""
        found = self._has(expected)
        if where is None:
            self._require(found)
            self.at += len(expected)
        else:
            self._require(found | ~where)
            self.at += where * len(expected)

    def tagged(self, prefix: bytes, size: int) -> Array:
        """Step over a prefix and return the bytes that must follow it, u8[n, size]."""
        rows, here = self._tagged(prefix, size)
        self._require(here)
        self.at += len(prefix) + size
        return rows

    def ahead(self, distance: int, expected: bytes) -> Array:
        """Return where these bytes come so far ahead, bool[n]; no step is taken."""
        look = Cursor(self.octets, self.at + distance, self.ends)
        return look._has(expected) & self.good

    def optional(self, prefix: bytes, size: int) -> tuple[Array, Array]:
        """Return the bytes that follow a prefix, u8[n, size], and where it is, bool[n]."""
        rows, here = self._tagged(prefix, size)
        self.at += here * (len(prefix) + size)
        return rows, here

    def doubles(self, counts: Array) -> pa.ListArray:
        """Return the next numbers, so many in each message, as list<double>[n]."""
        self._require(self.at + 8 * counts <= self.ends)
        counts = counts * self.good
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        if len(counts) and (counts == counts[0]).all():
            numbers = self._rows(8 * int(counts[0])).ravel()
        else:
            places = np.repeat(self.at - 8 * offsets[:-1], counts) + 8 * np.arange(offsets[-1])
            numbers = self.octets.windows(8)[places].view(np.uint8)
        self.at += 8 * counts
        return pa.ListArray.from_arrays(
            pa.array(offsets.astype(np.int32)), pa.array(numbers.view("<f8"))
        )

    def integer(self, prefixes: Sequence[bytes], missing: int) -> tuple[Array, Array]:
        """Return an int64 attribute as i64[n], and where it is.

        Args:
            prefixes: by the size of the varint that follows, 1 to 10; all of one length, and they
                differ in that size only.
            missing: value where there is no such attribute.
        """
        first, second = (np.frombuffer(prefixes[size], np.uint8) for size in (1, 2))
        outer, inner = np.flatnonzero(first != second).tolist()
        rows = self._rows(len(first))
        size = rows[:, inner].astype(np.int64) - first[inner] + 1
        fits = (size >= 1) & (size <= _MOST_VARINT)
        fits &= rows[:, outer] == first[outer] + size - 1
        here = self._same(rows, first, [outer, inner])
        self._require(fits | ~here)
        here &= self.good
        self.at += here * len(first)
        return np.where(here, self._varints(size * here), missing), here

    def text(self, empty: bytes) -> pa.StringArray:
        """Return an optional text attribute of less than 128 bytes; an empty text where there is none.

        Args:
            empty: the attribute with an empty text; its last byte is the size, and every byte that
                depends on it has the size added.
        """
        first = np.frombuffer(empty, np.uint8)
        lengths = [1, len(empty) - 3, len(empty) - 1]  # of attribute, value and text
        rows = self._rows(len(first))
        size = rows[:, -1].astype(np.int64)
        fits = size > 0
        for place in lengths:
            fits &= (rows[:, place] == first[place] + size) & (first[place] + size < 128)
        here = self._same(rows, first, lengths)
        self._require(fits | ~here)
        here &= self.good
        self.at += here * len(first)
        return self._texts(size * here)

    def _texts(self, size: Array) -> pa.StringArray:
        self._require(self.at + size <= self.ends)
        size = size * self.good
        offsets = np.zeros(len(size) + 1, np.int32)
        np.cumsum(size, out=offsets[1:])
        total = int(offsets[-1])
        places = np.arange(total) + np.repeat(self.at - offsets[:-1], size)
        content = self._data[places]
        high = content >= 128
        if high.any():  # it may be no UTF-8: for others to say
            of = np.repeat(np.arange(len(size)), size)
            bad = np.zeros(len(size), bool)
            bad[of[high]] = True
            bad &= ~self._utf8(size, bad)
            if bad.any():
                self._require(~bad)
                return self._texts(size * self.good)
        self.at += size
        return pa.StringArray.from_buffers(
            len(size), pa.py_buffer(offsets), pa.py_buffer(content.tobytes())
        )

    def _utf8(self, size: Array, asked: Array) -> Array:
        valid = np.zeros(len(size), bool)
        for i in np.flatnonzero(asked).tolist():
            part = self._data[self.at[i] : self.at[i] + size[i]]
            try:
                str(part.tobytes(), "utf-8")
            except UnicodeDecodeError:
                continue
            valid[i] = True
        return valid

    def _varints(self, size: Array) -> Array:
        """Return varints of known sizes as i64[n]; 0 where the size is 0."""
        self._require(self.at + size <= self.ends)
        size = (size * self.good)[:, None]
        most = int(size.max(initial=0))
        if not most:
            return np.zeros(len(size), np.int64)
        place = np.arange(most)
        places = np.minimum(self.at[:, None] + place, len(self._data) - 1)
        octets = self._data[np.where(self.good[:, None], places, 0)]
        within, last = place < size, place == size - 1
        self._require((((octets >= 128) == ~last) | ~within).all(1))
        end = octets[np.arange(len(size)), np.maximum(size[:, 0], 1) - 1]
        self._require((end > 0) | (size[:, 0] <= 1))
        if most == _MOST_VARINT:
            self._require((end == 1) | (size[:, 0] < most))
        bits = (octets & 127).astype(np.uint64) << (7 * place).astype(np.uint64)
        self.at += size[:, 0] * self.good
        value: Array = (bits * within).sum(1, dtype=np.uint64)
        return value.view(np.int64)

    def _tagged(self, prefix: bytes, size: int) -> tuple[Array, Array]:
        parts = [("prefix", f"V{len(prefix)}"), ("value", f"V{size}")]
        rows = self._rows(len(prefix) + size).view(parts).ravel()
        here = self._equal(rows["prefix"], np.frombuffer(prefix, np.uint8))
        return np.ascontiguousarray(rows["value"]).view(np.uint8).reshape(-1, size), here

    def _has(self, expected: bytes) -> Array:
        rows = self._rows(len(expected)).view(f"V{len(expected)}").ravel()
        return self._equal(rows, np.frombuffer(expected, np.uint8))

    def _same(self, rows: Array, expected: Array, apart_from: list[int]) -> Array:
        """Return which good rows are these bytes, some places left out, which are overwritten."""
        rows[:, apart_from] = expected[apart_from]
        return self._equal(rows.view(f"V{len(expected)}").ravel(), expected)

    def _equal(self, rows: Array, expected: Array) -> Array:
        found: Array = (rows == expected.view(f"V{len(expected)}")) & self.good
        return found

    def _rows(self, size: int) -> Array:
        """Return the next bytes of every message, u8[n, size]; zeros where a message is too short."""
        inside = (self.at + size <= self.ends) & self.good
        if not size or not inside.any():
            return np.zeros((len(inside), size), np.uint8)
        everywhere = bool(inside.all())
        found = self.octets.windows(size)[self.at if everywhere else np.where(inside, self.at, 0)]
        rows: Array = found.view(np.uint8).reshape(-1, size)
        if not everywhere:
            rows[~inside] = 0
        return rows

    def _require(self, fine: Array) -> None:
        self.good &= fine


def together(cursors: Sequence[Cursor]) -> Cursor:
    """Return one cursor for the messages of several, which read the same bytes."""
    joined = [np.concatenate([getattr(each, name) for each in cursors]) for name in ("at", "ends")]
    return Cursor(cursors[0].octets, *joined)
