"""The rollout's state machine: ``step(state, event, now)`` gives the next state and what to do.

Pure: no clock, no randomness, no I/O. Whoever holds a state may replay its events and gets the same.

    DRAFT -> SHADOW -> CANARY -> RAMP -> FULL -> STABLE
    from SHADOW, CANARY, RAMP, FULL:  HOLD, ABORTED
    from HOLD:     back to where it was (resume), FULL (promote by hand), ABORTED, SHADOW (retry)
    from STABLE:   ABORTED (by hand, or back to the incumbent when its justification lapsed, see upkeep.py)
    from ABORTED:  SHADOW (retry), ABORTED again (kill, or a lapse, which withdraw the stable policy too)

In HOLD and ABORTED the candidate gets nothing. Equal, undecided and no data are HOLD, never success.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from ...sdk.assignment import Switchback
from ...sdk.errors import RolloutError
from ...sdk.records import INCUMBENT
from .blocks import GRACE_NS, SETTLE_NS, Exclusion, Window, excluded
from .calibration import Calibration, calibrated
from .evidence import Evidence, Point
from .finding import Finding
from .plan import Plan
from .units import Slices, UnitEvidence
from .upkeep import Counts, Reference, Watch, begun, looked, verified
from .wealth import log_excess

#: Share of the candidate's decisions that may fault or violate an invariant, in live shadow and in the
#: canary, and the level of the watch over them.
FAULTS = 0.001
FAULTS_ALPHA = 0.01
#: At full weight: level of the watch over failures, and the least failure rate that it allows.
WATCH_ALPHA = 0.001
LEAST_FAILURE_LIMIT = 0.005
#: Share of decisions at full weight that the incumbent may answer.
FULL_FALLBACKS = 0.05
#: Level that no number of retries goes below; it keeps the logarithm finite.
LEAST_ALPHA = 1e-300
MACHINE = "gnomon"  # the actor of what nobody ordered

Action = Literal["hold", "resume", "promote", "abort", "retry", "kill", "recalibrated"]


class Status(StrEnum):
    """Where a rollout stands."""

    DRAFT = "DRAFT"
    SHADOW = "SHADOW"
    CANARY = "CANARY"
    RAMP = "RAMP"
    FULL = "FULL"
    STABLE = "STABLE"
    HOLD = "HOLD"
    ABORTED = "ABORTED"


RUNNING = frozenset({Status.SHADOW, Status.CANARY, Status.RAMP, Status.FULL})
MEASURING = frozenset({Status.CANARY, Status.RAMP})
#: A hook has at most one rollout in one of these.
ACTIVE = RUNNING | {Status.DRAFT, Status.HOLD}


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs of blocks were judged, in this order."""

    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """The sums by slice of the units were looked at; all since the weight in force began."""

    slices: Slices


