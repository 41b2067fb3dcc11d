"""Take out of a program what changes nothing: operations on literals, neutral elements, equal branches."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

from .trees import literal

_FOLDED: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
# (operation, literal on the right) that leave the left operand as it is.
_NEUTRAL_RIGHT = {(ast.Add, 0.0), (ast.Sub, 0.0), (ast.Mult, 1.0), (ast.Div, 1.0), (ast.Pow, 1.0)}
_NEUTRAL_LEFT = {(ast.Add, 0.0), (ast.Mult, 1.0)}


class Simplifier(ast.NodeTransformer):
    """Rewrites a tree bottom-up; the rewritten program gives the same scores."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """Fold literals and drop neutral elements."""
        self.generic_visit(node)
        left, right = literal(node.left), literal(node.right)
        if left is not None and right is not None:
            return _folded(node, left, right)
        if right is not None and (type(node.op), right) in _NEUTRAL_RIGHT:
            return node.left
        if left is not None and (type(node.op), left) in _NEUTRAL_LEFT:
            return node.right
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """Drop a double minus."""
        self.generic_visit(node)
        inner = node.operand
        if isinstance(node.op, ast.USub) and isinstance(inner, ast.UnaryOp):
            return inner.operand if isinstance(inner.op, ast.USub) else node
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        """Drop a choice between equals."""
        self.generic_visit(node)
        return node.body if ast.dump(node.body) == ast.dump(node.orelse) else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Drop ``min`` and ``max`` of equals and ``abs`` of ``abs``."""
        self.generic_visit(node)
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in {"min", "max"} and len(node.args) == 2 and _alike(*node.args):
            return node.args[0]
        if called == "abs" and _is_abs(node.args[0]):
            return node.args[0]
        return node


def simplified(tree: ast.Module) -> ast.Module:
    """Return the tree, rewritten in place."""
    rewritten = Simplifier().visit(tree)
    assert isinstance(rewritten, ast.Module)
    return rewritten


def _folded(node: ast.BinOp, left: float, right: float) -> ast.expr:
    fold = _FOLDED.get(type(node.op))
    if fold is None or (isinstance(node.op, ast.Div) and right == 0.0):
        return node
    value = fold(left, right)
    if not math.isfinite(value):
        return node
    constant = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), constant) if value < 0 else constant


def _alike(left: ast.expr, right: ast.expr) -> bool:
    return ast.dump(left) == ast.dump(right)


def _is_abs(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs"
