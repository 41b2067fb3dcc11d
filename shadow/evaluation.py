"""What an evaluation of a candidate is, and the seam between whoever wants one and whoever runs it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
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

    A score is the worst of the means of several replays, so that one mean above ``bar`` is proof that the
    score is above it.

    Attributes:
        bar: once the score is certain to be above it, the evaluation may stop.
        first: segments of the first replay that are looked at before any other replay, as a cheap proxy.
        first_bar: a mean over those above it ends the evaluation.
        leaders: the best known mean of every segment; a replay in which a segment is at most that does not
            end the evaluation by ``bar``. Empty: the score alone decides.

    Raises:
        ConfigurationError: a limit is NaN, or a segment's index negative.
    """

    bar: float = math.inf
    first: tuple[int, ...] = ()
    first_bar: float = math.inf
    leaders: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse limits that nothing can be compared with."""
        if math.isnan(self.bar) or math.isnan(self.first_bar) or min(self.first, default=0) < 0:
            raise ConfigurationError(
                f"bar={self.bar}, first={self.first}, first_bar={self.first_bar}: limits are numbers and "
                "segments count from 0"
            )

    def ends(self, replay: int, mean: float, segments: Sequence[float]) -> bool:
        """Return whether an evaluation may stop after a replay.

        Args:
            replay: its index, from 0.
            mean: of its outcomes.
            segments: mean outcome per stretch of time.
        """
        tried = [segments[at] for at in self.first if at < len(segments)]
        if replay == 0 and tried and math.fsum(tried) / len(tried) > self.first_bar:
            return True
        leads = any(map(operator.le, segments, self.leaders))
        return mean > self.bar and not leads


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of replaying one candidate on one split.

    Attributes:
        status: how it ended.
        score: the objective, lower is better: the worst, over the calibrations drawn from the fit's
            uncertainty, of the mean clipped outcome; NaN unless ``status`` is ``ok``. Where it is
            ``stopped``, ``metrics`` say what is certain: ``at_least``, and how many replays were left.
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
