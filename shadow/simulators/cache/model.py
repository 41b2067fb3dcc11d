"""A cache's parameters, and how a replay starts from them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....sdk.errors import TraceError
from ...traces.access_trace import DELETE, LOOKUP, SET, AccessTrace, parts
from ..base import FloatArray, IntArray, Replay
from ..fitted import Fitted
from ..native import native
from . import kernel
from .lists import Accesses

_NEVER = 1 << 62


@dataclass(frozen=True, eq=False)
class CacheCalibration(Fitted):
    """What a trace leaves open; p caches.

    Attributes:
        capacity: for the recorded part of the keys, in the unit of the sizes, f8[p].
        order: seed of the order in which what was there before the trace had entered, i8[1].
    """

    capacity: FloatArray
    order: IntArray

    def describe(self) -> dict[str, Any]:
        """Return the capacities, as JSON values."""
        return {"capacity": self.capacity.round(3).tolist()}


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> CacheCalibration:
    """Return the calibration that was written as these arrays."""
    return CacheCalibration(**dict(arrays))


def drawn(trace: AccessTrace, rng: np.random.Generator) -> CacheCalibration:
    """Return a calibration from what is uncertain.

    A sample of the keys is larger or smaller than its share by chance, and its cache must be as much
    larger or smaller. What a cache holds of a share s of k keys varies by a factor of relative standard
    deviation sqrt((1 - s) / k s); k s is taken for what was seen of them, at most what fits.
    """
    seen = keys_of(trace)
    fits = trace.capacity * trace.sampled / _mean_size(trace)
    spread = np.sqrt((1.0 - trace.sampled) / np.maximum(np.minimum(seen, fits), 1.0))
    factor = np.exp(rng.standard_normal(len(spread)) * spread)
    order = np.array([rng.integers(1 << 31)])
    return CacheCalibration(trace.capacity * trace.sampled * factor, order)


def owners(trace: AccessTrace) -> IntArray:
    """Return whose every key is, -1 of numbers that are no key, i8[trace.keys]."""
    owner = np.full(trace.keys, -1, np.int64)
    for part in parts(len(trace.key)):
        owner[trace.key[part]] = trace.instance[part]
    return owner


def keys_of(trace: AccessTrace) -> IntArray:
    """Return how many keys each cache has, i8[p]."""
    owner = owners(trace)
    return np.bincount(owner[owner >= 0], minlength=len(trace.instances))


def _mean_size(trace: AccessTrace) -> float:
    sizes = trace.size[trace.size > 0.0]
    return float(sizes.mean()) if len(sizes) else 1.0


def working_sets(trace: AccessTrace) -> FloatArray:
    """Return for each cache the sum of the sizes with which its objects are first brought, f8[p]."""
    first = np.zeros(trace.keys)
    for part in reversed(list(parts(len(trace.key)))):
        key, size = trace.key[part], trace.size[part]
        brings = (trace.op[part] != DELETE) & ~np.isnan(size)
        first[key[brings][::-1]] = size[brings][::-1]  # the one that is set last stays
    owner = owners(trace)
    p = len(trace.instances)
    return np.bincount(owner[owner >= 0], first[owner >= 0], p).astype(np.float64)


@dataclass(frozen=True)
class Start:
    """Accesses of a replay: what was resident when the trace began is set first.

    Attributes:
        op, instance, key, size: columns, as in the trace.
        before: how many accesses were put before the trace's own.
    """

    op: npt.NDArray[np.int8]
    instance: npt.NDArray[np.int32]
    key: npt.NDArray[np.int32]
    size: FloatArray
    before: int


def start_of(trace: AccessTrace, calibration: CacheCalibration) -> Start:
    """Return a trace's accesses after sets of what must have been resident.

    That is every object whose first access was recorded as a hit, in a random order, as far as it fits.
    """
    if len(calibration.capacity) != len(trace.instances):
        raise TraceError(
            f"the calibration is of {len(calibration.capacity)} caches, trace {trace.hook!r} has "
            f"{len(trace.instances)}; calibrate on this trace"
        )
    there = _resident_before(trace, calibration)
    if not len(there):
        return Start(trace.op, trace.instance, trace.key, trace.size, 0)
    return Start(
        op=np.concatenate((np.full(len(there), SET, np.int8), trace.op)),
        instance=np.concatenate((trace.instance[there], trace.instance)),
        key=np.concatenate((trace.key[there], trace.key)),
        size=np.concatenate((trace.size[there], trace.size)),
        before=len(there),
    )


def _resident_before(trace: AccessTrace, calibration: CacheCalibration) -> IntArray:
    """Return indices of first accesses that hit, in a random order, as many as fit."""
    if trace.hit.max(initial=-1) < 1:
        return np.zeros(0, np.int64)
    first = _first_accesses(trace)
    there = first[trace.hit[first] == 1]
    there = np.random.default_rng(int(calibration.order[0])).permutation(np.sort(there))
    fits = np.zeros(len(there), bool)
    for process in range(len(trace.instances)):
        own = trace.instance[there] == process
        fits[own] = np.cumsum(trace.size[there[own]]) <= calibration.capacity[process]
    return there[fits]


def _first_accesses(trace: AccessTrace) -> IntArray:
    """Return the index of the first access of every key that there is."""
    first = np.full(trace.keys, _NEVER, np.int64)
    for part in reversed(list(parts(len(trace.key)))):
        key = trace.key[part]
        first[key[::-1]] = np.arange(part.start + len(key) - 1, part.start - 1, -1)
    return first[first < _NEVER]


def model_of(
    trace: AccessTrace, calibration: CacheCalibration, start: Start, seed: int
) -> kernel.Model:
    """Return the constants of a replay."""
    counts = keys_of(trace)
    return kernel.Model(
        op=start.op,
        instance=start.instance,
        key=start.key,
        size=start.size,
        capacity=np.array(calibration.capacity, np.float64),
        base=np.cumsum(counts) - counts,
        seed=mixed_seed(seed),
    )


def mixed_seed(seed: int) -> np.uint64:
    """Spread a small seed over 64 bits."""
    return np.uint64(int.from_bytes(hashlib.sha256(b"cache%d" % seed).digest()[:8], "little"))


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """What a replay-level invariant of the kind sees.

    Attributes:
        decisions: lookups that were asked for.
        completions: how many of them hit or missed.
        lowest_outcome: the smallest outcome; 0 without any.
        most_held: the most that the fullest cache held at a time, in the unit of the sizes.
        capacity: of that cache.
        phantom_hits: hits of objects that nobody had brought since they were last removed.
    """

    decisions: int
    completions: int
    lowest_outcome: float
    most_held: float
    capacity: float
    phantom_hits: int = 0


@dataclass(frozen=True)
class CacheReplay(Replay):
    """What a policy did to a trace's accesses: an outcome per counted lookup, 1 for a miss.

    Attributes:
        size: of the object that each lookup asked for, 0 where nobody knows, f8[n].
        asked: decisions that the policy was asked for, those before the first counted lookup included.
        most_held: the most that the fullest cache held at a time, and its capacity.
        phantom_hits: hits of objects that nobody had brought since they were last removed.
    """

    size: FloatArray | None = None
    asked: int = 0
    most_held: tuple[float, float] = (0.0, math.inf)
    phantom_hits: int = 0

    @property
    def byte_mean(self) -> float:
        """Miss ratio with every lookup weighted by its object's size; NaN where no size is known."""
        weight = float(self.size.sum()) if self.size is not None else 0.0
        missed = float((self.outcome * self.size).sum()) if self.size is not None else 0.0
        return missed / weight if weight > 0.0 and self.fault < 0 else math.nan

    def summary(self) -> CacheSummary:
        """Return what replay-level invariants see."""
        return CacheSummary(
            decisions=len(self.time),
            completions=int(((self.outcome == 0.0) | (self.outcome == 1.0)).sum()),
            lowest_outcome=float(self.outcome.min(initial=0.0)),
            most_held=self.most_held[0],
            capacity=self.most_held[1],
            phantom_hits=self.phantom_hits,
        )


