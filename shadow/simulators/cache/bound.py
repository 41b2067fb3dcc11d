"""The most hits that any policy can have: Belady's MIN with bypass, for objects of one size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...traces.access_trace import DELETE, LOOKUP
from ..native import lean
from .lists import Accesses

_NONE = -1
#: What sums of sizes that are no whole numbers may be off by, relatively, over millions of accesses.
_ROUNDED = 1.0 + 1e-9


def slots(sizes: npt.NDArray[np.float64], capacity: float) -> int | None:
    """Return how many objects fit; None unless all that are known have one size above 0.

    A cache adds sizes up in floats, which is exact for whole ones. Sums of others are rounded, and so is
    their quotient: seven of 0.1 fit into 0.7, of which 0.1 is less than a seventh.
    """
    known = sizes[~np.isnan(sizes)]
    if not len(known) or known.min() <= 0.0 or known.min() != known.max():
        return None
    size = float(known[0])
    return math.floor(capacity / size * (1.0 if size.is_integer() else _ROUNDED))


def most_hits(accesses: Accesses, counted: npt.NDArray[np.bool_], fit: int) -> int:
    """Return the most counted lookups of one cache that can hit.

    A lookup at j hits only if its object stayed from its access before, at i, until j: between the
    two it took one of the ``fit`` places. Hits are thus disjoint choices of open intervals (i, j), of
    which no more than ``fit`` may overlap anywhere. The largest such choice is found by giving up,
    whenever too many overlap, the interval that ends last (an exchange: whatever other one is given up
    instead can be swapped for it without a new overlap), which is what Belady's MIN does when it may
    also refuse a newcomer. Intervals that end with an access that does not count, or with a deletion,
    win nothing and are left out; sizes of 1 and foresight reach the number, so that it is tight.

    Args:
        accesses: of one cache, in order.
        counted: which of them are lookups that count, bool[n].
        fit: objects that fit at a time.
    """
    if fit < 1:
        return 0
    n = len(accesses.op)
    ends = np.empty(n, np.int64)
    after = np.full(int(accesses.key.max(initial=-1)) + 1, _NONE, np.int64)
    _interval_ends(accesses.op, accesses.key, counted, after, ends)
    return int(_chosen(ends, fit, np.empty(n + 1, np.int64), np.zeros(n, np.bool_)))


@lean
def _interval_ends(op: Any, key: Any, counted: Any, after: Any, ends: Any) -> None:
    """Note where every interval that can win ends, -1 for others; ``after`` is room to work in."""
    for t in range(len(op) - 1, -1, -1):
        then = after[key[t]]
        after[key[t]] = t
        wins = then != _NONE and op[t] != DELETE and op[then] == LOOKUP and counted[then]
        ends[t] = then if wins else _NONE


@lean
def _up(heap: Any, at: Any) -> None:
    while at > 0 and heap[(at - 1) // 2] < heap[at]:
        heap[at], heap[(at - 1) // 2] = heap[(at - 1) // 2], heap[at]
        at = (at - 1) // 2


@lean
def _down(heap: Any, count: Any) -> None:
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= heap[at]:
            break
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@lean
def _chosen(ends: Any, fit: Any, heap: Any, kept: Any) -> Any:
    """Return how many intervals can be kept; heap and kept are room to work in."""
    queued, open_now, hits = 0, 0, 0
    for t in range(len(ends)):
        if kept[t]:
            open_now -= 1
            hits += 1
        if ends[t] == _NONE:
            continue
        kept[ends[t]] = True
        open_now += 1
        heap[queued] = ends[t]
        _up(heap, queued)
        queued += 1
        if open_now > fit:  # the last end lies ahead: intervals that are over end before it
            kept[heap[0]] = False
            open_now -= 1
            queued -= 1
            heap[0] = heap[queued]
            _down(heap, queued)
    return hits
