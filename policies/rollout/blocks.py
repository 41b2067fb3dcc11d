"""From the processes' block reports to judged pairs: pooled, complete, or left out with a reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ...sdk.assignment import Switchback
from .evidence import Arm, Fault, Point

#: Time after a pair's outcome deadline in which its last reports may still arrive.
GRACE_NS = 3_000_000_000
#: Time after a pair's end before which it is not judged, so that an exclusion can come first.
EXCLUDE_NS = 500_000_000
#: Time after a change of weight before which no pair starts, so that every process has heard of it.
SETTLE_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Report:
    """One process's cumulative outcomes of one arm in one block.

    Attributes:
        instance: of the process.
        cell, block, arm: where they belong.
        outcomes: resolved ones.
        unresolved: outcomes still awaited.
        fallbacks: of the candidate's decisions, answered by the incumbent.
    """

    instance: str
    cell: str
    block: int
    arm: str
    outcomes: Arm
    unresolved: int
    fallbacks: int


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time at one weight.

    Attributes:
        weight: of the candidate.
        from_ns: Unix time from which pairs may start.
        until_ns: Unix time by which pairs must end; 0 while it is open.
    """

    weight: float
    from_ns: int
    until_ns: int = 0

    def pairs(self, block_ns: int, now: int) -> range:
        """Return the pairs that lie whole in the window and have ended."""
        end = min(now, self.until_ns) if self.until_ns else now
        return range(-(-self.from_ns // (2 * block_ns)), end // (2 * block_ns))


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A stretch of time that counts for neither arm.

    Attributes:
        from_ns, to_ns: Unix times, end excluded.
        reason: one that knows nothing of the outcome.
    """

    from_ns: int
    to_ns: int
    reason: str

    def covers(self, block: int, block_ns: int) -> bool:
        """Return whether any part of a block lies in the stretch."""
        return block * block_ns < self.to_ns and self.from_ns < (block + 1) * block_ns


class Blocks:
    """The latest report of every process, block and arm of one attempt."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, int], dict[tuple[str, str], Report]] = {}
        self._heard: dict[str, int] = {}

    def put(self, report: Report) -> None:
        """Keep a report in place of an earlier one."""
        kept = self._reports.setdefault((report.cell, report.block), {})
        kept[report.instance, report.arm] = report

    def heard(self, instance: str, now: int) -> None:
        """Note that all that a process has to say up to this time was put."""
        self._heard[instance] = now

    def cells(self) -> set[str]:
        """Return the cells that have reported."""
        return {cell for cell, _ in self._reports}

    def since(self, block: int) -> list[Report]:
        """Return the reports of a block and all later ones, of every cell."""
        return [
            report
            for key, reports in self._reports.items()
            if key[1] >= block
            for report in reports.values()
        ]

    def forget(self, cell: str, before: int) -> None:
        """Drop the reports of a cell's blocks before a block."""
        for key in [key for key in self._reports if key[0] == cell and key[1] < before]:
            del self._reports[key]

    def of(self, cell: str, block: int) -> list[Report]:
        """Return the reports of one block, all processes and arms."""
        return list(self._reports.get((cell, block), {}).values())

    def judge(
        self, pair: int, design: Switchback, deadline_ns: int, now: int, expected: Collection[str]
    ) -> Point | None:
        """Return the point of a pair that has ended, or None while reports may still come.

        Args:
            pair: index.
            design: randomisation of the cell at the window's weight.
            deadline_ns: of outcomes.
            now: Unix time.
            expected: processes that are connected; the pair is judged at once when all of them have
                reported both blocks after their ends with no outcome awaited.
        """
        if now < (2 * pair + 2) * design.block_ns + EXCLUDE_NS:
            return None
        first, second = self.of(design.cell, 2 * pair), self.of(design.cell, 2 * pair + 1)
        both = first + second
        if not any(self._faults(pair, design, expected)):
            return _point(pair, design, both)
        if now < (2 * pair + 2) * design.block_ns + deadline_ns + GRACE_NS:
            return None
        # A process that served neither block is no gap: it may be idle, or may have come later.
        served = {report.instance for report in both if _says(report)}
        return _point(pair, design, both, self._faults(pair, design, served))

    def _faults(self, pair: int, design: Switchback, expected: Collection[str]) -> tuple[str, str]:
        """Say of both blocks why they are not complete; empty where they are."""
        first, second = (self._fault(block, design, expected) for block in (2 * pair, 2 * pair + 1))
        return first, second

    def _fault(self, block: int, design: Switchback, expected: Collection[str]) -> str:
        if not expected:
            return "no report"
        arm, reports = _arm(block, design), self.of(design.cell, block)
        for report in reports:
            if _says(report) and report.arm != arm:
                return f"process {report.instance} ran another arm"
        found = {report.instance: report for report in reports}
        for instance in sorted(expected):
            problem = _incomplete(found.get(instance))
            if not problem and self._heard.get(instance, 0) < (block + 1) * design.block_ns:
                problem = "fell silent before the end"
            if problem:
                return f"process {instance} {problem}"
        return ""


def excluded(point: Point, design: Switchback, exclusions: Collection[Exclusion]) -> Point:
    """Return the point, left out when an exclusion covers one of its blocks."""
    blocks = [2 * point.pair, 2 * point.pair + 1]
    for exclusion in exclusions:
        hit = [block for block in blocks if exclusion.covers(block, design.block_ns)]
        if hit:
            reason = f"excluded: {exclusion.reason}"
            return _left_out(point, reason, _arms(hit, design))
    return point


def _left_out(point: Point, reason: str, fault: Fault) -> Point:
    return Point(point.pair, point.cell, point.stable, point.candidate, reason, fault)


def _says(report: Report) -> bool:
    return bool(report.outcomes.count or report.unresolved)


def _incomplete(report: Report | None) -> str:
    if report is None or not _says(report):
        return "has no decisions there"
    return f"awaits {report.unresolved} outcomes" if report.unresolved else ""


def _arm(block: int, design: Switchback) -> str:
    return "candidate" if design.candidate(block) else "stable"


def _arms(blocks: list[int], design: Switchback) -> Fault:
    if len(blocks) == 2:
        return "both"
    return "candidate" if design.candidate(blocks[0]) else "stable"


def _point(
    pair: int, design: Switchback, reports: list[Report], faults: tuple[str, str] = ("", "")
) -> Point:
    arms = {"stable": Arm(), "candidate": Arm()}
    for report in reports:
        if report.arm == _arm(report.block, design):
            arms[report.arm] = arms[report.arm].plus(report.outcomes)
    point = Point(pair, design.cell, arms["stable"], arms["candidate"])
    at_fault = [2 * pair + second for second in (0, 1) if faults[second]]
    if not at_fault:
        return point
    return _left_out(point, faults[0] or faults[1], _arms(at_fault, design))
