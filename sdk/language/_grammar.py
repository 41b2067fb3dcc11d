"""The allow-list: which statements, expressions and names a policy may be made of.

A node that has no visitor here is refused, so that a new Python version can only narrow the language.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ..errors import LanguageError
from ._names import BUILTINS, FOLDS, MATH, MATH_CONSTANTS, RESERVED, WHOLE_LIMIT
from ._text import walk

MAX_LOOP_DEPTH = 10

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_UNARY = (ast.USub, ast.UAdd, ast.Not)
_COMPARE = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


@dataclass(frozen=True, slots=True)
class Outline:
    """The top level of a source, before its functions are looked into."""

    constants: dict[str, ast.expr]
    functions: dict[str, ast.FunctionDef]
    imports_math: bool


def refuse(node: ast.AST, reason: str) -> NoReturn:
    """Raise LanguageError at a node's line."""
    raise LanguageError(reason, getattr(node, "lineno", 0))


def body_of(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return a function's statements without its docstring."""
    return function.body[1:] if _is_docstring(function.body[0]) else function.body


def outline(tree: ast.Module) -> Outline:
    """Sort the top level into constants and functions; refuse anything else."""
    found = Outline({}, {}, any(map(_is_import_math, tree.body)))
    for index, node in enumerate(tree.body):
        if isinstance(node, ast.FunctionDef):
            _new_name(found, node.name, node)
            found.functions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            name, value = _constant(node)
            _new_name(found, name, node)
            found.constants[name] = value
        elif not (_is_import_math(node) or (index == 0 and _is_docstring(node))):
            refuse(
                node, f"{_described(node)} at the top level; only 'import math', constants and def"
            )
    return found


def check_functions(
    found: Outline, grammar: Callable[[Outline, frozenset[str]], Grammar] | None = None
) -> None:
    """Refuse everything in constants and functions that is not on the allow-list.

    Args:
        found: the source's top level.
        grammar: makes the visitor of a function from its local names; of the score form by default.
    """
    grammar = grammar or Grammar
    for value in found.constants.values():
        Grammar(Outline(found.constants, {}, found.imports_math), frozenset()).visit(value)
    for function in found.functions.values():
        _signature(function)
        names = bound_names(function)
        for name, node in names.items():
            if name in found.functions or name in found.constants:
                refuse(node, f"'{name}' is already a name of the module; choose another")
        grammar(found, frozenset(names)).check(body_of(function))


def check_identifier(name: str, node: ast.AST) -> None:
    """Refuse a name that a policy may not bind."""
    if name.startswith("_"):
        refuse(node, f"'{name}' starts with an underscore")
    if name in RESERVED:
        refuse(node, f"'{name}' is built in and may not be bound")


def _new_name(found: Outline, name: str, node: ast.AST) -> None:
    check_identifier(name, node)
    if name in found.functions or name in found.constants:
        refuse(node, f"'{name}' is defined twice")


def _constant(node: ast.Assign | ast.AnnAssign) -> tuple[str, ast.expr]:
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    several = isinstance(node, ast.Assign) and len(node.targets) > 1
    if several or not isinstance(target, ast.Name) or node.value is None:
        refuse(node, "a module constant is NAME = number")
    if isinstance(node, ast.AnnAssign):
        _annotation(node.annotation)
    return target.id, node.value


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_import_math(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Import):
        return False
    return len(node.names) == 1 and node.names[0].name == "math" and node.names[0].asname is None


def _described(node: ast.AST) -> str:
    return f"'{type(node).__name__}' is not allowed"


def _annotation(node: ast.expr | None) -> None:
    if node is not None and not (isinstance(node, ast.Name) and node.id == "float"):
        refuse(node, "the only annotation is float")


def _signature(function: ast.FunctionDef) -> None:
    arguments = function.args
    if function.decorator_list:
        refuse(function.decorator_list[0], "decorators are not allowed")
    plain = not (arguments.posonlyargs or arguments.kwonlyargs or arguments.defaults)
    if not plain or arguments.vararg or arguments.kwarg:
        refuse(function, "parameters are plain names without defaults")
    _annotation(function.returns)
    for argument in arguments.args:
        check_identifier(argument.arg, argument)
        _annotation(argument.annotation)
        if sum(other.arg == argument.arg for other in arguments.args) > 1:
            refuse(argument, f"'{argument.arg}' is a parameter twice")


def bound_names(function: ast.FunctionDef) -> dict[str, ast.AST]:
    """Return a function's parameters and locals, each with a node that binds it."""
    names: dict[str, ast.AST] = {argument.arg: argument for argument in function.args.args}
    for node in walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, node)
    return names


