"""Queues written for the tests alone: traces made by hand, and a service in plain Python."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.policies.scheduler import NO_DEADLINE_MS, scheduler
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Decision, Outcome
from gnomon.shadow.simulators.scheduler.simulator import SchedulerCalibration
from gnomon.shadow.traces.job_trace import JobTrace

START_NS = 1_700_000_000_000_000_000
Rows = list[list[float]]
Policy = Callable[[Rows], int]


def jobs(arrival: Any, service: Any, processes: int = 1, **columns: Any) -> JobTrace:
    """Return a workload of known service times, of which nothing else was recorded."""
    n = len(arrival)
    service = np.asarray(service, float)
    unknown = np.full(n, np.nan)
    given: dict[str, Any] = {
        "arrival": np.asarray(arrival, float),
        "instance": (np.arange(n) % processes).astype(np.int32),
        "held": np.zeros(n, bool),
        "size_ms": service * 1e3,
        "priority": np.ones(n),
        "due": np.full(n, np.inf),
        "begun": unknown,
        "service": service,
        "latency_ms": unknown,
        "ok": np.ones(n, bool),
    }
    names = tuple(f"{index:016x}" for index in range(processes))
    return JobTrace("pool.next", "scheduler", START_NS, names, -np.inf, 0, **(given | columns))


def calibration(workers: int = 1, processes: int = 1, **given: Any) -> SchedulerCalibration:
    """Return parameters of workers that take no time to dispatch to."""
    parameters: dict[str, Any] = {
        "workers": np.full(processes, workers, np.int64),
        "scale": np.ones(1),
        "ratio": np.ones(1),
        "gap_s": np.zeros(1),
        "late_fails": np.zeros(1, bool),
    }
    return SchedulerCalibration(**(parameters | given))


def poisson(rate: float, n: int, seed: int = 0) -> np.ndarray:
    """Return n arrivals of a Poisson process."""
    return np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, n))


def latencies(
    arrival: Sequence[float], service: Sequence[float], workers: int, pick: Callable[..., int]
) -> list[float]:
    """Return the latencies that ``pick(now, queue)`` gives, by events in a heap; seconds."""
    free = [-math.inf] * workers
    queue: list[int] = []
    coming, found = 0, [0.0] * len(arrival)
    while coming < len(arrival) or queue:
        first = arrival[queue[0] if queue else coming]
        now = max(free[0], first)
        while coming < len(arrival) and arrival[coming] <= now:
            queue.append(coming)
            coming += 1
        job = queue.pop(pick(now, queue))
        heapq.heapreplace(free, now + service[job])
        found[job] = now + service[job] - arrival[job]
    return found


class Service:
    """A pool of workers that records its decisions as the SDK would.

    Args:
        workers: how many.
        named: whether jobs have names of their own, or are known by their place in the queue.
        seed: of service times and noise.
    """

    def __init__(self, workers: int = 2, named: bool = True, seed: int = 0) -> None:
        self.workers, self.named = workers, named
        self.rng = np.random.default_rng(seed)
        self.records: list[tuple[Decision, Outcome | None]] = []

    def run(self, arrival: Any, size_ms: Any, policy: Policy, until: float = math.inf) -> None:
        """Serve jobs; the service time is the size times a lognormal draw, dispatching takes 0.1 ms."""
        n = len(arrival)
        service = np.asarray(size_ms) / 1e3 * self.rng.lognormal(-0.02, 0.2, n)
        weight, within = self.rng.integers(1, 4, n), self.rng.uniform(0.1, 1.0, n)
        due = np.where(self.rng.random(n) < 0.5, arrival + within, np.inf)
        free, last, queue, coming = [0.0] * self.workers, {}, [], 0
        for seq in range(n):
            first = arrival[queue[0] if queue else coming]
            now = max(free[0], first) + 1e-4
            while coming < n and arrival[coming] <= now:
                queue.append(coming)
                coming += 1
            if now > until:
                return
            names = queue if self.named else range(len(queue))
            last = {name: last.get(name, seq - 1) for name in names}
            rows = [
                [
                    (now - arrival[job]) * 1e3,
                    size_ms[job],
                    weight[job],
                    min((due[job] - now) * 1e3, NO_DEADLINE_MS),
                    len(queue),
                    float(seq - last[name]),
                    self.rng.random(),
                ]
                for job, name in zip(queue, names, strict=True)
            ]
            action = policy(rows)
            last[names[action]] = seq
            job = queue.pop(action)
            heapq.heapreplace(free, now + service[job])
            done = now + service[job]
            self._record(seq, now, rows, action, (done - arrival[job]) * 1e3, done <= due[job])

    def _record(
        self, seq: int, now: float, rows: Rows, action: int, latency_ms: float, ok: bool
    ) -> None:
        time_ns = START_NS + round(now * 1e9)
        flat = tuple(float(value) for row in rows for value in row)
        decided = Decision(
            seq, time_ns, -1, "", "incumbent", "static", "", "incumbent", 0, -1, action, len(rows),
            flat, 1.0, "sampled", 0, 0,
        )  # fmt: skip
        told = (("latency_ms", latency_ms),)
        at = time_ns + round(latency_ms * 1e6)
        self.records.append(
            (decided, Outcome(seq, at, bool(ok), "reported", told, "incumbent", -1, time_ns))
        )

    def stored(self, folder: Path, process: str = "0" * 16) -> TraceStore:
        """Return a trace store that holds what was recorded."""
        store = TraceStore(folder / "traces")
        about = Source(process, "pool", "pool.next", scheduler.name, scheduler.version)
        store.write(tables(about, Joined(decisions=self.records)), f"part-{process}")
        return store


def fcfs(_rows: Rows) -> int:
    """Serve in order of arrival."""
    return 0


def sjf(rows: Rows) -> int:
    """Serve the smallest job."""
    return min(range(len(rows)), key=lambda index: rows[index][1])
