"""The programs worth building on: the best in all, and the best on some stretch of the trace."""

from __future__ import annotations

import bisect
import math
import random
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import IntEnum

from .records import Outcome, Record

#: Scores within one part in so many rank alike.
_STEPS = 1000


class AddStatus(IntEnum):
    """What became of a record that was offered to the archive, from least to most."""

    REFUSED = 0  # not ok, or worse than everything in a full archive
    TWIN = 1  # scores as an archived program does on every segment, and is no shorter
    ADDED = 2
    BEST = 3


class Archive:
    """A bounded archive; a program that is best on a segment stays whatever its rank.

    Args:
        capacity: most members, above the number of segments.
    """

    def __init__(self, capacity: int = 50) -> None:
        self.capacity = capacity
        self.members: list[Record] = []  # best first, of nearly equal ones the shortest
        self._signatures: dict[tuple[float, ...], Record] = {}
        self._leading = Leading(self.members)

    def add(self, record: Record) -> AddStatus:
        """Offer an evaluated record."""
        if record.outcome is not Outcome.OK:
            return AddStatus.REFUSED
        twin = self._signatures.get(_signature(record))
        if twin is not None and twin.nodes <= record.nodes:
            return AddStatus.TWIN
        if twin is not None:
            self._drop(twin)
        best = self.best is None or record.score < self.best.score
        bisect.insort(self.members, record, key=_rank)
        self._signatures[_signature(record)] = record
        self._leading.entered(record)
        if len(self.members) > self.capacity and self._drop_worst() is record:
            return AddStatus.REFUSED
        return AddStatus.BEST if best else AddStatus.ADDED

    @property
    def best(self) -> Record | None:
        """The member with the lowest score, or None while there is none."""
        return min(self.members, key=lambda member: (member.score, member.nodes), default=None)

    def fronts(self) -> Counter[int]:
        """Return on how many segments each member is the best, by its step; ties all count."""
        return Counter(step for leading in self._leading.by_segment() for step in leading)

    @property
    def entry(self) -> float:
        """A score above which a program enters only as the best on some segment; infinite while there is room."""
        if len(self.members) < self.capacity:
            return math.inf
        return math.sinh((_step(self._worst().score) + 1) / _STEPS)

    @property
    def lows(self) -> tuple[float, ...]:
        """What a program has to reach on every segment to change which members lead it.

        Where one member leads, that is its mean; where several do, as on a stretch that says nothing, it is
        the next number below.
        """
        found = zip(self._leading.lows, self._leading.by_segment(), strict=True)
        return tuple(
            low if len(steps) == 1 else math.nextafter(low, -math.inf) for low, steps in found
        )

    def select(self, rng: random.Random) -> Record | None:
        """Return a parent: the best of three at random or, one time in three, one of the fronts'."""
        if not self.members:
            return None
        if rng.random() < 1 / 3:
            counts = self.fronts()
            leading = [member for member in self.members if counts[member.step]]
            if leading:
                return rng.choices(leading, [counts[member.step] for member in leading])[0]
        return self.members[min(rng.randrange(len(self.members)) for _ in range(3))]

    def _drop_worst(self) -> Record:
        worst = self._worst()
        self._drop(worst)
        return worst

    def _worst(self) -> Record:
        """Return the last member that nothing keeps."""
        best = self.best
        needed = {next(iter(steps)) for steps in self._leading.by_segment() if len(steps) == 1}
        spare = (m for m in reversed(self.members) if m.step not in needed and m is not best)
        return next(spare, self.members[-1])

    def _drop(self, member: Record) -> None:
        self.members.remove(member)
        del self._signatures[_signature(member)]
        self._leading.left(member)


class Leading:
    """Which members are the best on every segment, kept up to date as members come and go.

    Args:
        members: the archive's own list.
    """

    def __init__(self, members: Sequence[Record]) -> None:
        self._members = members
        self._lows: list[float] = []
        self._steps: list[set[int]] = []

    @property
    def lows(self) -> Sequence[float]:
        """The best mean of every segment that all members have."""
        return self._lows

    def by_segment(self) -> Sequence[AbstractSet[int]]:
        """Return the steps of the best members for every segment that all members have."""
        return self._steps

    def entered(self, record: Record) -> None:
        """Hear that a record is among the members now."""
        if len(self._members) == 1 or len(record.segments) < len(self._lows):
            self._begin(len(record.segments))
            return
        for at, low in enumerate(self._lows):
            value = record.segments[at]
            if value < low:
                self._lows[at], self._steps[at] = value, {record.step}
            elif value == low:
                self._steps[at].add(record.step)

    def left(self, record: Record) -> None:
        """Hear that a record is no member any longer."""
        fewest = min((len(member.segments) for member in self._members), default=0)
        if fewest != len(self._lows):  # nobody has so few any more
            self._begin(fewest)
            return
        for at, steps in enumerate(self._steps):
            steps.discard(record.step)
            if not steps:
                self._count(at)

    def _begin(self, segments: int) -> None:
        """Look at everything anew, for so many segments."""
        self._lows = [0.0] * segments
        self._steps = [set() for _ in range(segments)]
        for at in range(segments):
            self._count(at)

    def _count(self, at: int) -> None:
        low = min(member.segments[at] for member in self._members)
        self._lows[at] = low
        self._steps[at] = {m.step for m in self._members if m.segments[at] == low}


def _rank(record: Record) -> tuple[int, int, float, int]:
    """Order by score in steps of a thousandth, then by size: otherwise programs grow for nothing."""
    # asinh is the logarithm of large numbers of either sign, and harmless around zero
    return _step(record.score), record.nodes, record.score, record.step


def _step(score: float) -> int:
    return math.floor(_STEPS * math.asinh(score))


def _signature(record: Record) -> tuple[float, ...]:
    """Return what a program did on every segment: programs that decide alike share it."""
    return (record.score, *record.segments)
