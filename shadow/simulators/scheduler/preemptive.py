"""Disciplines that interrupt jobs: shortest remaining processing time, and processor sharing.

Both are replays of their own: no decision of the hook can interrupt a job, so that no policy that
could be shipped does what they do. They say how far preemption would go, and what bounds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..native import lean, native

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@lean
def _push(key: Any, job: Any, size: Any, value: Any, item: Any) -> Any:
    """Add to a binary heap of (key, job), lowest first, ties to the lower job; return the new size."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if value > key[parent] or (value == key[parent] and item > job[parent]):
            break
        key[at], job[at] = key[parent], job[parent]
        at = parent
    key[at], job[at] = value, item
    return size + 1


@lean
def _pop(key: Any, job: Any, size: Any) -> Any:
    """Take the first off the heap and leave it at the end; return the new size."""
    first_key, first_job = key[0], job[0]
    size -= 1
    value, item = key[size], job[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and (
            key[child + 1] < key[child]
            or (key[child + 1] == key[child] and job[child + 1] < job[child])
        ):
            child += 1
        if value < key[child] or (value == key[child] and item < job[child]):
            break
        key[at], job[at] = key[child], job[child]
        at = child
    key[at], job[at] = value, item
    key[size], job[size] = first_key, first_job
    return size


@native
def srpt(
    arrival: Any, service: Any, expected: Any, edge: Any, workers: Any, cost: Any
) -> tuple[Any, Any]:
    """Replay shortest remaining processing time.

    Args:
        arrival: seconds, ascending within a process, f8[n].
        service: seconds that a job takes, f8[n].
        expected: seconds that it is known or predicted to take, which orders jobs, f8[n].
        edge: where the jobs of each process begin, and the end, i8[p + 1].
        workers: of each process, i8[p].
        cost: seconds that an interruption adds to the work of the job that is interrupted.

    Returns:
        when each job was first run and when it was complete, seconds, f8[n] each.
    """
    n = len(arrival)
    begun, done = np.full(n, np.nan), np.zeros(n)
    left, hope = service.copy(), expected.copy()
    key, job = np.empty(n), np.empty(n, np.int64)
    for process in range(len(workers)):
        low, high, c = edge[process], edge[process + 1], workers[process]
        running, ends, since = np.full(c, -1), np.full(c, np.inf), np.zeros(c)
        waiting, coming = 0, low
        while True:
            slot = int(np.argmin(ends))
            if coming == high and ends[slot] == np.inf:
                break
            if coming == high or ends[slot] <= arrival[coming]:
                now = ends[slot]
                done[running[slot]] = now
                running[slot], ends[slot] = -1, np.inf
            else:
                now = arrival[coming]
                waiting = _push(key, job, waiting, hope[coming], coming)
                coming += 1
                slot = int(np.argmax(ends))
                if running[slot] >= 0:
                    slot = _longest(running, since, hope, now)
                    held = running[slot]
                    spent = now - since[slot]
                    if not key[0] < hope[held] - spent:
                        continue
                    left[held] = ends[slot] - now + cost
                    hope[held] = hope[held] - spent + cost
                    waiting = _push(key, job, waiting, hope[held], held)
            if waiting:
                waiting = _pop(key, job, waiting)
                taken = job[waiting]
                if np.isnan(begun[taken]):
                    begun[taken] = now
                running[slot], since[slot], ends[slot] = taken, now, now + left[taken]
    return begun, done


@lean
def _longest(running: Any, since: Any, hope: Any, now: Any) -> Any:
    """Return the worker whose job has most work left, as far as is known."""
    slot = 0
    for other in range(1, len(running)):
        rest = hope[running[other]] - (now - since[other])
        if rest > hope[running[slot]] - (now - since[slot]):
            slot = other
    return slot


@native
def processor_sharing(arrival: Any, service: Any, edge: Any, workers: Any) -> Any:
    """Replay processor sharing: of N jobs each runs at the speed ``min(1, workers / N)``.

    Attained service is the same for all jobs from the time on at which they meet, so that a job is
    complete when the attained service since its arrival is its own. Arguments as for :func:`srpt`.

    Returns:
        when each job was complete, seconds, f8[n].
    """
    n = len(arrival)
    done, key, job = np.zeros(n), np.empty(n), np.empty(n, np.int64)
    for process in range(len(workers)):
        present, coming, high = 0, edge[process], edge[process + 1]
        now, attained = 0.0, 0.0
        while present or coming < high:
            if not present:
                now, attained = arrival[coming], 0.0
            speed = min(1.0, workers[process] / max(present, 1))
            ends = now + (key[0] - attained) / speed if present else np.inf
            if coming < high and arrival[coming] <= ends:
                attained += (arrival[coming] - now) * speed
                now = arrival[coming]
                present = _push(key, job, present, attained + service[coming], coming)
                coming += 1
            else:
                attained, now = key[0], ends
                present = _pop(key, job, present)
                done[job[present]] = now
    return done
