"""A pool of workers before a queue of jobs: sizes known with error, heavy tails, bursts, unlike workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np

from gnomon.shadow.traces.job_trace import JobTrace

from .clock import CELL_S, START_NS, arrivals, switching

CLIP_MS = 60_000.0
_NEVER_MS = 86_400_000.0
_DISPATCH_S = 1e-4


class Jobs(NamedTuple):
    """What would come under any policy; n jobs."""

    time: Any
    size_ms: Any
    error: Any
    weight: Any
    due: Any
    slow: Any
    luck: Any


@dataclass(frozen=True)
class Queued:
    """Parameters of one pool.

    Attributes:
        workers: how many.
        rate: jobs a second, on average.
        mean_ms: of the sizes, as the policy knows them.
        tail: index of the Pareto law of the sizes; the smaller the heavier.
        error: spread of the logarithm of service time over size.
        burst: factor between busy and quiet traffic; 1 for a steady rate.
        slow: how much slower than the first the last worker is; no trace says who ran a job.
        swap: how much slower a job is after one of another weight; no trace says that either.
        spell_factor: slow spells of the whole pool, every 20 s for 2 s; 1 for none.
    """

    workers: int = 2
    rate: float = 40.0
    mean_ms: float = 35.0
    tail: float = 2.5
    error: float = 0.2
    burst: float = 1.0
    slow: float = 1.0
    swap: float = 1.0
    spell_factor: float = 1.0

    def traffic(self, seconds: float, rng: np.random.Generator) -> Jobs:
        """Draw the jobs of a stretch of time."""
        time = arrivals(self.rate, seconds, self.burst, rng)
        n = len(time)
        size = np.minimum((1.0 + rng.pareto(self.tail, n)) * (self.tail - 1.0) / self.tail, 100.0)
        error = rng.lognormal(-(self.error**2) / 2.0, self.error, n)
        due = np.where(rng.random(n) < 0.5, time + rng.uniform(0.1, 1.0, n), np.inf)
        slow = np.where(switching(seconds, 20.0, 2.0, rng), self.spell_factor, 1.0)
        weight = rng.integers(1, 4, n).astype(np.float64)
        return Jobs(time, size * self.mean_ms, error, weight, due, slow, rng.random(n))

    def run(self, jobs: Jobs, score: Any) -> Worked:
        """Run jobs under a compiled score of the kind's inputs; the lowest is picked."""
        speed = np.linspace(1.0, self.slow, self.workers)
        return Worked(jobs, *_run(*jobs, speed, self.swap, score))


@dataclass(frozen=True)
class Worked:
    """When every job was dispatched, and for how long it ran, in order of arrival; seconds."""

    jobs: Jobs
    begun: Any
    service: Any

    @property
    def latency_ms(self) -> Any:
        """From arrival to the end, clipped."""
        return np.minimum((self.begun + self.service - self.jobs.time) * 1e3, CLIP_MS)

    @property
    def ok(self) -> Any:
        """Nothing fails here."""
        return np.ones(len(self.begun), bool)

    def trace(self) -> JobTrace:
        """Return what the service recorded."""
        n = len(self.begun)
        return JobTrace(
            hook="world.next",
            kind="scheduler",
            start_ns=START_NS,
            instances=("0" * 16,),
            since=-np.inf,
            unserved=0,
            arrival=self.jobs.time,
            instance=np.zeros(n, np.int32),
            held=np.zeros(n, bool),
            size_ms=self.jobs.size_ms,
            priority=self.jobs.weight,
            due=self.jobs.due,
            begun=self.begun,
            service=self.service,
            latency_ms=self.latency_ms,
            ok=self.ok,
        )


@numba.njit
def _run(time, size_ms, error, weight, due, slow, luck, speed, swap, score):  # type: ignore[no-untyped-def]
    n, workers = len(time), len(speed)
    begun, service = np.zeros(n), np.zeros(n)
    queue, joined = np.empty(n, np.int64), np.zeros(n)
    free, before = np.full(workers, -1.0), np.zeros(workers)
    queued, coming, now = 0, 0, 0.0
    for turn in range(n):
        worker = int(np.argmin(free))
        first = time[coming] if queued == 0 else 0.0
        now = max(max(now, free[worker]), first) + _DISPATCH_S
        while coming < n and time[coming] <= now:
            queue[queued] = coming
            joined[coming] = turn - 1
            queued, coming = queued + 1, coming + 1
        best, value, tie = 0, np.inf, 2.0
        for place in range(queued):
            job = queue[place]
            slack = min((due[job] - now) * 1e3, _NEVER_MS)
            noise = (luck[job] * 7919.0 + turn * 0.6180339887) % 1.0
            found = score(
                (now - time[job]) * 1e3, size_ms[job], weight[job], slack, float(queued),
                turn - joined[job], noise,
            )  # fmt: skip
            if found < value or (found == value and noise < tie):
                best, value, tie = place, found, noise
        job = queue[best]
        for place in range(best, queued - 1):
            queue[place] = queue[place + 1]
        queued -= 1
        takes = size_ms[job] / 1e3 * error[job] * speed[worker]
        takes *= slow[min(int(now / CELL_S), len(slow) - 1)]
        if before[worker] != weight[job]:
            takes *= swap
        before[worker] = weight[job]
        begun[job], service[job] = now, takes
        free[worker] = now + takes
    return begun, service
