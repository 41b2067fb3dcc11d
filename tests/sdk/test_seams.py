"""Where two of the hook's shortcuts meet: lean policies, trackers, draws, items that compare, other threads."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest

import gnomon
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.hook import Hook
from gnomon.sdk.language import check
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, force, recording

from .common import KIND, READ, Item, accounted, items

READS: dict[str, Any] = READ | {"item_features": lambda b: (b.inflight, b.ewma_ms)}
LEAN = "def score(inflight):\n    return inflight\n"
SINCE = "def score(inflight, since_picked):\n    return inflight - since_picked\n"
NOISE = "def score(noise):\n    return noise\n"
EARLY = (
    "def score(inflight):\n    if inflight < 0.0:\n        return 1.0\n    return inflight * 2.0\n"
)
POLICIES = {"lean": LEAN, "since": SINCE, "noise": NOISE, "early": EARLY}


def first(request: Any, backends: list[Any]) -> Any:
    return backends[0]


def holds(seen: Any, source: str) -> None:
    """What is recorded reproduces what was picked: the lowest score, ties to the lower noise."""
    program = check(source, KIND.input_names)
    for decision in seen:
        rows = [decision.features[i : i + 4] for i in range(0, len(decision.features), 4)]
        best = min(range(len(rows)), key=lambda i: (program.interpret(*rows[i]), rows[i][3]))
        assert best == decision.action


@pytest.mark.parametrize("explore", [0.0, 0.5])
@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_with_every_draw_and_rule(name: str, ruled: bool, explore: float) -> None:
    pick = gnomon.hook("a", explore=explore, **READS)(first)
    if ruled:
        gnomon.invariant(pick, name="light")(lambda items, picked: picked.inflight <= 100)
    backends = [Item("a", 2), Item("b", 1), Item("c", 1)]
    with recording() as seen:
        force(pick, POLICIES[name])
        for _ in range(60):
            assert pick(None, backends) in backends
            RUNTIME.round()
        decisions = seen.decisions
        assert len(decisions) == pick.hook.counters["recorded"] == 60
        assert accounted(pick)
    holds([d for d in decisions if d.reason != "explore"], POLICIES[name])
    assert all(0.0 < d.propensity <= 1.0 for d in decisions)


@pytest.mark.parametrize("stable", POLICIES)
@pytest.mark.parametrize("candidate", POLICIES)
def test_both_arms_of_every_pair_are_recorded(stable: str, candidate: str) -> None:
    pick = gnomon.hook("a", **READS)(first)
    clock = FakeClock()
    pair = {
        name: check(POLICIES[policy], KIND.input_names)
        for name, policy in (("stable", stable), ("candidate", candidate))
    }
    with recording(clock=clock) as seen:
        Hook.of(pick).install(
            Assignment(
                epoch=1, phase="canary", switchback=Switchback(b"s", "default", 10**9, 0, 0, 0.5),
                stable_digest="s" * 64, candidate_digest="c" * 64, **pair,
            )
        )  # fmt: skip
        for turn in range(80):
            clock.advance(0.1)
            pick(None, [Item("a", turn % 3), Item("b", 1)])
            RUNTIME.round()
        assert pick.hook.counters["failed"] == 0
        decisions = seen.decisions
    assert len(decisions) == 80
    assert {d.arm for d in decisions} == {"stable", "candidate"}
    holds([d for d in decisions if d.arm == "stable"], POLICIES[stable])
    holds([d for d in decisions if d.arm == "candidate"], POLICIES[candidate])


def test_an_early_return_is_answered_in_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    pick = gnomon.hook("a", **READS)(first)
    steps: list[int] = []
    with recording(clock=FakeClock()):
        pick(None, items(2))
        monkeypatch.setattr(pick.hook.live, "ask", lambda *given: steps.append(1))
        force(pick, EARLY)
        assert pick(None, [Item("item-0", 2), Item("item-1", 1)]).name == "item-1"
    assert steps == []


def test_a_policy_s_helpers_replace_nothing_of_the_service_s() -> None:
    pick = gnomon.hook(
        "a", **READ | {"item_features": lambda b: (float(bool(b.inflight)), float(b.ewma_ms))}
    )(first)
    source = (
        "def bool(x):\n    return 777.0 - x\n"
        "def globals(x):\n    return x\n"
        "def score(inflight):\n    return bool(globals(inflight))\n"
    )
    with recording() as seen:
        pick(None, [Item("a", 3), Item("b", 0)])
        force(pick, source)
        pick(None, [Item("a", 3), Item("b", 0)])
        before, after = seen.decisions
    assert before.features[0] == after.features[0] == 1.0
    assert after.action == 0


class Zone(str):
    """A text with more to it."""

    weight = 3


@pytest.mark.parametrize(
    ("once", "again"),
    [(["a", "b"], [Zone("a"), Zone("b")]), ([1, 2], [True, 2.0]), ([1, 2], [1.0, 2.0])],
)
def test_the_pick_is_an_object_of_this_call(once: list[Any], again: list[Any]) -> None:
    pick = gnomon.hook(
        "a", kind=KIND, items="backends", item_features=lambda b: (len(str(b)), 1.0)
    )(first)
    with recording():
        force(pick, NOISE)
        for backends in (once, again):
            for _ in range(20):
                picked = pick(None, backends)
                assert any(picked is one for one in backends)


@dataclass
class Equal:
    """Compares by value."""

    name: str
    inflight: float = 0
    ewma_ms: float = 1.0


def test_a_copy_that_was_returned_is_told_by_what_it_was() -> None:
    pick = gnomon.hook("a", **READS)(lambda request, backends: Equal(*request))
    backends = [Equal("a", 1), Equal("b", 2)]
    with recording() as seen:
        pick(("b", 2, 1.0), backends)
        backends[1].inflight = 7
        backends[0].name, backends[0].inflight = "b", 2
        assert [d.action for d in seen.decisions] == [1]


def test_a_unit_is_a_text_at_once() -> None:
    pick = gnomon.hook("a", unit=lambda request: request, **READS)(first)
    request = {"user": 1}
    with recording() as seen:
        pick(request, items())
        request["secret"] = 2
        assert seen.decisions[0].unit == "{'user': 1}"


def test_what_raises_anything_in_the_drainer_costs_one_record() -> None:
    class Worst:
        def __float__(self) -> float:
            raise SystemExit

    pick = gnomon.hook("a", **READS)(first)
    with recording() as seen:
        pick(None, [Item("x", inflight=Worst())])  # type: ignore[arg-type]
        pick(None, items())
        assert len(seen.decisions) == 1
        assert pick.hook.counters["failed"] == 1


def test_accessors_may_wait_for_a_lock_that_another_caller_holds() -> None:
    mine = threading.Lock()
    inside = threading.Event()

    def name(item: Item) -> str:
        inside.set()
        with mine:
            return item.name

    pick = gnomon.hook("a", **READS | {"item_name": name})(first)
    with recording():
        mine.acquire()
        other = threading.Thread(target=pick, args=(None, items(2)))
        other.start()
        assert inside.wait(10)
        done = threading.Thread(target=pick.hook.live.advance)
        done.start()
        done.join(10)
        assert not done.is_alive(), "nothing of Gnomon's is held while an accessor runs"
        mine.release()
        other.join(10)
        assert not other.is_alive()


def test_no_decision_has_the_number_of_one_before_the_last_configure() -> None:
    pick = gnomon.hook("a", **READS)(first)
    with recording(), pick.decide(None, items()) as before:
        old = before.id
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            before.outcome(latency_ms=111.0)
            pick.outcome(old, latency_ms=112.0)
            decision.outcome(latency_ms=1.0)
        assert decision.id != old
        assert [o.values for o in seen.outcomes] == [(("latency_ms", 1.0),)]
        assert pick.hook.counters["decisions"] == 1
        assert pick.hook.counters["unknown_outcomes"] == 2


@pytest.mark.parametrize("asked", [False, True])
def test_the_function_sees_no_exception_of_an_accessor(asked: bool) -> None:
    seen: list[Any] = []

    @gnomon.hook("a", **READS | {"item_features": lambda b: (1 / 0, 1.0)})
    def pick(request: Any, backends: list[Item]) -> Item:
        seen.append(sys.exc_info())
        return backends[0]

    with recording():
        if asked:
            force(pick, LEAN)
        pick(None, items())
    assert seen == [(None, None, None)]


def test_calls_that_end_in_another_order_leave_the_latest_pick() -> None:
    inner: list[Any] = []

    @gnomon.hook("a", **READS)
    def pick(request: int, backends: list[Item]) -> Item:
        if request == 1:
            inner.append(pick(0, backends))
        return backends[0]

    with recording() as seen:
        backends = items(2)
        pick(1, backends)
        pick(2, backends)
        assert [d.features[2] for d in seen.decisions if d.seq == 2] == [1.0]


def test_a_missed_window_stays_out_when_a_program_comes_in_it() -> None:
    from gnomon.sdk.arms import Sampling

    from .test_arms import window_before

    pick = gnomon.hook("a", **READS)(first)
    clock = FakeClock()
    window_before(Sampling(0.5, 10**10, "a", "default"), (False, True), clock)
    with recording(clock=clock, sample=0.5) as seen:
        pick(None, items())
        pick.hook.live._often = True
        RUNTIME.round()
        clock.advance(13.0)
        pick(None, items())
        force(pick, LEAN)
        pick(None, items())
        force(pick, "incumbent")
        pick(None, items())
        assert seen.decisions == []
        assert pick.hook.counters["missed_windows"] == 1
        assert accounted(pick)
