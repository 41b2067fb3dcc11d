"""The load balancer's event loop, compiled once; stream and compiled replays share it.

Backends are FIFO queues before ``slots`` servers. In terms of what the caller sees, a request that
arrives at t and gets the slot that was left at f is answered at ``max(t + overhead, f) + service``.
Requests in flight are a list per view and backend in order of their answers, linked through the
decisions' indices, so that a decision costs the same however long the queues are.

A view is what one process knows, or all of them together where they share it. What it shows is
up to date, or as of its last refresh where signals are stale.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..native import inlined, lean, uniform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
INFLIGHT, EWMA, WEIGHT, SINCE, NOISE = range(5)
INPUTS = 5
#: What a score reads: what its view shows, the host's count too, or its noise as well.
SHOWN, COUNT, LUCK = range(3)
_NONE = -1


class Model(NamedTuple):
    """What does not change during a replay; n decisions, m members, p processes, v views.

    Attributes:
        arrival: seconds, ascending, f8[n].
        process: that decides, i8[n].
        watch: the view that it decides on, i8[n].
        slots: requests that a backend serves at once, i8[m].
        overhead: seconds per request outside the queue, f8[m].
        service: quantiles of the service time at level 1 in seconds, f8[m, k].
        level_from: when the k-th level of a backend begins; first -inf, last +inf, f8[m, s + 1].
        level: factor on its service times from then on, f8[m, s].
        lost, failed: probabilities that a request is never answered, or answered with a failure, f8[m].
        weight: as configured, f8[p, m].
        rule: the service's moving average: gain, gain while it is 0; f8[2].
        refresh_s: seconds between two refreshes of what a view shows; 0 where it is up to date.
        clip_ms: outcome of a request without an answer, and highest of any other.
        seed: of all draws.
    """

    arrival: FloatArray
    process: IntArray
    watch: IntArray
    slots: IntArray
    overhead: FloatArray
    service: FloatArray
    level_from: FloatArray
    level: FloatArray
    lost: FloatArray
    failed: FloatArray
    weight: FloatArray
    rule: FloatArray
    refresh_s: float
    clip_ms: float
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far.

    Attributes:
        inflight: requests in flight, f8[v, m].
        average: moving average in ms, f8[v, m].
        due: when the first request in flight is answered, inf without one, f8[v, m].
        shown_inflight, shown_average: what a view shows; the arrays above where it is up to date.
        value: signed score of a member as it is shown; NaN when it has changed, f8[v, m].
        tied: room for the members of one value, i8[m + 1].
        refresh: when a view is refreshed next, f8[v].
        last: number of the process's decision that last picked a member, f8[p, m].
        decided: decisions per process, f8[p].
        free: when each slot was last left, f8[m, most slots].
        stage: index of the level in force, i8[m].
        begun, answer: when a decision's request is served, and answered, f8[n].
        link: previous and next decision in flight, by order of answers, i8[n, 2].
        ends: first and last of them, i8[v, m, 2].
        outcome, ok, action: the replay's columns so far.
        rows: features of the decision at hand, f8[m, 5].
    """

    inflight: FloatArray
    average: FloatArray
    due: FloatArray
    shown_inflight: FloatArray
    shown_average: FloatArray
    value: FloatArray
    tied: IntArray
    refresh: FloatArray
    last: FloatArray
    decided: FloatArray
    free: FloatArray
    stage: IntArray
    begun: FloatArray
    answer: FloatArray
    link: IntArray
    ends: IntArray
    outcome: FloatArray
    ok: npt.NDArray[np.bool_]
    action: IntArray
    rows: FloatArray


@lean
def catch_up(model: Any, state: Any, view: Any, member: Any, now: Any) -> None:
    """Take the requests answered by now off the list and into the average."""
    average = state.average[view, member]
    head = state.ends[view, member, 0]
    count = 0.0
    while head != _NONE and state.answer[head] <= now:
        count += 1.0
        if state.ok[head] or state.outcome[head] < model.clip_ms:
            seen_ms = (state.answer[head] - model.arrival[head]) * 1e3
            gain = model.rule[1] if average == 0.0 else model.rule[0]
            average = average + gain * (seen_ms - average)
        head = state.link[head, 1]
    state.inflight[view, member] -= count
    state.average[view, member] = average
    state.value[view, member] = np.nan
    state.ends[view, member, 0] = head
    if head == _NONE:
        state.ends[view, member, 1] = _NONE
        state.due[view, member] = np.inf
    else:
        state.link[head, 0] = _NONE
        state.due[view, member] = state.answer[head]


@lean
def _refresh(model: Any, state: Any, view: Any, now: Any) -> None:
    """Show what was so at the last refresh that is due by now."""
    passed = np.floor((now - state.refresh[view]) / model.refresh_s)
    at = state.refresh[view] + passed * model.refresh_s
    for member in range(len(model.slots)):
        if state.due[view, member] <= at:
            catch_up(model, state, view, member, at)
        state.shown_inflight[view, member] = state.inflight[view, member]
        state.shown_average[view, member] = state.average[view, member]
        state.value[view, member] = np.nan
    state.refresh[view] = at + model.refresh_s


@inlined
def until_now(model: Any, state: Any, view: Any, now: Any) -> Any:
    """Return until when a decision looks: now, or no further than its last refresh, made if due."""
    if model.refresh_s == 0.0:
        return now
    if now >= state.refresh[view]:
        _refresh(model, state, view, now)
    return -np.inf


