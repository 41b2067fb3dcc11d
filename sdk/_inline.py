"""Short functions of the service as text, so that generated code can hold them instead of calling them.

A call costs more than three attributes. A lambda, or a function of one ``return``, is taken over only
where its source is at hand and compiles to the very code that the function runs; otherwise it is
called. The expression is Python's own either way and means the same.
"""

from __future__ import annotations

import ast
import builtins
import copy
import inspect
import linecache
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

#: Nodes that mean the same wherever the expression stands; none of them binds a name.
_PLAIN = (
    ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.IfExp, ast.Name,
    ast.Subscript, ast.Tuple, ast.UnaryOp, ast.keyword,
)  # fmt: skip
_BUILTINS = frozenset({"abs", "bool", "float", "int", "len", "max", "min", "round", "str", "sum"})


@dataclass(frozen=True, slots=True)
class Inlined:
    """An expression ready to stand in generated text.

    Attributes:
        text: of the whole expression.
        elements: text of each element where it is a tuple written out; else None.
        space: names that the text refers to, beside the parameters.
    """

    text: str
    elements: tuple[str, ...] | None
    space: Mapping[str, Any]


def inlined(function: Any, parameters: Sequence[str], prefix: str) -> Inlined | None:
    """Return what a function computes as an expression over other names, or None to call it.

    Args:
        function: of the service.
        parameters: the names that stand for its parameters, in order.
        prefix: of the names in ``space``; different for each function in one text.
    """
    if not isinstance(function, FunctionType) or not _simple(function, len(parameters)):
        return None
    try:
        return _taken_over(function, parameters, prefix)
    except RecursionError:  # an expression of hundreds of terms
        return None


def _taken_over(function: FunctionType, parameters: Sequence[str], prefix: str) -> Inlined | None:
    node = _expression(function)
    if node is None or not all(isinstance(part, _PLAIN) for part in ast.walk(node)):
        return None
    renaming = _Renaming(function, dict(zip(_arguments(function), parameters, strict=True)), prefix)
    copied = ast.parse(ast.unparse(node), mode="eval").body
    made = renaming.visit(copied)
    if renaming.unknown:
        return None
    elements = None
    if isinstance(made, ast.Tuple):
        elements = tuple(f"({ast.unparse(element)})" for element in made.elts)
    return Inlined(f"({ast.unparse(made)})", elements, renaming.space)


def _simple(function: FunctionType, parameters: int) -> bool:
    """Return whether it takes just that many plain arguments, and nothing from around it."""
    code = function.__code__
    starred = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    own = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    return (
        code.co_argcount == parameters
        and not code.co_kwonlyargcount
        and not starred
        and not code.co_flags & own
        and not code.co_freevars
        and not function.__defaults__
    )


def _arguments(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _expression(function: FunctionType) -> ast.expr | None:
    """Return the one expression that a function returns, where its source is surely its own."""
    code = function.__code__
    lines = tuple(linecache.getlines(code.co_filename, function.__globals__))
    for node in _candidates(lines, code.co_firstlineno):
        body = _body(node)
        if body is not None and _same(code, node):
            return body
    return None


def _body(node: ast.Lambda | ast.FunctionDef) -> ast.expr | None:
    if isinstance(node, ast.Lambda):
        return node.body
    statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
    only = statements[0] if len(statements) == 1 else None
    return only.value if isinstance(only, ast.Return) else None


def _candidates(lines: tuple[str, ...], line: int) -> Iterator[ast.Lambda | ast.FunctionDef]:
    for node in _functions(lines):
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        if line in (node.lineno, *(each.lineno for each in decorators)):
            yield node


@lru_cache(maxsize=64)
def _functions(lines: tuple[str, ...]) -> tuple[ast.Lambda | ast.FunctionDef, ...]:
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(n for n in ast.walk(tree) if isinstance(n, ast.Lambda | ast.FunctionDef))


def _same(code: CodeType, node: ast.Lambda | ast.FunctionDef) -> bool:
    """Return whether a node compiles to the code that runs."""
    found = _compiled(node)
    return found is not None and all(
        repr(getattr(code, part)) == repr(getattr(found, part))  # 1 and True are equal
        for part in ("co_code", "co_names", "co_varnames", "co_consts")
    )


def _compiled(node: ast.Lambda | ast.FunctionDef) -> CodeType | None:
    own = copy.copy(node)
    if isinstance(own, ast.FunctionDef):
        own.decorator_list = []
    statement = own if isinstance(own, ast.FunctionDef) else ast.copy_location(ast.Expr(own), own)
    module = ast.Module([statement], [])
    whole = compile(module, "<again>", "exec", dont_inherit=True)
    return next((each for each in whole.co_consts if isinstance(each, CodeType)), None)


class _Renaming(ast.NodeTransformer):
    """Gives the names of an expression the meaning that they have in their function."""

    def __init__(self, function: FunctionType, parameters: Mapping[str, str], prefix: str) -> None:
        self.space: dict[str, Any] = {}
        self.unknown = False
        self._globals = function.__globals__
        self._parameters = parameters
        self._prefix = prefix

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Rename a parameter; look a global up at every evaluation, as the function would."""
        name = node.id
        if name in self._parameters:
            return ast.Name(self._parameters[name], ast.Load())
        if name in self._globals:
            self.space[f"{self._prefix}globals"] = self._globals
            table = ast.Name(f"{self._prefix}globals", ast.Load())
            return ast.Subscript(table, ast.Constant(name), ast.Load())
        if name not in _BUILTINS:
            self.unknown = True
            return node
        self.space[f"{self._prefix}{name}"] = getattr(builtins, name)
        return ast.Name(f"{self._prefix}{name}", ast.Load())
