"""Reads whole batches of records that have the layout of Gnomon's own encoder, as columns.

Decoding log records one attribute at a time costs some 20 µs each. The encoder writes what changes
slowly first, byte for byte alike in most records of a batch. So one record is decoded as any other is
and encoded again: when that gives the same bytes, its layout is known, and every record with the same
head is read with a few steps of numpy for all of them together. Records that differ in anything, a
Collector's attribute or a damaged byte, are left to the ordinary decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from ..sdk.records import Decision, Outcome, Record
from ..sdk.telemetry import names
from ..sdk.telemetry.encode import (
    SPAN_PREFIX,
    TRACE_PREFIX,
    Encoder,
    bytes_prefix,
    double_prefix,
    event,
    int_prefixes,
    text_prefix,
)
from ..sdk.telemetry.wire import varint
from .columns import Array, Columns, DecisionHead, Decisions, OutcomeHead, Outcomes, take
from .cursor import Cursor, Octets, together
from .frames import ScopeFrame
from .rows import Source

_ACTION = int_prefixes(names.DECISION_ACTION)
_ITEMS = int_prefixes(names.DECISION_ITEMS)
_DURATION = int_prefixes(names.DECISION_DURATION)
_DELAY = int_prefixes(names.OUTCOME_DELAY)
_UNIT = text_prefix(names.DECISION_UNIT, 0)
_PROPENSITY = double_prefix(names.DECISION_PROPENSITY)
_ID = bytes_prefix(names.DECISION_ID, 16)
_TIME = b"\x09"
_HEAD_AT = 9  # after the time
_PROBE = 16
_HEAD_BYTES = 4096  # of a head that is kept
#: Bytes of a record beyond which it is read alone: what is remembered of others stays small.
_BODY_BYTES = 65_536
_INT32 = 2**31
_MOST = 2**63 - 1
#: Heads that are looked for in one go, goes, and different numbers of features in one block.
_HEADS = 64
_GOES = 3
_SIZES = 64
#: Records below which it does not pay: of a scope, and of those that are left.
_FEW = 48
_LEFT = 8

#: Decodes the content of one log record; None for one that cannot be used.
Decode = Callable[[bytes], tuple[Source, Record] | None]
#: A record for each head that a resource used lately: a guess, everything is checked against the bytes.
Known = dict[bytes, tuple[Source, Decision | Outcome]]


@dataclass(frozen=True, slots=True)
class Block:
    """Records of one layout.

    Attributes:
        source: of all of them.
        rows: i64[n], their positions in the scope, ascending.
        columns: themselves.
    """

    source: Source
    rows: Array
    columns: Columns

    def records(self) -> Sequence[Record]:
        """Return the records one by one."""
        return self.columns if isinstance(self.columns, list) else self.columns.records()


def blocks(
    data: bytes, frame: ScopeFrame, decode: Decode, known: Known
) -> tuple[list[Block], list[int]]:
    """Return the records of a scope that have the encoder's layout, and the positions of the others.

    Args:
        data: the request.
        frame: of the scope.
        decode: as above.
        known: of the same resource; what is learned is added.
    """
    if len(frame.starts) < _FEW:
        return [], list(range(len(frame.starts)))
    search = _Search(data, frame, decode, known)
    left = np.arange(len(frame.starts))
    found: list[Block] = []
    for number in range(_GOES):
        if len(left) < _LEFT:
            break
        made, left = search.go(left, guess=number == 0)
        found += made
    return found, sorted(left.tolist())


class _Search:
    """Finds heads that many records share."""

    def __init__(self, data: bytes, frame: ScopeFrame, decode: Decode, known: Known) -> None:
        self._data = data
        self._known = known
        self._octets = Octets(data)
        self._starts = np.array(frame.starts, np.int64)
        self._ends = np.array(frame.ends, np.int64)
        self._decode = decode

    def go(self, left: Array, guess: bool) -> tuple[list[Block], Array]:
        """Return the blocks among some records, and those that are in none of them.

        Args:
            left: i64[n], positions of the records.
            guess: whether a head that was seen before may stand for a record with the same.
        """
        groups: dict[object, _Group] = {}
        others = [left[:0]]
        for _ in range(_HEADS):
            if len(left) < _LEFT:
                break
            example = self._guess(int(left[0])) if guess else self._example(int(left[0]))
            if example is None:
                begun = np.zeros(1, np.int64)
                others.append(left[:1])
            else:
                begun, cursor, time = self._begun(left, *example)
                group = groups.setdefault(_likeness(*example), _Group(*example))
                group.add(example[1], left[begun], cursor, time)
            left = np.delete(left, begun)
        made = [group.read() for group in groups.values()]
        return [block for block, _ in made if len(block.rows)], np.concatenate(
            [*others, left, *(bad for _, bad in made)]
        )

    def _begun(
        self, left: Array, source: Source, example: Decision | Outcome
    ) -> tuple[Array, Cursor, Array]:
        """Return which records begin as the example, a cursor after their heads, and their times."""
        head = _head_bytes(source, _head(example))
        cursor = Cursor(self._octets, self._starts[left], self._ends[left])
        # Most others are told by a few bytes at the head's end; the rest is compared for those alone.
        rows = np.flatnonzero(cursor.ahead(_HEAD_AT + len(head) - _PROBE, head[-_PROBE:]))
        cursor = cursor.only(rows)
        time = cursor.tagged(_TIME, 8).view("<i8").ravel()
        cursor.good &= time >= 0
        cursor.literal(head)
        if not cursor.good.all():
            good = np.flatnonzero(cursor.good)
            rows, cursor, time = rows[good], cursor.only(good), time[good]
        return rows, cursor, time

    def _guess(self, row: int) -> tuple[Source, Decision | Outcome] | None:
        """Return a record that began as this one, or this one decoded."""
        start = self._starts[row] + _HEAD_AT
        for head, known in list(self._known.items()):
            if self._data.startswith(head, start):
                return known
        example = self._example(row)
        if example is not None:
            head = _head_bytes(example[0], _head(example[1]))
            if len(self._known) >= _HEADS:
                self._known.clear()
            if len(head) <= _HEAD_BYTES and self._ends[row] - self._starts[row] <= _HEAD_BYTES:
                self._known[head] = example
        return example

    def _example(self, row: int) -> tuple[Source, Decision | Outcome] | None:
        """Return a record decoded, if it has the encoder's layout."""
        if self._ends[row] - self._starts[row] > _BODY_BYTES:
            return None
        body = self._data[self._starts[row] : self._ends[row]]
        example = self._decode(body)
        if example is None:
            return None
        source, record = example
        if not isinstance(record, Decision | Outcome):
            return None
        whole = _encoder(source).encode(record)
        return (source, record) if whole == b"\x12" + varint(len(body)) + body else None


