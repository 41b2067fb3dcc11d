"""A heap of keys whose ranks change: the lowest rank first, of equals the one ranked longest ago."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..native import lean
from .lists import NONE


class Ranked(NamedTuple):
    """A binary heap of keys below k; the key at its front is ``key[0]``.

    Attributes:
        key: in heap order; the first ``filled[0]`` are filled, i4[k].
        place: of each key in ``key``, -1 outside, i4[k].
        rank: of each key, f8[k].
        since: when a key got its rank, in accesses, i8[k].
        filled: keys in the heap, i8[1].
    """

    key: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    rank: npt.NDArray[np.float64]
    since: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]


def ranked(keys: int) -> Ranked:
    """Return an empty heap for keys below ``keys``."""
    return Ranked(
        key=np.empty(keys, np.int32),
        place=np.full(keys, NONE, np.int32),
        rank=np.zeros(keys),
        since=np.zeros(keys, np.int64),
        filled=np.zeros(1, np.int64),
    )


@lean
def _below(heap: Any, one: Any, other: Any) -> Any:
    """Return whether one key leaves before another."""
    if heap.rank[one] != heap.rank[other]:
        return heap.rank[one] < heap.rank[other]
    return heap.since[one] < heap.since[other]


@lean
def _settle(heap: Any, at: Any) -> None:
    """Move the key at a place up or down until the order holds."""
    key = heap.key[at]
    while at > 0 and _below(heap, key, heap.key[(at - 1) // 2]):
        heap.key[at] = heap.key[(at - 1) // 2]
        heap.place[heap.key[at]] = at
        at = (at - 1) // 2
    while 2 * at + 1 < heap.filled[0]:
        child = 2 * at + 1
        if child + 1 < heap.filled[0] and _below(heap, heap.key[child + 1], heap.key[child]):
            child += 1
        if not _below(heap, heap.key[child], key):
            break
        heap.key[at] = heap.key[child]
        heap.place[heap.key[at]] = at
        at = child
    heap.key[at] = key
    heap.place[key] = at


@lean
def put(heap: Any, key: Any, rank: Any, now: Any) -> None:
    """Rank a key, which may be in the heap already."""
    heap.rank[key], heap.since[key] = rank, now
    if heap.place[key] == NONE:
        heap.key[heap.filled[0]] = key
        heap.place[key] = heap.filled[0]
        heap.filled[0] += 1
    _settle(heap, heap.place[key])


@lean
def drop(heap: Any, key: Any) -> None:
    """Take a key out of the heap that it is in."""
    at = heap.place[key]
    heap.place[key] = NONE
    heap.filled[0] -= 1
    if at != heap.filled[0]:
        heap.key[at] = heap.key[heap.filled[0]]
        heap.place[heap.key[at]] = at
        _settle(heap, at)