@dataclass(frozen=True, slots=True)
class LookSummary:
    """What is kept of a look: how much was seen of either arm.

    Attributes:
        step: index of the weight in force.
        time_ns: Unix time.
        stable, candidate: outcomes.
        stable_mean, candidate_mean: of the clipped objective; 0 without outcomes.
    """

    step: int
    time_ns: int
    stable: int
    candidate: int
    stable_mean: float
    candidate_mean: float


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Totals of the live shadow of this attempt, over all processes."""

    decisions: int
    diverged: int
    faults: int
    violations: int


@dataclass(frozen=True, slots=True)
class Served:
    """Totals at full weight, over all processes, since it began.

    Attributes:
        decisions: of the hook.
        fallbacks: of them answered by the incumbent, for whatever reason.
        outcomes: measured ones.
        failures: of them.
    """

    decisions: int = 0
    fallbacks: int = 0
    outcomes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Fell:
    """Totals of the candidate in the canary of this attempt, over all processes.

    Attributes:
        decisions: that it was asked for.
        fallbacks: of them answered by the incumbent, after a fault or a violated invariant.
    """

    decisions: int = 0
    fallbacks: int = 0


@dataclass(frozen=True, slots=True)
class Nacked:
    """A process refused a bundle or manifest of this attempt."""

    instance: str
    resource: str
    error: str


@dataclass(frozen=True, slots=True)
class Broke:
    """A process took the candidate back by itself."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Act:
    """An operator's order.

    Attributes:
        action: what to do.
        actor, reason: who, and why.
        salt: fresh random bytes; used by ``retry`` only.
    """

    action: Action
    actor: str
    reason: str = ""
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A stretch of time counts for neither arm."""

    exclusion: Exclusion


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of decisions of the policy in force were counted, by the profile of its watch."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Reverified:
    """A fresh verdict accepts the policy in force.

    Attributes:
        profile: of the trace that it rests on.
        evidence: digest of the verdict.
        until_ns: Unix time of the trace's newest decision.
        actor: who brought it.
    """

    profile: tuple[Reference, ...]
    evidence: str
    until_ns: int
    actor: str


Event = (
    Tick
    | Judged
    | Looked
    | Shadowed
    | Served
    | Fell
    | Nacked
    | Broke
    | Act
    | Excluded
    | Seen
    | Reverified
)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step between two states.

    Attributes:
        before, after: the states.
        cause, actor: why, and who caused it.
        time_ns: Unix time.
        attempt: from 1.
        override: whether a person went past the evidence.
        order: a person's; empty for what nobody ordered.
    """

    before: Status
    after: Status
    cause: str
    actor: str
    time_ns: int
    attempt: int
    override: bool = False
    order: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a manifest must say for a state; two equal targets are one manifest.

    Attributes:
        stable, candidate: digests; no candidate is an empty string.
        phase: ``stable``, ``shadow``, ``canary`` or ``full``.
        weight: share of the candidate.
        salt: of the attempt.
        kill: everything back to the function in the service's own source.
    """

    stable: str
    candidate: str
    phase: str
    weight: float
    salt: bytes
    kill: bool = False


@dataclass(frozen=True)
class State:
    """A rollout.

    Attributes:
        plan: what the publisher allows.
        status: where it stands.
        salt: of this attempt's randomisation.
        attempt: from 1; a retry is the next one, with fresh evidence.
        step: index of the weight in force, or last in force.
        entered_ns: Unix time of the last transition.
        windows: stretches of time at one weight, of this attempt; the last may be open.
        points: judged pairs, in the order of judgement.
        looks: at the units, where arms are sticky.
        evidence: what they say.
        exclusions: stretches of time that do not count.
        shadow, served, fell: last totals.
        held_from: state that HOLD came from.
        spent: whether HOLD is for a reason that going on cannot cure.
        transitions: all of them.
        calibration: whether the measured effect bears out the predicted one.
        killed: whether the abort also withdrew the stable policy.
        withdrawn: whether the incumbent is stable because the justification of what was lapsed.
        watches: over the candidate, once it is promoted, and over the stable policy that it goes against.
    """

    plan: Plan
    status: Status
    salt: bytes
    entered_ns: int
    evidence: Finding
    attempt: int = 1
    step: int = 0
    windows: tuple[Window, ...] = ()
    points: tuple[Point, ...] = ()
    looks: tuple[LookSummary, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    shadow: Shadowed = Shadowed(0, 0, 0, 0)
    served: Served = Served()
    fell: Fell = Fell()
    held_from: Status = Status.DRAFT
    spent: bool = False
    transitions: tuple[Transition, ...] = ()
    calibration: Calibration = ""
    killed: bool = False
    withdrawn: bool = False
    watches: tuple[Watch, ...] = ()

    @property
    def watch(self) -> Watch | None:
        """The watch over what is stable now; None where nothing is watched."""
        return next((each for each in self.watches if each.digest == self.stable), None)

    @property
    def weight(self) -> float:
        """Share of decisions that the candidate has now."""
        if self.status in MEASURING:
            return self.plan.weights[self.step]
        return 1.0 if self.status in (Status.FULL, Status.STABLE) else 0.0

    @property
    def alpha_promote(self) -> float:
        """Level of this attempt's promotion: halved by every retry, so all add up to twice the plan's."""
        return alpha_of(self.plan, self.attempt)

    @property
    def target(self) -> Target:
        """What the manifest in force must say."""
        plan = self.plan
        if self.killed:
            return Target(INCUMBENT, "", "stable", 0.0, b"", kill=True)
        if self.withdrawn:
            return Target(INCUMBENT, "", "stable", 0.0, b"")
        if self.status is Status.STABLE:
            return Target(plan.candidate, "", "stable", 0.0, b"")
        if self.status not in RUNNING:
            return Target(plan.stable, "", "stable", 0.0, b"")
        phase = "canary" if self.status in MEASURING else self.status.value.lower()
        return Target(plan.stable, plan.candidate, phase, self.weight, self.salt)

    @property
    def stable(self) -> str:
        """Digest that is stable now."""
        return self.target.stable

    @property
    def step_pairs(self) -> int:
        """How many pairs count since the weight in force began, or how many looks.

        Looks count when twice the outcomes' deadline has passed: before, an arm that hangs looks fast.
        """
        if not self.windows:
            return 0
        pairs = 2 * self.plan.block_ns
        since = self.windows[-1].from_ns
        known = since + 2 * self.plan.deadline_ns
        looks = sum(look.step == self.step and look.time_ns >= known for look in self.looks)
        return looks + sum(not p.left_out and p.pair * pairs >= since for p in self.points)

    @property
    def judged(self) -> int:
        """How many pairs were judged in this attempt, or how many looks there were."""
        return len(self.points) + len(self.looks)


def alpha_of(plan: Plan, attempt: int) -> float:
    """Return the level of an attempt's promotion; attempts are numbered from 1."""
    return max(plan.alpha_promote * 0.5 ** (attempt - 1), LEAST_ALPHA)


