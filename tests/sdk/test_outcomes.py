"""Outcomes: one per decision, the first counts, none by the deadline is a failure at the clip."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import gnomon
from gnomon.sdk.outcomes import Pending
from gnomon.sdk.records import Decision
from gnomon.testing import FakeClock, recording

from .common import KIND, READ, items

DEADLINE_NS = 1_000


@pytest.fixture
def pick() -> Any:
    return gnomon.hook("a", **READ)(lambda request, backends: backends[0])


def test_the_block_s_end_closes_a_decision(pick: Any) -> None:
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            decision.outcome(latency_ms=4, extra=1, ok=False)
        with pytest.raises(ValueError, match="x"), pick.decide(None, items()):
            raise ValueError("x")
        with pytest.raises(KeyboardInterrupt), pick.decide(None, items()):
            raise KeyboardInterrupt
        outcomes = seen.outcomes
    assert [(o.seq, o.status, o.ok) for o in outcomes] == [
        (0, "reported", False),
        (1, "error", False),
        (2, "cancelled", False),
    ]
    assert outcomes[0].values == (("latency_ms", 4.0), ("extra", 1.0))
    assert all(type(value) is float for _, value in outcomes[0].values)


def test_a_cancelled_task_closes_its_decision(pick: Any) -> None:
    async def request() -> None:
        async with pick.decide(None, items()):
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with recording() as seen:
        asyncio.run(cancel())
        assert [o.status for o in seen.outcomes] == ["cancelled"]


def test_the_first_report_counts(pick: Any) -> None:
    with recording() as seen:
        with pytest.raises(OSError, match="after"), pick.decide(None, items()) as decision:
            decision.outcome(latency_ms=1)
            decision.outcome(latency_ms=2)
            raise OSError("after")
        pick.outcome(decision.id, latency_ms=3)
        assert [o.values for o in seen.outcomes] == [(("latency_ms", 1.0),)]
        assert pick.hook.counters["repeated_outcomes"] == 3


def test_an_outcome_in_parts(pick: Any) -> None:
    """A streamed answer: the first token is known long before the last."""
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            decision.partial(first_token_ms=80)
            decision.partial(first_token_ms=90.5, tokens=3)
            assert seen.outcomes == []
            decision.outcome(latency_ms=400, tokens=12)
            decision.partial(tokens=99)
        (outcome,) = seen.outcomes
        assert pick.hook.counters["repeated_outcomes"] == 1
    assert dict(outcome.values) == {"first_token_ms": 90.5, "tokens": 12.0, "latency_ms": 400.0}
    assert (outcome.ok, outcome.status) == (True, "reported")


def test_parts_stay_when_the_rest_fails_or_never_comes(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        with pytest.raises(OSError, match="cut"), pick.decide(None, items()) as decision:
            decision.partial(first_token_ms=80)
            raise OSError("cut")
        with pick.decide(None, items()) as decision:
            decision.partial(first_token_ms=70, latency_ms=1)
        pick.partial(decision.id, tokens=2)
        clock.advance(KIND.outcome_deadline_s + 1)
        failed, missing = seen.outcomes
    assert (failed.status, failed.values) == ("error", (("first_token_ms", 80.0),))
    assert missing.status == "missing"
    assert dict(missing.values) == {"first_token_ms": 70.0, "tokens": 2.0, "latency_ms": 2000.0}


def test_a_retried_request_is_two_decisions_and_a_repeated_report_one_outcome(pick: Any) -> None:
    with recording() as seen:
        for ok in (False, True):
            with pick.decide(None, items()) as decision:
                decision.outcome(latency_ms=5, ok=ok)
            pick.outcome(decision.id, latency_ms=6)
        assert [(o.seq, o.ok) for o in seen.outcomes] == [(0, False), (1, True)]
        assert pick.hook.counters["repeated_outcomes"] == 2


@pytest.mark.parametrize("bad", ["fast", None, [1], 10**400, object()])
def test_a_report_that_is_no_number_is_counted(pick: Any, bad: Any) -> None:
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            decision.outcome(latency_ms=bad)
            decision.partial(tokens=bad)
        assert seen.outcomes == []
        assert pick.hook.counters["bad_reports"] == 2
        pick.outcome(decision.id, latency_ms=float("nan"))
        assert str(seen.outcomes[0].values) == "(('latency_ms', nan),)"


def test_a_late_outcome_by_id(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        with pick.decide(None, items()) as decision:
            pass
        assert seen.outcomes == []
        clock.advance(1)
        pick.outcome(decision.id, latency_ms=1000)
        (outcome,) = seen.outcomes
    assert outcome.decision_ns == seen.decisions[0].time_ns
    assert outcome.time_ns - outcome.decision_ns == 10**9
    assert len(decision.id) == 16
    assert decision.id[:8].hex() == pick.hook.process_id


def test_no_outcome_by_the_deadline_is_a_failure_at_the_clip(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        with pick.decide(None, items()) as decision:
            pass
        clock.advance(KIND.outcome_deadline_s + 0.001)
        (outcome,) = seen.outcomes
        pick.outcome(decision.id, latency_ms=1)
        assert len(seen.outcomes) == 1
        counters = pick.hook.counters
    assert (outcome.ok, outcome.status) == (False, "missing")
    assert outcome.values == (("latency_ms", 2000.0),)
    assert (counters["missing_outcomes"], counters["unknown_outcomes"]) == (1, 1)


def test_plain_calls_alone_await_nothing(pick: Any) -> None:
    clock = FakeClock()
    with recording(clock=clock) as seen:
        pick(None, items())
        clock.advance(60)
        assert seen.outcomes == []
        assert not pick.hook.has_outcomes


@pytest.mark.parametrize("decision_id", [b"x", b"0" * 16, bytes(40)])
def test_ids_of_nobody_are_counted(pick: Any, decision_id: bytes) -> None:
    with recording() as seen:
        pick(None, items())
        pick.outcome(decision_id, latency_ms=1)
        assert seen.outcomes == []
        assert pick.hook.counters["unknown_outcomes"] == 1


def test_values_that_are_no_numbers_are_counted(pick: Any) -> None:
    with recording() as seen:
        with pick.decide(None, items()) as decision:
            decision.outcome(latency_ms="fast")
        assert seen.outcomes == []
        assert pick.hook.counters["bad_reports"] == 1


def test_outcomes_of_decisions_that_found_no_room_are_not_sent(pick: Any) -> None:
    with recording(ring_size=1) as seen:
        for _ in range(3):
            with pick.decide(None, items()) as decision:
                decision.outcome(latency_ms=1)
        counters = pick.hook.counters
        assert len(seen.decisions) + counters["dropped"] == 3
        assert pick.hook.counters["unknown_outcomes"] == 0


def make(seq: int, time_ns: int) -> Decision:
    return Decision(
        seq, time_ns, -1, "", "stable", "static", "", "incumbent", 1, seq % 3, 0, 1, (0.0,), 1.0,
        "sampled", 0, 0,
    )  # fmt: skip


class PendingMachine(RuleBasedStateMachine):
    """The bounded table against a plain history of everything that happened."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending(DEADLINE_NS, ("m", 9.0), room=4)
        self.now = 0
        self.seq = 0
        self.opened: dict[int, int] = {}
        self.closed: dict[int, str] = {}
        self.parts: set[int] = set()

    def take(self, outcomes: Any) -> None:
        for outcome in outcomes:
            assert outcome.seq not in self.closed, "one outcome per decision"
            assert outcome.decision_ns == self.opened[outcome.seq]
            self.closed[outcome.seq] = outcome.status
            assert ("part", 1.0) in outcome.values or outcome.seq not in self.parts

    @rule(step=st.integers(0, 700))
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule()
    def decide(self) -> None:
        self.opened[self.seq] = self.now
        given_up: list[Any] = []
        self.pending.open(make(self.seq, self.now), given_up)
        self.take(given_up)
        self.seq += 1

    @rule(back=st.integers(0, 6))
    def report(self, back: int) -> None:
        seq = self.seq - 1 - back
        outcome = self.pending.close((seq, self.now, True, "reported", (("m", 1.0),)))
        in_time = seq in self.opened and self.now - self.opened[seq] <= DEADLINE_NS
        assert (outcome is not None) == (in_time and seq not in self.closed)
        self.take([outcome] if outcome else [])

    @rule(back=st.integers(0, 6))
    def part(self, back: int) -> None:
        seq = self.seq - 1 - back
        assert self.pending.close((seq, self.now, True, "partial", (("part", 1.0),))) is None
        if seq in self.opened and seq not in self.closed:
            self.parts |= {seq} if self.now - self.opened[seq] <= DEADLINE_NS else set()

    @rule()
    def sweep(self) -> None:
        self.take(self.pending.sweep(self.now))
        for seq, opened in self.opened.items():
            if self.now - opened > DEADLINE_NS:
                assert seq in self.closed, "no decision past its deadline stays open"

    @invariant()
    def bounded_and_counted(self) -> None:
        assert len(self.pending) <= 4
        counts = self.pending.counts
        assert counts["outcomes"] + counts["missing_outcomes"] == len(self.closed)


TestPending = PendingMachine.TestCase
TestPending.settings = settings(max_examples=60, stateful_step_count=40)
