"""Sticky arms on the request path: who decides for whom, what is recorded of it, and what is not."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.assignment import Sticky
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.hook import Hook
from gnomon.sdk.limits import Breaker, Limits
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.slices import SliceMeasure
from gnomon.testing import FakeClock, recording

from .common import KIND, READ, Item, accounted, items, run

STICKY_KIND = replace(KIND, name="test_sticky", arms="sticky")
STICKY = Sticky(b"salt" * 4, 200, 0.25)


def first(request: Any, backends: list[Item]) -> Item:
    return backends[0]


def hooked(**how: Any) -> Any:
    RUNTIME.hooks.clear()
    given_ = {**READ, "kind": STICKY_KIND, "unit": lambda request: request} | how
    return gnomon.hook("a", **given_)(first)


@pytest.fixture
def pick() -> Any:
    return hooked()


def units(n: int) -> list[str]:
    return [f"user-{i}" for i in range(n)]


@given(st.binary(min_size=8, max_size=16), st.sampled_from([0.0, 0.25, 0.5]), st.booleans())
def test_a_unit_decides_who_answers(salt: bytes, weight: float, stable: bool) -> None:
    """Arm, slice and policy are those that anybody computes from salt and unit."""
    design = Sticky(salt, 200, weight)
    pick = hooked()
    with recording(sample=0.0) as seen:
        stables = {"stable": lambda rows: 1} if stable else {}
        run(pick, lambda rows: 2, phase="canary", sticky=design, **stables)
        picked = [pick(unit, items()).name for unit in units(30)]
        decisions = seen.decisions
    assert len(decisions) == 30, "a canary is recorded whole"
    base = "item-1" if stable else "item-0"
    for unit, name, decision in zip(units(30), picked, decisions, strict=True):
        theirs = design.candidate(unit)
        assert name == ("item-2" if theirs else base)
        assert (decision.unit, decision.block) == (unit, design.slice(unit))
        assert decision.arm == ("candidate" if theirs else "stable")
        assert (decision.reason, decision.inclusion) == ("split", "sampled")
    assert accounted(pick)


@pytest.mark.parametrize("unit", [None, ""])
def test_without_a_unit_the_stable_arm_answers_and_nothing_is_measured(
    pick: Any, unit: str | None
) -> None:
    design = replace(STICKY, weight=0.5)
    with recording() as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=design)
        assert pick(unit, items()).name == "item-0"
        (decision,) = seen.decisions
    assert (decision.arm, decision.unit, decision.block) == ("stable", "", -1)


def test_at_full_weight_all_have_the_candidate_and_slices_are_known(pick: Any) -> None:
    with recording() as seen:
        run(pick, lambda rows: 2, phase="full", sticky=replace(STICKY, weight=1.0))
        assert {pick(unit, items()).name for unit in [*units(20), ""]} == {"item-2"}
        decisions = seen.decisions
    assert [d.block for d in decisions] == [*map(STICKY.slice, units(20)), -1]
    assert {d.arm for d in decisions} == {"candidate"}


def test_outside_a_canary_there_are_no_slices(pick: Any) -> None:
    with recording() as seen:
        pick("user-1", items())
        run(pick, lambda rows: 2, phase="shadow")
        pick("user-1", items())
        decisions = seen.decisions
    assert [(d.unit, d.block) for d in decisions] == [("user-1", -1)] * 2


def test_an_expired_lease_and_a_kill_are_stable_for_all(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY, lease_until_ns=10**9)
        clock.advance(1.5)
        assert {pick(unit, items()).name for unit in units(40)} == {"item-0"}
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY, epoch=2)
        pick.hook.kill("by hand")
        assert {pick(unit, items()).name for unit in units(40)} == {"item-0"}
        assert {d.block for d in seen.decisions} == {-1}


@pytest.mark.parametrize("redact", [lambda unit: "***", lambda unit: "h:" + unit[::-1]])
def test_redaction_hides_the_unit_and_changes_no_arm(redact: Any) -> None:
    plain, hidden = hooked(), None
    with recording() as seen:
        run(plain, lambda rows: 2, phase="canary", sticky=STICKY)
        arms = [plain(unit, items()).name for unit in units(50)]
        blocks = [d.block for d in seen.decisions]
    hidden = hooked(redact=redact)
    with recording() as seen:
        run(hidden, lambda rows: 2, phase="canary", sticky=STICKY)
        assert [hidden(unit, items()).name for unit in units(50)] == arms
        ring = Hook.of(hidden).live.ring
        assert not {*units(50)} & {field for field in ring.items if isinstance(field, str)}
        decisions = seen.decisions
    assert [d.block for d in decisions] == blocks
    assert [d.unit for d in decisions] == [redact(unit) for unit in units(50)]


def test_units_of_any_type_are_their_text(pick: Any) -> None:
    with recording() as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY)
        given_ = (7, "7", b"\xff", "ü" * 600, "\ud800", "lone \udfff")  # no UTF-8, and yet a text
        for unit in given_:
            pick(unit, items())
        blocks = [d.block for d in seen.decisions]
    assert blocks == [STICKY.slice(str(unit)) for unit in given_]
    assert min(blocks) >= 0


def test_a_unit_that_cannot_be_read_costs_nothing_but_the_record() -> None:
    def broken(request: Any) -> Any:
        raise KeyError(request)

    pick = hooked(unit=broken)
    with recording() as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY)
        assert pick("user-1", items()).name == "item-0"
        with pick.decide("user-1", items()) as decision:
            assert decision.action.name == "item-0"
        assert seen.decisions == []
        assert pick.hook.counters["failed"] == 2
        assert accounted(pick)


def test_decide_async_and_methods_divide_too() -> None:
    async def later(request: Any, backends: list[Item]) -> Item:
        return backends[0]

    RUNTIME.hooks.clear()
    how = {**READ, "kind": STICKY_KIND, "unit": lambda request: request}
    pick = gnomon.hook("later", **how)(later)

    async def go() -> list[str]:
        found = []
        for unit in units(20):
            async with pick.decide(unit, items()) as decision:
                found.append(decision.action.name)
                decision.outcome(latency_ms=1.0)
        return found

    with recording() as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY)
        names = asyncio.run(go())
        decisions, outcomes = seen.decisions, seen.outcomes
    assert names == ["item-2" if STICKY.candidate(unit) else "item-0" for unit in units(20)]
    assert [o.block for o in outcomes] == [d.block for d in decisions]
    assert [o.arm for o in outcomes] == [d.arm for d in decisions]


def test_a_hook_without_a_unit_refuses_a_trial() -> None:
    pick = hooked(unit=None)
    with recording(), pytest.raises(ConfigurationError, match=r"has no unit=.*go by units"):
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY)
    Hook.of(pick).install(gnomon.sdk.assignment.Assignment(epoch=1))  # type: ignore[attr-defined]


def test_a_canary_needs_a_design_and_slices(pick: Any) -> None:
    with pytest.raises(ConfigurationError, match="switchback blocks or sticky slices"):
        run(pick, lambda rows: 2, phase="canary")
    with pytest.raises(ConfigurationError, match="slices is 0; there must be 1 or more"):
        run(pick, lambda rows: 2, phase="canary", sticky=replace(STICKY, slices=0))


def test_faults_of_the_candidate_trip_it_by_its_own_answers(pick: Any) -> None:
    """A tenth of the decisions are the candidate's; three faults among them are three of a few."""
    with recording() as seen:
        run(pick, lambda rows: -1, phase="canary", sticky=replace(STICKY, weight=0.1))
        theirs = [unit for unit in units(400) if replace(STICKY, weight=0.1).candidate(unit)]
        for unit in units(400):
            assert pick(unit, items()).name == "item-0"
        assert pick.hook.breaker == "candidate: 3 failures in 3 answers, last: fault" or (
            "3 failures in" in pick.hook.breaker
        )
        arms = Counter(d.arm for d in seen.decisions)
        details = Counter(d.detail for d in seen.decisions if d.arm == "candidate")
    assert arms["candidate"] == len(theirs), "a fallback keeps its arm"
    assert details == {"fault": 3, "breaker": len(theirs) - 3}


