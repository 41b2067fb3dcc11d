"""Off-policy evaluation: what another policy would have got, from recorded decisions that were partly drawn.

Importance sampling needs no simulator, only that every action which the policy would take had a known chance
to be taken when the decisions were recorded (``explore=``). Then each recorded outcome counts as often as the
policy would have taken that action:

* IPS: the mean of weight times outcome (Horvitz and Thompson, 1952);
* SNIPS: the same, divided by the mean weight (Swaminathan and Joachims, NeurIPS 2015);
* DR: a model's prediction, corrected by the weighted errors of the model (Dudik, Langford and Li, ICML 2011),
  with a ridge regression that never predicts outcomes it was fitted to (cross-fitting over blocks of time).

What is estimated is one decision at a time: the states are those that the recorded policy led to. Where
decisions share state, as queues do, a replay says what they lead to together.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ..simulators.base import FloatArray, IntArray
from ..splits import (
    LEAST_BLOCKS,
    RESAMPLES,
    Interval,
    interval_of,
    relative_change,
    require_blocks,
)
from ..traces.trace import DecisionTrace

Overlap = Literal["overlap", "no overlap"]

#: Fewer decisions than this, counted by their weights, say too little.
LEAST_EFFECTIVE = 100.0
FOLDS = 5
LEVEL = 0.95
RIDGE = 1.0  # per standardised feature
_CERTAIN = 1.0 - 1e-12
_Z = 1.959963984540054
#: Standard errors by which the mean weight may differ from 1 before something was left out of the log.
_WEIGHTS_OFF = 4.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean outcome, estimated.

    Attributes:
        value: in the objective's unit.
        blocks: 95 % interval from blocks of time that are resampled (percentiles).
        normal: 95 % interval of a normal distribution, as if decisions were independent.
        bernstein: 95 % interval that holds for any independent outcomes up to the clip and weights up to
            the largest possible (empirical Bernstein bound of Maurer and Pontil, 2009); None where the
            estimator is no mean of such.
    """

    value: float
    blocks: Interval
    normal: Interval
    bernstein: Interval | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What recorded decisions say of a policy that did not make them.

    Attributes:
        overlap: ``overlap``, or ``no overlap``: then there is no number.
        why: what is missing; empty with overlap.
        agreement: mean probability with which the policy takes the recorded actions.
        unsupported: part of the policy's decisions that had no chance to be recorded, as far as it is known.
        effective: effective sample size (Kish): of how many equally weighted decisions it is worth.
        mean_weight: 1 on average, if nothing was left out.
        largest_weight: before clipping.
        clipped: part of the weights that was clipped.
        recorded: mean outcome of the recorded policy.
        ips, snips, dr: estimates; None without overlap.
        change: of SNIPS against the recorded mean, relative, blocks of time resampled in pairs.
    """

    overlap: Overlap
    why: str
    agreement: float
    unsupported: float
    effective: float
    mean_weight: float
    largest_weight: float
    clipped: float
    recorded: float
    ips: Estimate | None = None
    snips: Estimate | None = None
    dr: Estimate | None = None
    change: Interval | None = None


def evaluate(
    trace: DecisionTrace,
    target: FloatArray,
    *,
    clip: float = math.inf,
    least_effective: float = LEAST_EFFECTIVE,
    largest_outcome: float = math.inf,
    seed: int = 0,
) -> Evaluated:
    """Evaluate a policy on recorded decisions.

    Args:
        trace: decisions with propensities.
        target: probability with which the policy takes each item, f8[n, m]; rows sum to 1.
        clip: weights above count as this much, which makes IPS too low and all steadier; it is reported.
        least_effective: effective sample size below which there is no number.
        largest_outcome: of the objective (its clip), for the empirical Bernstein interval.
        seed: of the resampling.

    Raises:
        TraceError: no decisions, or fewer than 8 blocks of time.
    """
    if not len(trace):
        raise TraceError(f"trace {trace.hook!r} is empty; record some traffic first")
    rows = np.arange(len(trace))
    taken = target[rows, trace.action]
    raw = taken / trace.propensity
    weights = np.minimum(raw, clip)
    scaled = weights / max(float(weights.max()), 5e-324)  # squares of small ones would be 0
    effective = float(scaled.sum() ** 2 / (scaled**2).sum()) if weights.any() else 0.0
    certain = trace.propensity >= _CERTAIN
    unsupported = float(np.where(certain, 1.0 - taken, 0.0).mean())
    said: dict[str, Any] = {
        "agreement": float(taken.mean()),
        "unsupported": unsupported,
        "effective": effective,
        "mean_weight": float(raw.mean()),
        "largest_weight": float(raw.max()),
        "clipped": float((raw > clip).mean()),
        "recorded": float(trace.outcome.mean()),
    }
    why = _missing(raw, certain, unsupported, effective, least_effective)
    if why:
        return Evaluated("no overlap", why, **said)
    block = _blocks(trace)
    weighted = len(np.unique(block[weights > 0.0]))
    if weighted < LEAST_BLOCKS:
        why = f"its decisions were recorded in {weighted} blocks of time only; record longer"
        return Evaluated("no overlap", why, **said)
    modelled = _doubly_robust(trace, target, weights, block)
    draws = _Draws(block, seed)
    reach = largest_outcome * min(clip, 1.0 / float(trace.propensity.min()))
    ips = weights * trace.outcome
    return replace(
        Evaluated("overlap", "", **said),
        ips=_mean(ips, draws, reach),
        snips=_ratio(ips, weights, draws),
        dr=_mean(modelled, draws),
        change=draws.change(ips, weights, trace.outcome),
    )


def _missing(
    weights: FloatArray,
    certain: npt.NDArray[np.bool_],
    unsupported: float,
    effective: float,
    least: float,
) -> str:
    """Say why there can be no number; empty where there can."""
    if unsupported > 0.0:
        if certain.all():
            return "the recorded policy left nothing to chance; record with explore="
        return f"{unsupported:.2%} of the policy's decisions had no chance to be recorded"
    if effective < least:
        return f"worth {effective:.0f} decisions, fewer than {least:g}; record longer"
    error = float(weights.std(ddof=1)) / math.sqrt(len(weights))
    off = abs(float(weights.mean()) - 1.0)
    if off > _WEIGHTS_OFF * error and off > 1e-9:
        return (
            f"the weights are {weights.mean():.3f} on average instead of 1: the policy takes actions that "
            "were ruled out, or propensities are wrong"
        )
    return ""


# --- intervals ---------------------------------------------------------------------------------------


def _blocks(trace: DecisionTrace) -> IntArray:
    """Return the index of each decision's block of time, without gaps, i8[n]."""
    index = ((trace.time - trace.time[0]) / trace.block_s).astype(np.int64)
    _, block = np.unique(index, return_inverse=True)
    require_blocks(int(block[-1]) + 1, trace.block_s)
    found: IntArray = block.astype(np.int64)
    return found