class _Group:
    """Records that are laid out alike after their heads.

    Args:
        source: of all of them.
        example: one of them.
    """

    def __init__(self, source: Source, example: Decision | Outcome) -> None:
        self._source = source
        self._example = example
        self._heads: list[Any] = []
        self._parts: list[tuple[Array, Cursor, Array]] = []

    def add(self, example: Decision | Outcome, rows: Array, cursor: Cursor, time: Array) -> None:
        """Add records with another head, whose times and heads were read."""
        self._heads.append(_head(example))
        self._parts.append((rows, cursor, time))

    def read(self) -> tuple[Block, Array]:
        """Return the records as a block, and the positions of those that are not as the example."""
        rows, cursors, times = zip(*self._parts, strict=True)
        row, cursor, time = np.concatenate(rows), together(cursors), np.concatenate(times)
        head = np.repeat(np.arange(len(rows), dtype=np.int32), [len(each) for each in rows])
        order = np.argsort(row)
        row, cursor, time, head = row[order], cursor.only(order), time[order], head[order]
        columns: Decisions | Outcomes
        if isinstance(self._example, Decision):
            read = _decisions(cursor, self._source, _per_item(self._example))
            columns = Decisions(time=time, head=head, heads=tuple(self._heads), **read)
        else:
            read = _outcomes(cursor, self._source, time, [name for name, _ in self._example.values])
            columns = Outcomes(time=time, head=head, heads=tuple(self._heads), **read)
        good = cursor.good
        if good.all():
            return Block(self._source, row, columns), row[:0]
        return Block(self._source, row[good], take(columns, good)), row[~good]


def _likeness(source: Source, example: Decision | Outcome) -> object:
    if isinstance(example, Decision):
        return source, _per_item(example)
    return source, tuple(name for name, _ in example.values)


