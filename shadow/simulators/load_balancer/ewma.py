"""The service's own moving average of latency: which rule explains the recorded values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...traces.trace import DecisionTrace
from ..base import FloatArray

#: Fewer changes of the average than this say nothing about its rule; it is then held constant.
LEAST_CHANGES = 20


@dataclass(frozen=True, slots=True)
class EwmaRule:
    """``average += gain (latency - average)`` at every answer.

    Attributes:
        gain: 0 holds the average constant.
        first_gain: used while the average is still 0.
        explained: share of the variance of the changes that the rule explains; NaN without any.
    """

    gain: float
    first_gain: float
    explained: float


def ewma_rule(trace: DecisionTrace, column: int, clip_ms: float) -> EwmaRule:
    """Fit the rule by least squares to changes with exactly one answer between two decisions.

    Args:
        trace: the recorded decisions.
        column: of the moving average among the features.
        clip_ms: outcomes from here on may be absent ones and are left out.
    """
    error, change, old = _changes(trace, column, clip_ms)
    moved = (change != 0.0) & (np.abs(error) > 1e-9)
    later, first = moved & (old != 0.0), moved & (old == 0.0)
    if int(later.sum()) < LEAST_CHANGES:
        return EwmaRule(0.0, 0.0, np.nan)
    gain, explained = _gain(error[later], change[later])
    first_gain = float(np.median(change[first] / error[first])) if first.any() else gain
    return EwmaRule(gain, first_gain, explained)


def _gain(error: FloatArray, change: FloatArray) -> tuple[float, float]:
    """Return the gain without the changes that another answer took part in, and what it explains."""
    ratio = change / error
    middle = float(np.median(ratio))
    spread = float(np.median(np.abs(ratio - middle)))
    near = np.abs(ratio - middle) <= 3.0 * spread + 1e-3
    gain = float(error[near] @ change[near] / (error[near] @ error[near]))
    left = change - gain * error
    return min(max(gain, 0.0), 1.0), float(1.0 - left @ left / (change @ change))


def _changes(
    trace: DecisionTrace, column: int, clip_ms: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return, over all processes and members, latency minus average, its change, and the average."""
    parts = [
        _changes_of(trace, process, member, column, clip_ms)
        for process in range(len(trace.instances))
        for member in range(len(trace.members))
    ]
    error, change, old = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return error, change, old


def _changes_of(
    trace: DecisionTrace, process: int, member: int, column: int, clip_ms: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    rows = np.flatnonzero(trace.instance == process)
    average, time = trace.features[rows, member, column], trace.time[rows]
    sent = rows[(trace.action[rows] == member) & (trace.outcome[rows] < clip_ms)]
    answer = trace.time[sent] + trace.outcome[sent] / 1e3
    gap = np.searchsorted(time, answer)  # the first decision at or after the answer
    inside = (gap > 0) & (gap < len(rows))
    gap, latency = gap[inside], trace.outcome[sent][inside]
    counts = np.bincount(gap, minlength=len(rows) + 1)
    single = counts[gap] == 1
    gap, latency = gap[single], latency[single]
    old = average[gap - 1]
    return latency - old, average[gap] - old, old
