"""A cache whose policy scores a sample, compiled once; stream and compiled replays share it.

Residents of a cache lie in consecutive places, in the order in which they entered; where one leaves, the
last takes its place. A decision draws places, so this order is a part of what a seed means.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ....policies.cache import SAMPLE
from ...traces.access_trace import DELETE, LOOKUP, SET
from ..native import inlined, lean, uniform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
RECENCY, FREQUENCY, AGE, GAP, SIZE, RESIDENT, SINCE, NOISE = range(8)
INPUTS = 8
ITEMS = SAMPLE + 1
#: Columns of ``held``: what is known of a resident.
_KEY, _LAST, _ENTERED, _USES, _GAP, _SIZE, _DECIDED = range(7)
_WIDTH = 8  # of which one is empty: a resident fills one line of the processor's cache
_LANES = 64  # of one decision; the upper half draws noise
_NONE = -1


class Model(NamedTuple):
    """What does not change during a replay; n accesses of p caches over k keys.

    Attributes:
        op: LOOKUP, SET or DELETE, i1[n].
        instance: whose cache, i4[n].
        key: dense, of one cache each, i4[n].
        size: that a miss brings or that is set; NaN: a miss brings nothing; f8[n].
        capacity: f8[p].
        base: first place of each cache, i8[p].
        seed: of all draws.
    """

    op: npt.NDArray[np.int8]
    instance: npt.NDArray[np.int32]
    key: npt.NDArray[np.int32]
    size: FloatArray
    capacity: FloatArray
    base: IntArray
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far.

    Attributes:
        held: residents by place, f8[k, 8].
        place: of a key, -1 outside, i4[k].
        residents: how many, i8[p].
        used: sum of their sizes, f8[p].
        most: highest value of ``used``, f8[p].
        clock: accesses, i8[p].
        decided: decisions, i8[p].
        cursor: the access at hand, the decisions that it took so far, and those of all, i8[3].
        miss: 1 for a lookup that found nothing, u1[n].
        rows: features of the decision at hand, f8[17, 8].
    """

    held: FloatArray
    place: npt.NDArray[np.int32]
    residents: IntArray
    used: FloatArray
    most: FloatArray
    clock: IntArray
    decided: IntArray
    cursor: IntArray
    miss: npt.NDArray[np.uint8]
    rows: FloatArray


def empty(model: Model, keys: int) -> State:
    """Return empty caches."""
    p = len(model.capacity)
    return State(
        held=np.zeros((keys, _WIDTH)),
        place=np.full(keys, _NONE, np.int32),
        residents=np.zeros(p, np.int64),
        used=np.zeros(p),
        most=np.zeros(p),
        clock=np.zeros(p, np.int64),
        decided=np.zeros(p, np.int64),
        cursor=np.zeros(3, np.int64),
        miss=np.zeros(len(model.op), np.uint8),
        rows=np.zeros((ITEMS, INPUTS)),
    )


@inlined
def _leave(model: Any, state: Any, process: Any, place: Any) -> None:
    """Take a resident out; the last one of its cache takes its place."""
    state.place[np.int64(state.held[place, _KEY])] = _NONE
    state.residents[process] -= 1
    last = model.base[process] + state.residents[process]
    state.used[process] -= state.held[place, _SIZE]
    if state.residents[process] == 0:
        state.used[process] = 0.0
    if place != last:
        for column in range(_WIDTH):
            state.held[place, column] = state.held[last, column]
        state.place[np.int64(state.held[place, _KEY])] = place


@inlined
def _enter(model: Any, state: Any, process: Any, t: Any) -> None:
    """Put the newcomer in the next free place."""
    place = model.base[process] + state.residents[process]
    state.residents[process] += 1
    state.place[model.key[t]] = place
    state.held[place, _KEY] = model.key[t]
    state.held[place, _LAST] = state.clock[process]
    state.held[place, _ENTERED] = state.clock[process]
    state.held[place, _USES] = 1.0
    state.held[place, _GAP] = 0.0
    state.held[place, _SIZE] = model.size[t]
    state.held[place, _DECIDED] = state.decided[process]
    state.used[process] += model.size[t]
    state.most[process] = max(state.most[process], state.used[process])


