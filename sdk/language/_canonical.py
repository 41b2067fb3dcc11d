"""One text for all sources that are the same policy but for names, layout and order of operands."""

from __future__ import annotations

import ast
from typing import TypeAlias

from ..errors import LanguageError
from ._flow import check_flow
from ._grammar import Outline, body_of, check_functions, outline
from ._interpret import Names, constants
from ._names import MATH_CONSTANTS
from ._text import parse

#: An operator with its operands; a leaf is a kind of name with the name.
_Tree: TypeAlias = "tuple[str | _Tree, ...]"

_COMMUTATIVE = frozenset({"Add", "Mult", "Eq", "NotEq"})
_MIRRORED = {"Gt": "Lt", "GtE": "LtE"}
_SYNONYMS = {"fabs": "abs", "trunc": "int"}


def canonical(source: str, *, entry: str = "score") -> str:
    """Return a text that two sources share only when they score every finite row alike.

    They share it when they differ in layout, comments, docstrings, annotations, names of variables,
    helpers and constants, order of parameters and definitions, what is never used, how a number is
    written, augmented assignment, the order of two addends or factors, ``a > b`` for ``b < a``, or
    one of two names for one function.

    Raises:
        LanguageError: the source lies outside the policy language's grammar.
    """
    found = outline(parse(source))
    check_functions(found)
    values = constants(found)
    for function in found.functions.values():
        check_flow(function, values)
    if entry not in found.functions:
        raise LanguageError(f"no function '{entry}'; define 'def {entry}(...)'")
    return canonical_of(found, values, entry)


def canonical_of(found: Outline, values: Names, entry: str) -> str:
    """Return the canonical text of what has been checked already; ``values`` are its constants."""
    return _Renderer(found, values).module(entry)


class _Renderer:
    """Writes functions in the order of their first call, names in the order of their first use."""

    def __init__(self, found: Outline, values: Names) -> None:
        self._found = found
        self._values = values
        self._helpers: dict[str, str] = {}

    def module(self, entry: str) -> str:
        inputs = {argument.arg for argument in self._found.functions[entry].args.args}
        texts = [self._function(entry, {name: name for name in inputs})]
        done = 0
        while done < len(self._helpers):
            name = list(self._helpers)[done]
            parameters = [argument.arg for argument in self._found.functions[name].args.args]
            names = {parameter: f"p{index}" for index, parameter in enumerate(parameters)}
            texts.append(f"{self._helpers[name]}/{len(parameters)} {self._function(name, names)}")
            done += 1
        return "\n".join(texts)

    def _function(self, name: str, names: dict[str, str]) -> str:
        tree = _Trees(self._found, self._values, names).block(body_of(self._found.functions[name]))
        return self._text(tree, dict(names), len(names))

    def _text(self, tree: _Tree, names: dict[str, str], fixed: int) -> str:
        head, *rest = tree
        if head == "local":
            # No identifier starts with a percent sign, so that no input can be taken for a local.
            return names.setdefault(str(rest[0]), f"%{len(names) - fixed}")
        if head == "helper":
            return self._helpers.setdefault(str(rest[0]), f"f{len(self._helpers)}")
        parts = [part if isinstance(part, str) else self._text(part, names, fixed) for part in tree]
        return f"({' '.join(parts)})"


