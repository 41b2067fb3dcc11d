"""The simulator of the ``cache`` kind: recorded accesses through caches under another policy.

What is asked for does not depend on the policy, what is found does: every access goes to a cache of its
process, and whatever a decision takes out is missed later. Objects that were resident when the trace
began, which a first access that hit shows, are put in first. Where only a share of the keys was
recorded the capacity is that share of the recorded one. Every draw is a function of seed and access, so
that two policies meet the same luck as far as they hold the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.cache import cache
from ....recorder.store import TraceStore
from ....sdk.errors import ConfigurationError, TraceError
from ....sdk.kind import Kind, Order
from ...traces.access_trace import DELETE, LOOKUP, UNKNOWN, AccessTrace, access_trace
from ..base import FloatArray, Measure, Replay, Simulator, Stream, statistics
from ..native import first_class
from . import kernel
from .bound import most_hits, slots
from .built_in import BUILT_IN
from .lists import Accesses
from .model import (
    CacheCalibration,
    CacheReplay,
    CacheSummary,
    drawn,
    mixed_seed,
    model_of,
    outcomes,
    per_cache,
    replay_of,
    restore,
    start_of,
    working_sets,
)
from .volume import most_hits as most_hits_by_volume
from .volume import most_weight, wins

__all__ = ["CacheCalibration", "CacheReplay", "CacheSimulator", "CacheSummary"]

#: Decisions of which the rows are shown to those who ask what a policy sees.
_TABLES = 1024


class CacheSimulator(Simulator):
    """Replays recorded accesses through caches that evict and admit by another policy."""

    trace_type = AccessTrace

    @property
    def kind(self) -> Kind:
        """``cache``."""
        return cache

    def load(self, stored: TraceStore, hook: str) -> AccessTrace:
        """Read a hook's accesses from a store; raises TraceError when no replay could be faithful."""
        return access_trace(stored, hook)

    def incumbent(self, trace: Any) -> str:
        """Return the policy that the trace names; LRU for an import, which names none.

        Raises:
            ConfigurationError: it names none that can be replayed.
        """
        if not trace.policy:
            return "baseline:lru"
        if trace.policy not in cache.baselines:
            raise ConfigurationError(
                f"trace {trace.hook!r} was recorded under policy {trace.policy!r}, which is not "
                "published; name what to compare with by --incumbent"
            )
        return f"baseline:{trace.policy}"

    def calibrate(self, trace: AccessTrace) -> CacheCalibration:
        """Return the capacities for the recorded part of the keys; nothing else is unknown."""
        return CacheCalibration(trace.capacity * trace.sampled, np.zeros(1, np.int64))

    def draws(self, trace: AccessTrace, n: int, seed: int) -> tuple[CacheCalibration, ...]:
        """Return n calibrations: capacities within the error of a sample of keys, orders at random."""
        return tuple(
            drawn(trace, np.random.default_rng((int(mixed_seed(seed)), index)))
            for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> CacheCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def measures(self, trace: AccessTrace) -> tuple[Measure, ...]:
        """Return the miss ratio: there are no members to have shares."""
        return statistics(cache)

    def observed(self, trace: AccessTrace) -> FloatArray:
        """Return rows that decisions of sampled LRU see, f8[n, 17, F], evenly over the trace.

        Raises:
            TraceError: there was nothing to decide.
        """
        calibration = self.calibrate(trace)
        start = start_of(trace, calibration)
        model = model_of(trace, calibration, start, 0)
        nothing = np.zeros((0, kernel.ITEMS, kernel.INPUTS))
        state = kernel.empty(model, trace.keys)
        kernel.collect(model, state, nothing, 1)
        if not state.cursor[2]:
            raise TraceError(
                f"the caches of trace {trace.hook!r} were never full, so nothing had to leave; "
                "capture more, or import with a smaller --capacity"
            )
        every = int(state.cursor[2]) // _TABLES + 1
        tables = np.zeros((_TABLES, kernel.ITEMS, kernel.INPUTS))
        kept = kernel.collect(model, kernel.empty(model, trace.keys), tables, every)
        return tables[: int(kept)]

    def stream(self, trace: AccessTrace, calibration: CacheCalibration, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn: 16 residents and the newcomer."""
        model = model_of(trace, calibration, start_of(trace, calibration), seed)
        state = kernel.empty(model, trace.keys)
        picked = -1
        while kernel.step(model, state, picked):
            picked = yield state.rows
            if not 0 <= picked < kernel.ITEMS:
                return replay_of(trace, model, state, int(state.cursor[2]))
        return replay_of(trace, model, state, -1)

    def compiled(
        self,
        trace: AccessTrace,
        calibration: CacheCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score of the kind's inputs; NaN is a fault."""
        model = model_of(trace, calibration, start_of(trace, calibration), seed)
        state = kernel.empty(model, trace.keys)
        sign = 1.0 if order == "lowest" else -1.0
        fault = kernel.run(model, state, first_class(score), sign)
        return replay_of(trace, model, state, int(fault))

    def recorded(self, trace: AccessTrace, calibration: CacheCalibration, seed: int) -> Replay:
        """Refuse: what a cache decided is not recorded, only what was asked of it.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "a cache's decisions are not recorded; name its policy, such as --incumbent baseline:lru"
        )

    def replay_built_in(
        self, name: str, trace: AccessTrace, calibration: CacheCalibration, seed: int
    ) -> Replay:
        """Replay under a policy of :data:`~gnomon.shadow.simulators.cache.built_in.BUILT_IN`.

        Raises:
            ConfigurationError: there is none of this name.
        """
        run = BUILT_IN.get(name)
        if run is None:
            raise ConfigurationError(
                f"no built-in policy {name!r}; there are {', '.join(sorted(BUILT_IN))}"
            )
        start = start_of(trace, calibration)
        miss = np.zeros(len(start.op), np.uint8)
        held = []
        for process, (at, accesses, keys) in enumerate(per_cache(start, len(trace.instances))):
            capacity = float(calibration.capacity[process])
            held.append((run(accesses, keys, capacity, int(mixed_seed(seed)) ^ process), capacity))
            miss[at] = accesses.miss
        fullest = max(held, key=lambda each: each[0] / each[1])
        return outcomes(trace, miss[start.before :], most_held=fullest)

    def bound(self, trace: AccessTrace, calibration: CacheCalibration, seed: int) -> float:
        """Return the lowest miss ratio that any policy can have; ``-inf`` without lookups.

        For objects of one size it is Belady's MIN with bypass, which foresight reaches; the proof is with
        :func:`~gnomon.shadow.simulators.cache.bound.most_hits`. For others it is PFOO-L, a proven limit
        that may lie lower than any policy can come; the proof is with
        :func:`~gnomon.shadow.simulators.cache.volume.wins`. A window is bounded as a part of the whole:
        what came before it fills the caches and wins nothing.
        """
        if not len(trace):
            return float("-inf")
        hits = sum(
            most_hits(accesses, counted, fit)
            if (fit := slots(_brought(trace), capacity)) is not None
            else most_hits_by_volume(wins(accesses, counted, keys, capacity))
            for capacity, (counted, accesses, keys) in self._by_cache(trace, calibration)
        )
        return 1.0 - hits / len(trace)

    def byte_bound(self, trace: AccessTrace, calibration: CacheCalibration) -> float:
        """Return a byte miss ratio that no policy can go below, as :meth:`bound`; NaN without sizes."""
        total = float(trace.weight.sum())
        if not total > 0.0:
            return float("nan")
        hit = 0.0
        for capacity, (counted, accesses, keys) in self._by_cache(trace, calibration):
            fit = slots(_brought(trace), capacity)
            weight = np.nan_to_num(accesses.size, nan=0.0)
            if fit is None:
                hit += most_weight(wins(accesses, counted, keys, capacity), weight)
            else:
                hit += most_hits(accesses, counted & (weight > 0.0), fit) * float(
                    weight.max(initial=0.0)
                )
        return 1.0 - hit / total

    def figures(self, trace: AccessTrace, replay: Replay) -> dict[str, float]:
        """Return the byte miss ratio, and the least that any policy can have; NaN without sizes."""
        of_bytes = replay.byte_mean if isinstance(replay, CacheReplay) else float("nan")
        least = self.byte_bound(trace, self.calibrate(trace))
        return {"byte miss ratio": of_bytes, "least byte miss ratio": least}

    def sized(self, trace: AccessTrace, share: float) -> AccessTrace:
        """Return the trace as of caches that hold a share of their working sets.

        A working set is the sum of the sizes with which objects are first brought, which for sizes of 1
        is their number; where a share of the keys was recorded it is taken for that share of the whole.
        The capacity is rounded down to a whole number and at least 1. What a cache of another size hit is
        unknown, so that the trace holds no outcomes and its caches begin empty.

        Args:
            trace: recorded or imported accesses.
            share: of the working set, above 0 and at most 1.

        Raises:
            ConfigurationError: the share is none.
        """
        if not 0.0 < share <= 1.0:
            raise ConfigurationError(
                f"a cache cannot hold {share:g} of its working set; give a share above 0 and at most 1, "
                "such as 0.01"
            )
        whole = working_sets(trace) / trace.sampled
        return replace(
            trace,
            capacity=np.maximum(1.0, np.floor(whole * share)),
            hit=np.full_like(trace.hit, UNKNOWN),
        )

    def _by_cache(
        self, trace: AccessTrace, calibration: CacheCalibration
    ) -> Iterator[tuple[float, tuple[npt.NDArray[np.bool_], Accesses, int]]]:
        """Yield (capacity, (which accesses count, they, number of keys)) of every cache."""
        start = start_of(trace, calibration)
        counted = start.op == LOOKUP
        counted[: start.before + trace.first] = False
        parts = per_cache(start, len(trace.instances))
        for capacity, (at, accesses, keys) in zip(calibration.capacity, parts, strict=True):
            yield float(capacity), (counted[at], accesses, keys)


def _brought(trace: AccessTrace) -> FloatArray:
    """Return the sizes of all but deletions: what leaves was there already, or is of no size."""
    brought: FloatArray = trace.size[trace.op != DELETE]
    return brought