def draft(plan: Plan, salt: bytes, now: int, watches: tuple[Watch, ...] = ()) -> State:
    """Return a rollout that has not begun."""
    evidence = plan.evidence(alpha_of(plan, 1))
    return State(plan, Status.DRAFT, salt, now, evidence, watches=watches)


def step(state: State, event: Event, now: int) -> State:
    """Return the state after an event; transitions made are those added to ``transitions``.

    Args:
        state: before.
        event: what happened.
        now: Unix time in nanoseconds.

    Raises:
        RolloutError: an operator's order that the state does not allow; the state stays.
    """
    if isinstance(event, Act):
        return _act(state, event, now)
    if isinstance(event, Excluded):
        return _exclude(state, event.exclusion, now)
    if isinstance(event, Judged):
        return _decide(_judge(state, event.points), now)
    if isinstance(event, Looked):
        return _looked(state, event.slices, now)
    if isinstance(event, Shadowed):
        return _decide(replace(state, shadow=event), now)
    if isinstance(event, Served):
        return _decide(replace(state, served=event), now)
    if isinstance(event, Fell):
        # Decisions without a new fallback only lower the e-value: nothing to look at, nothing to store.
        same = event.fallbacks == state.fell.fallbacks
        return _decide(state if same else replace(state, fell=event), now)
    if isinstance(event, Nacked):
        cause = f"process {event.instance} refused the {event.resource}: {event.error}"
        return _hold(state, cause, now) if state.status in RUNNING else state
    if isinstance(event, Broke):
        cause = f"process {event.instance} took the candidate back: {event.reason}"
        return _abort(state, cause, now) if state.status in RUNNING else state
    if isinstance(event, Reverified):
        return _reverify(state, event, now)
    if isinstance(event, Seen):
        return _keep_up(state, event.counts, now)
    return _decide(state, now)


