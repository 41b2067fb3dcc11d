"""A rollout as its control plane tells it, and what shipping began, as results that show themselves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shown import Part, Shown, Table, plain

if TYPE_CHECKING:
    from gnomon.v1 import policy_pb2, rollouts_pb2


@dataclass(frozen=True, slots=True)
class Effect:
    """A relative change of the objective, below 0 is better; ends that are open are infinite."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Guarded:
    """Where one guardrail stands.

    Attributes:
        name: of the guardrail.
        log_e_worse, log_e_fine: natural logarithms of the e-values.
        stable, candidate: the metric in either arm.
    """

    name: str
    log_e_worse: float
    log_e_fine: float
    stable: float
    candidate: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair of blocks: mean outcomes, and why it was left out (empty where it counts)."""

    pair: int
    stable: float
    candidate: float
    left_out: str


@dataclass(frozen=True, slots=True)
class Transition:
    """One step from state to state; ``time_ns`` is Unix time, ``order`` a person's, or empty."""

    before: str
    after: str
    cause: str
    actor: str
    time_ns: int
    order: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, its states as ``from`` and ``to``."""
        return {
            "from": self.before,
            "to": self.after,
            "cause": self.cause,
            "actor": self.actor,
            "time_ns": self.time_ns,
            "order": self.order,
        }

    @property
    def by(self) -> str:
        """Who caused it, and by which order."""
        return f"{self.order} by {self.actor}" if self.order else self.actor


@dataclass(frozen=True, slots=True)
class CanaryEvidence:
    """What a canary has measured so far.

    Attributes:
        pairs: that count.
        excluded_stable, excluded_candidate: blocks left out by arm; ``incomplete``: pairs.
        log_e_better, log_e_worse: natural logarithms of the e-values.
        effect: relative change of the objective, anytime-valid.
        stable_mean, candidate_mean: of the objective; ``_decisions``: how many.
        guardrails: one each.
        shadow_decisions, shadow_diverged, shadow_faults, shadow_violations: of live shadow.
        points: all pairs, in order.
    """

    pairs: int
    excluded_stable: int
    excluded_candidate: int
    incomplete: int
    log_e_better: float
    log_e_worse: float
    effect: Effect
    stable_mean: float
    candidate_mean: float
    stable_decisions: int
    candidate_decisions: int
    guardrails: tuple[Guarded, ...]
    shadow_decisions: int
    shadow_diverged: int
    shadow_faults: int
    shadow_violations: int
    points: tuple[Pair, ...]

    @property
    def counted(self) -> str:
        """What the evidence is made of: ``pairs`` of blocks, or ``looks`` at the units' sums."""
        return "looks" if self.pairs and not self.points else "pairs"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How the justification of a promoted policy stands.

    Attributes:
        since_ns: Unix time of the promotion, or of the last verification.
        expires_ns: when it must be verified again; 0 for never.
        drift_limit: of the index of any feature; 0 where drift is not watched.
        indices: population stability index by feature, of the last whole window.
        over: windows in a row beyond the limit.
        notice: why it must be verified again; empty where it need not.
        due_ns: until when, and ``then`` what happens.
        unwatched: why drift is not watched; empty where it is.
    """

    since_ns: int
    expires_ns: int
    drift_limit: float
    indices: dict[str, float]
    over: int
    notice: str
    due_ns: int
    then: str
    unwatched: str


@dataclass(frozen=True, slots=True, repr=False)
class Rollout(Shown):
    """A rollout as it stands.

    Attributes:
        id, hook: of it.
        state: ``DRAFT``, ``SHADOW``, ``CANARY``, ``RAMP``, ``FULL``, ``STABLE``, ``HOLD`` or
            ``ABORTED``.
        candidate, stable: digests of the policies; ``serving`` is stable on the hook now.
        weight: share of the candidate.
        epoch, attempt: of the manifest in force, and of the rollout.
        clients, acked: connected processes, and those of them that run the manifest in force.
        calibration: whether the prediction held; empty before it is known.
        evidence: measured so far.
        transitions: all of them, oldest first.
        upkeep: of the policy that serves; None where nothing is watched.
    """

    id: str
    hook: str
    state: str
    candidate: str
    stable: str
    serving: str
    weight: float
    epoch: int
    attempt: int
    clients: int
    acked: int
    calibration: str
    evidence: CanaryEvidence
    transitions: tuple[Transition, ...]
    upkeep: Upkeep | None = None

    @classmethod
    def of(cls, found: rollouts_pb2.Rollout) -> Rollout:
        """Return the rollout of a message."""
        from gnomon.v1 import rollouts_pb2

        same = ("id", "hook", "candidate", "stable", "serving", "weight", "epoch", "attempt")
        return cls(
            **{name: getattr(found, name) for name in (*same, "clients", "acked", "calibration")},
            state=rollouts_pb2.State.Name(found.state),
            evidence=_evidence(found.evidence),
            transitions=tuple(map(_transition, found.transitions)),
            upkeep=_upkeep(found.upkeep) if found.HasField("upkeep") else None,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the rollout as JSON values; what is not known is null."""
        values: dict[str, Any] = plain(asdict(self))
        return values | {"transitions": [made.as_json() for made in self.transitions]}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: where it stands, and the evidence."""
        found, effect = self.evidence, self.evidence.effect
        left_out = found.incomplete + max(found.excluded_stable, found.excluded_candidate)
        rows = [
            ("state", f"{self.state} (attempt {self.attempt}, epoch {self.epoch})"),
            ("hook", self.hook),
            ("candidate", f"{self.candidate[:16]} against {self.stable[:16]}"),
            ("weight", f"{self.weight:g}"),
            ("processes", f"{self.acked} of {self.clients} have acknowledged"),
            ("live shadow", _shadow(found)),
            (found.counted, f"{found.pairs} count, {left_out} blocks or pairs left out"),
            ("e-value better", _e_value(found.log_e_better)),
            ("e-value worse", _e_value(found.log_e_worse)),
            ("effect", f"{effect.estimate:+.1%}  [{_share(effect.low)}, {_share(effect.high)}]"),
            ("means", f"candidate {found.candidate_mean:.4g}, stable {found.stable_mean:.4g}"),
            *(_rail(rail) for rail in found.guardrails),
        ]
        if self.calibration:
            rows.append(("calibration", self.calibration))
        if self.upkeep is not None:
            rows += _upkept(self.upkeep)
        if self.transitions:
            last = self.transitions[-1]
            rows.append(("last", f"{last.cause} ({last.by})"))
        history = tuple((f"{m.before} -> {m.after}", m.by, m.cause) for m in self.transitions)
        return (
            Table(("", ""), tuple(rows), f"rollout {self.id}"),
            *((Table(("history", "by", "cause"), history),) if history else ()),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Shipped(Shown):
    """A policy on its way.

    Attributes:
        rollout: as it stood when it began.
        control_plane: ``host:port`` that carries it out.
        verdict: digest of the verdict that it rests on.
        weights: shares of the candidate that its ramp goes through.
        bundle: file that also received the signed bundle; None where none was asked for.
        expires_s: how long a promotion is justified, in seconds; 0 for ever.
        drift: index of a feature beyond which its traffic has moved; 0 where that is not watched.
        grace_s: time to verify again, then ``then``: ``incumbent``, or ``keep``.
    """

    rollout: Rollout
    control_plane: str
    verdict: str
    weights: tuple[float, ...]
    bundle: Path | None = None
    expires_s: float = 0.0
    drift: float = 0.0
    grace_s: float = 0.0
    then: str = "keep"

    @property
    def id(self) -> str:
        """Of the rollout."""
        return self.rollout.id

    @property
    def afterwards(self) -> str:
        """What becomes of it once it is promoted, in a sentence."""
        asked = [f"after {_lasting(self.expires_s)}"] if self.expires_s else []
        asked += [f"when its traffic moves (index above {self.drift:g})"] if self.drift else []
        if not asked:
            return "justified for ever: neither its age nor its traffic is watched"
        end = "it goes on" if self.then == "keep" else "the function decides again"
        return f"verify it again {' or '.join(asked)}; without that, {end} {_lasting(self.grace_s)} later"

    def as_json(self) -> dict[str, Any]:
        """Return the rollout as JSON values, with where it runs and what it rests on."""
        values: dict[str, Any] = plain(asdict(self))
        del values["rollout"]
        return self.rollout.as_json() | values

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: what was shipped, where to, and what comes next."""
        rollout = self.rollout
        rows = [
            ("state", rollout.state),
            ("hook", rollout.hook),
            ("candidate", rollout.candidate),
            ("against", rollout.stable),
            ("weights", ", ".join(f"{weight:g}" for weight in self.weights)),
            ("verdict", self.verdict),
            ("control plane", self.control_plane),
            ("once promoted", self.afterwards),
        ]
        if self.bundle is not None:
            rows.append(("bundle", str(self.bundle)))
        return (Table(("", ""), tuple(rows), f"shipped: rollout {rollout.id}"),)


