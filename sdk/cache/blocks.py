"""Lookups of a canary per block, counted for both arms at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..assignment import Design, Switchback

if TYPE_CHECKING:
    from gnomon.v1 import delivery_pb2

#: Blocks that are kept; the oldest go first.
MAX_BLOCKS = 256


#: Lookups that both arms answered, misses of the candidate's arm and of the stable one, and lookups and
#: decisions of the candidate's arm in which another policy answered. Replaced whole, so that whoever
#: reads it on another thread sees both arms at the same moment.
Sums = tuple[int, int, int, int]


def design(switchback: Switchback) -> tuple[object, ...]:
    """Return what makes two switchbacks one experiment; the weight may differ."""
    s = switchback
    return s.salt, s.cell, s.block_ns, s.burn_in_ns, s.skew_ns


class Block:
    """One block of time.

    Attributes:
        sums: counted so far.
        paired: whether the stable arm answered too.
    """

    __slots__ = ("paired", "sums")

    def __init__(self) -> None:
        self.sums: Sums = (0, 0, 0, 0)
        self.paired = False


class Blocks:
    """Counts into the block that a lookup falls in, and only where it is measured.

    Args:
        time_ns: Unix time.

    Attributes:
        kept: blocks by number.
    """

    def __init__(self, time_ns: Callable[[], int]) -> None:
        self._time_ns = time_ns
        self._since = self._until = 0
        self._current: Block | None = None
        self._switchback: Switchback | None = None
        self._design: tuple[object, ...] = ()
        self.kept: dict[int, Block] = {}

    def follow(self, switchback: Switchback | None) -> None:
        """Count under another switchback; another design forgets what was counted."""
        self._switchback = switchback
        self._since = self._until = 0
        self._current = None
        if switchback is not None and self._design != design(switchback):
            self.kept, self._design = {}, design(switchback)

    def lookup(self, miss: bool, ghost_miss: bool | None, fell_back: bool) -> None:
        """Count a lookup; ``ghost_miss`` is None where there is no other arm."""
        block = self._now()
        if block is None:
            return
        count, misses, ghost_misses, fallbacks = block.sums
        block.paired = ghost_miss is not None
        block.sums = (
            count + 1,
            misses + miss,
            ghost_misses + bool(ghost_miss),
            fallbacks + fell_back,
        )

    def fallback(self) -> None:
        """Count a decision in which the program's answer was not used."""
        block = self._now()
        if block is not None:
            block.sums = (*block.sums[:3], block.sums[3] + 1)

    def _now(self) -> Block | None:
        if self._switchback is None:
            return None
        now = self._time_ns()
        if not self._since <= now < self._until:
            self._advance(self._switchback, now)
        return self._current

    def _advance(self, switchback: Switchback, now: int) -> None:
        block = switchback.block(now)
        start = block * switchback.block_ns
        end = start + switchback.block_ns
        first, last = start + switchback.burn_in_ns, end - switchback.skew_ns
        if switchback.measured(now):
            self._since, self._until = first, last
            self._current = self._block(block)
        else:
            self._since, self._until = (start, min(first, end)) if now < first else (last, end)
            self._current = None

    def _block(self, number: int) -> Block:
        if number not in self.kept:
            latest = sorted(self.kept)[-(MAX_BLOCKS - 1) :]
            # Replaced, because another thread may be reading.
            self.kept = {old: self.kept[old] for old in latest} | {number: Block()}
        return self.kept[number]


class CacheMeasure:
    """Reads a cache's blocks as delivery wants them, like :class:`..measure.BlockMeasure`.

    Args:
        blocks: that the cache counts into.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._switchback: Switchback | None = None
        self._design: tuple[object, ...] = ()
        self._epoch = -1
        self._given_up: set[int] = set()

    def follow(self, switchback: Design | None, epoch: int, time_ns: int) -> None:
        """Measure under another switchback; the block that the change falls into is given up."""
        if not isinstance(switchback, Switchback):
            switchback = None
        self._switchback = switchback
        if switchback is None or epoch == self._epoch:
            return
        block = switchback.block(time_ns)
        self._given_up = {old for old in self._given_up if old > block - MAX_BLOCKS} | {block}
        self._epoch, self._design = epoch, design(switchback)

    def add(self, record: object) -> None:
        """Do nothing: a cache counts its lookups itself."""

    def reports(self) -> list[delivery_pb2.BlockReport]:
        """Return one cumulative report per block and arm that is still kept, oldest block first."""
        found: list[delivery_pb2.BlockReport] = []
        for number, block in sorted(self._blocks.kept.items() if self._design else ()):
            if number not in self._given_up:
                sums = block.sums
                found.append(self._report(number, "candidate", sums, sums[1]))
                if block.paired:
                    found.append(self._report(number, "stable", sums, sums[2]))
        return found

    def slices(self) -> None:
        """Return None: no arms are sticky here."""

    def block_end_ns(self, time_ns: int) -> int | None:
        """Return the Unix time at which the block of ``time_ns`` ends; None outside a canary."""
        switchback = self._switchback
        if switchback is None:
            return None
        return (switchback.block(time_ns) + 1) * switchback.block_ns

    def _report(self, block: int, arm: str, sums: Sums, misses: int) -> delivery_pb2.BlockReport:
        from gnomon.v1 import delivery_pb2

        from ..measure import BUCKETS, bucket

        count, fallbacks = sums[0], min(sums[3], sums[0])
        histogram = [0] * BUCKETS
        histogram[bucket(0.0, 1.0)] = count - misses
        histogram[bucket(1.0, 1.0)] = misses
        return delivery_pb2.BlockReport(
            cell=str(self._design[1]),
            block=block,
            arm=arm,
            count=count,
            sum=float(misses),
            histogram=histogram,
            fallbacks=fallbacks if arm == "candidate" else 0,
        )
