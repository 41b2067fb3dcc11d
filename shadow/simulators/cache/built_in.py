"""All published cache policies that the policy language cannot express, by name."""

from __future__ import annotations

from collections.abc import Callable

from .exact import EXACT
from .greedy import gdsf, lecar
from .lists import Accesses
from .queues import s3_fifo, two_q
from .tinylfu import w_tiny_lfu

#: Fill in the misses of (accesses, number of keys, capacity, seed) and return the most held at a time.
BUILT_IN: dict[str, Callable[[Accesses, int, float, int], float]] = EXACT | {
    "s3_fifo": s3_fifo,
    "two_q": two_q,
    "gdsf": gdsf,
    "lecar": lecar,
    "w_tiny_lfu": w_tiny_lfu,
}
