"""From the trace store's tables to the columns of a trace."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.registry import kind as kind_named
from ...sdk.errors import TraceError
from ...sdk.kind import Kind
from .trace import DecisionTrace, clipped

_MEMBERS = "members"
#: Time without any decision after which a trace begins anew.
PAUSE_NS = 30_000_000_000


def trace(decisions: pa.Table, workload: pa.Table, hook: str) -> DecisionTrace:
    """Return the longest stretch of decisions over the same members by one policy."""
    rows = ordered(decisions, hook)
    kind = kind_of(rows, hook)
    members = _members(workload)
    rows = answered(_stretch(rows, members), kind)
    n_items = int(rows["n_items"][0].as_py())
    times = rows["time"].to_numpy()
    start_ns = int(times[0])
    instances, instance = np.unique(
        rows["process"].to_numpy(zero_copy_only=False), return_inverse=True
    )
    return DecisionTrace(
        hook=hook,
        kind=kind.name,
        start_ns=start_ns,
        members=_member_names(members, n_items, int(times[-1])),
        instances=tuple(str(name) for name in instances),
        time=(times - start_ns) / 1e9,
        instance=instance.astype(np.int32),
        action=_actions(rows, n_items, hook),
        features=_features(rows, n_items, kind, hook),
        outcome=clipped(metric(rows, kind.objective.name), kind),
        ok=pc.fill_null(rows["ok"], False).to_numpy(zero_copy_only=False).astype(np.bool_),
        propensity=pc.fill_null(rows["propensity"], 1.0).to_numpy().astype(np.float64),
    )


def ordered(decisions: pa.Table, hook: str) -> pa.Table:
    """Return the sampled decisions in order of time, each once."""
    sampled = decisions.filter(pc.equal(decisions["inclusion"], "sampled"))
    if sampled.num_rows == 0:
        raise TraceError(f"hook {hook!r} has no sampled decisions; capture some traffic first")
    rows = sampled.sort_by([("time", "ascending"), ("decision_id", "ascending")])
    ids = rows["decision_id"].to_numpy(zero_copy_only=False)
    _, first = np.unique(ids.astype("S16"), return_index=True)
    return rows if len(first) == len(ids) else rows.take(np.sort(first))


def kind_of(rows: pa.Table, hook: str) -> Kind:
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


def _stretch(rows: pa.Table, members: list[_Named]) -> pa.Table:
    """Return the longest run of decisions over the same items, by number and by name, and one policy.

    A canary therefore never counts as what one policy was recorded doing, and neither does the time
    around a pause (a restart, a deployment, an idle night).
    """
    changes = [after.time for before, after in pairwise(members) if after.names != before.names]
    era = np.searchsorted(np.array(changes, np.int64), rows["time"].to_numpy(), side="right")
    _, policy = np.unique(rows["policy"].to_numpy(zero_copy_only=False), return_inverse=True)
    differs = (np.diff(rows["n_items"].to_numpy()) != 0) | (np.diff(era) != 0)
    differs |= np.diff(policy) != 0
    differs |= np.diff(rows["time"].to_numpy()) > PAUSE_NS
    edges = np.concatenate(([0], np.flatnonzero(differs) + 1, [len(era)]))
    longest = int(np.argmax(np.diff(edges)))
    return rows.slice(int(edges[longest]), int(edges[longest + 1] - edges[longest]))


def answered(rows: pa.Table, kind: Kind) -> pa.Table:
    """Leave out decisions at the end whose outcome may still have come when the recording stopped."""
    times = rows["time"].to_numpy()
    late = times > times[-1] - int(kind.outcome_deadline_s * 1e9)
    still_open = rows["outcome_status"].is_null().to_numpy(zero_copy_only=False) & late
    return rows.filter(pa.array(~still_open)) if not still_open.all() else rows


def _actions(rows: pa.Table, n_items: int, hook: str) -> npt.NDArray[np.int32]:
    actions: npt.NDArray[np.int32] = rows["action"].to_numpy().astype(np.int32)
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
    flat: npt.NDArray[np.float64] = pc.list_flatten(column).to_numpy().astype(np.float64)
    return flat.reshape(len(rows), n_items, len(kind.inputs))


def metric(rows: pa.Table, name: str) -> npt.NDArray[Any]:
    looked_up = pc.map_lookup(rows["values"], pa.scalar(name), "first")
    values: npt.NDArray[Any] = looked_up.to_numpy(zero_copy_only=False)
    return values


class _Named(NamedTuple):
    """Who the members are from a time on."""

    time: int
    names: tuple[str, ...]


def _members(workload: pa.Table) -> list[_Named]:
    """Return the recorded members events in order of time."""
    if workload.num_rows == 0:
        return []
    events = workload.filter(pc.equal(workload["event"], _MEMBERS)).to_pylist()
    named = [_Named(event["time"], _names(dict(event["texts"] or ()))) for event in events]
    return sorted(each for each in named if each.names)


def _names(texts: dict[str, str]) -> tuple[str, ...]:
    joined = texts.get("names")
    return tuple(joined.split("\n")) if joined else ()


def _member_names(members: list[_Named], n_items: int, until_ns: int) -> tuple[str, ...]:
    """Return the last recorded names of that many members, or made-up ones."""
    for each in reversed(members):
        if each.time <= until_ns and len(each.names) == n_items:
            return each.names
    return tuple(f"member-{index}" for index in range(n_items))
