"""All published cache policies that the policy language cannot express, by name."""

from __future__ import annotations

from collections.abc import Callable

from ._cache_exact import EXACT
from ._cache_greedy import gdsf, lecar
from ._cache_lists import Accesses
from ._cache_queues import s3_fifo, two_q
from ._cache_tinylfu import w_tiny_lfu

#: Fill in the misses of (accesses, number of keys, capacity, seed) and return the most held at a time.
BUILT_IN: dict[str, Callable[[Accesses, int, float, int], float]] = EXACT | {
    "s3_fifo": s3_fifo,
    "two_q": two_q,
    "gdsf": gdsf,
    "lecar": lecar,
    "w_tiny_lfu": w_tiny_lfu,
}
