"""Records to Arrow tables: the one place where a record's fields become columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..sdk.records import Decision, Outcome, Workload, WorkloadBatch
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
    made = {
        DECISIONS: _decisions(source, joined.decisions),
        OUTCOMES: _outcomes(source, joined.outcomes),
        WORKLOAD: _workload(source, joined.workload),
    }
    return {name: table for name, table in made.items() if table.num_rows}


def _decisions(source: Source, pairs: Sequence[Pair]) -> pa.Table:
    rows = [decision for decision, _ in pairs]
    columns: dict[str, list[Any]] = {
        "decision_id": _ids(source, (row.seq for row in rows)),
        **_source(source, len(rows)),
        "time": [row.time_ns for row in rows],
        "duration": [row.duration_ns for row in rows],
        "trace_id": [_identifier(row.trace_id, 16) for row in rows],
        "span_id": [_identifier(row.span_id, 8) for row in rows],
        **_results([outcome for _, outcome in pairs]),
    }
    same = ("unit", "arm", "reason", "detail", "policy", "epoch", "block", "action", "n_items")
    for name in (*same, "features", "propensity", "inclusion"):
        columns[name] = [getattr(row, name) for row in rows]
    return _table(DECISIONS, columns)


def _outcomes(source: Source, rows: Sequence[Outcome]) -> pa.Table:
    return _table(
        OUTCOMES,
        {
            "decision_id": _ids(source, (row.seq for row in rows)),
            **_source(source, len(rows)),
            "decision_time": [row.decision_ns for row in rows],
            "arm": [row.arm for row in rows],
            "block": [row.block for row in rows],
            **_results(rows),
        },
    )


def _workload(source: Source, records: Sequence[Workload | WorkloadBatch]) -> pa.Table:
    single = [record for record in records if isinstance(record, Workload)]
    parts = [_singles(source, single)] if single else []
    parts += [_batch(source, record) for record in records if isinstance(record, WorkloadBatch)]
    return pa.concat_tables(parts) if parts else _WORKLOAD_SCHEMA.empty_table()


def _singles(source: Source, rows: Sequence[Workload]) -> pa.Table:
    return _table(
        WORKLOAD,
        {
            "workload_id": _ids(source, (row.seq for row in rows)),
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
        "workload_id": _id_range(source, batch.seq, n),
        **{name: pa.repeat(value, n) for name, value in _source_scalars(source).items()},
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


def _id_range(source: Source, first: int, n: int) -> pa.Array:
    ids = np.empty((n, 2), ">u8")
    ids[:, 0] = int(source.process, 16)
    ids[:, 1] = np.arange(n, dtype=np.uint64) + np.uint64(first)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(ids)])


def _results(outcomes: Sequence[Outcome | None]) -> dict[str, list[Any]]:
    return {
        "outcome_status": [row and row.status for row in outcomes],
        "ok": [row and row.ok for row in outcomes],
        "outcome_time": [row and row.time_ns for row in outcomes],
        "values": [row and list(row.values) for row in outcomes],
    }


def _ids(source: Source, seqs: Iterable[int]) -> list[bytes]:
    process = bytes.fromhex(source.process)
    return [process + seq.to_bytes(8, "big") for seq in seqs]


def _identifier(value: int, size: int) -> bytes | None:
    """Return a trace or span id as bytes; None, which costs nothing to store, when there was none."""
    return value.to_bytes(size, "big") if value else None


def _source(source: Source, n: int) -> dict[str, list[Any]]:
    return {name: [value.as_py()] * n for name, value in _source_scalars(source).items()}


def _source_scalars(source: Source) -> dict[str, pa.Scalar]:
    return {
        "process": pa.scalar(source.process),
        "service": pa.scalar(source.service),
        "hook": pa.scalar(source.hook),
        "kind": pa.scalar(source.kind),
        "kind_version": pa.scalar(source.kind_version, pa.int32()),
    }


def _table(name: str, columns: dict[str, list[Any]]) -> pa.Table:
    schema = TABLES[name].schema
    arrays = [pa.array(columns[column.name], column.type) for column in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
