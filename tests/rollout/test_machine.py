"""The state machine: any order of events keeps its promises, and seeded rollouts reach every arrow."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gnomon.policies.rollout import codec
from gnomon.policies.rollout.blocks import Exclusion
from gnomon.policies.rollout.deciding import failing
from gnomon.policies.rollout.events import Act, Action, Broke, Event, Excluded, Judged, Nacked, Tick
from gnomon.policies.rollout.machine import step
from gnomon.policies.rollout.outcomes import Arm, Effect, Point, Rail
from gnomon.policies.rollout.plan import Plan
from gnomon.policies.rollout.states import (
    MEASURING,
    RUNNING,
    Fell,
    Served,
    Shadowed,
    State,
    Status,
    draft,
)
from gnomon.sdk.errors import RolloutError

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
PLAN = Plan(
    id="r-1",
    hook="router.pick",
    candidate="c" * 64,
    stable="incumbent",
    weights=(0.1, 0.5, 1.0),
    block_ns=SECOND,
    burn_in_ns=0,
    skew_ns=0,
    min_pairs=3,
    max_pairs=40,
    alpha_promote=0.025,
    alpha_abort=0.025,
    objective="latency_ms",
    clip=1000.0,
    rails=(Rail("failures", "failure_rate", 0.01, relative=False),),
    deadline_ns=SECOND,
    shadow_decisions=100,
    shadow_rate=0.1,
    soak_ns=5 * SECOND,
    lease_ns=15 * SECOND,
    not_after_ns=START + 3600 * SECOND,
    rollout_keyid="k",
    evidence_digest="e" * 64,
    predicted={"incumbent": Effect(-0.1, -0.2, -0.05)},
)
#: Every arrow that may ever be taken.
ARROWS = (
    {("DRAFT", "SHADOW"), ("SHADOW", "CANARY"), ("CANARY", "RAMP"), ("RAMP", "RAMP")}
    | {("CANARY", "FULL"), ("RAMP", "FULL"), ("FULL", "STABLE"), ("STABLE", "ABORTED")}
    | {
        (state, end)
        for state in ("SHADOW", "CANARY", "RAMP", "FULL")
        for end in ("HOLD", "ABORTED")
    }
    | {("HOLD", back) for back in ("SHADOW", "CANARY", "RAMP", "FULL", "ABORTED")}
    | {("ABORTED", "SHADOW"), ("ABORTED", "ABORTED")}
)


def arm(mean: float, failures: int = 0) -> Arm:
    return Arm(100, 100.0 * mean, failures)


def began(plan: Plan = PLAN) -> State:
    return step(draft(plan, b"s" * 16, START), Tick(), START)


def canary(plan: Plan = PLAN) -> State:
    return step(began(plan), Shadowed(100, 0, 0, 0), START + SECOND)


def feed(state: State, count: int, stable: float, candidate: float) -> State:
    """Judge up to that many pairs after the window's start, as long as the canary lasts."""
    for _ in range(count):
        if state.status not in MEASURING:
            return state
        at = state.entered_ns // (2 * SECOND) + 2 + len(state.points)
        point = Point(at, "a", arm(stable), arm(candidate))
        state = step(state, Judged((point,)), (2 * at + 2) * SECOND)
    return state


def test_the_way_up() -> None:
    state = began()
    assert (state.status, state.target.phase) == (Status.SHADOW, "shadow")
    state = step(state, Shadowed(100, 5, 0, 0), START + SECOND)
    assert (state.status, state.weight) == (Status.CANARY, 0.1)
    state = feed(state, 3, 10.0, 7.0)
    assert (state.status, state.weight) == (Status.RAMP, 0.5)
    state = feed(state, 6, 10.0, 7.0)
    assert (state.status, state.weight) == (Status.FULL, 1.0)
    now = state.entered_ns
    state = step(state, Served(100, 0, 90), now + 4 * SECOND)
    assert state.status is Status.FULL
    state = step(state, Served(200, 0, 180), now + 5 * SECOND)
    assert state.status is Status.STABLE
    assert (state.target.stable, state.target.candidate) == (PLAN.candidate, "")


def test_each_step_needs_its_own_pairs() -> None:
    state = feed(canary(), 3, 10.0, 9.0)
    assert state.step_pairs == 0
    assert feed(state, 2, 10.0, 9.0).status is Status.RAMP


def test_a_step_that_does_not_lean_towards_the_candidate_stays() -> None:
    state = canary()
    for index in range(6):
        pair = (10.0, 9.0) if index % 2 else (9.0, 10.0)
        state = feed(state, 1, *pair)
    assert state.status is Status.CANARY


