"""Evidence by slices as plain JSON values and back; unlike that of pairs it cannot be folded anew.

Which assignments have crossed depends on every look, and the sums of earlier looks are not kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .outcomes import Arm
from .rerandomise import Crossing
from .slices import Ratio, Slices
from .units import UnitEvidence, UnitRail
from .wealth import Failures


def flat(value: Any) -> dict[str, Any]:
    """Return the fields of a frozen dataclass as they are.

    ``asdict`` copies every number of every tuple by itself, at every change of a long rollout.
    """
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def to_json(evidence: UnitEvidence) -> dict[str, Any]:
    """Return everything that the plan does not say."""
    return {
        "rails": [_rail_json(rail) for rail in evidence.rails],
        "worse": _crossing_json(evidence.worse),
        "better": _crossing_json(evidence.better),
        "shares": [_crossing_json(test) for test in evidence.shares],
        "treated": evidence.treated,
        "slices": evidence.slices,
        "base": flat(evidence.base),
        "tested": [flat(arm) for arm in evidence.tested],
        "stable": flat(evidence.stable),
        "candidate": flat(evidence.candidate),
        "seen": list(evidence.seen),
        "effective": list(evidence.effective),
        # An error that is not known is no number of JSON's.
        "ratio": flat(evidence.ratio) if evidence.ratio != Ratio() else None,
        "looks": evidence.looks,
    }


def from_json(start: UnitEvidence, data: dict[str, Any]) -> UnitEvidence:
    """Return the evidence that :func:`to_json` was given.

    Args:
        start: evidence of no look, of the same plan and attempt.
        data: what was stored.
    """
    rails = zip(start.rails, data["rails"], strict=True)
    first, second = (_crossing(test.level, item) for test, item in _pairs(start, data))
    stable, candidate = (_arm(item) for item in data["tested"])
    return replace(
        start,
        rails=tuple(_rail(rail, item) for rail, item in rails),
        worse=_crossing(start.worse.level, data["worse"]),
        better=_crossing(start.better.level, data["better"]),
        shares=(first, second),
        treated=data["treated"],
        slices=data["slices"],
        base=_slices(data["base"]),
        tested=(stable, candidate),
        stable=_arm(data["stable"]),
        candidate=_arm(data["candidate"]),
        seen=tuple(data["seen"]),
        effective=tuple(data["effective"]),
        ratio=Ratio(**data["ratio"]) if data["ratio"] else Ratio(),
        looks=data["looks"],
    )


def _pairs(start: UnitEvidence, data: dict[str, Any]) -> Any:
    return zip(start.shares, data["shares"], strict=True)


def _crossing_json(test: Crossing) -> dict[str, Any]:
    return {"crossed": list(test.crossed), "looks": test.looks, "p": test.p}


def _crossing(level: float, data: dict[str, Any]) -> Crossing:
    return Crossing(level, tuple(data["crossed"]), data["looks"], data["p"])


def _rail_json(rail: UnitRail) -> dict[str, Any]:
    fine: Any = None
    if isinstance(rail.fine, Failures):
        fine = flat(rail.fine)
    elif rail.fine is not None:
        fine = _crossing_json(rail.fine)
    return {"worse": _crossing_json(rail.worse), "fine": fine}


def _rail(start: UnitRail, data: dict[str, Any]) -> UnitRail:
    fine, found = start.fine, data["fine"]
    if isinstance(fine, Failures):
        fine = replace(fine, logs=tuple(found["logs"]), seen=found["seen"], failed=found["failed"])
    elif fine is not None:
        fine = _crossing(fine.level, found)
    return replace(start, worse=_crossing(start.worse.level, data["worse"]), fine=fine)


def _arm(data: dict[str, Any]) -> Arm:
    return Arm(**{**data, "histogram": tuple(data["histogram"])})


def _slices(data: dict[str, Any]) -> Slices:
    histograms = tuple(tuple(each) for each in data["histograms"])
    flat = {name: tuple(values) for name, values in data.items() if name != "histograms"}
    return Slices(**flat, histograms=histograms)
