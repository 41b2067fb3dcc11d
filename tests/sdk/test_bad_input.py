"""What a service may hand to its hook by mistake: counted and named, and never in the caller's way."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest

import gnomon
from gnomon.testing import FakeClock, force, recording

from .common import KIND, READ, Item, accounted, items

POLICY = "def score(inflight):\n    return inflight\n"


def first(request: Any, backends: list[Any]) -> Any:
    return backends[0]


class Hostile:
    """Raises wherever it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __str__(self) -> str:
        raise RuntimeError("str")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        return 1


BAD = ["text", None, [1], object(), Hostile(), 10**400, 1j]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_features_that_are_no_numbers(value: Any, asked: bool, caplog: Any) -> None:
    pick = gnomon.hook("a", **READ)(first)
    backends = [Item("x"), Item("y", inflight=value)]
    with recording() as seen:
        if asked:
            force(pick, POLICY)
        assert pick(None, backends) is backends[0]
        assert pick(None, backends) is backends[0]
        assert seen.decisions == []
        assert pick.hook.counters["failed"] == 2
        assert pick.hook.counters["fallbacks"] == 2 * asked
        assert accounted(pick)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_numbers_outside_of_their_range_are_recorded_as_seen(value: float, asked: bool) -> None:
    pick = gnomon.hook("a", **READ)(first)
    with recording() as seen:
        if asked:
            force(pick, POLICY)
        assert pick(None, [Item("x", ewma_ms=value)]).name == "x"
        (decision,) = seen.decisions
    assert repr(decision.features[1]) == repr(value)
    assert decision.detail == ("features" if asked else "")


@pytest.mark.parametrize("asked", [False, True])
def test_items_that_raise_when_looked_at(asked: bool) -> None:
    pick = gnomon.hook(
        "a", kind=KIND, items="backends", item_features=lambda b: (b.inflight, b.ewma_ms)
    )(first)
    thing = Hostile()
    with recording() as seen:
        if asked:
            force(pick, POLICY)
        for _ in range(3):
            assert pick(None, [thing]) is thing
        assert seen.decisions == []
        assert accounted(pick)


def test_a_unit_or_a_name_of_any_length_is_bounded_and_tells_units_apart() -> None:
    pick = gnomon.hook("a", unit=lambda request: request, **READ)(first)
    texts = ["u" * 10_000_000, "u" * 9_999_999, "\ud800" * 600, "short"]
    with recording() as seen:
        for text in (*texts, texts[0]):
            pick(text, [Item("n" * 1_000_000)])
        units = [d.unit for d in seen.decisions]
        (members,) = seen.workload
    assert units[0] == units[4] == f"sha256:{hashlib.sha256(texts[0].encode()).hexdigest()}"
    assert len({*units}) == 4
    assert units[3] == "short"
    assert len(str(members.values)) < 200


def test_a_unit_that_cannot_be_a_text_costs_the_record_only() -> None:
    pick = gnomon.hook("a", unit=lambda request: request, **READ)(first)
    with recording() as seen:
        assert pick(Hostile(), items()).name == "item-0"
        assert seen.decisions == []
        assert accounted(pick)


def test_an_outcome_of_too_many_values_is_counted() -> None:
    pick = gnomon.hook("a", **READ)(first)
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            decision.outcome(**{f"metric_{i}": 1.0 for i in range(1000)})
        assert seen.outcomes == []
        assert pick.hook.counters["bad_reports"] == 1


@pytest.mark.parametrize("unix_ns", [-(10**18), 0, 1, 2**62, 2**63 + 5, 2**70])
@pytest.mark.parametrize("sample", [0.5, 1.0])
def test_absurd_clocks(unix_ns: int, sample: float) -> None:
    pick = gnomon.hook("a", **READ)(first)
    clock = FakeClock(unix_ns)
    with recording(clock=clock, sample=sample) as seen:
        for step in (0.0, 30.0, 10_000.0, -40_000.0):
            clock.jump(step)
            clock.advance(0.2)
            with pick.decide(None, items()) as decision:
                decision.outcome(latency_ms=1.0)
            assert decision.action.name == "item-0"
        assert len(seen.decisions) == pick.hook.counters["recorded"]
        assert accounted(pick)


def test_outcomes_for_decisions_that_nobody_knows() -> None:
    pick = gnomon.hook("a", **READ)(first)
    with recording() as seen:
        pick(None, items())
        for wrong in (
            b"",
            b"x",
            b"\0" * 16,
            b"\xff" * 16,
            bytes.fromhex(pick.hook.process_id) + b"\xff" * 8,
        ):
            pick.outcome(wrong, latency_ms=1.0)
        assert seen.outcomes == []
        assert pick.hook.counters["unknown_outcomes"] == 4
