"""How much better one score is than another, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Scores within this fraction count as equal, and the shorter program wins.
EQUAL = 0.005
#: Stretches below which an interval would be a guess.
LEAST_SEGMENTS = 8
#: Error of both limits together, for all programs that were chosen among.
_ALPHA = 0.05


def gain(base: float, score: float) -> float:
    """Return by which fraction of ``base`` a score is lower; NaN when that means nothing."""
    return (base - score) / abs(base) if base and math.isfinite(base) else math.nan


def gain_interval(
    base: Sequence[float], ours: Sequence[float], among: int = 1
) -> tuple[float, float] | None:
    """Return limits of a gain over the same stretches of one window, or None where there are none to be had.

    The stretches are paired, as both programs lived through the same traffic in them, and the limits are
    those of :func:`..limits.ratio_limits`, which allow for stretches that depend on each other.

    Args:
        base, ours: mean outcome by stretch, in order of time; not below zero.
        among: programs that ours was chosen among for its score on this window: the best of many is partly
            lucky, so each is allowed only its share of the error (Bonferroni's inequality).
    """
    if len(base) != len(ours) or len(base) < LEAST_SEGMENTS:
        return None
    if not all(math.isfinite(value) and value >= 0.0 for value in (*base, *ours)):
        return None
    if not sum(base) > 0.0:
        return None
    import numpy as np

    from ...limits import ratio_limits

    low, high = ratio_limits(np.array(ours), np.array(base), _ALPHA / 2 / max(among, 1), seed=0)
    return -high, -low
