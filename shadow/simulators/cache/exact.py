"""Published cache policies that keep an order of their own: FIFO, LRU, Clock, SIEVE, ARC, LFU.

Each runs over the accesses of one cache. Objects leave until the newcomer fits; one that is larger than
the capacity stays out. With sizes of 1 the miss ratios are those of the published policies exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...traces.access_trace import DELETE, LOOKUP, SET
from ..native import lean
from .lists import NONE, Accesses, lists, move, push, take

_FIFO, _LRU, _CLOCK, _SIEVE = range(4)
_T1, _T2, _B1, _B2 = range(4)


@lean
def _queue_victim(of: Any, rule: Any, hand: Any) -> Any:
    """Return (key that leaves, hand after it); FIFO and LRU have no hand."""
    key = of.ends[0, 1]
    if rule == _CLOCK:
        while of.mark[key] == 1:
            of.mark[key] = 0
            move(of, 0, key)
            key = of.ends[0, 1]
    elif rule == _SIEVE:
        key = hand if hand != NONE else key
        while of.mark[key] == 1:
            of.mark[key] = 0
            key = of.link[key, 0] if of.link[key, 0] != NONE else of.ends[0, 1]
        hand = of.link[key, 0]
    return key, hand


@lean
def queue(accesses: Any, of: Any, capacity: Any, rule: Any) -> Any:
    """Replay FIFO, LRU, Clock or SIEVE: one list, newcomers at its head; return the most held."""
    hand, most = NONE, 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        here = of.at[key] != NONE
        if op == LOOKUP:
            accesses.miss[t] = not here
        stays = op == LOOKUP or (op == SET and of.held[0] - of.size[key] + size <= capacity)
        if here and stays:
            if op == SET:
                of.held[0] += size - of.size[key]
                of.size[key] = size
                most = max(most, of.held[0])
            if rule == _LRU or (rule == _FIFO and op == SET):
                move(of, 0, key)
            of.mark[key] = 1
            continue
        if here:
            hand = of.link[key, 0] if hand == key else hand
            take(of, key)
        if op == DELETE or not size <= capacity:
            continue
        while of.held[0] + size > capacity:
            victim, hand = _queue_victim(of, rule, hand)
            take(of, victim)
        of.size[key], of.mark[key] = size, 0
        push(of, 0, key)
        most = max(most, of.held[0])
    return most


@lean
def _lfu_victim(of: Any, lowest: Any) -> Any:
    """Return (least recently used key of the lowest frequency, that frequency)."""
    while of.ends[lowest, 1] == NONE:
        lowest += 1
    return of.ends[lowest, 1], lowest


@lean
def _rise(of: Any, key: Any, size: Any) -> None:
    """Count a use: move a key to the next list."""
    uses = of.at[key]
    take(of, key)
    of.size[key] = size
    push(of, min(uses + 1, len(of.ends) - 1), key)


@lean
def lfu(accesses: Any, of: Any, capacity: Any) -> Any:
    """Replay LFU: a list per frequency, the tail of the lowest leaves; return the most held."""
    lowest, count, held, most = 0, 0, 0.0, 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        here = of.at[key] != NONE
        own = of.size[key] if here else 0.0
        if op == LOOKUP:
            accesses.miss[t] = not here
            if here:
                _rise(of, key, own)
                continue
        stays = op != DELETE and size <= capacity
        if here and not stays:
            count -= 1
            held = held - own if count else 0.0
            take(of, key)
        while stays and count and held - own + size > capacity:
            victim, lowest = _lfu_victim(of, lowest)
            if victim == key:
                own, here = 0.0, False
            count -= 1
            held = held - of.size[victim] if count else 0.0
            take(of, victim)
        if not stays:
            continue
        held += size - own
        most = max(most, held)
        if here:
            _rise(of, key, size)
            continue
        of.size[key] = size
        count += 1
        push(of, 0, key)
        lowest = 0
    return most


@lean
def _demote(of: Any, target: Any, from_b2: Any) -> None:
    """Move one object of the cache to its ghosts (``REPLACE`` of the paper)."""
    first = of.held[_T1] > target or (from_b2 and of.held[_T1] == target)
    if of.ends[_T1, 1] != NONE and (first or of.ends[_T2, 1] == NONE):
        move(of, _B1, of.ends[_T1, 1])
    else:
        move(of, _B2, of.ends[_T2, 1])


@lean
def _adapted(of: Any, target: Any, which: Any, size: Any, capacity: Any) -> Any:
    """Return the target of T1 after a hit among the ghosts of list ``which``.

    Ghosts that are all of size 0 have no length: their hit says nothing about what should be longer.
    """
    own, other = of.held[which], of.held[_B2 if which == _B1 else _B1]
    ratio = other / own if own > 0.0 else 1.0
    if which == _B1:
        return min(capacity, target + max(1.0, ratio) * size)
    return max(0.0, target - max(1.0, ratio) * size)


@lean
def _forget(of: Any, size: Any, capacity: Any) -> None:
    """Make room in the directory for a key that it does not know."""
    while of.held[_T1] + of.held[_B1] + size > capacity and of.ends[_B1, 1] != NONE:
        take(of, of.ends[_B1, 1])
    while of.held[_T1] + size > capacity and of.ends[_T1, 1] != NONE:
        take(of, of.ends[_T1, 1])
    while of.held.sum() + size > 2.0 * capacity and of.ends[_B2, 1] != NONE:
        take(of, of.ends[_B2, 1])


@lean
def arc(accesses: Any, of: Any, capacity: Any) -> Any:
    """Replay ARC: recent T1, frequent T2, ghosts B1 and B2, sizes as lengths; return the most held."""
    target, most = 0.0, 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        which = of.at[key]
        here = which == _T1 or which == _T2
        if op == LOOKUP:
            accesses.miss[t] = not here
        fits = of.held[_T1] + of.held[_T2] - of.size[key] + size <= capacity
        if here and (op == LOOKUP or (op == SET and fits)):
            take(of, key)
            of.size[key] = of.size[key] if op == LOOKUP else size
            push(of, _T2, key)
            most = max(most, of.held[_T1] + of.held[_T2])
            continue
        if op == DELETE or not size <= capacity:
            if which != NONE and (op == DELETE or here):
                take(of, key)
            continue
        ghost = which == _B1 or which == _B2
        if ghost:
            target = _adapted(of, target, which, size, capacity)
            take(of, key)
        else:
            if here:
                take(of, key)
            _forget(of, size, capacity)
        while of.held[_T1] + of.held[_T2] + size > capacity:
            _demote(of, target, which == _B2)
        of.size[key] = size
        push(of, _T2 if ghost else _T1, key)
        most = max(most, of.held[_T1] + of.held[_T2])
    return most


def _queue(rule: int) -> Callable[[Accesses, int, float, int], float]:
    return lambda accesses, keys, capacity, seed: float(
        queue(accesses, lists(keys, 1), capacity, rule)
    )


def _lfu(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    most = int(np.bincount(accesses.key, minlength=1).max(initial=0))
    return float(lfu(accesses, lists(keys, most + 2), capacity))


def _arc(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    return float(arc(accesses, lists(keys, 4), capacity))


#: Replays by name, as in :data:`~gnomon.shadow.simulators.cache.built_in.BUILT_IN`.
EXACT: dict[str, Callable[[Accesses, int, float, int], float]] = {
    "fifo": _queue(_FIFO),
    "lru": _queue(_LRU),
    "clock": _queue(_CLOCK),
    "sieve": _queue(_SIEVE),
    "arc": _arc,
    "lfu": _lfu,
}
