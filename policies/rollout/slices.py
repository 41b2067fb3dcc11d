"""Sums of sticky units by slice, and what they estimate: the arms' ratio, clustered by slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...sdk.errors import RolloutError
from .outcomes import Arm, Effect, merged

#: Information (inverse variance of the log ratio) at which the interval is narrowest: an effect of
#: 5 % at three standard errors.
PLANNED_INFORMATION = 3600.0


@dataclass(frozen=True, slots=True)
class Slices:
    """Pooled sums of one look, cumulative since the attempt began; one entry for every slice.

    Attributes:
        count: outcomes.
        sum: of the clipped objective, in its unit.
        failures: outcomes that failed or never came.
        missing: outcomes that never came.
        histograms: of the clipped objective, one per group of neighbouring slices of equal number;
            empty where not reported.
    """

    count: tuple[int, ...] = ()
    sum: tuple[float, ...] = ()
    failures: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    histograms: tuple[tuple[int, ...], ...] = ()

    def since(self, base: Slices) -> Slices:
        """Return what came after an earlier look.

        Raises:
            RolloutError: a count fell, or the number of slices changed.
        """
        if not base.count:
            return self
        if len(base.count) != len(self.count):
            now, then = len(self.count), len(base.count)
            raise RolloutError(f"{now} slices after {then} in one attempt; retry")
        count = tuple(map(int.__sub__, self.count, base.count))
        if min(count) < 0:
            at = count.index(min(count))
            now, then = self.count[at], base.count[at]
            raise RolloutError(f"slice {at} counts {now} outcomes after {then}; retry")
        return Slices(
            count,
            tuple(map(float.__sub__, self.sum, base.sum)),
            tuple(map(int.__sub__, self.failures, base.failures)),
            tuple(map(int.__sub__, self.missing, base.missing)),
            _grown(self.histograms, base.histograms),
        )

    def arm(self, start: int, end: int) -> Arm:
        """Return the outcomes of slices ``start`` to ``end`` - 1; its histogram of whole groups only."""
        histogram: tuple[int, ...] = ()
        for inside in self.groups(start, end):
            histogram = merged(histogram, inside)
        part = slice(start, end)
        sums = math.fsum(self.sum[part])
        return Arm(sum(self.count[part]), sums, sum(self.failures[part]), histogram)

    def groups(self, start: int, end: int) -> tuple[tuple[int, ...], ...]:
        """Return the histograms of the groups that lie whole in slices ``start`` to ``end`` - 1."""
        if not self.histograms:
            return ()
        size = len(self.count) // len(self.histograms)
        return self.histograms[-(-start // size) : end // size]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The log ratio of the arms' means and its standard error, clustered by slice."""

    log: float = 0.0
    error: float = math.inf

    @classmethod
    def of(cls, since: Slices, treated: int) -> Ratio:
        """Return the ratio; without a standard error where an arm has no outcomes or no mean."""
        sides = (_spread(since, 0, treated), _spread(since, treated, len(since.count)))
        if any(mean <= 0.0 for mean, _ in sides):
            return cls()
        (candidate, own), (stable, other) = sides
        return cls(math.log(candidate / stable), math.sqrt(own + other))

    @property
    def information(self) -> float:
        """Inverse variance of the log ratio; 0 when nothing is known."""
        return 1.0 / (self.error * self.error) if self.error > 0.0 else math.inf

    def interval(self, alpha: float) -> Effect:
        """Return the ratio as a relative change with the normal mixture's confidence sequence.

        Asymptotic in the number of slices (Robbins 1970; Waudby-Smith et al. 2024, arXiv 2103.06476).
        """
        if not 0.0 < self.error < math.inf:
            return Effect(math.expm1(self.log))
        scale = PLANNED_INFORMATION / (-2.0 * math.log(alpha) + math.log1p(-2.0 * math.log(alpha)))
        seen = self.information
        radius = math.sqrt(
            (1.0 + scale / seen) * (math.log1p(seen / scale) - 2.0 * math.log(alpha))
        )
        ends = (self.log - radius * self.error, self.log + radius * self.error)
        return Effect(math.expm1(self.log), *(math.expm1(min(end, 700.0)) for end in ends))

    def log_e(self, direction: float) -> float:
        """Return the log of the one-sided normal mixture's e-value, for display.

        Args:
            direction: 1 for "the candidate is higher", -1 for "lower".
        """
        if not 0.0 < self.error < math.inf:
            return 0.0
        share = self.information / (self.information + PLANNED_INFORMATION)
        z = direction * self.log / self.error * math.sqrt(share)
        tail = math.erfc(-z / math.sqrt(2.0))
        # Far out erfc is 0 in floating point; the e-value is then bounded by that of z = -37.
        return z * z / 2.0 + 0.5 * math.log1p(-share) + math.log(tail) if tail > 0.0 else -math.inf


def kish(counts: Sequence[int]) -> float:
    """Return the effective number of clusters of unequal sizes (Kish 1965); 0 without any."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / squares if squares else 0.0


def design_effect(failures: Sequence[int], counts: Sequence[int]) -> float:
    """Return how many times more the failures vary than independent ones would, at least 1.

    Args:
        failures, counts: by slice, of one arm.
    """
    total = sum(counts)
    rate = sum(failures) / total if total else 0.0
    if not 0.0 < rate < 1.0:
        return 1.0
    found = math.fsum((f - rate * n) ** 2 for f, n in zip(failures, counts, strict=True))
    return max(1.0, found / (rate * (1.0 - rate) * total))


def _spread(since: Slices, start: int, end: int) -> tuple[float, float]:
    """Return an arm's mean and the relative variance of it, from its slices that saw units."""
    sums, counts = since.sum[start:end], since.count[start:end]
    total, occupied = sum(counts), sum(count > 0 for count in counts)
    mean = math.fsum(sums) / total if total else 0.0
    if occupied < 2 or mean <= 0.0:
        return mean, math.inf
    squares = math.fsum((y - mean * n) ** 2 for y, n in zip(sums, counts, strict=True))
    return mean, squares / (mean * total) ** 2 * occupied / (occupied - 1)


def _grown(
    histograms: Sequence[Sequence[int]], base: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """Return what came after earlier histograms; all of it where there were none."""
    if not base:
        return tuple(map(tuple, histograms))
    return tuple(
        tuple(map(int.__sub__, now, then)) for now, then in zip(histograms, base, strict=True)
    )
