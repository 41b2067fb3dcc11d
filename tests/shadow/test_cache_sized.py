"""Caches of other sizes, and what else a table says of a replay."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.simulators.cache.simulator import CacheSimulator
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET, AccessTrace

from .accesses import accessed, imported, lookups, traces

SIMULATOR = CacheSimulator()


@pytest.mark.parametrize("published", ["cloudPhysicsIO", "cloudPhysicsIO+size"])
def test_capacities_are_the_published_ones(data: Path, tmp_path: Path, published: str) -> None:
    name, _, size = published.partition("+")
    trace = imported(data, tmp_path, name, "1", ignore_size=not size)
    figures = json.loads((data / "cache" / "expected_miss_ratios.json").read_text())
    for share in ("0.001", "0.01", "0.1"):
        capacity, requests, of_bytes = figures["traces"][published]["results"][f"LRU@{share}"]
        sized = SIMULATOR.sized(trace, float(share))
        assert sized.capacity.tolist() == [capacity]
        replay = SIMULATOR.replay_built_in("lru", sized, SIMULATOR.calibrate(sized), 0)
        found = SIMULATOR.figures(sized, replay)
        assert (round(replay.mean, 6), round(found["byte miss ratio"], 6)) == (requests, of_bytes)
        assert found["least byte miss ratio"] <= found["byte miss ratio"]


@given(trace=traces(caches=2), share=st.floats(0.001, 1.0))
def test_a_share_is_of_what_each_cache_is_first_brought(trace: AccessTrace, share: float) -> None:
    first: dict[int, float] = {}
    for key, op, size in zip(trace.key.tolist(), trace.op, trace.size.tolist(), strict=True):
        if op != DELETE and not math.isnan(size):
            first.setdefault(key, size)
    owner = dict(zip(trace.key.tolist(), trace.instance.tolist(), strict=True))
    sized = SIMULATOR.sized(trace, share)
    for cache, capacity in enumerate(sized.capacity.tolist()):
        whole = sum(size for key, size in first.items() if owner[key] == cache)
        assert capacity == max(1, int(whole * share))
    assert sized.key is trace.key and sized.size is trace.size


def test_a_sample_of_the_keys_stands_for_its_share() -> None:
    trace = replace(lookups(list(range(30)), 5.0), sampled=np.array([0.1]))
    sized = SIMULATOR.sized(trace, 0.5)
    assert sized.capacity.tolist() == [150.0]
    assert SIMULATOR.calibrate(sized).capacity.tolist() == [15.0]


def test_what_a_cache_of_another_size_hit_is_unknown() -> None:
    rows = [(0, LOOKUP, 1, 1.0), (0, LOOKUP, 2, 1.0), (0, LOOKUP, 1, 1.0)]
    trace = accessed(rows, [2.0], hit=[1, 0, 1], policy="lru")
    sized = SIMULATOR.sized(trace, 0.5)
    assert trace.recorded and not sized.recorded
    assert SIMULATOR.incumbent(sized) == "baseline:lru"
    replay = SIMULATOR.replay_built_in("lru", sized, SIMULATOR.calibrate(sized), 0)
    assert replay.outcome.tolist() == [1.0, 1.0, 1.0]
    whole = SIMULATOR.sized(trace, 1.0)
    replay = SIMULATOR.replay_built_in("lru", whole, SIMULATOR.calibrate(whole), 0)
    assert replay.outcome.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, math.nan, math.inf])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="cannot hold .* of its working set; give a share"):
        SIMULATOR.sized(lookups([1, 2], 1.0), share)


def test_a_cache_that_is_brought_nothing_has_room_for_one() -> None:
    trace = accessed([(0, LOOKUP, 1, math.nan), (0, SET, 2, 0.0)], [9.0])
    sized = SIMULATOR.sized(trace, 1.0)
    assert sized.capacity.tolist() == [1.0]
    replay = SIMULATOR.replay_built_in("lru", sized, SIMULATOR.calibrate(sized), 0)
    assert all(math.isnan(value) for value in SIMULATOR.figures(sized, replay).values())