@inlined
def _touch(state: Any, process: Any, place: Any) -> None:
    now = np.float64(state.clock[process])
    state.held[place, _GAP] = now - state.held[place, _LAST]
    state.held[place, _LAST] = now
    state.held[place, _USES] += 1.0


@inlined
def _replace(model: Any, state: Any, process: Any, t: Any) -> Any:
    """Store a new value of a resident; return whether it is to enter anew, because it does not fit."""
    place = state.place[model.key[t]]
    used = state.used[process] - state.held[place, _SIZE] + model.size[t]
    if used > model.capacity[process]:
        _leave(model, state, process, place)
        return True
    state.used[process] = used
    state.most[process] = max(state.most[process], used)
    state.held[place, _SIZE] = model.size[t]
    _touch(state, process, place)
    return False


@inlined
def _arrive(model: Any, state: Any, process: Any, t: Any) -> Any:
    """Serve an access; return whether an object wants to enter."""
    place = state.place[model.key[t]]
    op = model.op[t]
    if op == DELETE:
        if place != _NONE:
            _leave(model, state, process, place)
        return False
    state.clock[process] += 1
    if op == LOOKUP:
        state.miss[t] = place == _NONE
        if place != _NONE:
            _touch(state, process, place)
            return False
    elif op == SET and place != _NONE and not _replace(model, state, process, t):
        return False
    return model.size[t] <= model.capacity[process]


