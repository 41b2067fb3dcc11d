"""Sticky arms over restarts, holds and retries: what is stored decides as what was never stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.rollout import codec, events, machine, states
from gnomon.policies.rollout.events import Act, Looked
from gnomon.policies.rollout.outcomes import Rail
from gnomon.policies.rollout.plan import Plan, read_plan
from gnomon.policies.rollout.shipping import Ramp, build_plan
from gnomon.policies.rollout.states import State, Status
from gnomon.policies.rollout.units import Slices, UnitEvidence
from gnomon.sdk import keys
from gnomon.sdk.errors import RolloutError
from gnomon.sdk.measure import BUCKETS

from .conftest import SECOND, STICKY, Publisher
from .sticky import by_numpy

SLICES = 200
RAMP = Ramp(
    weights=(0.25, 0.5, 1.0),
    shadow_decisions=0,
    min_pairs=3,
    slices=SLICES,
    max_looks=60,
)
RAILS = (
    Rail("failures", "failure_rate", 0.05, relative=False),
    Rail("tail", "p99", 0.25, relative=True),
)
NOW = 1_000 * SECOND


@lru_cache(maxsize=1)
def plan() -> Plan:
    publisher = Publisher(keys.generate(), keys.generate(), STICKY)
    payload = publisher.bundle().payload
    signed = build_plan(RAMP, payload, STICKY, publisher.rollout.public_key(), NOW)
    return replace(read_plan(signed), rails=RAILS)


def begun() -> State:
    return machine.step(states.draft(plan(), b"salt" * 4, NOW), events.Tick(), NOW)


def sums(rng: random.Random, effect: float, treated: int) -> Iterator[Slices]:
    """Yield growing sums; each slice a level of its own, one outcome in fifty failed."""
    count, total, failed = [0] * SLICES, [0.0] * SLICES, [0] * SLICES
    histograms = [[0] * BUCKETS for _ in range(50)]
    while True:
        for at in range(SLICES):
            more = rng.randint(1, 2 + sum(count) // (5 * SLICES))
            count[at] += more
            total[at] += more * rng.gauss(10.0, 1.0) * (1.0 + effect * (at < treated))
            failed[at] += sum(rng.random() < 0.02 for _ in range(more))
            histograms[at // 4][40 + rng.randrange(5)] += more
        shapes = tuple(map(tuple, histograms))
        yield Slices(tuple(count), tuple(total), tuple(failed), (0,) * SLICES, shapes)


def restarted(state: State) -> State:
    return codec.from_json(state.plan, json.loads(json.dumps(codec.to_json(state))))


def course(seed: int, effect: float, at_look: Callable[[State, int], State]) -> list[State]:
    """Run a canary look by look over all its weights; return its states."""
    rng, state, found = random.Random(seed), begun(), []
    weight, looks = 0.0, iter(())
    for n in range(1, 40):
        if state.weight != weight:
            weight = state.weight
            looks = sums(rng, effect, plan().candidates(weight))
        if state.status not in (Status.CANARY, Status.RAMP):
            break
        state = at_look(machine.step(state, Looked(next(looks)), NOW + n * 60 * SECOND), n)
        found.append(state)
    return found


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 999), st.sampled_from((-0.1, 0.0, 0.1)), st.sets(st.integers(1, 30), max_size=6)
)
def test_a_restart_after_any_look_changes_no_decision(
    seed: int, effect: float, restarts: set[int]
) -> None:
    with by_numpy():
        whole = course(seed, effect, lambda state, n: state)
        cut = course(seed, effect, lambda state, n: restarted(state) if n in restarts else state)
    assert cut == whole
    assert whole[-1].status is not Status.SHADOW


def test_such_courses_end_in_every_way() -> None:
    """What the property above is about: two steps, and both decisions."""
    with by_numpy():
        better, worse = (course(1, effect, lambda state, n: state)[-1] for effect in (-0.1, 0.1))
    assert (better.status, better.step) == (Status.FULL, 1), better.transitions
    assert worse.status is Status.ABORTED
    assert "objective worse" in worse.transitions[-1].cause


def test_an_arm_with_one_slice_that_saw_units_survives_json() -> None:
    """Its standard error is not known, which is no number."""
    seen = tuple(50 * (at in (0, 150)) for at in range(SLICES))
    looked = Slices(seen, tuple(8.0 * n for n in seen), (0,) * SLICES, (0,) * SLICES)
    state = replace(begun(), evidence=begun().evidence)
    state = machine.step(state, Looked(looked), NOW + SECOND)
    assert restarted(state) == state


def units(state: State) -> UnitEvidence:
    assert isinstance(state.evidence, UnitEvidence)
    return state.evidence


@pytest.mark.parametrize("retries", [1, 3])
def test_a_retry_halves_the_level_of_every_test_for_promotion(retries: int) -> None:
    first = state = begun()
    for n in range(retries):
        state = machine.step(state, Act("hold", "me"), NOW + n)
        state = machine.step(state, Act("retry", "me", "", b"%d" % n * 16), NOW + n)
    share = 0.5**retries
    before, after = units(first), units(restarted(state))
    assert after == units(state)
    assert after.alpha_promote == before.alpha_promote * share
    assert after.better.level == before.better.level * share
    assert [rail.level for rail in after.rails] == [rail.level * share for rail in before.rails]
    assert (after.worse.level, after.shares) == (before.worse.level, before.shares)
    assert after.worse.level == plan().alpha_abort / 2, "two weights share the level of abort"


@pytest.mark.parametrize("part", ["count", "failures", "base"])
def test_sums_of_some_processes_after_a_restart_are_waited_for(part: str) -> None:
    """Not every process has reported again: that is no change of what users see, and no reason to stop."""
    state, looks = begun(), sums(random.Random(3), 0.0, 50)
    for n in range(5):
        if part == "base" and n == 2:  # what came before a step's base is not counted
            state = replace(state, status=Status.RAMP, step=1)
        state = machine.step(state, Looked(next(looks)), NOW + n * SECOND)
    later = next(looks)
    assert bool(units(state).base.count) is (part == "base")
    half = {
        "count": {
            "count": (*(3 * n for n in later.count[:50]), *(n // 2 for n in later.count[50:]))
        },
        "failures": {"failures": tuple(n // 2 for n in later.failures)},
        "base": {"count": (0, *later.count[1:])},
    }
    partly = replace(later, **half[part])
    assert sum(partly.count) > state.looks[-1].stable + state.looks[-1].candidate
    assert machine.step(state, Looked(partly), NOW + 9 * SECOND) == state
    after = machine.step(state, Looked(later), NOW + 9 * SECOND)
    assert len(after.looks) == len(state.looks) + 1


def test_sums_are_not_looked_at_while_held() -> None:
    state, looks = begun(), sums(random.Random(5), 0.3, 50)
    held = machine.step(state, Act("hold", "me"), NOW + 1)
    for n in range(4):
        assert machine.step(held, Looked(next(looks)), NOW + n * SECOND) == held


def test_what_is_decided_while_held_is_in_no_look(sticky: Any) -> None:
    """Outcomes of decisions that all were stable's would make the arms alike."""
    rollout = sticky.ship(replace(RAMP, shadow_decisions=100, weights=(0.5, 1.0), min_pairs=50))
    sticky.run(4.0, lambda arm, unit: 20.0)
    counted = sum(sum(each.measure.slices().count) for each in sticky.processes)
    looks = len(sticky.control.get().looks)
    assert looks > 0
    sticky.control.act(rollout, "hold", "me", "", "")
    sticky.run(4.0, lambda arm, unit: 500.0)
    pool = sticky.control._desks["router.pick"].pool
    assert len(sticky.control.get().looks) == looks
    sticky.control.act(rollout, "resume", "me", "", "")
    sticky.run(2.0, lambda arm, unit: 20.0)
    assert len(sticky.control.get().looks) > looks
    assert pool is sticky.control._desks["router.pick"].pool
    assert pool.decisions > counted
    assert units(sticky.control.get()).stable.mean < 40.0


