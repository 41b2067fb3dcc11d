"""Tails of histograms: how much lies beyond a value, and a p99 common to arms that differ by a margin."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

from ...sdk.measure import BUCKETS, EDGES

#: Halvings of the span of the edges, five decades, until a threshold is settled.
HALVINGS = 40


def beyond(histogram: Sequence[int], value: float, clip: float) -> float:
    """Return how many outcomes exceed a value, in its bucket by geometric interpolation.

    Args:
        histogram: of the clipped objective, edges as in ``sdk/measure.py``; may be empty.
        value: threshold, in the unit of the objective.
        clip: of the objective; nothing lies beyond it.
    """
    share = value / clip
    if not histogram or share >= 1.0:
        return 0.0
    at = min(bisect_left(EDGES, share), BUCKETS - 1)
    low = EDGES[at - 1] if at else EDGES[0] / (EDGES[1] / EDGES[0])
    above = math.log(EDGES[at] / max(share, low)) / math.log(EDGES[at] / low)
    return math.fsum(histogram[at + 1 :]) + histogram[at] * above


def threshold(
    stable: Sequence[int],
    candidate: Sequence[int],
    limit: Callable[[float], float],
    q: float,
    clip: float,
) -> float:
    """Return the value t beyond which, with the candidate's beyond ``limit(t)``, lie 1 - q of all.

    That is the pooled ``q``-quantile after the candidate's outcomes were taken back by the margin.

    Args:
        stable, candidate: histograms.
        limit: worst acceptable value of the candidate where stable has the given one.
        q: of the quantile.
        clip: of the objective.
    """
    wanted = (1.0 - q) * (sum(stable) + sum(candidate))
    low, high = math.log(EDGES[0] / 2.0), 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        value = clip * math.exp(middle)
        over = beyond(stable, value, clip) + beyond(candidate, limit(value), clip)
        low, high = (middle, high) if over > wanted else (low, middle)
    return clip * math.exp(high)
