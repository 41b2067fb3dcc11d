"""The ramp plan as the control plane uses it: the publisher's words, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2

from ...sdk.assignment import Sticky, Switchback
from ...sdk.errors import RolloutError
from ...sdk.kind import Arms
from ...sdk.manifest import MAX_SLICES, MIN_SLICES
from ...sdk.records import INCUMBENT
from ...sdk.slices import GROUPS
from .evidence import Evidence
from .outcomes import Effect, Rail
from .rerandomise import DRAWS, HALF_SPENT
from .units import UnitEvidence
from .upkeep import NOTHING, Terms

STATISTICS = ("mean", "p99", "failure_rate")
_ARMS = (policy_pb2.ARMS_SWITCHBACK, policy_pb2.ARMS_STICKY, policy_pb2.ARMS_PAIRED)


@dataclass(frozen=True)
class Plan:
    """What the publisher allows; times in nanoseconds.

    Attributes:
        id: unique; also names the rollout.
        hook: that it is for.
        candidate, stable: digests; ``incumbent`` for the function in the service's own source.
        weights: shares of the candidate, ascending, at most 0.5, before everything.
        block_ns, burn_in_ns, skew_ns: of the blocks.
        min_pairs: pairs, with sticky arms looks, that every step must count.
        max_pairs: judged pairs, or looks, after which an undecided rollout is held.
        alpha_promote, alpha_abort: levels of the tests.
        objective, clip: name of the metric and where it is clipped.
        rails: guardrails.
        deadline_ns: after which an absent outcome counts as a failure at the clip.
        shadow_decisions: after which live shadow ends; 0 skips it.
        shadow_rate: share of decisions that live shadow computes.
        soak_ns: time under watch at full weight.
        lease_ns: how long a manifest holds without renewal.
        not_after_ns: Unix time after which the plan is void.
        rollout_keyid: of the key that may sign manifests under it.
        evidence_digest: of the verdict.
        predicted: relative change of the objective by the digest that it is against.
        paired: both arms answer the same traffic in every block; if not, they alternate.
        slices: with sticky arms, into how many the units are divided; 0 with others.
        upkeep: what becomes of it after the promotion.
    """

    id: str
    hook: str
    candidate: str
    stable: str
    weights: tuple[float, ...]
    block_ns: int
    burn_in_ns: int
    skew_ns: int
    min_pairs: int
    max_pairs: int
    alpha_promote: float
    alpha_abort: float
    objective: str
    clip: float
    rails: tuple[Rail, ...]
    deadline_ns: int
    shadow_decisions: int
    shadow_rate: float
    soak_ns: int
    lease_ns: int
    not_after_ns: int
    rollout_keyid: str
    evidence_digest: str
    predicted: Mapping[str, Effect]
    paired: bool = False
    slices: int = 0
    upkeep: Terms = NOTHING

    @property
    def arms(self) -> Arms:
        """How the arms share the traffic."""
        return "sticky" if self.slices else "paired" if self.paired else "switchback"

    @property
    def counted(self) -> str:
        """What a step is made of, in words."""
        return "looks" if self.slices else "pairs"

    def candidates(self, weight: float) -> int:
        """Return how many slices are the candidate's at a weight."""
        return Sticky(b"", self.slices, weight).candidates

    def switchback(self, salt: bytes, cell: str, weight: float) -> Switchback:
        """Return the randomisation of one cell at one weight."""
        times = self.block_ns, self.burn_in_ns, self.skew_ns
        return Switchback(salt, cell, *times, weight, self.paired)

    def evidence(self, alpha_promote: float) -> Evidence | UnitEvidence:
        """Return the evidence before any pair or look, of an attempt with this level of promotion."""
        if self.slices:
            steps = len(self.weights) - 1
            levels = self.alpha_abort, alpha_promote
            return UnitEvidence.start(self.rails, self.clip, *levels, steps)
        return Evidence.start(self.rails, self.clip)


