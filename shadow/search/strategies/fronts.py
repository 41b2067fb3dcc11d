"""Who is the best on which segment, kept as programs come, and who of them is dispensable."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Outcome, Record


@dataclass(slots=True)
class _Member:
    record: Record
    mask: int  # of the segments where nobody is better
    rank: tuple[float, int, int]


class Fronts:
    """The front of every segment, without the programs that cannot matter.

    A program whose fronts are all fronts of a better ranked one is covered by it now and for ever, because
    the best value of a segment pushes both out at once; so it is not kept, and who is left does not change.

    Source: GEPA's Pareto selection (arXiv 2507.19457); lower is better here, and who ties with another on
    the score is ranked by size and then by age.
    """

    def __init__(self) -> None:
        self.best: list[float] = []  # by segment
        self._members: list[_Member] = []
        self._survivors: list[tuple[Record, int]] | None = None

    def add(self, record: Record) -> bool:
        """Take a record; return whether it is the best on a segment, ties included, and needed for that."""
        if record.outcome is not Outcome.OK:
            return False
        mask = self._entered(record.segments or (record.score,))
        member = _Member(record, mask, (record.score, record.nodes, record.step))
        if not mask or any(_covers(other, member) for other in self._members):
            return False
        self._members = [other for other in self._members if not _covers(member, other)]
        self._members.append(member)
        self._survivors = None
        return True

    def _entered(self, segments: tuple[float, ...]) -> int:
        """Return on which segments the values are the best, after taking these from the others."""
        if not self.best:
            self.best = [float("inf")] * len(segments)
        improved = mask = 0
        for index, (value, low) in enumerate(zip(segments, self.best, strict=True)):
            if value <= low:
                mask |= 1 << index
            if value < low:
                improved |= 1 << index
                self.best[index] = value
        if improved:
            for member in self._members:
                member.mask &= ~improved
            self._prune()
        return mask

    def _prune(self) -> None:
        kept: list[_Member] = []
        for member in sorted(self._members, key=lambda each: each.rank):
            if member.mask and not any(_covers(other, member) for other in kept):
                kept.append(member)
        self._members = kept

    def survivors(self) -> list[tuple[Record, int]]:
        """Return who is left when the dispensable are dropped, worst first, with the number of their fronts.

        From the worst on, a program goes when every front that it is in has another one left.
        """
        if self._survivors is None:
            self._survivors = self._left()
        return self._survivors

    def _left(self) -> list[tuple[Record, int]]:
        members = sorted(self._members, key=lambda each: each.rank, reverse=True)
        count = [
            sum(member.mask >> index & 1 for member in members) for index in range(len(self.best))
        ]
        left = []
        for member in members:
            fronts = [index for index in range(len(count)) if member.mask >> index & 1]
            if all(count[index] > 1 for index in fronts):
                for index in fronts:
                    count[index] -= 1
            else:
                left.append((member.record, len(fronts)))
        return left


def _covers(one: _Member, other: _Member) -> bool:
    return one.mask & other.mask == other.mask and one.rank < other.rank
