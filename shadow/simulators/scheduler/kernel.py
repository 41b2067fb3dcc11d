"""The scheduler's event loop, compiled once; stream and compiled replays share it.

Every process has a queue, in order of arrival, before ``workers`` that run one job each to its end.
A decision is due when a worker is free and a job waits, and falls a gap later: what it takes to notice.
The whole queue is scored again at every decision, because scores change with time.

Jobs are sorted by process, and processes are replayed one after the other: they share nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..native import inlined, lean, uniform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
WAIT, SIZE, PRIORITY, SLACK, QUEUED, SINCE, NOISE = range(7)
INPUTS = 7
#: Places of ``cursor``: process, next job to arrive, first and last + 1 of the queue, decisions of the
#: process and of all, worker that is free, first of the queue that was not scored yet.
PROCESS, NEXT, HEAD, TAIL, OWN, ALL, SLOT, SCORED = range(8)
PLACES = 8
LONGEST_MS = 86_400_000.0
#: What a score may read that takes work: its draws of noise, slack, anything that changes with time.
DRAWN, DATED, TIMED = 1, 2, 4
_NONE = -1
_GAP_LANE = 1


class Model(NamedTuple):
    """What does not change during a replay; n jobs by process and arrival, p processes.

    Attributes:
        arrival: seconds, ascending within a process, f8[n].
        service: seconds that a job takes, f8[n].
        size_ms, priority: as the policy knows them, f8[n].
        due: when its deadline is, seconds, +inf without one, f8[n].
        luck: of its draws of noise, u8[n].
        edge: where the jobs of each process begin, and the end, i8[p + 1].
        workers: of each process, i8[p].
        gap: quantiles of what it takes from a decision being due to its being made, seconds, f8[k].
        busy: until when each worker has a job that was begun before, seconds, -inf for none, f8[p, c].
        since: when decisions begin, seconds.
        seed: of all draws.
    """

    arrival: FloatArray
    service: FloatArray
    size_ms: FloatArray
    priority: FloatArray
    due: FloatArray
    luck: npt.NDArray[np.uint64]
    edge: IntArray
    workers: IntArray
    gap: FloatArray
    busy: FloatArray
    since: float
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far.

    Attributes:
        queue: the jobs that wait are ``queue[HEAD:TAIL]``, i8[n].
        value: their signed scores, f8[n].
        joined: number of the process's decision at which a job was first seen, i8[n].
        begun: when a job was dispatched, seconds, f8[n].
        worker: that ran it, i4[n].
        free: when each worker was last left, f8[most workers].
        cursor: see :data:`PROCESS` and what follows it, i8[8].
        clock: time of the decision at hand, and the gaps so far, seconds, f8[2].
    """

    queue: IntArray
    value: FloatArray
    joined: IntArray
    begun: FloatArray
    worker: npt.NDArray[np.int32]
    free: FloatArray
    cursor: IntArray
    clock: FloatArray


@inlined
def _next_process(model: Any, state: Any) -> Any:
    """Go on to the next process that has jobs; return whether there is one."""
    cursor = state.cursor
    while cursor[HEAD] == cursor[TAIL] and cursor[NEXT] == model.edge[cursor[PROCESS] + 1]:
        cursor[PROCESS] += 1
        if cursor[PROCESS] == len(model.workers):
            return False
        cursor[OWN] = 0
        state.clock[0] = model.since
        for worker in range(len(state.free)):
            state.free[worker] = model.busy[cursor[PROCESS], worker]
    return True


@inlined
def _gap(model: Any, decision: Any) -> Any:
    if len(model.gap) == 1:
        return model.gap[0]
    return model.gap[int(uniform(model.seed, decision, _GAP_LANE) * len(model.gap))]


@inlined
def advance(model: Any, state: Any) -> Any:
    """Let time pass until the next decision; return whether there is one."""
    if not _next_process(model, state):
        return False
    cursor = state.cursor
    slot = 0
    for other in range(1, model.workers[cursor[PROCESS]]):
        if state.free[other] < state.free[slot]:
            slot = other
    due = state.free[slot]
    head, tail, coming = cursor[HEAD], cursor[TAIL], cursor[NEXT]
    first = model.arrival[state.queue[head] if head < tail else coming]
    gap = _gap(model, cursor[ALL])
    now = max(max(due, first) + gap, state.clock[0])
    end = model.edge[cursor[PROCESS] + 1]
    while coming < end and model.arrival[coming] <= now:
        state.queue[tail] = coming
        state.joined[coming] = cursor[OWN]
        tail += 1
        coming += 1
    cursor[TAIL], cursor[NEXT], cursor[SLOT] = tail, coming, slot
    state.clock[0] = now
    state.clock[1] += gap
    return True


@inlined
def mixed(seed: Any, decision: Any) -> Any:
    """Return 64 bits that are a pure function of seed and decision."""
    x = (seed + np.uint64(decision)) * np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD1342543DE82EF95)
    return x ^ (x >> np.uint64(29))


@inlined
def noise_of(key: Any, luck: Any) -> Any:
    """Return a draw in [0, 1) that is a pure function of decision and job."""
    x = (key ^ luck) * np.uint64(0x94D049BB133111EB)
    return np.float64(np.int64(x >> np.uint64(11))) * (1.0 / 9007199254740992.0)


@inlined
def wait_of(now: Any, arrival: Any) -> Any:
    """Return a wait in ms as a feature."""
    return min((now - arrival) * 1e3, LONGEST_MS)


@inlined
def slack_of(now: Any, due: Any) -> Any:
    """Return a slack in ms as a feature."""
    return max(min((due - now) * 1e3, LONGEST_MS), -LONGEST_MS)


