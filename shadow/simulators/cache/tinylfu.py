"""W-TinyLFU: a window of newcomers, and a main cache that admits who was asked for more often."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...traces.access_trace import DELETE, SET
from ..native import lean
from .lists import ENTER, NONE, TOUCH, Accesses, asked, lists, move, push, resize, take

_WINDOW_SHARE = 0.01
_PROTECTED_SHARE = 0.8
#: Rows of the sketch, counters of a row for each object that fits, and where a counter ends (4 bits).
_ROWS, _WIDE, _FULL = 4, 4, 15
#: Accesses after which all counters are halved, for each object that fits.
_AGING = 10
#: Accesses whose sizes say how wide the sketch is.
_FIRST_SIZES = 1000
#: A larger cache has the sketch of one of so many objects, which takes 64 MB.
_MOST_ENTRIES = float(1 << 22)
_WINDOW, _PROBATION, _PROTECTED = range(3)


class Sketch(NamedTuple):
    """A count-min sketch of how often keys were asked for lately.

    Attributes:
        counters: up to 15 each, u1[4, a power of two].
        added: accesses since the counters were halved, i8[1].
        residents: objects that are held, i8[1].
    """

    counters: npt.NDArray[np.uint8]
    added: npt.NDArray[np.int64]
    residents: npt.NDArray[np.int64]


def sketch(entries: float) -> Sketch:
    """Return an empty sketch for a cache of so many objects."""
    width = 1 << math.ceil(math.log2(_WIDE * min(entries, _MOST_ENTRIES)))
    return Sketch(
        counters=np.zeros((_ROWS, width), np.uint8),
        added=np.zeros(1, np.int64),
        residents=np.zeros(1, np.int64),
    )


def most_entries(accesses: Accesses, capacity: float) -> float:
    """Return how many objects fit, at least 1, by the smallest of the first sizes.

    By no more than the first, so that a window's replay is a part of the whole one.
    """
    first = accesses.size[:_FIRST_SIZES]
    known = first[first > 0.0]
    return max(1.0, capacity / float(known.min())) if len(known) else max(1.0, capacity)


@lean
def _slot(of: Any, key: Any, row: Any) -> Any:
    """Return the counter of a key in a row (finaliser of splitmix64)."""
    x = np.uint64(key + 1) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(row) * np.uint64(0xD1342543DE82EF95)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.int64(x & np.uint64(of.counters.shape[1] - 1))


@lean
def _estimate(of: Any, key: Any) -> Any:
    """Return the lowest counter of a key."""
    lowest: Any = _FULL
    for row in range(_ROWS):
        lowest = min(lowest, np.int64(of.counters[row, _slot(of, key, row)]))
    return lowest


@lean
def _add(of: Any, key: Any, fits: Any) -> None:
    """Count an access: the lowest counters of its key go up; all are halved when it is time.

    That is after 10 accesses for each of the objects that fit, by the mean size of what is held.
    """
    lowest = _estimate(of, key)
    for row in range(_ROWS):
        slot = _slot(of, key, row)
        if lowest < _FULL and of.counters[row, slot] == lowest:
            of.counters[row, slot] += np.uint8(1)
    of.added[0] += 1
    if of.added[0] >= _AGING * fits:
        of.added[0] //= 2
        for row in range(_ROWS):
            for slot in range(of.counters.shape[1]):
                of.counters[row, slot] >>= np.uint8(1)


@lean
def _promoted(of: Any, key: Any, protected: Any) -> None:
    """Note a use of an object that is held."""
    if of.at[key] == _WINDOW:
        move(of, _WINDOW, key)
        return
    move(of, _PROTECTED, key)
    while of.held[_PROTECTED] > protected:
        move(of, _PROBATION, of.ends[_PROTECTED, 1])


@lean
def _contest(of: Any, known: Any, candidate: Any, capacity: Any) -> None:
    """Let objects leave until all fit: those that were asked for less than the candidate, or it itself.

    Without a candidate, which is NONE, those leave whose turn it is.
    """
    while of.held[_WINDOW] + of.held[_PROBATION] + of.held[_PROTECTED] > capacity:
        victim = of.ends[_PROBATION, 1]
        if victim == candidate or victim == NONE:
            victim = of.ends[_PROTECTED, 1]
        if victim == NONE:
            victim = of.ends[_WINDOW, 1]
        known.residents[0] -= 1
        defended = candidate != NONE and (
            victim == NONE or _estimate(known, candidate) <= _estimate(known, victim)
        )
        if defended:
            take(of, candidate)
            return
        take(of, victim)


@lean
def _admitted(of: Any, known: Any, window: Any, capacity: Any) -> None:
    """Move the oldest of a window that is too full on to the main cache, where there is room for them."""
    while of.held[_WINDOW] > window:
        candidate = of.ends[_WINDOW, 1]
        move(of, _PROBATION, candidate)
        _contest(of, known, candidate, capacity)


@lean
def _tiny_lfu(accesses: Any, of: Any, known: Any, window: Any, capacity: Any) -> Any:
    """Replay W-TinyLFU; return the most held."""
    most = 0.0
    protected = _PROTECTED_SHARE * (capacity - window)
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        here = of.at[key] != NONE
        held = of.held[_WINDOW] + of.held[_PROBATION] + of.held[_PROTECTED]
        wish = asked(accesses, t, here, held - of.size[key] if here else held, capacity)
        if op != DELETE:
            fits = capacity * known.residents[0] / held if held > 0.0 else capacity
            _add(known, key, max(1.0, fits))
        if wish == TOUCH:
            if op == SET:
                resize(of, key, size)
            _promoted(of, key, protected)
        elif here:
            known.residents[0] -= 1
            take(of, key)
        if wish == ENTER:
            known.residents[0] += 1
            of.size[key] = size
            push(of, _WINDOW, key)
        _admitted(of, known, window, capacity)
        _contest(of, known, NONE, capacity)
        most = max(most, of.held[_WINDOW] + of.held[_PROBATION] + of.held[_PROTECTED])
    return most


def w_tiny_lfu(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    """W-TinyLFU, Einziger, Friedman and Manes, ACM ToS 2017, with a window of 1 % and no doorkeeper."""
    known = sketch(most_entries(accesses, capacity))
    window = capacity - math.floor((1.0 - _WINDOW_SHARE) * capacity)
    return float(_tiny_lfu(accesses, lists(keys, 3), known, window, capacity))
