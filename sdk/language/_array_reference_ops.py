"""What each operation on arrays means, element by element, over flat cells with a shape."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ._interpret import Fault
from ._names import WHOLE_LIMIT


@dataclass(slots=True)
class Grid:
    """An array.

    Attributes:
        cells: elements in row-major order.
        shape: one length, or rows and columns.
    """

    cells: list[float]
    shape: tuple[int, ...]

    @property
    def charge(self) -> int:
        """Elements that it is charged for: one row and one column of a matrix at least."""
        if len(self.shape) == 1:
            return self.shape[0]
        return max(self.shape[0], 1) * max(self.shape[1], 1)

    def span(self, indices: list[float], reading: Reading) -> tuple[int, int | None]:
        """Return where an index points: to one cell, or to a row of some length."""
        first = reading.whole(indices[0], self.shape[0], "index")
        if len(self.shape) == 1:
            return first, None
        if len(indices) == 1:
            return first * self.shape[1], self.shape[1]
        return first * self.shape[1] + reading.whole(indices[1], self.shape[1], "index"), None

    def row(self, index: int) -> list[float]:
        """Return one row's elements."""
        return self.cells[index * self.shape[1] : (index + 1) * self.shape[1]]


Term: TypeAlias = float | Grid
Room = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """The place in the source that is being evaluated, for faults."""

    node: ast.AST

    def refuse(self, reason: str) -> Fault:
        """Return the fault to raise."""
        return Fault(reason, self.node)

    def whole(self, value: float, limit: float, what: str) -> int:
        """Return a whole number from 0 to below a limit."""
        if value != math.floor(value):
            raise self.refuse(f"{what} {value!r} is not whole")
        if value < 0 or value >= limit:
            raise self.refuse(f"{what} {int(value)} out of range; there are {int(limit)}")
        return int(value)

    def length(self, value: float) -> int:
        """Return a whole number that can be a length."""
        return self.whole(value, WHOLE_LIMIT, "length")


def apply_each(function: Callable[..., float], terms: list[Term], reading: Reading) -> Grid:
    """Apply a function of numbers to all elements of arrays of one shape, numbers repeated."""
    shapes = [term.shape for term in terms if isinstance(term, Grid)]
    if any(shape != shapes[0] for shape in shapes):
        raise reading.refuse(f"shapes differ: {' and '.join(map(str, shapes))}")
    cells = []
    for index in range(math.prod(shapes[0])):
        values = [term.cells[index] if isinstance(term, Grid) else term for term in terms]
        cells.append(function(*values))
        if not math.isfinite(cells[-1]):
            raise reading.refuse("overflow")
    return Grid(cells, shapes[0])


def operate(name: str, terms: list[Term], reading: Reading, room: Room) -> Term:
    """Return what an operation gives, or raise Fault."""
    if name in _FROM_NUMBERS:
        return _FROM_NUMBERS[name](reading, room, *terms)
    if name in _EACH:
        return apply_each(_EACH[name](reading), terms, reading)
    return _FROM_ARRAYS[name](reading, *terms)


def _vector(cells: list[float]) -> Grid:
    return Grid(cells, (len(cells),))


# made from numbers


def _full(reading: Reading, room: Room, *terms: float) -> Grid:
    shape = tuple(reading.length(length) for length in terms[:-1])
    room(Grid([], shape).charge)
    return Grid([terms[-1]] * math.prod(shape), shape)


def _arange(reading: Reading, room: Room, length: float) -> Grid:
    stop = reading.length(length)
    room(stop)
    return _vector([float(index) for index in range(stop)])


def _bincount(reading: Reading, room: Room, places: Grid, *rest: Grid | float) -> Grid:
    length = rest[-1]
    assert isinstance(length, float)
    number = reading.length(length)
    room(number)
    weights = rest[0] if len(rest) == 2 else None
    if isinstance(weights, Grid) and weights.shape != places.shape:
        raise reading.refuse(f"shapes differ: {places.shape} and {weights.shape}")
    cells = [0.0] * number
    for index, place in enumerate(places.cells):
        at = reading.whole(place, number, "bin")
        cells[at] = cells[at] + (weights.cells[index] if isinstance(weights, Grid) else 1.0)
    if not all(math.isfinite(cell) for cell in cells):
        raise reading.refuse("overflow")
    return _vector(cells)


def _repeat(reading: Reading, room: Room, array: Grid, counts: Grid) -> Grid:
    if array.shape != counts.shape:
        raise reading.refuse(f"shapes differ: {array.shape} and {counts.shape}")
    times = [reading.length(number) for number in counts.cells]
    room(sum(times))
    cells: list[float] = []
    for cell, number in zip(array.cells, times, strict=True):
        cells.extend([cell] * number)
    return _vector(cells)


def _take(reading: Reading, room: Room, array: Grid, places: Grid) -> Grid:
    chosen = [reading.whole(place, array.shape[0], "index") for place in places.cells]
    if len(array.shape) == 1:
        return _vector([array.cells[index] for index in chosen])
    shape = (len(chosen), array.shape[1])
    room(math.prod(shape))
    return Grid([cell for index in chosen for cell in array.row(index)], shape)


# made from arrays


def _empty(reading: Reading, name: str, array: Grid) -> None:
    if not array.cells:
        raise reading.refuse(f"{name} of nothing")


