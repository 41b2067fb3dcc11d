"""The method, on targets whose cost is known because a fake says so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def timing(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("_timing")


def told(target: Any, items: Any, calls: int) -> int:
    """Stand for a loop: the target says how long it took."""
    return int(target(calls))


async def told_later(target: Any, items: Any, calls: int) -> int:
    await target(calls)
    return 7 * calls


def test_functions_take_turns_block_by_block(timing: ModuleType) -> None:
    order: list[str] = []

    def costing(name: str, ns: int) -> Callable[[int], int]:
        return lambda calls: order.append(name) or ns * calls  # type: ignore[func-returns-value]

    timed = {
        name: timing.Timed(told, costing(name, ns), ()) for name, ns in {"a": 3, "b": 5}.items()
    }
    found = timing.by_turns(timed, timing.Plan(2, 3, 10), lambda: order.append("settle"))
    repeat = ["settle", *("a", "b") * 3]
    assert order == ["a", "b", *repeat * 2, "settle"]
    assert found == {"a": [3.0, 3.0], "b": [5.0, 5.0]}
    assert timing.differences(found, "b", "a") == [2.0, 2.0]


@pytest.mark.parametrize("collecting", [False, True])
def test_the_collector_runs_as_planned_and_afterwards(timing: ModuleType, collecting: bool) -> None:
    seen: list[bool] = []

    def look(calls: int) -> int:
        seen.append(gc.isenabled())
        return 0

    plan = timing.Plan(1, 1, 1, collecting)
    timing.by_turns({"a": timing.Timed(told, look, ())}, plan, lambda: None)
    assert seen == [True, collecting]  # the first is the warm-up
    assert gc.isenabled()


def test_a_failure_leaves_the_collector_on(timing: ModuleType) -> None:
    def fail(calls: int) -> int:
        if not gc.isenabled():
            raise KeyError("broken")
        return 0

    with pytest.raises(KeyError):
        timing.by_turns({"a": timing.Timed(told, fail, ())}, timing.Plan(1, 1, 1), lambda: None)
    assert gc.isenabled()


def test_coroutines_are_run_to_their_end_and_refused_when_they_wait(timing: ModuleType) -> None:
    async def ready(calls: int) -> None:
        return None

    async def waiting(calls: int) -> None:
        await asyncio.sleep(0)

    plan = timing.Plan(1, 1, 10)
    timed = timing.Timed(told_later, ready, ())
    assert timing.by_turns({"a": timed}, plan, lambda: None) == {"a": [7.0]}
    with pytest.raises(RuntimeError, match="suspended"):
        timing.by_turns({"a": timing.Timed(told_later, waiting, ())}, plan, lambda: None)


def test_every_function_has_call_sites_of_its_own(timing: ModuleType) -> None:
    first, second = timing.own(timing.positional), timing.own(timing.positional)
    assert first.__code__ is not second.__code__
    assert first.__code__ == timing.positional.__code__


def test_every_form_of_call_calls_so_often(timing: ModuleType) -> None:
    calls: list[Any] = []

    class Target:
        def pick(self, request: str, items: Any, spare: Any) -> None:
            calls.append(items)

    for form in (timing.positional, timing.keywords):
        assert form(Target().pick, "items", 5) >= 0
    assert timing.method(Target(), "items", 5) >= 0
    assert calls == ["items"] * 15


VALUES = st.lists(st.integers(0, 100), min_size=1, max_size=200)


@given(VALUES, st.sampled_from([0.001, 0.5, 0.99, 0.999, 1.0]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_percentile_is_the_smallest_value_that_covers_its_share(
    timing: ModuleType, values: list[int], share: float
) -> None:
    found = timing.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    smaller = [value for value in values if value < found]
    assert len(smaller) < share * len(values)


def test_no_values_have_no_percentile(timing: ModuleType) -> None:
    with pytest.raises(ValueError, match="measure for longer"):
        timing.percentile([], 0.5)
