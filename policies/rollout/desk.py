"""One hook as the control plane sees it: its rollout, its processes, and their reports."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from gnomon.v1 import delivery_pb2

from ...sdk.assignment import Switchback
from .blocks import SETTLE_NS, Blocks, Report
from .events import Event, Judged, Looked, Seen, Tick
from .outcomes import Arm, Point
from .pool import Pool
from .reports import SHADOW, counters_of, report_of, sound_block
from .states import MEASURING, RUNNING, Fell, Served, Shadowed, State, Status
from .upkeep import Counts, added, counted, grown

_log = logging.getLogger("gnomon.rollout")

#: Blocks of a cell that are kept behind the newest one.
KEPT_BLOCKS = 4096
#: Counts of features are taken into the state, and so stored, so often in a window of upkeep.
_LOOKS = 24


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
        features: policy and its features' counts, as last reported.
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
    features: tuple[str, Counts] = ("", ())


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
        pool: sums by slice since the weight in force began, where arms are sticky.
        dirty: reports that are not stored yet.
        unstored: processes whose rows in the store are behind.
        ignored: block reports of processes whose clocks are ahead.
        seen: counts of features that no event has taken yet, and since when.
    """

    hook: str
    epoch: int = 0
    state: State | None = None
    plan: bytes = b""
    first_epoch: int = 0
    marks: dict[str, dict[str, int]] = field(default_factory=dict)
    seats: dict[str, Seat] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)
    pool: Pool | None = None
    dirty: list[Report] = field(default_factory=list)
    unstored: set[str] = field(default_factory=set)
    ignored: int = 0
    seen: Counts = ()
    seen_ns: int = 0

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
            seat.counters = counters_of(report)
            return False
        seat.counters = counters_of(report)
        # A process first heard of in mid-phase has counted before, nobody knows what.
        self.marks.setdefault(seat.instance, dict(seat.counters))
        if state.status in RUNNING:
            self._take_blocks(state, seat, report, now)
            if self.pool is not None and report.HasField("slices"):
                self._take_slices(self.pool, seat, report.slices)
            self.blocks.heard(seat.instance, now)
        elif report.epoch == self.epoch:
            self._take_features(state, seat, report)
        return True

    def _take_features(self, state: State, seat: Seat, report: delivery_pb2.HookReport) -> None:
        """Add what a process has counted since its last report; the first one only says from where."""
        watch = state.watch
        found = counted(report.features, watch.profile) if watch else None
        if watch is None or found is None:
            return
        digest, before = seat.features
        seat.features = watch.digest, found
        if digest == watch.digest and (more := grown(before, found)):
            self.seen = added(self.seen, more)

    def upkeep(self, now: int) -> Event:
        """Return what is to be known of the policy in force: counts of its features, or time alone."""
        watch = self.state.watch if self.state else None
        since = now - self.seen_ns
        if watch is None or not self.seen or 0 <= since < watch.terms.window_ns // _LOOKS:
            return Tick()
        seen, self.seen, self.seen_ns = self.seen, (), now
        return Seen(seen)

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
                found = report_of(seat.instance, block)
                self.blocks.put(found)
                self.dirty.append(found)

    def _take_slices(self, pool: Pool, seat: Seat, report: delivery_pb2.SliceReport) -> None:
        refused = pool.refused
        pool.put(seat.instance, report)
        if pool.refused == 1 > refused:
            _log.warning(
                "hook %s: process %s reports sums by slice that cannot be true; they are left out",
                self.hook,
                seat.instance,
            )

    def restore_pool(self, epoch: int, sums: Iterable[tuple[str, bytes]]) -> None:
        """Begin with stored sums of the weight in force.

        Args:
            epoch: that began it.
            sums: processes' reports, serialised, by instance.
        """
        state = self.state
        assert state is not None
        last = [look for look in state.looks if look.step == state.step]
        looked = last[-1].stable + last[-1].candidate if last else 0
        self.pool = Pool(state.plan.slices, epoch, state.plan.clip, looked)
        for instance, body in sums:
            self.pool.put(instance, delivery_pb2.SliceReport.FromString(body))

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
        return Shadowed(*(self.counted(f"shadow.{name}") for name in SHADOW))

    def served(self) -> Served:
        """Return the totals at full weight since the mark."""
        state = self.state
        if state is None:
            return Served()
        total = Arm()
        if self.pool is not None:
            total = Arm(self.pool.decisions, 0.0, self.pool.failures)
        for report in self.blocks.since((state.entered_ns + SETTLE_NS) // state.plan.block_ns + 1):
            if report.arm == "candidate":
                total = total.plus(report.outcomes)
        decisions, fallbacks = self.counted("decisions"), self.counted("fallbacks")
        return Served(decisions, fallbacks, total.count, total.failures)

    def findings(self, now: int) -> Judged | Looked | Fell:
        """Return what is known of a canary beyond what was looked at before, or else how often it fell back."""
        if self.pool is not None:
            measuring = self.state is not None and self.state.status in MEASURING
            slices = self.pool.look() if measuring else None
            return Looked(slices) if slices is not None else self.fell()
        points = self.judged(now)
        return Judged(points) if points else self.fell()

    def fell(self) -> Fell:
        """Return the candidate's totals in the canary of this attempt, as far as blocks are kept."""
        state = self.state
        if state is None or not state.windows:
            return Fell()
        if self.pool is not None:
            return Fell(*self.pool.fell(state.plan.candidates(state.weight)))
        since = state.windows[0].from_ns // state.plan.block_ns
        own = [report for report in self.blocks.since(since) if report.arm == "candidate"]
        asked = sum(report.outcomes.count + report.unresolved for report in own)
        return Fell(asked, sum(report.fallbacks for report in own))

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
        if _watched(before) != _watched(after):
            self.seen = ()
        if before is None or before.attempt != after.attempt:
            self.blocks, self.dirty = Blocks(), []
        if not after.plan.slices:
            self.pool = None
        elif before is None or _design(before) != _design(after):
            # The manifest of this state, which is about to be published, is the next epoch.
            self.pool = Pool(after.plan.slices, self.epoch + 1, after.plan.clip)
        fresh = before is None or before.status is not after.status
        return fresh and after.status in (Status.SHADOW, Status.FULL)


def _design(state: State) -> tuple[int, int, bool]:
    """Return what a process begins to count anew with: attempt, step, and whether all is the candidate's.

    A hold in between changes nothing of it.
    """
    status = state.held_from if state.status is Status.HOLD else state.status
    return state.attempt, state.step, status is Status.FULL


def _watched(state: State | None) -> tuple[object, ...]:
    """Return what counts of features are of: they are compared with one profile alone."""
    watch = state.watch if state else None
    return (watch.digest, watch.profile, watch.since_ns) if watch else ()
