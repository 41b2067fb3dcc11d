"""Columns to Arrow tables: the one place that knows which field is which column of the store."""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..sdk.records import Decision, Outcome, Workload, WorkloadBatch
from .columns import Array, DecisionHead, Decisions, Outcomes
from .schema import DECISIONS, OUTCOMES, TABLES, WORKLOAD

_WORKLOAD_SCHEMA = TABLES[WORKLOAD].schema

Pair = tuple[Decision, Outcome | None]


@dataclass(frozen=True, slots=True)
class Source:
    """Which hook of which process records came from.

    Attributes:
        process: 16 hex digits, the process's id.
        service: ``service.name`` of the OpenTelemetry Resource.
        hook: name of the hook.
        kind, kind_version: the kind's name and the version of its contract.
    """

    process: str
    service: str
    hook: str
    kind: str
    kind_version: int


@dataclass(slots=True)
class Joined:
    """Records of one source as they are stored.

    Attributes:
        decisions: with their outcome, or None while it has not come.
        outcomes: whose decision was not at hand; joined when the store is read.
        workload: events of their own, singly or in batches.
    """

    decisions: list[Pair] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    workload: list[Workload | WorkloadBatch] = field(default_factory=list)


def tables(source: Source, joined: Joined) -> dict[str, pa.Table]:
    """Return the non-empty tables of one source's records, by name."""
    pairs = joined.decisions
    results = [outcome for _, outcome in pairs if outcome is not None]
    matched = np.array([outcome is not None for _, outcome in pairs], bool)
    return whole(
        {
            DECISIONS: decision_table(
                source,
                Decisions.of([decision for decision, _ in pairs]),
                Outcomes.of(results),
                np.where(matched, np.cumsum(matched) - 1, -1),
            ),
            OUTCOMES: outcome_table(source, Outcomes.of(joined.outcomes)),
            WORKLOAD: workload_table(source, joined.workload),
        }
    )