def _best(name: str, *, first: Callable[[float, float], bool], place: bool) -> Callable[..., float]:
    def find(reading: Reading, array: Grid) -> float:
        _empty(reading, name, array)
        at = 0
        for index, cell in enumerate(array.cells):
            if first(cell, array.cells[at]):
                at = index
        return float(at) if place else array.cells[at]

    return find


def _order(array: Grid) -> list[int]:
    return [index for _, index in sorted((cell, index) for index, cell in enumerate(array.cells))]


def _total(reading: Reading, cells: list[float]) -> float:
    total = 0.0
    for cell in cells:
        total += cell
        if not math.isfinite(total):
            raise reading.refuse("overflow")
    return total


def _mean(reading: Reading, array: Grid) -> float:
    _empty(reading, "mean", array)
    return _total(reading, array.cells) / len(array.cells)


def _cumsum(reading: Reading, array: Grid) -> Grid:
    # A first element of -0.0 stays one, unlike in a sum, which starts at 0.0.
    cells: list[float] = []
    for index, cell in enumerate(array.cells):
        cells.append(cells[-1] + cell if index else cell)
        if not math.isfinite(cells[-1]):
            raise reading.refuse("overflow")
    return _vector(cells)


def _dot(reading: Reading, left: Grid, right: Grid) -> Term:
    if left.shape[-1] != right.shape[0]:
        raise reading.refuse(f"shapes do not fit: {left.shape} and {right.shape}")
    rows = [left.cells] if len(left.shape) == 1 else map(left.row, range(left.shape[0]))
    sums = [_total(reading, [x * y for x, y in zip(row, right.cells, strict=True)]) for row in rows]
    return sums[0] if len(left.shape) == 1 else _vector(sums)


def _reshape(reading: Reading, array: Grid, rows: float, columns: float) -> Grid:
    shape = reading.length(rows), reading.length(columns)
    if not shape[1] or math.prod(shape) != len(array.cells):
        raise reading.refuse(f"{len(array.cells)} elements do not make {shape[0]} x {shape[1]}")
    return Grid(list(array.cells), shape)


def _columns(array: Grid) -> list[list[float]]:
    rows, columns = array.shape
    return [[array.cells[row * columns + at] for row in range(rows)] for at in range(columns)]


def _column(reading: Reading, array: Grid, index: float) -> Grid:
    return _vector(_columns(array)[reading.whole(index, array.shape[1], "index")])


def _transpose(reading: Reading, array: Grid) -> Grid:
    cells = [cell for column in _columns(array) for cell in column]
    return Grid(cells, (array.shape[1], array.shape[0]))


def _row_sums(reading: Reading, array: Grid) -> Grid:
    return _vector([_total(reading, array.row(index)) for index in range(array.shape[0])])


def _clip(reading: Reading) -> Callable[[float, float, float], float]:
    def clip(cell: float, low: float, high: float) -> float:
        if low > high:
            raise reading.refuse(f"clip from {low!r} to {high!r}")
        if cell < low:
            return low
        return min(cell, high)

    return clip


_EACH: dict[str, Callable[[Reading], Callable[..., float]]] = {
    "clip": _clip,
    "maximum": lambda reading: max,
    "minimum": lambda reading: min,
    "where": lambda reading: lambda test, x, y: x if test else y,
}
_FROM_NUMBERS: dict[str, Callable[..., Grid]] = {
    "arange": _arange,
    "bincount": _bincount,
    "full": _full,
    "ones": lambda reading, room, *sizes: _full(reading, room, *sizes, 1.0),
    "repeat": _repeat,
    "take": _take,
    "zeros": lambda reading, room, *sizes: _full(reading, room, *sizes, 0.0),
}
_FROM_ARRAYS: dict[str, Callable[..., Term]] = {
    "all": lambda reading, array: float(0.0 not in array.cells),
    "any": lambda reading, array: float(any(cell != 0.0 for cell in array.cells)),
    "argmax": _best("argmax", first=lambda x, y: x > y, place=True),
    "argmin": _best("argmin", first=lambda x, y: x < y, place=True),
    "argsort": lambda reading, array: _vector([float(index) for index in _order(array)]),
    "column": _column,
    "column_sums": lambda reading, array: _vector(
        [_total(reading, column) for column in _columns(array)]
    ),
    "concat": lambda reading, left, right: _vector(left.cells + right.cells),
    "copy": lambda reading, array: Grid(list(array.cells), array.shape),
    "cumsum": _cumsum,
    "dot": _dot,
    "flatten": lambda reading, array: _vector(list(array.cells)),
    "len": lambda reading, array: float(array.shape[0]),
    "max": _best("max", first=lambda x, y: x > y, place=False),
    "mean": _mean,
    "min": _best("min", first=lambda x, y: x < y, place=False),
    "nonzero": lambda reading, array: _vector(
        [float(index) for index, cell in enumerate(array.cells) if cell != 0.0]
    ),
    "reshape": _reshape,
    "reverse": lambda reading, array: _vector([*reversed(array.cells)]),
    "row_sums": _row_sums,
    "shape0": lambda reading, array: float(array.shape[0]),
    "shape1": lambda reading, array: float(array.shape[1]),
    "sort": lambda reading, array: _vector([array.cells[index] for index in _order(array)]),
    "sum": lambda reading, array: _total(reading, array.cells),
    "transpose": _transpose,
}