@pytest.mark.parametrize(("share", "trips"), [(1.0, False), (0.1, True)])
def test_a_breakers_window_is_of_its_own_answers(share: float, trips: bool) -> None:
    told: list[str] = []
    breaker = Breaker(Limits(faults=3, slow=3, window=100), told.append)
    breaker.share = share
    for number in (0, 400, 800):
        breaker.fault(number, "fault")
    assert bool(told) == trips


def test_a_sticky_kind_measures_by_slice_and_a_forked_child_begins_anew(pick: Any) -> None:
    measure = pick.hook.new_measure()
    assert isinstance(measure, SliceMeasure)
    with recording() as seen:
        run(pick, lambda rows: 2, phase="canary", sticky=STICKY)
        measure.follow(STICKY, 1, 0)
        for unit in units(50):
            with pick.decide(unit, items()) as decision:
                decision.outcome(latency_ms=5.0)
        for record in [*seen.decisions, *seen.outcomes]:
            measure.add(record)
        found = measure.slices()
        assert sum(found.count) == 50
        assert all(found.count[STICKY.slice(unit)] for unit in units(50))
        reader, writer = os.pipe()
        if not (child := os.fork()):
            arm = pick(units(50)[0], items()).name
            os.write(writer, f"{arm} {len(pick.hook.drain())}".encode())
            os._exit(0)
        os.waitpid(child, 0)
        name, _, records = os.read(reader, 100).decode().partition(" ")
    assert name == ("item-2" if STICKY.candidate(units(50)[0]) else "item-0")
    assert int(records) >= 1
