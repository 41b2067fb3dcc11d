"""What is compared: the outcomes of arms, pairs of blocks, guardrails, and the effect of one arm over another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Literal

from ...sdk.measure import quantile

Fault = Literal["", "stable", "candidate", "both"]


@dataclass(frozen=True, slots=True)
class Arm:
    """Outcomes of one arm in one pair, or pooled over pairs, over all processes of a cell.

    Attributes:
        count: outcomes.
        sum: of the clipped objective, in its unit.
        failures: outcomes that failed or never came.
        histogram: of the clipped objective, edges as in ``sdk/measure.py``.
    """

    count: int = 0
    sum: float = 0.0
    failures: int = 0
    histogram: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean of the clipped objective; 0 without outcomes."""
        return self.sum / self.count if self.count else 0.0

    def plus(self, other: Arm) -> Arm:
        """Return both arms' outcomes together."""
        return Arm(
            self.count + other.count,
            self.sum + other.sum,
            self.failures + other.failures,
            merged(self.histogram, other.histogram),
        )


@dataclass(frozen=True, slots=True)
class Point:
    """One judged pair of blocks.

    Attributes:
        pair: index of the pair: its blocks are ``2 * pair`` and ``2 * pair + 1``.
        cell: whose processes were pooled.
        stable, candidate: outcomes of the two blocks.
        left_out: why the pair does not count; empty when it does.
        fault: the arm of the block at fault for a pair that was left out.
    """

    pair: int
    cell: str
    stable: Arm
    candidate: Arm
    left_out: str = ""
    fault: Fault = ""


@dataclass(frozen=True, slots=True)
class Rail:
    """A guardrail as the plan states it; see :class:`gnomon.sdk.kind.Guardrail`."""

    name: str
    statistic: str
    margin: float
    relative: bool

    def value(self, arm: Arm, clip: float) -> float:
        """Return the statistic of an arm; NaN when it has no outcomes."""
        if not arm.count:
            return math.nan
        if self.statistic == "failure_rate":
            return arm.failures / arm.count
        if self.statistic == "p99":
            return quantile(arm.histogram, 0.99, clip)
        return arm.mean

    def limit(self, stable: float) -> float:
        """Return the worst value of the candidate that is still acceptable."""
        return stable * (1.0 + self.margin) if self.relative else stable + self.margin


@dataclass(frozen=True, slots=True)
class Effect:
    """Relative change of the objective by the candidate, anytime-valid; negative is better.

    Attributes:
        estimate: median over pairs; 0 without any.
        low, high: ends of the interval; -1 and infinity say that nothing is known.
    """

    estimate: float = 0.0
    low: float = -1.0
    high: float = math.inf


def merged(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Return the sum of two histograms, of which either may be empty."""
    if not one or not other:
        return tuple(one or other)
    if len(one) != len(other):
        raise ValueError(f"histograms of {len(one)} and {len(other)} buckets have no sum")
    return tuple(map(add, one, other))
