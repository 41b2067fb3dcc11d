"""What services do to a cache that no design foresees: odd keys, other idioms, time, interruptions."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import cachetools
import pytest

import gnomon
from gnomon.sdk.cache.keyhash import BITS, KeyHash
from gnomon.sdk.cache.log import ROOM
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.records import WorkloadBatch
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, Recording, recording

from .common import SECOND, cache, fetch, install, program, switchback

NOISE = (
    "def score(noise, resident):\n    if resident < 0.5:\n        return 1e300\n    return noise\n"
)
OTHER = NOISE.replace("return noise", "return 1.0 - noise")


def ops(records: Recording) -> list[int]:
    found = (dict(event.values).get("op") for event in records.workload)
    return [int(op) for op in found if op is not None]  # type: ignore[arg-type]


def canary(
    own: gnomon.PolicyCache[Any, Any], clock: FakeClock, candidate: str, stable: str | None = None
) -> Any:
    measure = own.hook.new_measure()
    measure.follow(switchback(1.0), 1, clock.unix_ns - SECOND)
    install(
        own,
        "canary",
        stable=program(stable) if stable else None,
        candidate=program(candidate),
        switchback=switchback(1.0),
    )
    return measure


def arms(measure: Any) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for report in measure.reports():
        count, misses = found.get(report.arm, (0, 0))
        found[report.arm] = count + report.count, misses + int(report.sum)
    return found


def test_in_that_finds_nothing_is_a_lookup_and_one_that_finds_is_none() -> None:
    with recording() as records:
        own = cache(3)
        assert "a" not in own
        own["a"] = 1
        assert "a" in own
        assert own["a"] == 1
        assert ops(records) == [0, 2, 1]


def test_in_touches_no_order() -> None:
    own = cache(2)
    own["a"] = own["b"] = 1
    assert "a" in own
    own["c"] = 1
    assert set(own) == {"b", "c"}


def by_in(own: Any, key: Any) -> bool:
    if key in own:
        own[key]
        return True
    own[key] = key
    return False


def by_cached(own: Any) -> Callable[[Any, Any], bool]:
    made: list[Any] = []

    @cachetools.cached(own, lock=threading.RLock())
    def make(key: Any) -> Any:
        made.append(key)
        return key

    def ask(_: Any, key: Any) -> bool:
        before = len(made)
        make(key)
        return len(made) == before

    return ask


@pytest.mark.parametrize("idiom", ["in", "cached"])
@pytest.mark.parametrize("in_canary", [False, True])
def test_every_idiom_counts_each_request_once(idiom: str, in_canary: bool) -> None:
    clock, draw = FakeClock(), random.Random(1)
    with recording(clock=clock, ring_size=1_000) as records:
        own = cache(30)
        measure = canary(own, clock, "hyperbolic") if in_canary else None
        ask = by_in if idiom == "in" else by_cached(own)
        misses = sum(not ask(own, int(draw.paretovariate(0.5)) % 200) for _ in range(2_000))
        found = ops(records)
        assert found.count(0) == found.count(2) == misses
        assert found.count(1) == 2_000 - misses
        if measure is not None:
            assert arms(measure)["candidate"] == (2_000, misses)
            assert arms(measure)["stable"][0] == 2_000


def test_setdefault_alone_is_a_lookup() -> None:
    with recording() as records:
        own = cache(3)
        assert own.setdefault("a", 1) == own.setdefault("a", 2) == 1
        assert own.get("b") is None
        assert own.setdefault("b", 3) == 3
        assert ops(records) == [0, 2, 1, 0, 2]


class Odd:
    """A key whose methods raise once it is told to."""

    raising = False

    def __hash__(self) -> int:
        if Odd.raising:
            raise RuntimeError("hash")
        return 1

    def __eq__(self, other: object) -> bool:
        if Odd.raising:
            raise RuntimeError("eq")
        return self is other


def nested(depth: int) -> tuple[Any, ...]:
    made: tuple[Any, ...] = ()
    for _ in range(depth):
        made = (made,)
    return made


@pytest.mark.parametrize(
    "key", [10**5_000, -(10**5_000), nested(3_000), Odd()], ids=lambda k: type(k).__name__
)
def test_a_key_of_any_kind_leaves_the_others_alone(
    key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recording() as records:
        first, second = cache(10), cache(10)
        first[key] = first["plain"] = second["plain"] = 1
        monkeypatch.setattr(Odd, "raising", True)
        assert ops(records) == [2, 2, 2]
        assert first.hook.counters["dropped"] == 0
        if not isinstance(key, int):
            assert first.hook.counters["foreign_keys"] == 1
        monkeypatch.undo()


def test_long_integers_have_hashes_of_their_own() -> None:
    keys = [10**5_000, 10**5_000 + 1, -(10**5_000), 1 << 4_000]
    hashes = [KeyHash().of(key) for key in keys]
    assert len(set(hashes)) == len(keys)
    assert hashes == [KeyHash().of(key) for key in keys]
    assert all(0 <= found < 2**BITS for found in hashes)


def test_a_size_that_is_no_number_is_counted_and_passed_over() -> None:
    with recording() as records:
        own = cache(float("inf"), getsizeof=lambda value: value)
        own["a"] = 10**400
        own["b"] = 1
        assert ops(records) == [2]
        assert own.hook.counters["dropped"] == 1


def test_a_hook_that_cannot_be_drained_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("no")

    with recording() as records:
        first, second = cache(10), cache(10)
        first["a"] = second["b"] = 1
        monkeypatch.setattr(first.hook, "drain", broken)
        failed = RUNTIME.failed_writes
        RUNTIME.flush()
        assert RUNTIME.failed_writes == failed + 1
        assert ops(records) == [2]


def test_what_was_dropped_leaves_a_gap_in_the_numbers() -> None:
    with recording(ring_size=1):
        own = cache(5)
        drained: list[Any] = []
        for _ in range(3):
            for key in range(50):
                own.get(key)
            drained += own.hook.drain()
        batches = [record for record in drained if isinstance(record, WorkloadBatch)]
        counted = sum(len(batch.times) // 8 for batch in batches)
        last = batches[-1].seq + len(batches[-1].times) // 8 - 1
        lost = own.hook.counters["dropped"]
        assert counted + lost == 150
        assert last - batches[0].seq + 1 == counted + lost - (50 - ROOM)  # the last come after it


@pytest.mark.parametrize("name", [None, 5, "", b"x", "a b", "x" * 129])
def test_a_name_that_no_hook_can_have_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="hook name"):
        gnomon.PolicyCache(3, name=name)


def test_equal_policies_differ_by_nothing_but_luck_where_objects_end() -> None:
    """Two policies that draw other objects of the same distribution: the differences cancel out."""
    differences = []
    for seed in range(12):
        clock, draw, ticks = FakeClock(), random.Random(seed), iter(range(10**6))
        now = [0]
        with recording(clock=clock):
            own = cache(80, f"luck-{seed}", ttl=250, timer=lambda now=now: now[0])
            measure = canary(own, clock, OTHER, NOISE)
            weights = [1 / (rank + 1) ** 0.8 for rank in range(400)]
            for key in draw.choices(range(400), weights, k=4_000):
                now[0] = next(ticks)
                fetch(own, key)
            counted = arms(measure)
        (n, candidate), (_, stable) = counted["candidate"], counted["stable"]
        differences.append((candidate - stable) / n)
    mean = sum(differences) / len(differences)
    spread = (sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)) ** 0.5
    assert abs(mean) < 3.5 * spread / len(differences) ** 0.5


@pytest.mark.parametrize("policy", ["sampled_lru", "hyperbolic"])
def test_equal_deterministic_policies_count_alike_where_objects_end(policy: str) -> None:
    clock, draw, now = FakeClock(), random.Random(2), [0]
    with recording(clock=clock):
        own = cache(12, "exact", ttl=60, timer=lambda: now[0])
        measure = canary(own, clock, policy, policy)
        for step in range(3_000):
            now[0] += draw.randrange(3)
            fetch(own, int(draw.paretovariate(0.6)) % 150)
            if step % 50 == 0:
                assert len(own) <= 12  # lets go of what is over, in both arms
        counted = arms(measure)
        assert counted["candidate"] == counted["stable"]
        assert own.hook.counters["decisions"] > 100


def test_what_moved_ends_when_it_would_have() -> None:
    now = [0.0]
    with recording():
        own = cache(10, ttl=10, timer=lambda: now[0])
        own["a"] = own["b"] = 1
        install(own, "full", candidate=program("sampled_lfu"))
        now[0] = 5
        own["new"] = 1
        assert own.get("a") == own.get("b") == 1  # moved, behind "new"
        now[0] = 12
        assert list(own) == ["new"]
        assert len(own) == own.currsize == 1


def test_what_is_over_makes_room_before_anything_that_is_not() -> None:
    now = [0.0]
    with recording():
        own = cache(3, ttl=10, timer=lambda: now[0])
        own["a"] = own["b"] = 1
        install(own, "full", candidate=program("sampled_lru"))
        now[0] = 5
        own["new"] = own.get("a")
        own.get("b")
        now[0] = 12
        own["x"] = own["y"] = 1
        assert set(own) == {"new", "x", "y"}


class Cut(BaseException):
    """As a signal handler would raise it, anywhere."""


@pytest.mark.parametrize("policy", ["lru", "lfu", "sampled_lfu"])
@pytest.mark.parametrize("ttl", [None, 60])
@pytest.mark.parametrize("sized", [False, True])
def test_an_operation_cut_off_anywhere_leaves_a_cache_that_works(
    policy: str, ttl: int | None, sized: bool
) -> None:
    """Cut off at every line in turn."""
    cut = 0
    for after in range(0, 120, 3):
        with recording():
            shipped = policy == "sampled_lfu"
            own = cache(
                6,
                f"cut-{after}",
                ttl=ttl,
                incumbent="lru" if shipped else policy,
                getsizeof=(lambda value: 1 + value % 3) if sized else None,
            )
            if shipped:
                install(own, "full", candidate=program(policy))
            for key in range(8):
                fetch_number(own, key)
            left = after

            def trace(frame: Any, event: str, _: Any) -> Any:
                nonlocal left
                if "sdk/cache" in frame.f_code.co_filename:
                    if event == "line":
                        left -= 1
                        if left < 0:
                            sys.settrace(None)
                            raise Cut
                    return trace
                return None

            before = sys.gettrace()
            try:
                sys.settrace(trace)
                for key in range(20, 24):
                    fetch_number(own, key)
            except Cut:
                cut += 1
            finally:
                sys.settrace(before)
            assert len(own) == len(list(own))  # nothing else came before
            for key in range(40):
                fetch_number(own, key % 17)
            keys = list(own)
            assert len(keys) == len(own) == len(set(keys))
            assert own.currsize == sum(own.getsizeof(own[key]) for key in keys) <= 6
            own.close()
    assert cut > 20


def fetch_number(own: Any, key: int) -> None:
    if own.get(key) is None:
        own[key] = key
