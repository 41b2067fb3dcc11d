"""What the program form allows beyond the score form: indexing, operations on arrays, procedures."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ._array_table import ARRAY_RESERVED, OPERATIONS, arities
from ._grammar import Grammar, Outline, bound_names, refuse
from ._names import FOLDS

_DISPLAYS = (ast.Tuple, ast.List, ast.GeneratorExp)


def check_names(found: Outline, operations: Mapping[str, object]) -> None:
    """Refuse a source that binds the name of an operation, the host's included."""
    named: list[tuple[str, ast.AST]] = [*found.constants.items(), *found.functions.items()]
    for function in found.functions.values():
        named += bound_names(function).items()
    for name, node in named:
        if name in ARRAY_RESERVED or name in operations:
            refuse(node, f"'{name}' is built in and may not be bound")


class ArrayGrammar(Grammar):
    """Visits one function's statements.

    Args:
        found: the source's top level.
        locals_: names that the function binds.
        host: number of arguments of the host's operations, by name.
    """

    def __init__(self, found: Outline, locals_: frozenset[str], host: Mapping[str, int]) -> None:
        super().__init__(found, locals_)
        self._host = host

    # statements

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            refuse(node, "an expression is no statement; only a call of a helper is")
        if call.func.id not in self._found.functions:
            refuse(node, f"the value of '{call.func.id}' is not used; assign it to a name")
        self.visit(call)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Subscript):
            super().visit_AugAssign(node)
            return
        if isinstance(node.target.slice, ast.Slice):
            refuse(node, "a slice is no target of an augmented assignment; write a += b")
        self.visit(ast.copy_location(ast.BinOp(node.target, node.op, node.value), node))

    # expressions

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.value, ast.Name):
            refuse(node, "only a named array can be indexed; write a[i, j] instead of a[i][j]")
        self.visit(node.value)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not 1 <= len(parts) <= 2:
            refuse(node, "an array has one or two indices")
        for part in parts:
            self._index(part, alone=len(parts) == 1)

    # parts

    def _index(self, node: ast.expr, *, alone: bool) -> None:
        if isinstance(node, ast.Slice):
            if not alone or node.step is not None:
                refuse(node, "a slice is a[low:high] of a vector; rows are m[i], column(m, j)")
            self._each([part for part in (node.lower, node.upper) if part is not None])
            return
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            refuse(node, "a negative index; count from the start, as in a[len(a) - 1]")
        self.visit(node)

    def _target(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple):
            if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
                refuse(target, "a tuple is unpacked from a tuple display of the same length")
            for element in target.elts:
                self._place(element)
        elif isinstance(value, ast.Tuple):
            refuse(value, "a tuple is no value; arrays are made by zeros, full, arange, …")
        else:
            self._place(target)

    def _place(self, target: ast.expr) -> None:
        if not isinstance(target, ast.Subscript):
            self._name(target)
            return
        self.visit(target)
        part = target.slice
        if isinstance(part, ast.Slice) and (part.lower is not None or part.upper is not None):
            refuse(target, "a part of a vector is written by index; only a[:] is written whole")

    def _named_call(self, node: ast.Call, name: str) -> None:
        if name in self._host:
            self._arity(node, name, self._host[name], self._host[name])
            self._each(node.args)
        elif name in OPERATIONS and not self._folds_numbers(node, name):
            if len(node.args) not in arities(name):
                wanted = " or ".join(map(str, sorted(arities(name))))
                refuse(node, f"{name} takes {wanted} arguments, not {len(node.args)}")
            self._each(node.args)
        else:
            super()._named_call(node, name)

    def _folds_numbers(self, node: ast.Call, name: str) -> bool:
        return name in FOLDS and (len(node.args) != 1 or isinstance(node.args[0], _DISPLAYS))