def _judge(state: State, points: tuple[Point, ...]) -> State:
    points = tuple(excluded(p, _design(state, p.cell), state.exclusions) for p in points)
    return replace(state, points=state.points + points, evidence=_folded(state.evidence, points))


def _looked(state: State, slices: Slices, now: int) -> State:
    if state.status not in MEASURING or not isinstance(state.evidence, UnitEvidence):
        return state
    candidates = state.plan.candidates(state.weight)
    if _behind(state.evidence, slices, candidates):
        return state
    try:
        evidence = state.evidence.look(slices, candidates)
    except RolloutError as error:  # sums that cannot be gone on from are no evidence
        return _hold(state, f"inconclusive: {error}", now, spent=True)
    counts = [sum(part) for part in (slices.count[candidates:], slices.count[:candidates])]
    sums = [math.fsum(part) for part in (slices.sum[candidates:], slices.sum[:candidates])]
    means = [total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)]
    look = LookSummary(state.step, now, *counts, *means)
    return _decide(replace(state, looks=(*state.looks, look), evidence=evidence), now)


def _behind(evidence: UnitEvidence, slices: Slices, candidates: int) -> bool:
    """Return whether less is known than before: since a restart not every process has reported again.

    Sums that shrink would be differences below zero; they are complete again with the next reports.
    """
    if evidence.treated != candidates or len(slices.count) != evidence.slices:
        return False
    base = evidence.base.count or (0,) * len(slices.count)
    if any(now < then for now, then in zip(slices.count, base, strict=True)):
        return True
    since = slices.since(evidence.base)
    arms = since.arm(candidates, len(base)), since.arm(0, candidates)
    return any(
        now.count < then.count or now.failures < then.failures
        for now, then in zip(arms, (evidence.stable, evidence.candidate), strict=True)
    )


def _folded(evidence: Finding, points: tuple[Point, ...]) -> Finding:
    assert isinstance(evidence, Evidence)  # blocks are judged where arms are not sticky
    for point in points:
        evidence = evidence.add(point)
    return evidence


def _exclude(state: State, exclusion: Exclusion, now: int) -> State:
    """Leave a stretch out, also from the pairs that were judged already."""
    state = replace(state, exclusions=(*state.exclusions, exclusion))
    points = tuple(
        p if p.left_out else excluded(p, _design(state, p.cell), (exclusion,)) for p in state.points
    )
    if points == state.points:
        return state
    evidence = _folded(state.plan.evidence(state.alpha_promote), points)
    return _decide(replace(state, points=points, evidence=evidence), now)


def _design(state: State, cell: str) -> Switchback:
    # Within a live pair the order does not depend on the weight, so any weight tells the arms.
    return state.plan.switchback(state.salt, cell, 0.5)


def _decide(state: State, now: int) -> State:
    """Look at what is known and go on, back, or nowhere."""
    if state.status in RUNNING and now >= state.plan.not_after_ns:
        return _hold(state, "the plan has expired; ship again with a later one", now, spent=True)
    decide = _DECISIONS.get(state.status)
    return decide(state, now) if decide else _keep_up(state, (), now)


def _keep_up(state: State, seen: Counts, now: int) -> State:
    """Look after what is stable while nothing runs; a lapsed justification brings the incumbent back."""
    watch = state.watch
    if watch is None or state.status in RUNNING or not watch.since_ns:
        return state
    after = looked(watch, seen, now)
    if after is not watch:
        state = _watched(state, after)
    notice = after.notice
    if notice is None or now < notice.due_ns or after.terms.then != INCUMBENT:
        return state
    cause = f"{notice.cause}: {notice.text}, and was not verified again; the incumbent is back"
    return replace(_move(state, Status.ABORTED, cause, now), withdrawn=True)


