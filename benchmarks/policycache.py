"""``gnomon.PolicyCache`` beside ``cachetools.LRUCache``: get, and insert what is missing, on a Zipf stream."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cachetools
from results import Peer, Row

import gnomon
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.language import check
from gnomon.testing import recording

OBJECTS = 20_000
CAPACITY = 2_000
ACCESSES = 40_000
REPEATS = 7
#: As slow as cachetools' own, times this, is what a service is promised.
TARGET = 3.0
SHARE = 0.1


def stream() -> list[int]:
    """Return keys drawn by Zipf's law with exponent 0.9, from a fixed seed."""
    weights = [1.0 / (rank + 1) ** 0.9 for rank in range(OBJECTS)]
    return random.Random(7).choices(range(OBJECTS), weights, k=ACCESSES)


def use(cache: Any, keys: list[int]) -> float:
    """Return CPU ns per access of the calling thread."""
    get = cache.get
    begin = time.thread_time_ns()
    for key in keys:
        if get(key) is None:
            cache[key] = key + 1
    return (time.thread_time_ns() - begin) / len(keys)


def canary(cache: gnomon.PolicyCache[int, int]) -> None:
    """Give a tenth of the keys to a candidate, with a ghost of the incumbent beside it."""
    kind = cache.hook.kind
    source = kind.baselines["hyperbolic"].source
    assert source is not None
    cache.hook.install(
        Assignment(
            epoch=1,
            phase="canary",
            candidate=check(source, kind.input_names),
            candidate_digest="c",
            switchback=Switchback(b"bench", "bench", 10**9, 0, 0, SHARE, paired=True),
        )
    )


@contextmanager
def made(**given: Any) -> Iterator[gnomon.PolicyCache[int, int]]:
    """Have a cache of the usual size until the block ends."""
    cache: gnomon.PolicyCache[int, int] = gnomon.PolicyCache(CAPACITY, name="bench", **given)
    try:
        yield cache
    finally:
        cache.close()


def measure(cache: Any, keys: list[int], settle: Callable[[], object]) -> list[tuple[float, float]]:
    """Return (cache's, cachetools') ns per access, one pair per repeat, the two by turns."""
    peer: cachetools.LRUCache[int, int] = cachetools.LRUCache(CAPACITY)
    use(cache, keys)
    use(peer, keys)
    pairs = []
    for _ in range(REPEATS):
        settle()
        gc.collect()
        pairs.append((use(cache, keys), use(peer, keys)))
    return pairs


def row(name: str, pairs: list[tuple[float, float]], target: float | None, note: str = "") -> Row:
    """Return how many times as long as cachetools a cache takes."""
    ratios = [own / other for own, other in pairs]
    own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row(
        name=name,
        value=round(statistics.median(ratios), 2),
        unit="x cachetools",
        better="lower",
        target=target,
        spread=(round(min(ratios), 2), round(max(ratios), 2)),
        peer=Peer("cachetools.LRUCache", cachetools.__version__, 1.0),
        note=f"{own:.0f} ns an access, cachetools {other:.0f} ns in this run{note}",
    )


def run() -> list[Row]:
    """Measure every row."""
    keys, rows = stream(), []
    with made() as cache:
        rows.append(row("off", measure(cache, keys, lambda: None), TARGET))
    with made(threadsafe=False) as cache:
        rows.append(row("off, threadsafe=False", measure(cache, keys, lambda: None), TARGET))
    with recording(), made() as cache:
        rows.append(row("recording", measure(cache, keys, cache.hook.drain), TARGET))
        canary(cache)
        rows.append(
            row(
                "recording, canary of a tenth of the keys",
                measure(cache, keys, cache.hook.drain),
                None,
                "; a program decides in that tenth",
            )
        )
        if cache.hook.counters["dropped"]:
            raise RuntimeError("accesses found no room; the figures mix two paths")
    rows.append(drained(keys))
    return rows


def drained(keys: list[int]) -> Row:
    """Return what an access costs the drainer's thread: hashing, and packing into columns."""
    found = []
    with recording(), made() as cache:
        for _ in range(REPEATS):
            use(cache, keys)
            begin = time.thread_time_ns()
            count = sum(
                len(record.times) // 8 for record in cache.hook.drain() if "times" in dir(record)
            )
            found.append((time.thread_time_ns() - begin) / count)
    return Row(
        name="drain",
        value=round(statistics.median(found), 1),
        unit="ns/access",
        better="lower",
        target=None,
        spread=(round(min(found), 1), round(max(found), 1)),
        note="on the drainer's thread, with the keys' hashes mostly remembered",
    )


if __name__ == "__main__":
    for line in run():
        print(f"{line.name:42s} {line.value:8.2f} {line.unit:12s} met {line.met} {line.note}")
