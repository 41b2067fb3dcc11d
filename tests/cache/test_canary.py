"""A policy in a running cache: pairs that are fair, changes that lose nothing, ways back."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import gnomon
from gnomon.sdk.assignment import NEVER_NS
from gnomon.sdk.limits import Limits
from gnomon.testing import FakeClock, recording

from .common import SECOND, cache, fetch, install, program, switchback

POLICY = "hyperbolic"


def zipf(seed: int, n: int, objects: int = 400) -> list[int]:
    draw = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(objects)]
    return draw.choices(range(objects), weights, k=n)


def followed(own: gnomon.PolicyCache[Any, Any], weight: float, clock: FakeClock) -> Any:
    """Return a measure that follows the cache's canary, as delivery makes it."""
    measure = own.hook.new_measure()
    measure.follow(switchback(weight), 1, clock.unix_ns - SECOND)
    return measure


def sums(measure: Any) -> dict[tuple[int, str], tuple[int, int]]:
    return {(r.block, r.arm): (r.count, int(r.sum)) for r in measure.reports()}


class Fair(RuleBasedStateMachine):
    """Both arms under one policy: whatever happens, their counts are the same."""

    @initialize(
        policy=st.sampled_from([None, "sampled_lfu", "hyperbolic", "random"]),
        sized=st.booleans(),
        timed=st.booleans(),
        before=st.lists(st.integers(0, 40), max_size=60),
    )
    def make(self, policy: str | None, sized: bool, timed: bool, before: list[int]) -> None:
        self.clock = FakeClock()
        self.context = recording(clock=self.clock)
        self.context.__enter__()
        self.ticks = 0
        self.own = cache(
            30 if sized else 12,
            "fair",
            getsizeof=(lambda value: 1 + len(value) % 4) if sized else None,
            ttl=6 if timed else None,
            timer=lambda: self.ticks,
        )
        # Without a program the candidate does what an LRU does, and the stable arm is one.
        self.same = program(policy) if policy else program("sampled_lru")
        self.stable = self.same if policy else None
        self.exact = policy is not None
        self.epoch = 1
        for key in before:
            fetch(self.own, key)
        self.weight = 0.5
        self.measure = followed(self.own, 0.5, self.clock)
        self.go()

    def go(self) -> None:
        install(
            self.own,
            "canary",
            epoch=self.epoch,
            stable=self.stable,
            candidate=self.same,
            switchback=switchback(self.weight),
        )

    def teardown(self) -> None:
        if hasattr(self, "context"):
            self.own.close()
            self.context.__exit__(None, None, None)

    @rule(keys=st.lists(st.integers(0, 40), max_size=20))
    def fetched(self, keys: list[int]) -> None:
        for key in keys:
            fetch(self.own, key)

    @rule(key=st.integers(0, 40))
    def looked_up(self, key: int) -> None:
        self.own.get(key)

    @rule(key=st.integers(0, 40), value=st.text(max_size=4))
    def put(self, key: int, value: str) -> None:
        self.own[key] = value

    @rule(key=st.integers(0, 40))
    def deleted(self, key: int) -> None:
        self.own.pop(key, None)

    @rule(by=st.integers(1, 4))
    def wait(self, by: int) -> None:
        self.ticks += by

    @rule(weight=st.floats(0.1, 1.0))
    def weighed(self, weight: float) -> None:
        self.weight = weight
        self.epoch += 1
        self.go()

    @rule()
    def next_block(self) -> None:
        self.clock.advance(1.0)

    @invariant()
    def equal_counts(self) -> None:
        if not hasattr(self, "own"):
            return
        arms = sums(self.measure)
        for block, arm in arms:
            other = (block, "stable" if arm == "candidate" else "candidate")
            assert arms[other][0] == arms[block, arm][0]
            assert not self.exact or arms[other] == arms[block, arm]
        assert self.own.currsize <= self.own.maxsize


Fair.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
test_fair = Fair.TestCase


