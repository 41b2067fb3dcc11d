"""The programs worth building on: the best in all, and the best on some stretch of the trace."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from enum import IntEnum

from .records import Outcome, Record


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
        self.members: list[Record] = []  # best first
        self._signatures: dict[tuple[float, ...], Record] = {}

    def add(self, record: Record) -> AddStatus:
        """Offer an evaluated record."""
        if record.outcome is not Outcome.OK:
            return AddStatus.REFUSED
        twin = self._signatures.get(_signature(record))
        if twin is not None and twin.nodes <= record.nodes:
            return AddStatus.TWIN
        if twin is not None:
            self._drop(twin)
        best = not self.members or _rank(record) < _rank(self.members[0])
        bisect.insort(self.members, record, key=_rank)
        self._signatures[_signature(record)] = record
        if len(self.members) > self.capacity and self._drop_worst() is record:
            return AddStatus.REFUSED
        return AddStatus.BEST if best else AddStatus.ADDED

    @property
    def best(self) -> Record | None:
        """The member with the lowest score, or None while there is none."""
        return self.members[0] if self.members else None

    def fronts(self) -> Counter[int]:
        """Return on how many segments each member is the best, by its step; ties all count."""
        counts: Counter[int] = Counter()
        for column in zip(*(member.segments for member in self.members), strict=False):
            lowest = min(column)
            counts.update(
                member.step
                for member, value in zip(self.members, column, strict=True)
                if value == lowest
            )
        return counts

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
        counts = self.fronts()
        worst = next(
            (member for member in reversed(self.members) if not counts[member.step]),
            self.members[-1],
        )
        self._drop(worst)
        return worst

    def _drop(self, member: Record) -> None:
        self.members.remove(member)
        del self._signatures[_signature(member)]


def _rank(record: Record) -> tuple[float, int, int]:
    return record.score, record.nodes, record.step


def _signature(record: Record) -> tuple[float, ...]:
    """Return what a program did on every segment: programs that decide alike share it."""
    return (record.score, *record.segments)
