"""What an evaluation of a candidate is, and the seam between whoever wants one and whoever runs it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from ..sdk.errors import ConfigurationError
from ..sdk.isolation.status import Status

__all__ = ["Engine", "Evaluation", "Split", "Status", "Trial", "require_seed"]

Split = Literal["train", "validation", "holdout"]


def require_seed(seed: int) -> None:
    """Refuse a seed that nothing can be drawn from; raises ConfigurationError."""
    if seed < 0:
        raise ConfigurationError(f"seed={seed}: choose a number from 0 on")


@dataclass(frozen=True, slots=True)
class Trial:
    """How far an evaluation has to go.

    Attributes:
        bar: once the score is certain to be above it, the evaluation may stop.
        first: segments that are tried before all others, as a cheap proxy.
        first_bar: a mean over those above it ends the evaluation.
    """

    bar: float = math.inf
    first: tuple[int, ...] = ()
    first_bar: float = math.inf


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
        feedback: words for whoever writes the next program; the same however often it is evaluated.
        metrics: what else was measured, by name.
    """

    status: Status
    score: float = math.nan
    segments: tuple[float, ...] = ()
    detail: str = ""
    layers: tuple[str, ...] = ()
    feedback: str = ""
    metrics: tuple[tuple[str, float], ...] = ()


class Engine(Protocol):
    """Runs evaluations in workers that can be killed; shaped like ``concurrent.futures``."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers in force around every candidate; an evaluation with fewer is not believed."""
        ...

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises for a candidate's fault.

        Args:
            trial: when it may stop early; an engine may go all the way none the less.
        """
        ...

    def close(self) -> None:
        """Kill what runs and free everything."""
        ...