class _Draws:
    """Blocks of time drawn with replacement, the same for every estimator."""

    def __init__(self, block: IntArray, seed: int) -> None:
        self._block, self._n = block, int(block[-1]) + 1
        self._drawn = np.random.default_rng(seed).integers(0, self._n, (RESAMPLES, self._n))

    def sums(self, values: FloatArray) -> FloatArray:
        """Return the sum over each draw's blocks, f8[2000]."""
        sums = np.bincount(self._block, weights=values, minlength=self._n)
        total: FloatArray = sums[self._drawn].sum(axis=1)
        return total

    def ratio(self, above: FloatArray, below: FloatArray) -> Interval:
        """Return the quotient of two sums with a 95 % interval of percentiles."""
        value = float(above.sum() / below.sum())
        drawn = _quotient(self.sums(above), self.sums(below))
        return interval_of(value, drawn[np.isfinite(drawn)], LEVEL)

    def change(self, ips: FloatArray, weights: FloatArray, outcome: FloatArray) -> Interval:
        """Return SNIPS over the recorded mean, less 1, with a 95 % interval of percentiles."""
        ones = np.ones(len(outcome))
        ours = _quotient(self.sums(ips), self.sums(weights))
        theirs = self.sums(outcome) / self.sums(ones)
        value = relative_change(ips.sum() / weights.sum(), outcome.mean())
        there = np.isfinite(ours)
        return interval_of(float(value), relative_change(ours[there], theirs[there]), LEVEL)


