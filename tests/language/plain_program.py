"""A program run as ordinary Python over numpy arrays: an oracle that shares nothing with the metered tier.

The source is rewritten as for scores, and besides: a row and a slice are copies, an index is a whole number inside, and
an array is written in place. What numpy computes in another order or by other functions (sums, products, powers, ``exp``) is
spelled out here element by element.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .plain import NUMBERS, Faulted, Rewriter, finite, namespace

Array = Any


class ProgramRewriter(Rewriter):
    """Also rewrites what reads and writes arrays."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        names = [ast.Constant(type(each).__name__) for each in node.ops]
        if len(node.ops) == 1:
            return _call("_compare", names[0], node.left, node.comparators[0])
        return _call("float", node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return _call("float", node) if isinstance(node.op, ast.Not) else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        index = self._index(node.slice)
        return _call("_read", node.value, *index) if isinstance(node.ctx, ast.Load) else node

    def _index(self, node: ast.expr) -> list[ast.expr]:
        if isinstance(node, ast.Slice):
            ends = [
                self.visit(each) if each else ast.Constant(None)
                for each in (node.lower, node.upper)
            ]
            return [_call("_slice", *ends)]
        return [self.visit(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])]

    def visit_Assign(self, node: ast.Assign) -> Any:
        if not any(
            isinstance(part, ast.Subscript) for each in node.targets for part in _parts(each)
        ):
            return self.generic_visit(node)
        values = [self.visit(each) for each in _parts(node.value)]
        lines: list[ast.stmt] = []
        names = [f"_v{index}" for index in range(len(values))]
        for name, value in zip(names, values, strict=True):
            lines.append(ast.Assign([ast.Name(name, ast.Store())], value))
        for target in node.targets:
            for name, part in zip(names, _parts(target), strict=True):
                lines.append(self._put(part, ast.Name(name, ast.Load())))
        return lines

    def _put(self, target: ast.expr, value: ast.expr) -> ast.stmt:
        if not isinstance(target, ast.Subscript):
            return ast.Assign([target], value)
        return ast.Expr(_call("_write", target.value, value, *self._index(target.slice)))

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        operation = f"_{type(node.op).__name__}"
        if isinstance(node.target, ast.Subscript):
            index = self._index(node.target.slice)
            value = self.visit(node.value)
            return ast.Expr(
                _call("_update", ast.Name(operation, ast.Load()), node.target.value, value, *index)
            )
        assert isinstance(node.target, ast.Name)
        read = ast.Name(node.target.id, ast.Load())
        value = _call("_augmented", ast.Name(operation, ast.Load()), read, self.visit(node.value))
        return ast.Assign([node.target], value)


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _call(name: str, *arguments: ast.expr) -> Any:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _all_finite(array: Array) -> Array:
    if not np.isfinite(array).all():
        raise Faulted
    return array


def _each(function: Callable[..., float]) -> Callable[..., Any]:
    """Return a function of numbers as one of arrays of one shape, or an array and numbers."""

    def run(*terms: Any) -> Any:
        shapes = {np.shape(term) for term in terms if isinstance(term, np.ndarray)}
        if not shapes:
            return function(*terms)
        if len(shapes) > 1:
            raise Faulted
        lines = np.broadcast_arrays(*terms)
        flat = [
            function(*map(float, each))
            for each in zip(*(line.ravel() for line in lines), strict=True)
        ]
        return _all_finite(np.array(flat, float).reshape(shapes.pop()))

    return run


def _place(value: float, length: int) -> int:
    if value != math.floor(value) or not 0 <= value < length:
        raise Faulted
    return int(value)


