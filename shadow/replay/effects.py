"""Changes against the incumbent: paired block by block, alone, all together, and over several traces."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..limits import batched, ratio_limits
from ..simulators.base import FloatArray
from ..splits import LEAST_BLOCKS, Interval, relative_change
from .cells import Measured

LEVEL = 0.95
#: More blocks say no more of how they vary, and cost memory.
MOST_BLOCKS = 1000


@dataclass(frozen=True, eq=False)
class Paired:
    """Two policies' outcomes on one trace, block by block.

    Attributes:
        ours, theirs: sums per block in order of time, f8[blocks].
        seed: of the resampling; traces with the same one depend on each other.
    """

    ours: FloatArray
    theirs: FloatArray
    seed: int

    @property
    def estimate(self) -> float:
        """The relative change of all blocks."""
        return float(relative_change(self.ours.sum(), self.theirs.sum()))


@dataclass(frozen=True, eq=False)
class Change:
    """The relative change of a mean outcome: of one trace, or the mean of several traces' changes.

    Attributes:
        traces: what happened on each.
    """

    traces: tuple[Paired, ...]

    @property
    def estimate(self) -> float:
        """The change, the mean over traces."""
        return float(np.mean([each.estimate for each in self.traces]))

    def interval(self, level: float) -> Interval:
        """Return the estimate with its limits at a level; of a trace those of the gates (``ratio_limits``).

        Distances from the estimate to the limit add up as those of independent things do (the method of
        variance estimates recovery: Zou and Donner, Statistics in Medicine 27 (10), 2008), and plainly among
        sizes of one trace.
        """
        tail = (1.0 - level) / 2.0
        limits = [_limits(each, tail) for each in self.traces]
        estimate = self.estimate
        if len(limits) == 1 or not math.isfinite(estimate):
            low, high = np.mean(limits, axis=0)
            return Interval(estimate, float(low), float(high))
        low, high = (
            self._reach(
                [
                    abs(limit[side] - one.estimate)
                    for one, limit in zip(self.traces, limits, strict=True)
                ]
            )
            for side in (0, 1)
        )
        return Interval(estimate, max(estimate - low, -1.0), estimate + high)

    def _reach(self, distances: Sequence[float]) -> float:
        """Return the distance of the mean's limit from the traces'."""
        apart: defaultdict[int, float] = defaultdict(float)
        for one, distance in zip(self.traces, distances, strict=True):
            apart[one.seed] += distance
        return math.hypot(*apart.values()) / len(self.traces)


def _limits(paired: Paired, tail: float) -> tuple[float, float]:
    """Return the limits of one trace's change; open where too few blocks say how blocks vary."""
    if len(paired.ours) < LEAST_BLOCKS:
        return -1.0, math.inf
    return ratio_limits(paired.ours, paired.theirs, tail, paired.seed)


def change(ours: Measured, theirs: Measured, block_s: float, seed: int) -> Change:
    """Return the relative change of the mean outcome against a base; negative is better.

    Args:
        ours, theirs: of the same arrivals with the same luck, as many replicas of either.
        block_s: length of a block of time in seconds.
        seed: of the resampling.
    """
    blocks = sorted({*ours.blocks, *theirs.blocks})
    many = math.ceil(len(blocks) / MOST_BLOCKS)
    sums, bases = (batched(_aligned(each, blocks), many) for each in (ours, theirs))
    return Change((Paired(sums, bases, seed),))


def _aligned(measured: Measured, blocks: Sequence[int]) -> FloatArray:
    of = dict(zip(measured.blocks, measured.sums, strict=True))
    return np.array([of.get(block, 0.0) for block in blocks])


def seed_of_blocks(seed: int, trace: str) -> int:
    """Return the seed that draws blocks of a trace, given its digest: the same at every size of the trace."""
    return int(hashlib.sha256(f"{seed} {trace}".encode()).hexdigest()[:16], 16)


def mean_change(changes: Sequence[Change]) -> Change:
    """Return the mean of changes on several traces."""
    return Change(tuple(trace for each in changes for trace in each.traces))


def joint_level(policies: int) -> float:
    """Return the level at which each of so many intervals must hold for all to hold at 95 % (Bonferroni)."""
    return 1.0 - (1.0 - LEVEL) / max(policies, 1)
