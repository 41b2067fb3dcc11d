"""The load balancer's event loop, compiled once; stream and compiled replays share it.

Backends are FIFO queues before ``slots`` servers. In terms of what the caller sees, a request that
arrives at t and gets the slot that was left at f is answered at ``max(t + overhead, f) + service``.
Requests in flight are a list per process and backend in order of their answers, linked through the
decisions' indices, so that a decision costs the same however long the queues are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._native import lean, uniform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
INFLIGHT, EWMA, WEIGHT, SINCE, NOISE = range(5)
INPUTS = 5
_NONE = -1


class Model(NamedTuple):
    """What does not change during a replay; n decisions, m members, p processes.

    Attributes:
        arrival: seconds, ascending, f8[n].
        process: that decides, i8[n].
        slots: requests that a backend serves at once, i8[m].
        overhead: seconds per request outside the queue, f8[m].
        service: quantiles of the service time at level 1 in seconds, f8[m, k].
        level_from: when the k-th level of a backend begins; first -inf, last +inf, f8[m, s + 1].
        level: factor on its service times from then on, f8[m, s].
        lost, failed: probabilities that a request is never answered, or answered with a failure, f8[m].
        weight: as configured, f8[p, m].
        rule: the service's moving average: gain, gain while it is 0; f8[2].
        clip_ms: outcome of a request without an answer, and highest of any other.
        seed: of all draws.
    """

    arrival: FloatArray
    process: IntArray
    slots: IntArray
    overhead: FloatArray
    service: FloatArray
    level_from: FloatArray
    level: FloatArray
    lost: FloatArray
    failed: FloatArray
    weight: FloatArray
    rule: FloatArray
    clip_ms: float
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far.

    Attributes:
        seen: per process and member: requests in flight, moving average in ms, number of the
            process's decision that last picked it; f8[p, m, 3].
        decided: decisions per process, i8[p].
        free: when each slot was last left, f8[m, most slots].
        stage: index of the level in force, i8[m].
        answer: when a decision's request is answered, f8[n].
        link: previous and next decision in flight, by order of answers, i8[n, 2].
        ends: first and last of them, i8[p, m, 2].
        outcome, ok, action: the replay's columns so far.
        rows: features of the decision at hand, f8[m, 5].
    """

    seen: FloatArray
    decided: IntArray
    free: FloatArray
    stage: IntArray
    answer: FloatArray
    link: IntArray
    ends: IntArray
    outcome: FloatArray
    ok: npt.NDArray[np.bool_]
    action: IntArray
    rows: FloatArray


@lean
def _answered(model: Any, state: Any, process: Any, member: Any, head: Any) -> Any:
    """Take the first request in flight off the list and into the average; return the next one."""
    following = state.link[head, 1]
    state.ends[process, member, 0] = following
    if following == _NONE:
        state.ends[process, member, 1] = _NONE
    else:
        state.link[following, 0] = _NONE
    state.seen[process, member, 0] -= 1.0
    average = state.seen[process, member, 1]
    seen_ms = (state.answer[head] - model.arrival[head]) * 1e3
    if state.ok[head] or state.outcome[head] < model.clip_ms:
        gain = model.rule[1] if average == 0.0 else model.rule[0]
        state.seen[process, member, 1] = average + gain * (seen_ms - average)
    return following


@lean
def observe(model: Any, state: Any, index: Any) -> None:
    """Bring the deciding process's view up to date and fill ``rows``."""
    process = model.process[index]
    now = model.arrival[index]
    for member in range(len(model.slots)):
        head = state.ends[process, member, 0]
        while head != _NONE and state.answer[head] <= now:
            head = _answered(model, state, process, member, head)
        state.rows[member, INFLIGHT] = state.seen[process, member, 0]
        state.rows[member, EWMA] = state.seen[process, member, 1]
        state.rows[member, WEIGHT] = model.weight[process, member]
        state.rows[member, SINCE] = state.decided[process] - state.seen[process, member, 2]
        state.rows[member, NOISE] = uniform(model.seed, index, member)


@lean
def _enqueue(state: Any, process: Any, member: Any, index: Any) -> None:
    """Insert a request into the list in flight, behind all that are answered no later."""
    before = state.ends[process, member, 1]
    after = _NONE
    while before != _NONE and state.answer[before] > state.answer[index]:
        after = before
        before = state.link[before, 0]
    state.link[index, 0] = before
    state.link[index, 1] = after
    if before == _NONE:
        state.ends[process, member, 0] = index
    else:
        state.link[before, 1] = index
    if after == _NONE:
        state.ends[process, member, 1] = index
    else:
        state.link[after, 0] = index


@lean
def _serve(model: Any, state: Any, index: Any, member: Any) -> Any:
    """Return when the backend answers, and leave the slot then."""
    slot = 0
    for other in range(1, model.slots[member]):
        if state.free[member, other] < state.free[member, slot]:
            slot = other
    start = max(model.arrival[index] + model.overhead[member], state.free[member, slot])
    while model.level_from[member, state.stage[member] + 1] <= start:
        state.stage[member] += 1
    draw = uniform(model.seed, index, len(model.slots))
    quantile = int(draw * model.service.shape[1])
    service = model.service[member, quantile] * model.level[member, state.stage[member]]
    state.free[member, slot] = start + service
    return start + service


@lean
def commit(model: Any, state: Any, index: Any, member: Any) -> None:
    """Send the request to the picked backend and record what comes of it."""
    process = model.process[index]
    answer = _serve(model, state, index, member)
    state.answer[index] = answer
    fate = uniform(model.seed, index, len(model.slots) + 1)
    lost = fate < model.lost[member]
    state.ok[index] = fate >= model.lost[member] + model.failed[member]
    latency_ms = (answer - model.arrival[index]) * 1e3
    state.outcome[index] = model.clip_ms if lost else min(latency_ms, model.clip_ms)
    state.action[index] = member
    _enqueue(state, process, member, index)
    state.seen[process, member, 0] += 1.0
    state.seen[process, member, 2] = state.decided[process]
    state.decided[process] += 1


@lean
def step(model: Any, state: Any, index: Any, picked: Any) -> None:
    """Commit the pick of the decision before ``index`` (none when negative) and observe ``index``."""
    if picked >= 0:
        commit(model, state, index - 1, picked)
    if index < len(model.arrival):
        observe(model, state, index)


@lean
def best(rows: Any, score: Any, sign: Any) -> Any:
    """Return the member with the lowest signed score, ties by noise then index; -1 on a fault."""
    picked = _NONE
    lowest = np.inf
    for j in range(len(rows)):
        noise = rows[j, NOISE]
        value = sign * score(
            rows[j, INFLIGHT], rows[j, EWMA], rows[j, WEIGHT], rows[j, SINCE], noise
        )
        if np.isnan(value):
            return _NONE
        tie = value == lowest and picked != _NONE and noise < rows[picked, NOISE]
        if picked == _NONE or value < lowest or tie:
            picked = j
            lowest = value
    return picked


@lean
def run(model: Any, state: Any, score: Any, sign: Any) -> Any:
    """Decide everything by a score; return the decision on which it failed, or -1."""
    for index in range(len(model.arrival)):
        observe(model, state, index)
        picked = best(state.rows, score, sign)
        if picked == _NONE:
            return index
        commit(model, state, index, picked)
    return _NONE
