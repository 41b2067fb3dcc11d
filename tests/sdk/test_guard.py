"""A program on the request path: its answer is checked, and no failure of it reaches the caller."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.guard import preparer
from gnomon.sdk.limits import Limits
from gnomon.testing import FakeClock, force, recording

from .common import KIND, READ, Item, accounted, items, run


def first(request: Any, backends: list[Item]) -> Item:
    return backends[0]


def make() -> Any:
    gnomon.sdk.runtime.RUNTIME.hooks.clear()  # type: ignore[attr-defined]
    return gnomon.hook("a", **READ)(first)


def test_a_program_answers() -> None:
    pick = make()
    backends = items()
    with recording() as seen:
        run(pick, lambda rows: 2)
        assert pick(None, backends) is backends[2]
        (decision,) = seen.decisions
    assert (decision.arm, decision.reason, decision.detail) == ("candidate", "static", "")
    assert (decision.policy, decision.epoch, decision.action) == ("c" * 64, 1, 2)
    assert decision.duration_ns >= 0


def test_the_program_sees_what_is_recorded() -> None:
    pick = make()
    rows_seen: list[Any] = []
    with recording() as seen:
        run(pick, lambda rows: rows_seen.append(tuple(rows)) or 0)
        pick(None, items())
        pick(None, items())
        flat = [tuple(x for row in rows for x in row) for rows in rows_seen]
        assert flat == [d.features for d in seen.decisions]
    assert all(type(x) is float for row in flat for x in row)


def raising(error: BaseException) -> Any:
    def choose(rows: Any) -> int:
        raise error

    return choose


HOSTILE = {
    "minus one": lambda rows: -1,
    "too large": lambda rows: len(rows),
    "negative": lambda rows: -2,
    "float": lambda rows: 0.0,
    "nan": lambda rows: math.nan,
    "bool": lambda rows: True,
    "none": lambda rows: None,
    "text": lambda rows: "0",
    "raises": raising(ValueError("x")),
    "recursion": raising(RecursionError()),
    "memory": raising(MemoryError()),
    "stop": raising(StopIteration()),
    "empties rows": lambda rows: rows.clear() or 0,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_costs_one_fallback(name: str) -> None:
    pick = make()
    backends = items()
    with recording() as seen:
        run(pick, HOSTILE[name])
        assert pick(None, backends) is backends[0]
        assert accounted_after(seen, pick)
        counters = pick.hook.counters
    assert counters["faults"] == counters["fallbacks"] == 1


def accounted_after(seen: Any, pick: Any) -> bool:
    for decision in seen.decisions:
        assert decision.arm == "candidate"
        assert (decision.reason, decision.detail) == ("fallback", "fault")
        assert decision.policy == "incumbent"
    return accounted(pick)


@given(
    st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=4),
    st.one_of(st.integers(-3, 5), st.floats(), st.none(), st.text(), st.just(ZeroDivisionError)),
    st.integers(0, 3),
)
def test_any_candidate_on_any_features_never_raises(
    features: list[tuple[float, float]], answer: Any, base: int
) -> None:
    """The result is the program's where its answer counts, else the incumbent's."""
    pick = gnomon.hook("p", **READ)(lambda request, backends: backends[base % len(backends)])
    gnomon.sdk.runtime.RUNTIME.hooks.clear()  # type: ignore[attr-defined]
    gnomon.sdk.runtime.RUNTIME.register(pick.hook)  # type: ignore[attr-defined]
    backends = [Item(str(i), *pair) for i, pair in enumerate(features)]

    def choose(rows: Any) -> Any:
        if answer is ZeroDivisionError:
            return 1 // 0
        return answer

    with recording() as seen:
        run(pick, choose)
        picked = pick(None, backends)
        (decision,) = seen.decisions
        assert accounted(pick)
    in_range = all(0 <= a <= 1e6 and 0 <= b <= 1e6 for a, b in features)
    usable = type(answer) is int and 0 <= answer < len(backends)
    expected = answer if in_range and usable else base % len(backends)
    assert picked is backends[expected]
    assert decision.action == expected
    assert decision.detail == ("features" if not in_range else "" if usable else "fault")
    recorded = [
        (decision.features[i], decision.features[i + 1])
        for i in range(0, len(decision.features), 4)
    ]
    assert repr(recorded) == repr([(float(a), float(b)) for a, b in features])


def test_a_blocking_invariant_gives_the_incumbent_s_answer() -> None:
    pick = make()

    @gnomon.invariant(pick)
    def not_loaded(items: Any, picked: Any) -> bool:
        """Never pick a loaded item."""
        return bool(picked.inflight < 5)

    @gnomon.invariant(pick, severity="warn", name="not_second")
    def second(items: Any, picked: Any) -> bool:
        return picked is not items[1]

    backends = [Item("a"), Item("b"), Item("c", inflight=9)]
    with recording() as seen:
        run(pick, lambda rows: 2)
        assert pick(None, backends) is backends[0]
        run(pick, lambda rows: 1, epoch=2)
        assert pick(None, backends) is backends[1]
        details = [d.detail for d in seen.decisions]
        counters = pick.hook.counters
    assert details == ["violation:not_loaded", ""]
    assert (counters["violations"], counters["warnings"]) == (1, 1)
    assert not_loaded([], Item("x")) is True
    assert [i.description for i in pick.hook.invariants] == ["Never pick a loaded item.", ""]


def test_an_invariant_that_raises_does_not_hold() -> None:
    pick = make()
    gnomon.invariant(pick, name="broken")(lambda items, picked: 1 / 0)
    with recording() as seen:
        run(pick, lambda rows: 1)
        assert pick(None, items()).name == "item-0"
        assert seen.decisions[0].detail == "violation:broken"


def test_bad_invariants_are_refused() -> None:
    pick = make()
    with pytest.raises(gnomon.ConfigurationError, match="must take"):
        gnomon.invariant(pick)(lambda items: True)
    with pytest.raises(gnomon.ConfigurationError, match="no hook"):
        gnomon.invariant(first)
    with pytest.raises(gnomon.ConfigurationError, match="severity"):
        gnomon.invariant(pick, severity="fatal")  # type: ignore[arg-type]
    gnomon.invariant(pick, name="x")(lambda items, picked: True)
    with pytest.raises(gnomon.ConfigurationError, match="already"):
        gnomon.invariant(pick, name="x")(lambda items, picked: True)


def test_the_breaker_trips_and_stays_until_another_epoch() -> None:
    pick = make()
    backends = items()
    asked: list[int] = []

    def fault(rows: Any) -> int:
        asked.append(1)
        return -1

    with recording() as seen:
        run(pick, fault)
        for _ in range(10):
            assert pick(None, backends) is backends[0]
        assert len(asked) == 3
        assert pick.hook.breaker == "candidate: 3 failures in 3 answers, last: fault"
        run(pick, fault)  # the same epoch: a renewed lease
        pick(None, backends)
        assert len(asked) == 3
        last = seen.decisions[-1]
        assert (last.arm, last.reason, last.detail) == ("candidate", "fallback", "breaker")
        assert last.policy == "incumbent"
        run(pick, lambda rows: 1, epoch=2)
        assert pick(None, backends) is backends[1]
        assert pick.hook.breaker == ""
        assert pick.hook.counters["breaker_trips"] == 1
        assert pick.hook.counters["fallbacks"] == 3


def test_a_tripped_candidate_leaves_the_stable_program() -> None:
    pick = make()
    backends = items()
    with recording() as seen:
        run(pick, lambda rows: -1, stable=lambda rows: 2)
        picked = [pick(None, backends) for _ in range(5)]
        decision = seen.decisions[-1]
    assert picked == [backends[0]] * 3 + [backends[2]] * 2
    assert (decision.detail, decision.policy) == ("breaker", "s" * 64)


def test_failures_far_apart_do_not_trip() -> None:
    pick = make()
    calls = iter(range(1000))
    with recording():
        run(pick, lambda rows: -1 if next(calls) % 60 == 0 else 1)
        for _ in range(300):
            pick(None, items())
        assert pick.hook.breaker == ""
        assert pick.hook.counters["faults"] == 5


def test_slow_answers_are_used_and_counted_and_trip() -> None:
    pick = make()
    clock = FakeClock()
    backends = items()

    def slow(rows: Any) -> int:
        clock.advance(0.003)
        return 1

    with recording(clock=clock, limits=Limits(slow=4)):
        run(pick, slow)
        picked = [pick(None, backends) for _ in range(6)]
        counters = pick.hook.counters
        assert pick.hook.breaker.endswith("last: slow")
    assert picked == [backends[1]] * 4 + [backends[0]] * 2
    assert counters["slow"] == 4


def test_a_policy_in_the_language_runs_and_faults() -> None:
    pick = make()
    backends = [Item("a", 3), Item("b", 1), Item("c", 2)]
    with recording() as seen:
        force(pick, "def score(inflight):\n    return inflight\n")
        assert pick(None, backends) is backends[1]
        force(pick, "def score(inflight):\n    return 1.0 / (inflight - 1.0)\n")
        assert pick(None, backends) is backends[0]
        force(pick, "incumbent")
        assert pick(None, backends) is backends[0]
        details = [(d.arm, d.detail) for d in seen.decisions]
    assert details == [("candidate", ""), ("candidate", "fault"), ("stable", "")]


def test_an_asynchronous_incumbent_is_the_fallback_too() -> None:
    import asyncio

    calls: list[int] = []

    @gnomon.hook("async", **READ)
    async def pick(request: Any, backends: list[Item]) -> Item:
        calls.append(1)
        return backends[1]

    backends = items()
    with recording():
        run(pick, lambda rows: 2)
        assert asyncio.run(pick(None, backends)) is backends[2]  # type: ignore[arg-type]
        run(pick, lambda rows: -1, epoch=2)
        assert asyncio.run(pick(None, backends)) is backends[1]  # type: ignore[arg-type]
    assert len(calls) == 1


def test_no_items_are_no_fault_of_the_program() -> None:
    pick = gnomon.hook("empty", **READ)(lambda request, backends: None)
    with recording():
        run(pick, lambda rows: -1)
        for _ in range(5):
            assert pick(None, []) is None
        assert pick.hook.breaker == ""
        assert pick.hook.counters["unasked"] == 5
        assert accounted(pick)


ROWS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), max_size=5)


@given(ROWS, st.data())
def test_preparing_adds_the_host_s_features(rows: list[Any], data: st.DataObject) -> None:
    since = data.draw(st.lists(st.integers(-5, 50), min_size=len(rows), max_size=len(rows)))
    full = preparer(KIND)(rows, since, lambda: 0.25)
    assert full == [
        (float(a), float(b), float(max(n, 1)), 0.25) for (a, b), n in zip(rows, since, strict=True)
    ]


@pytest.mark.parametrize("value", [-0.1, 1e6 + 1, math.nan, math.inf, -math.inf])
def test_preparing_refuses_values_out_of_range(value: float) -> None:
    assert preparer(KIND)([(0.0, value)], [1], lambda: 0.5) is None


def test_real_clocks_are_the_default() -> None:
    pick = make()
    with recording() as seen:
        before = time.time_ns()
        pick(None, items())
        assert before <= seen.decisions[0].time_ns <= time.time_ns()
