"""Who decides when: phases, blocks, leases, sampling windows, exploration."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.arms import Sampling
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import START_NS, FakeClock, recording

from .common import KIND, READ, SWITCHBACK, Item, accounted, items, run


def first(request: Any, backends: list[Item]) -> Item:
    return backends[0]


@pytest.fixture
def pick() -> Any:
    return gnomon.hook("a", **READ)(first)


@pytest.mark.parametrize(
    ("phase", "stable", "arm", "policy", "action"),
    [
        ("stable", None, "stable", "incumbent", 0),
        ("stable", 1, "stable", "s" * 64, 1),
        ("shadow", None, "stable", "incumbent", 0),
        ("shadow", 1, "stable", "s" * 64, 1),
        ("full", 1, "candidate", "c" * 64, 2),
        ("killed", 1, "incumbent", "incumbent", 0),
    ],
)
def test_phases(pick: Any, phase: str, stable: Any, arm: str, policy: str, action: int) -> None:
    with recording() as seen:
        run(pick, lambda rows: 2, phase=phase, stable=(lambda rows: stable) if stable else None)
        pick(None, items())
        decision = seen.decisions[0]
    assert (decision.arm, decision.policy, decision.action) == (arm, policy, action)
    assert (decision.reason, decision.block) == ("static", -1)


@given(
    st.binary(min_size=1, max_size=8),
    st.floats(0.0, 0.5),
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=25),
)
def test_a_canary_follows_its_switchback(salt: bytes, weight: float, steps: list[float]) -> None:
    """Arm and block are those that the control plane computes from the same salt."""
    gnomon.sdk.runtime.RUNTIME.hooks.clear()  # type: ignore[attr-defined]
    pick = gnomon.hook("a", **READ)(first)
    design = Switchback(salt, "cell", 700_000_000, 0, 0, weight)
    clock = FakeClock()
    with recording(clock=clock, sample=0.0) as seen:
        run(pick, lambda rows: 2, phase="canary", switchback=design)
        for step in steps:
            clock.advance(step)
            pick(None, items())
        decisions = seen.decisions
    assert len(decisions) == len(steps), "a canary is recorded whole"
    for decision in decisions:
        block = design.block(decision.time_ns)
        assert decision.block == block
        assert decision.arm == ("candidate" if design.candidate(block) else "stable")
        assert decision.action == (2 if decision.arm == "candidate" else 0)
        assert (decision.reason, decision.inclusion) == ("split", "sampled")


def test_a_fallback_keeps_its_assigned_arm(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: -1, phase="canary", switchback=SWITCHBACK)
        while not SWITCHBACK.candidate(SWITCHBACK.block(clock.unix_ns)):
            clock.advance(1)
        pick(None, items())
        decision = seen.decisions[-1]
    assert (decision.arm, decision.reason, decision.policy) == (
        "candidate",
        "fallback",
        "incumbent",
    )
    assert decision.block == SWITCHBACK.block(clock.unix_ns)


def test_an_expired_lease_is_stable(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: 2, lease_until_ns=round(1.05e9))
        for _ in range(21):
            pick(None, items())
            clock.advance(0.1)
        arms = [d.arm for d in seen.decisions]
        assert pick.hook.counters["stale"] == 10
    assert arms == ["candidate"] * 11 + ["stable"] * 10


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_lease_is_not_lengthened_by_the_wall_clock(pick: Any, jump: float) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: 2, lease_until_ns=10**9)
        pick(None, items())
        clock.advance(1.0)
        clock.jump(jump - 1.0)
        pick(None, items())
        assert [d.arm for d in seen.decisions] == ["candidate", "stable"]


def test_a_kill_holds_from_the_next_call_on(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock):
        run(pick, lambda rows: 2)
        assert pick(None, items()).name == "item-2"
        pick.hook.install(replace(pick.hook.assignment, phase="killed", epoch=2))
        assert pick(None, items()).name == "item-0"


def test_assignments_that_cannot_run_are_refused(pick: Any) -> None:
    with pytest.raises(gnomon.ConfigurationError, match="needs a candidate"):
        pick.hook.install(Assignment(epoch=1, phase="full"))
    with pytest.raises(gnomon.ConfigurationError, match="needs switchback"):
        run(pick, lambda rows: 0, phase="canary")
    with pytest.raises(gnomon.ConfigurationError, match="block_ns"):
        run(pick, lambda rows: 0, phase="canary", switchback=replace(SWITCHBACK, block_ns=0))
    from gnomon.sdk.language import check

    other = check("def score(size):\n    return size\n", ("size",))
    with pytest.raises(gnomon.ConfigurationError, match="reads size"):
        pick.hook.install(Assignment(epoch=1, phase="full", candidate=other))
    assert pick.hook.assignment == Assignment()


@given(st.floats(0.0, 1.0), st.lists(st.floats(0.0, 15.0), min_size=1, max_size=30))
def test_sampling_keeps_whole_windows(share: float, steps: list[float]) -> None:
    gnomon.sdk.runtime.RUNTIME.hooks.clear()  # type: ignore[attr-defined]
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends[request])
    rule = Sampling(share, 10**10, "a", "default")
    clock = FakeClock()
    times, expected, last = [], [], {0: -1, 1: -1, 2: -1}
    backends = items()
    with recording(clock=clock, sample=share) as seen:
        for n, step in enumerate(steps):
            clock.advance(step)
            if rule.sampled(clock.unix_ns):
                times.append(clock.unix_ns)
                expected.append(tuple(float(n - last[i]) for i in range(3)))
            pick(n % 3, backends)
            last[n % 3] = n
        decisions = seen.decisions
        assert accounted(pick)
        assert pick.hook.counters["skipped"] == len(steps) - len(times)
    assert [d.time_ns for d in decisions] == times
    if len(times) == len(steps):
        picks = [tuple(d.features[i * 4 + 2] for i in range(3)) for d in decisions]
        assert picks == expected


def test_since_picked_begins_anew_after_a_window_that_is_not_recorded() -> None:
    """Nobody saw who was picked meanwhile: every item counts as picked just before."""
    pick = gnomon.hook("a", **READ)(lambda request, backends: backends[request])
    clock = FakeClock()
    rule = Sampling(0.5, 10**10, "a", "default")
    backends = items(2)
    since = []
    with recording(clock=clock, sample=0.5) as seen:
        for sampled in (True, False, True):
            while rule.sampled(clock.unix_ns) is not sampled:
                clock.advance(10)
            for index in (0, 1, 1):
                pick(index, backends)
            since.append([(d.features[2], d.features[6]) for d in seen.decisions])
    assert since[0] == [(1.0, 1.0), (1.0, 2.0), (2.0, 1.0)]
    assert since[2][3:] == since[0]
    assert len(since[1]) == 3


def test_shares_of_windows() -> None:
    rule = Sampling(0.3, 10, "a", "c")
    share = sum(rule.sampled(i * 10) for i in range(4000)) / 4000
    assert 0.26 < share < 0.34
    assert Sampling(1.0, 10, "a", "c").sampled(5)
    assert not Sampling(0.0, 10, "a", "c").sampled(5)


def test_outside_a_window_failures_are_kept_with_their_reason(pick: Any) -> None:
    gnomon.invariant(pick, name="never_second")(lambda items, picked: picked is not items[1])
    answers = iter([-1, 1, 2])
    clock = FakeClock()
    with recording(clock=clock, sample=0.0) as seen:
        run(pick, lambda rows: next(answers))
        for _ in range(3):
            pick(None, items())
        kept = [(d.inclusion, d.detail) for d in seen.decisions]
        assert accounted(pick)
    assert kept == [("fallback", "fault"), ("violation", "violation:never_second")]


def test_exploring_is_uniform_and_its_propensity_exact() -> None:
    """Two of three items are permitted; the incumbent's pick is one of them."""
    pick = gnomon.hook("a", explore=0.5, **READ)(first)
    gnomon.invariant(pick, name="never_last")(lambda items, picked: picked is not items[2])
    calls = 2000
    with recording() as seen:
        picked = Counter(pick(None, items()).name for _ in range(calls))
        decisions = seen.decisions
    assert picked["item-2"] == 0
    assert 0.22 * calls < picked["item-1"] < 0.28 * calls
    assert {(d.action, d.propensity) for d in decisions} == {(0, 0.75), (1, 0.25)}
    assert {d.reason for d in decisions} == {"static", "explore"}
    assert all(d.reason == "explore" for d in decisions if d.action == 1)


