"""From the processes' block reports to judged pairs: pooled, complete, or left out with a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ...sdk.assignment import Switchback
from .evidence import Arm, Fault, Point

#: Time after a pair's outcome deadline in which its last reports may still arrive.
GRACE_NS = 3_000_000_000
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
        received_ns: Unix time of arrival.
    """

    instance: str
    cell: str
    block: int
    arm: str
    outcomes: Arm
    unresolved: int
    fallbacks: int
    received_ns: int


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

    def put(self, report: Report) -> bool:
        """Keep a report in place of an earlier one; return whether it says anything new."""
        kept = self._reports.setdefault((report.cell, report.block), {})
        before = kept.get((report.instance, report.arm))
        kept[report.instance, report.arm] = report
        return before is None or _content(before) != _content(report)

    def cells(self) -> set[str]:
        """Return the cells that have reported."""
        return {cell for cell, _ in self._reports}

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
        first, second = self.of(design.cell, 2 * pair), self.of(design.cell, 2 * pair + 1)
        faults = [
            (block, _faults(reports, block, design, expected))
            for block, reports in ((2 * pair, first), (2 * pair + 1, second))
        ]
        if not any(fault for _, fault in faults):
            return _point(pair, design, first + second)
        if now < (2 * pair + 2) * design.block_ns + deadline_ns + GRACE_NS:
            return None
        reported = {report.instance for report in first + second if _says(report)}
        late = [
            (block, _faults(reports, block, design, reported))
            for block, reports in ((2 * pair, first), (2 * pair + 1, second))
        ]
        return _point(pair, design, first + second, late)


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


def _content(report: Report) -> tuple[object, ...]:
    return report.outcomes, report.unresolved, report.fallbacks


def _says(report: Report) -> bool:
    return bool(report.outcomes.count or report.unresolved)


def _faults(
    reports: list[Report], block: int, design: Switchback, expected: Collection[str]
) -> str:
    """Say why a block is not complete; empty when it is."""
    if not expected:
        return "no report"
    end = (block + 1) * design.block_ns
    by_instance = {report.instance: report for report in _of_arm(reports, block, design)}
    for report in reports:
        if _says(report) and report.arm != _arm(block, design):
            return f"process {report.instance} ran another arm"
    for instance in sorted(expected):
        problem = _incomplete(by_instance.get(instance), end)
        if problem:
            return f"process {instance} {problem}"
    return ""


def _incomplete(report: Report | None, end: int) -> str:
    if report is None or not _says(report):
        return "has no decisions there"
    if report.received_ns < end:
        return "fell silent before the end"
    return f"awaits {report.unresolved} outcomes" if report.unresolved else ""


def _arm(block: int, design: Switchback) -> str:
    return "candidate" if design.candidate(block) else "stable"


def _of_arm(reports: list[Report], block: int, design: Switchback) -> Iterator[Report]:
    arm = _arm(block, design)
    return (report for report in reports if report.arm == arm)


def _arms(blocks: list[int], design: Switchback) -> Fault:
    if len(blocks) == 2:
        return "both"
    return "candidate" if design.candidate(blocks[0]) else "stable"


def _point(
    pair: int,
    design: Switchback,
    reports: list[Report],
    faults: list[tuple[int, str]] | None = None,
) -> Point:
    arms = {"stable": Arm(), "candidate": Arm()}
    for report in reports:
        if report.arm == _arm(report.block, design):
            arms[report.arm] = arms[report.arm].plus(report.outcomes)
    point = Point(pair, design.cell, arms["stable"], arms["candidate"])
    found = [(block, reason) for block, reason in faults or [] if reason]
    if not found:
        return point
    return _left_out(point, found[0][1], _arms([block for block, _ in found], design))
