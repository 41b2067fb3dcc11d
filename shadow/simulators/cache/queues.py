"""Published cache policies of a few queues with ghosts: S3-FIFO and 2Q, by object sizes.

Where the papers count pages, sums of sizes stand here; with sizes of 1 they are the papers' policies.
"""

from __future__ import annotations

from typing import Any

from ...traces.access_trace import DELETE, SET
from ..native import lean
from .lists import (
    ENTER,
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

#: S3-FIFO: the small queue's share, and that of the ghosts, which are as many as the main queue has.
_SMALL_SHARE = 0.1
_MOST_USES = 3
#: 2Q: shares that the paper recommends for A1in and for the ghosts, A1out.
_A1IN_SHARE, _A1OUT_SHARE = 0.25, 0.5
#: The lists: two of objects, then the ghosts.
_FIRST, _MAIN, _GHOST = range(3)


@lean
def _forgotten(of: Any, most: Any) -> None:
    """Forget the oldest ghosts."""
    while of.held[_GHOST] > most:
        take(of, of.ends[_GHOST, 1])


@lean
def _s3_room(of: Any, capacity: Any) -> None:
    """Let one object leave, or move on."""
    small = _SMALL_SHARE * capacity
    if of.ends[_MAIN, 1] == NONE or (of.ends[_FIRST, 1] != NONE and of.held[_FIRST] >= small):
        key = of.ends[_FIRST, 1]
        if of.mark[key] > 1:
            of.mark[key] = 0
            move(of, _MAIN, key)
        else:
            move(of, _GHOST, key)
            _forgotten(of, capacity - small)
        return
    key = of.ends[_MAIN, 1]
    if of.mark[key] > 0:
        of.mark[key] -= 1
        move(of, _MAIN, key)
    else:
        take(of, key)


@lean
def _2q_room(of: Any, capacity: Any) -> None:
    """Let one object leave (``reclaimfor`` of the paper)."""
    if of.held[_FIRST] > _A1IN_SHARE * capacity or of.ends[_MAIN, 1] == NONE:
        move(of, _GHOST, of.ends[_FIRST, 1])
        _forgotten(of, _A1OUT_SHARE * capacity)
    else:
        take(of, of.ends[_MAIN, 1])


@lean
def _queues(accesses: Any, of: Any, capacity: Any, two_q: Any) -> Any:
    """Replay S3-FIFO or 2Q: a newcomer enters the first queue, a ghost the main one; return the most held."""
    most = 0.0
    for t in range(len(accesses.op)):
        op, key, size = accesses.op[t], accesses.key[t], accesses.size[t]
        where = of.at[key]
        here = where == _FIRST or where == _MAIN
        held = of.held[_FIRST] + of.held[_MAIN]
        wish = asked(accesses, t, here, held - of.size[key] if here else held, capacity)
        if wish == TOUCH:
            if op == SET:
                resize(of, key, size)
            of.mark[key] = min(_MOST_USES, of.mark[key] + 1)
            if two_q and where == _MAIN:
                move(of, _MAIN, key)
        elif where != NONE and (here or op == DELETE or wish == ENTER):
            take(of, key)
        if wish == ENTER:
            while of.held[_FIRST] + of.held[_MAIN] + size > capacity:
                if two_q:
                    _2q_room(of, capacity)
                else:
                    _s3_room(of, capacity)
            of.size[key], of.mark[key] = size, 0
            push(of, _MAIN if where == _GHOST else _FIRST, key)
        most = max(most, of.held[_FIRST] + of.held[_MAIN])
    return most


def s3_fifo(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    """S3-FIFO, Yang et al., SOSP 2023, algorithm 1: a small queue of a tenth, 2 bits of uses."""
    return float(_queues(accesses, lists(keys, 3), capacity, False))


def two_q(accesses: Accesses, keys: int, capacity: float, seed: int) -> float:
    """2Q, Johnson and Shasha, VLDB 1994, full version: A1in of a quarter, A1out of a half."""
    return float(_queues(accesses, lists(keys, 3), capacity, True))
