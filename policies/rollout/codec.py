"""A rollout's state as plain JSON values and back; evidence of pairs is folded anew from the points."""

from __future__ import annotations

from typing import Any

from . import units_codec
from .blocks import Exclusion, Window
from .finding import Finding
from .outcomes import Arm, Point
from .plan import Plan
from .states import Fell, LookSummary, Served, Shadowed, State, Status, Transition, alpha_of
from .units import UnitEvidence
from .units_codec import flat
from .upkeep import Index, Notice, Reference, Terms, Watch


def to_json(state: State) -> dict[str, Any]:
    """Return everything of a state but its plan, which is stored as signed."""
    units = state.evidence if isinstance(state.evidence, UnitEvidence) else None
    return {
        "status": state.status.value,
        "salt": state.salt.hex(),
        "entered_ns": state.entered_ns,
        "attempt": state.attempt,
        "step": state.step,
        "windows": [flat(window) for window in state.windows],
        "looks": [flat(look) for look in state.looks],
        "units": units_codec.to_json(units) if units else None,
        "points": [_point_json(point) for point in state.points],
        "exclusions": [flat(exclusion) for exclusion in state.exclusions],
        "shadow": flat(state.shadow),
        "served": flat(state.served),
        "fell": flat(state.fell),
        "held_from": state.held_from.value,
        "spent": state.spent,
        "transitions": [transition_json(made) for made in state.transitions],
        "calibration": state.calibration,
        "killed": state.killed,
        "withdrawn": state.withdrawn,
        "watches": [_watch_json(watch) for watch in state.watches],
    }


def from_json(plan: Plan, data: dict[str, Any]) -> State:
    """Return the state that :func:`to_json` was given."""
    points = tuple(_point(item) for item in data["points"])
    return State(
        plan=plan,
        status=Status(data["status"]),
        salt=bytes.fromhex(data["salt"]),
        entered_ns=data["entered_ns"],
        evidence=_evidence(plan, points, data),
        attempt=data["attempt"],
        step=data["step"],
        windows=tuple(Window(**item) for item in data["windows"]),
        points=points,
        looks=tuple(LookSummary(**item) for item in data.get("looks", ())),
        exclusions=tuple(Exclusion(**item) for item in data["exclusions"]),
        shadow=Shadowed(**data["shadow"]),
        served=Served(**data["served"]),
        fell=Fell(**data.get("fell", {})),
        held_from=Status(data["held_from"]),
        spent=data["spent"],
        transitions=tuple(_transition(item) for item in data["transitions"]),
        calibration=data["calibration"],
        killed=data["killed"],
        # states that were stored before these were known
        withdrawn=data.get("withdrawn", False),
        watches=tuple(_watch(item) for item in data.get("watches", ())),
    )


def _evidence(plan: Plan, points: tuple[Point, ...], data: dict[str, Any]) -> Finding:
    evidence = plan.evidence(alpha_of(plan, data["attempt"]))
    if isinstance(evidence, UnitEvidence):
        return units_codec.from_json(evidence, data["units"])
    for point in points:
        evidence = evidence.add(point)
    return evidence


def transition_json(made: Transition) -> dict[str, Any]:
    """Return a transition as plain JSON values."""
    return flat(made) | {"before": made.before.value, "after": made.after.value}


def _transition(data: dict[str, Any]) -> Transition:
    known = {**data, "before": Status(data["before"]), "after": Status(data["after"])}
    return Transition(**known)


def _watch_json(watch: Watch) -> dict[str, Any]:
    parts = {
        "terms": flat(watch.terms),
        "profile": [flat(each) for each in watch.profile],
        "indices": [flat(each) for each in watch.indices],
        "notice": flat(watch.notice) if watch.notice else None,
    }
    return flat(watch) | parts


def _watch(data: dict[str, Any]) -> Watch:
    lists = {
        "terms": Terms(**data["terms"]),
        "profile": tuple(
            Reference(**{**each, "shares": tuple(each["shares"])}) for each in data["profile"]
        ),
        "counts": tuple(tuple(each) for each in data["counts"]),
        "first": tuple(tuple(each) for each in data["first"]),
        "indices": tuple(Index(**each) for each in data["indices"]),
        "notice": Notice(**data["notice"]) if data["notice"] else None,
    }
    return Watch(**{**data, **lists})


def _point_json(point: Point) -> dict[str, Any]:
    arms = {"stable": flat(point.stable), "candidate": flat(point.candidate)}
    return flat(point) | arms


def _point(data: dict[str, Any]) -> Point:
    return Point(**{**data, "stable": _arm(data["stable"]), "candidate": _arm(data["candidate"])})


def _arm(data: dict[str, Any]) -> Arm:
    return Arm(**{**data, "histogram": tuple(data["histogram"])})
