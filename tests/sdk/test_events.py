"""Workload events of a kind's own: as declared, inside sampled windows, and counted otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.kind import WorkloadEvent
from gnomon.sdk.records import Workload
from gnomon.testing import FakeClock, recording

from .common import KIND, READ, items

ARRIVAL = WorkloadEvent("arrival", "event", ("lane", "size"), "A job arrives.")
WAITING = replace(KIND, workload=(*KIND.workload, ARRIVAL))


@pytest.fixture
def pick() -> Any:
    how = READ | {"kind": WAITING}
    return gnomon.hook("a", **how)(lambda request, backends: backends[0])


def arrivals(records: Any) -> list[Workload]:
    return [r for r in records if isinstance(r, Workload) and r.event == "arrival"]


def test_an_event_is_recorded_as_it_was_told(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        pick.event("arrival", lane="slow", size=3)
        clock.advance(1.0)
        pick.event("arrival", size=4, lane="fast")
        told = arrivals(seen.workload)
    assert [event.values for event in told] == [
        (("lane", "slow"), ("size", 3.0)),
        (("size", 4.0), ("lane", "fast")),
    ]
    assert told[1].time_ns - told[0].time_ns == 1_000_000_000


def test_events_and_members_never_share_a_number(pick: Any) -> None:
    with recording() as seen:
        pick.event("arrival", lane="a", size=1)
        pick(None, items())
        pick.event("arrival", lane="b", size=2)
        pick(None, items(2))
        numbers = [r.seq for r in seen.workload]
    assert numbers == list(range(4))


@given(
    name=st.sampled_from(["arrival", "members", "latency_ms", ""]),
    values=st.dictionaries(
        st.sampled_from(["lane", "size", "other"]),
        st.one_of(st.floats(), st.text(), st.none(), st.just(object())),
    ),
)
def test_what_the_kind_does_not_declare_is_counted_and_never_raised(
    name: str, values: dict[str, Any]
) -> None:
    hook: Any = gnomon.Hook("b", WAITING, _spec(), _pick)
    hook.on(_settings())
    hook.event(name, **values)
    declared = name == "arrival" and values.keys() == {"lane", "size"}
    readable = all(isinstance(value, str | float) for value in values.values())
    kept = arrivals(hook.drain())
    assert len(kept) == (declared and readable)
    assert hook.counters["bad_events"] == 1 - len(kept)


def test_nothing_is_recorded_while_a_hook_is_off_or_outside_of_its_windows(pick: Any) -> None:
    pick.event("arrival", lane="a", size=1)
    with recording(sample=0.0) as seen:
        pick.event("arrival", lane="b", size=1)
        assert arrivals(seen.workload) == []
        assert pick.hook.counters["bad_events"] == 0


def test_a_full_ring_drops_events_and_says_how_many() -> None:
    hook: Any = gnomon.Hook("c", WAITING, _spec(), _pick)
    hook.on(_settings(ring_size=2))
    for size in range(5):
        hook.event("arrival", lane="a", size=size)
    assert hook.counters["events_dropped"] == 3
    assert [dict(event.values)["size"] for event in arrivals(hook.drain())] == [0.0, 1.0]


def _pick(request: Any, backends: Any) -> Any:
    return backends[0]


def _spec() -> Any:
    from gnomon.sdk.spec import Spec

    return Spec("backends", READ["item_features"])


def _settings(**given: Any) -> Any:
    from gnomon.sdk.config import Settings

    return Settings(**given)


def test_events_that_were_dropped_leave_a_gap_and_numbers_go_on() -> None:
    """Who reads the trace counts what is missing by the numbers, process by process."""
    how = READ | {"kind": WAITING}
    pick = gnomon.hook("a", **how)(lambda request, backends: backends[0])
    with recording(ring_size=2) as seen:
        for size in range(50):
            pick.event("arrival", lane="a", size=size)
        first = [r.seq for r in arrivals(seen.workload)]
        dropped = pick.hook.counters["events_dropped"]
        pick.event("arrival", lane="a", size=50)
        *_, last = [r.seq for r in arrivals(seen.workload)]
    assert dropped > 0 and last == 50 and len(first) + dropped == 50
    with recording() as seen:
        pick.event("arrival", lane="a", size=51)
        assert [r.seq for r in arrivals(seen.workload)] == [51]
