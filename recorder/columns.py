"""Decisions and outcomes of one source as columns: what a batch is decoded to, joined and stored as.

What changes slowly (arm, policy, block, …) is a row of its own in ``heads``, and each record names one.
Recording costs what is done per record; here that is nothing but steps of numpy and Arrow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..sdk.records import Decision, Outcome, Workload, WorkloadBatch

Array = np.ndarray[Any, Any]
_VALUES = pa.map_(pa.string(), pa.float64())
_FEATURES = pa.list_(pa.float64())


class DecisionHead(NamedTuple):
    """What changes slowly among decisions; the fields are those of a Decision."""

    arm: str
    reason: str
    detail: str
    policy: str
    epoch: int
    block: int
    inclusion: str


class OutcomeHead(NamedTuple):
    """What changes slowly among outcomes; the fields are those of an Outcome."""

    ok: bool
    status: str
    arm: str
    block: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """n decisions of one source.

    Attributes:
        seq: u64[n].
        time, duration: i64[n], as in a Decision.
        unit: string[n].
        action, n_items: i32[n].
        features: list<double>[n].
        propensity: f64[n].
        trace_id, span_id: u8[n, 16] and u8[n, 8]; zeros where there was no span.
        head: i32[n], position in ``heads``.
        heads: one at least.
    """

    seq: Array
    time: Array
    duration: Array
    unit: pa.StringArray
    action: Array
    n_items: Array
    features: pa.ListArray
    propensity: Array
    trace_id: Array
    span_id: Array
    head: Array
    heads: tuple[DecisionHead, ...]

    def __len__(self) -> int:
        return len(self.seq)

    @classmethod
    def of(cls, records: Sequence[Decision]) -> Decisions:
        """Return records as columns."""
        rows = list(zip(*records, strict=True)) or [()] * len(Decision._fields)
        columns = dict(zip(Decision._fields, rows, strict=True))
        heads, codes = _heads(
            DecisionHead, zip(*(columns[name] for name in DecisionHead._fields), strict=True)
        )
        return cls(
            seq=np.array(columns["seq"], np.uint64),
            time=np.array(columns["time_ns"], np.int64),
            duration=np.array(columns["duration_ns"], np.int64),
            unit=pa.array(columns["unit"], pa.string()),
            action=np.array(columns["action"], np.int32),
            n_items=np.array(columns["n_items"], np.int32),
            features=pa.array(columns["features"], _FEATURES),
            propensity=np.array(columns["propensity"], np.float64),
            trace_id=_identifiers(columns["trace_id"], 16),
            span_id=_identifiers(columns["span_id"], 8),
            head=codes,
            heads=heads,
        )

    def records(self) -> list[Decision]:
        """Return the decisions one by one."""
        heads = [self.heads[code] for code in self.head.tolist()]
        span = zip(_numbers(self.trace_id), _numbers(self.span_id), strict=True)
        rows = zip(
            *(each.tolist() for each in (self.seq, self.time, self.duration)),
            self.unit.to_pylist(),
            heads,
            *(each.tolist() for each in (self.action, self.n_items)),
            _lists(self.features),
            self.propensity.tolist(),
            span,
            strict=True,
        )
        return [
            Decision._make((seq, time, took, unit, *head[:6], action, n, row, p, head[6], *ids))
            for seq, time, took, unit, head, action, n, row, p, ids in rows
        ]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """n outcomes of one source.

    Attributes:
        seq: u64[n], of the decision.
        time, decision_time: i64[n].
        values: map<string, double>[n].
        head: i32[n], position in ``heads``.
        heads: one at least.
    """

    seq: Array
    time: Array
    decision_time: Array
    values: pa.MapArray
    head: Array
    heads: tuple[OutcomeHead, ...]

    def __len__(self) -> int:
        return len(self.seq)

    @classmethod
    def of(cls, records: Sequence[Outcome]) -> Outcomes:
        """Return records as columns."""
        rows = ((row.ok, row.status, row.arm, row.block) for row in records)
        heads, codes = _heads(OutcomeHead, rows)
        return cls(
            seq=np.array([row.seq for row in records], np.uint64),
            time=np.array([row.time_ns for row in records], np.int64),
            decision_time=np.array([row.decision_ns for row in records], np.int64),
            values=pa.array([row.values for row in records], _VALUES),
            head=codes,
            heads=heads,
        )

    def records(self) -> list[Outcome]:
        """Return the outcomes one by one."""
        rows = zip(
            *(each.tolist() for each in (self.seq, self.time, self.decision_time)),
            map(tuple, self.values.to_pylist()),
            (self.heads[code] for code in self.head.tolist()),
            strict=True,
        )
        return [
            Outcome(seq, time, head.ok, head.status, values, head.arm, head.block, decided)
            for seq, time, decided, values, head in rows
        ]


#: What records of one source come to: workload events have no columns of their own here.
Columns = Decisions | Outcomes | list[Workload | WorkloadBatch]


def concat(parts: Sequence[Any]) -> Any:
    """Return several Decisions, or several Outcomes, as one."""
    if len(parts) == 1:
        return parts[0]
    kind = type(parts[0])
    heads: dict[Any, int] = {}
    codes = []
    for part in parts:
        own = [heads.setdefault(head, len(heads)) for head in part.heads]
        codes.append(np.array(own, np.int32)[part.head])
    joined = {
        field.name: _joined([getattr(part, field.name) for part in parts])
        for field in fields(kind)
        if field.name not in ("head", "heads")
    }
    return kind(**joined, head=np.concatenate(codes), heads=tuple(heads))


def take(whole: Any, rows: Array) -> Any:
    """Return some rows, i64[m] or bool[n], of Decisions or Outcomes."""
    kind = type(whole)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    index = pa.array(rows)
    taken = {}
    for field in fields(kind):
        column = getattr(whole, field.name)
        if field.name != "heads":
            column = column[rows] if isinstance(column, np.ndarray) else column.take(index)
        taken[field.name] = column
    return kind(**taken)


def _joined(columns: list[Any]) -> Any:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    return pa.concat_arrays(columns)


def _heads(kind: Any, rows: Iterable[Sequence[Any]]) -> tuple[tuple[Any, ...], Array]:
    """Return the distinct rows, and of each the position among them."""
    found: dict[Any, int] = {}
    codes = [found.setdefault(tuple(row), len(found)) for row in rows]
    return tuple(kind(*row) for row in found), np.array(codes, np.int32)


def _identifiers(values: Sequence[int], size: int) -> Array:
    if not any(values):
        return np.zeros((len(values), size), np.uint8)
    packed = b"".join(value.to_bytes(size, "big") for value in values)
    return np.frombuffer(packed, np.uint8).reshape(-1, size)


def _numbers(identifiers: Array) -> list[int]:
    if not identifiers.any():
        return [0] * len(identifiers)
    return [int.from_bytes(row.tobytes(), "big") for row in identifiers]


def _lists(column: pa.ListArray) -> list[tuple[float, ...]]:
    offsets = column.offsets.to_numpy()
    numbers = column.values.to_numpy().tolist()
    return [tuple(numbers[a:b]) for a, b in itertools.pairwise(offsets)]
