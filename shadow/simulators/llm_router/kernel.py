"""The event loop of a router before replicas of a language model; streams and compiled replays share it.

A replica prefills one prompt at a time, in the order in which requests came, and runs as many requests
at once as it has slots. A request therefore begins at the latest of its arrival, the end of the prefill
before it and the time at which a slot was left; its first token comes after its own prefill, which leaves out
the leading blocks that the replica's cache holds, and its last after as many steps of decoding.

A replica's cache is a list of blocks, the least recently used at its end. A request uses its blocks
from the last to the first, so that of one prefix the leading blocks stay longest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..native import lean, uniform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Columns of ``rows``: the kind's inputs, in order.
QUEUED, OUTSTANDING, ACTIVE, CACHED, HIT, BLOCKS, NEW, SINCE, NOISE = range(9)
INPUTS = 9
_NONE = -1


class Model(NamedTuple):
    """What does not change during a replay; n requests, b blocks of them, r replicas, p processes.

    Attributes:
        arrival: seconds, ascending, f8[n].
        process: that decides, i8[n].
        tokens, output: of the prompt and of the answer, f8[n].
        low, high: where the request's blocks lie in ``block``, i8[n].
        block: dense indices of blocks, i8[b].
        base: seconds that every prefill takes beside its tokens, f8[r].
        rate: tokens per second of prefill, f8[r].
        residual: quantiles of what a prefill takes beside both, seconds, f8[r, k].
        decode: seconds per token of an answer, f8[r].
        slots: requests that run at once, i8[r].
        capacity: of the prefix cache, in blocks, i8[r].
        block_tokens: of a block.
        clip_ms: highest outcome.
        seed: of all draws.
    """

    arrival: FloatArray
    process: IntArray
    tokens: FloatArray
    output: FloatArray
    low: IntArray
    high: IntArray
    block: IntArray
    base: FloatArray
    rate: FloatArray
    residual: FloatArray
    decode: FloatArray
    slots: IntArray
    capacity: IntArray
    block_tokens: float
    clip_ms: float
    seed: np.uint64


class State(NamedTuple):
    """What a replay has done so far; u distinct blocks.

    Attributes:
        newer, older: neighbours of a cached block by use, -1 for one that is not cached; at u the ends
            of the list, i4[r, u + 1].
        held: blocks in the cache, i8[r].
        queued: tokens to prefill, f8[r].
        active: prompt blocks of unfinished requests, f8[r].
        link: next request to be prefilled on the same replica, i8[n].
        ends: first and last of them, i8[r, 2].
        open: heap of unfinished requests by the time of their last token, i8[r, n].
        outstanding: how many, i8[r].
        free: when each slot was last left, f8[r, most slots].
        prefilled: when the last prefill ends, f8[r].
        last: number of the process's decision that last picked a replica, f8[p, r].
        decided: decisions per process, f8[p].
        begun, first, finish: seconds, f8[n].
        hit: leading blocks that were cached, i8[n].
        new: tokens that were prefilled, f8[n].
        outcome: time to first token, ms, clipped, f8[n].
        action: i8[n].
        rows: features of the decision at hand, f8[r, 9].
    """

    newer: npt.NDArray[np.int32]
    older: npt.NDArray[np.int32]
    held: IntArray
    queued: FloatArray
    active: FloatArray
    link: IntArray
    ends: IntArray
    open: IntArray
    outstanding: IntArray
    free: FloatArray
    prefilled: FloatArray
    last: FloatArray
    decided: FloatArray
    begun: FloatArray
    first: FloatArray
    finish: FloatArray
    hit: IntArray
    new: FloatArray
    outcome: FloatArray
    action: IntArray
    rows: FloatArray


@lean
def _hits(model: Any, state: Any, index: Any, replica: Any) -> Any:
    """Return how many leading blocks of a request are cached."""
    place = model.low[index]
    while place < model.high[index] and state.newer[replica, model.block[place]] >= 0:
        place += 1
    return place - model.low[index]


@lean
def _unlink(state: Any, replica: Any, block: Any) -> None:
    newer, older = state.newer[replica, block], state.older[replica, block]
    state.older[replica, newer] = older
    state.newer[replica, older] = newer
    state.newer[replica, block] = _NONE
    state.held[replica] -= 1


@lean
def _use(model: Any, state: Any, index: Any, replica: Any) -> None:
    """Put a request's blocks before all others, its first one first; drop what does not fit."""
    end = state.newer.shape[1] - 1
    for place in range(model.high[index] - 1, model.low[index] - 1, -1):
        block = model.block[place]
        if state.newer[replica, block] >= 0:
            _unlink(state, replica, block)
        newest = state.older[replica, end]
        state.newer[replica, block] = end
        state.older[replica, block] = newest
        state.newer[replica, newest] = block
        state.older[replica, end] = block
        state.held[replica] += 1
        if state.held[replica] > model.capacity[replica]:
            _unlink(state, replica, state.newer[replica, end])


@lean
def _settle(model: Any, state: Any, replica: Any, now: Any) -> None:
    """Take prompts that are prefilled, and requests that are finished, off a replica's counts."""
    head = state.ends[replica, 0]
    while head != _NONE and state.first[head] <= now:
        state.queued[replica] -= state.new[head]
        head = state.link[head]
    state.ends[replica, 0] = head
    if head == _NONE:
        state.ends[replica, 1] = _NONE
        state.queued[replica] = 0.0
    while state.outstanding[replica] > 0 and state.finish[state.open[replica, 0]] <= now:
        done = state.open[replica, 0]
        state.active[replica] -= model.high[done] - model.low[done]
        state.outstanding[replica] -= 1
        state.open[replica, 0] = state.open[replica, state.outstanding[replica]]
        _sink(state, replica)


