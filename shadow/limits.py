"""One-sided limits of a ratio from few blocks that depend on each other and may be skewed.

A percentile bootstrap of 40 blocks is too sure of itself three times over: with few blocks, with blocks that
follow each other in a spell, and with a rare block that is much worse. So several limits are asked, and the
widest counts: Student's t over blocks; the bootstrap-t, which sees skew (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapter 12); and Student's t over batches of a quarter of the length (batch means,
Schmeiser, Operations Research 30 (3), 1982) of everything that came before, too: how much worse long stretches
can be is not to be learnt from four of them. Where nothing came before, batches of two and four blocks do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: Sums of the blocks of a window, of one policy and of another.
Pair = tuple[Floats, Floats]

#: Draws of a bootstrap-t; the smallest share asked for is 0.0016 of them.
RESAMPLES = 4000
#: Fewer batches than this say nothing about how batches vary.
LEAST_BATCHES = 8
#: Batches hold 1, 2 and 4 blocks.
_MERGES = (1, 2, 4)
#: Batches of a window, where there are others to compare it with.
_PARTS = 4
#: Relative size below which differences are rounding.
_ROUNDING = 1e-12
_GRID = 20_001


def merges(blocks: int) -> tuple[int, ...]:
    """Return how many blocks a batch may hold: 1, 2 and 4, as long as 8 batches are left."""
    return tuple(many for many in _MERGES if many == 1 or blocks // many >= LEAST_BATCHES)


def batched(sums: Floats, many: int) -> Floats:
    """Return sums over batches of so many blocks each, the last one with what is left over.

    Args:
        sums: of blocks in order of time, f8[blocks] or f8[blocks, k].
        many: blocks of a batch.
    """
    starts = np.arange(len(sums) // many) * many
    merged: Floats = np.add.reduceat(sums, starts, axis=0)
    return merged


def ratio_limits(
    ours: Floats, theirs: Floats, alpha: float, seed: int, before: Sequence[Pair] = ()
) -> tuple[float, float]:
    """Return limits of ``sum(ours) / sum(theirs) - 1`` that are each wrong with probability ``alpha``.

    Infinite where a single block decides whether there is a difference.

    Args:
        ours, theirs: sums of blocks in order of time, in pairs, not below 0, f8[blocks].
        alpha: one-sided error of either limit.
        seed: of the resampling.
        before: the same of earlier windows: how far they lie to either side of this one's ratio counts.
    """
    if not (ours.sum() > 0.0 and theirs.sum() > 0.0):
        return _one_sided(int((ours + theirs > 0.0).sum()), alpha, bool(ours.sum() > 0.0))
    ratio = float(ours.sum() / theirs.sum())
    if _error(ours, theirs, ratio) <= _ROUNDING * ratio:
        return ratio - 1.0, ratio - 1.0
    down, up = _reaches(ours, theirs, ratio, alpha, before)
    low, high = _bootstrap_t(ours, theirs, ratio, alpha, seed)
    return max(min(low, ratio - down), 0.0) - 1.0, max(high, ratio + up) - 1.0


def _reaches(
    ours: Floats, theirs: Floats, ratio: float, alpha: float, before: Sequence[Pair]
) -> tuple[float, float]:
    """Return how far the limits by Student's t are below and above the ratio."""
    over_all = _reaches_over_all(ours, theirs, ratio, alpha, before)
    half = max(
        student(alpha, len(ours) // many - 1)
        * _error(batched(ours, many), batched(theirs, many), ratio)
        for many in (merges(len(ours)) if over_all is None else (1,))
    )
    down, up = over_all or (0.0, 0.0)
    return max(half, down), max(half, up)


def _reaches_over_all(
    ours: Floats, theirs: Floats, ratio: float, alpha: float, before: Sequence[Pair]
) -> tuple[float, float] | None:
    """Return the same from long batches of all windows; None where there are too few.

    To either side only the batches on that side of the ratio count, as if the others were their mirror image:
    that a policy won much more at some time does not speak against its winning at all.
    """
    many = max(len(ours) // _PARTS, 1)
    usual = float(theirs.sum()) * many / len(theirs)
    earlier = [_rest(*pair, ratio, many, usual) for pair in before if len(pair[0]) >= many]
    rest = np.concatenate([*earlier, _rest(ours, theirs, ratio, many, math.inf)])
    if not before or len(rest) < LEAST_BATCHES:
        return None
    scale = math.sqrt(2.0 / len(rest) * (len(ours) // many)) / float(theirs.sum())
    below, above = (float(np.linalg.norm(np.maximum(side * rest, 0.0))) for side in (-1.0, 1.0))
    wide = student(alpha, len(rest) - 1) * scale
    return wide * below, wide * above


def _rest(ours: Floats, theirs: Floats, ratio: float, many: int, most: float) -> Floats:
    """Return what batches have beyond the ratio, f8[batches].

    One with more than ``most`` of theirs counts as if it had so much: a time of overload says how far the ratio
    may be off then, and not that this window would be as dear.
    """
    one, other = batched(ours, many), batched(theirs, many)
    rest: Floats = (one - ratio * other) / np.maximum(other / most, 1.0)
    return rest


def _one_sided(blocks: int, alpha: float, worse: bool) -> tuple[float, float]:
    """Return the limits where only one of two policies had anything at all, in so many blocks.

    If the ratio were r, each of the blocks would fall to ours with probability r / (1 + r): Clopper and
    Pearson's limit of a share of none, as a ratio.
    """
    if not blocks:
        return 0.0, 0.0
    most = alpha ** (-1.0 / blocks) - 1.0
    return (1.0 / most - 1.0, math.inf) if worse else (-1.0, most - 1.0)


def _error(ours: Floats, theirs: Floats, ratio: float) -> float:
    """Return the standard error of a ratio of sums, from its linearisation."""
    rest = (ours - ratio * theirs) / theirs.mean()
    n = len(rest)
    return math.sqrt(float((rest**2).sum()) / (n - 1) / n)


def _bootstrap_t(
    ours: Floats, theirs: Floats, ratio: float, alpha: float, seed: int
) -> tuple[float, float]:
    """Return limits from resamples of the ratio's error in units of its standard error."""
    n = len(ours)
    counts = drawn_counts(n, RESAMPLES, seed)
    rest = ours - ratio * theirs
    parts = counts @ np.column_stack((rest, theirs, rest**2, rest * theirs, theirs**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        off = parts[:, 0] / parts[:, 1]
        spread = parts[:, 2] - 2.0 * off * parts[:, 3] + off**2 * parts[:, 4]
        error = np.sqrt(np.maximum(spread, 0.0) / (n - 1) * n) / parts[:, 1]
        pivot = np.where(off == 0.0, 0.0, off / error)
    pivot[np.isnan(pivot)] = 0.0
    ordered, at = np.sort(pivot), int(alpha * RESAMPLES)
    scale = _error(ours, theirs, ratio)
    return ratio - float(ordered[-1 - at]) * scale, ratio - float(ordered[at]) * scale


@lru_cache(maxsize=8)
def drawn_counts(blocks: int, resamples: int, seed: int) -> Floats:
    """Return how often each resample drew each block, with replacement, f8[resamples, blocks]."""
    drawn = np.random.default_rng(seed).integers(0, blocks, (resamples, blocks))
    flat = drawn + blocks * np.arange(resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=blocks * resamples)
    drawn_often: Floats = counts.reshape(resamples, blocks).astype(np.float64)
    drawn_often.flags.writeable = False  # it is kept: every calibration is resampled alike
    return drawn_often


def expansion(blocks: int, alpha: float) -> float:
    """Return what a percentile bootstrap's limit is to be multiplied with for so few blocks.

    Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (4), 2015.
    """
    normal = -NormalDist().inv_cdf(alpha)
    return student(alpha, blocks - 1) / normal * math.sqrt(blocks / (blocks - 1.0))


@lru_cache(maxsize=256)
def student(alpha: float, freedom: int) -> float:
    """Return the value that Student's t with so many degrees of freedom is above with probability alpha.

    With t = sqrt(freedom) tan(angle) the density of the angle is cos(angle)^(freedom - 1), which is summed.
    """
    angle = np.linspace(0.0, math.pi / 2.0, _GRID)
    density = np.cos(angle) ** (freedom - 1)
    upto = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2.0)))
    at = float(np.interp((1.0 - 2.0 * alpha) * upto[-1], upto, angle))
    return math.sqrt(freedom) * math.tan(at)
