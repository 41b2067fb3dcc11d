"""How much better or worse, with intervals: paired blocks of one continuous replay.

Candidate and base are replayed over the same arrivals with the same luck, so their blocks are pairs. A
block counts as a whole, with all calibrations, because decisions within it depend on each other; blocks
that follow each other are taken together too, because a slow spell need not end with a block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ...sdk.kind import Statistic
from ..limits import drawn_counts, expansion, merges
from ..simulators.base import Replay
from ..splits import block_starts, paired_effect, relative_change

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
#: Fewer blocks than this do not carry a verdict.
LEAST_BLOCKS = 16
_MOST_BLOCKS = 40
_CHUNK = 100  # resamples at once, so that memory stays small


@dataclass(frozen=True, slots=True)
class Effect:
    """A change against a base, with an interval.

    Attributes:
        estimate: of all blocks.
        low, high: the two one-sided limits at the level asked for.
    """

    estimate: float
    low: float
    high: float


def block_length(span_s: float) -> float:
    """Return the seconds of one block for a replay of this length: 40 blocks, none under 0.2 s."""
    return max(0.2, span_s / _MOST_BLOCKS)


def _edges(replay: Replay) -> npt.NDArray[np.int64]:
    """Return where each block starts, and the end; empty blocks are left out."""
    starts = block_starts(replay.time, block_length(float(np.ptp(replay.time))))
    _enough(len(starts))
    return np.append(starts, len(replay.time))


def worst_mean_effect(
    candidate: Sequence[Replay],
    base: Sequence[Replay],
    alpha: float,
    seed: int,
    before: Sequence[tuple[Sequence[Replay], Sequence[Replay]]] = (),
) -> Effect:
    """Return the relative change of the mean outcome: over calibrations, the widest of all intervals.

    Args:
        candidate, base: replays of the same decisions, one per calibration.
        alpha: one-sided error of either limit.
        seed: of the resampling.
        before: the same of earlier windows, which say how much long stretches of time differ.

    Raises:
        TraceError: too few blocks.
    """
    _edges(candidate[0])
    block_s = block_length(float(np.ptp(candidate[0].time)))
    effects = [
        paired_effect(
            candidate[index],
            base[index],
            block_s,
            seed,
            1.0 - 2.0 * alpha,
            [(ours[index], theirs[index]) for ours, theirs in before],
        )
        for index in range(len(candidate))
    ]
    return Effect(
        float(np.median([effect.estimate for effect in effects])),
        min(effect.low for effect in effects),
        max(effect.high for effect in effects),
    )


def _limits(samples: Floats, alpha: float) -> tuple[float, float]:
    """Return the samples with a share of alpha below and above; never between two, one may be infinite."""
    ordered = np.sort(samples)
    at = int(alpha * len(ordered))
    return float(ordered[at]), float(ordered[-1 - at])


def _enough(blocks: int) -> None:
    if blocks < LEAST_BLOCKS:
        raise TraceError(f"{blocks} blocks are too few for a verdict; capture a longer trace")


def statistic_effect(
    candidate: Sequence[Replay],
    base: Sequence[Replay],
    statistic: Statistic,
    relative: bool,
    *,
    alpha: float,
    seed: int,
    metric: str = "",
) -> Effect:
    """Return the change of a guardrail's statistic, pooled over calibrations.

    Args:
        candidate, base: replays of the same decisions, one per calibration.
        statistic: ``mean``, ``p99`` or ``failure_rate``.
        relative: as a fraction of the base's value, or absolute.
        alpha: one-sided error of either limit.
        seed: of the resampling.
        metric: of which the replays measured each decision beside the objective; the objective else.

    Raises:
        TraceError: too few blocks.
    """
    edges = _edges(candidate[0])
    ours, theirs = (_values(each, statistic, metric) for each in (candidate, base))
    estimate, low, high = np.nan, np.inf, -np.inf
    for many in merges(len(edges) - 1):
        batches = np.append(edges[:-1][: (len(edges) - 1) // many * many : many], edges[-1])
        weights = _weights(len(batches) - 1, seed)
        one, other = (_resampled(each, batches, weights, statistic) for each in (ours, theirs))
        change = relative_change(one, other) if relative else one - other
        estimate, wider = float(change[0]), expansion(len(batches) - 1, alpha)
        for limit in _limits(change[1:], alpha):
            finite = math.isfinite(limit) and math.isfinite(estimate)
            reach = estimate + wider * (limit - estimate) if finite else limit
            low, high = min(low, reach), max(high, reach)
    return Effect(estimate, low, high)


def _values(replays: Sequence[Replay], statistic: Statistic, metric: str) -> Floats:
    """Return (decisions, calibrations) values that the statistic is taken over."""
    if statistic == "failure_rate":
        failed: Floats = np.stack([(~replay.ok).astype(np.float64) for replay in replays], axis=1)
        return failed
    values = [replay.extra.get(metric, replay.outcome) for replay in replays]
    outcomes: Floats = np.stack(values, axis=1)
    return outcomes


def _weights(batches: int, seed: int) -> Floats:
    """Return ones for all that there is, and below how often each resample drew each batch."""
    return np.vstack([np.ones(batches), drawn_counts(batches, RESAMPLES, seed)])


def _resampled(
    values: Floats, edges: npt.NDArray[np.int64], weights: Floats, statistic: Statistic
) -> Floats:
    """Return the statistic of all values first, then of every resample."""
    if statistic != "p99":
        sums = np.add.reduceat(values.sum(axis=1), edges[:-1])
        sizes = np.diff(edges) * values.shape[1]
        mean: Floats = (weights @ sums) / (weights @ sizes)
        return mean
    return _weighted_p99(values, edges, weights)


def _weighted_p99(values: Floats, edges: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """Return the 99th percentile under block weights, for each row of weights.

    Only the top tenth is sorted and looked at: a resample whose top hundredth lies deeper would need
    blocks with ten times the usual share of slow decisions to be left out altogether.
    """
    flat = values.ravel()
    owner = np.repeat(np.repeat(np.arange(len(edges) - 1), np.diff(edges)), values.shape[1])
    top = np.argsort(-flat, kind="stable")[: max(1, len(flat) // 10)]
    ordered, owner = flat[top], owner[top]
    above = 0.01 * (weights @ (np.diff(edges) * values.shape[1]))
    answers = np.empty(len(weights))
    for first in range(0, len(weights), _CHUNK):
        rows = slice(first, first + _CHUNK)
        cumulative = np.cumsum(weights[rows][:, owner], axis=1)
        at = (cumulative <= above[rows, None]).sum(axis=1)
        answers[rows] = ordered[np.minimum(at, len(ordered) - 1)]
    return answers