def test_the_horizon_holds_for_good() -> None:
    state = canary()
    for index in range(40):
        state = feed(state, 1, *((10.0, 9.0), (9.0, 10.0))[index % 2])
    assert (state.status, state.weight) == (Status.HOLD, 0.0)
    with pytest.raises(RolloutError, match="it ended there"):
        step(state, Act("resume", "op"), state.entered_ns + 1)
    again = step(state, Act("retry", "op", salt=b"t" * 16), state.entered_ns + 1)
    assert (again.status, again.attempt, again.salt) == (Status.SHADOW, 2, b"t" * 16)
    assert again.evidence.pairs == 0
    assert again.points == ()


def test_resuming_goes_on_with_the_evidence() -> None:
    state = feed(canary(), 2, 10.0, 9.0)
    held = step(state, Act("hold", "op", "lunch"), state.entered_ns + 60 * SECOND)
    back = step(held, Act("resume", "op"), held.entered_ns + SECOND)
    assert (back.status, back.evidence) == (Status.CANARY, state.evidence)
    assert len(back.windows) == 2
    assert back.windows[0].until_ns == held.entered_ns


@pytest.mark.parametrize(
    ("decisions", "faults", "after"),
    [
        (4, 2, "ABORTED"),
        (1, 1, "SHADOW"),
        (400, 1, "SHADOW"),
        (1000, 1, "CANARY"),
        (2000, 12, "ABORTED"),
    ],
)
def test_live_shadow_ends_when_the_share_of_faults_is_settled(
    decisions: int, faults: int, after: str
) -> None:
    """One fault in few decisions is neither refuted nor allowed: the shadow goes on."""
    assert step(began(), Shadowed(decisions, 0, faults, 0), START + SECOND).status == after


def test_a_candidate_that_the_incumbent_must_answer_for_is_aborted() -> None:
    state = feed(canary(), 1, 10.0, 9.0)
    same = step(state, Fell(5000, 3), state.entered_ns + SECOND)
    assert same.status is Status.CANARY
    assert step(same, Fell(6000, 3), state.entered_ns + SECOND) == same
    bad = step(same, Fell(6100, 30), state.entered_ns + SECOND)
    assert bad.status is Status.ABORTED
    assert "answered 30 of its 6100 decisions" in bad.transitions[-1].cause
    assert codec.from_json(PLAN, codec.to_json(bad)) == bad


def test_predictions_are_compared() -> None:
    worse = feed(canary(), 9, 10.0, 14.0)
    assert (worse.status, worse.calibration) == (Status.ABORTED, "recalibration required")
    silent = step(canary(replace(PLAN, predicted={})), Act("abort", "op"), START + 9 * SECOND)
    assert silent.calibration == "no prediction"
    early = step(canary(), Broke("p", "slow"), START + 9 * SECOND)
    assert early.calibration == "not measured"


def test_a_much_larger_gain_than_predicted_is_miscalibrated_too() -> None:
    state = feed(feed(canary(), 3, 10.0, 5.0), 8, 10.0, 5.0)
    state = step(state, Served(10, 0, 9), state.entered_ns + 5 * SECOND)
    assert (state.status, state.calibration) == (Status.STABLE, "recalibration required")


@pytest.mark.parametrize(("outcomes", "failures", "bad"), [(500, 1, False), (50, 40, True)])
def test_the_watch_at_full_weight(outcomes: int, failures: int, bad: bool) -> None:
    assert bool(failing(Served(0, 0, outcomes, failures), PLAN.evidence(0.025))) is bad


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (Served(200, 200, 0), "no outcome of 200 decisions"),
        (Served(200, 11, 180), "11 of 200 decisions fell back"),
        (Served(), "no decision was reported"),
    ],
)
def test_full_weight_that_shows_nothing_is_held(served: Served, words: str) -> None:
    state = step(canary(), Act("promote", "op", "drill"), START + 9 * SECOND)
    state = step(state, served, state.entered_ns + 60 * SECOND)
    assert state.status is Status.HOLD
    assert words in state.transitions[-1].cause


def test_full_weight_waits_a_while_for_its_first_outcomes() -> None:
    state = step(canary(), Act("promote", "op", "drill"), START + 9 * SECOND)
    soaked = state.entered_ns + PLAN.soak_ns
    state = step(state, Served(200, 10, 0), soaked)
    assert state.status is Status.FULL
    assert step(state, Served(220, 10, 9), soaked + SECOND).status is Status.STABLE