@inlined
def _observe(model: Any, state: Any, process: Any, t: Any) -> None:
    """Fill ``rows`` with a sample of the residents and, last, the newcomer."""
    lane = _LANES * state.cursor[1]
    now = np.float64(state.clock[process])
    decided = np.float64(state.decided[process])
    count = np.float64(state.residents[process])
    for j in range(SAMPLE):
        place = model.base[process] + np.int64(uniform(model.seed, t, lane + j) * count)
        state.rows[j, RECENCY] = now - state.held[place, _LAST]
        state.rows[j, FREQUENCY] = state.held[place, _USES]
        state.rows[j, AGE] = now - state.held[place, _ENTERED]
        state.rows[j, GAP] = state.held[place, _GAP]
        state.rows[j, SIZE] = state.held[place, _SIZE]
        state.rows[j, RESIDENT] = 1.0
        state.rows[j, SINCE] = max(1.0, decided - state.held[place, _DECIDED])
        state.rows[j, NOISE] = uniform(model.seed, t, lane + _LANES // 2 + j)
    state.rows[SAMPLE, RECENCY] = 0.0
    state.rows[SAMPLE, FREQUENCY] = 1.0
    state.rows[SAMPLE, AGE] = 0.0
    state.rows[SAMPLE, GAP] = 0.0
    state.rows[SAMPLE, SIZE] = model.size[t]
    state.rows[SAMPLE, RESIDENT] = 0.0
    state.rows[SAMPLE, SINCE] = 1.0
    state.rows[SAMPLE, NOISE] = uniform(model.seed, t, lane + _LANES // 2 + SAMPLE)


@inlined
def _settle(model: Any, state: Any, process: Any, t: Any, picked: Any) -> Any:
    """Let the picked item leave; return whether the newcomer still wants to enter."""
    lane = _LANES * state.cursor[1]
    state.decided[process] += 1
    state.cursor[1] += 1
    state.cursor[2] += 1
    if picked == SAMPLE:
        return False
    draw = uniform(model.seed, t, lane + picked) * np.float64(state.residents[process])
    _leave(model, state, process, model.base[process] + np.int64(draw))
    return True


@lean
def step(model: Any, state: Any, picked: Any) -> Any:
    """Settle the decision at hand (none when ``picked`` is negative) and go on to the next.

    Returns whether there is one: its ``rows`` are filled.
    """
    t = state.cursor[0]
    entering = picked >= 0
    if entering and not _settle(model, state, model.instance[t], t, picked):
        entering = False
        t += 1
    while t < len(model.op):
        process = model.instance[t]
        if not entering:
            state.cursor[1] = 0
            entering = _arrive(model, state, process, t)
        if entering:
            if state.used[process] + model.size[t] > model.capacity[process]:
                state.cursor[0] = t
                _observe(model, state, process, t)
                return True
            _enter(model, state, process, t)
        entering = False
        t += 1
    state.cursor[0] = t
    return False


@inlined
def _best(model: Any, state: Any, process: Any, t: Any, score: Any, sign: Any) -> Any:
    """Return the item with the lowest signed score, ties by noise then index; -1 on a fault.

    As a choice among the rows of :func:`_observe`, without them; their first column holds the scores.
    The lowest is found without a branch and looked for afterwards: a processor that guesses which of 16
    unpredictable numbers is a new lowest is wrong three times a decision, which costs a third of all.
    """
    lane = _LANES * state.cursor[1]
    now = np.float64(state.clock[process])
    decided = np.float64(state.decided[process])
    count = np.float64(state.residents[process])
    base = model.base[process]
    lowest, faults = np.inf, 0
    for j in range(SAMPLE):
        place = np.uint64(base + np.int64(uniform(model.seed, t, lane + j) * count))
        value = sign * score(
            now - state.held[place, _LAST],
            state.held[place, _USES],
            now - state.held[place, _ENTERED],
            state.held[place, _GAP],
            state.held[place, _SIZE],
            1.0,
            max(1.0, decided - state.held[place, _DECIDED]),
            uniform(model.seed, t, lane + _LANES // 2 + j),
        )
        state.rows[j, 0] = value
        lowest = min(lowest, value)
        faults += np.isnan(value)
    noise = uniform(model.seed, t, lane + _LANES // 2 + SAMPLE)
    value = sign * score(0.0, 1.0, 0.0, 0.0, model.size[t], 0.0, 1.0, noise)
    state.rows[SAMPLE, 0] = value
    lowest = min(lowest, value)
    if faults > 0 or np.isnan(value):
        return _NONE
    picked, least = _NONE, 2.0
    for j in range(ITEMS):
        if state.rows[j, 0] == lowest:
            noise = uniform(model.seed, t, lane + _LANES // 2 + j)
            if noise < least:
                picked, least = j, noise
    return picked


@lean
def run(model: Any, state: Any, score: Any, sign: Any) -> Any:
    """Decide everything by a score, as :func:`step` asks; return the decision on which it failed, or -1."""
    for t in range(len(model.op)):
        process = model.instance[t]
        state.cursor[0], state.cursor[1] = t, 0
        entering = _arrive(model, state, process, t)
        while entering and state.used[process] + model.size[t] > model.capacity[process]:
            picked = _best(model, state, process, t, score, sign)
            if picked == _NONE:
                return state.cursor[2]
            entering = _settle(model, state, process, t, picked)
        if entering:
            _enter(model, state, process, t)
    state.cursor[0] = len(model.op)
    return _NONE


@lean
def collect(model: Any, state: Any, tables: Any, every: Any) -> Any:
    """Let the least recently used leave; keep the rows of every so manyth decision; return how many."""
    picked, kept = _NONE, 0
    while step(model, state, picked):
        if state.cursor[2] % every == 0 and kept < len(tables):
            for j in range(ITEMS):
                for column in range(INPUTS):
                    tables[kept, j, column] = state.rows[j, column]
            kept += 1
        picked = 0
        for j in range(1, SAMPLE):
            if state.rows[j, RECENCY] > state.rows[picked, RECENCY]:
                picked = j
    return kept