class Moved(RuleBasedStateMachine):
    """Whatever is installed, what is held was put there, once, and is never more than may be."""

    PHASES = ("stable", "shadow", "canary", "full", "killed")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.context = recording(clock=self.clock)
        self.context.__enter__()
        self.own = cache(20, "moved")
        self.latest: dict[int, int] = {}
        self.programs = [program(name) for name in ("sampled_lfu", "hyperbolic")]
        self.epoch = 0

    def teardown(self) -> None:
        self.own.close()
        self.context.__exit__(None, None, None)

    @rule(
        phase=st.sampled_from(PHASES),
        stable=st.integers(0, 2),
        candidate=st.integers(0, 1),
        weight=st.floats(0.0, 1.0),
        lease=st.booleans(),
    )
    def installed(
        self, phase: str, stable: int, candidate: int, weight: float, lease: bool
    ) -> None:
        self.epoch += 1
        install(
            self.own,
            phase,
            epoch=self.epoch,
            stable=[None, *self.programs][stable],
            candidate=self.programs[candidate],
            switchback=switchback(weight),
            shadow_rate=weight,
            lease_until_ns=self.clock.monotonic + SECOND if lease else NEVER_NS,
        )

    @rule(key=st.integers(0, 60), value=st.integers())
    def put(self, key: int, value: int) -> None:
        self.own[key] = value
        self.latest[key] = value

    @rule(keys=st.lists(st.integers(0, 60), max_size=40))
    def fetched(self, keys: list[int]) -> None:
        for key in keys:
            found = self.own.get(key)
            assert found is None or found == self.latest[key]
            if found is None:
                self.own[key] = self.latest[key] = key

    @rule(key=st.integers(0, 60))
    def deleted(self, key: int) -> None:
        self.own.pop(key, None)
        assert key not in self.own

    @rule()
    def popped(self) -> None:
        if len(self.own):
            key, value = self.own.popitem()
            assert value == self.latest[key]
            assert key not in self.own

    @rule()
    def wait(self) -> None:
        self.clock.advance(0.7)

    @invariant()
    def held_once_and_never_too_much(self) -> None:
        keys = list(self.own)
        assert len(keys) == len(set(keys)) == len(self.own) == self.own.currsize <= 20
        assert all(self.own._contents.peek(key) == self.latest[key] for key in keys)


Moved.TestCase.settings = settings(max_examples=80, stateful_step_count=30)
test_moved = Moved.TestCase


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def warm(own: gnomon.PolicyCache[Any, Any]) -> set[Any]:
    for key in zipf(1, 2_000):
        fetch(own, key)
    return set(own)


@pytest.mark.parametrize("phase", ["shadow", "canary", "full"])
def test_a_change_of_phase_drops_nothing(clock: FakeClock, phase: str) -> None:
    with recording(clock=clock):
        own = cache(1_000)  # room enough in every cell
        held = warm(own)
        install(own, phase, candidate=program(POLICY), switchback=switchback(0.5))
        assert all(own.get(key) for key in held)
        assert set(own) == held
        install(own, "stable", epoch=2)
        assert all(own.get(key) for key in held)
        assert set(own) == held


def test_a_promotion_keeps_what_the_candidate_holds(clock: FakeClock) -> None:
    """Canary, full, and stable under the same program: one cell all along."""
    better = program(POLICY)
    with recording(clock=clock):
        own = cache(100)
        warm(own)
        install(own, "canary", candidate=better, switchback=switchback(0.5))
        for key in zipf(2, 1_000):
            fetch(own, key)
        held = set(own)
        install(own, "full", epoch=2, candidate=better, switchback=switchback(1.0))
        assert own.get(next(iter(held)))
        assert set(own) == held
        cell = own._contents.main.cell
        install(own, "stable", epoch=3, stable=better)
        for key in zipf(3, 1_000):
            fetch(own, key)
        assert own._contents.main.cell is cell
        assert len(own) == own.currsize <= 100
        assert len(cell) == len(own)  # nothing retires for ever


