"""A grid of features with the best program of every cell, binned anew whenever a range grows."""

from __future__ import annotations

from ..records import Record

Point = tuple[float, float]
Cell = tuple[int, int]


class Elites:
    """MAP-Elites' archive (Mouret and Clune 2015) over two features.

    Who holds which cell is a function of the programs that were added and of nothing else: every one of them
    is remembered, and where the range of a feature grows, all cells are filled anew. OpenEvolve bins at
    insertion, so that its grid drifts as the ranges move.

    Args:
        bins: cells along each feature.
    """

    def __init__(self, bins: int = 10) -> None:
        self.cells: dict[Cell, Record] = {}
        self.members: list[Record] = []  # all, by age
        self.points: dict[str, Point] = {}  # by program
        self._bins = bins
        self._low: list[float] = [0.0, 0.0]
        self._high: list[float] = [0.0, 0.0]

    def add(self, record: Record, point: Point) -> bool:
        """Take a record that is not here yet; return whether it holds a cell."""
        self.members.append(record)
        self.points[record.program] = point
        if self._grown(point):
            self._refill()
        else:
            self._enter(record)
        return self.cells[self.cell(record.program)] is record

    def move(self, points: dict[str, Point]) -> None:
        """Take other features of all programs, after the way of measuring them changed."""
        self.points = {member.program: points[member.program] for member in self.members}
        self._low, self._high = [0.0, 0.0], [0.0, 0.0]
        columns = list(zip(*self.points.values(), strict=True))
        if columns:
            self._low, self._high = [min(each) for each in columns], [max(each) for each in columns]
        self._refill()

    def cell(self, program: str) -> Cell:
        """Return where a program belongs."""
        x, y = self.points[program]
        return self._bin(x, 0), self._bin(y, 1)

    def near(self, cell: Cell, reach: int = 2) -> list[Record]:
        """Return who holds the cells around one, in the order of the grid; its own holder is left out."""
        x, y = cell
        span = range(-reach, reach + 1)
        around = [(x + i, y + j) for i in span for j in span if i or j]
        return [self.cells[each] for each in around if each in self.cells]

    def _grown(self, point: Point) -> bool:
        if len(self.members) == 1:
            self._low, self._high = list(point), list(point)
            return True
        grown = False
        for index, value in enumerate(point):
            grown |= not self._low[index] <= value <= self._high[index]
            self._low[index] = min(self._low[index], value)
            self._high[index] = max(self._high[index], value)
        return grown

    def _refill(self) -> None:
        self.cells = {}
        for member in self.members:
            self._enter(member)

    def _enter(self, record: Record) -> None:
        cell = self.cell(record.program)
        held = self.cells.get(cell)
        if held is None or _rank(record) < _rank(held):
            self.cells[cell] = record

    def _bin(self, value: float, index: int) -> int:
        low, high = self._low[index], self._high[index]
        share = (value - low) / (high - low) if high > low else 0.5
        return min(int(share * self._bins), self._bins - 1)


def _rank(record: Record) -> tuple[float, int, int]:
    return record.score, record.nodes, record.step
