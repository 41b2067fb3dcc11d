"""A rollout's state as plain JSON values and back; the evidence is folded anew from the points."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .blocks import Exclusion, Window
from .evidence import Arm, Point
from .machine import Served, Shadowed, State, Status, Transition
from .plan import Plan


def to_json(state: State) -> dict[str, Any]:
    """Return everything of a state but its plan, which is stored as signed."""
    return {
        "status": state.status.value,
        "salt": state.salt.hex(),
        "entered_ns": state.entered_ns,
        "attempt": state.attempt,
        "step": state.step,
        "windows": [asdict(window) for window in state.windows],
        "points": [_point_json(point) for point in state.points],
        "exclusions": [asdict(exclusion) for exclusion in state.exclusions],
        "shadow": asdict(state.shadow),
        "served": asdict(state.served),
        "held_from": state.held_from.value,
        "spent": state.spent,
        "transitions": [transition_json(made) for made in state.transitions],
        "calibration": state.calibration,
        "killed": state.killed,
    }


def from_json(plan: Plan, data: dict[str, Any]) -> State:
    """Return the state that :func:`to_json` was given."""
    points = tuple(_point(item) for item in data["points"])
    evidence = plan.evidence()
    for point in points:
        evidence = evidence.add(point)
    return State(
        plan=plan,
        status=Status(data["status"]),
        salt=bytes.fromhex(data["salt"]),
        entered_ns=data["entered_ns"],
        evidence=evidence,
        attempt=data["attempt"],
        step=data["step"],
        windows=tuple(Window(**item) for item in data["windows"]),
        points=points,
        exclusions=tuple(Exclusion(**item) for item in data["exclusions"]),
        shadow=Shadowed(**data["shadow"]),
        served=Served(**data["served"]),
        held_from=Status(data["held_from"]),
        spent=data["spent"],
        transitions=tuple(_transition(item) for item in data["transitions"]),
        calibration=data["calibration"],
        killed=data["killed"],
    )


def transition_json(made: Transition) -> dict[str, Any]:
    """Return a transition as plain JSON values."""
    return {**asdict(made), "before": made.before.value, "after": made.after.value}


def _transition(data: dict[str, Any]) -> Transition:
    known = {**data, "before": Status(data["before"]), "after": Status(data["after"])}
    return Transition(**known)


def _point_json(point: Point) -> dict[str, Any]:
    # ``asdict`` copies every count of both histograms by itself, at every change of a long rollout.
    arms = {"stable": _flat(point.stable), "candidate": _flat(point.candidate)}
    return _flat(point) | arms


def _flat(value: Point | Arm) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _point(data: dict[str, Any]) -> Point:
    return Point(**{**data, "stable": _arm(data["stable"]), "candidate": _arm(data["candidate"])})


def _arm(data: dict[str, Any]) -> Arm:
    return Arm(**{**data, "histogram": tuple(data["histogram"])})