def test_the_share_is_by_key_and_as_large_as_asked(clock: FakeClock) -> None:
    with recording(clock=clock):
        own = cache(100)
        install(own, "canary", candidate=program(POLICY), switchback=switchback(0.2))
        measure = followed(own, 0.2, clock)
        keys = range(20_000)
        for key in keys:
            own.get(f"key {key}")
        (count, misses), (others, _) = (sums(measure)[b] for b in sorted(sums(measure)))
        assert count == misses == others
        assert 0.18 < count / len(keys) < 0.22


def test_a_better_policy_is_seen_to_be_better(clock: FakeClock) -> None:
    """Frequency beats recency where few keys are asked for among many that come once."""
    with recording(clock=clock):
        own = cache(60)
        install(own, "canary", candidate=program("sampled_lfu"), switchback=switchback(0.5))
        measure = followed(own, 0.5, clock)
        draw = random.Random(4)
        for i in range(8_000):
            fetch(own, draw.randrange(50) if i % 2 else 1_000 + i)
        arms = {arm: missed / count for (_, arm), (count, missed) in sums(measure).items()}
        assert arms["candidate"] < 0.95 * arms["stable"]


def test_blocks_leave_out_margins_and_the_block_of_a_change(clock: FakeClock) -> None:
    blocks = switchback(1.0, burn_in_ns=SECOND // 4, skew_ns=SECOND // 4)
    with recording(clock=clock):
        own = cache(10)
        install(own, "canary", candidate=program(POLICY), switchback=blocks)
        measure = own.hook.new_measure()
        measure.follow(blocks, 1, clock.unix_ns)
        first = clock.unix_ns // SECOND
        for _ in range(12):  # three blocks in quarters: burn-in, two that count, skew
            own.get("key")
            clock.advance(0.25)
        expected = {(first + n, arm): (2, 2) for n in (1, 2) for arm in ("candidate", "stable")}
        assert sums(measure) == expected
        measure.follow(blocks, 2, clock.unix_ns - SECOND)
        assert {block for block, _ in sums(measure)} == {first + 1}
        report = measure.reports()[0]
        assert sum(report.histogram) == report.count
        assert report.histogram[-1] == 2
        assert measure.block_end_ns(clock.unix_ns) == (clock.unix_ns // SECOND + 1) * SECOND


def test_another_design_is_a_fresh_measurement(clock: FakeClock) -> None:
    with recording(clock=clock):
        own = cache(10)
        measure = own.hook.new_measure()
        for salt_of, epoch in ((SECOND, 1), (2 * SECOND, 2)):
            blocks = switchback(1.0, block_ns=salt_of)
            measure.follow(blocks, epoch, clock.unix_ns)
            install(own, "canary", epoch, candidate=program(POLICY), switchback=blocks)
            clock.advance(2.0)
            own.get("key")
        assert {block for block, _ in sums(measure)} == {clock.unix_ns // (2 * SECOND)}


def test_in_full_every_lookup_is_the_candidates(clock: FakeClock) -> None:
    with recording(clock=clock):
        own = cache(10)
        install(own, "full", candidate=program(POLICY), switchback=switchback(1.0))
        measure = followed(own, 1.0, clock)
        for key in range(20):
            fetch(own, key % 5)
        assert sums(measure) == {(clock.unix_ns // SECOND, "candidate"): (20, 5)}


def test_without_a_lease_the_stable_policy_governs(clock: FakeClock) -> None:
    never = program("def score(resident):\n    return resident\n")  # admits nothing
    with recording(clock=clock):
        own = cache(2)
        lease = clock.monotonic + SECOND
        install(own, "full", candidate=never, lease_until_ns=lease)
        own[1] = own[2] = own[3] = "value"
        assert set(own) == {1, 2}
        clock.advance(1.5)
        own.get(1)
        own[3] = "value"
        assert 3 in own
        assert own.hook.counters["stale"] == 1


@pytest.mark.parametrize("phase", ["canary", "full"])
def test_a_breaker_takes_the_program_back(
    clock: FakeClock, phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    with recording(clock=clock, limits=Limits(faults=3)):
        own = cache(10)
        own.hook.chooser = lambda program: lambda rows: -1  # type: ignore[method-assign]
        broken = SimpleNamespace(inputs=())
        install(own, phase, candidate=broken, switchback=switchback(1.0))
        measure = followed(own, 1.0, clock)
        for key in range(100):
            fetch(own, key)
        counters = own.hook.counters
        assert counters["decisions"] == counters["faults"] == 3
        assert counters["breaker_trips"] == 1
        assert own.hook.breaker.startswith("candidate: 3 failures in 3 answers")
        assert "was taken back in this process" in caplog.text
        fallbacks = {r.arm: r.fallbacks for r in measure.reports()}
        assert fallbacks["candidate"] >= 80
        assert len(own) == 10
        install(own, "killed", epoch=2)
        assert own.get(99) == "value of 99"
        assert own.hook.breaker == ""


def test_shadow_serves_nothing_and_counts(clock: FakeClock) -> None:
    stream = zipf(5, 3_000)
    plain = cache(50)
    expected = [fetch(plain, key) for key in stream]
    with recording(clock=clock):
        own = cache(50)
        install(own, "shadow", candidate=program("sampled_lfu"), shadow_rate=0.5)
        assert [fetch(own, key) for key in stream] == expected
        assert list(own) == list(plain)
        counters = own.hook.counters
        assert counters["shadow_decisions"] > 50
        assert counters["shadow_diverged"] > 0
        assert counters["shadow_faults"] == counters["shadow_shed"] == counters["decisions"] == 0


def test_shadow_sheds_when_its_time_is_used_up() -> None:
    clock = FakeClock()

    def slow(rows: Any) -> int:
        clock.advance(0.01)
        return 16

    with recording(clock=clock):
        own = cache(10)
        own.hook.chooser = lambda program: slow  # type: ignore[method-assign]
        install(own, "shadow", candidate=SimpleNamespace(inputs=()), shadow_rate=1.0)
        for key in range(100):
            fetch(own, key)
        counters = own.hook.counters
        assert counters["shadow_decisions"] == 1
        assert counters["shadow_shed"] > 50
        assert own.hook.breaker == ""


def test_faults_in_shadow_are_counted_and_trip_nothing(clock: FakeClock) -> None:
    with recording(clock=clock):
        own = cache(10)
        own.hook.chooser = lambda program: lambda rows: -1  # type: ignore[method-assign]
        install(own, "shadow", candidate=SimpleNamespace(inputs=()), shadow_rate=1.0)
        for key in range(100):
            fetch(own, key)
        counters = own.hook.counters
        assert counters["shadow_faults"] == counters["shadow_decisions"] > 3
        assert own.hook.breaker == ""


def test_records_say_which_policy_answered(clock: FakeClock) -> None:
    with recording(clock=clock) as records:
        own = cache(10)
        own.get(1)
        install(own, "canary", candidate=program(POLICY), switchback=switchback(0.5))
        own.get(1)
        install(own, "killed", epoch=2)
        own.get(1)
        said = [dict(w.values)["policy"] for w in records.workload if w.event == "cache"]
        assert said == ["lru", f"lru+{'c' * 64}", "lru"]


@pytest.mark.parametrize("policy", ["sampled_lru", "hyperbolic", "random"])
def test_equal_policies_tie_exactly(clock: FakeClock, policy: str) -> None:
    same = program(policy)
    with recording(clock=clock):
        own = cache(60)
        warm(own)
        install(own, "canary", stable=same, candidate=same, switchback=switchback(0.5))
        measure = followed(own, 0.5, clock)
        for key in zipf(7, 4_000):
            fetch(own, key)
        (count, misses), stable = (sums(measure)[b] for b in sorted(sums(measure)))
        assert (count, misses) == stable
        assert count > 1_000
        assert misses > 300


def test_the_last_object_of_a_retiring_cell_may_be_put_again(clock: FakeClock) -> None:
    """That empties the cell in the midst of an insertion that still has to make room."""
    with recording(clock=clock):
        own = cache(4)
        own["old"] = "value"
        same = program("sampled_lfu")
        install(own, "canary", stable=same, candidate=same, switchback=switchback(0.5))
        own["old"] = "again"
        for key in range(20):
            own[key] = "value"
            assert own.currsize <= 4
