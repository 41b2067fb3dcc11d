"""A limit of the hits that any policy can have when sizes differ: PFOO-L, room times time.

Berger, Beckmann and Harchol-Balter, Practical Bounds on Optimal Caching with Variable Object Sizes,
SIGMETRICS 2018. The bound by intervals of :mod:`.bound` is tighter, for objects of one size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...traces.access_trace import DELETE, SET
from ..native import lean
from .lists import NONE, Accesses, FloatArray


class Wins(NamedTuple):
    """What a cache could hold from one access of a key to its next, to hit there; w intervals.

    Attributes:
        at: index of the counted lookup that hits, i8[w].
        volume: least room x accesses that the object takes up until then, f8[w].
        room: volume that the cache has.
    """

    at: npt.NDArray[np.int64]
    volume: FloatArray
    room: float


def wins(accesses: Accesses, counted: npt.NDArray[np.bool_], keys: int, capacity: float) -> Wins:
    """Return the hits that a cache could have, each with the least volume that it takes.

    Call the moment between access t and t + 1 gap t. Whatever a policy does, at every gap the sizes of
    what it holds add up to the capacity at most: over the gaps that matter, from just before the first
    lookup that counts to just before the last, to capacity x gaps. A lookup at j hits only if its object
    was there at every gap from its key's access before, at i, until j. That needs at least
    (least size of the object then) x (gaps of those that matter), and no gap of an object serves two
    hits. So the volumes of all hits add up to no more than the room, and the most that can be chosen
    under this one condition, the smallest volumes first, is a limit for every policy. It drops the
    condition that the room suffices at each gap by itself, which is why it is seldom reached.

    A policy that refuses newcomers, evicts early or holds less at times does nothing that the argument
    excludes. What is set before the trace begins is an access as any other. A SET says what size its
    object has from then on; a lookup that hits keeps the size that there was, one that misses brings
    its own, so that the least of both is taken; from a deletion until something is brought there is
    nothing to hold, and an object larger than the capacity is never held.

    Args:
        accesses: of one cache, in order.
        counted: which of them are lookups that count, bool[n].
        keys: number above every key.
        capacity: of the cache.
    """
    n = len(accesses.op)
    since, size = np.full(n, NONE, np.int64), np.full(n, np.inf)
    known = np.full(keys, NONE, np.int64), np.full(keys, np.inf)
    _before(accesses.op, accesses.key, accesses.size, known[0], known[1], since, size)
    within = np.flatnonzero(counted)
    if not len(within):
        return Wins(within, np.zeros(0), 0.0)
    first = max(0, int(within[0]) - 1)
    at = np.flatnonzero(counted & (since != NONE) & (size <= capacity))
    stay = (at - np.maximum(since[at], first)).astype(np.float64)
    volume: FloatArray = size[at] * stay
    rounding = 1.0 + 4.0 * n * np.finfo(np.float64).eps  # sums of floats must not lose a hit
    return Wins(at, volume, capacity * (int(within[-1]) - first) * rounding)


@lean
def _before(op: Any, key: Any, size: Any, last: Any, least: Any, since: Any, held: Any) -> None:
    """Note for every access that of its key before, and the least size that its object can have."""
    for t in range(len(op)):
        k = key[t]
        since[t], held[t] = last[k], least[k]
        last[k] = t
        if op[t] == DELETE:
            least[k] = np.inf
        elif op[t] == SET or size[t] < least[k]:
            least[k] = size[t]


def most_hits(found: Wins) -> int:
    """Return the most lookups that can hit."""
    taken = np.cumsum(np.sort(found.volume))
    return int(np.searchsorted(taken, found.room, side="right"))


def most_weight(found: Wins, weight: FloatArray) -> float:
    """Return the most that the weights (bytes) of lookups that hit can add up to.

    Hits are chosen by weight per volume, the last in part: the optimum of the relaxed knapsack.

    Args:
        found: as of :func:`wins`.
        weight: of every access of the cache, f8[n].
    """
    gain = weight[found.at]
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.argsort(-np.where(gain > 0.0, gain / found.volume, 0.0), kind="stable")
    volume, gain = found.volume[order], gain[order]
    whole = int(np.searchsorted(np.cumsum(volume), found.room, side="right"))
    total = float(gain[:whole].sum())
    if whole < len(gain):
        total += (
            float(gain[whole]) * (found.room - float(volume[:whole].sum())) / float(volume[whole])
        )
    return total
