"""What no load-balancing policy can beat, in the model of ``kernel``: two proofs, the larger counts.

**Alone.** A request that arrives at t is answered at ``max(t + h, f) + q(u) v`` on whichever backend it
is sent to, so its outcome is at least the smaller of the clip and ``h + q(u) min v``, where overhead h,
quantiles q and the lowest level v are that backend's, and u is the request's own draw, the same on every
backend. The smallest of these over the backends bounds every choice, and their mean every policy.

**Pooled.** Give backend i a speed s_i > 0, and a request of draw u the work ``w = min over i of
s_i q_i(u)``. While it is served on backend i, for ``q_i(u) v >= q_i(u) min v`` seconds, let it receive its
work evenly: at a rate of at most ``s_i / min v``. Every slot serves one request at a time, so all of them
together receive at most ``V = sum of slots_i s_i / min v_i`` at any time, none before its arrival plus
the smallest overhead H, and none is answered before it has received its w. Any policy therefore makes a
preemptive schedule of these works on one server of speed V, of which shortest remaining processing time
(SRPT) leaves the fewest unfinished at every time (Schrage, Operations Research 16, 1968), whatever the
times of arrival. The speeds are free; with ``s_i = 1 / mean q_i`` nothing is lost where the backends'
service times differ by a factor only.

**The clip.** SRPT does not minimise the mean of ``min(latency, clip)``: a policy may starve a few
requests, which then cost the clip and no more. But that mean counts, at each time, the unfinished
requests younger than the clip, and of the requests that came after some time b no schedule has fewer
unfinished than SRPT has that begins empty at b and serves them alone. So for each stretch of half a clip
SRPT begins anew half a clip earlier, and is counted in that stretch, where nothing that it was given
is older than the clip. Without a clip this is SRPT's own mean. A request that is lost costs the clip,
which is no less than what it is counted for here.
"""

from __future__ import annotations

import numpy as np

from ..base import FloatArray, IntArray
from ..native import native, uniform
from . import kernel


def lowest_mean(model: kernel.Model) -> float:
    """Return the larger of both bounds on the mean outcome, in ms; ``-inf`` without requests."""
    if not len(model.arrival):
        return float("-inf")
    column = _columns(model.seed, len(model.arrival), len(model.slots), model.service.shape[1])
    return max(_alone(model, column), _pooled(model, column))


@native
def _columns(seed: np.uint64, requests: int, members: int, quantiles: int) -> IntArray:
    """Return the index of every request's service time among the quantiles, i8[n]."""
    column = np.empty(requests, np.int64)
    for index in range(requests):
        column[index] = int(uniform(seed, index, members) * quantiles)
    return column


def _lowest_level(model: kernel.Model) -> FloatArray:
    in_force = np.isfinite(model.level_from[:, :-1])
    in_force[:, 0] = True
    lowest: FloatArray = np.where(in_force, model.level, np.inf).min(axis=1)
    return lowest


def _alone(model: kernel.Model, column: IntArray) -> float:
    fastest = model.service * _lowest_level(model)[:, None]
    best_ms = (model.overhead[:, None] + fastest).min(axis=0)[column] * 1e3
    return float(np.minimum(best_ms, model.clip_ms).mean())


def _pooled(model: kernel.Model, column: IntArray) -> float:
    typical = model.service.mean(axis=1)
    lowest = typical * _lowest_level(model)
    if not (lowest > 0.0).all():
        return float("-inf")  # a backend without service time would pool to infinite speed
    speed = float((model.slots / lowest).sum())
    work = (model.service / typical[:, None]).min(axis=0)[column]
    overhead, clip = float(model.overhead.min()), model.clip_ms / 1e3
    if clip <= overhead:
        return model.clip_ms
    return (overhead + mean_under_srpt(model.arrival, work, speed, clip - overhead)) * 1e3


def mean_under_srpt(arrival: FloatArray, work: FloatArray, speed: float, clip: float) -> float:
    """Return a mean of ``min(time in system, clip)`` that no schedule on one server beats, seconds.

    Args:
        arrival: seconds, ascending, f8[n], n above 0.
        work: of each request, f8[n].
        speed: work per second.
        clip: seconds; without one the result is the mean of SRPT itself.
    """
    span = float(arrival[-1] - arrival[0]) + float(work.sum()) / speed
    stretch = min(clip / 2.0, span + 1.0)
    begins = np.unique(np.floor((arrival - arrival[0]) / stretch))
    begins = np.unique(np.concatenate((begins - 1.0, begins))) * stretch + arrival[0]
    first = np.searchsorted(arrival, begins)
    end = np.searchsorted(arrival, begins + 2.0 * stretch)
    heap = np.empty(int((end - first).max()))
    present = sum(
        _unfinished(arrival[low:high], work[low:high], speed, begin + stretch, stretch, heap)
        for begin, low, high in zip(begins.tolist(), first.tolist(), end.tolist(), strict=True)
    )
    return present / len(work)


@native
def _unfinished(
    arrival: FloatArray, work: FloatArray, speed: float, low: float, length: float, heap: FloatArray
) -> float:
    """Return the integral of SRPT's number of unfinished requests over [low, low + length).

    Args:
        arrival, work: of the requests, in order.
        speed: work per second.
        low, length: of the time that counts, seconds.
        heap: room for all works.
    """
    area, size, now, high = 0.0, 0, 0.0, low + length
    for index in range(len(arrival) + 1):
        until = arrival[index] if index < len(arrival) else np.inf
        while size > 0 and now < high:
            done = now + heap[0] / speed
            after = min(done, until, high)
            area += size * max(0.0, after - max(now, low))
            if done > until or done > high:
                heap[0] -= (after - now) * speed
                break
            now = done
            size -= 1
            heap[0] = heap[size]
            _sink(heap, size)
        now = until
        if index < len(arrival):
            heap[size] = work[index]
            _rise(heap, size)
            size += 1
    return area


@native
def _rise(heap: FloatArray, place: int) -> None:
    while place > 0:
        above = (place - 1) // 2
        if heap[above] <= heap[place]:
            return
        heap[above], heap[place] = heap[place], heap[above]
        place = above


@native
def _sink(heap: FloatArray, size: int) -> None:
    place = 0
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if heap[place] <= heap[below]:
            return
        heap[below], heap[place] = heap[place], heap[below]
        place = below
