"""Whether what a canary measured bears out what the verdict predicted."""

from __future__ import annotations

import math
from typing import Final, Literal

from .finding import Finding
from .outcomes import Effect

#: What a rollout's calibration says of a simulator that was found wrong.
RECALIBRATE: Final = "recalibration required"

Calibration = Literal["", "confirmed", "recalibration required", "no prediction", "not measured"]


def calibrated(predicted: Effect | None, evidence: Finding, worse: bool) -> Calibration:
    """Hold the measured effect against the predicted one.

    A candidate that was taken back on evidence refutes the simulator whatever the intervals are: the
    verdict said that it would win and keep every guardrail.
    """
    if worse:
        return RECALIBRATE
    if predicted is None:
        return "no prediction"
    measured = evidence.effect()
    if predicted.high < measured.low or measured.high < predicted.low:
        return RECALIBRATE
    return "confirmed" if measured.low > -1.0 or measured.high < math.inf else "not measured"