def _transition(made: rollouts_pb2.Transition) -> Transition:
    from gnomon.v1 import rollouts_pb2

    before, after = (rollouts_pb2.State.Name(s) for s in (getattr(made, "from"), made.to))
    return Transition(before, after, made.cause, made.actor, made.time_unix_ns, made.order)


def _upkeep(found: rollouts_pb2.UpkeepStatus) -> Upkeep:
    return Upkeep(
        since_ns=found.since_unix_ns,
        expires_ns=found.expires_unix_ns,
        drift_limit=found.drift_limit,
        indices={each.name: each.index for each in found.indices},
        over=found.over,
        notice=found.notice,
        due_ns=found.due_unix_ns,
        then=found.then,
        unwatched=found.unwatched,
    )


def _upkept(found: Upkeep) -> list[tuple[str, str]]:
    until = f", expires {_day(found.expires_ns)}" if found.expires_ns else ""
    worst = max(found.indices.items(), key=lambda each: each[1], default=("", 0.0))
    index = f"index {worst[1]:.2f} ({worst[0]}), limit {found.drift_limit:g}"
    drift = f"not watched: {found.unwatched}" if found.unwatched else index
    rows = [
        ("verified", f"{_day(found.since_ns)}{until}"),
        ("drift", drift if found.unwatched or found.indices else "no whole window yet"),
    ]
    if found.notice:
        then = "the policy stays" if found.then == "keep" else "else the incumbent is back"
        due = f"{found.notice}; due {_day(found.due_ns)}, {then}"
        rows.append(("verify again", due))
    return rows


