"""A rollout as it goes over the wire."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gnomon.v1 import policy_pb2, rollouts_pb2

from .desk import Seat
from .finding import RailSummary
from .states import State, Transition
from .upkeep import Watch


def rollout(state: State, epoch: int, seats: Sequence[Seat]) -> rollouts_pb2.Rollout:
    """Return the message of a rollout.

    Args:
        state: of it.
        epoch: of its hook.
        seats: connected processes that have the hook.
    """
    return rollouts_pb2.Rollout(
        id=state.plan.id,
        hook=state.plan.hook,
        state=state.status.value,
        candidate=state.plan.candidate,
        stable=state.plan.stable,
        weight=state.weight,
        epoch=epoch,
        evidence=_evidence(state),
        transitions=[_transition(made) for made in state.transitions],
        acked=sum(seat.epoch == epoch for seat in seats),
        clients=len(seats),
        calibration=state.calibration,
        attempt=state.attempt,
        serving=state.stable,
        upkeep=_upkeep(state.watch),
    )


def client(seat: Seat) -> rollouts_pb2.Client:
    """Return the message of a process."""
    return rollouts_pb2.Client(
        service=seat.service,
        instance=seat.instance,
        cell=seat.cell,
        epoch=seat.epoch,
        connected=seat.connected,
        last_error=seat.error,
        killed=seat.killed,
    )


def _upkeep(watch: Watch | None) -> rollouts_pb2.UpkeepStatus | None:
    if watch is None or not watch.since_ns:
        return None
    notice = watch.notice
    return rollouts_pb2.UpkeepStatus(
        since_unix_ns=watch.since_ns,
        expires_unix_ns=watch.expires_ns,
        drift_limit=watch.terms.drift_limit,
        indices=[
            rollouts_pb2.FeatureIndex(
                name=index.name,
                index=index.value,
                from_trace=index.trace,
                from_first=math.nan if index.first is None else index.first,
            )
            for index in watch.indices
        ],
        over=watch.over,
        notice=f"{notice.cause}: {notice.text}" if notice else "",
        due_unix_ns=notice.due_ns if notice else 0,
        then=watch.terms.then,
        unwatched=watch.unwatched,
    )


def _transition(made: Transition) -> rollouts_pb2.Transition:
    fields: dict[str, Any] = {"from": made.before.value}  # a keyword of Python
    return rollouts_pb2.Transition(
        to=made.after.value,
        cause=made.cause,
        actor=made.actor,
        time_unix_ns=made.time_ns,
        order=made.order,
        **fields,
    )


def _evidence(state: State) -> rollouts_pb2.Evidence:
    found, shadow = state.evidence.summary(), state.shadow
    effect, left_out = found.effect, found.left_out
    both = left_out.get("both", 0)
    excluded = sum(point.left_out.startswith("excluded") for point in state.points)
    return rollouts_pb2.Evidence(
        pairs=found.counted,
        excluded_stable=left_out.get("stable", 0) + both,
        excluded_candidate=left_out.get("candidate", 0) + both,
        incomplete=sum(left_out.values()) - excluded,
        log_e_better=found.log_e_better,
        log_e_worse=found.log_e_worse,
        effect=policy_pb2.Interval(estimate=effect.estimate, low=effect.low, high=effect.high),
        stable_mean=found.stable.mean,
        candidate_mean=found.candidate.mean,
        stable_decisions=found.stable.count,
        candidate_decisions=found.candidate.count,
        guardrails=[_guardrail(rail) for rail in found.rails],
        shadow_decisions=shadow.decisions,
        shadow_diverged=shadow.diverged,
        shadow_faults=shadow.faults,
        shadow_violations=shadow.violations,
        points=_points(state),
    )


def _points(state: State) -> list[rollouts_pb2.PairPoint]:
    """Return the means of every pair, or of every look, counted from 0."""
    pairs = [
        rollouts_pb2.PairPoint(
            pair=point.pair,
            stable=point.stable.mean,
            candidate=point.candidate.mean,
            used=point.left_out,
        )
        for point in state.points
    ]
    looks = [
        rollouts_pb2.PairPoint(pair=i, stable=look.stable_mean, candidate=look.candidate_mean)
        for i, look in enumerate(state.looks)
    ]
    return pairs + looks


def _guardrail(rail: RailSummary) -> rollouts_pb2.GuardrailStatus:
    return rollouts_pb2.GuardrailStatus(
        name=rail.name,
        log_e_worse=rail.log_e_worse,
        log_e_fine=rail.log_e_fine,
        stable=0.0 if math.isnan(rail.stable) else rail.stable,
        candidate=0.0 if math.isnan(rail.candidate) else rail.candidate,
    )
