"""One hook as the control plane sees it: its rollout, its processes, and their reports."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

from gnomon.v1 import delivery_pb2

from ...sdk.assignment import Switchback
from ...sdk.measure import BUCKETS
from .blocks import SETTLE_NS, Blocks, Report
from .evidence import Arm, Point
from .machine import MEASURING, RUNNING, Served, Shadowed, State, Status

_log = logging.getLogger("gnomon.rollout")

#: Blocks of a cell that are kept behind the newest one.
KEPT_BLOCKS = 4096
_SHADOW = ("decisions", "diverged", "faults", "violations")


@dataclass(slots=True)
class Seat:
    """A process that has the hook.

    Attributes:
        service, instance, cell: who it is.
        kind: of the hook there, with its version.
        connected: whether its stream is open.
        gone_ns: Unix time since which it is not.
        epoch: acknowledged.
        error: of the last NACK.
        killed: why policies may not decide there, as last reported; empty where they may.
        counters: as last reported; the shadow's as ``shadow.NAME``.
    """

    service: str
    instance: str
    cell: str
    kind: str = ""
    connected: bool = False
    gone_ns: int = 0
    epoch: int = 0
    error: str = ""
    killed: str = ""
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Desk:
    """The newest rollout of a hook.

    Attributes:
        hook: name.
        epoch: highest one published.
        state: of the newest rollout; None before the first.
        plan: its plan's signed envelope, serialised.
        first_epoch: of this attempt.
        marks: counters of every process when the phase began.
        seats: processes by instance.
        blocks: reports of this attempt.
        dirty: reports that are not stored yet.
        unstored: processes whose rows in the store are behind.
        ignored: block reports of processes whose clocks are ahead.
    """

    hook: str
    epoch: int = 0
    state: State | None = None
    plan: bytes = b""
    first_epoch: int = 0
    marks: dict[str, dict[str, int]] = field(default_factory=dict)
    seats: dict[str, Seat] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)
    dirty: list[Report] = field(default_factory=list)
    unstored: set[str] = field(default_factory=set)
    ignored: int = 0

    def become(self, other: Desk) -> None:
        """Be as another desk of the same hook, which is not used any more."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(other, name))

    def connected(self) -> list[Seat]:
        """Return the processes whose streams are open."""
        return [seat for seat in self.seats.values() if seat.connected]

    def leave(self, before: int) -> list[Seat]:
        """Let processes go that left before a Unix time, and return them.

        While a rollout runs nobody is let go: what they counted belongs to it.
        """
        if self.state is not None and self.state.status in RUNNING:
            return []
        left = [s for s in self.seats.values() if not s.connected and s.gone_ns < before]
        for seat in left:
            del self.seats[seat.instance]
            self.marks.pop(seat.instance, None)
        return left

    def mark(self) -> None:
        """Count from here on what processes count from their start."""
        self.marks = {seat.instance: dict(seat.counters) for seat in self.seats.values()}

    def counted(self, name: str) -> int:
        """Return how much a counter has grown since the mark, over all processes."""
        total = 0
        for seat in self.seats.values():
            before = self.marks.get(seat.instance, seat.counters)
            total += max(0, seat.counters.get(name, 0) - before.get(name, 0))
        return total

    def take(self, seat: Seat, report: delivery_pb2.HookReport, now: int) -> bool:
        """Take a process's report into account; return whether it is about this attempt."""
        state = self.state
        if state is None or report.epoch < self.first_epoch:
            seat.counters = _counters(report)
            return False
        seat.counters = _counters(report)
        # A process first heard of in mid-phase has counted before, nobody knows what.
        self.marks.setdefault(seat.instance, dict(seat.counters))
        if state.status in RUNNING:
            self._take_blocks(state, seat, report, now)
            self.blocks.heard(seat.instance, now)
        return True

    def _take_blocks(
        self, state: State, seat: Seat, report: delivery_pb2.HookReport, now: int
    ) -> None:
        # Only the own clock says how new a block can be, and which are old.
        newest = now // state.plan.block_ns + 1
        self.blocks.forget(seat.cell, newest - KEPT_BLOCKS)
        since = state.windows[0].from_ns if state.windows else state.entered_ns
        for block in report.blocks:
            if block.block > newest:
                self._ignore(seat, block.block)
                continue
            sound = block.cell == seat.cell and sound_block(block, state.plan.clip)
            if sound and block.block * state.plan.block_ns >= since:
                found = _report(seat.instance, block)
                self.blocks.put(found)
                self.dirty.append(found)

    def _ignore(self, seat: Seat, block: int) -> None:
        if not self.ignored:
            _log.warning(
                "hook %s: process %s reports block %d of the future; set its clock",
                self.hook,
                seat.instance,
                block,
            )
        self.ignored += 1

    def shadowed(self) -> Shadowed:
        """Return the totals of the live shadow since the mark."""
        return Shadowed(*(self.counted(f"shadow.{name}") for name in _SHADOW))

    def served(self) -> Served:
        """Return the totals at full weight since the mark."""
        state = self.state
        if state is None:
            return Served()
        total = Arm()
        for report in self.blocks.since((state.entered_ns + SETTLE_NS) // state.plan.block_ns + 1):
            if report.arm == "candidate":
                total = total.plus(report.outcomes)
        decisions, fallbacks = self.counted("decisions"), self.counted("fallbacks")
        return Served(decisions, fallbacks, total.count, total.failures)

    def judged(self, now: int) -> tuple[Point, ...]:
        """Return the points of pairs that can be judged now and were not yet, in the order of pairs.

        A pair that still waits holds back all later ones: what decides is always a stretch without
        gaps, so that slow outcomes cannot choose which pairs are looked at.
        """
        state = self.state
        if state is None or state.status not in MEASURING:
            return ()
        found: list[Point] = []
        for pair, cell, design in self._ended(state, now):
            seats = {seat.instance for seat in self.connected() if seat.cell == cell}
            point = self.blocks.judge(pair, design, state.plan.deadline_ns, now, seats)
            if point is None:
                break
            found.append(point)
        return tuple(found)

    def _ended(self, state: State, now: int) -> list[tuple[int, str, Switchback]]:
        """Return the live pairs that have ended and were not judged: pair, cell and its design."""
        known = {(point.cell, point.pair) for point in state.points}
        cells = {seat.cell for seat in self.connected()} | self.blocks.cells()
        designs = [
            (window, state.plan.switchback(state.salt, cell, window.weight))
            for window in state.windows
            for cell in cells
        ]
        ended = [
            (pair, design.cell, design)
            for window, design in designs
            for pair in window.pairs(state.plan.block_ns, now)
            if (design.cell, pair) not in known and design.live(pair)
        ]
        return sorted(ended, key=lambda one: one[:2])

    def entered(self, before: State | None, after: State) -> bool:
        """Note a new state; return whether counting starts anew with it."""
        self.state = after
        if before is None or before.attempt != after.attempt:
            self.blocks, self.dirty = Blocks(), []
        fresh = before is None or before.status is not after.status
        return fresh and after.status in (Status.SHADOW, Status.FULL)


def sound_block(block: delivery_pb2.BlockReport, clip: float) -> bool:
    """Return whether the numbers of a block report can be true."""
    sizes = len(block.histogram) in (0, BUCKETS) and sum(block.histogram) in (0, block.count)
    counts = block.failures <= block.count and block.missing <= block.failures
    most = clip * block.count * (1.0 + 1e-9)
    return sizes and counts and math.isfinite(block.sum) and 0.0 <= block.sum <= most


def _counters(report: delivery_pb2.HookReport) -> dict[str, int]:
    shadow = {f"shadow.{name}": int(getattr(report.shadow, name)) for name in _SHADOW}
    return {**{name: int(value) for name, value in report.counters.items()}, **shadow}


def _report(instance: str, block: delivery_pb2.BlockReport) -> Report:
    outcomes = Arm(block.count, block.sum, block.failures, tuple(block.histogram))
    return Report(
        instance,
        block.cell,
        block.block,
        block.arm,
        outcomes,
        block.unresolved,
        block.fallbacks,
    )
