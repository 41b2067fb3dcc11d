"""What the ledger says about a rollout: plain JSON, numbers finite or null."""

from __future__ import annotations

import math
from typing import Any

from .evidence import Effect, Evidence
from .machine import Act, Event, Excluded, State
from .plan import Plan
from .store import Happened


def plan(words: Plan) -> dict[str, Any]:
    """Return what a plan allows."""
    return {
        "hook": words.hook,
        "candidate": words.candidate,
        "stable": words.stable,
        "arms": "paired" if words.paired else "switchback",
        "weights": list(words.weights),
        "min_pairs": words.min_pairs,
        "max_pairs": words.max_pairs,
        "alpha_promote": words.alpha_promote,
        "alpha_abort": words.alpha_abort,
        "lease_ns": words.lease_ns,
        "shadow_decisions": words.shadow_decisions,
        "soak_ns": words.soak_ns,
        "evidence_digest": words.evidence_digest,
        "predicted": {digest: effect(found) for digest, found in words.predicted.items()},
    }


def transitions(before: State | None, after: State, epoch: int) -> list[Happened]:
    """Return one event for every transition that ``after`` has more than ``before``."""
    known = len(before.transitions) if before else 0
    happened = []
    for made in after.transitions[known:]:
        body = {
            "hook": after.plan.hook,
            "from": made.before.value,
            "to": made.after.value,
            "cause": made.cause,
            "order": made.order,
            "attempt": made.attempt,
            "alpha_promote": after.alpha_promote,
            "epoch": epoch,
            "weight": after.weight,
            "candidate": after.plan.candidate,
            "stable": after.plan.stable,
            "evidence_digest": after.plan.evidence_digest,
            "evidence": evidence(after.evidence),
        }
        kind = "rollout.override" if made.override else "rollout.transition"
        happened.append(Happened(kind, made.actor, after.plan.id, body))
    return happened


def extras(event: Event, before: State, after: State, actor: str) -> list[Happened]:
    """Return the events beside transitions: exclusions and what became of the prediction."""
    happened = []
    if isinstance(event, Excluded):
        gap = event.exclusion
        body: dict[str, Any] = {"hook": after.plan.hook, "reason": gap.reason}
        body |= {"from_ns": gap.from_ns, "to_ns": gap.to_ns}
        happened.append(Happened("rollout.exclusion", actor, after.plan.id, body))
    if after.calibration != before.calibration:
        by = event.actor if isinstance(event, Act) else actor
        order = {"order": event.action if isinstance(event, Act) else ""}
        said = calibration(after) | order
        happened.append(Happened("rollout.calibration", by, after.plan.id, said))
    return happened


def calibration(state: State) -> dict[str, Any]:
    """Return predicted and measured effect with the answer."""
    predicted = state.plan.predicted.get(state.plan.stable)
    return {
        "hook": state.plan.hook,
        "candidate": state.plan.candidate,
        "calibration": state.calibration,
        "predicted": effect(predicted) if predicted else None,
        "measured": effect(state.evidence.effect()),
        "pairs": state.evidence.pairs,
        "evidence_digest": state.plan.evidence_digest,
    }


def evidence(found: Evidence) -> dict[str, Any]:
    """Return the evidence in short."""
    return {
        "pairs": found.pairs,
        "left_out": {fault or "none": count for fault, count in found.left_out},
        "log_e_better": finite(found.better.log_e),
        "log_e_worse": finite(found.worse.log_e),
        "log_e_mean": finite(found.gains.log_e),
        "log_e_fine": {rail.rail.name: finite(rail.fine.log_e) for rail in found.rails},
        "effect": effect(found.effect()),
    }


def effect(found: Effect) -> dict[str, float | None]:
    """Return an interval; an open end is null."""
    return {
        "estimate": finite(found.estimate),
        "low": finite(found.low),
        "high": finite(found.high),
    }


def finite(value: float) -> float | None:
    """Return a number that JSON can say, or None."""
    return value if math.isfinite(value) else None
