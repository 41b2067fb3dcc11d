"""How alike two programs are, by the pieces of their syntax trees."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from ...sdk.language import syntax_tree
from .trees import literal, locals_of

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
    label = _label(node, own)
    pieces[label] += 1
    pieces[f"{holder}>{label}"] += 1
    inner = _inner(node)
    parts = [f"{at}={_collect(each, f'{label}.{at}', own, pieces)}" for at, each in inner]
    if not parts:
        return label
    if _commutes(node):
        parts.sort()
    text = f"{label}({','.join(parts)})"
    text = text if len(text) < 256 else f"#{_digest(text):x}"
    pieces[text] += 1
    return text


def _inner(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """Return what a node holds, with where it holds it; a literal and its sign are one."""
    if isinstance(node, ast.expr) and literal(node) is not None:
        return []
    commutes = _commutes(node)
    return [
        ("" if commutes else field, each)
        for field, value in ast.iter_fields(node)
        if field not in _LEFT_OUT
        for each in (value if isinstance(value, list) else (value,))
        if isinstance(each, ast.AST) and not _is_text(each)
    ]


def _commutes(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, _COMMUTATIVE)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _label(node: ast.AST, own: set[str]) -> str:
    return next(_labels(node, own), type(node).__name__)


def _labels(node: ast.AST, own: set[str]) -> Iterator[str]:
    value = literal(node) if isinstance(node, ast.expr) else None
    if value is not None:
        yield _rounded(value)
    elif isinstance(node, ast.Name):
        yield "%" if node.id in own else node.id
    elif isinstance(node, ast.Constant):
        yield repr(node.value)
    elif isinstance(node, ast.Attribute):
        yield f".{node.attr}"
    elif isinstance(node, ast.Compare):
        yield " ".join(type(op).__name__ for op in node.ops)
    elif isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.AugAssign):
        yield type(node.op).__name__


def _rounded(value: float) -> str:
    sign = "-" if value < 0 else "+"
    return "0" if value == 0.0 else f"{sign}{round(_STEPS * math.log2(abs(value)))}"
