"""What a cache records is enough to do it again."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import OrderedDict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.cache.keyhash import BITS, KeyHash
from gnomon.sdk.cache.log import BATCH, ROOM
from gnomon.sdk.records import WorkloadBatch
from gnomon.testing import START_NS, FakeClock, Recording, recording

from .common import cache, fetch


def accesses(records: Recording) -> list[tuple[float, float, int]]:
    """Return (key, size, op) of every recorded access."""
    found = []
    for event in records.workload:
        if event.event == "access":
            values: dict[str, Any] = dict(event.values)
            found.append((values["key"], values["size"], int(values["op"])))
    return found


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["get", "fetch", "put", "pop", "clear"]), st.integers(0, 9)),
    max_size=80,
)


@given(operations=OPERATIONS, ttl=st.sampled_from([None, 5]))
def test_a_model_that_replays_the_record_hits_where_the_cache_did(
    operations: list[tuple[str, int]], ttl: int | None
) -> None:
    """An LRU of sizes that knows nothing of time: expiries are in the record."""
    now = 0
    with recording(ring_size=1_000) as records:
        own = cache(12, getsizeof=lambda value: value, ttl=ttl, timer=lambda: now)
        for action, key in operations:
            now += 1
            if action == "get":
                own.get(key)
            elif action == "fetch" and own.get(key) is None:
                own[key] = 1 + key % 4
            elif action == "put":
                own[key] = 1 + key % 3
            elif action == "pop":
                own.pop(key, None)
            elif action == "clear":
                own.clear()
        held: OrderedDict[float, float] = OrderedDict()
        for key_hash, size, op in accesses(records):
            if op in (0, 1):
                assert op == (key_hash in held)
            if op == 1:
                assert held[key_hash] == size
                held.move_to_end(key_hash)
            elif op == 2:
                held.pop(key_hash, None)
                while sum(held.values()) + size > 12:
                    held.popitem(last=False)
                held[key_hash] = size
            elif op == 3:
                held.pop(key_hash, None)
        hashes = KeyHash()
        assert len(own) >= 0  # what is over by now is recorded too
        assert {hashes.of(key) for key in own} <= set(held)
        own.close()


def test_times_and_settings_are_recorded() -> None:
    clock = FakeClock()
    with recording(clock=clock, sample=0.5) as records:
        own = cache(7, incumbent="fifo", sample=0.5)
        clock.advance(1)
        own["key"] = 1
        events = records.workload
        assert events[0].event == "cache"
        said = {"capacity": 7.0, "sampled": 0.25, "policy": "fifo", "ttl": 0.0, "begins": 1.0}
        assert dict(events[0].values) == said
        assert events[0].time_ns == START_NS + 10**9  # nothing is said before a first use
        assert [event.seq for event in events] == list(range(len(events)))


@pytest.mark.parametrize("ttl", [2.5, timedelta(seconds=2.5)])
def test_the_time_that_an_object_has_is_recorded(ttl: Any) -> None:
    with recording() as records:
        own = cache(7, ttl=ttl)
        own.get("key")
        assert dict(records.workload[0].values)["ttl"] == 2.5


def test_a_sample_is_of_keys_and_counts_the_rest() -> None:
    with recording(sample=0.3) as records:
        own = cache(50)
        for _ in range(3):
            for key in range(1_000):
                own.get(key)
        found = accesses(records)
        kept = {key for key, _, _ in found}
        assert 200 < len(kept) < 400
        assert len(found) == 3 * len(kept)  # all accesses of a key, or none
        assert all(key < 0.3 * 2**BITS for key in kept)
        counters = own.hook.counters
        assert counters["recorded"] + counters["skipped"] == counters["lookups"] == 3_000


def test_what_finds_no_room_is_counted_exactly() -> None:
    with recording(ring_size=1) as records:
        own = cache(5)
        for key in range(100):
            own.get(key)
        counters = own.hook.counters
        assert counters["dropped"] == 100 - (ROOM - 1)  # the setting takes one place
        assert len(accesses(records)) == ROOM - 1


def test_long_batches_are_cut_and_numbered_on() -> None:
    with recording(ring_size=10_000) as records:
        own = cache(5)
        for key in range(BATCH + 10):
            own.get(key % 50)
        drained = own.hook.drain()
        batches = [record for record in drained if isinstance(record, WorkloadBatch)]
        assert [len(batch.times) // 8 for batch in batches] == [BATCH, 10]
        assert [batch.seq for batch in batches] == [1, 1 + BATCH]
        assert not records.workload


def test_nothing_is_kept_while_off() -> None:
    own = cache(5)
    for key in range(100):
        fetch(own, key)
    assert own.hook.drain() == []
    with recording() as records:
        fetch(own, 99)
        assert [op for _, _, op in accesses(records)] == [1]
    fetch(own, 98)
    assert own.hook.drain() == []


@given(key=st.integers(-(2**70), 2**70))
def test_equal_numbers_have_one_hash(key: int) -> None:
    hashes = [KeyHash().of(key)]
    if float(key) == key:
        hashes.append(KeyHash().of(float(key)))
    assert len(set(hashes)) == 1
    assert hashes[0] == int(hashes[0]) < 2**BITS


def test_unequal_keys_have_other_hashes_and_equal_ones_the_same() -> None:
    keys = KeyHash()
    some: list[Any] = [
        0, 1, 1.5, -1, None, "", "1", b"1", b"", (), (1,), ("1",), (1, 2), ((1,), 2), (1, (2,)),
        ("a", "b"), ("ab", ""), int, float("inf"), float("nan"), "\ud800",
    ]  # fmt: skip
    assert len({keys.of(key) for key in some}) == len(some)
    assert keys.of(True) == keys.of(1.0) == keys.of(1)
    assert keys.of((True, "a")) == keys.of((1.0, "a"))
    assert keys.foreign == 0
    assert keys.of(frozenset({1})) == keys.of(frozenset({1}))
    assert keys.foreign == 1


def test_hashes_are_the_same_in_another_process() -> None:
    code = (
        "from gnomon.sdk.cache.keyhash import KeyHash\n"
        "print(KeyHash().of(('user', 7, b'x', None, int, 0.5)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{KeyHash().of(('user', 7, b'x', None, int, 0.5))}\n"}


@pytest.mark.parametrize("maxsize", [10, 100])
def test_a_recorded_stream_has_the_hit_ratio_of_the_cache(maxsize: int) -> None:
    draw = random.Random(maxsize)
    with recording(ring_size=10_000) as records:
        own: gnomon.PolicyCache[Any, Any] = cache(maxsize)
        hits = sum(fetch(own, int(draw.paretovariate(0.8))) for _ in range(2_000))
        ops = [op for _, _, op in accesses(records)]
        assert ops.count(1) == hits
        assert ops.count(0) == ops.count(2) == 2_000 - hits
        assert own.hook.counters["misses"] == 2_000 - hits
