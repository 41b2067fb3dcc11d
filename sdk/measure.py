"""Outcomes of a canary, aggregated per switchback block and arm as the decisions were assigned."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from gnomon.v1 import delivery_pb2

from .assignment import Design, Switchback
from .kind import Kind
from .records import Decision, Outcome, Record

BUCKETS = 128
#: Upper edges of the histogram's buckets, as fractions of the objective's clip: log-spaced over
#: five decades, the last one is the clip itself. A value lies in the first bucket whose edge it
#: does not exceed. Service and control plane both take them from here.
EDGES: tuple[float, ...] = tuple(10.0 ** (-5.0 + 5.0 * i / (BUCKETS - 1)) for i in range(BUCKETS))

#: Blocks that are kept; the oldest go first.
MAX_BLOCKS = 256
#: Decisions whose outcome is awaited; beyond it the oldest block is given up.
MAX_OPEN = 1 << 17


def bucket(value: float, clip: float) -> int:
    """Return the index in 0 to 127 of the histogram bucket that a clipped value lies in."""
    return min(bisect_left(EDGES, value / clip), BUCKETS - 1)


def quantile(histogram: Sequence[int], q: float, clip: float) -> float:
    """Return the ``q``-quantile of a merged histogram, in the unit of ``clip``; NaN when empty.

    Geometric interpolation within a bucket, so the error is below one bucket's width (9.5 %).
    """
    total = sum(histogram)
    if not total:
        return math.nan
    rank, below = q * total, 0
    for index, count in enumerate(histogram):
        if count and below + count >= rank:
            inside = (rank - below) / count
            low = EDGES[index - 1] if index else EDGES[0] / (EDGES[1] / EDGES[0])
            return clip * low * math.pow(EDGES[index] / low, inside)
        below += count
    return clip


def objective_of(outcome: Outcome, metric: str, clip: float) -> tuple[float, bool]:
    """Return the objective of an outcome, clipped, and whether it held one; without one it is the clip."""
    if outcome.status != "missing":
        for name, value in outcome.values:
            if name == metric and not math.isnan(value):
                return min(max(value, 0.0), clip), True
    return clip, False


@dataclass(slots=True)
class _Cell:
    """Sums of one arm in one block."""

    count: int = 0
    sum: float = 0.0
    failures: int = 0
    missing: int = 0
    unresolved: int = 0
    fallbacks: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)


class BlockMeasure:
    """Turns one hook's records into cumulative reports per block and arm.

    A decision counts for the arm that it was assigned to, also when the fallback answered it
    (intention to treat); one outside the measured part of its block counts nowhere. An outcome
    without a value of the objective counts as a failure at the clip value. One thread may add
    while another reads.

    Args:
        kind: of the hook; its objective is what is summed.
    """

    def __init__(self, kind: Kind) -> None:
        self._metric = kind.objective.name
        self._clip = kind.objective.clip
        self._lock = threading.Lock()
        self._switchback: Switchback | None = None
        self._name = ""
        self._design: tuple[object, ...] = ()
        self._epoch = -1
        self._first_epoch = 0
        self._first_block = 0
        self._cells: dict[int, dict[str, _Cell]] = {}
        self._open: dict[int, tuple[int, str]] = {}

    def follow(self, switchback: Design | None, epoch: int, time_ns: int) -> None:
        """Measure under another switchback from the next block on; None stops, as sticky arms do.

        A change of the salt, the cell or the blocks is a fresh measurement: earlier sums go, and
        so do late records of earlier epochs. Any other new epoch keeps the sums, but the block
        that it falls into is given up, because it may hold both arms.

        Args:
            switchback: in force from now on.
            epoch: of its manifest.
            time_ns: Unix time of the change.
        """
        if not isinstance(switchback, Switchback):
            switchback = None
        with self._lock:
            self._switchback = switchback
            if switchback is None or epoch == self._epoch:
                return
            if self._design != _design(switchback):
                self._cells.clear()
                self._open.clear()
                self._first_epoch = epoch
            self._epoch, self._design = epoch, _design(switchback)
            self._name = switchback.cell
            self._first_block = switchback.block(time_ns) + 1
            if self._first_block - 1 in self._cells:
                self._give_up(self._first_block - 1)

    def add(self, record: Record) -> None:
        """Take one drained record into account."""
        with self._lock:
            if isinstance(record, Decision):
                self._decision(record)
            elif isinstance(record, Outcome):
                self._outcome(record)

    def reports(self) -> list[delivery_pb2.BlockReport]:
        """Return one cumulative report per block and arm that is still kept, oldest block first."""
        with self._lock:
            return [
                _report(self._name, block, arm, cell)
                for block in sorted(self._cells)
                for arm, cell in sorted(self._cells[block].items())
            ]

    def slices(self) -> None:
        """Return None: no arms are sticky here."""

    def block_end_ns(self, time_ns: int) -> int | None:
        """Return the Unix time at which the block of ``time_ns`` ends; None outside a canary."""
        switchback = self._switchback
        if switchback is None:
            return None
        return (switchback.block(time_ns) + 1) * switchback.block_ns

    def _decision(self, record: Decision) -> None:
        switchback = self._switchback
        if switchback is None or record.epoch < self._first_epoch:
            return
        block = switchback.block(record.time_ns)
        if block < self._first_block or not switchback.measured(record.time_ns):
            return
        arm = _assigned(record, switchback, block)
        cell = self._cell(block, arm)
        if cell is None:
            return
        cell.unresolved += 1
        cell.fallbacks += record.reason == "fallback"
        self._open[record.seq] = (block, arm)
        if len(self._open) > MAX_OPEN:
            self._give_up(min(self._cells))

    def _outcome(self, record: Outcome) -> None:
        block, arm = self._open.pop(record.seq, (-1, ""))
        cell = self._cells.get(block, {}).get(arm)
        if cell is None:
            return
        value, valued = objective_of(record, self._metric, self._clip)
        cell.unresolved -= 1
        cell.count += 1
        cell.sum += value
        cell.failures += not (record.ok and valued)
        cell.missing += record.status == "missing"
        cell.histogram[bucket(value, self._clip)] += 1

    def _cell(self, block: int, arm: str) -> _Cell | None:
        arms = self._cells.get(block)
        if arms is None:
            if len(self._cells) >= MAX_BLOCKS:
                oldest = min(self._cells)
                if block < oldest:
                    return None
                self._give_up(oldest)
            arms = self._cells[block] = {}
        return arms.setdefault(arm, _Cell())

    def _give_up(self, block: int) -> None:
        """Forget a block; the outcomes that it still waits for go with it."""
        del self._cells[block]
        self._open = {seq: at for seq, at in self._open.items() if at[0] != block}


def _design(switchback: Switchback) -> tuple[object, ...]:
    """Return what makes two switchbacks one experiment; the weight may differ."""
    return (
        switchback.salt,
        switchback.cell,
        switchback.block_ns,
        switchback.burn_in_ns,
        switchback.skew_ns,
    )


def _assigned(record: Decision, switchback: Switchback, block: int) -> str:
    """Return the arm that a decision was assigned to: a fallback answers for its block's arm."""
    if record.reason == "fallback" and record.arm == "incumbent":
        return "candidate" if switchback.candidate(block) else "stable"
    return "candidate" if record.arm == "candidate" else "stable"


def _report(name: str, block: int, arm: str, cell: _Cell) -> delivery_pb2.BlockReport:
    return delivery_pb2.BlockReport(
        cell=name,
        block=block,
        arm=arm,
        count=cell.count,
        sum=cell.sum,
        failures=cell.failures,
        missing=cell.missing,
        unresolved=cell.unresolved,
        histogram=cell.histogram,
        fallbacks=cell.fallbacks,
    )
