"""Counting, checking, cutting and unpacking batches of workload events."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from .records import Record, Workload, WorkloadBatch

#: Events of one batch that a recorder takes; an exporter cuts larger ones.
MOST_EVENTS = 65_536
_WIDTH = 8


def events(records: Iterable[Record]) -> int:
    """Return how many records these are, when a batch of n events counts as n."""
    return sum(
        len(record.times) // _WIDTH if type(record) is WorkloadBatch else 1 for record in records
    )


def check_batch(batch: WorkloadBatch) -> None:
    """Raise ValueError unless every column has one value per event, and there is an event at all."""
    size = len(batch.times)
    if not size or size % _WIDTH:
        raise ValueError(f"times have {size} bytes, no positive multiple of {_WIDTH}")
    for name, column in batch.values:
        if not isinstance(name, str):
            raise TypeError(f"field name {name!r} is no text")
        if len(column) != size:
            raise ValueError(f"field {name!r} has {len(column)} bytes and times have {size}")


def pieces(batch: WorkloadBatch, most_bytes: int) -> Iterator[WorkloadBatch]:
    """Yield the batch in parts of at most ``most_bytes`` of columns and :data:`MOST_EVENTS` events.

    Args:
        batch: that :func:`check_batch` accepts.
        most_bytes: a part has at least one event all the same.
    """
    fits = most_bytes // (_WIDTH * (1 + len(batch.values)))
    step = _WIDTH * max(1, min(MOST_EVENTS, fits))
    for at in range(0, len(batch.times), step):
        part = slice(at, at + step)
        columns = tuple((name, column[part]) for name, column in batch.values)
        yield WorkloadBatch(batch.seq + at // _WIDTH, batch.event, batch.times[part], columns)


def unpacked(batch: WorkloadBatch) -> Iterator[Workload]:
    """Yield the events of a batch that :func:`check_batch` accepts, one by one."""
    n = len(batch.times) // _WIDTH
    columns = [struct.unpack(f"<{n}d", column) for _, column in batch.values]
    names = [name for name, _ in batch.values]
    for i, time_ns in enumerate(struct.unpack(f"<{n}q", batch.times)):
        values = zip(names, (column[i] for column in columns), strict=True)
        yield Workload(batch.seq + i, time_ns, batch.event, tuple(values))
