"""Everything at once, at random: whatever is installed, killed, taken back or fed, the service is not hurt."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import gnomon
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.config import Settings
from gnomon.sdk.language import check
from gnomon.sdk.records import Decision
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, Recording

from .common import KIND, accounted
from .test_runtime import in_child

BLOCKS = Switchback(b"machine", "default", 1_000_000_000, 0, 0, 0.5)
NOWHERE = Path("/nonexistent-gnomon-state")


class Unfloat:
    """A feature that raises when it is read as a number."""

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __repr__(self) -> str:
        return "Unfloat()"


class Thing:
    """An item whose accessor gives whatever it was made with."""

    def __init__(self, name: str, row: Any) -> None:
        self.name = name
        self.row = row


GOOD = st.tuples(st.integers(0, 2_000), st.floats(0.0, 1e6))
ODD = st.one_of(
    st.tuples(st.sampled_from([math.nan, math.inf, -1.0, 1e300, True, "3", None, Unfloat()]), GOOD),
    st.sampled_from([(), (1.0,), (1.0, 2.0, 3.0), [1.0, 2.0], None, 7, "ab", (Fraction(1, 3), 2)]),
)
ROWS = st.one_of(
    st.lists(GOOD, min_size=1, max_size=4),
    st.lists(st.one_of(GOOD, ODD), max_size=4),
)
ANSWERS = st.one_of(
    st.integers(0, 3),
    st.sampled_from(["fault", "raise", "memory", "nan", "none", "true", "beyond", "slow", "empty"]),
)
SOURCES = st.sampled_from(
    [
        "def score(inflight):\n    return inflight\n",
        "def score(inflight):\n    return -inflight\n",
        "def score(ewma_ms):\n    return 1.0 / (ewma_ms - ewma_ms)\n",
        "def score(since_picked, noise):\n    return noise - since_picked\n",
    ]
)


class Scripted:
    """A policy that answers as it is told, and notes who was asked."""

    inputs = ()

    def __init__(self, machine: Guard, label: tuple[str, int], answer: Any) -> None:
        self._machine, self._label, self._answer = machine, label, answer

    def choose(self, rows: Any) -> Any:
        self._machine.asked.append((self._label, self._answer))
        if self._answer == "raise":
            raise ZeroDivisionError("its own")
        if self._answer == "memory":
            raise MemoryError
        if self._answer == "slow":
            self._machine.clock.advance(0.003)
            return 0
        if self._answer == "empty":
            rows.clear()
            return 0
        odd = {"fault": -1, "nan": math.nan, "none": None, "true": True, "beyond": len(rows)}
        return odd.get(self._answer, self._answer)


def chooser(program: Any, kind: Any) -> Any:
    """Make either sort of policy ready."""
    if isinstance(program, Scripted):
        return program.choose
    from gnomon.sdk.language import chooser as lowered

    return lowered(program, kind)


def hot(row: Any) -> bool:
    return float(row[0]) >= 1000


def readable(row: Any) -> bool:
    try:
        first, second = row
        return all(0.0 <= float(value) <= 1e6 for value in (first, second))
    except Exception:  # noqa: BLE001 - as the service does
        return False


class Guard(RuleBasedStateMachine):
    """One hook of score form, its clock, and what its policies were asked."""

    @initialize(explore=st.sampled_from([0.0, 0.0, 0.5]), ring=st.sampled_from([4, 64]))
    def begin(self, explore: float, ring: int) -> None:
        self.clock = FakeClock()
        self.asked: list[Any] = []
        self.epoch = 0
        self.assignment = Assignment()
        self.tripped: set[tuple[str, int]] = set()
        self.calls: dict[int, tuple[list[Any], int]] = {}
        self.made = self.raised = self.bad = 0
        self.faults = self.violations = 0
        self.ring = ring
        self.base: Any = 0
        self.explore = explore

        @gnomon.hook(
            "machine.pick",
            kind=KIND,
            items="things",
            item_features=lambda thing: thing.row,
            item_name=lambda thing: thing.name,
            explore=explore,
        )
        def pick(things: list[Thing]) -> Any:
            if self.base == "raise":
                raise LookupError("the service's own")
            return things[self.base % len(things)] if things else None

        @gnomon.invariant(pick)
        def not_hot(items: Any, picked: Any) -> bool:
            return bool(picked.inflight < 1000)

        self.pick = pick
        pick.hook.chooser = chooser
        self.sink = Recording()
        self.configure()

    def configure(self) -> None:
        told = Settings(
            clock=self.clock.clock(), flush_interval_s=600.0, ring_size=self.ring, seed=1,
            state_dir=NOWHERE,
        )  # fmt: skip
        RUNTIME.configure(told, [self.sink])

    def teardown(self) -> None:
        RUNTIME.shutdown()
        gnomon.unkill()
        RUNTIME.hooks.pop("machine.pick", None)

    # --- what may happen -----------------------------------------------------------------------

    @rule(
        phase=st.sampled_from(["stable", "shadow", "canary", "full", "full", "killed"]),
        candidate=st.one_of(ANSWERS, SOURCES),
        stable=st.one_of(st.none(), ANSWERS),
        lease_s=st.sampled_from([0.5, 5.0, 1e6]),
        again=st.booleans(),
    )
    def install(self, phase: Any, candidate: Any, stable: Any, lease_s: float, again: bool) -> None:
        """Take a manifest; of the same epoch too, as when a lease is renewed."""
        self.epoch += not (again and self.epoch)
        self.assignment = Assignment(
            epoch=self.epoch,
            phase=phase,
            candidate=self.policy("candidate", candidate),
            candidate_digest="c" * 64,
            stable=self.policy("stable", stable),
            stable_digest="s" * 64 if stable is not None else "incumbent",
            switchback=BLOCKS,
            lease_until_ns=self.clock.monotonic + round(lease_s * 1e9),
            shadow_rate=1.0,
        )
        self.pick.hook.install(self.assignment)

    def policy(self, arm: str, answer: Any) -> Any:
        if answer is None:
            return None
        if isinstance(answer, str) and answer.startswith("def"):
            return check(answer, KIND.input_names)
        return Scripted(self, (arm, self.epoch), answer)

    @rule(reason=st.just("x"), every=st.booleans())
    def kill(self, reason: str, every: bool) -> None:
        gnomon.kill(None if every else self.pick, reason=reason)

    @rule()
    def unkill(self) -> None:
        gnomon.unkill()

    @rule(seconds=st.sampled_from([0.0001, 0.3, 1.0, 7.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-4e6, -1.5, 1.5, 4e6]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule()
    def drain(self) -> None:
        """Have records made of what waits, and compare them with what was seen."""
        with self.elsewhere():
            RUNTIME.round()
        self.compare()

    @rule()
    def configure_anew(self) -> None:
        self.drain()
        with self.elsewhere():
            self.configure()
        self.made = self.raised = self.faults = self.violations = self.bad = 0

    @contextmanager
    def elsewhere(self) -> Any:
        """Let policies be asked beside the calls: what a live shadow asks has no effect."""
        before = len(self.asked)
        yield
        del self.asked[before:]

    # --- calls ---------------------------------------------------------------------------------

    def may_answer(self) -> set[str]:
        """Return the arms that may be asked in a call that begins now."""
        now, at = self.clock.monotonic, self.assignment
        if gnomon.kills() or at.phase == "killed":
            return set()
        arms = {"stable"}
        if now < at.lease_until_ns and at.phase in ("canary", "full"):
            arms.add("candidate")
        return {arm for arm in arms if (arm, self.epoch) not in self.tripped}

    @rule(
        rows=ROWS,
        base=st.one_of(st.integers(0, 3), st.just("raise")),
        opened=st.booleans(),
        names=st.booleans(),
    )
    def call(self, rows: list[Any], base: Any, opened: bool, names: bool) -> None:
        things = [Thing(f"{i}" if names else f"{i}-{len(rows)}", row) for i, row in enumerate(rows)]
        before = [repr(thing.row) for thing in things]
        allowed, self.base = self.may_answer(), base
        self.asked.clear()
        self.made += 1
        picked, decision = self.served(things, opened)
        assert [repr(thing.row) for thing in things] == before
        assert [thing.name.split("-")[0] for thing in things] == [*map(str, range(len(things)))]
        self.bad += not all(map(readable, rows)) or not rows
        if picked is not self:
            self.check(things, picked, allowed)
        else:
            self.judged(things, allowed, None)
        if decision is not None and decision.recorded and picked in things:
            self.calls[decision.seq] = (rows, things.index(picked))
        self.note_trips()

    def check(self, things: list[Thing], picked: Any, allowed: set[str]) -> None:
        """Hold what the service got to what it may get."""
        told = self.base if isinstance(self.base, int) else -1
        incumbent = things[told % len(things)] if things and told >= 0 else None
        expected = self.judged(things, allowed, incumbent)
        if expected is not self and not self.explore:
            assert picked is expected
        elif picked is not expected and picked is not incumbent:
            assert readable(picked.row) and not hot(picked.row)

    def served(self, things: list[Thing], opened: bool) -> tuple[Any, Any]:
        """Return what the service gets, and the open decision; the machine itself where its own function raised."""
        try:
            if not opened:
                return self.pick(things), None
            with self.pick.decide(things) as decision:
                return decision.action, decision
        except LookupError:
            assert self.base == "raise"
            self.raised += 1
            return self, None

    def judged(self, things: list[Thing], allowed: set[str], incumbent: Any) -> Any:
        """Return what a call must give, by what its policy answered, and count its failures.

        The machine itself stands for what it cannot tell: a score's pick.
        """
        assert len(self.asked) <= 1, "one program answers a call"
        if not self.asked:
            return self.scored(allowed, incumbent)
        ((arm, epoch), answer) = self.asked[0]
        assert arm in allowed and epoch == self.epoch, "a program that may not decide was asked"
        assert all(readable(thing.row) for thing in things)
        index = 0 if answer == "slow" else answer
        if type(index) is not int or index >= len(things):
            self.faults += 1
            return incumbent
        if hot(things[index].row):
            self.violations += 1
            return incumbent
        return things[index]

    def scored(self, allowed: set[str], incumbent: Any) -> Any:
        """Return what a call gives in which no scripted policy was asked."""
        counters = self.pick.hook.counters
        failed = counters["faults"] - self.faults + counters["violations"] - self.violations
        if "candidate" not in allowed or not hasattr(self.assignment.candidate, "source"):
            assert failed == 0
            return incumbent
        assert 0 <= failed <= 1
        self.faults, self.violations = counters["faults"], counters["violations"]
        return incumbent if failed else self

    def note_trips(self) -> None:
        arms = self.pick.hook.live.arms
        for arm in ("candidate", "stable"):
            guarded = getattr(arms, arm)
            if guarded is not None and guarded.breaker.reason:
                self.tripped.add((arm, self.epoch))

    @rule(count=st.integers(1, 5))
    def call_from_threads(self, count: int) -> None:
        """Call from several threads at once; whoever may not answer is not asked by any of them."""
        things = [Thing(str(i), (i, 1.0)) for i in range(3)]
        allowed, self.base = self.may_answer(), 0
        before = self.pick.hook.counters
        self.asked.clear()
        found: list[Any] = []

        def calls() -> None:
            found.extend(self.pick(things) for _ in range(count))

        threads = [threading.Thread(target=calls) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)
        self.made += 3 * count
        assert len(found) == 3 * count
        assert all(picked in things for picked in found)
        assert {arm for (arm, _), _ in self.asked} <= allowed
        if not allowed and not self.explore:
            assert set(found) == {things[0]}
        after = self.pick.hook.counters
        self.faults += after["faults"] - before["faults"]
        self.violations += after["violations"] - before["violations"]
        self.note_trips()

    @rule()
    @precondition(lambda self: self.epoch % 3 == 0)  # forks are slow
    def call_in_a_fork(self) -> None:
        things = [Thing(str(i), (i, 1.0)) for i in range(3)]
        allowed, self.base = self.may_answer(), 0

        def work() -> bytes:
            self.asked.clear()
            picked = {things.index(self.pick(things)) for _ in range(4)}
            asked = {arm for (arm, _), _ in self.asked}  # before a live shadow asks for itself
            RUNTIME.round()
            ok = accounted(self.pick) and self.pick.hook.counters["decisions"] == 4
            ok = ok and (bool(allowed) or bool(self.explore) or picked == {0})
            return b"1" if ok and not asked - allowed else b"0"

        with self.elsewhere():
            assert in_child(work) == b"1"

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def counters_add_up(self) -> None:
        if not hasattr(self, "pick"):
            return
        counters = self.pick.hook.counters
        assert counters["decisions"] == self.made
        # Where a call could not be read before its function raised, that is what is counted.
        assert counters["raised"] <= self.raised <= counters["raised"] + counters["failed"]
        assert counters["faults"] == self.faults
        assert counters["violations"] == self.violations
        assert counters["unasked"] <= self.bad
        parts = sum(counters[name] for name in ("unasked", "faults", "violations"))
        assert counters["fallbacks"] == parts

    def compare(self) -> None:
        """Hold what was recorded to what was seen, and every call to one record or one count."""
        assert accounted(self.pick)
        for _, record in self.sink.records:
            if isinstance(record, Decision):
                self.compare_one(record)
        self.sink.records.clear()
        self.calls.clear()

    def compare_one(self, made: Decision) -> None:
        if made.detail == "killed" or made.arm == "incumbent":
            assert made.policy == "incumbent"
        if made.detail not in ("", "breaker"):
            assert made.policy == "incumbent"
        if made.seq not in self.calls:
            return
        rows, action = self.calls[made.seq]
        seen = [made.features[i : i + 2] for i in range(0, len(made.features), 4)]
        assert repr(seen) == repr([tuple(map(float, row)) for row in rows])
        assert made.action == action


def guard_machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Guard, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


def test_the_service_is_never_hurt() -> None:
    guard_machine(15, 25)


@pytest.mark.soak
def test_the_service_is_never_hurt_in_full() -> None:
    guard_machine(3_000, 60)
