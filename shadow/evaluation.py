"""What an evaluation of a candidate is, and the seam between whoever wants one and whoever runs it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from ..sdk.errors import ConfigurationError
from ..sdk.isolation.status import Status

__all__ = ["Engine", "Evaluation", "Split", "Status", "require_seed"]

Split = Literal["train", "validation", "holdout"]


def require_seed(seed: int) -> None:
    """Refuse a seed that nothing can be drawn from; raises ConfigurationError."""
    if seed < 0:
        raise ConfigurationError(f"seed={seed}: choose a number from 0 on")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of replaying one candidate on one split.

    Attributes:
        status: how it ended.
        score: the objective, lower is better: the worst, over the calibrations drawn from the fit's
            uncertainty, of the mean clipped outcome; NaN unless ``status`` is ``ok``.
        segments: mean outcome per stretch of time, under the calibration that ``score`` is from.
        detail: why it is not ``ok``; at most 200 printable ASCII characters.
        layers: isolation layers that were in force, for example ``("rlimits", "seccomp")``.
    """

    status: Status
    score: float = math.nan
    segments: tuple[float, ...] = ()
    detail: str = ""
    layers: tuple[str, ...] = ()


class Engine(Protocol):
    """Runs evaluations in workers that can be killed; shaped like ``concurrent.futures``."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers in force around every candidate; an evaluation with fewer is not believed."""
        ...

    def submit(self, source: str, split: Split) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises for a candidate's fault."""
        ...

    def close(self) -> None:
        """Kill what runs and free everything."""
        ...