class Grammar(ast.NodeVisitor):
    """Visits one function's statements, or one constant's expression; of the score form."""

    def __init__(self, found: Outline, locals_: frozenset[str]) -> None:
        self._found = found
        self._locals = locals_
        self._loops = 0

    def check(self, statements: list[ast.stmt]) -> None:
        """Refuse statements that are not on the allow-list."""
        for statement in statements:
            self.visit(statement)

    def generic_visit(self, node: ast.AST) -> None:
        refuse(node, _described(node))

    # statements

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            refuse(node, "return needs a value")
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._target(target, node.value)
        if isinstance(node.value, ast.Tuple):
            self._each(node.value.elts)
        else:
            self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        _annotation(node.annotation)
        if node.value is None or not isinstance(node.target, ast.Name):
            refuse(node, "an annotated assignment is NAME: float = value")
        check_identifier(node.target.id, node)
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            refuse(node, "only names can be assigned to")
        if not isinstance(node.op, _BINARY):
            refuse(node, f"operator {_described(node.op)}")
        check_identifier(node.target.id, node)
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.check(node.body)
        self.check(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._loop(node)

    def visit_For(self, node: ast.For) -> None:
        self._range(node.target, node.iter)
        self._loop(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._inside_loop(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._inside_loop(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        pass

    # expressions

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if not isinstance(value, bool | int | float):
            refuse(node, f"a constant of type {type(value).__name__}; only numbers are allowed")
        if isinstance(value, int) and abs(value) > WHOLE_LIMIT:
            refuse(node, "a whole number beyond 2**53 is not exact")
        if not math.isfinite(value):
            refuse(node, "a number that is not finite")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._locals or node.id in self._found.constants:
            return
        if node.id in self._found.functions or node.id in RESERVED:
            refuse(node, f"'{node.id}' is not a number")
        refuse(node, f"unknown name '{node.id}'")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._math_name(node)
        if name is None:
            refuse(node, f"attribute '{node.attr}'; only those of math are allowed")
        if name not in MATH_CONSTANTS:
            refuse(node, f"math.{name} is not an allowed number")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, _UNARY):
            refuse(node, f"operator {_described(node.op)}")
        self.visit(node.operand)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not isinstance(node.op, _BINARY):
            refuse(node, f"operator {_described(node.op)}")
        self.visit(node.left)
        self.visit(node.right)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._each(node.values)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator in node.ops:
            if not isinstance(operator, _COMPARE):
                refuse(node, f"comparison {_described(operator)}")
        self._each([node.left, *node.comparators])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._each([node.test, node.body, node.orelse])

    def visit_Call(self, node: ast.Call) -> None:
        if node.keywords:
            refuse(node, "keyword arguments are not allowed")
        if isinstance(node.func, ast.Attribute):
            self._math_call(node, node.func)
        elif isinstance(node.func, ast.Name):
            self._named_call(node, node.func.id)
        else:
            refuse(node, "only a function's name can be called")

    # parts

    def _each(self, nodes: list[ast.expr]) -> None:
        for node in nodes:
            self.visit(node)

    def _target(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple):
            if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
                refuse(target, "a tuple is unpacked from a tuple display of the same length")
            for element in target.elts:
                self._name(element)
        else:
            self._name(target)
            if isinstance(value, ast.Tuple):
                refuse(value, "a tuple is not a number")

    def _name(self, target: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            refuse(target, "only names can be assigned to")
        check_identifier(target.id, target)

    def _loop(self, node: ast.For | ast.While) -> None:
        if node.orelse:
            refuse(node, "else after a loop is not allowed")
        if self._loops == MAX_LOOP_DEPTH:
            refuse(node, f"loops nested deeper than {MAX_LOOP_DEPTH}")
        self._loops += 1
        self.check(node.body)
        self._loops -= 1

    def _inside_loop(self, node: ast.Break | ast.Continue) -> None:
        if not self._loops:
            refuse(node, "break and continue belong in a loop")

    def _range(self, target: ast.expr, iterable: ast.expr) -> None:
        self._name(target)
        called = isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Name)
        if not called or iterable.func.id != "range":  # type: ignore[attr-defined]
            refuse(iterable, "a loop runs over range(...) only")
        assert isinstance(iterable, ast.Call)
        if iterable.keywords or not 1 <= len(iterable.args) <= 3:
            refuse(iterable, "range takes 1 to 3 plain arguments")
        self._each(iterable.args)

    def _math_call(self, node: ast.Call, function: ast.Attribute) -> None:
        name = self._math_name(function)
        if name is None:
            refuse(node, f"method '{function.attr}'; only functions of math are allowed")
        if name not in MATH:
            refuse(node, f"math.{name} is not an allowed function")
        self._arity(node, f"math.{name}", MATH[name], MATH[name])
        self._each(node.args)

    def _named_call(self, node: ast.Call, name: str) -> None:
        if name in self._found.functions and name not in self._locals:
            wanted = len(self._found.functions[name].args.args)
            self._arity(node, name, wanted, wanted)
            self._each(node.args)
        elif name in BUILTINS:
            self._arity(node, name, *BUILTINS[name])
            self._builtin_arguments(node, name)
        else:
            refuse(node, f"'{name}' is not an allowed function")

    def _builtin_arguments(self, node: ast.Call, name: str) -> None:
        if name not in FOLDS or len(node.args) > 1:
            self._each(node.args)
        else:
            self._display(node.args[0], name)

    def _display(self, node: ast.expr, name: str) -> None:
        if isinstance(node, ast.GeneratorExp):
            self._generator(node)
        elif isinstance(node, ast.Tuple | ast.List):
            if not node.elts and name != "sum":
                refuse(node, f"{name} of nothing")
            self._each(node.elts)
        else:
            refuse(node, f"{name} takes a tuple, list or generator display")

    def _generator(self, node: ast.GeneratorExp) -> None:
        if len(node.generators) != 1 or node.generators[0].is_async:
            refuse(node, "a generator has one 'for'")
        part = node.generators[0]
        self._range(part.target, part.iter)
        if self._loops == MAX_LOOP_DEPTH:
            refuse(node, f"loops nested deeper than {MAX_LOOP_DEPTH}")
        self._loops += 1
        self._each([*part.ifs, node.elt])
        self._loops -= 1

    def _arity(self, node: ast.Call, name: str, fewest: int, most: int) -> None:
        if not fewest <= len(node.args) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} or more"
            refuse(node, f"{name} takes {wanted} arguments, not {len(node.args)}")

    def _math_name(self, node: ast.Attribute) -> str | None:
        if not (isinstance(node.value, ast.Name) and node.value.id == "math"):
            return None
        if not self._found.imports_math:
            refuse(node, "math is used without 'import math'")
        return node.attr
