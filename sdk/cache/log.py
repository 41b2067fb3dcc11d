"""Accesses on their way from the caller to the records: tuples in, columns out."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Hashable
from typing import Any

from ..records import Record, Workload, WorkloadBatch
from ..ring import Ring
from .keyhash import BITS, KeyHash

MISS, HIT, PUT, DELETE = 0, 1, 2, 3
#: Accesses that may wait for the drainer, per record that a hook may have waiting.
ROOM = 16
#: The settings are recorded again after so long.
SAY_NS = 30_000_000_000
#: Accesses in one record.
BATCH = 16_384

Note = Callable[[Hashable, float, int], object]


class AccessLog:
    """What was accessed, in order, until it is drained.

    Args:
        room: accesses that may wait; more are dropped and counted.
        time_ns: Unix time.
        sample: share of keys that is recorded.
        ttl: seconds that an object has; 0 for ever.

    Attributes:
        note: take one access: key, size, op.
        skipped: accesses of keys outside the sample.
        recorded: accesses that went into records.
        lookups, misses: among all accesses that were drained.
    """

    def __init__(
        self, room: int, time_ns: Callable[[], int], sample: float, ttl: float = 0.0
    ) -> None:
        self._ring = Ring(room)
        self._time_ns = time_ns
        self._sample = sample
        self._ttl = ttl
        self._seq = 0
        self._said: tuple[float, str, int] | None = None  # capacity, policy, when
        self.keys = KeyHash()
        self._unfit = self._passed = 0
        self.skipped = self.recorded = self.lookups = self.misses = 0
        self.note = self._noter()

    def _noter(self) -> Note:
        items, room, push, drop = (
            self._ring.items, self._ring.room, self._ring.push, self._ring.drop,
        )  # fmt: skip
        time_ns = self._time_ns

        def note(key: Hashable, size: float, op: int) -> None:
            if len(items) < room:
                push((key, size, op, time_ns()))
            else:
                drop()

        return note

    @property
    def dropped(self) -> int:
        """Accesses that found no room, or whose size is no number that can be recorded."""
        return int(self._ring.dropped) + self._unfit

    def begin(self, capacity: float, policy: str) -> None:
        """Say that the cache begins, or runs on another policy, from here on."""
        self._ring.push((None, capacity, policy, self._time_ns()))  # rare, and must not be lost

    def drain(self) -> list[Record]:
        """Return what was noted since the last time, as records."""
        records: list[Record] = []
        columns = _Columns()
        for key, size, op, time_ns in self._ring.take():
            if type(op) is str:
                records += self._batch(columns)
                columns = _Columns()
                records.append(self._setting(size, op, time_ns))
            elif self._sampled(key, op):
                self._add(columns, key, size, op, time_ns)
                if len(columns.time) >= BATCH:
                    records += self._batch(columns)
                    columns = _Columns()
        records += self._batch(columns)
        if records:
            records += self._said_again()
        self._pass_over()
        return records

    def _said_again(self) -> list[Record]:
        """Repeat the settings now and then, for a store that began after the cache."""
        now = self._time_ns()
        if self._said is None or now - self._said[2] < SAY_NS:
            return []
        return [self._setting(*self._said[:2], now, begins=0.0)]

    def _add(self, columns: _Columns, key: Hashable, size: float, op: int, time_ns: int) -> None:
        try:
            size = float(size)
        except Exception:  # noqa: BLE001 - the service's own: this access is lost, not the others
            self._unfit += 1
        else:
            columns.add(self.keys.of(key), size, op, time_ns)

    def _pass_over(self) -> None:
        """Give numbers to what was lost too, after what waited: whoever reads can tell what is missing."""
        lost = int(self.dropped * self._sample)
        self._seq += lost - self._passed
        self._passed = lost

    def _sampled(self, key: Hashable, op: int) -> bool:
        self.lookups += op <= HIT
        self.misses += op == MISS
        if self._sample >= 1.0 or self.keys.of(key) < self._sample * 2.0**BITS:
            return True
        self.skipped += 1
        return False

    def _setting(self, capacity: float, policy: str, time_ns: int, begins: float = 1.0) -> Workload:
        values = (
            ("capacity", float(capacity)),
            ("sampled", self._sample),
            ("policy", policy),
            ("ttl", self._ttl),
            ("begins", begins),
        )
        self._said = (capacity, policy, time_ns)
        self._seq += 1
        return Workload(self._seq - 1, time_ns, "cache", values)

    def _batch(self, columns: _Columns) -> list[Record]:
        count = len(columns.time)
        if not count:
            return []
        seq, self._seq = self._seq, self._seq + count
        self.recorded += count
        return [columns.record(seq)]


class _Columns:
    """Accesses of one record, one array per field."""

    def __init__(self) -> None:
        self.time = array("q")
        self._key, self._size, self._op = array("d"), array("d"), array("d")

    def add(self, key: float, size: float, op: int, time_ns: int) -> None:
        """Append one access."""
        self.time.append(time_ns)
        self._key.append(key)
        self._size.append(size)
        self._op.append(op)

    def record(self, seq: int) -> WorkloadBatch:
        """Return them as the record that begins with number ``seq``."""
        values = (("key", self._key), ("size", self._size), ("op", self._op))
        packed = tuple((name, _little(column)) for name, column in values)
        return WorkloadBatch(seq, "access", _little(self.time), packed)


def _little(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
