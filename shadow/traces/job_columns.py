"""From the trace store's tables to the columns of a queue's trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.scheduler import NO_DEADLINE_MS, scheduler
from ...sdk.errors import TraceError
from ...sdk.kind import Kind
from . import decision_columns as tables
from .job_trace import JobTrace
from .trace import LEAST_DECISIONS, MOST_BROKEN, FloatArray, clipped

IntArray = npt.NDArray[np.int64]

#: A trace in which more jobs than this share were never run is not replayed: which ones is no accident.
MOST_UNSERVED = 0.05
#: Part of the jobs, at the end, that is cut off so that those which came last do not count as unserved.
END = 0.10
#: A time between two readings of the clock that are one to whoever took them.
SHORTEST_S = 1e-6
_WAIT, _SIZE, _PRIORITY, _SLACK, _QUEUED = range(5)


@dataclass(frozen=True, eq=False)
class Queues:
    """What decisions showed: for each of n decisions a queue, all of them one after the other, k items.

    Attributes:
        time: seconds since ``start_ns``, f8[n], ascending.
        process: index, i8[n].
        picked: index of the picked item among the k, i8[n].
        edge: where each queue begins, and the end, i8[n + 1].
        items: features, f8[k, F].
    """

    start_ns: int
    time: FloatArray
    process: IntArray
    picked: IntArray
    edge: IntArray
    items: FloatArray

    @property
    def owner(self) -> IntArray:
        """The decision that each item was seen in, i8[k]."""
        return np.repeat(np.arange(len(self.time)), np.diff(self.edge))

    def last(self) -> IntArray:
        """Return the last decision of every process."""
        found = {int(process): index for index, process in enumerate(self.process.tolist())}
        return np.array(sorted(found.values()), np.int64)


def trace(decisions: pa.Table, workload: pa.Table, hook: str) -> JobTrace:
    """Return the longest stretch of decisions of one policy as jobs, or what ``arrival`` events say."""
    if not decisions.num_rows:
        return _imported(workload, hook)
    rows = tables.ordered(decisions, hook)
    kind = tables.kind_of(rows, hook)
    rows = tables.answered(stretch(rows, kind, hook), kind)
    return _made(rows, kind, hook)


def _made(rows: pa.Table, kind: Kind, hook: str) -> JobTrace:
    queues, names = queues_in(rows, kind)
    latency_ms = clipped(tables.metric(rows, kind.objective.name), kind)
    ok = pc.fill_null(rows["ok"], False).to_numpy(zero_copy_only=False).astype(np.bool_)
    seen = queues.items[queues.picked]
    lost = ~ok & (latency_ms >= kind.objective.clip)
    ran = np.maximum((latency_ms - seen[:, _WAIT]) / 1e3, SHORTEST_S)
    columns = _columns(queues, queues.picked) | {
        "arrival": arrivals(queues, kind),
        "held": np.zeros(len(ok), np.bool_),
        "begun": queues.time,
        "service": np.where(lost, np.nan, ran),
        "latency_ms": latency_ms,
        "ok": ok,
    }
    left = _columns(queues, left_in(queues))
    until, unserved = end_of(columns["arrival"], left["arrival"], hook)
    order = np.argsort(columns["arrival"], kind="stable")
    order = order[columns["arrival"][order] < until]
    if len(order) < LEAST_DECISIONS:
        raise TraceError(
            f"trace {hook!r} has {len(order)} jobs that were run under one policy, too little data; "
            f"capture at least {LEAST_DECISIONS}"
        )
    taken = {name: column[order] for name, column in columns.items()}
    head = (hook, kind.name, queues.start_ns, names, -np.inf, unserved)
    return JobTrace(*head, **_shifted(taken))


def _shifted(columns: dict[str, Any]) -> dict[str, Any]:
    columns["instance"] = columns["instance"].astype(np.int32)
    return columns


def queues_in(rows: pa.Table, kind: Kind) -> tuple[Queues, tuple[str, ...]]:
    times = rows["time"].to_numpy()
    names, process = np.unique(rows["process"].to_numpy(zero_copy_only=False), return_inverse=True)
    edge = np.concatenate(([0], np.cumsum(rows["n_items"].to_numpy().astype(np.int64))))
    flat = pc.list_flatten(rows["features"]).to_numpy().astype(np.float64)
    picked = edge[:-1] + rows["action"].to_numpy().astype(np.int64)
    queues = Queues(
        start_ns=int(times[0]),
        time=(times - times[0]) / 1e9,
        process=process.astype(np.int64),
        picked=picked,
        edge=edge,
        items=flat.reshape(-1, len(kind.inputs)),
    )
    return queues, tuple(str(name) for name in names)


def _columns(queues: Queues, items: IntArray) -> dict[str, Any]:
    """Return what a policy knew of jobs, when they were seen as these items."""
    at = np.searchsorted(queues.edge, items, side="right") - 1
    seen, now = queues.items[items], queues.time[at]
    due = now + seen[:, _SLACK] / 1e3
    return {
        "arrival": now - seen[:, _WAIT] / 1e3,
        "instance": queues.process[at],
        "size_ms": seen[:, _SIZE],
        "priority": seen[:, _PRIORITY],
        "due": np.where(seen[:, _SLACK] >= NO_DEADLINE_MS, np.inf, due),
    }


def arrivals(queues: Queues, kind: Kind) -> FloatArray:
    """Return when each picked job arrived, seconds, f8[n].

    A wait is read some time before its decision is, so that ``time - wait`` is late, by more or less than
    jobs of one burst are apart. Where the queues are in order of arrival (those that were not there before
    come last), no job arrived after one behind it; that order is kept.
    """
    seen: FloatArray = queues.time - queues.items[queues.picked, _WAIT] / 1e3
    if not _appended(queues, kind):
        return seen
    found = np.empty_like(seen)
    for process in np.unique(queues.process):
        own = np.flatnonzero(queues.process == process)
        place = _places(queues, own)
        order = np.argsort(place)
        step = SHORTEST_S / 1e3 * np.arange(len(own))
        apart = np.minimum.accumulate((seen[own][order] - step)[::-1])[::-1] + step
        found[own[order]] = apart
    return found


def _appended(queues: Queues, kind: Kind) -> bool:
    """Return whether jobs that were not there before come after those that were, in every queue."""
    new = queues.items[:, len(kind.inputs) - 2] <= 1.0
    inside = np.ones(len(new), np.bool_)
    inside[queues.edge[:-1]] = False
    return not bool((new[:-1] & ~new[1:] & inside[1:]).any())


def _places(queues: Queues, own: IntArray) -> IntArray:
    """Return the place of each picked job of a process in the order in which jobs were queued."""
    waiting: list[int] = []
    coming, place = 0, []
    picked = (queues.picked - queues.edge[:-1])[own].tolist()
    for at, size in zip(picked, np.diff(queues.edge)[own].tolist(), strict=True):
        more = max(0, size - len(waiting))
        waiting.extend(range(coming, coming + more))
        coming += more
        place.append(waiting.pop(at) if at < len(waiting) else coming)
    return np.array(place, np.int64)


def left_in(queues: Queues) -> IntArray:
    """Return the items that still waited after the last decision of their process."""
    items = [
        item
        for last in queues.last()
        for item in range(queues.edge[last], queues.edge[last + 1])
        if item != queues.picked[last]
    ]
    return np.array(items, np.int64)


def end_of(arrival: FloatArray, left: FloatArray, hook: str) -> tuple[float, int]:
    """Return when to cut, so that few jobs that had arrived are missing, and how many are."""
    if not len(left):
        return np.inf, 0
    until = max(float(left.min()), float(np.quantile(arrival, 1.0 - END)))
    unserved = int((left < until).sum())
    if unserved > MOST_UNSERVED * int((arrival < until).sum()):
        raise TraceError(
            f"{unserved} jobs of hook {hook!r} still waited when the recording ended, and they had not come "
            f"last, beside {len(arrival)} that were run; record until the queue is short again"
        )
    return until, unserved


def stretch(rows: pa.Table, kind: Kind, hook: str) -> pa.Table:
    """Return the longest run of decisions by one policy that follow each other."""
    _refuse_widths(rows, kind, hook)
    queues, _ = queues_in(rows, kind)
    _, policy = np.unique(rows["policy"].to_numpy(zero_copy_only=False), return_inverse=True)
    broken = _broken(queues, kind)
    if broken.mean() > MOST_BROKEN:
        raise TraceError(
            f"{broken.mean():.0%} of the decisions of hook {hook!r} do not follow the one before; give "
            "every job a name of its own (item_name=lambda job: job.id), take the picked one out of the "
            "queue, and record whole time windows"
        )
    differs = (np.diff(policy) != 0) | (np.diff(queues.time) > tables.PAUSE_NS / 1e9)
    edges = np.concatenate(([0], np.flatnonzero(differs | broken[1:]) + 1, [len(policy)]))
    longest = int(np.argmax(np.diff(edges)))
    return rows.slice(int(edges[longest]), int(edges[longest + 1] - edges[longest]))


def _refuse_widths(rows: pa.Table, kind: Kind, hook: str) -> None:
    items = rows["n_items"].to_numpy().astype(np.int64)
    action = rows["action"].to_numpy().astype(np.int64)
    lengths = pc.list_value_length(rows["features"]).to_numpy()
    bad = (lengths != items * len(kind.inputs)) | (action < 0) | (action >= items)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise TraceError(
            f"hook {hook!r} recorded pick {action[at]} and {lengths[at]} feature values in a decision "
            f"over {items[at]} jobs of {len(kind.inputs)}; capture again"
        )


def _broken(queues: Queues, kind: Kind) -> npt.NDArray[np.bool_]:
    """Return which decisions do not show, as known, the jobs that the one before left.

    A job that was not there before has ``since_picked`` 1, one that was has more. Named by their
    place in the queue, jobs would take over what the one before them at that place had.
    """
    since = queues.items[:, len(kind.inputs) - 2]
    known = np.add.reduceat((since > 1.0).astype(np.int64), queues.edge[:-1])
    left = np.diff(queues.edge) - 1
    broken = np.zeros(len(known), np.bool_)
    for process in np.unique(queues.process):
        own = np.flatnonzero(queues.process == process)
        broken[own[1:]] = known[own[1:]] != left[own[:-1]]
    return broken


def _imported(workload: pa.Table, hook: str) -> JobTrace:
    """Return a workload, with what ``served`` and ``workers`` events say of it."""
    rows = _events(workload, "arrival")
    if rows.num_rows < LEAST_DECISIONS:
        raise TraceError(
            f"hook {hook!r} has {rows.num_rows} jobs, too little data; record or import at least "
            f"{LEAST_DECISIONS}"
        )
    times = rows["time"].to_numpy()
    names, process = np.unique(rows["process"].to_numpy(zero_copy_only=False), return_inverse=True)
    arrival = (times - times[0]) / 1e9
    within_s = number(rows, "deadline_ms") / 1e3
    wait_s, service, failed = _served(rows, _events(workload, "served"))
    kind = str(rows["kind"][0].as_py())
    return JobTrace(
        hook=hook,
        kind=kind,
        start_ns=int(times[0]),
        instances=tuple(str(name) for name in names),
        since=-np.inf,
        unserved=0,
        arrival=arrival,
        instance=process.astype(np.int32),
        held=np.zeros(len(arrival), np.bool_),
        size_ms=number(rows, "size_ms"),
        priority=number(rows, "priority"),
        due=np.where(within_s * 1e3 >= NO_DEADLINE_MS, np.inf, arrival + within_s),
        begun=arrival + wait_s,
        service=service,
        latency_ms=np.minimum((wait_s + service) * 1e3, scheduler.objective.clip),
        ok=failed != 1.0,
        workers=_workers(_events(workload, "workers"), names),
    )


def _events(workload: pa.Table, name: str) -> pa.Table:
    """Return a table's events of one name, in order."""
    if not workload.num_rows:
        return workload
    rows = workload.filter(pc.equal(workload["event"], name))
    return rows.sort_by([("time", "ascending"), ("workload_id", "ascending")])