@given(st.floats(0.01, 1.0), st.integers(1, 5), st.integers(0, 4), st.sets(st.integers(0, 4)))
def test_propensities_sum_to_one(epsilon: float, n: int, base: int, barred: set[int]) -> None:
    import random

    from gnomon.sdk.explore import explored
    from gnomon.sdk.invariant import Invariant

    base %= n
    rows = [(float(i), 0.0, 1.0, 0.5) for i in range(n)]
    rule = (Invariant("bar", lambda items, picked: int(picked.inflight) not in barred),)
    generator = random.Random(1)
    found = {}
    for _ in range(400):
        action, propensity, _ = explored(KIND, rule, rows, base, epsilon, generator)
        assert found.setdefault(action, propensity) == propensity
    permitted = [i for i in range(n) if i not in barred]
    share = epsilon / len(permitted) if permitted else 0.0
    for action, propensity in found.items():
        own = (1.0 - epsilon if permitted else 1.0) if action == base else 0.0
        drawn = share if action in permitted else 0.0
        assert propensity == pytest.approx(own + drawn)


def test_bad_features_are_not_explored() -> None:
    pick = gnomon.hook("a", explore=1.0, **READ)(first)
    with recording() as seen:
        for _ in range(20):
            assert pick(None, [Item("a", -1), Item("b")]).name == "a"
        assert {(d.propensity, d.reason) for d in seen.decisions} == {(1.0, "static")}


