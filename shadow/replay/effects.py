"""Changes against the incumbent: paired block by block, alone, all together, and over several traces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..simulators.base import FloatArray
from ..splits import RESAMPLES, Interval, interval_of, relative_change, require_blocks
from .cells import Measured

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Change:
    """The relative change of a mean outcome, with what resampled blocks say of it.

    Attributes:
        estimate: of all blocks.
        samples: of blocks drawn with replacement, f8[2000].
    """

    estimate: float
    samples: FloatArray

    def interval(self, level: float) -> Interval:
        """Return the estimate with the interval of a level."""
        return interval_of(self.estimate, self.samples, level)


def change(ours: Measured, theirs: Measured, block_s: float, seed: int) -> Change:
    """Return the relative change of the mean outcome against a base; negative is better.

    Args:
        ours, theirs: of the same arrivals with the same luck, as many replicas of either.
        block_s: length of a block of time in seconds.
        seed: of the resampling; one seed draws the same blocks for every policy.

    Raises:
        TraceError: fewer than 8 blocks.
    """
    blocks = sorted({*ours.blocks, *theirs.blocks})
    require_blocks(len(blocks), block_s)
    sums, bases = _aligned(ours, blocks), _aligned(theirs, blocks)
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    samples = relative_change(sums[drawn].sum(axis=1), bases[drawn].sum(axis=1))
    return Change(float(relative_change(sums.sum(), bases.sum())), samples)


def _aligned(measured: Measured, blocks: Sequence[int]) -> FloatArray:
    of = dict(zip(measured.blocks, measured.sums, strict=True))
    return np.array([of.get(block, 0.0) for block in blocks])


def seed_of_blocks(seed: int, trace: str) -> int:
    """Return the seed that draws blocks of a trace, given its digest.

    Blocks of two traces are drawn apart from each other; those of one trace at several sizes are the same.
    """
    return int(hashlib.sha256(f"{seed} {trace}".encode()).hexdigest()[:16], 16)


def mean_change(changes: Sequence[Change]) -> Change:
    """Return the mean of changes on several traces, each of which was resampled on its own."""
    samples: FloatArray = np.mean([each.samples for each in changes], axis=0)
    return Change(float(np.mean([each.estimate for each in changes])), samples)


def joint_level(policies: int) -> float:
    """Return the level at which each of so many intervals must hold for all to hold at 95 % (Bonferroni)."""
    return 1.0 - (1.0 - LEVEL) / max(policies, 1)
