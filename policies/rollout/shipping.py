"""The publisher's side: a bundle and a ramp plan, signed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gnomon.v1 import policy_pb2

from ...sdk import dsse, keys
from ...sdk.bundle import bundle_digest, read_bundle
from ...sdk.errors import RolloutError
from ...sdk.kind import Arms, Kind
from ...sdk.records import INCUMBENT
from .outcomes import Effect
from .plan import read_plan

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


#: Share of decisions that live shadow computes unless a ramp says; beside a cache it computes a
#: ghost of the candidate, which costs more than one score.
SHADOW_RATE = 0.1
PAIRED_SHADOW_RATE = 0.05

_ARMS: Mapping[Arms, policy_pb2.Arms] = {
    "switchback": policy_pb2.ARMS_SWITCHBACK,
    "sticky": policy_pb2.ARMS_STICKY,
    "paired": policy_pb2.ARMS_PAIRED,
}
_TIMES = (
    *("block_s", "burn_in_s", "skew_s", "soak_s", "lease_s", "valid_s"),
    *("expires_s", "drift_window_s", "grace_s"),
)
_MOST_COUNT = (1 << 31) - 1
_MOST_S = 1e9  # as nanoseconds since 1970 it still fits into 63 bits for 190 years


@dataclass(frozen=True, slots=True)
class Ramp:
    """How a candidate may take over; times in seconds.

    Attributes:
        weights: shares of the candidate, ascending, at most 0.5, then 1.
        block_s: length of a block.
        burn_in_s, skew_s: start and end of a block that are not measured.
        min_pairs: pairs of blocks that every step must count.
        max_pairs: judged pairs after which an undecided rollout is held.
        slices: with sticky arms, into how many the units are divided; weights are whole numbers of them.
        max_looks: with sticky arms, looks after which an undecided rollout is held; each is at 10 % more
            decisions than the one before.
        alpha_promote, alpha_abort: levels of the tests.
        shadow_decisions: after which live shadow ends; 0 skips it.
        shadow_rate: share of decisions that live shadow computes; None takes 0.1, with paired arms 0.05.
        soak_s: time under watch at full weight.
        lease_s: how long a process may run the candidate without hearing of the control plane.
        valid_s: how long the plan is good for.
        expires_s: how long a promotion is justified before it must be verified again; 0 for ever.
        drift: population stability index of a feature beyond which the workload has moved; 0 does not look.
        drift_window_s: that one index is taken over: a day, which holds a daily cycle whole.
        drift_windows: in a row beyond it: seven, because of a weekly cycle the seventh is what the first one was.
        grace_s: time to verify again: two weeks, so that after a week of holidays the traffic can come back.
        then: what happens otherwise: ``incumbent`` takes the policy back, ``keep`` only says so.
    """

    weights: tuple[float, ...] = (0.5, 1.0)
    block_s: float = 10.0
    burn_in_s: float = 1.0
    skew_s: float = 0.25
    min_pairs: int = 8
    max_pairs: int = 60
    slices: int = 1000
    max_looks: int = 100
    alpha_promote: float = 0.025
    alpha_abort: float = 0.025
    shadow_decisions: int = 1000
    shadow_rate: float | None = None
    soak_s: float = 60.0
    lease_s: float = 15.0
    valid_s: float = 7 * 86400.0
    expires_s: float = 90 * 86400.0
    drift: float = 0.25
    drift_window_s: float = 86400.0
    drift_windows: int = 7
    grace_s: float = 14 * 86400.0
    then: Literal["incumbent", "keep"] = "incumbent"

    def __post_init__(self) -> None:
        """Refuse what no plan can say; raises RolloutError with the value."""
        names = (
            "min_pairs",
            "max_pairs",
            "slices",
            "max_looks",
            "shadow_decisions",
            "drift_windows",
        )
        for name in names:
            if not 0 <= getattr(self, name) <= _MOST_COUNT:
                raise RolloutError(
                    f"{name} {getattr(self, name)} must be a number from 0 to {_MOST_COUNT}"
                )
        for name in _TIMES:
            if not 0.0 <= getattr(self, name) <= _MOST_S:
                raise RolloutError(
                    f"{name} {getattr(self, name):g} must lie between 0 and {_MOST_S:g} seconds"
                )
        if self.shadow_rate is not None and not 0.0 <= self.shadow_rate <= 1.0:
            raise RolloutError(f"shadow_rate {self.shadow_rate:g} must lie between 0 and 1")


def build_plan(
    ramp: Ramp,
    bundle: bytes,
    kind: Kind,
    rollout_key: Ed25519PublicKey,
    now: int,
    *,
    stable: str = INCUMBENT,
    predicted: Mapping[str, Effect] | None = None,
    plan_id: str = "",
) -> bytes:
    """Return the payload of a ramp plan for a bundle.

    Args:
        ramp: how it may take over.
        bundle: the bundle's payload.
        kind: of the hook; gives objective, guardrails and the outcomes' deadline.
        rollout_key: may sign manifests under the plan.
        now: Unix time in nanoseconds.
        stable: digest that it goes against.
        predicted: relative change of the objective, by the digest that it is against.
        plan_id: unique; a random one when empty.

    Raises:
        RolloutError: the plan could not be carried out; names the value.
    """
    about = read_bundle(bundle)
    message = policy_pb2.RampPlan(
        id=plan_id or f"r-{secrets.token_hex(6)}",
        hook=about.hook,
        candidate=bundle_digest(bundle),
        stable=stable,
        arms=_ARMS[kind.arms],
        weights=ramp.weights,
        block_ns=_ns(ramp.block_s),
        burn_in_ns=_ns(ramp.burn_in_s),
        skew_ns=_ns(ramp.skew_s),
        min_pairs=ramp.min_pairs,
        max_pairs=ramp.max_looks if kind.arms == "sticky" else ramp.max_pairs,
        slices=ramp.slices if kind.arms == "sticky" else 0,
        alpha_promote=ramp.alpha_promote,
        alpha_abort=ramp.alpha_abort,
        objective=kind.objective.name,
        objective_clip=kind.objective.clip,
        guardrails=_guardrails(kind),
        outcome_deadline_ns=_ns(kind.outcome_deadline_s),
        shadow_decisions=ramp.shadow_decisions,
        shadow_rate=_shadow_rate(ramp, kind),
        soak_ns=_ns(ramp.soak_s),
        lease_ns=_ns(ramp.lease_s),
        not_after_unix_ns=now + _ns(ramp.valid_s),
        rollout_keyid=keys.keyid(rollout_key),
        rollout_public_key=keys.raw(rollout_key),
        evidence_digest=about.evidence_digest,
        predicted=_intervals(predicted or {}),
        upkeep=_upkeep(ramp),
    )
    payload = message.SerializeToString(deterministic=True)
    read_plan(payload)
    return payload


def sign_plan(payload: bytes, publisher: Ed25519PrivateKey) -> policy_pb2.Envelope:
    """Return the signed envelope of a plan."""
    return dsse.sign(dsse.PLAN_TYPE, payload, publisher)


def _guardrails(kind: Kind) -> list[policy_pb2.Guardrail]:
    """Return the guardrails that a service can measure; others were asked of the replays."""
    return [
        policy_pb2.Guardrail(
            name=rail.name,
            metric=rail.metric,
            statistic=rail.statistic,
            margin=rail.margin,
            relative=rail.relative,
        )
        for rail in kind.guardrails
        if rail.metric == kind.objective.name or rail.statistic == "failure_rate"
    ]


def _intervals(predicted: Mapping[str, Effect]) -> dict[str, policy_pb2.Interval]:
    return {
        digest: policy_pb2.Interval(estimate=found.estimate, low=found.low, high=found.high)
        for digest, found in predicted.items()
    }


def _upkeep(ramp: Ramp) -> policy_pb2.Upkeep:
    return policy_pb2.Upkeep(
        expires_after_ns=_ns(ramp.expires_s),
        drift_limit=ramp.drift,
        grace_ns=_ns(ramp.grace_s),
        then=ramp.then,
        window_ns=_ns(ramp.drift_window_s),
        windows=ramp.drift_windows,
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _shadow_rate(ramp: Ramp, kind: Kind) -> float:
    if ramp.shadow_rate is not None:
        return ramp.shadow_rate
    return PAIRED_SHADOW_RATE if kind.arms == "paired" else SHADOW_RATE