def _reverify(state: State, event: Reverified, now: int) -> State:
    """Begin the watch anew; whoever sends the event has checked that it is on what is stable."""
    if state.watch is None:
        return state
    found = event.profile, event.evidence, event.until_ns
    return _watched(state, verified(state.watch, *found, now))


def _watched(state: State, watch: Watch) -> State:
    watches = tuple(watch if each.digest == watch.digest else each for each in state.watches)
    return replace(state, watches=watches)


def _decide_draft(state: State, now: int) -> State:
    return _decide(_move(state, Status.SHADOW, "created", now), now)


def _decide_shadow(state: State, now: int) -> State:
    shadow = state.shadow
    bad = shadow.faults + shadow.violations
    if _faulty(bad, shadow.decisions):
        what = f"{shadow.faults} faults and {shadow.violations} violations"
        return _abort(state, f"live shadow: {what} in {shadow.decisions} decisions", now)
    # Undecided is not enough: shadow goes on until the share is below what is allowed, or refuted.
    if shadow.decisions < state.plan.shadow_decisions or bad > FAULTS * shadow.decisions:
        return state
    cause = f"live shadow: {shadow.decisions} decisions, {bad} faults or violations"
    return _open(_move(state, Status.CANARY, cause, now), 0, now)


def _faulty(bad: int, decisions: int) -> bool:
    """Return whether more than the allowed share is bad, beyond doubt at any time."""
    return bad > 0 and log_excess(bad, max(bad, decisions), FAULTS) >= -math.log(FAULTS_ALPHA)


def _decide_canary(state: State, now: int) -> State:
    plan, evidence, fell = state.plan, state.evidence, state.fell
    if _faulty(fell.fallbacks, fell.decisions):
        asked = f"{fell.fallbacks} of its {fell.decisions} decisions"
        return _abort(state, f"canary: the incumbent answered {asked}", now)
    worse = evidence.regression(plan.alpha_abort)
    if worse:
        return _abort(state, worse, now, measured="worse")
    ready = state.step_pairs >= plan.min_pairs
    superior = ready and evidence.superior(state.alpha_promote)
    doubt = evidence.doubt(few=superior)
    if doubt:
        return _hold(state, f"inconclusive: {doubt}", now, spent=True)
    if ready and _next_is_full(state) and superior:
        cause = f"objective better by {-evidence.effect().estimate:.1%} in {evidence.amount}"
        kept = ", guardrails kept" if plan.rails else ""
        return _move(state, Status.FULL, cause + kept, now)
    if ready and not _next_is_full(state) and evidence.promising():
        return _ramp(state, now)
    if state.judged >= plan.max_pairs:
        cause = (
            f"inconclusive: no decision after {plan.max_pairs} {plan.counted}; the incumbent stays"
        )
        return _hold(state, cause, now, spent=True)
    return state


def _decide_full(state: State, now: int) -> State:
    served = state.served
    worse = failing(served, state.evidence)
    if worse:
        return _abort(state, worse, now)
    if now - state.entered_ns < state.plan.soak_ns:
        return state
    if served.decisions and not served.outcomes and now < _last_outcome(state):
        return state
    silence = _silence(served)
    if silence:
        return _hold(state, f"inconclusive: {silence} at full weight", now)
    seen = f"{served.decisions} decisions and {served.outcomes} outcomes at full weight"
    cause = f"{seen}, {served.fallbacks} fallbacks"
    promoted = _settle(_move(state, Status.STABLE, cause, now))
    return _watched(promoted, begun(promoted.watch, now)) if promoted.watch else promoted


def _last_outcome(state: State) -> int:
    """Return the time by which the first outcomes at full weight must have been reported."""
    plan = state.plan
    return state.entered_ns + plan.soak_ns + 2 * plan.block_ns + plan.deadline_ns + GRACE_NS