@lean
def observe(model: Any, state: Any, rows: Any) -> Any:
    """Fill rows with what the policy sees of the queue, oldest job first; return how many jobs wait."""
    cursor = state.cursor
    now, head = state.clock[0], cursor[HEAD]
    queued = cursor[TAIL] - head
    key = mixed(model.seed, cursor[ALL])
    for place in range(min(queued, len(rows))):
        job = state.queue[head + place]
        rows[place, WAIT] = wait_of(now, model.arrival[job])
        rows[place, SIZE] = model.size_ms[job]
        rows[place, PRIORITY] = model.priority[job]
        rows[place, SLACK] = slack_of(now, model.due[job])
        rows[place, QUEUED] = queued
        rows[place, SINCE] = cursor[OWN] - state.joined[job] + 1
        rows[place, NOISE] = noise_of(key, model.luck[job])
    return queued


@inlined
def commit(model: Any, state: Any, place: Any) -> None:
    """Give the free worker the job at a place of the queue."""
    cursor = state.cursor
    head, tail = cursor[HEAD], cursor[TAIL]
    job = state.queue[head + place]
    slot = cursor[SLOT]
    state.begun[job] = state.clock[0]
    state.worker[job] = slot
    state.free[slot] = state.clock[0] + model.service[job]
    if 2 * place < tail - head:  # close the gap from the nearer end: the rest keeps its order
        for at in range(head + place, head, -1):
            state.queue[at] = state.queue[at - 1]
            state.value[at] = state.value[at - 1]
        cursor[HEAD] = head + 1
    else:
        for at in range(head + place, tail - 1):
            state.queue[at] = state.queue[at + 1]
            state.value[at] = state.value[at + 1]
        cursor[TAIL] = tail - 1
    cursor[SCORED] = cursor[TAIL]
    cursor[OWN] += 1
    cursor[ALL] += 1


@inlined
def best(model: Any, state: Any, score: Any, sign: Any, reads: Any) -> Any:
    """Return the place of the lowest signed score, ties by noise then place; -1 on a fault.

    What the score does not read is not worked out, and where nothing that it reads changes with time
    only those that joined since the last decision are scored.
    """
    cursor, queue, joined, value = state.cursor, state.queue, state.joined, state.value
    arrival, size_ms, priority = model.arrival, model.size_ms, model.priority
    due, luck = model.due, model.luck
    now, head, tail, own = state.clock[0], cursor[HEAD], cursor[TAIL], cursor[OWN]
    queued = np.float64(tail - head)
    key = mixed(model.seed, cursor[ALL])
    drawn, dated = reads & DRAWN != 0, reads & DATED != 0
    for at in range(head if reads & TIMED != 0 else cursor[SCORED], tail):
        job = queue[at]
        value[at] = sign * score(
            wait_of(now, arrival[job]),
            size_ms[job],
            priority[job],
            slack_of(now, due[job]) if dated else 0.0,
            queued,
            np.float64(own - joined[job] + 1),
            noise_of(key, luck[job]) if drawn else 0.0,
        )
    lowest, faulty = np.inf, False
    for at in range(head, tail):
        faulty |= value[at] != value[at]
        lowest = min(lowest, value[at])
    if faulty:
        return _NONE
    picked = head
    while value[picked] != lowest:
        picked += 1
    for at in range(picked + 1, tail):
        if value[at] == lowest and noise_of(key, luck[queue[at]]) < noise_of(
            key, luck[queue[picked]]
        ):
            picked = at
    return picked - head


@lean
def run(model: Any, state: Any, score: Any, sign: Any, reads: Any) -> Any:
    """Decide everything by a score that reads so much; return the decision on which it failed, or -1."""
    while advance(model, state):
        place = best(model, state, score, sign, reads)
        if place == _NONE:
            return state.cursor[ALL]
        commit(model, state, place)
    return _NONE


@lean
def run_ranked(model: Any, state: Any, rank: Any) -> None:
    """Decide everything by a fixed rank of the jobs, lowest first, then in order of arrival."""
    while advance(model, state):
        head = state.cursor[HEAD]
        place = 0
        for other in range(1, state.cursor[TAIL] - head):
            if rank[state.queue[head + other]] < rank[state.queue[head + place]]:
                place = other
        commit(model, state, place)


@lean
def run_fair(model: Any, state: Any, group: Any, tag: Any, last: Any) -> None:
    """Decide everything by self-clocked fair queueing.

    A job's tag is the later of its class's last tag and the tag in service, plus size over weight; the
    lowest tag is served. Jobs are tagged in order of arrival, when they are first seen.

    Args:
        group: class of each job, i8[n].
        tag: of the jobs, filled, f8[n].
        last: latest tag of each class of a process, zeros, f8[classes].
    """
    process, tagged, served = _NONE, 0, 0.0
    while advance(model, state):
        cursor = state.cursor
        if cursor[PROCESS] != process:
            process, tagged, served = cursor[PROCESS], model.edge[cursor[PROCESS]], 0.0
            last[:] = 0.0
        while tagged < cursor[NEXT]:
            since = max(served, last[group[tagged]])
            tag[tagged] = since + model.size_ms[tagged] / model.priority[tagged]
            last[group[tagged]] = tag[tagged]
            tagged += 1
        place = 0
        for other in range(1, cursor[TAIL] - cursor[HEAD]):
            one = tag[state.queue[cursor[HEAD] + other]]
            if one < tag[state.queue[cursor[HEAD] + place]]:
                place = other
        served = tag[state.queue[cursor[HEAD] + place]]
        commit(model, state, place)