def _lasting(seconds: float) -> str:
    """Return a duration in the largest unit of which it is one or more."""
    units = (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))
    name, size = next((each for each in units if seconds >= each[1]), ("seconds", 1.0))
    return f"{seconds / size:g} {name}"


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _evidence(found: rollouts_pb2.Evidence) -> CanaryEvidence:
    special = {"effect", "guardrails", "points"}
    return CanaryEvidence(
        **{name: getattr(found, name) for name in CanaryEvidence.__slots__ if name not in special},
        effect=_effect(found.effect),
        guardrails=tuple(
            Guarded(rail.name, rail.log_e_worse, rail.log_e_fine, rail.stable, rail.candidate)
            for rail in found.guardrails
        ),
        points=tuple(Pair(p.pair, p.stable, p.candidate, p.used) for p in found.points),
    )


def _effect(found: policy_pb2.Interval) -> Effect:
    return Effect(found.estimate, found.low, found.high)


def _rail(rail: Guarded) -> tuple[str, str]:
    fine, worse = _e_value(rail.log_e_fine), _e_value(rail.log_e_worse)
    values = f"candidate {rail.candidate:.4g}, stable {rail.stable:.4g}"
    return f"guardrail {rail.name}", f"fine {fine}, worse {worse}; {values}"


def _shadow(found: CanaryEvidence) -> str:
    bad = found.shadow_faults + found.shadow_violations
    return f"{found.shadow_decisions} decisions, {found.shadow_diverged} diverged, {bad} bad"


def _e_value(log: float) -> str:
    return f"{math.exp(log):.3g}" if log < 20.0 else f"e^{log:.0f}"


def _share(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else "open"
