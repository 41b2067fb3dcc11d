"""Compiled passes over the accesses of many processes: what completes what, and one order of time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..simulators.cache.heap import drop, put, ranked
from ..simulators.native import lean
from .access_trace import LOOKUP, SET, UNKNOWN

#: Op of a lookup that hit, in the records, and of a set that was found to complete a lookup.
HIT, TAKEN = 1, -1
_NONE = -1


class Staged(NamedTuple):
    """Accesses by process, each process's in order; n accesses.

    Attributes:
        time: Unix ns, never going back within a process, i8[n].
        key: dense, of one process each, i4[n].
        size: f8[n].
        op: as recorded; TAKEN is left out, i1[n].
        ends: where each process's begin and end, i8[p + 1].
    """

    time: npt.NDArray[np.int64]
    key: npt.NDArray[np.int32]
    size: npt.NDArray[np.float64]
    op: npt.NDArray[np.int8]
    ends: npt.NDArray[np.int64]


class Merged(NamedTuple):
    """Columns of an access trace, to be filled; see :class:`~gnomon.shadow.traces.access_trace.AccessTrace`."""

    at: npt.NDArray[np.float64]
    instance: npt.NDArray[np.int32]
    key: npt.NDArray[np.int32]
    size: npt.NDArray[np.float64]
    op: npt.NDArray[np.int8]
    hit: npt.NDArray[np.int8]


def complete(staged: Staged, keys: int) -> None:
    """Give every missed lookup the size of what was stored after it, NaN where nothing was.

    The set that did, where no other access of the key lies between, is no access of its own any more.
    """
    after = np.full(keys, _NONE, np.int64)
    _complete(staged.key, staged.size, staged.op, after)


@lean
def _complete(key: Any, size: Any, op: Any, after: Any) -> None:
    """Go back in time; ``after`` is the next access of each key."""
    for t in range(len(key) - 1, -1, -1):
        k = key[t]
        then = after[k]
        after[k] = t
        if op[t] != LOOKUP:
            continue
        stored = then != _NONE and (op[then] == SET or op[then] == HIT)  # a hit: the set was lost
        size[t] = size[then] if stored else np.nan
        if stored and op[then] == SET:
            op[then] = TAKEN


def merge(staged: Staged, into: Merged, outcomes: bool) -> int:
    """Write all accesses in order of time, of one moment by process; return the first one's Unix ns.

    Args:
        staged: accesses by process.
        into: columns as long as what is not TAKEN.
        outcomes: whether hits are known; without, every lookup brings an object, of size 1 where none
            is known.
    """
    heads = staged.ends[:-1].copy()
    start = min(int(staged.time[a]) for a, b in zip(heads, staged.ends[1:], strict=True) if a < b)
    _merge(staged, into, heads, ranked(len(heads)), start, outcomes)
    return start


@lean
def _next(staged: Any, heads: Any, heap: Any, process: Any, start: Any) -> None:
    """Put the process back into the heap by its next access, if it has one."""
    while heads[process] < staged.ends[process + 1] and staged.op[heads[process]] == TAKEN:
        heads[process] += 1
    if heads[process] < staged.ends[process + 1]:
        put(heap, process, float(staged.time[heads[process]] - start), process)
    elif heap.place[process] != _NONE:
        drop(heap, process)


@lean
def _merge(staged: Any, into: Any, heads: Any, heap: Any, start: Any, outcomes: Any) -> None:
    for process in range(len(heads)):
        _next(staged, heads, heap, process, start)
    n = 0
    while heap.filled[0] > 0:
        process = heap.key[0]
        t = heads[process]
        op, size = staged.op[t], staged.size[t]
        lookup = op == LOOKUP or op == HIT
        into.at[n] = (staged.time[t] - start) / 1e9
        into.instance[n] = process
        into.key[n] = staged.key[t]
        into.size[n] = size if outcomes or size > 0.0 else 1.0
        into.op[n] = LOOKUP if lookup else op
        into.hit[n] = (op == HIT) if lookup and outcomes else UNKNOWN
        n += 1
        heads[process] += 1
        _next(staged, heads, heap, process, start)
