"""The operations on arrays for lowered text: copies in, a fresh array or a number out, all paid for.

An operation costs a flat amount of fuel, one unit for each element of its array arguments and one for each element
that it makes (``sort`` and ``argsort``: the former times the bits of the length; ``//`` and ``%``: times twenty). Sums are left folds: the built-in compensates on some versions.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import accumulate, compress, count, repeat
from typing import Any

from ._array_table import OPERATION_FUEL
from ._arrays import Matrix, Term, Vector, copy_of, elements, size
from ._names import MATH, REMAINDER_FUEL, WHOLE_LIMIT
from ._runtime import namespace

#: Names of the lowered operations on two arrays, or an array and a number.
BINARY: dict[type[ast.operator], str] = {
    ast.Add: "_e_add",
    ast.Sub: "_e_sub",
    ast.Mult: "_e_mul",
    ast.Div: "_e_div",
    ast.FloorDiv: "_e_floordiv",
    ast.Mod: "_e_mod",
    ast.Pow: "_e_pow",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "_e_eq",
    ast.NotEq: "_e_ne",
    ast.Lt: "_e_lt",
    ast.LtE: "_e_le",
    ast.Gt: "_e_gt",
    ast.GtE: "_e_ge",
}

Number = Callable[..., float]


class Faulted(Exception):
    """The program has no answer; the reference tier says why."""


class Meter:
    """What is left of a call's fuel and elements.

    A name holds as many elements as the largest array that it was ever given; what all names hold
    together is limited. An array without a name is limited by what they leave, and lives no longer
    than its statement.
    """

    __slots__ = ("_held", "elements", "fuel", "given")

    def __init__(self, fuel: int, elements: int, given: Mapping[str, Term]) -> None:
        self.fuel = fuel
        self.elements = elements
        self.given = given  # the call's own arguments, for operations that the host hands them to
        self._held: dict[str, int] = {}

    def pay(self, fuel: int) -> None:
        """Charge fuel."""
        self.fuel -= fuel
        if self.fuel < 0:
            raise Faulted

    def room(self, number: int) -> None:
        """Fault before so many elements are made, where they could not be paid for."""
        if number > self.fuel or number > self.elements:
            raise Faulted

    def make(self, number: int) -> None:
        """Charge fuel for elements that were made."""
        self.room(number)
        self.fuel -= number

    def hold(self, name: str, array: Vector) -> None:
        """Charge a name for its array."""
        number, before = size(array), self._held.get(name, 0)
        if number > before:
            self.room(number - before)
            self.elements -= number - before
            self._held[name] = number


# elementwise


def _finite(values: Vector) -> Vector:
    if not all(map(math.isfinite, values)):
        raise Faulted
    return values


def _line(function: Number, *columns: Iterable[float]) -> Vector:
    try:
        return _finite(list(map(function, *columns)))
    except (ZeroDivisionError, OverflowError, ValueError):
        raise Faulted from None


def _columns(terms: tuple[Term, ...]) -> int | None:
    """Return the columns of the matrices among terms; None for vectors. Fault unless shapes agree."""
    shapes = {
        (len(term), term.columns if isinstance(term, Matrix) else None)
        for term in terms
        if isinstance(term, list)
    }
    if len(shapes) != 1:
        raise Faulted
    return shapes.pop()[1]


def _elementwise(function: Number, fuel: int = 1) -> Callable[..., Term]:
    def run(meter: Meter, *terms: Term) -> Term:
        total = sum(map(size, terms))
        meter.pay(OPERATION_FUEL + fuel * total)
        columns = _columns(terms)
        lines: list[Any] = [term if isinstance(term, list) else repeat(term) for term in terms]
        if columns is None:
            vector = _line(function, *lines)
            meter.make(len(vector))
            return vector
        rows = zip(*(line if isinstance(line, Matrix) else repeat(line) for line in lines))
        matrix = Matrix((_line(function, *row) for row in rows), columns)
        meter.make(size(matrix))
        return matrix

    return run


def _floordiv(x: float, y: float) -> float:
    whole = x // y + 0.0
    return whole if -WHOLE_LIMIT <= whole <= WHOLE_LIMIT else math.nan


def _where(test: float, x: float, y: float) -> float:
    return x if test != 0.0 else y


def _clip(x: float, low: float, high: float) -> float:
    if low > high:
        raise Faulted
    return min(max(x, low), high)


_ELEMENTWISE: dict[str, Any] = {
    "_e_add": operator.add,
    "_e_sub": operator.sub,
    "_e_mul": operator.mul,
    "_e_div": operator.truediv,
    "_e_floordiv": _floordiv,
    "_e_mod": lambda x, y: x % y + 0.0,
    "_e_pow": math.pow,
    "_e_eq": lambda x, y: 1.0 if x == y else 0.0,
    "_e_ne": lambda x, y: 1.0 if x != y else 0.0,
    "_e_lt": lambda x, y: 1.0 if x < y else 0.0,
    "_e_le": lambda x, y: 1.0 if x <= y else 0.0,
    "_e_gt": lambda x, y: 1.0 if x > y else 0.0,
    "_e_ge": lambda x, y: 1.0 if x >= y else 0.0,
    "_negated": operator.neg,
    "_o_minimum": min,
    "_o_maximum": max,
    "_o_where": _where,
    "_o_clip": _clip,
    "_each_abs": abs,
}


_REMAINDERS = ("_e_floordiv", "_e_mod")


# parts of arrays


def _whole(value: float, limit: float) -> int:
    """Return a whole number from 0 to below a limit, or fault."""
    if not 0.0 <= value < limit or value % 1.0 != 0.0:
        raise Faulted
    return int(value)


def _row(meter: Meter, matrix: Matrix, index: int) -> Vector:
    meter.make(matrix.columns)
    return matrix[index].copy()


def _slice(meter: Meter, vector: Vector, low: float, high: float) -> Vector:
    stop = _whole(high, len(vector) + 1)
    start = _whole(low, stop + 1)
    meter.make(stop - start)
    return vector[start:stop]


def _put_row(meter: Meter, matrix: Matrix, index: int, value: float | Vector) -> None:
    meter.pay(matrix.columns)
    row: Vector = value.copy() if isinstance(value, list) else [value] * matrix.columns
    if len(row) != matrix.columns:
        raise Faulted
    matrix[index] = row


def _put_all(meter: Meter, array: Vector | Matrix, value: Term) -> None:
    meter.pay(size(array))
    if isinstance(array, Matrix):
        rows = value if isinstance(value, Matrix) else None
        if rows is not None and (len(rows), rows.columns) != (len(array), array.columns):
            raise Faulted
        for index in range(len(array)):
            array[index] = rows[index].copy() if rows is not None else [value] * array.columns  # type: ignore[list-item]
        return
    line = value if isinstance(value, list) else [value] * len(array)
    if len(line) != len(array):
        raise Faulted
    array[:] = line  # type: ignore[assignment]


# arrays made from numbers


def _full(meter: Meter, *sizes_and_value: float) -> Vector | Matrix:
    *sizes, value = sizes_and_value
    shape = [_whole(length, WHOLE_LIMIT) for length in sizes]
    meter.room(math.prod(max(length, 1) for length in shape))
    if len(shape) == 1:
        return [value] * shape[0]
    return Matrix(([value] * shape[1] for _ in range(shape[0])), shape[1])


def _zeros(meter: Meter, *sizes: float) -> Vector | Matrix:
    return _full(meter, *sizes, 0.0)


def _ones(meter: Meter, *sizes: float) -> Vector | Matrix:
    return _full(meter, *sizes, 1.0)


def _arange(meter: Meter, length: float) -> Vector:
    stop = _whole(length, WHOLE_LIMIT)
    meter.room(stop)
    return list(map(float, range(stop)))


def _bincount(meter: Meter, places: Vector, *rest: float | Vector) -> Vector:
    *weights, length = rest
    assert isinstance(length, float)
    number = _whole(length, WHOLE_LIMIT)
    meter.room(number)
    added = weights[0] if weights else [1.0] * len(places)
    if not isinstance(added, list) or len(added) != len(places):
        raise Faulted
    counts = [0.0] * number
    for place, weight in zip(places, added, strict=True):
        counts[_whole(place, number)] += weight
    return _finite(counts)


def _repeat(meter: Meter, vector: Vector, counts: Vector) -> Vector:
    if len(vector) != len(counts):
        raise Faulted
    times = [_whole(number, WHOLE_LIMIT) for number in counts]
    meter.room(sum(times))
    return [value for value, number in zip(vector, times, strict=True) for _ in range(number)]


def _take(meter: Meter, array: Vector | Matrix, places: Vector) -> Vector | Matrix:
    indices = [_whole(place, len(array)) for place in places]
    if isinstance(array, Matrix):
        meter.room(len(indices) * array.columns)
        return Matrix((array[index].copy() for index in indices), array.columns)
    return [array[index] for index in indices]


# arrays made from arrays


def _argsort(vector: Vector) -> Vector:
    return list(map(float, sorted(range(len(vector)), key=vector.__getitem__)))


def _dot(left: Vector | Matrix, right: Vector) -> float | Vector:
    if isinstance(left, Matrix):
        if left.columns != len(right):
            raise Faulted
        return _finite([reduce(operator.add, map(operator.mul, row, right), 0.0) for row in left])
    if len(left) != len(right):
        raise Faulted
    return reduce(operator.add, map(operator.mul, left, right), 0.0)


def _reshape(vector: Vector, rows: float, columns: float) -> Matrix:
    wide = _whole(columns, WHOLE_LIMIT)
    if not wide or _whole(rows, WHOLE_LIMIT) * wide != len(vector):
        raise Faulted
    return Matrix((vector[start : start + wide] for start in range(0, len(vector), wide)), wide)


def _column(matrix: Matrix, index: float) -> Vector:
    place = _whole(index, matrix.columns)
    return [row[place] for row in matrix]


def _transpose(matrix: Matrix) -> Matrix:
    return Matrix(([row[index] for row in matrix] for index in range(matrix.columns)), len(matrix))


def _column_sums(matrix: Matrix) -> Vector:
    return _finite([_sum(list(column)) for column in _transpose(matrix)])


def _number(array: Vector | Matrix) -> int:
    return len(array) * (array.columns if isinstance(array, Matrix) else 1)


def _sum(array: Vector | Matrix) -> float:
    return reduce(operator.add, elements(array), 0.0)


def _mean(array: Vector | Matrix) -> float:
    return _sum(array) / _number(array) if _number(array) else math.nan


def _extreme(choose: Callable[[Iterable[float]], float]) -> Callable[[Vector | Matrix], float]:
    return lambda array: choose(elements(array)) if _number(array) else math.nan


def _place_of(choose: Callable[[Iterable[float]], float]) -> Callable[[Vector], float]:
    return lambda vector: float(vector.index(choose(vector))) if vector else math.nan


def _truth(test: Callable[[Iterable[object]], bool]) -> Callable[[Term], float]:
    return lambda array: 1.0 if test(elements(array)) else 0.0


_FROM_NUMBERS: dict[str, Callable[..., Term]] = {
    "arange": _arange,
    "bincount": _bincount,
    "full": _full,
    "ones": _ones,
    "repeat": _repeat,
    "take": _take,
    "zeros": _zeros,
}
_FROM_ARRAYS: dict[str, Callable[..., Term]] = {
    "all": _truth(all),
    "any": _truth(any),
    "argmax": _place_of(max),
    "argmin": _place_of(min),
    "argsort": _argsort,
    "column": _column,
    "column_sums": _column_sums,
    "concat": operator.add,
    "copy": copy_of,
    "cumsum": lambda vector: _finite(list(accumulate(vector))),
    "dot": _dot,
    "flatten": lambda matrix: list(elements(matrix)),
    "max": _extreme(max),
    "mean": _mean,
    "min": _extreme(min),
    "nonzero": lambda vector: list(map(float, compress(count(), vector))),
    "reshape": _reshape,
    "reverse": lambda vector: vector[::-1],
    "row_sums": lambda matrix: _finite([_sum(row) for row in matrix]),
    "sort": sorted,
    "sum": _sum,
    "transpose": _transpose,
}
_SORTS = frozenset({"argsort", "sort"})


def _paid(name: str) -> Callable[..., Term]:
    allocates = name in _FROM_NUMBERS
    function: Callable[..., Any] = _FROM_NUMBERS[name] if allocates else _FROM_ARRAYS[name]
    sorts = name in _SORTS

    def run(meter: Meter, *terms: Term) -> Term:
        total = sum(map(size, terms))
        meter.pay(OPERATION_FUEL + (total * total.bit_length() if sorts else total))
        result: Term = function(meter, *terms) if allocates else function(*terms)
        if isinstance(result, list):
            meter.make(size(result))
        elif not math.isfinite(result):
            raise Faulted
        return result

    return run


def _each() -> dict[str, Callable[..., Term]]:
    helpers = namespace()
    helpers |= {"_fabs": abs, "_int": helpers["_trunc"]}
    names = [name for name, arity in MATH.items() if arity == 1]
    return {f"_each_{name}": _elementwise(helpers[f"_{name}"]) for name in [*names, "int", "round"]}


def array_namespace() -> dict[str, Any]:
    """Return fresh globals for a lowered program; they hold nothing but helpers and operations."""
    names: dict[str, Any] = namespace() | _each()
    names |= {name: _elementwise(function) for name, function in _ELEMENTWISE.items()}
    names |= {name: _elementwise(_ELEMENTWISE[name], REMAINDER_FUEL) for name in _REMAINDERS}
    names |= {f"_o_{name}": _paid(name) for name in [*_FROM_NUMBERS, *_FROM_ARRAYS]}
    names |= {"_row": _row, "_slice": _slice, "_put_row": _put_row, "_put_all": _put_all}
    names["_Fault"] = Faulted
    names["__builtins__"] |= {"len": len}
    return names
