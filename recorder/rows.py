"""Records to Arrow tables: the one place where a record's fields become columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..sdk.records import Decision, Outcome, Workload
from .schema import DECISIONS, OUTCOMES, TABLES, WORKLOAD

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
        workload: events of their own.
    """

    decisions: list[Pair] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    workload: list[Workload] = field(default_factory=list)


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


def _workload(source: Source, rows: Sequence[Workload]) -> pa.Table:
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
    return {
        "process": [source.process] * n,
        "service": [source.service] * n,
        "hook": [source.hook] * n,
        "kind": [source.kind] * n,
        "kind_version": [source.kind_version] * n,
    }


def _table(name: str, columns: dict[str, list[Any]]) -> pa.Table:
    schema = TABLES[name].schema
    arrays = [pa.array(columns[column.name], column.type) for column in schema]
    return pa.Table.from_arrays(arrays, schema=schema)