def _silence(served: Served) -> str:
    """Say why nothing is known of the candidate at full weight; empty when enough is."""
    if not served.decisions:
        return "no decision was reported"
    if not served.outcomes:
        return f"no outcome of {served.decisions} decisions was reported"
    if served.fallbacks > FULL_FALLBACKS * served.decisions:
        return f"{served.fallbacks} of {served.decisions} decisions fell back"
    return ""


_DECISIONS: dict[Status, Callable[[State, int], State]] = {
    Status.DRAFT: _decide_draft,
    Status.SHADOW: _decide_shadow,
    Status.CANARY: _decide_canary,
    Status.RAMP: _decide_canary,
    Status.FULL: _decide_full,
}


def failing(served: Served, evidence: Finding) -> str:
    """Say that full weight fails more often than the canary's limit allows; empty when it does not.

    At full weight there is no other arm to compare with, so this is a watch over single outcomes
    (a mixture of likelihood ratios against the limit), not a randomised comparison.
    """
    limits = [
        rail.rail.limit(evidence.values(rail.rail)[0])
        for rail in evidence.rails
        if rail.rail.statistic == "failure_rate"
    ]
    allowed = min([limit for limit in limits if not math.isnan(limit)], default=LEAST_FAILURE_LIMIT)
    allowed = min(max(allowed, LEAST_FAILURE_LIMIT), 0.99)
    rates = (2 * allowed, 5 * allowed, 20 * allowed, 0.5, 0.995)
    log_e = log_excess(served.failures, served.outcomes, allowed, rates)
    if log_e < -math.log(WATCH_ALPHA):
        return ""
    return f"{served.failures} of {served.outcomes} outcomes failed at full weight, limit {allowed:.2%}"


def _next_is_full(state: State) -> bool:
    return state.plan.weights[state.step + 1] > 0.5


def _ramp(state: State, now: int) -> State:
    weight = state.plan.weights[state.step + 1]
    cause = f"{state.step_pairs} {state.plan.counted} lean towards the candidate: weight {weight:g}"
    return _open(_move(state, Status.RAMP, cause, now), state.step + 1, now)


def _open(state: State, index: int, now: int) -> State:
    window = Window(state.plan.weights[index], now + SETTLE_NS)
    return replace(state, step=index, windows=(*state.windows, window))


def _close(windows: tuple[Window, ...], now: int) -> tuple[Window, ...]:
    if windows and not windows[-1].until_ns:
        return (*windows[:-1], replace(windows[-1], until_ns=now))
    return windows


def _move(
    state: State,
    after: Status,
    cause: str,
    now: int,
    actor: str = MACHINE,
    *,
    override: bool = False,
) -> State:
    made = Transition(state.status, after, cause, actor, now, state.attempt, override)
    return replace(
        state,
        status=after,
        entered_ns=now,
        windows=_close(state.windows, now),
        transitions=(*state.transitions, made),
    )


def _hold(
    state: State, cause: str, now: int, *, actor: str = MACHINE, spent: bool = False
) -> State:
    held = replace(state, held_from=state.status, spent=spent)
    return _move(held, Status.HOLD, cause, now, actor)


def _abort(
    state: State, cause: str, now: int, *, actor: str = MACHINE, measured: str = ""
) -> State:
    return _settle(_move(state, Status.ABORTED, cause, now, actor), worse=measured == "worse")


def _settle(state: State, *, worse: bool = False) -> State:
    """Compare the measured with the predicted effect, at the end of an attempt."""
    predicted = state.plan.predicted.get(state.plan.stable)
    return replace(state, calibration=calibrated(predicted, state.evidence, worse))


def _act(state: State, act: Act, now: int) -> State:
    handler = _ACTS.get(act.action)
    if handler is None:
        raise RolloutError(f"unknown action {act.action!r}; use one of {', '.join(sorted(_ACTS))}")
    after = handler(state, act, now)
    if after.transitions == state.transitions:
        return after
    ordered = replace(after.transitions[-1], order=act.action)
    return replace(after, transitions=(*after.transitions[:-1], ordered))


