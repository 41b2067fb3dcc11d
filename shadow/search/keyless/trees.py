"""Syntax trees as search sees them: the places where an expression may be exchanged, and their types.

Everything works on a freshly parsed tree, which is cheaper than copying one, and changes it in place.
"""

from __future__ import annotations

import ast
import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

from ....sdk.language import syntax_tree, walk

ENTRY = "score"
Type = Literal["number", "bool"]
_MATH = ast.Name("math", ast.Load())
_COUNTED = (ast.expr, ast.stmt)


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in a tree that holds an expression.

    Attributes:
        owner: the node that holds it.
        field: name of the owner's field.
        index: position in the field when it is a list, or -1.
        node: what is there.
        type: ``number`` or ``bool``; whatever replaces it has the same.
    """

    owner: ast.AST
    field: str
    index: int
    node: ast.expr
    type: Type

    def put(self, node: ast.expr) -> None:
        """Replace what is there."""
        if self.index < 0:
            setattr(self.owner, self.field, node)
        else:
            getattr(self.owner, self.field)[self.index] = node


def function(tree: ast.Module) -> ast.FunctionDef:
    """Return the score function of a program that passed the language check."""
    return next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == ENTRY
    )


def slots(tree: ast.Module) -> list[Slot]:
    """Return the places of the score function whose expression may be exchanged, outermost first."""
    found: list[Slot] = []
    for statement in function(tree).body:
        _slots(statement, found)
    return found


def _slots(owner: ast.AST, found: list[Slot]) -> None:
    # An operator asks for all places of a tree, and a proposal takes several: plain calls and a list
    # take a third of the time of nested generators.
    for field in _open_fields(type(owner)):
        value = getattr(owner, field, None)
        if isinstance(value, list):
            for index, node in enumerate(value):
                _place(owner, field, index, node, found)
        elif isinstance(value, ast.expr):
            _place(owner, field, -1, value, found)


def _place(owner: ast.AST, field: str, index: int, node: Any, found: list[Slot]) -> None:
    if isinstance(node, ast.expr):
        is_literal = isinstance(node, _LITERAL) and literal(node) is not None
        if is_literal or isinstance(node, EXCHANGEABLE):
            found.append(Slot(owner, field, index, node, type_of(node)))
        if not is_literal and not isinstance(node, CLOSED):
            _slots(node, found)
    elif isinstance(node, ast.stmt):
        _slots(node, found)


def _open_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return the fields of a kind of node that may hold expressions or statements to exchange."""
    if kind not in _OPEN:
        open_ = (name for name in kind._fields if name not in _BARE and (kind, name) not in FIXED)
        _OPEN[kind] = tuple(open_)
    return _OPEN[kind]


_OPEN: dict[type[ast.AST], tuple[str, ...]] = {}
#: Fields that hold operators, contexts, names and values.
_BARE = frozenset({"arg", "attr", "ctx", "id", "kind", "name", "op", "ops", "type_comment"})
#: What may be a numeric literal: with or without a minus.
_LITERAL = (ast.Constant, ast.UnaryOp)


#: What may take another's place.
EXCHANGEABLE = (
    ast.Attribute,
    ast.BinOp,
    ast.BoolOp,
    ast.Call,
    ast.Compare,
    ast.IfExp,
    ast.Name,
    ast.UnaryOp,
)
#: What a comprehension binds is unknown outside of it, so nothing moves in or out.
CLOSED = (ast.Attribute, ast.GeneratorExp, ast.ListComp, ast.Starred)
#: What stays as it is.
FIXED = {
    (ast.Call, "func"),
    (ast.Call, "keywords"),
    (ast.Assign, "targets"),
    (ast.AugAssign, "target"),
    (ast.AnnAssign, "target"),
    (ast.AnnAssign, "annotation"),
    (ast.For, "target"),
    (ast.For, "iter"),
}


def type_of(node: ast.expr) -> Type:
    """Return whether an expression is a truth value or a number."""
    negation = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return "bool" if negation or isinstance(node, ast.Compare | ast.BoolOp) else "number"


def literal(node: ast.expr) -> float | None:
    """Return the value of a numeric literal, signed or not, or None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = literal(node.operand) if isinstance(node.operand, ast.Constant) else None
        return None if inner is None else -inner
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool | str | complex | bytes):
        return None
    return _finite(node.value) if isinstance(node.value, int | float) else None


def _finite(value: float) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond the floats
        return None


def number(value: float) -> ast.expr:
    """Return a literal of four significant digits; a negative one is a minus and a literal."""
    rounded = float(f"{value:.4g}")
    constant = ast.Constant(abs(rounded))
    return ast.UnaryOp(ast.USub(), constant) if rounded < 0 else constant


def name(identifier: str) -> ast.Name:
    """Return a reference to a feature."""
    return ast.Name(identifier, ast.Load())


def call(function_name: str, *arguments: ast.expr) -> ast.Call:
    """Return a call of a built-in, or of ``math`` when the name is ``math.something``."""
    module, _, attribute = function_name.rpartition(".")
    callee = ast.Attribute(_MATH, attribute, ast.Load()) if module else name(function_name)
    return ast.Call(callee, list(arguments), [])


def locals_of(tree: ast.Module) -> set[str]:
    """Return the names that the program itself binds: variables, constants and functions."""
    bound = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return bound | {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def names(node: ast.AST) -> set[str]:
    """Return all names that an expression refers to."""
    return {inner.id for inner in walk(node) if isinstance(inner, ast.Name)}


def size(node: ast.AST) -> int:
    """Return the number of statements and expressions of a tree."""
    return sum(isinstance(inner, _COUNTED) for inner in walk(node))


@functools.lru_cache(4096)
def size_of(source: str) -> int:
    """Return the number of statements and expressions of a source."""
    return size(syntax_tree(source))


def render(tree: ast.Module, inputs: tuple[str, ...]) -> str:
    """Return the source of a changed tree, its parameters and imports brought up to date.

    Docstrings go: what they say of the parent need not hold for the child.

    Args:
        inputs: all names that a score may take, in the kind's order.
    """
    score = function(tree)
    score.body = [statement for statement in score.body if not _is_text(statement)]
    used = set().union(*(names(statement) for statement in score.body))
    kept = [identifier for identifier in inputs if identifier in used] or list(inputs[-1:])
    score.args.args = [ast.arg(identifier) for identifier in kept]
    tree.body = [n for n in tree.body if not isinstance(n, ast.Import) and not _is_text(n)]
    nodes = walk(tree)
    if any(isinstance(node, ast.Name) and node.id == "math" for node in nodes):
        tree.body.insert(0, ast.Import([ast.alias("math")]))
    for node in nodes:
        if isinstance(node, ast.stmt) and not hasattr(node, "lineno"):
            node.lineno = 0  # all that writing a tree out asks of a statement that was made
    return ast.unparse(tree) + "\n"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def wrapped(expression: ast.expr) -> ast.Module:
    """Return the program whose score is one expression."""
    score = syntax_tree(f"def {ENTRY}():\n    return 0.0\n")
    function(score).body = [ast.Return(expression)]
    return score
