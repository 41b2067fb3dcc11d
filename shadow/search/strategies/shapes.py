"""How alike two programs are, by the pieces of their syntax trees."""

from __future__ import annotations

import ast
import math
from collections import Counter
from functools import lru_cache
from hashlib import blake2b

from ....sdk.language import syntax_tree
from ..keyless.trees import literal, locals_of

Shape = frozenset[int]
#: Steps to a factor of two within which literals count as the same: about a fifth.
_STEPS = 4
_COMMUTATIVE = (ast.Add, ast.Mult)
_LEFT_OUT = {"ctx", "op", "ops", "annotation", "returns", "type_comment"}


@lru_cache(maxsize=1024)
def shape(source: str) -> Shape:
    """Return digests of the pieces of a program, each repetition as a piece of its own.

    Pieces are the nodes, every node with the one that holds it, and all subtrees. Names that the program
    itself binds are all one name, literals are rounded to steps of a fifth, and docstrings, imports and the
    order of addends and factors are gone. Empty for what is no Python.
    """
    try:
        tree = syntax_tree(source)
        pieces = _pieces(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(
        _digest(f"{piece} {n}") for piece, count in pieces.items() for n in range(count)
    )


def likeness(one: Shape, other: Shape) -> float:
    """Return the Jaccard similarity of two shapes, from 0 to 1; 0 when either is empty."""
    if not one or not other:
        return 0.0
    common = len(one & other)
    return common / (len(one) + len(other) - common)


@lru_cache(maxsize=1 << 15)
def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _pieces(tree: ast.Module) -> Counter[str]:
    pieces: Counter[str] = Counter()
    own = locals_of(tree)
    for _, node in _inner(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            _collect(node, "", own, pieces)
    return pieces


def _collect(node: ast.AST, holder: str, own: set[str], pieces: Counter[str]) -> str:
    """Count the pieces of a tree; return its text, the same for all trees that count as one."""
    value = literal(node) if isinstance(node, ast.Constant | ast.UnaryOp) else None
    label = _label(node, own) if value is None else _rounded(value)
    pieces[label] += 1
    pieces[f"{holder}>{label}"] += 1
    if value is not None:  # a literal and its sign are one
        return label
    inner = _inner(node)
    if not inner:
        return label
    parts = [f"{at}={_collect(each, f'{label}.{at}', own, pieces)}" for at, each in inner]
    if _commutes(node):
        parts.sort()
    text = f"{label}({','.join(parts)})"
    text = text if len(text) < 256 else f"#{_digest(text):x}"
    pieces[text] += 1
    return text


def _inner(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return what a node holds, with where it holds it."""
    found: list[tuple[str, ast.AST]] = []
    for field in node._fields:
        if field in _LEFT_OUT:
            continue
        value = getattr(node, field, None)
        if isinstance(value, ast.AST):
            found.append((field, value))
        elif isinstance(value, list):
            found += [
                (field, each) for each in value if isinstance(each, ast.AST) and not _is_text(each)
            ]
    return [("", each) for _, each in found] if _commutes(node) else found


def _commutes(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, _COMMUTATIVE)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _label(node: ast.AST, own: set[str]) -> str:
    if isinstance(node, ast.Name):
        return "%" if node.id in own else node.id
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.AugAssign):
        return type(node.op).__name__
    if isinstance(node, ast.Compare):
        return " ".join(type(op).__name__ for op in node.ops)
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    return repr(node.value) if isinstance(node, ast.Constant) else type(node).__name__


def _rounded(value: float) -> str:
    sign = "-" if value < 0 else "+"
    return "0" if value == 0.0 else f"{sign}{round(_STEPS * math.log2(abs(value)))}"