def test_faults_are_seen_in_ticks_that_look_too(sticky: Any) -> None:
    """At first every tick has grown by a tenth, and would have hidden what the candidate could not answer."""
    sticky.ship(replace(RAMP, shadow_decisions=100, weights=(0.5, 1.0), min_pairs=50))
    sticky.run(2.0, lambda arm, unit: 20.0)
    pool, state = sticky.control._desks["router.pick"].pool, sticky.control.get()
    report = sticky.processes[0].measure.slices()
    report.fallbacks[:] = report.count
    assert pool.put(sticky.processes[0].instance, report)
    pool.looked = 1
    sticky.control.tick()
    after = sticky.control.get()
    assert (state.status, after.status) == ("CANARY", "ABORTED")
    assert after.transitions[-1].cause.startswith("canary: the incumbent answered")


def test_the_desk_counts_what_fell_back_by_slice(sticky: Any) -> None:
    sticky.ship(replace(RAMP, shadow_decisions=100, weights=(0.5, 1.0), min_pairs=50))
    sticky.run(3.0, lambda arm, unit: 20.0)
    desk = sticky.control._desks["router.pick"]
    report = sticky.processes[0].measure.slices()
    before, own = desk.fell(), report.count[0] + report.unresolved[0]
    assert before.decisions > own
    report.fallbacks[0], report.fallbacks[SLICES - 1] = 3, 5
    assert desk.pool.put(sticky.processes[0].instance, report)
    assert desk.fell().fallbacks == before.fallbacks + 3, "the last slice is stable's"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha_abort": 0.0005}, "alpha_abort 0.0005 leaves a test .* finer than 2000"),
        ({"alpha_promote": 0.0005}, "alpha_promote 0.0005 leaves a test 0.0005, finer than"),
        ({"max_looks": 1, "min_pairs": 1, "alpha_promote": 0.004}, "in 1 looks; raise it"),
    ],
)
def test_a_level_too_fine_for_any_decision_is_refused(change: dict[str, Any], said: str) -> None:
    publisher = Publisher(keys.generate(), keys.generate(), STICKY)
    ramp, payload = replace(RAMP, **change), publisher.bundle().payload
    with pytest.raises(RolloutError, match=said):
        build_plan(ramp, payload, STICKY, publisher.rollout.public_key(), NOW)
