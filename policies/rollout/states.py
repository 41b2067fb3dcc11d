"""Where a rollout stands, and what the manifest in force must say for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ...sdk.records import INCUMBENT
from .blocks import Exclusion, Window
from .calibration import Calibration
from .finding import Finding
from .outcomes import Point
from .plan import Plan
from .upkeep import Watch

#: Level that no number of retries goes below; it keeps the logarithm finite.
LEAST_ALPHA = 1e-300
MACHINE = "gnomon"  # the actor of what nobody ordered


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
