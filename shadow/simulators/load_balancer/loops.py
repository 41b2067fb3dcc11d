"""The load balancer's event loop under policies that no score form can express, compiled.

Every loop decides all requests of a replay. It brings a member up to date only when it looks at it, so
that two choices among hundreds of backends cost two looks. ``keys`` seed the draws of each process,
u8[p]; ``room`` is its state, zeros to begin with, f8[p, m, 2].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import inlined, lean, uniform
from .kernel import catch_up, commit, until_now

#: Finagle's ``decayTime`` by default.
FINAGLE_DECAY_S = 10.0
#: Of a backend that has requests in flight and no latency yet; Finagle's is as far out of reach.
_PENALTY_MS = 1e12


@inlined
def _inflight(model: Any, state: Any, view: Any, member: Any, until: Any) -> Any:
    """Return what the view shows of a member's requests in flight."""
    if state.due[view, member] <= until:
        catch_up(model, state, view, member, until)
    return state.shown_inflight[view, member]


@inlined
def _first_of_two(model: Any, key: Any, count: Any) -> Any:
    return int(uniform(key, count, 0) * len(model.slots))


@inlined
def _second_of_two(model: Any, key: Any, count: Any, first: Any) -> Any:
    """Return another member than the first; the first itself where there is no other."""
    other = int(uniform(key, count, 1) * (len(model.slots) - 1))
    return min(other + (1 if other >= first else 0), len(model.slots) - 1)


@lean
def two_choices(model: Any, state: Any, keys: Any, room: Any) -> None:
    """Send every request to the one of two members drawn at random that has fewer in flight."""
    for index in range(len(model.arrival)):
        process, view = model.process[index], model.watch[index]
        until = until_now(model, state, view, model.arrival[index])
        count = int(state.decided[process])
        one = _first_of_two(model, keys[process], count)
        other = _second_of_two(model, keys[process], count, one)
        fewer = _inflight(model, state, view, one, until) <= _inflight(
            model, state, view, other, until
        )
        commit(model, state, index, one if fewer else other)


@lean
def idle_queue(model: Any, state: Any, keys: Any, room: Any) -> None:
    """Send every request to an idle member drawn at random, to any where none is idle."""
    members = len(model.slots)
    for index in range(len(model.arrival)):
        process, view = model.process[index], model.watch[index]
        until = until_now(model, state, view, model.arrival[index])
        idle = 0
        for member in range(members):
            idle += _inflight(model, state, view, member, until) == 0.0
        draw = uniform(keys[process], int(state.decided[process]), 0)
        place = int(draw * (idle if idle > 0 else members))
        picked = place
        if idle > 0:
            for member in range(members):
                if state.shown_inflight[view, member] == 0.0:
                    if place == 0:
                        picked = member
                    place -= 1
        commit(model, state, index, picked)


@lean
def smooth_turns(model: Any, state: Any, keys: Any, room: Any) -> None:
    """Send every request to the member of the highest credit: weights are added, their sum taken off."""
    for index in range(len(model.arrival)):
        process = model.process[index]
        total, best = 0.0, 0
        for member in range(len(model.slots)):
            weight = model.weight[process, member]
            room[process, member, 0] += weight
            total += weight
            if room[process, member, 0] > room[process, best, 0]:
                best = member
        room[process, best, 0] -= total
        commit(model, state, index, best)


@inlined
def _observed(
    state: Any, room: Any, view: Any, member: Any, at: Any, rtt: Any, decay_s: Any
) -> None:
    """Take a latency into the peak-sensitive average: higher ones at once, lower ones by their age."""
    weight = np.exp(-max(at - room[view, member, 1], 0.0) / decay_s)
    cost = room[view, member, 0]
    room[view, member, 0] = rtt if rtt > cost else cost * weight + rtt * (1.0 - weight)
    room[view, member, 1] = at


@inlined
def _load(model: Any, state: Any, room: Any, view: Any, member: Any, now: Any, decay_s: Any) -> Any:
    """Return a member's cost times its requests in flight, this one included."""
    head = state.ends[view, member, 0]
    while head >= 0 and state.answer[head] <= now:
        if state.ok[head] or state.outcome[head] < model.clip_ms:
            rtt_ms = (state.answer[head] - model.arrival[head]) * 1e3
            _observed(state, room, view, member, state.answer[head], rtt_ms, decay_s)
        head = state.link[head, 1]
    if state.due[view, member] <= now:
        catch_up(model, state, view, member, now)
    _observed(state, room, view, member, now, 0.0, decay_s)
    cost, pending = room[view, member, 0], state.inflight[view, member]
    if cost == 0.0 and pending > 0.0:
        return _PENALTY_MS + pending
    return cost * (pending + 1.0)


@lean
def peak_ewma(model: Any, state: Any, keys: Any, room: Any, decay_s: Any) -> None:
    """Send every request to the one of two members drawn at random that has the lower load.

    It measures latencies itself, so what views show, and how old that is, does not matter.
    """
    for index in range(len(model.arrival)):
        process, view = model.process[index], model.watch[index]
        now, count = model.arrival[index], int(state.decided[process])
        one = _first_of_two(model, keys[process], count)
        other = _second_of_two(model, keys[process], count, one)
        first = _load(model, state, room, view, one, now, decay_s)
        second = _load(model, state, room, view, other, now, decay_s)
        commit(model, state, index, one if first <= second else other)
