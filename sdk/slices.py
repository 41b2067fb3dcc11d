"""Outcomes of a canary with sticky arms, aggregated by slice of the units.

A slice is what was randomised, so the slices' sums are all that is told of the units: how many there are
in a slice nobody has to know, and however many there are, the memory stays that of the slices.
"""

from __future__ import annotations

import threading
from array import array

from gnomon.v1 import delivery_pb2

from .assignment import Design, Sticky
from .kind import Kind
from .measure import BUCKETS, MAX_OPEN, bucket, objective_of
from .records import Decision, Outcome, Record

#: Groups of neighbouring slices that have one histogram each, for guardrails on a quantile.
GROUPS = 50
#: Named as in the message, in which each is a list as long as there are slices.
_COUNTS = ("count", "failures", "missing", "unresolved", "fallbacks")


def group(index: int, slices: int) -> int:
    """Return the group, 0 to 49, that a slice belongs to."""
    return index * GROUPS // slices


class _Sums:
    """What is kept of one epoch's outcomes."""

    def __init__(self, slices: int) -> None:
        self.slices = slices
        self.counts = {name: array("Q", bytes(8 * slices)) for name in _COUNTS}
        self.sum = array("d", bytes(8 * slices))
        self.histograms = [array("L", bytes(0)) for _ in range(GROUPS)]

    def histogram(self, index: int) -> array[int]:
        """Return the histogram of a slice's group; made when it is first needed."""
        found = self.histograms[group(index, self.slices)]
        if not found:
            found.extend([0] * BUCKETS)
        return found


class SliceMeasure:
    """Turns one hook's records into cumulative sums per slice of the units.

    Sums begin anew with every other weight, so that a slice's sums are of one arm: which arm is a
    function of the slice's number and the weight. A decision counts for the arm that it was assigned
    to, also when the fallback answered it (intention to treat); one without a unit counts nowhere. An
    outcome without a value of the objective counts as a failure at the clip value, and so does that of
    the oldest decision where too many await theirs: to forget it would favour the arm that is slow. One
    thread may add while another reads.

    Args:
        kind: of the hook; its objective is what is summed.
    """

    def __init__(self, kind: Kind) -> None:
        self._metric = kind.objective.name
        self._clip = kind.objective.clip
        self._lock = threading.Lock()
        self._design: Sticky | None = None
        self._following = False
        self._epoch = -1
        self._sums: _Sums | None = None
        self._open: dict[int, int] = {}

    def follow(self, design: Design | None, epoch: int, time_ns: int) -> None:
        """Measure under another design from an epoch's first decision on; None stops.

        Args:
            design: in force from now on; the same one goes on with the same sums.
            epoch: of its manifest.
            time_ns: Unix time of the change; not needed, because decisions tell their epochs.
        """
        del time_ns
        with self._lock:
            self._following = isinstance(design, Sticky)
            if not isinstance(design, Sticky) or design == self._design:
                return
            self._design, self._epoch = design, epoch
            self._sums, self._open = _Sums(design.slices), {}

    def add(self, record: Record) -> None:
        """Take one drained record into account."""
        with self._lock:
            if self._sums is None:
                return
            if isinstance(record, Decision):
                self._decision(self._sums, record)
            elif isinstance(record, Outcome):
                self._outcome(self._sums, record)

    def reports(self) -> list[delivery_pb2.BlockReport]:
        """Return nothing: sticky arms have no blocks."""
        return []

    def slices(self) -> delivery_pb2.SliceReport | None:
        """Return the cumulative sums by slice, as of one moment; None before the first canary."""
        with self._lock:
            sums = self._sums
            if sums is None:
                return None
            return delivery_pb2.SliceReport(
                epoch=self._epoch,
                slices=sums.slices,
                sum=sums.sum,
                histograms=[delivery_pb2.Histogram(counts=each) for each in sums.histograms],
                **sums.counts,
            )

    def block_end_ns(self, time_ns: int) -> int | None:
        """Return None: there is no moment at which a report is more wanted than at others."""
        del time_ns
        return None

    def _decision(self, sums: _Sums, record: Decision) -> None:
        if not self._following or record.epoch < self._epoch or not 0 <= record.block < sums.slices:
            return
        sums.counts["unresolved"][record.block] += 1
        candidate = record.arm == "candidate"
        sums.counts["fallbacks"][record.block] += candidate and record.reason == "fallback"
        self._open[record.seq] = record.block
        if len(self._open) > MAX_OPEN:
            self._resolved(sums, next(iter(self._open)), self._clip, ok=False, missing=True)

    def _outcome(self, sums: _Sums, record: Outcome) -> None:
        value, valued = objective_of(record, self._metric, self._clip)
        ok, missing = record.ok and valued, record.status == "missing"
        self._resolved(sums, record.seq, value, ok=ok, missing=missing)

    def _resolved(self, sums: _Sums, seq: int, value: float, *, ok: bool, missing: bool) -> None:
        index = self._open.pop(seq, -1)
        if index < 0:
            return
        counts = sums.counts
        counts["unresolved"][index] -= 1
        counts["count"][index] += 1
        counts["failures"][index] += not ok
        counts["missing"][index] += missing
        sums.sum[index] += value
        sums.histogram(index)[bucket(value, self._clip)] += 1