@lean
def _sink(state: Any, replica: Any) -> None:
    place, size = 0, state.outstanding[replica]
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if (
            below + 1 < size
            and state.finish[state.open[replica, below + 1]]
            < state.finish[state.open[replica, below]]
        ):
            below += 1
        one, other = state.open[replica, place], state.open[replica, below]
        if state.finish[one] <= state.finish[other]:
            return
        state.open[replica, place], state.open[replica, below] = other, one
        place = below


@lean
def _rise(state: Any, replica: Any) -> None:
    place = state.outstanding[replica] - 1
    while place > 0:
        above = (place - 1) // 2
        one, other = state.open[replica, place], state.open[replica, above]
        if state.finish[other] <= state.finish[one]:
            return
        state.open[replica, place], state.open[replica, above] = other, one
        place = above


@lean
def observe(model: Any, state: Any, index: Any) -> None:
    """Bring the replicas up to the time of a request and fill ``rows``."""
    process, now = model.process[index], model.arrival[index]
    blocks = model.high[index] - model.low[index]
    for replica in range(len(model.slots)):
        _settle(model, state, replica, now)
        hit = _hits(model, state, index, replica)
        state.rows[replica, QUEUED] = state.queued[replica]
        state.rows[replica, OUTSTANDING] = state.outstanding[replica]
        state.rows[replica, ACTIVE] = state.active[replica]
        state.rows[replica, CACHED] = state.held[replica]
        state.rows[replica, HIT] = hit
        state.rows[replica, BLOCKS] = blocks
        state.rows[replica, NEW] = max(model.tokens[index] - hit * model.block_tokens, 1.0)
        state.rows[replica, SINCE] = state.decided[process] - state.last[process, replica]
        state.rows[replica, NOISE] = uniform(model.seed, index, replica)


@lean
def prefill(model: Any, index: Any, replica: Any, new: Any) -> Any:
    """Return the seconds that a request's prefill takes, by a draw of its own, the same on every replica."""
    draw = uniform(model.seed, index, len(model.slots))
    residual = model.residual[replica, int(draw * model.residual.shape[1])]
    return max(model.base[replica] + new / model.rate[replica] + residual, 0.0)


@lean
def commit(model: Any, state: Any, index: Any, replica: Any) -> None:
    """Send the request to the picked replica and record what comes of it."""
    slot = 0
    for other in range(1, model.slots[replica]):
        if state.free[replica, other] < state.free[replica, slot]:
            slot = other
    new = state.rows[replica, NEW]
    begun = max(model.arrival[index], state.prefilled[replica], state.free[replica, slot])
    first = begun + prefill(model, index, replica, new)
    finish = first + max(model.output[index] - 1.0, 0.0) * model.decode[replica]
    state.prefilled[replica], state.free[replica, slot] = first, finish
    state.begun[index], state.first[index], state.finish[index] = begun, first, finish
    state.hit[index], state.new[index] = int(state.rows[replica, HIT]), new
    state.outcome[index] = min((first - model.arrival[index]) * 1e3, model.clip_ms)
    state.action[index] = replica
    _use(model, state, index, replica)
    _enter(model, state, index, replica)
    process = model.process[index]
    state.last[process, replica] = state.decided[process]
    state.decided[process] += 1.0


@lean
def _enter(model: Any, state: Any, index: Any, replica: Any) -> None:
    """Count a request as queued and outstanding."""
    tail = state.ends[replica, 1]
    state.link[index] = _NONE
    state.ends[replica, 1] = index
    if tail == _NONE:
        state.ends[replica, 0] = index
    else:
        state.link[tail] = index
    state.queued[replica] += state.new[index]
    state.active[replica] += model.high[index] - model.low[index]
    state.open[replica, state.outstanding[replica]] = index
    state.outstanding[replica] += 1
    _rise(state, replica)


@lean
def step(model: Any, state: Any, index: Any, picked: Any) -> None:
    """Commit the pick of the request before ``index`` (none when negative) and observe ``index``."""
    if picked >= 0:
        commit(model, state, index - 1, picked)
    if index < len(model.arrival):
        observe(model, state, index)


@lean
def _best(rows: Any, score: Any, sign: Any) -> Any:
    """Return the replica with the lowest signed score, ties by noise then index; -1 on a fault."""
    picked, lowest = _NONE, np.inf
    for j in range(len(rows)):
        value = sign * score(
            rows[j, 0], rows[j, 1], rows[j, 2], rows[j, 3], rows[j, 4],
            rows[j, 5], rows[j, 6], rows[j, 7], rows[j, 8],
        )  # fmt: skip
        if np.isnan(value):
            return _NONE
        tie = value == lowest and picked != _NONE and rows[j, NOISE] < rows[picked, NOISE]
        if picked == _NONE or value < lowest or tie:
            picked, lowest = j, value
    return picked


@lean
def run(model: Any, state: Any, score: Any, sign: Any) -> Any:
    """Decide everything by a score; return the request on which it failed, or -1."""
    for index in range(len(model.arrival)):
        observe(model, state, index)
        picked = _best(state.rows, score, sign)
        if picked == _NONE:
            return index
        commit(model, state, index, picked)
    return _NONE
