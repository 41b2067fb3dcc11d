"""A service's cache, recorded, stored and replayed: the replay of its own policy does what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon import PolicyCache
from gnomon.policies.cache import cache
from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.records import Workload
from gnomon.sdk.runtime import RUNTIME
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.opening import opened
from gnomon.shadow.policy import incumbent_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.access_trace import AccessTrace, access_trace
from gnomon.testing import FakeClock, recording

SIMULATOR = simulator_for(cache)


def recorded(folder: Path, requests: int, **settings: Any) -> AccessTrace:
    """Serve requests from a cache as services do, and return what was recorded of it."""
    rng = np.random.default_rng(1)
    keys = rng.zipf(1.2, requests) % 3000
    with recording(ring_size=1 << 16) as sink:
        things: PolicyCache[int, bytes] = PolicyCache(
            settings.pop("capacity"), name="shop.things", getsizeof=len, **settings
        )
        for key, luck in zip(keys.tolist(), rng.random(requests).tolist(), strict=True):
            size = 1 + key % 7
            if key % 50 == 49:  # what does not exist is asked for and never stored
                things.get(key)
            elif luck < 0.01:
                things.pop(key, None)
            elif luck < 0.03:
                things[key] = bytes(size + 1)
            elif things.get(key) is None:
                things[key] = bytes(size)
        sink.workload  # noqa: B018 - drains
        records = [record for _, record in sink.records]
    store = TraceStore(folder / "traces")
    store.write_records(Source("0" * 16, "shop", "shop.things", "cache", cache.version), records)
    return access_trace(store, "shop.things")


@pytest.fixture(autouse=True)
def _own_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNTIME, "hooks", {})


@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu"])
def test_a_replay_of_the_services_own_policy_is_what_was_recorded(
    tmp_path: Path, policy: str
) -> None:
    trace = recorded(tmp_path, 6000, capacity=300, incumbent=policy)
    fitted = SIMULATOR.calibrate(trace)
    replay = SIMULATOR.replay_built_in(policy, trace, fitted, 0)
    assert 0.1 < trace.outcome.mean() < 0.9
    assert replay.outcome.tolist() == trace.outcome.tolist()
    named = SIMULATOR.incumbent(trace)
    assert fidelity(trace, incumbent_policy(named, cache), SIMULATOR, replicas=2).answer == "ok"


def test_another_policy_than_the_recorded_one_is_not_faithful(tmp_path: Path) -> None:
    trace = recorded(tmp_path, 6000, capacity=300, incumbent="lfu")
    wrong = fidelity(trace, incumbent_policy("baseline:fifo", cache), SIMULATOR, replicas=2)
    assert wrong.answer == "beyond tolerance"


def test_a_share_of_the_keys_tells_the_miss_ratio_of_all(tmp_path: Path) -> None:
    """Half of the keys in half of the capacity; popular keys weigh, hence the width."""
    trace = recorded(tmp_path, 12_000, capacity=600, sample=0.5)
    fitted = SIMULATOR.calibrate(trace)
    assert fitted.capacity.tolist() == [300.0]
    replay = SIMULATOR.replay_built_in("lru", trace, fitted, 0)
    assert replay.mean == pytest.approx(float(trace.outcome.mean()), rel=0.1)


def test_a_cache_is_named_by_where_the_service_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path, 6000, capacity=300, incumbent="fifo")
    (tmp_path / "own_shop.py").write_text(
        "import gnomon\nthings = gnomon.PolicyCache(300, name='shop.things')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(RUNTIME, "hooks", {})
    trace, target = opened(tmp_path / "traces", "own_shop:things")
    assert (trace.hook, target.kind, target.incumbent.name) == ("shop.things", cache, "fifo")
    with pytest.raises(ConfigurationError, match="no function of the service's own"):
        opened(tmp_path / "traces", "shop.things", "own_shop:things")


def test_a_store_that_began_after_the_cache_is_replayed_from_where_it_hears_of_it(
    tmp_path: Path,
) -> None:
    rng, clock = np.random.default_rng(4), FakeClock()
    with recording(clock=clock, ring_size=1 << 16) as sink:
        things: PolicyCache[int, int] = PolicyCache(200, name="shop.things")
        for index, key in enumerate((rng.zipf(1.2, 40_000) % 2000).tolist()):
            if things.get(key) is None:
                things[key] = key
            clock.advance(0.004)
            if index % 500 == 499:
                sink.workload  # noqa: B018 - drains
        records = [record for _, record in sink.records]
    said = [r for r in records if isinstance(r, Workload)]
    assert [dict(r.values)["begins"] for r in said] == [1.0] + [0.0] * (len(said) - 1)
    assert len(said) > 3
    later = records[records.index(said[1]) - 3 :]  # without the cache's beginning
    store = TraceStore(tmp_path / "traces")
    store.write_records(Source("0" * 16, "shop", "shop.things", "cache", cache.version), later)
    trace = access_trace(store, "shop.things")
    assert len(trace) > 25_000
    found = fidelity(trace, incumbent_policy("baseline:lru", cache), SIMULATOR, replicas=2)
    assert found.answer == "ok"


def test_what_ran_under_a_promoted_policy_is_compared_with_what_is_named(tmp_path: Path) -> None:
    with recording(ring_size=1 << 16) as sink:
        things: PolicyCache[int, int] = PolicyCache(50, name="shop.things")
        for key in (np.random.default_rng(2).zipf(1.3, 3000) % 500).tolist():
            if things.get(key) is None:
                things[key] = key
        made = [record for _, record in sink.records] if sink.workload else []
    promoted = [
        r._replace(values=tuple((k, "f" * 64 if k == "policy" else v) for k, v in r.values))
        if isinstance(r, Workload)
        else r
        for r in made
    ]
    store = TraceStore(tmp_path / "traces")
    store.write_records(Source("0" * 16, "shop", "shop.things", "cache", cache.version), promoted)
    with pytest.raises(ConfigurationError, match="--incumbent"):
        opened(tmp_path / "traces", "shop.things")
    _, target = opened(tmp_path / "traces", "shop.things", "baseline:sampled_lfu")
    assert target.incumbent.name == "sampled_lfu"
