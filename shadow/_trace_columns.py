"""From the trace store's tables to the columns of a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..policies.registry import kind as kind_named
from ..sdk.errors import TraceError
from ..sdk.kind import Kind
from .trace import Trace, clipped

_MEMBERS = "members"


def trace(decisions: pa.Table, workload: pa.Table, hook: str) -> Trace:
    """Return the longest stretch of decisions over the same members."""
    rows = _ordered(decisions, hook)
    kind = _kind(rows, hook)
    rows = _stretch(rows)
    n_items = int(rows["n_items"][0].as_py())
    times = rows["time"].to_numpy()
    start_ns = int(times[0])
    instances, instance = np.unique(
        rows["process"].to_numpy(zero_copy_only=False), return_inverse=True
    )
    return Trace(
        hook=hook,
        kind=kind.name,
        start_ns=start_ns,
        members=_member_names(workload, n_items, int(times[-1])),
        instances=tuple(str(name) for name in instances),
        time=(times - start_ns) / 1e9,
        instance=instance.astype(np.int32),
        action=_actions(rows, n_items, hook),
        features=_features(rows, n_items, kind, hook),
        outcome=clipped(_metric(rows, kind.objective.name), kind),
        ok=pc.fill_null(rows["ok"], False).to_numpy(zero_copy_only=False).astype(np.bool_),
    )


def _ordered(decisions: pa.Table, hook: str) -> pa.Table:
    """Return the sampled decisions in order of time, each once."""
    sampled = decisions.filter(pc.equal(decisions["inclusion"], "sampled"))
    if sampled.num_rows == 0:
        raise TraceError(f"hook {hook!r} has no sampled decisions; capture some traffic first")
    rows = sampled.sort_by([("time", "ascending"), ("decision_id", "ascending")])
    ids = rows["decision_id"].to_numpy(zero_copy_only=False)
    _, first = np.unique(ids.astype("S16"), return_index=True)
    return rows if len(first) == len(ids) else rows.take(np.sort(first))


def _kind(rows: pa.Table, hook: str) -> Kind:
    names = pc.unique(rows["kind"]).to_pylist()
    if len(names) != 1:
        raise TraceError(f"hook {hook!r} was recorded as {names}; keep one kind per trace store")
    kind = kind_named(str(names[0]))
    versions = pc.unique(rows["kind_version"]).to_pylist()
    if versions != [kind.version]:
        raise TraceError(
            f"hook {hook!r} was recorded under version {versions} of kind {kind.name!r}, this is "
            f"{kind.version}; capture again"
        )
    return kind


def _stretch(rows: pa.Table) -> pa.Table:
    """Return the longest run of decisions with the same number of items."""
    counts = rows["n_items"].to_numpy()
    edges = np.concatenate(([0], np.flatnonzero(np.diff(counts)) + 1, [len(counts)]))
    longest = int(np.argmax(np.diff(edges)))
    return rows.slice(int(edges[longest]), int(edges[longest + 1] - edges[longest]))


def _actions(rows: pa.Table, n_items: int, hook: str) -> npt.NDArray[np.int32]:
    actions = rows["action"].to_numpy().astype(np.int32)
    if ((actions < 0) | (actions >= n_items)).any():
        raise TraceError(f"hook {hook!r} recorded picks outside its {n_items} items; capture again")
    return actions


def _features(rows: pa.Table, n_items: int, kind: Kind, hook: str) -> npt.NDArray[np.float64]:
    width = n_items * len(kind.inputs)
    column = rows["features"]
    lengths = pc.list_value_length(column).to_numpy()
    if (lengths != width).any():
        raise TraceError(
            f"hook {hook!r} recorded {int(lengths[lengths != width][0])} feature values in a decision "
            f"over {n_items} items of {len(kind.inputs)}; capture again"
        )
    flat = pc.list_flatten(column).to_numpy()
    return flat.reshape(len(rows), n_items, len(kind.inputs)).astype(np.float64)


def _metric(rows: pa.Table, name: str) -> npt.NDArray[Any]:
    looked_up = pc.map_lookup(rows["values"], pa.scalar(name), "first")
    return looked_up.to_numpy(zero_copy_only=False)


def _member_names(workload: pa.Table, n_items: int, until_ns: int) -> tuple[str, ...]:
    """Return the last recorded names of that many members, or made-up ones."""
    events = (
        workload.filter(pc.equal(workload["event"], _MEMBERS)) if workload.num_rows else workload
    )
    for row in sorted(events.to_pylist(), key=lambda row: row["time"], reverse=True):
        names = _names(dict(row["texts"] or ()))
        if row["time"] <= until_ns and len(names) == n_items:
            return names
    return tuple(f"member-{index}" for index in range(n_items))


def _names(texts: dict[str, str]) -> tuple[str, ...]:
    joined = texts.get("names")
    return tuple(joined.split("\n")) if joined else ()
