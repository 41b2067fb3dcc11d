"""Published cache policies that rank by frequency: GDSF, and LeCaR, which learns when to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...traces.access_trace import DELETE, SET
from ..native import lean, uniform
from .heap import drop, put, ranked
from .lists import (
    ENTER,
    LEAVE,
    NONE,
    TOUCH,
    Accesses,
    asked,
    lists,
    move,
    push,
    resize,
    take,
)

#: A size of 0 divides as this much.
_LEAST_SIZE = 2.0**-53
#: LeCaR: the paper's learning rate, and what a page's reward falls to over a cache's worth of accesses.
_LEARNING_RATE, _DISCOUNT = 0.45, 0.005
#: The list of what is held, by use, and the histories of what each expert let go.
_HELD, _BY_RECENCY, _BY_FREQUENCY = range(3)


@lean
def _greedy(accesses: Any, of: Any, heap: Any, capacity: Any) -> Any:
    """Replay GDSF: rank = clock + uses / size, the clock is the last rank that left; return the most held."""
    clock, most = 0.0, 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        here = of.at[key] != NONE
        held = of.held[_HELD]
        wish = asked(accesses, t, here, held - of.size[key] if here else held, capacity)
        if here and wish != TOUCH:
            drop(heap, key)
            take(of, key)
        if wish == LEAVE:
            continue
        if wish == ENTER:
            while of.held[_HELD] + size > capacity:
                victim = heap.key[0]
                clock = heap.rank[victim]
                drop(heap, victim)
                take(of, victim)
            of.size[key], of.mark[key] = size, 0
            push(of, _HELD, key)
        elif op == SET:
            resize(of, key, size)
        of.mark[key] += 1
        put(heap, key, clock + of.mark[key] / max(of.size[key], _LEAST_SIZE), t)
        most = max(most, of.held[_HELD])
    return most


@lean
def _learned(of: Any, key: Any, waited: Any, weight: Any, fits: Any) -> Any:
    """Return the weight of recency after a miss of what one of the experts had let go.

    ``fits`` is how many objects fit, by the mean size of what is held: the paper's cache size in pages.
    """
    reward = math.exp(_LEARNING_RATE * _DISCOUNT ** (waited / fits))
    recency, frequency = weight, 1.0 - weight
    if of.at[key] == _BY_RECENCY:
        frequency *= reward
    else:
        recency *= reward
    return recency / (recency + frequency)


@lean
def _let_go(of: Any, heap: Any, by: Any, capacity: Any) -> Any:
    """Let what one expert names leave into its history; return it."""
    victim = of.ends[_HELD, 1] if by == _BY_RECENCY else heap.key[0]
    drop(heap, victim)
    move(of, by, victim)
    while of.held[by] > capacity:
        take(of, of.ends[by, 1])
    return victim


@lean
def _lecar(accesses: Any, of: Any, heap: Any, left: Any, capacity: Any, seed: Any) -> Any:
    """Replay LeCaR: LRU or LFU lets go, drawn by weights that regret moves; return the most held."""
    weight, most = 0.5, 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        here = of.at[key] == _HELD
        held = of.held[_HELD]
        wish = asked(accesses, t, here, held - of.size[key] if here else held, capacity)
        if wish == ENTER and not here:
            if of.at[key] == NONE:
                of.mark[key] = 0
            else:
                fits = capacity * heap.filled[0] / held if held > 0.0 else capacity
                weight = _learned(of, key, t - left[key], weight, max(1.0, fits))
        if here and wish != TOUCH:
            drop(heap, key)
        if of.at[key] != NONE and wish != TOUCH and (here or op == DELETE or wish == ENTER):
            take(of, key)
        if wish == LEAVE:
            continue
        turn = 0
        while wish == ENTER and of.held[_HELD] + size > capacity:
            by = _BY_RECENCY if uniform(seed, t, turn) < weight else _BY_FREQUENCY
            left[_let_go(of, heap, by, capacity)] = t
            turn += 1
        if wish == ENTER:
            of.size[key] = size
            push(of, _HELD, key)
        else:
            if op == SET:
                resize(of, key, size)
            move(of, _HELD, key)
        of.mark[key] += 1
        put(heap, key, float(of.mark[key]), t)
        most = max(most, of.held[_HELD])
    return most


def gdsf(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    """GDSF, Cherkasova, HP Labs 1998, with a cost of 1; of equal ranks the least recently used leaves."""
    return float(_greedy(accesses, lists(keys, 1), ranked(keys), capacity))


def lecar(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    """LeCaR, Vietri et al., HotStorage 2018; every draw is a function of seed and access."""
    of, left = lists(keys, 3), np.zeros(keys, np.int64)
    return float(_lecar(accesses, of, ranked(keys), left, capacity, np.uint64(seed)))
