"""The hot path's benchmark in a few calls: that each mode is what it says, and is refused when not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from gnomon.sdk.hook import Hook


@pytest.fixture
def hooks(benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark("_hooks")


@pytest.fixture
def calls(benchmark: Callable[[str], ModuleType], hooks: ModuleType) -> ModuleType:
    return benchmark("_calls")


@pytest.fixture
def few(benchmark: Callable[[str], ModuleType]) -> Any:
    return benchmark("_timing").Plan(repeats=2, blocks=2, calls=5)


def test_every_mode_in_every_form_does_what_its_row_says(calls: ModuleType, few: Any) -> None:
    """What is measured proves itself; a mode that did something else would raise."""
    for form in calls.FORMS:
        for mode in calls.MODES:
            cost = calls.ours(mode, form, few)
            assert len(cost.added) == len(cost.reference) == few.repeats
            assert cost.bare > 0.0


def test_both_blocks_of_a_canary_are_measured_by_turns(calls: ModuleType, few: Any) -> None:
    found = calls.together(("canary", calls.STABLE), plan=few)
    average = calls.share(found["canary"], found[calls.STABLE], 0.1)
    for i in range(few.repeats):
        low, high = sorted((found["canary"].added[i], found[calls.STABLE].added[i]))
        assert low <= average.added[i] <= high


def test_sticky_canaries_are_of_the_arm_that_they_say(calls: ModuleType, few: Any) -> None:
    assert calls.ours("recorded", plan=few, **calls.BY_UNIT).bare > 0.0
    found = calls.together(calls.STICKY, plan=few, **calls.BY_UNIT)
    assert {len(cost.added) for cost in found.values()} == {few.repeats}


def test_further_arguments_reach_the_hook(calls: ModuleType, hooks: ModuleType, few: Any) -> None:
    two = calls.Form("2 items", calls.PLAIN.loop, items=[hooks.Item(), hooks.Item()])
    assert len(calls.ours("recorded", two, few, explore=0.5).added) == few.repeats
    with pytest.raises(hooks.gnomon.ConfigurationError, match="explore=2"):
        calls.ours("recorded", plan=few, explore=2)


def test_costs_are_scaled_repeat_by_repeat(calls: ModuleType) -> None:
    """A machine at half its speed in one repeat says the same in both."""
    cost = calls.Cost([100.0, 200.0, 200.0], 40.0, [30.0, 60.0, 60.0])
    assert cost.value == 200.0
    assert cost.standard == 100.0
    assert cost.scale == 2.0


def test_a_dropped_record_fails_the_run(hooks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "ROOM", 3)
    pick = hooks.hooked()
    with hooks.on() as kept:
        for _ in range(5):
            pick("u", [hooks.Item()], None)
        hooks.drain()
        with pytest.raises(RuntimeError, match="dropped"):
            hooks.prove(pick, "recorded", 5, kept.last.get(hooks.name_of(pick)))


@pytest.mark.parametrize("mode", ["off", "sampled out", "recorded", "canary"])
def test_a_mode_that_was_another_fails_the_run(hooks: ModuleType, mode: str) -> None:
    others = {"off": "recorded", "sampled out": "recorded", "recorded": "off", "canary": "recorded"}
    pick = hooks.hooked()
    if others[mode] == "off":
        pick("u", [hooks.Item()], None)
        last = None
    else:
        with hooks.on() as kept:
            pick("u", [hooks.Item()], None)
            hooks.drain()
            last = kept.last[hooks.name_of(pick)]
    with pytest.raises(RuntimeError, match="run it again"):
        hooks.prove(pick, mode, 1, last)


def test_a_canary_is_one_of_blocks_and_the_candidate_decides_in_its_own(hooks: ModuleType) -> None:
    pick = hooks.hooked()
    hooks.start_canary(pick, candidate=True)
    with hooks.on() as kept:
        pick("u", [hooks.Item()], None)
        hooks.drain()
    decision = kept.last[hooks.name_of(pick)]
    assert (decision.arm, decision.policy, decision.reason) == ("candidate", hooks.DIGEST, "split")
    assert decision.block >= 0
    assert "light" in {invariant.name for invariant in Hook.of(pick).invariants}
