"""What a trace store holds, hook by hook."""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .accesses import ENTRIES, Accesses, accesses
from .inventory import Inventory, inventory
from .schema import DECISIONS, OUTCOMES, WORKLOAD
from .store import TraceStore


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of one metric over the outcomes that have it; NaN left out."""

    count: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class HookSummary:
    """What the store holds of one hook.

    Attributes:
        hook: its name.
        kinds: ``KIND/VERSION`` as recorded.
        processes: how many processes recorded.
        decisions: rows.
        first, last: Unix nanoseconds, of the decisions or, without any, of the workload; 0 without any.
        rate: decisions per second between first and last.
        arms, reasons, inclusions: decisions by value.
        matched: decisions whose outcome was reported.
        missing: decisions whose outcome had not come by its deadline.
        open: decisions without any outcome row.
        late: outcomes stored apart from their decision, and not yet joined to it by compaction.
        orphans: outcomes whose decision is not in the store.
        failures: outcomes with ``ok`` false, missing ones included.
        shares: share of the decisions by index of the picked item.
        metrics: quantiles by metric.
        workload: events by name.
        accesses: of a cache; None where there are none.
        bytes: of all files.
        bytes_per_decision: of the decisions and outcomes; 0 without any.
        bytes_per_event: of the workload; 0 without any.
        layout: how the rows lie in files, and what compaction would make of that.
        duplicates: rows left out because their id had been seen.
        damaged: one line per damaged file.
    """

    hook: str
    kinds: tuple[str, ...]
    processes: int
    decisions: int
    first: int
    last: int
    rate: float
    arms: dict[str, int]
    reasons: dict[str, int]
    inclusions: dict[str, int]
    matched: int
    missing: int
    open: int
    late: int
    orphans: int
    failures: int
    shares: dict[int, float]
    metrics: dict[str, Quantiles]
    workload: dict[str, int]
    accesses: Accesses | None
    files: int
    bytes: int
    bytes_per_decision: float
    bytes_per_event: float
    layout: Inventory
    duplicates: int
    damaged: tuple[str, ...]


def summarise(store: TraceStore, hook: str) -> HookSummary:
    """Return what the store holds of a hook; damaged files are left out and named.

    Raises:
        TraceError: no such store or hook.
    """
    reading = store.read(DECISIONS, hook, skip_damaged=True)
    late = store.read(OUTCOMES, hook, skip_damaged=True)
    workload = store.read(WORKLOAD, hook, skip_damaged=True)
    table = reading.table
    events = workload.table
    sizes = store.sizes(hook)
    total = sum(size for _, size in sizes.values())
    first, last = _span(table if table.num_rows else events)
    statuses = _counts(table["outcome_status"])
    return HookSummary(
        hook=hook,
        kinds=_kinds(table, events),
        processes=len({*_distinct(table["process"]), *_distinct(events["process"])}),
        decisions=table.num_rows,
        first=first,
        last=last,
        rate=(table.num_rows - 1) / (last - first) * 1e9
        if table.num_rows and last > first
        else 0.0,
        arms=_counts(table["arm"]),
        reasons=_counts(table["reason"]),
        inclusions=_counts(table["inclusion"]),
        matched=sum(n for status, n in statuses.items() if status != "missing"),
        missing=statuses.get("missing", 0),
        open=table["outcome_status"].null_count,
        late=late.table.num_rows,
        orphans=_orphans(table, late.table),
        failures=int(pc.sum(pc.invert(table["ok"])).as_py() or 0),
        shares={k: n / table.num_rows for k, n in sorted(_counts(table["action"]).items())},
        metrics=_metrics(table["values"]),
        workload=_counts(events["event"]),
        accesses=accesses(events),
        files=sum(files for files, _ in sizes.values()),
        bytes=total,
        bytes_per_decision=_share(total - sizes[WORKLOAD][1], table.num_rows),
        bytes_per_event=_share(sizes[WORKLOAD][1], events.num_rows),
        layout=inventory(store, hook),
        duplicates=reading.duplicates,
        damaged=tuple(dict.fromkeys(reading.damaged + late.damaged + workload.damaged)),
    )


def _span(table: pa.Table) -> tuple[int, int]:
    if not table.num_rows:
        return 0, 0
    return table["time"][0].as_py(), table["time"][-1].as_py()


def _share(total: int, rows: int) -> float:
    return total / rows if rows else 0.0


def _distinct(column: pa.ChunkedArray) -> list[Any]:
    found: list[Any] = pc.unique(column).to_pylist()
    return found


def _kinds(*tables: pa.Table) -> tuple[str, ...]:
    both = ("kind", "kind_version")
    found = {
        tuple(row[name] for name in both)
        for table in tables
        for row in table.group_by(both).aggregate([]).to_pylist()
    }
    return tuple(f"{kind}/{version}" for kind, version in sorted(found))


def _counts(column: pa.ChunkedArray) -> dict[Any, int]:
    counted = pc.value_counts(column.drop_null())
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}


def _orphans(decisions: pa.Table, late: pa.Table) -> int:
    known = pc.is_in(late["decision_id"], value_set=decisions["decision_id"].combine_chunks())
    return int(late.num_rows - (pc.sum(known).as_py() or 0))


def _metrics(values: pa.ChunkedArray) -> dict[str, Quantiles]:
    entries = pc.list_flatten(values.cast(ENTRIES)).combine_chunks()
    keys, numbers = pc.struct_field(entries, 0), pc.struct_field(entries, 1)
    return {
        name: _quantiles(numbers.filter(pc.equal(keys, name)).to_numpy(zero_copy_only=False))
        for name in sorted(pc.unique(keys).to_pylist())
    }


def _quantiles(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> Quantiles:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return Quantiles(0, 0.0, 0.0, 0.0)
    p50, p90, p99 = np.quantile(finite, (0.5, 0.9, 0.99))
    return Quantiles(len(finite), float(p50), float(p90), float(p99))
