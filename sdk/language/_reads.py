"""Which inputs the first statements of a score are sure to read, so that reading them tests them."""

from __future__ import annotations

import ast

from ._text import children


def leading(statements: list[ast.stmt]) -> int:
    """Return how many statements from the start run one after the other on every path."""
    for index, node in enumerate(statements):
        if isinstance(node, ast.Return):
            return index + 1
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            return index
    return len(statements)


def certain_reads(node: ast.AST) -> set[str]:
    """Return the names that are read whenever a statement or an expression is evaluated."""
    match node:
        case ast.Name():
            return {node.id} if isinstance(node.ctx, ast.Load) else set()
        case ast.AugAssign(target=ast.Name(id=name)):
            return certain_reads(node.value) | {name}
        case ast.IfExp():
            return certain_reads(node.test)
        case ast.BoolOp():
            return certain_reads(node.values[0])
        case ast.Compare():
            return certain_reads(node.left) | certain_reads(node.comparators[0])
        case ast.GeneratorExp():
            return certain_reads(node.generators[0].iter)
    found: set[str] = set()
    for child in children(node):
        found |= certain_reads(child)
    return found