def _served(rows: pa.Table, served: pa.Table) -> FloatArray:
    """Return every arrival's wait and service time, seconds, and whether it failed; NaN for unknown, f8[3, n]."""
    found = np.full((3, rows.num_rows), np.nan)
    if not served.num_rows:
        return found
    place = {name: index for index, name in enumerate(text(rows, "job"))}
    at = np.array([place.get(name, -1) for name in text(served, "job")], np.int64)
    known = at >= 0
    for index, (name, unit) in enumerate((("wait_ms", 1e3), ("service_ms", 1e3), ("failed", 1.0))):
        said = number(served, name) / unit
        found[index, at[known]] = np.where(said >= 0.0, said, np.nan)[known]
    return found


def _workers(said: pa.Table, names: npt.NDArray[Any]) -> tuple[int, ...]:
    """Return the workers of each process as last said; none where they are not said of all."""
    if not said.num_rows:
        return ()
    counts = dict(zip(said["process"].to_pylist(), number(said, "workers").tolist(), strict=True))
    return tuple(int(counts[name]) for name in names) if counts.keys() >= set(names) else ()


def text(rows: pa.Table, name: str) -> list[str]:
    """Return a field of events as texts."""
    found: list[str] = pc.map_lookup(rows["texts"], pa.scalar(name), "first").to_pylist()
    return found


def number(rows: pa.Table, name: str) -> FloatArray:
    """Return a field of events; NaN where it is missing."""
    found = pc.map_lookup(rows["numbers"], pa.scalar(name), "first")
    values: FloatArray = found.to_numpy(zero_copy_only=False).astype(np.float64)
    return values
