"""Identities that hold for every queue, computed from what each job went through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..base import FloatArray, IntArray
from ..native import native

#: Differences of times that are sums of other times.
_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a replay-level invariant of a queue sees; jobs that only precede a window included.

    Attributes:
        jobs: how many there were.
        completions: how many of them ran, and to their end.
        shortest_wait_ms, longest_wait_ms: from arrival to dispatch; where jobs can be interrupted, what
            of a latency is not service.
        longest_in_order_ms: the longest wait if the same jobs are served in order of arrival.
        longest_service_ms: of any job.
        latencies_s: sum over the jobs, as reported.
        jobs_over_time_s: integral of the number of jobs in the system over time.
        work_s: sum of the time that the jobs took.
        busy_s: integral of the number of busy workers over time.
        overlap_s: time in which a worker had more than one job.
        idle_s: time in which a worker was idle and a job waited.
        dispatching_s: time that dispatching took, at most.
        wrong_outcomes: outcomes that are neither the clipped latency of their job nor, of a lost one, the
            clip; and jobs that were late and count as a success although being late is a failure.
    """

    jobs: int
    completions: int
    shortest_wait_ms: float
    longest_wait_ms: float
    longest_in_order_ms: float
    longest_service_ms: float
    latencies_s: float
    jobs_over_time_s: float
    work_s: float
    busy_s: float
    overlap_s: float
    idle_s: float
    dispatching_s: float
    wrong_outcomes: int = 0


@dataclass(frozen=True, eq=False)
class Course:
    """What the jobs of a replay went through, by process and arrival; n jobs, p processes.

    Attributes:
        arrival, begun, done: seconds; NaN where a job was not run; f8[n].
        service: seconds that a job takes, f8[n].
        latency_s: as reported, not clipped, f8[n].
        worker: that ran it, i8[n]; None where jobs can be interrupted.
        edge: where the jobs of each process begin, and the end, i8[p + 1].
        workers: of each process, i8[p].
        busy: until when each worker is taken by what was begun before, or nobody decides, seconds, f8[p, c].
        dispatching_s: time that dispatching took, at most.
    """

    arrival: FloatArray
    begun: FloatArray
    done: FloatArray
    service: FloatArray
    latency_s: FloatArray
    worker: npt.NDArray[np.int32] | None
    edge: IntArray
    workers: IntArray
    busy: FloatArray
    dispatching_s: float


def summary_of(course: Course) -> JobSummary:
    """Return the sums that the laws of queues relate."""
    ran = np.isfinite(course.begun) & np.isfinite(course.done)
    wait_ms = _waits(course)[ran] * 1e3
    in_order_s = longest_in_order(
        course.arrival, course.service, course.edge, course.workers, course.busy
    )
    present = busy = idle = overlap = 0.0
    for process, workers in enumerate(course.workers.tolist()):
        own = slice(int(course.edge[process]), int(course.edge[process + 1]))
        found = _integrals(course, own, (workers, float(course.busy[process, :workers].max())))
        present, busy, idle = present + found[0], busy + found[1], idle + found[2]
        overlap += _overlap(course, own, workers)
    work_s = float(course.service[ran].sum())
    return JobSummary(
        jobs=len(ran),
        completions=int(ran.sum()),
        shortest_wait_ms=float(wait_ms.min(initial=0.0)),
        longest_wait_ms=float(wait_ms.max(initial=0.0)),
        longest_in_order_ms=float(in_order_s) * 1e3,
        longest_service_ms=float(course.service.max(initial=0.0)) * 1e3,
        latencies_s=float(course.latency_s[ran].sum()),
        jobs_over_time_s=present,
        work_s=work_s,
        busy_s=work_s if course.worker is None else busy,
        overlap_s=overlap,
        idle_s=0.0 if course.worker is None else idle,
        dispatching_s=course.dispatching_s,
    )


def _waits(course: Course) -> FloatArray:
    """Return what of each latency is not service, seconds; up to rounding where jobs can be interrupted."""
    if course.worker is not None:
        waits: FloatArray = course.begun - course.arrival
        return waits
    waits = course.done - course.arrival - course.service
    return np.where(np.abs(waits) <= _ROUNDING_S, 0.0, waits)


def _integrals(course: Course, own: slice, free: tuple[int, float]) -> tuple[float, float, float]:
    """Return, over time, the jobs in the system, the busy workers, and whether one idles beside a queue.

    Workers idle from the time on at which none is taken by what was begun before.
    """
    workers, settled = free
    arrival, begun, done = course.arrival[own], course.begun[own], course.done[own]
    ran = np.isfinite(begun) & np.isfinite(done)
    arrival, begun, done = arrival[ran], begun[ran], done[ran]
    if not len(arrival):
        return 0.0, 0.0, 0.0
    time = np.concatenate((arrival, begun, done))
    one, none = np.ones(len(arrival)), np.zeros(len(arrival))
    order = np.argsort(time, kind="stable")
    present = np.cumsum(np.concatenate((one, none, -one))[order])[:-1]
    busy = np.cumsum(np.concatenate((none, one, -one))[order])[:-1]
    length = np.diff(time[order])
    later = np.maximum(0.0, time[order][1:] - np.maximum(time[order][:-1], settled))
    idle = later[(present > busy + 0.5) & (busy < workers - 0.5)].sum()
    return float(present @ length), float(busy @ length), float(idle)


def _overlap(course: Course, own: slice, workers: int) -> float:
    """Return for how long workers had more than one job."""
    if course.worker is None:
        return 0.0
    total = 0.0
    for worker in range(workers):
        mine = np.flatnonzero(course.worker[own] == worker) + own.start
        mine = mine[np.argsort(course.begun[mine], kind="stable")]
        total += float(np.maximum(course.done[mine][:-1] - course.begun[mine][1:], 0.0).sum())
    return total


@native
def longest_in_order(arrival: Any, service: Any, edge: Any, workers: Any, busy: Any) -> Any:
    """Return the longest wait in seconds that first come, first served gives."""
    longest = 0.0
    for process in range(len(workers)):
        free = busy[process, : workers[process]].copy()
        for job in range(edge[process], edge[process + 1]):
            slot = 0
            for other in range(1, len(free)):
                if free[other] < free[slot]:
                    slot = other
            begun = max(arrival[job], free[slot])
            free[slot] = begun + service[job]
            longest = max(longest, begun - arrival[job])
    return longest