def read_plan(payload: bytes) -> Plan:
    """Parse and check the payload of a plan's envelope.

    Raises:
        RolloutError: it is no plan, or one that cannot be carried out; names the value.
    """
    try:
        message = policy_pb2.RampPlan.FromString(payload)
    except DecodeError as error:
        raise RolloutError(f"payload of {len(payload)} bytes is no ramp plan") from error
    plan = _plan(message)
    problem = _names(plan) or _switchback(plan) or _statistics(plan, message) or _effects(plan)
    problem = problem or (message.arms == policy_pb2.ARMS_STICKY and _sticky(plan)) or ""
    problem = problem or _upkeep(plan.upkeep)
    if problem:
        raise RolloutError(f"plan {plan.id or '(no id)'}: {problem}")
    return plan


def _plan(message: policy_pb2.RampPlan) -> Plan:
    return Plan(
        id=message.id,
        hook=message.hook,
        candidate=message.candidate,
        stable=message.stable,
        weights=tuple(message.weights),
        block_ns=message.block_ns,
        burn_in_ns=message.burn_in_ns,
        skew_ns=message.skew_ns,
        min_pairs=message.min_pairs,
        max_pairs=message.max_pairs,
        alpha_promote=message.alpha_promote,
        alpha_abort=message.alpha_abort,
        objective=message.objective,
        clip=message.objective_clip,
        rails=tuple(
            Rail(rail.name, rail.statistic, rail.margin, rail.relative)
            for rail in message.guardrails
        ),
        deadline_ns=message.outcome_deadline_ns,
        shadow_decisions=message.shadow_decisions,
        shadow_rate=message.shadow_rate,
        soak_ns=message.soak_ns,
        lease_ns=message.lease_ns,
        not_after_ns=message.not_after_unix_ns,
        rollout_keyid=message.rollout_keyid,
        evidence_digest=message.evidence_digest,
        predicted={
            digest: Effect(interval.estimate, interval.low, interval.high)
            for digest, interval in message.predicted.items()
        },
        paired=message.arms == policy_pb2.ARMS_PAIRED,
        slices=message.slices if message.arms == policy_pb2.ARMS_STICKY else 0,
        upkeep=_terms(message.upkeep) if message.HasField("upkeep") else NOTHING,
    )


def _terms(message: policy_pb2.Upkeep) -> Terms:
    return Terms(
        expires_ns=message.expires_after_ns,
        drift_limit=message.drift_limit,
        grace_ns=message.grace_ns,
        then=message.then,
        window_ns=message.window_ns,
        windows=message.windows,
    )


def _upkeep(terms: Terms) -> str:
    if terms.then not in ("keep", INCUMBENT):
        return f"upkeep: then {terms.then!r} must be 'keep' or 'incumbent'"
    if terms.expires_ns < 0 or terms.grace_ns < 0:
        return "upkeep: expiry and grace must not be negative"
    if not 0.0 <= terms.drift_limit < math.inf:
        return f"upkeep: drift limit {terms.drift_limit} must be finite, at least 0"
    if terms.drift_limit and (terms.window_ns <= 0 or not terms.windows):
        return f"upkeep: drift is watched over {terms.windows} windows of {terms.window_ns} ns; both must be above 0"
    return ""


def _names(plan: Plan) -> str:
    for name in ("id", "hook", "candidate", "stable", "objective"):
        if not getattr(plan, name):
            return f"{name} is empty"
    if plan.candidate == plan.stable:
        return f"candidate and stable are both {plan.stable[:12]}: it decides already"
    return ""


def _switchback(plan: Plan) -> str:
    ramp = plan.weights[:-1]
    if not ramp or plan.weights[-1] != 1.0:
        return f"weights {list(plan.weights)} must be one or more up to 0.5, then 1.0"
    if any(not 0.0 < weight <= 0.5 for weight in ramp) or list(ramp) != sorted(set(ramp)):
        return f"weights {list(plan.weights)} must ascend, at most 0.5 before the last"
    if plan.block_ns <= 0 or min(plan.burn_in_ns, plan.skew_ns) < 0:
        return f"block of {plan.block_ns} ns; it must be positive, burn-in and skew not negative"
    if plan.burn_in_ns + plan.skew_ns >= plan.block_ns:
        return "burn-in and skew leave nothing of a block; make the block longer"
    return ""


