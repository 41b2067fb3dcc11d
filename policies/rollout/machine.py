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
from dataclasses import replace

from ...sdk.assignment import Switchback
from ...sdk.errors import RolloutError
from . import deciding, moves, orders
from .blocks import Exclusion, excluded
from .events import Act, Broke, Event, Excluded, Judged, Looked, Nacked, Reverified, Seen
from .evidence import Evidence
from .finding import Finding
from .outcomes import Point
from .states import MEASURING, RUNNING, Fell, LookSummary, Served, Shadowed, State
from .units import Slices, UnitEvidence
from .upkeep import verified


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
        return orders.act(state, event, now)
    if isinstance(event, Excluded):
        return _exclude(state, event.exclusion, now)
    if isinstance(event, Judged):
        return deciding.decide(_judge(state, event.points), now)
    if isinstance(event, Looked):
        return _looked(state, event.slices, now)
    if isinstance(event, Shadowed):
        return deciding.decide(replace(state, shadow=event), now)
    if isinstance(event, Served):
        return deciding.decide(replace(state, served=event), now)
    if isinstance(event, Fell):
        # Decisions without a new fallback only lower the e-value: nothing to look at, nothing to store.
        same = event.fallbacks == state.fell.fallbacks
        return deciding.decide(state if same else replace(state, fell=event), now)
    if isinstance(event, Nacked):
        cause = f"process {event.instance} refused the {event.resource}: {event.error}"
        return moves.hold(state, cause, now) if state.status in RUNNING else state
    if isinstance(event, Broke):
        cause = f"process {event.instance} took the candidate back: {event.reason}"
        return moves.abort(state, cause, now) if state.status in RUNNING else state
    if isinstance(event, Reverified):
        return _reverify(state, event, now)
    if isinstance(event, Seen):
        return deciding.keep_up(state, event.counts, now)
    return deciding.decide(state, now)


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
        return moves.hold(state, f"inconclusive: {error}", now, spent=True)
    counts = [sum(part) for part in (slices.count[candidates:], slices.count[:candidates])]
    sums = [math.fsum(part) for part in (slices.sum[candidates:], slices.sum[:candidates])]
    means = [total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)]
    look = LookSummary(state.step, now, *counts, *means)
    return deciding.decide(replace(state, looks=(*state.looks, look), evidence=evidence), now)


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
    return deciding.decide(replace(state, points=points, evidence=evidence), now)


def _design(state: State, cell: str) -> Switchback:
    # Within a live pair the order does not depend on the weight, so any weight tells the arms.
    return state.plan.switchback(state.salt, cell, 0.5)


def _reverify(state: State, event: Reverified, now: int) -> State:
    """Begin the watch anew; whoever sends the event has checked that it is on what is stable."""
    if state.watch is None:
        return state
    found = event.profile, event.evidence, event.until_ns
    return moves.watched(state, verified(state.watch, *found, now))
