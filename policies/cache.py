"""The ``cache`` kind: which object leaves a full cache, the newcomer included, so that misses are fewest.

One decision serves eviction and admission: its items are a sample of the residents and, last, the
newcomer; the object with the lowest score goes. Where that is the newcomer it is not admitted.

The simulator that answers for this kind is ``shadow/simulators/cache/simulator.py``; in a service it is
``gnomon.PolicyCache`` that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..sdk.invariant import Invariant
from ..sdk.kind import Baseline, Feature, Kind, Metric, WorkloadEvent

#: Residents that a decision looks at, drawn with replacement; the newcomer comes on top.
SAMPLE = 16
_MOST = 2.0**53
#: Sums of sizes that are no whole numbers depend on their order.
_ROUNDED = 1.0 + 1e-9

RECENCY = Feature(
    "recency", "{access}", "Accesses of the cache since the object's last one; 0 for the newcomer.",
    0.0, _MOST, integer=True,
)  # fmt: skip
FREQUENCY = Feature(
    "frequency", "{access}", "Accesses of the object since it entered; 1 for the newcomer.",
    1.0, _MOST, integer=True,
)  # fmt: skip
AGE = Feature(
    "age", "{access}", "Accesses of the cache since the object entered; 0 for the newcomer.",
    0.0, _MOST, integer=True,
)  # fmt: skip
GAP = Feature(
    "gap", "{access}", "Accesses of the cache between the object's last two; 0 before a second one.",
    0.0, _MOST, integer=True,
)  # fmt: skip
SIZE = Feature("size", "{size}", "As `getsizeof` gives it; 1 without.", 0.0, _MOST)
RESIDENT = Feature(
    "resident", "1", "1 for an object in the cache, 0 for the newcomer.", 0.0, 1.0, integer=True
)


def conservation(summary: Any) -> bool:
    """Return whether every lookup was a hit or a miss and the cache never held more than it may."""
    return bool(
        summary.completions == summary.decisions
        and summary.lowest_outcome >= 0.0
        and summary.most_held <= summary.capacity * _ROUNDED
    )


def no_phantom_hit(summary: Any) -> bool:
    """Return whether nothing was found that nobody had brought since it was last removed."""
    return bool(summary.phantom_hits == 0)


def _baselines(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


_ADMITTED = "    if resident < 0.5:\n        return 1e300\n"

SAMPLED_LRU = Baseline(
    "sampled_lru",
    "def score(recency):\n    return -recency\n",
    "the least recently used of a sample; Redis `allkeys-lru`",
)
SAMPLED_LFU = Baseline(
    "sampled_lfu",
    f"def score(frequency, resident):\n{_ADMITTED}    return frequency\n",
    "the least frequently used of a sample, every newcomer admitted; Redis `allkeys-lfu` without decay",
)
SAMPLED_FIFO = Baseline(
    "sampled_fifo", "def score(age):\n    return -age\n", "the oldest of a sample"
)
RANDOM = Baseline(
    "random",
    f"def score(noise, resident):\n{_ADMITTED}    return noise\n",
    "any resident; Redis `allkeys-random`",
)
HYPERBOLIC = Baseline(
    "hyperbolic",
    f"def score(frequency, age, resident):\n{_ADMITTED}    return frequency / max(age, 1.0)\n",
    "accesses per time in the cache; Hyperbolic Caching, USENIX ATC 2017, with a sample as there",
)
FREQUENCY_PER_SIZE = Baseline(
    "frequency_per_size",
    f"def score(frequency, recency, size, resident):\n{_ADMITTED}"
    "    return frequency / (max(size, 1.0) * max(recency, 1.0))\n",
    "greedy-dual in spirit: frequency per size, aged by recency; GDSF, HP Labs 1998, needs a clock of "
    "its own that a score has not",
)


def _built_in(name: str, reference: str) -> Baseline:
    return Baseline(name, None, reference)


cache = Kind(
    name="cache",
    version=1,
    description="Picks the object that leaves a full cache, the newcomer included.",
    features=(RECENCY, FREQUENCY, AGE, GAP, SIZE, RESIDENT),
    order="lowest",
    objective=Metric(
        "miss", "1", 1.0, "1 for a lookup that finds nothing, 0 for a hit.", statistics=("mean",)
    ),
    workload=(
        WorkloadEvent(
            "access",
            "event",
            ("key", "size", "op"),
            "key: hash of 53 bits; op: 0 a lookup that missed, 1 one that hit, 2 an insertion or "
            "replacement, 3 a deletion or expiry; size: of the object, 0 where a miss does not know it.",
        ),
        WorkloadEvent(
            "cache",
            "event",
            ("capacity", "sampled", "policy", "ttl", "begins"),
            "maxsize, the share of keys that is recorded, the name of the policy in the service's own "
            "source, and the seconds that an object has, 0 for ever. begins: 1 when a cache begins or "
            "its settings changed (what it held before is forgotten), 0 when they are said again.",
        ),
    ),
    invariants=(
        Invariant(
            "conservation",
            conservation,
            scope="replay",
            description="Every lookup hits or misses, and no more is held than the capacity.",
        ),
        Invariant(
            "no_phantom_hit",
            no_phantom_hit,
            scope="replay",
            description="No lookup hits what nobody had brought since it was last removed.",
        ),
    ),
    baselines=_baselines(
        SAMPLED_LRU,
        SAMPLED_LFU,
        SAMPLED_FIFO,
        RANDOM,
        HYPERBOLIC,
        FREQUENCY_PER_SIZE,
        _built_in("fifo", "first in, first out"),
        _built_in("lru", "least recently used"),
        _built_in("clock", "second chance with one bit; Corbato, 1968"),
        _built_in("sieve", "SIEVE, NSDI 2024"),
        _built_in("arc", "ARC, FAST 2003"),
        _built_in("lfu", "least frequently used, ties to the least recently used"),
        _built_in("s3_fifo", "S3-FIFO, SOSP 2023"),
        _built_in("two_q", "2Q, VLDB 1994"),
        _built_in("gdsf", "GreedyDual-Size with frequency, HP Labs 1998; cost 1"),
        _built_in("lecar", "LeCaR, HotStorage 2018"),
        _built_in("w_tiny_lfu", "W-TinyLFU, ACM ToS 2017; window 1 %"),
    ),
    arms="paired",
    has_bound=True,
)