def test_the_clock_of_the_tests_starts_where_it_says() -> None:
    assert FakeClock().unix_ns == START_NS


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_jump_of_the_wall_clock_is_noticed_by_the_drainer_or_within_a_second(
    pick: Any, rounds: int
) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: 1, phase="stable")
        pick(None, items())
        run(pick, lambda rows: 1, phase="canary", switchback=SWITCHBACK)
        pick(None, items())
        clock.jump(-3600.0)
        clock.advance(0.1 if rounds else 1.0)
        for _ in range(rounds):
            RUNTIME.round()
        pick(None, items())
        _, first, second = seen.decisions
    assert first.block - second.block in (3599, 3600)
    assert second.time_ns - first.time_ns == (-3600 + (0.1 if rounds else 1.0)) * 1e9


def test_the_time_of_a_decision_is_the_wall_clock_s_to_a_microsecond() -> None:
    pick = gnomon.hook("b", **READ)(first)
    with recording() as seen:
        around = []
        for _ in range(200):
            before = time.time_ns()
            pick(None, items())
            around.append((before, time.time_ns()))
        times = [d.time_ns for d in seen.decisions]
    near = [
        low - 1_000 <= at <= high + 1_000 for at, (low, high) in zip(times, around, strict=True)
    ]
    assert sum(near) >= 190  # between two readings of the clocks the thread may be put aside


def test_a_breaker_counts_its_own_program_s_answers_only(pick: Any) -> None:
    """Faults of a candidate lie close together however many decisions of the stable arm lie between."""
    clock = FakeClock()
    weight = replace(SWITCHBACK, weight=0.5)
    with recording(clock=clock):
        run(pick, lambda rows: -1, phase="canary", switchback=weight, stable=lambda rows: 0)
        faults = []
        while not pick.hook.breaker and len(faults) < 5000:
            clock.advance(0.25)
            for _ in range(25):
                pick(
                    None,
                    items(),
                )
            faults.append(pick.hook.counters["faults"])
            if len(faults) > 1 and faults[-1] > faults[-2]:
                break
        assert pick.hook.breaker.startswith("candidate: 3 failures in 3 answers")
        assert pick.hook.counters["faults"] == 3


def window_before(rule: Sampling, sampled: tuple[bool, ...], clock: FakeClock) -> None:
    """Go to the beginning of a window that is sampled or not as the first says, the next as the second, …"""
    clock.advance((-clock.unix_ns % 10**10) / 1e9)
    while [rule.sampled(clock.unix_ns + i * 10**10) for i in range(len(sampled))] != [*sampled]:
        clock.advance(10)


def calls(pick: Any, clock: FakeClock, rounds: list[float], times: list[float]) -> list[int]:
    """Call at times, and let the drainer come at others; return the Unix times of the calls."""
    begin, made = clock.unix_ns, []
    for at, is_round in sorted([(at, True) for at in rounds] + [(at, False) for at in times]):
        clock.advance((begin + round(at * 1e9) - clock.unix_ns) / 1e9)
        if is_round:
            RUNTIME.round()
        else:
            made.append(clock.unix_ns)
            pick(None, items())
    return made


@pytest.mark.parametrize("late", [False, True])
def test_far_from_a_window_no_clock_is_read_and_none_is_recorded_in_part(
    pick: Any, late: bool
) -> None:
    clock = FakeClock()
    rule = Sampling(0.5, 10**10, "a", "default")
    window_before(rule, (False, True, True), clock)
    with recording(clock=clock, sample=0.5) as seen:
        live = pick.hook.live
        live._often = True
        rounds = [0.5, 4.0, *([] if late else [9.0]), 13.0, 21.0]
        made = calls(pick, clock, rounds, [0.1, 1.0, 5.0, 9.5, 10.0, 11.0, 14.0, 19.9, 20.0, 22.0])
        recorded = [d.time_ns for d in seen.decisions]
        assert recorded == (made[8:] if late else made[4:])
        assert pick.hook.counters["missed_windows"] == late
        assert accounted(pick)


def test_only_a_drainer_that_comes_often_looks_ahead(pick: Any) -> None:
    with recording(clock=FakeClock(), sample=0.0):
        pick(None, items())
        RUNTIME.round()
        assert not pick.hook.live.segment.far
        pick.hook.live._often = True
        RUNTIME.round()
        assert pick.hook.live.segment.far
        pick.hook.install(Assignment(epoch=1))
        assert not pick.hook.live.segment.far
