"""What can happen to a rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .blocks import Exclusion
from .outcomes import Point
from .states import Fell, Served, Shadowed
from .units import Slices
from .upkeep import Counts, Reference

Action = Literal["hold", "resume", "promote", "abort", "retry", "kill", "recalibrated"]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs of blocks were judged, in this order."""

    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """The sums by slice of the units were looked at; all since the weight in force began."""

    slices: Slices


@dataclass(frozen=True, slots=True)
class Nacked:
    """A process refused a bundle or manifest of this attempt."""

    instance: str
    resource: str
    error: str


@dataclass(frozen=True, slots=True)
class Broke:
    """A process took the candidate back by itself."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Act:
    """An operator's order.

    Attributes:
        action: what to do.
        actor, reason: who, and why.
        salt: fresh random bytes; used by ``retry`` only.
    """

    action: Action
    actor: str
    reason: str = ""
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A stretch of time counts for neither arm."""

    exclusion: Exclusion


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of decisions of the policy in force were counted, by the profile of its watch."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Reverified:
    """A fresh verdict accepts the policy in force.

    Attributes:
        profile: of the trace that it rests on.
        evidence: digest of the verdict.
        until_ns: Unix time of the trace's newest decision.
        actor: who brought it.
    """

    profile: tuple[Reference, ...]
    evidence: str
    until_ns: int
    actor: str


Event = (
    Tick
    | Judged
    | Looked
    | Shadowed
    | Served
    | Fell
    | Nacked
    | Broke
    | Act
    | Excluded
    | Seen
    | Reverified
)
