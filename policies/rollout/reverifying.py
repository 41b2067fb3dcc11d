"""A fresh verdict on a policy that is in force already: who may bring one, and when it counts.

It is a statement of a publisher, signed as a ramp plan is, because it does what a plan does: it lets a policy
go on deciding. It counts only on a trace that goes on after whatever asked for it.
"""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2, rollouts_pb2

from ...sdk.errors import RolloutError, TrustError
from ...sdk.profile import check_profile
from ...sdk.records import INCUMBENT
from .events import Reverified
from .plan import Plan
from .states import RUNNING, State
from .upkeep import Watch, references

#: By which the clocks of whoever recorded the trace and of the control plane may differ.
SKEW_NS = 60_000_000_000


def watches(plan: Plan, bundle: policy_pb2.Bundle, before: State | None) -> tuple[Watch, ...]:
    """Return what a new rollout watches: its candidate once promoted, and the stable policy as before.

    Args:
        plan: of it.
        bundle: of its candidate.
        before: the hook's rollout before it; None for the first.

    Raises:
        TrustError: the bundle's profile cannot be used.
    """
    check_profile(bundle.profile)
    kept = [each for each in before.watches if each.digest == plan.stable] if before else []
    own = Watch(
        plan.candidate,
        plan.upkeep,
        references(bundle.profile),
        plan.evidence_digest,
        bundle.profile.until_unix_ns,
    )
    return (own, *kept)


def read(payload: bytes) -> rollouts_pb2.Reverification:
    """Parse a verified payload; raises TrustError where it is no reverification that can be used."""
    try:
        said = rollouts_pb2.Reverification.FromString(payload)
    except DecodeError as error:
        raise TrustError(f"payload of {len(payload)} bytes is no reverification") from error
    check_profile(said.profile)
    return said


def require_watch(state: State, policy: str) -> Watch:
    """Return the watch over the policy in force.

    Raises:
        RolloutError: another policy is meant, or a rollout is under way.
    """
    watch = state.watch
    if state.status in RUNNING:
        raise RolloutError(
            f"rollout {state.plan.id} is {state.status}; verify again once it has ended"
        )
    if state.stable == INCUMBENT:
        raise RolloutError(
            f"hook {state.plan.hook!r} has no policy in force, its own function decides; ship one instead"
        )
    if watch is None or not watch.since_ns or watch.digest != policy:
        raise RolloutError(
            f"the verdict is on policy {policy[:16]!r}, in force is {state.stable[:16]!r}; nothing was changed"
        )
    return watch


def checked(
    said: rollouts_pb2.Reverification, watch: Watch, source: str, now: int, actor: str
) -> Reverified:
    """Return the event of a fresh verdict.

    Args:
        said: by a publisher.
        watch: over the policy in force.
        source: of that policy.
        now: Unix time in nanoseconds.
        actor: who brought it.

    Raises:
        RolloutError: the verdict is on another source, or its trace is not newer than what asked for it.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    if said.source_digest != digest or not said.evidence_digest:
        raise RolloutError(
            f"the verdict is on source {said.source_digest[:12]!r}, the policy's is {digest[:12]}; "
            "verify the policy that is in force"
        )
    after = watch.notice.time_ns if watch.notice else max(watch.since_ns, watch.trace_until_ns)
    until = said.profile.until_unix_ns
    if until <= after:
        raise RolloutError(
            f"its trace ends {(after - until) / 1e9:.0f} s before what it has to answer; record newer traffic "
            "and verify again"
        )
    if until > now + SKEW_NS:
        raise RolloutError(
            f"its trace ends {(until - now) / 1e9:.0f} s ahead of this control plane; set the clocks"
        )
    return Reverified(references(said.profile), said.evidence_digest, until, actor)