def _slice(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    return low, high


def _read(array: Array, *index: Any) -> Any:
    if isinstance(index[0], tuple):
        low, high = index[0]
        end = _place(len(array) if high is None else high, len(array) + 1)
        return array[_place(0.0 if low is None else low, end + 1) : end].copy()
    found = array[tuple(_place(at, length) for at, length in zip(index, array.shape, strict=False))]
    return found.copy() if isinstance(found, np.ndarray) else float(found)


def _write(array: Array, value: Any, *index: Any) -> None:
    if isinstance(index[0], tuple):
        place: Any = slice(None)
    else:
        place = tuple(_place(at, length) for at, length in zip(index, array.shape, strict=False))
    if isinstance(value, np.ndarray) and value.shape != array[place].shape:
        raise Faulted
    array[place] = value


def _update(operation: Callable[..., Any], array: Array, value: Any, *index: Any) -> None:
    _write(array, operation(_read(array, *index), value), *index)


def _augmented(operation: Callable[..., Any], name: Any, value: Any) -> Any:
    result = operation(name, value)
    if isinstance(name, np.ndarray):
        name[:] = result
        return name
    return result


def _fold(array: Array) -> float:
    total = 0.0
    for value in np.ravel(array):
        total = total + float(value)
    return finite(total)


def _some(function: Callable[[Array], Any]) -> Callable[[Array], float]:
    def run(array: Array) -> float:
        if not np.size(array):
            raise Faulted
        return float(function(array))

    return run


def _first(numbers: Callable[..., Any], arrays: Callable[[Array], float]) -> Callable[..., Any]:
    """Return min, max or sum: of an array, or as Python's own."""
    return lambda *terms: arrays(terms[0]) if isinstance(terms[0], np.ndarray) else numbers(*terms)


COMPARE: dict[str, Callable[[float, float], bool]] = {
    "Eq": lambda x, y: x == y, "NotEq": lambda x, y: x != y, "Lt": lambda x, y: x < y,
    "LtE": lambda x, y: x <= y, "Gt": lambda x, y: x > y, "GtE": lambda x, y: x >= y,
}  # fmt: skip


def _sizes(value: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function of lengths, which are whole, and perhaps a value."""

    def run(*terms: float) -> Array:
        return value(*(_place(term, 1 << 53) for term in terms))

    return run


def _bincount(places: Array, *rest: Any) -> Array:
    weights = rest[0] if len(rest) > 1 else np.ones(len(places))
    if len(weights) != len(places):
        raise Faulted
    counts = np.zeros(_place(rest[-1], 1 << 20))
    for place, weight in zip(places, weights, strict=True):
        counts[_place(place, len(counts))] += weight
    return _all_finite(counts)


def _repeat(vector: Array, counts: Array) -> Array:
    if len(vector) != len(counts):
        raise Faulted
    return np.repeat(vector, [_place(each, 1 << 20) for each in counts])


def _dot(left: Array, right: Array) -> Any:
    if left.shape[-1] != len(right):
        raise Faulted
    products = left * right
    return _fold(products) if left.ndim == 1 else np.array([_fold(row) for row in products], float)


def _reshape(vector: Array, rows: float, columns: float) -> Array:
    shape = _place(rows, 1 << 20), _place(columns, 1 << 20)
    if not shape[1] or shape[0] * shape[1] != len(vector):
        raise Faulted
    return vector.reshape(shape).copy()


def _clip(x: float, low: float, high: float) -> float:
    if low > high:
        raise Faulted
    return min(max(x, low), high)


def _places(array: Array, places: Array) -> Array:
    return array[[_place(each, len(array)) for each in places]]


def _listed(choose: Callable[[list[float]], float]) -> Callable[[Array], float]:
    return _some(lambda array: choose(np.ravel(array).tolist()))


def _rows(matrix: Array) -> Array:
    return np.array([_fold(row) for row in matrix], float)


def operations() -> dict[str, Any]:
    """Return globals for rewritten programs."""
    names = namespace()
    each = ("abs", "int", "round")
    functions = vars(names["math"])
    return {
        **names,
        **{name: _each(function) for name, function in NUMBERS.items()},
        **{name: _each(names[name]) for name in each},
        "math": type("math", (), {
            name: staticmethod(_each(found)) if callable(found) else found
            for name, found in functions.items()
        }),
        "_compare": lambda name, x, y: _each(lambda a, b: float(COMPARE[name](a, b)))(x, y),
        "_read": _read, "_write": _write, "_slice": _slice, "_update": _update, "_augmented": _augmented,
        "all": lambda array: float(np.all(array)), "any": lambda array: float(np.any(array)),
        "arange": _sizes(lambda n: np.arange(n, dtype=float)),
        "argmax": _some(np.argmax), "argmin": _some(np.argmin),
        "argsort": lambda v: np.argsort(v, kind="stable").astype(float),
        "bincount": _bincount, "clip": _each(_clip),
        "column": lambda m, index: m[:, _place(index, m.shape[1])].copy(),
        "column_sums": lambda m: _rows(m.T), "concat": lambda v, w: np.concatenate([v, w]),
        "copy": np.copy, "cumsum": lambda v: _all_finite(np.add.accumulate(v)), "dot": _dot,
        "flatten": lambda m: np.ravel(m).copy(), "full": lambda *terms: _made(terms[:-1], terms[-1]),
        "len": lambda array: float(len(array)), "shape0": lambda array: float(len(array)),
        "shape1": lambda m: float(m.shape[1]),
        "max": _first(max, _listed(max)), "min": _first(min, _listed(min)),
        "mean": _some(lambda array: _fold(array) / array.size), "sum": _first(names["sum"], _fold),
        "maximum": _each(max), "minimum": _each(min),
        "nonzero": lambda v: np.flatnonzero(v).astype(float),
        "ones": lambda *sizes: _made(sizes, 1.0), "zeros": lambda *sizes: _made(sizes, 0.0),
        "repeat": _repeat, "reshape": _reshape, "reverse": lambda v: v[::-1].copy(), "row_sums": _rows,
        "sort": lambda v: np.sort(v, kind="stable"), "take": _places,
        "transpose": lambda m: m.T.copy(), "where": _each(lambda test, x, y: x if test != 0.0 else y),
    }  # fmt: skip


def _made(sizes: tuple[float, ...], value: float) -> Array:
    return np.full(tuple(_place(each, 1 << 20) for each in sizes), value)


def plain_program(
    source: str, host: dict[str, Callable[..., Any]], entry: str = "decide"
) -> Callable[..., Any]:
    """Return a program as a function of its own parameters by name: numbers and numpy arrays, written in place."""
    tree = ast.fix_missing_locations(ProgramRewriter().visit(ast.parse(source)))
    names = operations() | {name: _hosted(function) for name, function in host.items()}
    exec(compile(tree, "<plain>", "exec"), names)  # noqa: S102 - of a checked source
    function: Callable[..., Any] = names[entry]
    return function


def _hosted(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*terms: Any) -> Any:
        plain = (each.tolist() if isinstance(each, np.ndarray) else each for each in terms)
        found = function(*plain)
        return _all_finite(np.array(found, float)) if isinstance(found, list) else finite(found)

    return run
