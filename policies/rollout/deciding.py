"""What the machine does by itself with what is known: go on, back, or nowhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ...sdk.records import INCUMBENT
from . import moves
from .blocks import GRACE_NS
from .finding import Finding
from .states import RUNNING, Served, State, Status
from .upkeep import Counts, begun, looked
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


def decide(state: State, now: int) -> State:
    """Look at what is known and go on, back, or nowhere."""
    if state.status in RUNNING and now >= state.plan.not_after_ns:
        return moves.hold(
            state, "the plan has expired; ship again with a later one", now, spent=True
        )
    decide = _DECISIONS.get(state.status)
    return decide(state, now) if decide else keep_up(state, (), now)


def keep_up(state: State, seen: Counts, now: int) -> State:
    """Look after what is stable while nothing runs; a lapsed justification brings the incumbent back."""
    watch = state.watch
    if watch is None or state.status in RUNNING or not watch.since_ns:
        return state
    after = looked(watch, seen, now)
    if after is not watch:
        state = moves.watched(state, after)
    notice = after.notice
    if notice is None or now < notice.due_ns or after.terms.then != INCUMBENT:
        return state
    cause = f"{notice.cause}: {notice.text}, and was not verified again; the incumbent is back"
    return replace(moves.move(state, Status.ABORTED, cause, now), withdrawn=True)


def _decide_draft(state: State, now: int) -> State:
    return decide(moves.move(state, Status.SHADOW, "created", now), now)


def _decide_shadow(state: State, now: int) -> State:
    shadow = state.shadow
    bad = shadow.faults + shadow.violations
    if _faulty(bad, shadow.decisions):
        what = f"{shadow.faults} faults and {shadow.violations} violations"
        return moves.abort(state, f"live shadow: {what} in {shadow.decisions} decisions", now)
    # Undecided is not enough: shadow goes on until the share is below what is allowed, or refuted.
    if shadow.decisions < state.plan.shadow_decisions or bad > FAULTS * shadow.decisions:
        return state
    cause = f"live shadow: {shadow.decisions} decisions, {bad} faults or violations"
    return moves.opened(moves.move(state, Status.CANARY, cause, now), 0, now)


def _faulty(bad: int, decisions: int) -> bool:
    """Return whether more than the allowed share is bad, beyond doubt at any time."""
    return bad > 0 and log_excess(bad, max(bad, decisions), FAULTS) >= -math.log(FAULTS_ALPHA)


def _decide_canary(state: State, now: int) -> State:
    plan, evidence, fell = state.plan, state.evidence, state.fell
    if _faulty(fell.fallbacks, fell.decisions):
        asked = f"{fell.fallbacks} of its {fell.decisions} decisions"
        return moves.abort(state, f"canary: the incumbent answered {asked}", now)
    worse = evidence.regression(plan.alpha_abort)
    if worse:
        return moves.abort(state, worse, now, measured="worse")
    ready = state.step_pairs >= plan.min_pairs
    superior = ready and evidence.superior(state.alpha_promote)
    doubt = evidence.doubt(few=superior)
    if doubt:
        return moves.hold(state, f"inconclusive: {doubt}", now, spent=True)
    if ready and _next_is_full(state) and superior:
        cause = f"objective better by {-evidence.effect().estimate:.1%} in {evidence.amount}"
        kept = ", guardrails kept" if plan.rails else ""
        return moves.move(state, Status.FULL, cause + kept, now)
    if ready and not _next_is_full(state) and evidence.promising():
        return _ramp(state, now)
    if state.judged >= plan.max_pairs:
        cause = (
            f"inconclusive: no decision after {plan.max_pairs} {plan.counted}; the incumbent stays"
        )
        return moves.hold(state, cause, now, spent=True)
    return state


def _decide_full(state: State, now: int) -> State:
    served = state.served
    worse = failing(served, state.evidence)
    if worse:
        return moves.abort(state, worse, now)
    if now - state.entered_ns < state.plan.soak_ns:
        return state
    if served.decisions and not served.outcomes and now < _last_outcome(state):
        return state
    silence = _silence(served)
    if silence:
        return moves.hold(state, f"inconclusive: {silence} at full weight", now)
    seen = f"{served.decisions} decisions and {served.outcomes} outcomes at full weight"
    cause = f"{seen}, {served.fallbacks} fallbacks"
    promoted = moves.settle(moves.move(state, Status.STABLE, cause, now))
    return moves.watched(promoted, begun(promoted.watch, now)) if promoted.watch else promoted


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
    return moves.opened(moves.move(state, Status.RAMP, cause, now), state.step + 1, now)
