"""Train, validation and holdout windows of a trace, and paired effects between replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..sdk.errors import TraceError
from .evaluation import Split
from .limits import ratio_limits
from .simulators.base import FloatArray, IntArray, Replay
from .traces.trace import Trace

VALIDATION_FROM = 0.50
HOLDOUT_FROM = 0.75
RESAMPLES = 2000
#: Fewer blocks than this do not say how blocks vary.
LEAST_BLOCKS = 8


@dataclass(frozen=True, eq=False)
class Splits:
    """Consecutive windows of one trace.

    Attributes:
        train: the first half of the time; a search sees its score.
        validation: the third quarter; finalists are ranked on it.
        holdout: the last quarter; opened for a verdict only.
    """

    train: Trace
    validation: Trace
    holdout: Trace

    def windows(self) -> Mapping[Split, Trace]:
        """Return the windows by name."""
        return {"train": self.train, "validation": self.validation, "holdout": self.holdout}


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the limits of its interval."""

    estimate: float
    low: float
    high: float


def split(trace: Trace) -> Splits:
    """Cut a trace at half and at three quarters of its time.

    Raises:
        TraceError: a window would have no decisions.
    """
    first, span = float(trace.time[0]), trace.span_s
    middle, late = first + VALIDATION_FROM * span, first + HOLDOUT_FROM * span
    windows = [
        trace.window(-np.inf, middle),
        trace.window(middle, late),
        trace.window(late, np.inf),
    ]
    if not all(len(window) for window in windows):
        raise TraceError(f"trace {trace.hook!r} has a quarter without decisions; capture evenly")
    return Splits(*windows)


def paired_effect(
    candidate: Replay | Sequence[Replay],
    base: Replay | Sequence[Replay],
    block_s: float = 1.0,
    seed: int = 0,
    level: float = 0.95,
    before: Sequence[tuple[Replay, Replay]] = (),
) -> Interval:
    """Return the relative change of the mean outcome against a base; negative is better.

    Both are replays of the same arrivals with the same luck; blocks of time are pairs, with all replicas
    of a block together. The limits are those of :func:`~gnomon.shadow.limits.ratio_limits`.

    Args:
        candidate, base: one replay each, or as many replicas.
        block_s: length of a block in seconds.
        seed: of the resampling.
        level: of the interval.
        before: replays of both on earlier windows; how much they vary counts.

    Raises:
        TraceError: fewer than 8 blocks, or a policy that failed.
    """
    ours, theirs = _replicas(candidate), _replicas(base)
    if any(replay.fault >= 0 for replay in (*ours, *theirs)):
        raise TraceError("a policy failed in its replay, so there is no effect; see its fault")
    edges = _edges(ours[0], block_s)
    sums, bases = _sums(ours, edges), _sums(theirs, edges)
    earlier = [
        (_sums([one], starts), _sums([other], starts))
        for one, other in before
        for starts in (block_starts(one.time, block_s),)
    ]
    low, high = ratio_limits(sums, bases, (1.0 - level) / 2.0, seed, earlier)
    return Interval(float(relative_change(sums.sum(), bases.sum())), low, high)


def interval_of(estimate: float, samples: FloatArray, level: float) -> Interval:
    """Return an estimate with the limits that resampled values give it."""
    low, high = _quantiles(samples, (1.0 - level) / 2.0)
    return Interval(estimate, low, high)


def relative_change(ours: FloatArray | np.float64, theirs: FloatArray | np.float64) -> FloatArray:
    """Return relative changes; from nothing to something is infinite, from nothing to nothing 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change: FloatArray = np.where(ours == theirs, 0.0, ours / theirs - 1.0)
    return change


def _quantiles(changes: FloatArray, tail: float) -> tuple[float, float]:
    """Return the limits that leave a share of ``tail`` below and above."""
    if np.isfinite(changes).all():
        low, high = np.quantile(changes, [tail, 1.0 - tail])
        return float(low), float(high)
    ordered = np.sort(changes)  # between a number and infinity there is nothing to interpolate
    at = int(tail * len(ordered))
    return float(ordered[at]), float(ordered[-1 - at])


def segments(replay: Replay, n: int) -> tuple[float, ...]:
    """Return the mean outcome of n stretches of equally many decisions (fewer when there are fewer)."""
    stretches = np.array_split(replay.outcome, min(n, max(1, len(replay.outcome))))
    return tuple(float(stretch.mean()) for stretch in stretches)


def _replicas(replays: Replay | Sequence[Replay]) -> tuple[Replay, ...]:
    return (replays,) if isinstance(replays, Replay) else tuple(replays)


def _edges(replay: Replay, block_s: float) -> IntArray:
    """Return where each block of time begins; empty blocks have none."""
    edges = block_starts(replay.time, block_s)
    require_blocks(len(edges), block_s)
    return edges


def block_starts(time: FloatArray, block_s: float) -> IntArray:
    """Return the index at which each block of time begins; empty blocks have none.

    Less than half a block that is left over at the end belongs to the block before.
    """
    whole = max(round(float(time[-1] - time[0]) / block_s), 1)
    block = np.minimum(((time - time[0]) / block_s).astype(np.int64), whole - 1)
    return np.flatnonzero(np.diff(block, prepend=-1))


def require_blocks(count: int, block_s: float) -> None:
    """Refuse to say how blocks vary where there are fewer than 8; raises TraceError."""
    if count < LEAST_BLOCKS:
        raise TraceError(
            f"{count} blocks of {block_s:g} s are too few to say how blocks vary; "
            f"capture longer: at least {LEAST_BLOCKS} blocks in which something happened"
        )


def _sums(replays: Sequence[Replay], edges: IntArray) -> FloatArray:
    total: FloatArray = np.sum([np.add.reduceat(r.outcome, edges) for r in replays], axis=0)
    return total
