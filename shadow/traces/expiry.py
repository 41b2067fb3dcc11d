"""What expiry can matter in a cache with a ttl: replay keeps objects until they are evicted or deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ..simulators.native import lean
from .access_trace import DELETE, LOOKUP, AccessTrace

#: Share of lookups that may miss because of a ttl, in a cache that replay takes for one without.
MOST_EXPIRED = 0.005


def refuse_expiry(trace: AccessTrace, ttl: npt.NDArray[np.float64]) -> None:
    """Refuse a trace in which expiry decides more lookups than replay may get wrong.

    Args:
        trace: recorded accesses of p caches.
        ttl: seconds that an object has in each, 0 for ever, f8[p].

    Raises:
        TraceError: more than 0.5 % of the lookups can miss because their object has expired.
    """
    share = expired(trace, ttl)
    if share > MOST_EXPIRED:
        raise TraceError(
            f"up to {share:.2%} of the lookups of trace {trace.hook!r} miss because their object has "
            f"expired, more than {MOST_EXPIRED:.1%}; a cache whose ttl matters cannot be replayed yet: "
            "record it with a longer ttl, or without"
        )


def expired(trace: AccessTrace, ttl: npt.NDArray[np.float64]) -> float:
    """Return the largest share of lookups that a ttl can turn into misses, under any policy.

    That is what an infinite cache misses because of it. A smaller one holds a key over stretches that
    do not overlap; each that ends by expiry is a ttl long, and none fit more of those into the accesses
    of a key than who begins with the first and takes every next as soon as it can.

    Args:
        trace: recorded accesses of p caches.
        ttl: seconds that an object has in each, 0 for ever, f8[p].
    """
    if not len(trace) or not (ttl > 0.0).any():
        return 0.0
    since, gone = np.full(trace.keys, np.inf), np.zeros(trace.keys, np.bool_)
    each = np.where(ttl > 0.0, ttl, np.inf)[trace.instance]
    return int(_expired(trace.at, trace.key, trace.op, each, since, gone)) / len(trace)


@lean
def _expired(at: Any, key: Any, op: Any, ttl: Any, since: Any, gone: Any) -> Any:
    """Return how many lookups miss; since (entry, inf before it) and gone are room to work in."""
    misses = 0
    for n in range(len(at)):
        k = key[n]
        if op[n] == DELETE:
            gone[k] = True
            continue
        late = at[n] - since[k] >= ttl[n]
        if op[n] == LOOKUP and late:
            misses += 1
        if op[n] != LOOKUP or late or gone[k] or since[k] == np.inf:
            since[k] = at[n]
            gone[k] = False
    return misses
