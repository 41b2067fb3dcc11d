"""From the trace store's tables to the columns of an LLM server's trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...policies.scheduler import NO_DEADLINE_MS
from ...sdk.errors import TraceError
from ...sdk.kind import Kind
from . import decision_columns as tables
from . import job_columns as jobs
from .job_trace import RequestTrace
from .trace import LEAST_DECISIONS, FloatArray, clipped

_PROMPT, _OUTPUT, _PRIORITY, _SLACK = 1, 2, 3, 4
_SETTINGS = (
    "max_num_batched_tokens",
    "max_num_seqs",
    "kv_blocks",
    "block_tokens",
    "steps_in_advance",
)


def trace(decisions: pa.Table, workload: pa.Table, hook: str) -> RequestTrace:
    """Return the longest stretch of admissions of one policy as requests, or what an import holds."""
    if not decisions.num_rows:
        return _imported(workload, hook)
    rows = tables.ordered(decisions, hook)
    kind = tables.kind_of(rows, hook)
    rows = tables.answered(jobs.stretch(rows, kind, hook), kind)
    return _made(rows, kind, _engine(workload, hook), hook)


def _made(rows: pa.Table, kind: Kind, engine: tuple[int, ...], hook: str) -> RequestTrace:
    queues, names = jobs.queues_in(rows, kind)
    seen = queues.items[queues.picked]
    latency_ms = clipped(tables.metric(rows, kind.objective.name), kind)
    ttft_ms, tokens = (_metric(rows, name) for name in ("ttft_ms", "answered_tokens"))
    unknown = np.isnan(ttft_ms) | ~(tokens >= 1.0)
    if unknown.mean() > jobs.MOST_UNSERVED:
        raise TraceError(
            f"{unknown.mean():.0%} of the outcomes of hook {hook!r} lack ttft_ms or answered_tokens; "
            "report both with latency_ms"
        )
    arrival = jobs.arrivals(queues, kind)
    due = queues.time + seen[:, _SLACK] / 1e3
    columns: dict[str, Any] = {
        "arrival": arrival,
        "held": np.zeros(len(arrival), np.bool_),
        "instance": queues.process.astype(np.int32),
        "prompt": seen[:, _PROMPT].astype(np.int64),
        "output": np.where(unknown, seen[:, _OUTPUT], tokens).astype(np.int64),
        "expected": seen[:, _OUTPUT],
        "priority": seen[:, _PRIORITY],
        "due": np.where(seen[:, _SLACK] >= NO_DEADLINE_MS, np.inf, due),
        "admitted": queues.time,
        "answered": arrival + ttft_ms / 1e3,
        "done": np.where(unknown, np.nan, arrival + latency_ms / 1e3),
        "latency_ms": latency_ms,
        "ok": pc.fill_null(rows["ok"], False).to_numpy(zero_copy_only=False).astype(np.bool_),
    }
    left = jobs.left_in(queues)
    waited = queues.time[np.searchsorted(queues.edge, left, side="right") - 1]
    until, unserved = jobs.end_of(arrival, waited - queues.items[left, 0] / 1e3, hook)
    order = np.argsort(arrival, kind="stable")
    order = order[arrival[order] < until]
    _enough(len(order), hook)
    head = (hook, kind.name, queues.start_ns, names, -np.inf, unserved, engine)
    return RequestTrace(*head, **{name: column[order] for name, column in columns.items()})


def _metric(rows: pa.Table, name: str) -> FloatArray:
    values: FloatArray = tables.metric(rows, name).astype(np.float64)
    return values


def _enough(requests: int, hook: str) -> None:
    if requests < LEAST_DECISIONS:
        raise TraceError(
            f"hook {hook!r} has {requests} requests, too little data; record or import at least "
            f"{LEAST_DECISIONS}"
        )


def _engine(workload: pa.Table, hook: str) -> tuple[int, ...]:
    """Return the settings as last said."""
    said = _events(workload, "engine")
    if not said.num_rows:
        raise TraceError(
            f"hook {hook!r} has no event that says the engine's settings; record "
            f"hook.event('engine', {', '.join(f'{name}=...' for name in _SETTINGS)}), 0 where unknown"
        )
    last = said.slice(said.num_rows - 1)
    return tuple(int(jobs.number(last, name)[0]) for name in _SETTINGS)


def _events(workload: pa.Table, name: str) -> pa.Table:
    if not workload.num_rows:
        return workload
    rows = workload.filter(pc.equal(workload["event"], name))
    return rows.sort_by([("time", "ascending"), ("workload_id", "ascending")])


def _imported(workload: pa.Table, hook: str) -> RequestTrace:
    rows = _events(workload, "arrival")
    _enough(rows.num_rows, hook)
    times = rows["time"].to_numpy()
    names, process = np.unique(rows["process"].to_numpy(zero_copy_only=False), return_inverse=True)
    arrival = (times - times[0]) / 1e9
    within_s = jobs.number(rows, "deadline_ms") / 1e3
    queue_s, ttft_s, latency_s = _served(rows, _events(workload, "served"))
    return RequestTrace(
        hook=hook,
        kind=str(rows["kind"][0].as_py()),
        start_ns=int(times[0]),
        instances=tuple(str(name) for name in names),
        since=-np.inf,
        unserved=0,
        engine=_engine(workload, hook),
        arrival=arrival,
        instance=process.astype(np.int32),
        held=np.zeros(len(arrival), np.bool_),
        prompt=jobs.number(rows, "prompt_tokens").astype(np.int64),
        output=jobs.number(rows, "answered_tokens").astype(np.int64),
        expected=jobs.number(rows, "output_tokens"),
        priority=jobs.number(rows, "priority"),
        due=np.where(within_s * 1e3 >= NO_DEADLINE_MS, np.inf, arrival + within_s),
        admitted=arrival + queue_s,
        answered=arrival + ttft_s,
        done=arrival + latency_s,
        latency_ms=latency_s * 1e3,
        ok=np.ones(len(arrival), np.bool_),
    )


def _served(rows: pa.Table, served: pa.Table) -> FloatArray:
    """Return what was measured of every arrival, seconds, NaN where it was not, f8[3, n]."""
    found = np.full((3, rows.num_rows), np.nan)
    if not served.num_rows:
        return found
    place = {name: index for index, name in enumerate(jobs.text(rows, "job"))}
    at = np.array([place.get(name, -1) for name in jobs.text(served, "job")], np.int64)
    for index, name in enumerate(("queue_ms", "ttft_ms", "latency_ms")):
        measured = jobs.number(served, name) / 1e3
        found[index, at[at >= 0]] = np.where(measured >= 0.0, measured, np.nan)[at >= 0]
    return found