class _Trees:
    """Turns the statements of one function into trees in which equal meanings look equal."""

    def __init__(self, found: Outline, values: Names, fixed: dict[str, str]) -> None:
        self._found = found
        self._values = values
        self._fixed = fixed

    def block(self, statements: list[ast.stmt]) -> _Tree:
        trees = (self._statement(node) for node in statements if not isinstance(node, ast.Pass))
        return ("do", *trees)

    def _statement(self, node: ast.stmt) -> _Tree:
        match node:
            case ast.Return(value=ast.expr() as value):
                return ("return", self._tree(value))
            case ast.If():
                return ("if", self._tree(node.test), self.block(node.body), self.block(node.orelse))
            case ast.While():
                return ("while", self._tree(node.test), self.block(node.body))
            case ast.For():
                return (
                    "for",
                    self._tree(node.target),
                    self._tree(node.iter),
                    self.block(node.body),
                )
            case ast.AugAssign():
                target = self._tree(node.target)
                return ("set", target, self._operation(node.op, target, self._tree(node.value)))
            case ast.AnnAssign(value=ast.expr() as value):
                return ("set", self._tree(node.target), self._tree(value))
            case ast.Assign():
                targets = [self._tree(target) for target in node.targets]
                return ("set", *targets, self._tree(node.value))
        return (type(node).__name__,)

    def _tree(self, node: ast.expr) -> _Tree:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return _number(value)
            case ast.Name(id=name):
                return _number(self._values[name]) if name in self._values else ("local", name)
            case ast.Attribute(attr=name):
                return _number(MATH_CONSTANTS[name])
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._operation(node.op, self._tree(node.left), self._tree(node.right))
            case ast.Compare(ops=[operator], comparators=[right]):
                return self._comparison(operator, self._tree(node.left), self._tree(right))
            case ast.Compare():
                return self._chain(node)
            case ast.Call():
                return self._call(node)
            case ast.GeneratorExp():
                part = node.generators[0]
                over = ("in", self._tree(part.target), self._tree(part.iter))
                return ("each", over, *map(self._tree, part.ifs), self._tree(node.elt))
        return (_head(node), *map(self._tree, _children(node)))

    def _unary(self, node: ast.UnaryOp) -> _Tree:
        operand = self._tree(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(node.op, ast.USub) and operand[0] == "number":
            return _number(-float(str(operand[1])))
        return (type(node.op).__name__, operand)

    def _operation(self, operator: ast.operator, left: _Tree, right: _Tree) -> _Tree:
        return self._ordered(type(operator).__name__, left, right)

    def _comparison(self, operator: ast.cmpop, left: _Tree, right: _Tree) -> _Tree:
        name = type(operator).__name__
        if name in _MIRRORED:
            return (_MIRRORED[name], right, left)
        return self._ordered(name, left, right)

    def _chain(self, node: ast.Compare) -> _Tree:
        operators = [type(operator).__name__ for operator in node.ops]
        operands = [self._tree(operand) for operand in [node.left, *node.comparators]]
        return ("chain", *operators, *operands)

    def _ordered(self, name: str, left: _Tree, right: _Tree) -> _Tree:
        if name in _COMMUTATIVE and self._shape(right) < self._shape(left):
            left, right = right, left
        return (name, left, right)

    def _shape(self, tree: _Tree) -> str:
        """Return a tree's text with the names of variables that may change taken out."""
        if tree[0] == "local":
            return self._fixed.get(str(tree[1]), "%")
        if tree[0] == "helper":
            return "f"
        return (
            f"({' '.join(part if isinstance(part, str) else self._shape(part) for part in tree)})"
        )

    def _call(self, node: ast.Call) -> _Tree:
        arguments = [self._tree(argument) for argument in node.args]
        if isinstance(node.func, ast.Attribute):
            name = _SYNONYMS.get(node.func.attr, node.func.attr)
            return ("Pow" if name == "pow" else name, *arguments)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in self._found.functions:
            return ("call", ("helper", name), *arguments)
        if name == "float":
            return arguments[0]
        spread = node.args[0]
        if name in ("min", "max", "sum") and isinstance(spread, ast.Tuple | ast.List):
            arguments = [self._tree(element) for element in spread.elts]
        return (name, *arguments)


def _number(value: float) -> _Tree:
    return ("number", repr(float(value)))


def _head(node: ast.expr) -> str:
    return type(node.op).__name__ if isinstance(node, ast.BoolOp) else type(node).__name__


def _children(node: ast.expr) -> list[ast.expr]:
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