def _refuse(state: State, act: Act, remedy: str) -> RolloutError:
    return RolloutError(f"cannot {act.action} {state.plan.id} in {state.status}; {remedy}")


def _require_plan(state: State, act: Act, now: int) -> None:
    """Refuse to begin what the publisher allows no more, if only until the next tick."""
    if now >= state.plan.not_after_ns:
        raise _refuse(state, act, "its plan has expired: ship again with a later one")


def _act_hold(state: State, act: Act, now: int) -> State:
    if state.status not in RUNNING:
        raise _refuse(state, act, "only a running rollout can be held")
    return _hold(state, act.reason or "held by hand", now, actor=act.actor)


def _act_resume(state: State, act: Act, now: int) -> State:
    if state.status is not Status.HOLD:
        raise _refuse(state, act, "only a held one can be resumed")
    if state.spent:
        raise _refuse(state, act, f"it ended there ({state.transitions[-1].cause}): retry or abort")
    _require_plan(state, act, now)
    resumed = _move(state, state.held_from, act.reason or "resumed by hand", now, act.actor)
    if state.held_from in MEASURING:
        return _open(resumed, state.step, now)
    return replace(resumed, served=Served())


def _act_promote(state: State, act: Act, now: int) -> State:
    if state.status not in MEASURING | {Status.HOLD}:
        raise _refuse(state, act, "only a canary or a held rollout can be promoted by hand")
    if not act.reason:
        raise _refuse(state, act, "going past the evidence needs a reason")
    _require_plan(state, act, now)
    promoted = replace(state, served=Served(), spent=False)
    return _move(promoted, Status.FULL, act.reason, now, act.actor, override=True)


def _act_abort(state: State, act: Act, now: int) -> State:
    if state.status is Status.ABORTED:
        raise _refuse(state, act, "nothing was changed: look with gnomon rollout status")
    return _abort(state, act.reason or "aborted by hand", now, actor=act.actor)


def _act_kill(state: State, act: Act, now: int) -> State:
    if not act.reason:
        raise _refuse(state, act, "withdrawing every policy needs a reason")
    if state.killed:
        raise _refuse(state, act, "it was killed already, nothing was changed")
    if state.status is Status.ABORTED:  # what was measured stays as it was settled
        return replace(_move(state, Status.ABORTED, act.reason, now, act.actor), killed=True)
    return replace(_abort(state, act.reason, now, actor=act.actor), killed=True)


def _act_retry(state: State, act: Act, now: int) -> State:
    if state.status not in (Status.HOLD, Status.ABORTED):
        raise _refuse(state, act, "only a held or aborted rollout can be retried")
    if state.killed:
        raise _refuse(state, act, "it was killed: ship again")
    if state.withdrawn:
        raise _refuse(state, act, "its stable policy lapsed: ship again")
    if state.calibration == "recalibration required":
        raise _refuse(state, act, "recalibrate the simulator first and record it")
    _require_plan(state, act, now)
    moved = _move(state, Status.SHADOW, act.reason or "retried by hand", now, act.actor)
    attempt = state.attempt + 1
    evidence = state.plan.evidence(alpha_of(state.plan, attempt))
    fresh = State(state.plan, Status.SHADOW, act.salt, now, evidence)
    fresh = replace(fresh, attempt=attempt, watches=state.watches)
    return replace(fresh, transitions=moved.transitions)


def _act_recalibrated(state: State, act: Act, now: int) -> State:
    del now
    if state.calibration != "recalibration required":
        raise _refuse(state, act, "no recalibration is required")
    return replace(state, calibration="not measured")


_ACTS: dict[str, Callable[[State, Act, int], State]] = {
    "hold": _act_hold,
    "resume": _act_resume,
    "promote": _act_promote,
    "abort": _act_abort,
    "kill": _act_kill,
    "retry": _act_retry,
    "recalibrated": _act_recalibrated,
}