def whole(made: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Return the tables that have rows."""
    return {name: table for name, table in made.items() if table.num_rows}


def decision_table(source: Source, rows: Decisions, outcomes: Outcomes, found: Array) -> pa.Table:
    """Return the table of decisions.

    Args:
        source: of all of them.
        rows: the decisions.
        outcomes: of some of them.
        found: i64[n], which outcome belongs to a decision; -1 for none.
    """
    index = pa.array(found, mask=found < 0)
    same = ("time", "duration", "unit", "action", "n_items", "features", "propensity")
    return _table(
        DECISIONS,
        {
            "decision_id": _ids(source, rows.seq),
            **_source(source, len(rows)),
            **{name: getattr(rows, name) for name in same},
            **_slowly(DECISIONS, rows, DecisionHead._fields),
            "trace_id": _identifiers(rows.trace_id),
            "span_id": _identifiers(rows.span_id),
            **{name: column.take(index) for name, column in _results(outcomes).items()},
        },
    )


def outcome_table(source: Source, rows: Outcomes) -> pa.Table:
    """Return the table of outcomes that have no decision beside them."""
    return _table(
        OUTCOMES,
        {
            "decision_id": _ids(source, rows.seq),
            **_source(source, len(rows)),
            "decision_time": rows.decision_time,
            **_slowly(OUTCOMES, rows, ("arm", "block")),
            **_results(rows),
        },
    )


def workload_table(source: Source, records: Sequence[Workload | WorkloadBatch]) -> pa.Table:
    """Return the table of workload events; a batch of n is n rows."""
    single = [record for record in records if isinstance(record, Workload)]
    parts = [_singles(source, single)] if single else []
    parts += [_batch(source, record) for record in records if isinstance(record, WorkloadBatch)]
    return pa.concat_tables(parts) if parts else _WORKLOAD_SCHEMA.empty_table()


def _singles(source: Source, rows: Sequence[Workload]) -> pa.Table:
    return _table(
        WORKLOAD,
        {
            "workload_id": _ids(source, np.array([row.seq for row in rows], np.uint64)),
            **_source(source, len(rows)),
            "time": [row.time_ns for row in rows],
            "event": [row.event for row in rows],
            "numbers": [[(k, v) for k, v in row.values if not isinstance(v, str)] for row in rows],
            "texts": [[(k, v) for k, v in row.values if isinstance(v, str)] for row in rows],
        },
    )


def _batch(source: Source, batch: WorkloadBatch) -> pa.Table:
    """Return a batch's events as rows, without a step of Python per event."""
    n, width = len(batch.times) // 8, len(batch.values)
    fields = pa.array([name for name, _ in batch.values], pa.string())
    columns = [np.frombuffer(column, "<f8") for _, column in batch.values]
    numbers = np.column_stack(columns).ravel() if columns else np.zeros(0)
    none = pa.array([], pa.string())
    parts = {
        "workload_id": _ids(source, np.arange(n, dtype=np.uint64) + np.uint64(batch.seq)),
        **_source(source, n),
        "time": pa.array(np.frombuffer(batch.times, "<i8")),
        "event": pa.repeat(batch.event, n),
        "numbers": pa.MapArray.from_arrays(
            pa.array(np.arange(n + 1, dtype=np.int32) * width),
            fields.take(pa.array(np.tile(np.arange(width), n))),
            pa.array(numbers),
        ),
        "texts": pa.MapArray.from_arrays(pa.array(np.zeros(n + 1, np.int32)), none, none),
    }
    arrays = [parts[name] for name in _WORKLOAD_SCHEMA.names]
    return pa.Table.from_arrays(arrays, schema=_WORKLOAD_SCHEMA)


def _ids(source: Source, seqs: Array) -> pa.Array:
    """Return the ids, process and number, as binary(16)."""
    ids = np.empty((len(seqs), 2), ">u8")
    ids[:, 0] = int(source.process, 16)
    ids[:, 1] = seqs
    return _binary(ids, 16)


def _identifiers(rows: Array) -> pa.Array:
    """Return trace or span ids; null, which costs nothing to store, when there was none."""
    n, size = rows.shape
    missing = ~rows.any(1)
    if missing.all():
        return pa.nulls(n, pa.binary(size))
    return pc.if_else(pa.array(missing), None, _binary(rows, size))


def _binary(rows: Array, size: int) -> pa.Array:
    content = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(rows), [None, content])


def _slowly(table: str, rows: Decisions | Outcomes, columns: Iterable[str]) -> dict[str, pa.Array]:
    """Return the columns that the rows' heads hold."""
    schema = TABLES[table].schema
    heads, code = rows.heads, pa.array(rows.head)
    return {
        name: pa.array([getattr(head, name) for head in heads], schema.field(name).type).take(code)
        for name in columns
    }


def _results(rows: Outcomes) -> dict[str, pa.Array]:
    code = pa.array(rows.head)
    return {
        "outcome_status": pa.array([head.status for head in rows.heads], pa.string()).take(code),
        "ok": pa.array([bool(head.ok) for head in rows.heads], pa.bool_()).take(code),
        "outcome_time": pa.array(rows.time),
        "values": rows.values,
    }


def _source(source: Source, n: int) -> dict[str, pa.Array]:
    return {
        "process": pa.repeat(source.process, n),
        "service": pa.repeat(source.service, n),
        "hook": pa.repeat(source.hook, n),
        "kind": pa.repeat(source.kind, n),
        "kind_version": pa.repeat(pa.scalar(source.kind_version, pa.int32()), n),
    }


def _table(name: str, columns: dict[str, Any]) -> pa.Table:
    schema = TABLES[name].schema
    arrays = []
    for column in schema:
        made = columns[column.name]
        arrays.append(made if isinstance(made, pa.Array) else pa.array(made, column.type))
    return pa.Table.from_arrays(arrays, schema=schema)
