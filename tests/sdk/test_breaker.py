"""The breaker: it trips once, in time, whoever notes the failures, and holds until another epoch."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.config import Settings
from gnomon.sdk.guard import MOST_FUEL
from gnomon.sdk.limits import BURST_NS, Breaker, Breakers, Limits
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, Recording, force, recording

from .common import READ, Item, accounted, items, run
from .test_runtime import in_child

MS = 1_000_000


def marked(name: str = "breaker.pick", **more: Any) -> Any:
    return gnomon.hook(name, **(READ | more))(lambda request, backends: backends[0])


# --- what trips it ---------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 120), max_size=12),
    st.integers(1, 4),
    st.integers(4, 100),
)
def test_it_trips_at_so_many_failures_within_so_many_answers(
    gaps: list[int], faults: int, window: int
) -> None:
    told: list[str] = []
    breaker = Breaker(Limits(faults=faults, slow=1, window=window), told.append)
    seen: list[int] = []
    expected = False
    for gap in gaps:
        seen.append((seen[-1] if seen else 0) + gap)
        breaker.fault(seen[-1], "fault")
        near = len(seen) >= faults and seen[-1] - seen[-faults] < window
        expected = expected or near
        assert bool(breaker.reason) == expected == bool(told)
    assert len(told) <= 1


def test_threads_that_fail_together_trip_it_once_and_never_not_at_all() -> None:
    for _ in range(30):
        told: list[str] = []
        breaker = Breaker(Limits(faults=8, window=10**6), told.append)
        start = threading.Barrier(8)

        def fail(breaker: Breaker = breaker, start: threading.Barrier = start) -> None:
            start.wait(10.0)
            breaker.fault(breaker.number(), "fault")

        threads = [threading.Thread(target=fail) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)
        assert told == [breaker.reason] != [""]


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 1_000)), max_size=40))
def test_the_share_of_a_thread_s_time_is_bounded(answers: list[tuple[int, int]]) -> None:
    """What answers took is never more than the share of the time gone by, and a second, without a trip."""
    share = 0.25
    breaker = Breaker(Limits(share=share), lambda reason: None)
    now = begun = 10**15  # a clock that began long ago
    charged = worst = 0.0
    for pause_ms, spent_ms in answers:
        now += pause_ms * MS + spent_ms * MS
        charged += spent_ms * MS
        breaker.charge(now, spent_ms * MS)
        worst = max(worst, charged - share * (now - begun))
    if worst > BURST_NS:
        assert breaker.reason == "answers took more than 25% of a thread's time"


def test_each_thread_is_charged_for_itself() -> None:
    breaker = Breaker(Limits(), lambda reason: None)

    def charge() -> None:
        breaker.charge(10**12, BURST_NS - MS)

    for _ in range(3):
        thread = threading.Thread(target=charge)
        thread.start()
        thread.join(10.0)
    assert breaker.reason == ""
    charge()
    charge()
    assert breaker.reason


def test_answers_below_the_budget_that_take_too_much_of_a_thread_trip() -> None:
    pick, clock, backends = marked(), FakeClock(), items()

    def taking(seconds: float, pause: float) -> tuple[int, str]:
        def choose(rows: Any) -> int:
            clock.advance(seconds)
            return 1

        run(pick, choose, epoch=pick.hook.assignment.epoch + 1)
        for n in range(3_000):
            if pick(None, backends) is not backends[1]:
                return n, pick.hook.breaker
            clock.advance(pause)
        return 3_000, pick.hook.breaker

    with recording(clock=clock):
        answered, why = taking(0.0019, 0.001)
        assert 700 < answered < 1_000
        assert why == "candidate: answers took more than 25% of a thread's time"
        assert taking(0.00009, 0.0) == (3_000, "")  # quick ones are free
        assert taking(0.0019, 0.0058) == (3_000, "")  # a quarter of the time
        assert pick.hook.counters["slow"] == 0
        RUNTIME.round()
        assert accounted(pick)


def test_a_thread_that_waits_for_the_interpreter_now_and_then_takes_nothing_back() -> None:
    """Eight busy threads: each is held up for 35 ms, 25 times a second, wherever it happens to be."""
    pick = marked()
    with recording():
        run(pick, lambda rows: 1)
        guarded = pick.hook.live.arms.candidate
        for n in range(1_000):
            guarded.took(40 * MS * n, 35 * MS, 1_600 * n)
        assert pick.hook.breaker == ""
        assert pick.hook.counters["slow"] == 1_000


class Ticking:
    """A clock on which every reading takes some time, as if whoever reads it had been held up."""

    def __init__(self) -> None:
        self.now = 0
        self.step = 0

    def __call__(self) -> int:
        self.now += self.step
        return self.now


def test_a_short_score_that_turns_slow_is_measured_at_once_and_taken_back() -> None:
    """Of a short score one answer in 64 is measured; after a slow one each is, from the next call on."""
    from gnomon.sdk.config import Clock

    pick = gnomon.hook("breaker.short", **READ)(lambda request, backends: backends[0])
    backends, ticking = [Item("a", 2), Item("b", 1)], Ticking()
    settings = Settings(clock=Clock(lambda: 10**18, ticking, ticking), flush_interval_s=60.0)
    RUNTIME.configure(settings, [Recording()])
    try:
        force(pick, "def score(inflight):\n    return inflight\n")
        pick(None, backends)
        RUNTIME.round()  # writes out what is fastest
        ticking.now = 0
        for _ in range(200):
            assert pick(None, backends) is backends[1]
        assert pick.hook.counters["slow"] == 0
        ticking.step = 3 * MS
        calls = 0
        while not pick.hook.breaker:
            pick(None, backends)
            calls += 1
            assert calls <= 64 + 10, "not every answer after the first slow one was measured"
        assert pick.hook.breaker.endswith("last: slow")
        assert pick(None, backends) is backends[0]
    finally:
        RUNTIME.shutdown()
        force(pick, "incumbent")


# --- whose limits ----------------------------------------------------------------------------------


def test_a_hook_s_own_limits_go_before_those_of_the_process() -> None:
    own = marked("breaker.own", limits=gnomon.Limits(faults=1))
    other, backends = marked("breaker.other"), items()
    with recording(limits=Limits(faults=2)):
        for pick, most in ((own, 1), (other, 2)):
            asked: list[int] = []
            run(pick, lambda rows, asked=asked: asked.append(1) or -1)
            for _ in range(5):
                pick(None, backends)
            assert len(asked) == most
            assert pick.hook.breaker.startswith(f"candidate: {most} failures in {most} answers")


def test_limits_of_configure_reach_hooks() -> None:
    pick = marked()
    gnomon.configure(sink=Recording(), limits=gnomon.Limits(budget_ns=1))
    run(pick, lambda rows: 1)
    pick(None, items())
    assert pick.hook.counters["slow"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"faults": 0}, "faults is 0"),
        ({"window": True}, "window is True"),
        ({"budget_ns": 2e6}, "budget_ns is 2000000.0"),
        ({"quick_ns": -1}, "quick_ns is -1"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": float("nan")}, "share is nan"),
        ({"share": 1.5}, "share is 1.5"),
        ({"share": "a quarter"}, "share is 'a quarter'"),
        ({"share": None}, "share is None"),
        ({"faults": 101}, "faults is 101, which a window of 100 answers never holds"),
        ({"window": 9}, "slow is 10, which a window of 9 answers never holds"),
        ({"faults": 1 << 70, "window": 1 << 70}, "no more than 10000"),
    ],
)
def test_limits_that_mean_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=said):
        gnomon.Limits(**given)


def test_what_is_no_limits_is_refused() -> None:
    with pytest.raises(gnomon.ConfigurationError, match="limits=3 are none"):
        marked(limits=3)
    with pytest.raises(gnomon.ConfigurationError, match="cache 'c': limits=3 are none"):
        gnomon.PolicyCache(1, name="c", limits=3)  # type: ignore[arg-type]
    with pytest.raises(gnomon.ConfigurationError, match="configure: limits=3"):
        gnomon.configure(sink=Recording(), limits=3)  # type: ignore[arg-type]


# --- how long it holds -----------------------------------------------------------------------------


def tripped(name: str = "breaker.pick") -> tuple[Any, list[Item]]:
    pick, backends = marked(name), items()
    run(pick, lambda rows: -1)
    for _ in range(4):
        pick(None, backends)
    assert pick.hook.breaker
    return pick, backends


def test_it_holds_in_a_forked_child_and_over_another_configure() -> None:
    with recording():
        pick, backends = tripped()
        run(pick, lambda rows: 1)
        child = in_child(lambda: f"{backends.index(pick(None, backends))}".encode())
        assert child == b"0"
        RUNTIME.configure(Settings(limits=Limits(faults=9)), [Recording()])
        assert pick(None, backends) is backends[0]
        assert pick.hook.breaker.startswith("candidate: 3 failures")
        run(pick, lambda rows: 1, epoch=2)
        assert pick(None, backends) is backends[1]


def test_another_invariant_gives_no_second_try() -> None:
    with recording():
        pick, backends = tripped()
        gnomon.invariant(pick, name="any")(lambda items, picked: True)
        run(pick, lambda rows: 1)
        assert pick(None, backends) is backends[0]


def test_breakers_are_kept_for_as_long_as_the_epoch() -> None:
    told: list[str] = []
    breakers = Breakers(told.append)
    one = breakers.of("candidate", 3, Limits(faults=1))
    one.fault(0, "fault")
    assert breakers.of("candidate", 3, Limits(faults=5)) is one
    assert breakers.of("stable", 3, Limits()) is not one
    assert breakers.of("candidate", 4, Limits()).reason == ""
    one.fault(1, "fault")
    assert len(told) == 1


# --- calls that would take too long ----------------------------------------------------------------

LONG = "def score(inflight):\n    x = inflight\n    for k in range(100):\n        x = x + 1.0\n    return x\n"


def test_more_items_than_a_policy_s_fuel_allows_are_the_incumbent_s() -> None:
    pick = marked()
    with recording() as seen:
        force(pick, LONG)
        program: Any = pick.hook.assignment.candidate
        most = MOST_FUEL // program.fuel_bound
        backends = [Item(str(i), inflight=most + 1 - i) for i in range(most + 1)]
        assert pick(None, backends) is backends[0]
        assert pick(None, backends[:most]) is backends[most - 1]
        assert [d.detail for d in seen.decisions] == ["features", ""]
        assert (pick.hook.breaker, pick.hook.counters["unasked"]) == ("", 1)
        assert accounted(pick)