def test_retries_halve_the_level_of_promotion() -> None:
    state = canary()
    assert state.alpha_promote == PLAN.alpha_promote
    for attempt in range(2, 5):
        state = step(state, Act("hold", "op"), state.entered_ns + SECOND)
        state = step(state, Act("retry", "op", salt=bytes(16)), state.entered_ns + SECOND)
        assert state.alpha_promote == PLAN.alpha_promote / 2 ** (attempt - 1)
    assert 0.0 < replace(state, attempt=5000).alpha_promote < 1e-200


def test_a_retry_needs_more_pairs_for_a_promotion() -> None:
    first = feed(feed(canary(), 3, 10.0, 7.0), 30, 10.0, 7.0)
    again = step(canary(), Act("hold", "op"), START + 9 * SECOND)
    again = step(again, Act("retry", "op", salt=b"t" * 16), START + 10 * SECOND)
    again = step(again, Shadowed(100, 0, 0, 0), START + 11 * SECOND)
    again = feed(feed(again, 3, 10.0, 7.0), 30, 10.0, 7.0)
    assert (first.status, again.status) == (Status.FULL, Status.FULL)
    assert again.evidence.pairs > first.evidence.pairs


@pytest.mark.parametrize("action", ["resume", "promote", "retry"])
def test_no_order_begins_anything_after_the_plan_ended(action: Action) -> None:
    """Else the candidate was published once more, until the next tick held the rollout again."""
    held = step(canary(), Act("hold", "op", "lunch"), START + 2 * SECOND)
    order = Act(action, "op", "go on", b"t" * 16)
    assert step(held, order, PLAN.not_after_ns - 1).status is not Status.HOLD
    with pytest.raises(RolloutError, match="plan has expired"):
        step(held, order, PLAN.not_after_ns)


def test_unknown_orders_are_named() -> None:
    with pytest.raises(RolloutError, match="unknown action 'explode'"):
        step(began(), Act("explode", "op"), START)  # type: ignore[arg-type]