def replay_of(trace: AccessTrace, model: kernel.Model, state: kernel.State, fault: int) -> Replay:
    """Return what has come of the counted lookups so far."""
    before = len(model.op) - len(trace.op)
    reached = int(state.cursor[0]) - before + (fault >= 0)  # the lookup at hand has missed already
    fullest = int(np.argmax(state.most / model.capacity))
    return outcomes(
        trace,
        state.miss[before:],
        fault=fault,
        reached=reached,
        asked=int(state.cursor[2]),
        most_held=(float(state.most[fullest]), float(model.capacity[fullest])),
    )


def outcomes(
    trace: AccessTrace,
    miss: npt.NDArray[np.uint8],
    *,
    fault: int = -1,
    reached: int = _NEVER,
    asked: int = 0,
    most_held: tuple[float, float] = (0.0, math.inf),
) -> CacheReplay:
    """Return a replay from the misses of all accesses, up to the access ``reached``."""
    found = trace.of_counted(miss)
    if reached < len(trace.at):
        found = found[: int(np.searchsorted(trace.counted, reached))]
    n = len(found)
    return CacheReplay(
        time=trace.time[:n],
        outcome=found.astype(np.float64),
        ok=np.broadcast_to(np.True_, (n,)),
        action=np.broadcast_to(np.int64(0), (n,)),
        members=0,
        fault=fault,
        size=trace.weight[:n],
        asked=asked,
        most_held=most_held,
        phantom_hits=_phantom_hits(
            trace.op, trace.key, trace.size, trace.hit, miss, min(reached, len(miss)), trace.keys
        ),
    )


@native
def _phantom_hits(
    op: npt.NDArray[np.int8],
    key: npt.NDArray[np.int32],
    size: npt.NDArray[np.float64],
    recorded: npt.NDArray[np.int8],
    miss: npt.NDArray[np.uint8],
    end: int,
    keys: int,
) -> int:
    """Count hits, up to an access, of objects that cannot be there, whatever a policy kept.

    What was recorded as a hit before anything else happened to its key was there from the beginning.
    """
    known, there = np.zeros(keys, np.bool_), np.zeros(keys, np.bool_)
    phantoms = 0
    for index in range(end):
        of = key[index]
        if not known[of]:
            known[of] = True
            there[of] = recorded[index] == 1
        if op[index] == LOOKUP:
            if miss[index] == 0 and not there[of]:
                phantoms += 1
            there[of] = there[of] or not np.isnan(size[index])
        else:
            there[of] = op[index] == SET
    return phantoms


def per_cache(start: Start, caches: int) -> Iterator[tuple[IntArray | slice, Accesses, int]]:
    """Yield for each cache which accesses are its own, they with keys from 0, and a number above them."""
    for process in range(caches):
        own = slice(None) if caches == 1 else np.flatnonzero(start.instance == process)
        key = start.key[own]
        if caches > 1 and len(key):
            key = key - key.min()
        accesses = Accesses(start.op[own], key, start.size[own], np.zeros(len(key), np.uint8))
        yield own, accesses, int(accesses.key.max(initial=-1)) + 1
