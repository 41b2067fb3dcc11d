"""From the trace store's tables to the columns of a load trace."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.expert_placement import (
    MOST_EXPERTS,
    MOST_LAYERS,
    check_deployment,
    expert_placement,
    static_row,
)
from ...sdk.counts import unpack_counts
from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.records import INCUMBENT
from .load_trace import LoadTrace
from .trace import FloatArray, clipped

IntArray = npt.NDArray[np.int64]

#: Fewer windows than this say too little about anything.
LEAST_WINDOWS = 32
#: Windows further apart than so many times their usual distance, and than 5 s, have others between them
#: that were not recorded; sampled stretches of time are 10 s long unless somebody says otherwise.
_PAUSE, _PAUSE_NS = 3.0, 5_000_000_000
_MOST_DELAY = 100


class _Window(NamedTuple):
    """A ``load`` event; ``seq`` numbers all events of its process."""

    time: int
    seq: int
    layers: int
    experts: int
    counts: str


class _Deployment(NamedTuple):
    """A ``deployment`` event."""

    time: int
    replicas: int
    groups: int
    nodes: int
    ranks: int
    delay: int
    policy: str
    placement: str


class _Decided(NamedTuple):
    """Decisions in order of time: when, by which policy (of those named), and the imbalance that followed."""

    time: IntArray
    policy: IntArray
    imbalance: FloatArray
    names: tuple[str, ...]


_NOTHING = _Decided(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), (INCUMBENT,))


def trace(workload: pa.Table, decisions: pa.Table, hook: str) -> LoadTrace:
    """Return the longest stretch of windows of one deployment, one shape and one policy."""
    _check_kind(workload, hook)
    process = _busiest(workload, hook)
    events = _of(workload, process).sort_by([("time", "ascending"), ("workload_id", "ascending")])
    windows = [_window(row, hook) for row in _events(events, "load")]
    deployments = [_deployment(row, hook) for row in _events(events, "deployment")]
    decided = _decided(_of(decisions, process))
    low, high, deployment = _longest(windows, deployments, decided, hook)
    begin = np.array([windows[low].time, windows[high - 1].time], np.int64)
    decider = decided.names[int(_policies(begin, decided)[0])]
    if decider != INCUMBENT:  # not the service's own function, of which the deployment speaks
        deployment = deployment._replace(policy=decider)
    return _made(windows[low:high], deployment, decided, hook)


def _check_kind(workload: pa.Table, hook: str) -> None:
    names = {"kind": expert_placement.name, "kind_version": expert_placement.version}
    for column, expected in names.items():
        found = pc.unique(workload[column]).to_pylist()
        if found and found != [expected]:
            raise TraceError(
                f"hook {hook!r} was recorded with {column} {found}, this is {expected!r}; capture again"
            )


def _busiest(workload: pa.Table, hook: str) -> str:
    """Return the process with most windows: every rank may say them, one of them is enough."""
    loads = workload.filter(pc.equal(workload["event"], "load"))
    if not loads.num_rows:
        raise TraceError(f"hook {hook!r} has no load events; record or import some first")
    counted = loads.group_by("process").aggregate([("process", "count")]).to_pylist()
    return str(max(counted, key=lambda row: (row["process_count"], row["process"]))["process"])


def _of(table: pa.Table, process: str) -> pa.Table:
    return table.filter(pc.equal(table["process"], process)) if table.num_rows else table


def _events(table: pa.Table, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["event"], name)).to_pylist()
    return [
        {**dict(row["numbers"] or ()), **dict(row["texts"] or ())}
        | {"time": row["time"], "seq": int.from_bytes(row["workload_id"][8:], "big")}
        for row in rows
    ]


def _whole(row: dict[str, Any], name: str, low: int, high: int, hook: str) -> int:
    value = row.get(name)
    if not isinstance(value, float) or not low <= value <= high or value != int(value):
        raise TraceError(
            f"an event of hook {hook!r} has {name} {value!r}; record a whole number from {low} to {high}"
        )
    return int(value)


def _text(row: dict[str, Any], name: str, hook: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise TraceError(f"an event of hook {hook!r} has no text {name!r}; record one")
    return value


def _window(row: dict[str, Any], hook: str) -> _Window:
    return _Window(
        int(row["time"]),
        int(row["seq"]),
        _whole(row, "layers", 1, MOST_LAYERS, hook),
        _whole(row, "experts", 1, MOST_EXPERTS, hook),
        _text(row, "counts", hook),
    )


def _deployment(row: dict[str, Any], hook: str) -> _Deployment:
    numbers = (
        _whole(row, name, 1, 2**31, hook) for name in ("replicas", "groups", "nodes", "ranks")
    )
    replicas, groups, nodes, ranks = numbers
    return _Deployment(
        int(row["time"]),
        replicas,
        groups,
        nodes,
        ranks,
        _whole(row, "delay", 0, _MOST_DELAY, hook),
        _text(row, "policy", hook),
        _text(row, "placement", hook),
    )


def _decided(decisions: pa.Table) -> _Decided:
    if not decisions.num_rows:
        return _NOTHING
    sampled = decisions.filter(pc.equal(decisions["inclusion"], "sampled"))
    rows = sampled.sort_by([("time", "ascending"), ("decision_id", "ascending")])
    names, policy = np.unique(rows["policy"].to_numpy(zero_copy_only=False), return_inverse=True)
    looked_up = pc.map_lookup(rows["values"], pa.scalar(expert_placement.objective.name), "first")
    imbalance = clipped(looked_up.to_numpy(zero_copy_only=False), expert_placement)
    open_still = rows["outcome_status"].is_null().to_numpy(zero_copy_only=False)
    return _Decided(
        rows["time"].to_numpy().astype(np.int64),
        policy.astype(np.int64),
        np.where(open_still, np.nan, imbalance),
        tuple(map(str, names)),
    )


def _longest(
    windows: list[_Window], deployments: list[_Deployment], decided: _Decided, hook: str
) -> tuple[int, int, _Deployment]:
    """Return the longest stretch of windows within which nothing changed or is missing, and its deployment."""
    time = np.array([window.time for window in windows], np.int64)
    era = np.searchsorted(np.array([each.time for each in deployments], np.int64), time, "right")
    if not era.any():
        raise TraceError(
            f"hook {hook!r} has no deployment event before its loads; record one when recording begins"
        )
    shape = np.array([(window.layers, window.experts) for window in windows])
    policy = _policies(time, decided)
    changed = (np.diff(era) != 0) | (np.diff(shape, axis=0) != 0).any(axis=1)
    changed |= (np.diff(policy) != 0) | _missing(windows)
    edges = np.concatenate(([0], np.flatnonzero(changed) + 1, [len(windows)]))
    lengths = np.diff(edges) * (era[edges[:-1]] > 0)
    longest = int(np.argmax(lengths))
    if lengths[longest] < LEAST_WINDOWS:
        raise TraceError(
            f"hook {hook!r} has {int(lengths[longest])} windows in a row of one deployment and policy, too "
            f"little data; record at least {LEAST_WINDOWS}"
        )
    low, high = int(edges[longest]), int(edges[longest + 1])
    return low, high, deployments[int(era[low]) - 1]


def _missing(windows: list[_Window]) -> npt.NDArray[np.bool_]:
    """Return between which windows others were lost, or not recorded: they would be judged by the wrong one."""
    time = np.array([window.time for window in windows], np.int64)
    seq = np.array([window.seq for window in windows], np.int64)
    apart = time[1:] - time[:-1]
    usual = float(np.median(apart)) if len(apart) else 0.0
    missing: npt.NDArray[np.bool_] = (seq[1:] - seq[:-1] != 1) | (
        apart > max(_PAUSE * usual, _PAUSE_NS)
    )
    return missing


def _policies(time: IntArray, decided: _Decided) -> IntArray:
    """Return which policy each window's decision is by; where there is none, the last one's."""
    if not len(decided.time):
        return np.zeros(len(time), np.int64)
    until = np.append(time[1:], np.iinfo(np.int64).max)
    last = np.searchsorted(decided.time, until, "left") - 1
    return decided.policy[np.maximum(last, 0)]


def _made(
    windows: list[_Window], deployment: _Deployment, decided: _Decided, hook: str
) -> LoadTrace:
    layers, experts = windows[0].layers, windows[0].experts
    try:
        check_deployment(experts, *deployment[1:5])
    except ConfigurationError as error:
        raise TraceError(f"hook {hook!r} has a deployment that cannot be: {error}") from error
    time = np.array([window.time for window in windows], np.int64)
    counts = [np.array(unpack_counts(window.counts, layers, experts)) for window in windows]
    return LoadTrace(
        hook=hook,
        kind=expert_placement.name,
        start_ns=int(time[0]),
        replicas=deployment.replicas,
        groups=deployment.groups,
        nodes=deployment.nodes,
        ranks=deployment.ranks,
        delay=deployment.delay,
        policy=deployment.policy,
        first=1 + deployment.delay,
        at=(time - time[0]) / 1e9,
        index=np.arange(len(time)),
        counts=np.stack(counts).astype(np.int64).reshape(len(time), layers, experts),
        imbalance=_imbalance(time, decided, deployment.delay),
        placement=_placement(deployment, layers, experts),
    )


def _imbalance(time: IntArray, decided: _Decided, delay: int) -> FloatArray:
    """Return what followed the last decision after each window, where that decision is judged."""
    found = np.full(len(time), np.nan)
    window = np.searchsorted(time, decided.time, "right") - 1  # the last that ended before
    judged = window + 1 + delay
    inside = (window >= 0) & (judged < len(time))
    found[judged[inside]] = decided.imbalance[inside]  # of several decisions the last one
    return found


def _placement(deployment: _Deployment, layers: int, experts: int) -> IntArray:
    if not deployment.placement:
        row = static_row(experts, *deployment[1:4])
        return np.tile(np.array(row, np.int64), (layers, 1))
    cells = unpack_counts(deployment.placement, layers, deployment.replicas)
    return np.array(cells).astype(np.int64).reshape(layers, deployment.replicas)