@lean
def observe(model: Any, state: Any, index: Any) -> None:
    """Bring the deciding process's view up to date and fill ``rows``."""
    process, view = model.process[index], model.watch[index]
    until = until_now(model, state, view, model.arrival[index])
    for member in range(len(model.slots)):
        if state.due[view, member] <= until:
            catch_up(model, state, view, member, until)
        state.rows[member, INFLIGHT] = state.shown_inflight[view, member]
        state.rows[member, EWMA] = state.shown_average[view, member]
        state.rows[member, WEIGHT] = model.weight[process, member]
        state.rows[member, SINCE] = state.decided[process] - state.last[process, member]
        state.rows[member, NOISE] = uniform(model.seed, index, member)


@lean
def _overtakes(state: Any, view: Any, member: Any, index: Any) -> None:
    """Insert a request that is answered before the last in flight."""
    after = state.ends[view, member, 1]
    before = state.link[after, 0]
    while before != _NONE and state.answer[before] > state.answer[index]:
        after = before
        before = state.link[before, 0]
    state.link[index, 0] = before
    state.link[index, 1] = after
    state.link[after, 0] = index
    if before == _NONE:
        state.ends[view, member, 0] = index
        state.due[view, member] = state.answer[index]
    else:
        state.link[before, 1] = index


@inlined
def _enqueue(state: Any, view: Any, member: Any, index: Any) -> None:
    """Insert a request into the list in flight, behind all that are answered no later."""
    last = state.ends[view, member, 1]
    if last != _NONE and state.answer[last] > state.answer[index]:
        _overtakes(state, view, member, index)
        return
    state.link[index, 0] = last
    state.link[index, 1] = _NONE
    state.ends[view, member, 1] = index
    if last == _NONE:
        state.ends[view, member, 0] = index
        state.due[view, member] = state.answer[index]
    else:
        state.link[last, 1] = index


@inlined
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
    state.begun[index] = start
    return start + service


@inlined
def commit(model: Any, state: Any, index: Any, member: Any) -> None:
    """Send the request to the picked backend and record what comes of it."""
    process, view = model.process[index], model.watch[index]
    answer = _serve(model, state, index, member)
    state.answer[index] = answer
    latency_ms = (answer - model.arrival[index]) * 1e3
    state.outcome[index] = min(latency_ms, model.clip_ms)
    state.ok[index] = True
    bad = model.lost[member] + model.failed[member]
    if bad > 0.0:
        fate = uniform(model.seed, index, len(model.slots) + 1)
        state.ok[index] = fate >= bad
        if fate < model.lost[member]:
            state.outcome[index] = model.clip_ms
    state.action[index] = member
    _enqueue(state, view, member, index)
    state.inflight[view, member] += 1.0
    state.value[view, member] = np.nan
    state.last[process, member] = state.decided[process]
    state.decided[process] += 1.0


@lean
def step(model: Any, state: Any, index: Any, picked: Any) -> None:
    """Commit the pick of the decision before ``index`` (none when negative) and observe ``index``."""
    if picked >= 0:
        commit(model, state, index - 1, picked)
    if index < len(model.arrival):
        observe(model, state, index)


@inlined
def _scored(model: Any, state: Any, index: Any, member: Any, score: Any, noisy: Any) -> Any:
    """Return a member's score of what :func:`observe` would fill in."""
    process, view = model.process[index], model.watch[index]
    return score(
        state.shown_inflight[view, member],
        state.shown_average[view, member],
        model.weight[process, member],
        state.decided[process] - state.last[process, member],
        uniform(model.seed, index, member) if noisy else 0.0,
    )


@inlined
def _scores(model: Any, state: Any, index: Any, score: Any, sign: Any, reads: Any) -> Any:
    """Bring ``value`` up to date; return whether all members could be scored.

    A score that reads nothing but what the view shows is the same until that changes.
    """
    view = model.watch[index]
    until = until_now(model, state, view, model.arrival[index])
    for member in range(len(model.slots)):
        if state.due[view, member] <= until:
            catch_up(model, state, view, member, until)
        if reads != SHOWN or np.isnan(state.value[view, member]):
            value = sign * _scored(model, state, index, member, score, reads == LUCK)
            if np.isnan(value):
                return False
            state.value[view, member] = value
    return True


@inlined
def _lowest(model: Any, state: Any, index: Any) -> Any:
    """Return the member with the lowest value, ties by noise, which is drawn for them only, then index.

    Written without branches on values: which of them is lowest is what a processor cannot foresee.
    """
    view = model.watch[index]
    members = len(model.slots)
    lowest, picked = state.value[view, 0], 0
    for member in range(1, members):
        value = state.value[view, member]
        less = value < lowest
        lowest = value if less else lowest
        picked = member if less else picked
    equal = 0
    for member in range(members):
        equal += state.value[view, member] == lowest
    if equal == 1:
        return picked
    equal = 0
    for member in range(members):
        state.tied[equal] = member
        equal += state.value[view, member] == lowest
    luck = 2.0
    for place in range(equal):
        noise = uniform(model.seed, index, state.tied[place])
        less = noise < luck
        luck = noise if less else luck
        picked = state.tied[place] if less else picked
    return picked


@lean
def run(model: Any, state: Any, score: Any, sign: Any, reads: Any) -> Any:
    """Decide everything by a score; return the decision on which it failed, or -1."""
    for index in range(len(model.arrival)):
        if not _scores(model, state, index, score, sign, reads):
            return index
        commit(model, state, index, _lowest(model, state, index))
    return _NONE
