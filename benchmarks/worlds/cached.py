"""A cache before a drifting Zipf: scans, phases, and contents of before the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np

from gnomon.shadow.traces.access_trace import AccessTrace

from .clock import START_NS

_SAMPLE = 16
_PER_S = 200.0


class Accesses(NamedTuple):
    """What would be asked for under any policy: keys from 0, and what luck the cache has."""

    key: Any
    seed: int


@dataclass(frozen=True)
class Cached:
    """Parameters of one cache and its traffic.

    Attributes:
        capacity: objects.
        keys: of the popular set.
        skew: exponent of Zipf's law.
        drift: accesses until the most popular key is another one; 0 for never.
        scan_every, scan: accesses between two scans, on average, and their length; 0 for none.
        phase: accesses on one set of keys before another comes; 0 for one set.
        warm: accesses before the recording.
    """

    capacity: int = 200
    keys: int = 2000
    skew: float = 0.9
    drift: float = 0.0
    scan_every: float = 0.0
    scan: int = 300
    phase: int = 0
    warm: int = 5000

    def traffic(self, seconds: float, rng: np.random.Generator) -> Accesses:
        """Draw the accesses of a stretch of time, those of before it included."""
        n = int(seconds * _PER_S) + self.warm
        weight = np.arange(1, self.keys + 1) ** -self.skew
        rank = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(n))
        at = np.arange(n)
        names = rng.permutation(8 * self.keys)
        moved = (at / self.drift).astype(np.int64) if self.drift else np.zeros(n, np.int64)
        key = names[(rank + moved) % (4 * self.keys)]
        if self.phase:
            other = (at // self.phase) % 2 == 1
            key = np.where(other, names[4 * self.keys + rank], key)
        fresh = 8 * self.keys
        begin = 0.0
        while (
            self.scan_every and (begin := begin + rng.exponential(self.scan_every)) < n - self.scan
        ):
            key[int(begin) : int(begin) + self.scan] = fresh + np.arange(self.scan)
            fresh += self.scan
            begin += self.scan
        return Accesses(key, int(rng.integers(1 << 31)))

    def run(self, accesses: Accesses, score: Any) -> Looked:
        """Look everything up under a compiled score; the lowest of a sample and the newcomer goes."""
        miss = _run(accesses.key, self.capacity, int(accesses.key.max()) + 1, accesses.seed, score)
        return Looked(self, accesses, miss)


@dataclass(frozen=True)
class Looked:
    """Which accesses missed."""

    world: Cached
    accesses: Accesses
    miss: Any

    @property
    def latency_ms(self) -> Any:
        """The objective: 1 for a miss."""
        return self.miss[self.world.warm :].astype(np.float64)

    @property
    def ok(self) -> Any:
        """Nothing fails here."""
        return np.ones(len(self.latency_ms), bool)

    def trace(self) -> AccessTrace:
        """Return what the service recorded."""
        _, key = np.unique(self.accesses.key[self.world.warm :], return_inverse=True)
        n = len(key)
        return AccessTrace(
            hook="world.cache",
            kind="cache",
            start_ns=START_NS,
            instances=("0" * 16,),
            policy="",
            first=0,
            at=np.arange(n) / _PER_S,
            instance=np.zeros(n, np.int32),
            key=key.astype(np.int32),
            size=np.ones(n),
            op=np.zeros(n, np.int8),
            hit=(1 - self.miss[self.world.warm :]).astype(np.int8),
            capacity=np.array([float(self.world.capacity)]),
            sampled=np.ones(1),
        )


@numba.njit
def _run(key, capacity, keys, seed, score):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    n = len(key)
    miss = np.zeros(n, np.int8)
    place, held, count = np.full(keys, -1), np.zeros(capacity, np.int64), 0
    last, entered = np.zeros(keys, np.int64), np.zeros(keys, np.int64)
    times, gap = np.zeros(keys), np.zeros(keys)
    for now in range(n):
        k = key[now]
        if place[k] >= 0:
            gap[k] = now - last[k]
            last[k] = now
            times[k] += 1.0
            continue
        miss[now] = 1
        best, value = -1, np.inf
        if count == capacity:
            value = score(0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, np.random.random())
            for _ in range(_SAMPLE):
                at = np.random.randint(0, capacity)
                o = held[at]
                found = score(
                    now - last[o],
                    times[o],
                    now - entered[o],
                    gap[o],
                    1.0,
                    1.0,
                    1.0,
                    np.random.random(),
                )
                if found <= value:
                    best, value = at, found
            if best < 0:
                continue
            place[held[best]] = -1
        else:
            best = count
            count += 1
        held[best] = k
        place[k] = best
        last[k] = entered[k] = now
        times[k], gap[k] = 1.0, 0.0
    return miss
