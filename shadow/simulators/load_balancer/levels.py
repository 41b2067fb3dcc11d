"""Slow spells: the stretches of time in which a backend's service times had another level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base import FloatArray, IntArray
from ..native import native

#: Cost of one more level, in variances of one log service time per log of their number.
PENALTY = 4.0
#: Service times that a level is estimated from, at least.
LEAST_LENGTH = 4
#: Times shorter than the median by more than this factor are errors of measurement, not a level.
MOST_FASTER = 5.0
#: Points that are cut at most; more service times than this are averaged in groups first.
MOST_POINTS = 4000


@dataclass(frozen=True, eq=False)
class Levels:
    """Piecewise constant factor on a backend's service times.

    Attributes:
        begin: when each level begins, seconds; first -inf, f8[s].
        factor: f8[s]; 1 is the level of the typical service time.
        error: standard error of the logarithm of each factor, f8[s].
    """

    begin: FloatArray
    factor: FloatArray
    error: FloatArray

    def at(self, time: FloatArray) -> FloatArray:
        """Return the factor in force at these times."""
        factors: FloatArray = self.factor[np.searchsorted(self.begin, time, side="right") - 1]
        return factors

    def jittered(self, rng: np.random.Generator) -> Levels:
        """Return levels drawn from their standard errors."""
        noise = rng.normal(0.0, 1.0, len(self.factor))
        return Levels(self.begin, self.factor * np.exp(noise * self.error), self.error)


def levels(start: FloatArray, service: FloatArray) -> Levels:
    """Cut service times into levels by penalised least squares of their logarithms.

    Args:
        start: when each service began, seconds, f8[k].
        service: service times, seconds, positive, f8[k].
    """
    order = np.argsort(start, kind="stable")
    logs = np.log(np.maximum(service[order], np.median(service) / MOST_FASTER))
    begun = start[order]
    group = -(-len(logs) // MOST_POINTS)
    firsts = np.arange(0, len(logs), group)
    points = np.add.reduceat(logs, firsts) / np.diff(np.append(firsts, len(logs)))
    variance = _variance(points)
    cuts = firsts[_cuts(points, PENALTY * variance * np.log(len(points)), LEAST_LENGTH)]
    lengths = np.diff(np.append(cuts, len(logs)))
    means = np.add.reduceat(logs, cuts) / lengths
    typical = np.median(np.repeat(means, lengths))
    middle = (begun[cuts[1:] - 1] + begun[cuts[1:]]) / 2.0
    return Levels(
        begin=np.concatenate(([-np.inf], middle)),
        factor=np.exp(means - typical),
        error=np.sqrt(variance * group / lengths),
    )


def _variance(logs: FloatArray) -> float:
    """Return the variance within a level, from differences of neighbours, most of which share one."""
    differences = np.diff(logs)
    spread = float(np.median(np.abs(differences))) / (0.6745 * np.sqrt(2.0))
    return max(float(spread**2), float(np.mean(differences**2)) / 4.0, 1e-8)


def _cuts(logs: FloatArray, penalty: float, least: int) -> IntArray:
    """Return the first index of each level: the partition of least squared error plus penalties."""
    previous = _partition(np.concatenate(([0.0], np.cumsum(logs - logs.mean()))), penalty, least)
    cuts = [int(previous[-1])]
    while cuts[-1] > 0:
        cuts.append(int(previous[cuts[-1]]))
    return np.array(cuts[::-1], np.int64)


@native
def _partition(total: FloatArray, penalty: float, least: int) -> IntArray:
    """Return, for every end, where its last level begins; hopeless beginnings are dropped early.

    The squares of the values are the same in every partition, so only the part that a level's mean
    explains is counted.
    """
    n = len(total) - 1
    cost = np.full(n + 1, np.inf)
    cost[0] = -penalty
    previous = np.zeros(n + 1, np.int64)
    alive = np.empty(n + 1, np.int64)
    alive[0] = 0
    count = 1
    for end in range(least, n + 1):
        for place in range(count):
            begin = alive[place]
            sum_ = total[end] - total[begin]
            value = cost[begin] - sum_ * sum_ / (end - begin) + penalty
            if value < cost[end]:
                cost[end] = value
                previous[end] = begin
        kept = 0
        for place in range(count):
            begin = alive[place]
            sum_ = total[end] - total[begin]
            if cost[begin] - sum_ * sum_ / (end - begin) <= cost[end]:
                alive[kept] = begin
                kept += 1
        alive[kept] = end - least + 1
        count = kept + 1
    return previous