def _sticky(plan: Plan) -> str:
    if not MIN_SLICES <= plan.slices <= MAX_SLICES:
        return f"slices {plan.slices} must be {MIN_SLICES} to {MAX_SLICES}"
    if plan.slices % GROUPS:
        return (
            f"slices {plan.slices} must be a multiple of {GROUPS}, the groups that have a histogram"
        )
    for weight in plan.weights:
        if abs(weight * plan.slices - plan.candidates(weight)) > 1e-6:
            return (
                f"weight {weight:g} of {plan.slices} slices is no whole number of them; change one"
            )
        if plan.candidates(weight) < 1:
            return f"weight {weight:g} of {plan.slices} slices is none; raise one of them"
    return _blunt(plan)


def _blunt(plan: Plan) -> str:
    """Say that a level is so fine that no number of looks refuses at it; empty when none is."""
    steps, spent = max(1, len(plan.weights) - 1), plan.max_pairs / (plan.max_pairs + HALF_SPENT)
    abort = plan.alpha_abort / steps / max(1, len(plan.rails))
    for name, level in (("alpha_abort", abort), ("alpha_promote", plan.alpha_promote)):
        if level * spent * DRAWS < 1.0:
            return (
                f"{name} {getattr(plan, name):g} leaves a test {level:.2g}, finer than {DRAWS} assignments tell in "
                f"{plan.max_pairs} looks; raise it or the looks, or take fewer weights or guardrails"
            )
    return ""


def _statistics(plan: Plan, message: policy_pb2.RampPlan) -> str:
    if message.arms not in _ARMS:
        return "arms must be switchback, sticky or paired; use a newer gnomon for others"
    if not 0 < plan.min_pairs <= plan.max_pairs:
        return f"min_pairs {plan.min_pairs} must be 1 to max_pairs {plan.max_pairs}"
    for name in ("alpha_promote", "alpha_abort"):
        if not 0.0 < getattr(plan, name) <= 0.5:
            return f"{name} {getattr(plan, name)} must be above 0 and at most 0.5"
    if not 0.0 < plan.clip < math.inf:
        return f"objective_clip {plan.clip} must be positive and finite"
    if plan.lease_ns <= 0 or plan.deadline_ns < 0 or plan.soak_ns < 0:
        return "lease must be positive, outcome deadline and soak not negative"
    return _rails(plan, message)


def _effects(plan: Plan) -> str:
    if not 0.0 <= plan.shadow_rate <= 1.0:
        return f"shadow_rate {plan.shadow_rate} must be 0 to 1"
    if plan.shadow_decisions and not plan.shadow_rate:
        return f"shadow_rate 0 never computes {plan.shadow_decisions} shadow decisions"
    for digest, effect in plan.predicted.items():
        if not -1.0 <= effect.low <= effect.estimate <= effect.high < math.inf:
            ends = f"{effect.low} <= {effect.estimate} <= {effect.high}"
            return f"predicted against {digest[:16]!r}: {ends} must hold, from -1, finite"
    return ""


def _rails(plan: Plan, message: policy_pb2.RampPlan) -> str:
    for rail in message.guardrails:
        if rail.statistic not in STATISTICS:
            return f"guardrail {rail.name}: statistic {rail.statistic!r} is none of {STATISTICS}"
        if rail.statistic != "failure_rate" and rail.metric != plan.objective:
            return f"guardrail {rail.name}: only the objective is measured, not {rail.metric!r}"
        if not 0.0 <= rail.margin < math.inf:
            return f"guardrail {rail.name}: margin {rail.margin} must be finite, at least 0"
    return ""
