"""A policy run as ordinary Python by CPython itself: an oracle that shares nothing with the lowering or the reference.

Where the language says something else than Python, the source is rewritten first, and nowhere else. That is the whole
list of differences:

* every number is a float64: constants, comparisons, ``not`` and the items of ``range`` become floats;
* ``//``, ``%``, ``int``, ``round``, ``floor``, ``ceil`` and ``trunc`` never give a negative zero;
* what rounds must be exact: beyond 2**53 it faults;
* ``**`` is ``math.pow``; ``sum`` adds from the left, starting at 0.0;
* ``range`` takes whole numbers only, up to 2**53;
* an intermediate value that is not finite, an operation that raises, and fuel that runs out are faults.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

WHOLE = 2.0**53


class Faulted(Exception):
    """The policy has no value here."""


class Rewriter(ast.NodeTransformer):
    """Rewrites a checked source by the list above."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = self.block(node.body)
        return node

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Rewrite statements, each of which may become several."""
        made: list[ast.stmt] = []
        for each in statements:
            found = self.visit(each)
            made += found if isinstance(found, list) else [found]
        return made

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return node if isinstance(node.value, str) else ast.Constant(float(node.value))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        return _call("float", self.generic_visit(node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        made = self.generic_visit(node)
        return _call("float", made) if isinstance(node.op, ast.Not) else made

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return self.operation(node.op, node.left, node.right)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target = ast.parse(ast.unparse(node.target), mode="eval").body
        value = ast.BinOp(self.visit(target), node.op, self.visit(node.value))
        return ast.Assign([node.target], self.operation(node.op, value.left, value.right))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return _call("_finite", self.generic_visit(node))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        assert node.value is not None
        return ast.Assign([node.target], self.visit(node.value))

    def visit_For(self, node: ast.For) -> ast.AST:
        node.iter.args = [self.visit(each) for each in node.iter.args]  # type: ignore[attr-defined]
        node.body = self.block(node.body)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.iter.args = [self.visit(each) for each in node.iter.args]  # type: ignore[attr-defined]
        node.ifs = [self.visit(each) for each in node.ifs]
        return node

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def operation(self, operator: ast.operator, left: ast.AST, right: ast.AST) -> ast.AST:
        name = type(operator).__name__
        return ast.Call(ast.Name(f"_{name}", ast.Load()), [left, right], [])  # type: ignore[list-item]


def _call(name: str, node: ast.AST) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [node], [])  # type: ignore[list-item]


def finite(value: Any) -> Any:
    """Return a number that is finite, or fault."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Faulted
    return value


def whole(value: float) -> float:
    """Return a rounded number as the language does: exact, and without a negative zero."""
    if abs(value) > WHOLE:
        raise Faulted
    return float(value) + 0.0


def ranged(*ends: float) -> Iterator[float]:
    """Yield the items of a range of whole numbers."""
    if any(abs(each) > WHOLE or each != math.floor(each) for each in ends):
        raise Faulted
    return map(float, range(*map(int, ends)))


def left_fold(values: Iterable[float]) -> float:
    """Return a sum, added from the left."""
    total = 0.0
    for value in values:
        total = finite(total + value)
    return total


def _rounding(function: Callable[[float], Any]) -> Callable[[float], float]:
    return lambda value: whole(float(function(value)))


NUMBERS: dict[str, Callable[[float, float], float]] = {
    "_Add": lambda x, y: finite(x + y),
    "_Sub": lambda x, y: finite(x - y),
    "_Mult": lambda x, y: finite(x * y),
    "_Div": lambda x, y: finite(x / y),
    "_FloorDiv": lambda x, y: whole(x // y),
    "_Mod": lambda x, y: finite(x % y) + 0.0,
    "_Pow": lambda x, y: finite(math.pow(x, y)),
}


def namespace() -> dict[str, Any]:
    """Return globals for rewritten sources."""
    functions = {name: getattr(math, name) for name in dir(math) if not name.startswith("_")}
    functions |= {name: _rounding(functions[name]) for name in ("ceil", "floor", "trunc")}
    return {
        **NUMBERS,
        "_finite": finite,
        "__builtins__": {},
        "abs": abs,
        "float": float,
        "int": _rounding(int),
        "math": SimpleNamespace(**functions),
        "max": max,
        "min": min,
        "range": ranged,
        "round": _rounding(round),
        "sum": left_fold,
    }


def plain(source: str, entry: str = "score") -> Callable[..., float]:
    """Return a function of a score's own parameters, by name: a float, or an exception for a fault.

    Nothing counts fuel here, so that it may never return where the policy runs out of it.
    """
    tree = ast.fix_missing_locations(Rewriter().visit(ast.parse(source)))
    names = namespace()
    exec(compile(tree, "<plain>", "exec"), names)  # noqa: S102 - of a checked source
    function: Callable[..., float] = names[entry]
    return function


#: What an operation without a value raises in Python.
RAISES = (Faulted, ArithmeticError, ValueError)
