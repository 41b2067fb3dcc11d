"""From the processes' block reports to judged pairs: pooled, complete, or left out with a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...sdk.assignment import Switchback
from ...sdk.channel import BACKOFF_MOST_S
from .outcomes import Arm, Fault, Point

Side = Literal["stable", "candidate"]
BOTH: tuple[Side, ...] = ("stable", "candidate")

#: Time after a pair's outcome deadline in which its last reports may still arrive.
GRACE_NS = 3_000_000_000
#: Time after a restart of the control plane in which its processes come back, and report what they measured
#: meanwhile: the longest wait of a client, and a second for the stream to begin.
RETURN_NS = round((BACKOFF_MOST_S + 1.0) * 1e9)
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


@dataclass(frozen=True, slots=True)
class Gap:
    """Why a block is not complete.

    Attributes:
        reason: in words.
        fault: whose outcomes it lacks.
    """

    reason: str
    fault: Fault


class Blocks:
    """The latest report of every process, block and arm of one attempt."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, int], dict[tuple[str, str], Report]] = {}
        self._heard: dict[str, int] = {}
        self._resumed_ns = 0

    def resumed(self, now: int) -> None:
        """Note that the control plane began here, with no process connected yet."""
        self._resumed_ns = now

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
        # A process that served neither block is no gap: it may be idle, or may have come later.
        served = {report.instance for report in both if _says(report)}
        # Silence of all is even between paired arms, and yet no data: it is waited out as a gap. Who served
        # and left is asked as well: what a crash took with it must not be missing from one arm alone.
        if served and not self._gaps(pair, design, served.union(expected)):
            return _point(pair, design, both)
        known = (2 * pair + 2) * design.block_ns + deadline_ns
        if now < max(known, self._resumed_ns + RETURN_NS) + GRACE_NS:
            return None
        return _point(pair, design, both, self._gaps(pair, design, served))

    def _gaps(self, pair: int, design: Switchback, expected: Collection[str]) -> list[Gap]:
        """Say of both blocks why they are not complete, at most one reason each."""
        found = (self._gap(block, design, expected) for block in (2 * pair, 2 * pair + 1))
        return [gap for gap in found if gap is not None]

    def _gap(self, block: int, design: Switchback, expected: Collection[str]) -> Gap | None:
        due = _arms([block], design)
        if not expected:
            return Gap("no report", due)
        reports = self.of(design.cell, block)
        for report in reports:
            if _says(report) and report.arm not in _due(block, design):
                return Gap(f"process {report.instance} ran another arm", due)
        for instance in sorted(expected):
            own = [report for report in reports if report.instance == instance]
            gap = _uneven(own) if design.paired else _incomplete(own, due)
            if gap is None and self._heard.get(instance, 0) < (block + 1) * design.block_ns:
                gap = Gap("fell silent before the end", due)
            if gap is not None:
                return Gap(f"process {instance} {gap.reason}", gap.fault)
        return None


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
    return bool(_decisions(report))


def _decisions(report: Report) -> int:
    return report.outcomes.count + report.unresolved


def _incomplete(own: list[Report], due: Fault) -> Gap | None:
    """Say what a process's reports of a block of one arm lack."""
    awaited = [report.unresolved for report in own if _says(report)]
    if not awaited:
        return Gap("has no decisions there", due)
    return Gap(f"awaits {awaited[0]} outcomes", due) if awaited[0] else None


def _uneven(own: list[Report]) -> Gap | None:
    """Say what a process's reports of a block of paired arms lack: both count the same decisions.

    A block in which neither arm was asked is even: it takes from no arm.
    """
    stable, candidate = (
        sum(_decisions(report) for report in own if report.arm == arm) for arm in BOTH
    )
    if stable != candidate:
        fault: Fault = "both" if stable and candidate else "candidate" if stable else "stable"
        return Gap(f"counts {candidate} decisions of the candidate, {stable} of stable", fault)
    awaited = sum(report.unresolved for report in own)
    late: list[Fault] = [arm for arm in BOTH if any(r.unresolved for r in own if r.arm == arm)]
    return Gap(f"awaits {awaited} outcomes", _together(late)) if awaited else None


def _due(block: int, design: Switchback) -> tuple[Side, ...]:
    """Return the arms that decide in a block."""
    if design.paired:
        return BOTH
    return ("candidate",) if design.candidate(block) else ("stable",)


def _arms(blocks: list[int], design: Switchback) -> Fault:
    """Return the arms of one block or two as those at fault."""
    return _together([arm for block in blocks for arm in _due(block, design)])


def _together(faults: Iterable[Fault]) -> Fault:
    found = set(faults)
    return found.pop() if len(found) == 1 else "both"


def _point(pair: int, design: Switchback, reports: list[Report], gaps: Sequence[Gap] = ()) -> Point:
    arms = {"stable": Arm(), "candidate": Arm()}
    for report in reports:
        if report.arm in _due(report.block, design):
            arms[report.arm] = arms[report.arm].plus(report.outcomes)
    point = Point(pair, design.cell, arms["stable"], arms["candidate"])
    if not gaps:
        return point
    return _left_out(point, gaps[0].reason, _together([gap.fault for gap in gaps]))
