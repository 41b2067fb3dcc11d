"""The bound for objects of different sizes: below every policy, below the optimum, and of some use."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.cache import cache
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.cache.bound import most_hits
from gnomon.shadow.simulators.cache.lists import Accesses
from gnomon.shadow.simulators.cache.simulator import CacheReplay, CacheSimulator
from gnomon.shadow.simulators.cache.volume import most_hits as most_by_volume
from gnomon.shadow.simulators.cache.volume import most_weight, wins
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET, AccessTrace

from .accesses import accessed, imported, traces
from .scores import Scores

SIMULATOR = CacheSimulator()
BUILT_IN = [name for name, baseline in cache.baselines.items() if baseline.source is None]
SCORES = Scores(cache, {name: each.source for name, each in cache.baselines.items() if each.source})


def replayed(name: str, trace: AccessTrace) -> CacheReplay:
    fitted = SIMULATOR.calibrate(trace)
    if name in SCORES:
        replay = SIMULATOR.compiled(trace, fitted, 0, SCORES[name], cache.order)
    else:
        replay = SIMULATOR.replay_built_in(name, trace, fitted, 0)
    assert isinstance(replay, CacheReplay)
    return replay


@pytest.mark.parametrize("policy", [*BUILT_IN, *SCORES])
@settings(max_examples=30)
@given(trace=traces(caches=2), low=st.integers(0, 40))
def test_no_policy_beats_the_bound_whatever_the_sizes(
    policy: str, trace: AccessTrace, low: int
) -> None:
    for each in (trace, trace.rows(slice(low, low + 30))):
        replay, fitted = replayed(policy, each), SIMULATOR.calibrate(each)
        if len(each):
            assert replay.mean >= SIMULATOR.bound(each, fitted, 0) - 1e-12
        if not math.isnan(replay.byte_mean):
            assert replay.byte_mean >= SIMULATOR.byte_bound(each, fitted) - 1e-9


Held = frozenset[tuple[int, float]]


def fewest(trace: AccessTrace, weight: list[float], held: Held, at: int) -> float:
    """Return the least weight of counted misses from an access on, trying every choice of contents."""
    if at == len(trace.op):
        return 0.0
    key, op, size = int(trace.key[at]), int(trace.op[at]), float(trace.size[at])
    here = any(each == key for each, _ in held)
    missed = weight[at] if op == LOOKUP and not here and at >= trace.first else 0.0
    if op in (DELETE, SET):
        held = frozenset(each for each in held if each[0] != key)
    if op == SET or (op == LOOKUP and not here and not math.isnan(size)):
        held |= {(key, size)}
    choices = [
        frozenset(chosen)
        for many in range(len(held) + 1)
        for chosen in itertools.combinations(held, many)
        if sum(each for _, each in chosen) <= trace.capacity[0]
    ]
    return missed + min(fewest(trace, weight, choice, at + 1) for choice in choices)


_ROWS = st.tuples(
    st.just(0),
    st.sampled_from([LOOKUP] * 6 + [SET, DELETE]),
    st.integers(0, 2),
    st.sampled_from([1.0, 1.0, 2.0, 3.0, 0.0]),
)


@settings(max_examples=40)
@given(
    rows=st.lists(_ROWS, min_size=2, max_size=7),
    capacity=st.sampled_from([1.0, 2.0, 3.5]),
    low=st.integers(0, 5),
)
def test_the_bound_is_not_above_what_foresight_reaches(
    rows: list[tuple[int, int, int, float]], capacity: float, low: int
) -> None:
    whole = accessed(rows, [capacity])
    for trace in (whole, whole.rows(slice(low, None))):
        if not len(trace):
            continue
        fitted = SIMULATOR.calibrate(trace)
        optimum = fewest(trace, [1.0] * len(rows), frozenset(), 0)
        assert SIMULATOR.bound(trace, fitted, 0) * len(trace) <= optimum + 1e-9
        sizes = trace.size.tolist()
        total = sum(sizes[at] for at in trace.counted)
        if total:
            least = fewest(trace, sizes, frozenset(), 0)
            assert SIMULATOR.byte_bound(trace, fitted) * total <= least + 1e-9


@given(
    keys=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    capacity=st.integers(1, 6),
    low=st.integers(0, 79),
)
def test_of_one_size_it_never_exceeds_belady(keys: list[int], capacity: int, low: int) -> None:
    n = len(keys)
    accesses = Accesses(
        np.zeros(n, np.int8), np.array(keys, np.int32), np.ones(n), np.zeros(n, np.uint8)
    )
    counted = np.arange(n) >= min(low, n - 1)
    belady = most_hits(accesses, counted, capacity)
    found = wins(accesses, counted, 10, float(capacity))
    assert most_by_volume(found) >= belady
    assert most_weight(found, accesses.size) >= belady - 1e-9


def test_an_object_that_never_fits_and_one_that_nobody_brings_win_nothing() -> None:
    rows = [(0, LOOKUP, 0, 9.0), (0, LOOKUP, 1, 1.0)] * 2 + [(0, LOOKUP, 2, math.nan)] * 2
    trace = accessed(rows, [2.0])
    assert SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0) == pytest.approx(5 / 6)
    assert SIMULATOR.byte_bound(trace, SIMULATOR.calibrate(trace)) == pytest.approx(19 / 20)


def test_a_trace_without_lookups_has_no_bound_and_no_bytes() -> None:
    trace = accessed([(0, SET, 0, 2.0), (0, SET, 1, 3.0)], [4.0])
    assert SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0) == -math.inf
    assert math.isnan(SIMULATOR.byte_bound(trace, SIMULATOR.calibrate(trace)))


def test_the_bound_lies_below_belady_with_sizes(data: Path, tmp_path: Path) -> None:
    """libCacheSim's Belady looks at time only, so that it is no optimum and no bound."""
    figures = json.loads((data / "cache" / "expected_miss_ratios.json").read_text())
    results = figures["traces"]["cloudPhysicsIO+size"]["results"]
    trace = imported(data, tmp_path, "cloudPhysicsIO", "1")
    fitted = SIMULATOR.calibrate(trace)
    for share, least in (("0.001", 0.79), ("0.01", 0.73), ("0.1", 0.54)):
        capacity, published, of_bytes = results[f"Belady@{share}"]
        fitted.capacity[:] = capacity
        assert least < SIMULATOR.bound(trace, fitted, 0) <= published
        assert 0.4 < SIMULATOR.byte_bound(trace, fitted) <= of_bytes


def test_the_simulator_of_the_kind_is_this_one() -> None:
    assert isinstance(simulator_for(cache), CacheSimulator) and cache.has_bound