def _decisions(cursor: Cursor, source: Source, per_item: int) -> dict[str, Any]:
    """Return the columns of decisions after their heads."""
    action, here = cursor.integer(_ACTION, -1)
    n_items, there = cursor.integer(_ITEMS, 0)
    cursor.good &= here & there & (n_items >= 0) & (n_items < _INT32)
    cursor.good &= (action >= -1) & (action < n_items)
    seq = _seq(cursor, source)
    features = _features(cursor, n_items * per_item)
    duration, _ = cursor.integer(_DURATION, -1)
    unit = cursor.text(_UNIT)
    propensity, explored = cursor.optional(_PROPENSITY, 8)
    trace_id, traced = cursor.optional(TRACE_PREFIX, 16)
    span_id, also = cursor.optional(SPAN_PREFIX, 8)
    cursor.good &= traced == also
    cursor.literal(event(names.DECISION))
    cursor.finish()
    return {
        "seq": seq,
        "duration": duration,
        "unit": unit,
        "action": action.astype(np.int32),
        "n_items": n_items.astype(np.int32),
        "features": features,
        "propensity": np.where(explored, propensity.view("<f8").ravel(), 1.0),
        "trace_id": trace_id * traced[:, None],
        "span_id": span_id * also[:, None],
    }


def _outcomes(cursor: Cursor, source: Source, time: Array, metrics: list[str]) -> dict[str, Any]:
    """Return the columns of outcomes after their heads."""
    seq = _seq(cursor, source)
    delay, here = cursor.integer(_DELAY, 0)
    cursor.good &= here & (delay >= time - _MOST)
    columns = []
    for name in metrics:
        prefix = double_prefix(names.OUTCOME_VALUE + name)
        columns.append(cursor.tagged(prefix, 8).view("<f8").ravel())
    cursor.literal(event(names.OUTCOME))
    cursor.finish()
    return {
        "seq": seq,
        "decision_time": time - np.where(cursor.good, delay, 0),
        "values": _maps(metrics, columns, len(seq)),
    }


def _seq(cursor: Cursor, source: Source) -> Array:
    prefix = _ID + bytes.fromhex(source.process)
    return cursor.tagged(prefix, 8).view(">u8").ravel().astype(np.uint64)


def _per_item(example: Decision) -> int:
    return len(example.features) // example.n_items if example.n_items > 0 else 0


def _features(cursor: Cursor, counts: Array) -> pa.ListArray:
    """Return so many features of each decision."""
    cursor.good &= counts * 8 <= cursor.room
    some = counts[cursor.good]
    sizes = some[:1] if (some == some[:1]).all() else np.unique(some)
    for size in sizes[:_SIZES].tolist():
        prefix = bytes_prefix(names.DECISION_FEATURES, 8 * size)
        cursor.literal(prefix, None if len(sizes) == 1 else counts == size)
    if len(sizes) > _SIZES:
        cursor.good &= np.isin(counts, sizes[:_SIZES])
    return cursor.doubles(counts)


def _maps(keys: list[str], columns: list[Array], n: int) -> pa.MapArray:
    width = len(keys)
    numbers = np.column_stack(columns).ravel() if columns else np.zeros(0)
    return pa.MapArray.from_arrays(
        pa.array(np.arange(n + 1, dtype=np.int32) * width),
        pa.repeat(keys[0], n) if width == 1 else pa.array(keys * n, pa.string()),
        pa.array(numbers),
    )


def _head(record: Decision | Outcome) -> Any:
    kind = DecisionHead if isinstance(record, Decision) else OutcomeHead
    return kind(*(getattr(record, name) for name in kind._fields))


@lru_cache(maxsize=256)
def _head_bytes(source: Source, head: DecisionHead | OutcomeHead) -> bytes:
    encoder = _encoder(source)
    if isinstance(head, DecisionHead):
        return encoder.decision_head(head)
    return encoder.outcome_head(head)


@lru_cache(maxsize=32)
def _encoder(source: Source) -> Encoder:
    kind = SimpleNamespace(name=source.kind, version=source.kind_version)
    hook: Any = SimpleNamespace(name=source.hook, kind=kind, process_id=source.process)
    return Encoder(hook)
