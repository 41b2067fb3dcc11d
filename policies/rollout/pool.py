"""Sums by slice of the units, pooled over the processes that serve one step of a canary with sticky arms."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from operator import add, sub

from gnomon.v1 import delivery_pb2

from ...sdk.measure import BUCKETS
from ...sdk.slices import GROUPS, group
from .units import Slices

#: Growth of the decisions, over both arms, after which the sums are looked at again.
GROWTH = 1.1
#: Decisions before the first look.
FIRST_LOOK = 20
#: A process's sums are stored that often, and when it leaves: it sends them again to a control plane
#: that began anew.
STORE_NS = 30_000_000_000


@dataclass(slots=True)
class _Kept:
    """The latest sums of one process."""

    report: delivery_pb2.SliceReport
    changed: bool = True
    stored_ns: int = 0


@dataclass(slots=True)
class Pool:
    """Sums of all processes since the weight in force began.

    Attributes:
        slices: how many there are.
        epoch: of the manifest that began the weight; reports of an earlier one are of another weight.
        looked: decisions at the last look.
        refused: reports whose numbers cannot be true.
    """

    slices: int
    epoch: int
    clip: float
    looked: int = 0
    refused: int = 0
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _sums: dict[str, list[float]] = field(default_factory=dict)
    _histograms: dict[int, list[float]] = field(default_factory=dict)

    def put(self, instance: str, report: delivery_pb2.SliceReport) -> bool:
        """Take a process's cumulative sums in place of its earlier ones; return whether they count.

        A process that counts from nothing again (it was configured anew) adds to what it had counted.
        """
        if report.epoch < self.epoch or not sound(report, self.slices, self.clip):
            self.refused += report.epoch >= self.epoch
            return False
        known = self._kept.get(instance)
        # What was counted before a fresh start stays in the totals, and is not taken back.
        if known is not None and _continues(known.report, report):
            self._move(known.report, sub)
        self._move(report, add)
        stored_ns = known.stored_ns if known else 0
        self._kept[instance] = _Kept(report, stored_ns=stored_ns)
        return True

    def due(
        self, now: int, gone: Collection[str] = ()
    ) -> list[tuple[str, delivery_pb2.SliceReport]]:
        """Return what is to be stored now, of each process at most once in a while."""
        return [
            (instance, kept.report)
            for instance, kept in self._kept.items()
            if kept.changed and (instance in gone or now - kept.stored_ns >= STORE_NS)
        ]

    def stored(self, instance: str, now: int) -> None:
        """Note that a process's sums were stored as they are."""
        kept = self._kept[instance]
        kept.changed, kept.stored_ns = False, now

    @property
    def decisions(self) -> int:
        """Decisions whose outcome is known."""
        return int(sum(self._sums.get("count", ())))

    @property
    def failures(self) -> int:
        """Outcomes that failed or never came."""
        return int(sum(self._sums.get("failures", ())))

    def fell(self, candidates: int) -> tuple[int, int]:
        """Return the decisions of so many first slices, and how many of them the incumbent answered."""
        asked, fallbacks = (
            int(sum(sum(self._sums.get(name, ())[:candidates]) for name in names))
            for names in (("count", "unresolved"), ("fallbacks",))
        )
        return asked, fallbacks

    def look(self) -> Slices | None:
        """Return the pooled sums, if enough was added since the last look; None if it was not."""
        decisions = self.decisions
        if decisions < max(FIRST_LOOK, self.looked * GROWTH):
            return None
        self.looked = decisions
        whole = {
            name: tuple(map(int, self._sums[name])) for name in ("count", "failures", "missing")
        }
        empty = [0] * BUCKETS
        histograms = tuple(tuple(map(int, self._histograms.get(i, empty))) for i in range(GROUPS))
        # Added up and taken back in another order, floats leave a rest.
        sums = (
            max(0.0, total) if count else 0.0
            for total, count in zip(self._sums["sum"], whole["count"], strict=True)
        )
        return Slices(sum=tuple(sums), histograms=histograms, **whole)

    def _move(
        self, report: delivery_pb2.SliceReport, move: Callable[[float, float], float]
    ) -> None:
        """Add a report's numbers to the totals, or take them back."""
        for name in ("count", "sum", "failures", "missing", "unresolved", "fallbacks"):
            before = self._sums.get(name) or [0] * self.slices
            self._sums[name] = [*map(move, before, getattr(report, name))]
        for index, histogram in enumerate(report.histograms):
            if histogram.counts:
                known: list[float] = self._histograms.get(index) or [0] * BUCKETS
                self._histograms[index] = [*map(move, known, histogram.counts)]


def _continues(before: delivery_pb2.SliceReport, after: delivery_pb2.SliceReport) -> bool:
    return before.epoch == after.epoch and sum(after.count) >= sum(before.count)


def sound(report: delivery_pb2.SliceReport, slices: int, clip: float) -> bool:
    """Return whether the numbers of a report can be true, of so many slices."""
    counts = (report.count, report.failures, report.missing, report.unresolved, report.fallbacks)
    lists = (report.sum, *counts)
    if report.slices != slices or any(len(each) != slices for each in lists):
        return False
    rows = zip(report.count, report.sum, report.failures, report.missing, strict=True)
    within = all(
        missing <= failures <= count
        and math.isfinite(total)
        and 0.0 <= total <= clip * count * (1.0 + 1e-9)
        for count, total, failures, missing in rows
    )
    return within and _histograms(report, slices)


def _histograms(report: delivery_pb2.SliceReport, slices: int) -> bool:
    """Return whether every group's histogram counts what its slices do."""
    if len(report.histograms) != GROUPS:
        return False
    counts = [0] * GROUPS
    for index, count in enumerate(report.count):
        counts[group(index, slices)] += count
    return all(
        len(histogram.counts) in (0, BUCKETS) and sum(histogram.counts) == count
        for histogram, count in zip(report.histograms, counts, strict=True)
    )
