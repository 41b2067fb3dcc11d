"""What a replay of placements starts from, what it finds, and what invariants see of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.expert_placement import expert_placement, keeps_groups
from ...traces.load_trace import LoadTrace
from ..base import FloatArray, IntArray, Replay
from ..fitted import Fitted
from . import kernel

CLIP = expert_placement.objective.clip


@dataclass(frozen=True, eq=False)
class PlacementCalibration(Fitted):
    """What a trace leaves open: which tokens happened to come.

    Attributes:
        draw: 0 for the load as recorded, else the seed of a bootstrap over tokens, i8[1].
    """

    draw: IntArray

    @cached_property
    def digest(self) -> str:
        """sha256 hex of all parameters."""
        return hashlib.sha256(b"draw%d" % int(self.draw[0])).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return what the load is, as JSON values."""
        draw = int(self.draw[0])
        return {"load": "as recorded" if draw == 0 else f"tokens drawn again, {draw}"}


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> PlacementCalibration:
    """Return the calibration that was written as these arrays."""
    return PlacementCalibration(**dict(arrays))


def load_of(trace: LoadTrace, window: int, calibration: PlacementCalibration) -> FloatArray:
    """Return a window's load, f8[L, E], as calibrated; the same whoever asks, before or after it.

    A bootstrap keeps the tokens of each layer and draws anew which expert each of them went to.
    """
    counts = trace.counts[window]
    draw = int(calibration.draw[0])
    if draw:
        rng = np.random.default_rng((draw, int(trace.index[window])))
        total = counts.sum(axis=1)
        share = counts / np.maximum(total, 1)[:, None]
        share[:, -1] = np.maximum(
            0.0, 1.0 - share[:, :-1].sum(axis=1)
        )  # the last takes the rounding
        counts = rng.multinomial(total, share)
    return np.ascontiguousarray(counts, np.float64)


def accepted(trace: LoadTrace, answer: Any) -> IntArray | None:
    """Return a policy's placement, i8[L, slots]; None where it is none that can be judged at all.

    Whether it may be used is for the kind's invariants to say; this keeps indices in their arrays.
    """
    if not isinstance(answer, Mapping) or "placement" not in answer:
        return None
    try:
        found = np.asarray(answer["placement"])
    except ValueError:  # rows of different lengths
        return None
    if found.shape != (trace.layers, trace.replicas) or found.dtype.kind not in "iu":
        return None
    if found.min() < 0 or found.max() >= trace.experts:
        return None
    return np.array(found, np.int64)


@dataclass(frozen=True, slots=True)
class PlacementSummary:
    """What replay-level invariants of the kind see.

    Attributes:
        decisions: how many were asked for.
        completions: how many of them have an outcome.
        unserved: load of experts that no slot held, tokens.
        split: groups on several nodes where they have to stay on one, over all layers and decisions.
        lowest_outcome: the smallest imbalance; 1 without any.
        wrong_outcomes: outcomes that are not the imbalance of the loads that the ranks had.
    """

    decisions: int
    completions: int
    unserved: float
    split: int
    lowest_outcome: float
    wrong_outcomes: int = 0


@dataclass(frozen=True)
class PlacementReplay(Replay):
    """What a policy's placements did to a trace's load.

    Attributes:
        unserved: load of experts that no slot held, tokens.
        split: groups on several nodes where they have to stay on one, over all layers and decisions.
        ranks: load of the fullest and of the mean rank in each window, f8[n, 2]; None where nobody kept it.
    """

    unserved: float = 0.0
    split: int = 0
    ranks: FloatArray | None = None

    def summary(self) -> PlacementSummary:
        """Return what replay-level invariants see."""
        return PlacementSummary(
            decisions=len(self.time) + (self.fault >= 0),
            completions=int(np.isfinite(self.outcome).sum()),
            unserved=self.unserved,
            split=self.split,
            lowest_outcome=float(self.outcome.min(initial=CLIP)) if len(self.outcome) else 1.0,
            wrong_outcomes=self._wrong(),
        )

    def _wrong(self) -> int:
        """Count the windows whose outcome does not follow from what the ranks had to carry."""
        if self.ranks is None:
            return 0
        if len(self.ranks) != len(self.outcome):
            return len(self.ranks)
        found = zip(self.outcome.tolist(), self.ok.tolist(), self.ranks.tolist(), strict=True)
        return sum(
            outcome != (imbalance(fullest, mean) if served else CLIP)
            for outcome, served, (fullest, mean) in found
        )


@dataclass
class Judge:
    """Judges placements one after the other."""

    trace: LoadTrace
    current: IntArray
    outcome: list[float] = field(default_factory=list)
    served: list[bool] = field(default_factory=list)
    ranks: list[tuple[float, float]] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    unserved: float = 0.0
    split: int = 0

    def take(self, placement: IntArray, load: FloatArray) -> None:
        """Put a placement into force and judge it by a window's load."""
        self.note(placement, *kernel.judge(load, placement, self.trace.ranks))

    def note(self, placement: IntArray, fullest: float, mean: float, unserved: float) -> None:
        """Put a placement into force that was judged already; arguments as of ``kernel.judge``."""
        trace = self.trace
        self.outcome.append(imbalance(fullest, mean) if unserved == 0.0 else CLIP)
        self.served.append(unserved == 0.0)
        self.ranks.append((fullest, mean))
        fetched = kernel.fetched(self.current, placement, trace.ranks)
        self.moved.append(fetched / placement.size)
        self.unserved += unserved
        if keeps_groups(trace.groups, trace.nodes):
            self.split += int(
                kernel.split_groups(placement, trace.experts, trace.groups, trace.nodes)
            )
        self.current = placement

    def replay(self, fault: int = -1) -> PlacementReplay:
        """Return what was found so far."""
        n = len(self.outcome)
        return PlacementReplay(
            time=self.trace.time[:n],
            outcome=np.array(self.outcome, np.float64),
            ok=np.array(self.served, np.bool_),
            action=np.zeros(n, np.int64),
            members=0,
            fault=fault,
            extra={"moved": np.array(self.moved, np.float64)},
            unserved=self.unserved,
            split=self.split,
            ranks=np.array(self.ranks, np.float64).reshape(n, 2),
        )


def imbalance(fullest: float, mean: float) -> float:
    """Return load of the fullest over that of the mean rank, clipped; 1 for a window without load."""
    return min(CLIP, fullest / mean) if mean > 0.0 else 1.0