class Rollouts(RuleBasedStateMachine):
    """Any events in any order, against what must always hold."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.state = began()
        self.pair = START // (2 * SECOND)
        self.salts = {self.state.salt}

    def go(self, event: Event) -> None:
        self.now += SECOND
        before = self.state
        try:
            self.state = step(before, event, self.now)
        except RolloutError:
            assert isinstance(event, Act)
        self.check(before, event)

    def check(self, before: State, event: Event) -> None:
        made = self.state.transitions[len(before.transitions) :]
        assert self.state.transitions[: len(before.transitions)] == before.transitions
        for one in made:
            assert (one.before.value, one.after.value) in ARROWS
            assert one.override == (isinstance(event, Act) and event.action == "promote")
            assert one.order == (event.action if isinstance(event, Act) else "")
        if made and self.state.status is Status.STABLE:
            assert min(self.state.served.decisions, self.state.served.outcomes) > 0
        if before.attempt != self.state.attempt:
            assert self.state.salt not in self.salts
            self.salts.add(self.state.salt)

    @rule()
    def time(self) -> None:
        self.go(Tick())

    @rule(seconds=st.sampled_from([1, 10, 5000]))
    def much_time(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.go(Tick())

    @rule(candidate=st.sampled_from([5.0, 9.0, 10.0, 11.0, 20.0]), failures=st.integers(0, 40))
    def pair_judged(self, candidate: float, failures: int) -> None:
        self.pair = max(self.pair, self.now // (2 * SECOND)) + 2
        point = Point(self.pair, "a", arm(10.0), arm(candidate, failures))
        self.now = max(self.now, (2 * self.pair + 2) * SECOND)
        self.go(Judged((point,) if self.state.status in MEASURING else ()))

    @rule(fault=st.sampled_from(["stable", "candidate", "both"]))
    def pair_left_out(self, fault: str) -> None:
        self.pair += 1
        point = Point(self.pair, "a", Arm(), Arm(), "no report", fault)  # type: ignore[arg-type]
        self.go(Judged((point,) if self.state.status in MEASURING else ()))

    @rule(decisions=st.integers(0, 300), faults=st.integers(0, 5))
    def shadowed(self, decisions: int, faults: int) -> None:
        if self.state.status is Status.SHADOW:
            self.go(Shadowed(decisions, 0, faults, 0))

    @rule(decisions=st.integers(0, 300), failures=st.integers(0, 300))
    def served(self, decisions: int, failures: int) -> None:
        if self.state.status is Status.FULL:
            self.go(Served(decisions, 0, decisions, min(failures, decisions)))

    @rule()
    def nacked(self) -> None:
        self.go(Nacked("p", "bundle", "no"))

    @rule()
    def broke(self) -> None:
        self.go(Broke("p", "faults"))

    @rule(data=st.data())
    def ordered(self, data: st.DataObject) -> None:
        actions = ["hold", "resume", "promote", "abort", "retry", "kill", "recalibrated"]
        action = data.draw(st.sampled_from(actions))
        reason = data.draw(st.sampled_from(["", "because"]))
        salt = len(self.salts).to_bytes(16, "big")
        self.go(Act(action, "op", reason, salt))  # type: ignore[arg-type]

    @precondition(lambda self: self.state.points)
    @rule(data=st.data())
    def excluded(self, data: st.DataObject) -> None:
        point = data.draw(st.sampled_from(self.state.points))
        start = 2 * point.pair * SECOND
        self.go(Excluded(Exclusion(start, start + 2 * SECOND, "lag")))

    @invariant()
    def weight_stays_within_the_plan(self) -> None:
        target = self.state.target
        assert target.weight in (0.0, *PLAN.weights)
        if self.state.status in MEASURING:
            assert target.weight <= 0.5
        if self.state.status not in RUNNING:
            assert (target.candidate, target.weight) == ("", 0.0)

    @invariant()
    def only_success_is_stable(self) -> None:
        serving = self.state.target.stable
        assert (serving == PLAN.candidate) == (self.state.status is Status.STABLE)
        assert not self.state.killed or self.state.target.kill

    @invariant()
    def windows_follow_each_other(self) -> None:
        windows = self.state.windows
        assert all(window.until_ns for window in windows[:-1])
        open_ = bool(windows) and not windows[-1].until_ns
        assert open_ == (self.state.status in MEASURING)

    @invariant()
    def a_stored_state_comes_back(self) -> None:
        assert codec.from_json(PLAN, codec.to_json(self.state)) == self.state


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=40, stateful_step_count=40)


def simulate(seed: int) -> list[tuple[str, str]]:
    """Play one rollout with its troubles, all from one seed; return its arrows."""
    rng = random.Random(seed)
    effect = rng.choice([-0.4, -0.2, 0.0, 0.3])
    state, now, pair = draft(PLAN, rng.randbytes(16), START), START, START // (2 * SECOND)
    for _ in range(120):
        now += 2 * SECOND
        pair += 1
        event: Event = Tick()
        if state.status in MEASURING:
            lost = rng.random() < 0.03
            candidate = 10.0 * (1.0 + effect) * rng.lognormvariate(0.0, 0.1)
            arms = (arm(10.0 * rng.lognormvariate(0.0, 0.1)), arm(candidate))
            reason, fault = ("no report", "both") if lost else ("", "")
            event = Judged((Point(pair, "a", *arms, reason, fault),))  # type: ignore[arg-type]
        elif state.status is Status.SHADOW:
            event = Shadowed(state.shadow.decisions + 30, 0, rng.random() < 0.02 and 9 or 0, 0)
        elif state.status is Status.FULL:
            event = Served(state.served.decisions + 20, 0, state.served.outcomes + 20)
        if rng.random() < 0.02:
            event = rng.choice([Nacked("p", "manifest", "no"), Broke("p", "slow")])
        state = orders(step(state, event, now), rng, now)
    return [(made.before.value, made.after.value) for made in state.transitions]


def orders(state: State, rng: random.Random, now: int) -> State:
    """Let an operator do something now and then."""
    if rng.random() > 0.06:
        return state
    action = rng.choice(["hold", "resume", "resume", "promote", "abort", "kill", "retry", "retry"])
    try:
        return step(state, Act(action, "op", "drill", rng.randbytes(16)), now)
    except RolloutError:
        return state


def assert_every_arrow_is_taken(runs: int) -> None:
    taken = Counter(arrow for seed in range(runs) for arrow in simulate(seed))
    assert set(taken) <= ARROWS
    # This plan has one ramp step, so no two in a row.
    assert ARROWS - set(taken) <= {("RAMP", "RAMP")}


def test_seeded_rollouts_take_every_arrow() -> None:
    assert_every_arrow_is_taken(300)


@pytest.mark.soak
def test_many_seeded_rollouts_take_every_arrow() -> None:
    assert_every_arrow_is_taken(100_000)


def test_the_same_seed_is_the_same_rollout() -> None:
    assert simulate(11) == simulate(11)