def _quotient(above: FloatArray, below: FloatArray) -> FloatArray:
    """Return quotients; NaN for a draw of blocks that weigh nothing, which says nothing."""
    there = below > 0.0
    found: FloatArray = np.where(there, above, np.nan) / np.where(there, below, 1.0)
    return found


def _mean(values: FloatArray, draws: _Draws, reach: float = math.inf) -> Estimate:
    """Return an estimate that is a mean; ``reach`` is the largest that a value can be."""
    n, value = len(values), float(values.mean())
    half = _Z * float(values.std(ddof=1)) / math.sqrt(n)
    bernstein = _bernstein(values, reach) if math.isfinite(reach) else None
    return Estimate(
        value,
        draws.ratio(values, np.ones(n)),
        Interval(value, value - half, value + half),
        bernstein,
    )


def _bernstein(values: FloatArray, reach: float) -> Interval:
    n, value = len(values), float(values.mean())
    log = math.log(4.0 / 0.05)
    half = math.sqrt(2.0 * float(values.var(ddof=1)) * log / n) + 7.0 * reach * log / (
        3.0 * (n - 1)
    )
    return Interval(value, value - half, value + half)


def _ratio(ips: FloatArray, weights: FloatArray, draws: _Draws) -> Estimate:
    """Return the self-normalised estimate; its normal interval is that of the linearised quotient."""
    value = float(ips.sum() / weights.sum())
    errors = (ips - value * weights) / float(weights.mean())
    half = _Z * float(errors.std(ddof=1)) / math.sqrt(len(ips))
    return Estimate(value, draws.ratio(ips, weights), Interval(value, value - half, value + half))


# --- the model ---------------------------------------------------------------------------------------


def _doubly_robust(
    trace: DecisionTrace, target: FloatArray, weights: FloatArray, block: IntArray
) -> FloatArray:
    """Return each decision's doubly robust term, f8[n]; its model has not seen that block of time."""
    n = len(trace)
    scale = _Scale.of(trace)
    parts = [np.flatnonzero(block % FOLDS == fold) for fold in range(FOLDS)]
    taken = [scale.design(trace, rows)[np.arange(len(rows)), trace.action[rows]] for rows in parts]
    terms = np.empty(n)
    for fold, rows in enumerate(parts):
        others = [other for other in range(FOLDS) if other != fold]
        slope = _ridge(
            np.concatenate([taken[other] for other in others]),
            trace.outcome[np.concatenate([parts[other] for other in others])],
        )
        predicted = scale.design(trace, rows) @ slope
        missed = trace.outcome[rows] - predicted[np.arange(len(rows)), trace.action[rows]]
        terms[rows] = (target[rows] * predicted).sum(axis=1) + weights[rows] * missed
    return terms


@dataclass(frozen=True, eq=False)
class _Scale:
    """Means and spreads of the features, f8[F - 1]; the last feature is noise."""

    mean: FloatArray
    spread: FloatArray

    @staticmethod
    def of(trace: DecisionTrace) -> _Scale:
        own = trace.features[:, :, :-1].copy()
        own[~np.isfinite(own)] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that is finite nowhere
            mean, spread = np.nanmean(own, axis=(0, 1)), np.nanstd(own, axis=(0, 1))
        return _Scale(np.nan_to_num(mean), np.where(spread > 0.0, spread, 1.0))

    def design(self, trace: DecisionTrace, rows: IntArray) -> FloatArray:
        """Return what the model reads of every item: features, their mean over the items, which it is.

        One that is not finite counts as the mean of all.
        """
        seen = trace.features[rows][:, :, :-1]
        own = (np.where(np.isfinite(seen), seen, self.mean) - self.mean) / self.spread
        n, m, _ = own.shape
        around = np.broadcast_to(own.mean(axis=1, keepdims=True), own.shape)
        which = np.broadcast_to(np.eye(m), (n, m, m))
        made: FloatArray = np.concatenate((np.ones((n, m, 1)), own, around, which), axis=2)
        return made


def _ridge(rows: FloatArray, outcome: FloatArray) -> FloatArray:
    """Return the coefficients of a ridge regression; the first, of the constant, is not shrunk."""
    penalty = np.full(rows.shape[1], RIDGE)
    penalty[0] = 0.0
    solved = np.linalg.lstsq(rows.T @ rows + np.diag(penalty), rows.T @ outcome, rcond=None)
    return np.asarray(solved[0], np.float64)
