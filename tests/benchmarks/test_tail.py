"""Single calls: their figures, and a short run against a receiver in another process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gnomon.sdk.hook import Hook


@pytest.fixture
def tail(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("_tail")


def test_figures_are_in_microseconds_and_percent(tail: ModuleType) -> None:
    calls = tail.Calls([1_000] * 998 + [500_000, 2_000_000], [10_000] * 999 + [3_000_000])
    assert calls.figures() == {
        "p50": 1.0,
        "p99": 1.0,
        "p99.9": 500.0,
        "over 1 ms": 0.1,
        "late p99.9": 10.0,
    }


def test_calls_take_turns_and_wait_before_each(tail: ModuleType) -> None:
    order: list[str] = []
    functions = [lambda *given: order.append("a"), lambda *given: order.append("b")]
    found = tail.paced(functions, (), 0.005, lambda due: order.append("wait"))
    assert len(order) >= 4
    assert order == ["wait", "a", "wait", "b"] * (len(order) // 4)
    assert [len(calls.spent) for calls in found] == [len(order) // 4] * 2
    assert all(min(calls.spent) >= 0 for calls in found)


@pytest.mark.parametrize("wait", ["asleep", "busy"])
def test_a_wait_ends_when_it_is_due(tail: ModuleType, wait: str) -> None:
    begin = tail.time.perf_counter_ns()
    tail.WAITS[wait](begin + 200_000)
    tail.WAITS[wait](begin)  # is over already
    assert tail.time.perf_counter_ns() >= begin + 200_000


def test_an_idle_call_lasts_as_long_as_it_was_told(tail: ModuleType) -> None:
    idle = tail.Idle()
    idle.ns = 100_000
    begin = tail.time.perf_counter_ns()
    assert idle("u", ["first", "second"], None) == "first"
    assert tail.time.perf_counter_ns() - begin >= 100_000


def test_a_system_that_does_not_tell_of_waits_tells_of_none(
    tail: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert tail.waited_ns() >= 0
    monkeypatch.setattr(tail, "Path", lambda name: tmp_path / "none")
    assert tail.waited_ns() == 0


def short(tail: ModuleType) -> dict[tuple[str, ...], float]:
    return dict.fromkeys(tail.PHASES, 0.05)


def test_a_short_run_reports_every_variant_and_loses_nothing(tail: ModuleType) -> None:
    found = tail.measure(tail.asleep, 2, short(tail))
    assert found.decisions > 0
    assert found.logs > 0
    assert 0.0 <= found.waited < 1.0
    for variant in (name for names in tail.PHASES for name in names):
        assert len(found.each(variant, "p99.9")) == 2
    added = found.beyond("ours", "bare", "p50")
    assert added == [
        a - b for a, b in zip(found.each("ours", "p50"), found.each("bare", "p50"), strict=True)
    ]


def test_a_decision_that_did_not_arrive_fails_the_run(
    tail: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Hook.counters.fget
    assert counters is not None
    monkeypatch.setattr(
        Hook, "counters", property(lambda hook: {**counters(hook), "decisions": 10**9})
    )
    with pytest.raises(RuntimeError, match="decisions arrived"):
        tail.measure(tail.asleep, 1, short(tail))
