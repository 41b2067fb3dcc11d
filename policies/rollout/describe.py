"""What the ledger says about a rollout: plain JSON, numbers finite or null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gnomon.v1 import policy_pb2

from .events import Act, Event, Excluded, Reverified
from .finding import Finding
from .outcomes import Effect
from .plan import Plan
from .states import MACHINE, State
from .store import Happened
from .upkeep import Watch


def plan(words: Plan) -> dict[str, Any]:
    """Return what a plan allows."""
    return {
        "hook": words.hook,
        "candidate": words.candidate,
        "stable": words.stable,
        "arms": words.arms,
        "slices": words.slices,
        "weights": list(words.weights),
        "min_pairs": words.min_pairs,
        "max_pairs": words.max_pairs,
        "alpha_promote": words.alpha_promote,
        "alpha_abort": words.alpha_abort,
        "upkeep": asdict(words.upkeep),
        "lease_ns": words.lease_ns,
        "shadow_decisions": words.shadow_decisions,
        "soak_ns": words.soak_ns,
        "evidence_digest": words.evidence_digest,
        "predicted": {digest: effect(found) for digest, found in words.predicted.items()},
    }


def created(
    words: Plan,
    bundle: policy_pb2.Bundle,
    signed_by: Mapping[str, Mapping[str, str]],
    rollout_keyid: str,
) -> dict[str, Any]:
    """Return what a rollout begins with.

    Args:
        words: its plan.
        bundle: of its candidate.
        signed_by: publishers' keyids and their names, of ``bundle`` and ``plan``.
        rollout_keyid: of the key that signs its manifests.
    """
    body = plan(words) | {"provenance": dict(bundle.provenance)}
    body["manifests_signed_by"] = rollout_keyid
    return body | {f"{what}_signed_by": dict(found) for what, found in signed_by.items()}


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
    return [*happened, *_kept_up(event, before, after)]


def _kept_up(event: Event, before: State, after: State) -> list[Happened]:
    """Return what became of the justification of the policy in force."""
    old = {watch.digest: watch.notice for watch in before.watches}
    for watch in after.watches:
        if isinstance(event, Reverified) and watch == after.watch:
            kind, actor = "rollout.reverified", event.actor
        elif watch.notice is not None and old.get(watch.digest) is None:
            kind, actor = "rollout.reverification_due", MACHINE
        elif watch.notice is None and old.get(watch.digest) is not None:
            kind, actor = "rollout.reverification_lifted", MACHINE
        else:
            continue
        return [Happened(kind, actor, after.plan.id, upkeep(after, watch))]
    return []


def upkeep(state: State, watch: Watch) -> dict[str, Any]:
    """Return how the justification of a policy stands, with the numbers."""
    notice = watch.notice
    return {
        "hook": state.plan.hook,
        "policy": watch.digest,
        "evidence_digest": watch.evidence,
        "trace_until_ns": watch.trace_until_ns,
        "since_ns": watch.since_ns,
        "expires_ns": watch.expires_ns,
        "drift_limit": watch.terms.drift_limit,
        "index": {index.name: round(index.value, 4) for index in watch.indices},
        "from_trace": {index.name: round(index.trace, 4) for index in watch.indices},
        "windows_over": watch.over,
        "cause": notice.cause if notice else "",
        "why": notice.text if notice else "",
        "due_ns": notice.due_ns if notice else 0,
        "then": watch.terms.then,
    }


def calibration(state: State) -> dict[str, Any]:
    """Return predicted and measured effect with the answer."""
    predicted = state.plan.predicted.get(state.plan.stable)
    return {
        "hook": state.plan.hook,
        "candidate": state.plan.candidate,
        "calibration": state.calibration,
        "predicted": effect(predicted) if predicted else None,
        "measured": effect(state.evidence.effect()),
        "pairs": state.evidence.summary().counted,
        "evidence_digest": state.plan.evidence_digest,
    }


def evidence(found: Finding) -> dict[str, Any]:
    """Return the evidence in short."""
    said = found.summary()
    return {
        "pairs": said.counted,
        "left_out": {fault or "none": count for fault, count in said.left_out.items()},
        "log_e_better": finite(said.log_e_better),
        "log_e_worse": finite(said.log_e_worse),
        "log_e_mean": finite(said.log_e_mean),
        "log_e_fine": {rail.name: finite(rail.log_e_fine) for rail in said.rails},
        "effect": effect(said.effect),
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
