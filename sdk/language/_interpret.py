"""The reference tier: walks the syntax tree as the language's semantics are written down.

It shares no code with the lowering, so that a differential test can tell the two apart. It is slow
and it says why a score faulted.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeAlias

from ._analysis import Analysis
from ._grammar import Outline, body_of, refuse
from ._names import MATH_CONSTANTS, WHOLE_LIMIT

Names: TypeAlias = dict[str, float]


class Fault(Exception):
    """A score has no value for this row; the message says why and where."""

    def __init__(self, reason: str, node: ast.AST | None = None) -> None:
        line = getattr(node, "lineno", 0)
        super().__init__(f"line {line}: {reason}" if line else reason)


class Jump(Enum):
    """How a block ended when it gave no number; only the program form returns nothing."""

    BREAK = "break"
    CONTINUE = "continue"
    RETURN = "return"


#: How a block ended: a returned value (in program form an array, too), a jump, or None at its end.
End: TypeAlias = object


def run(analysis: Analysis, entry: str, row: Names, fuel: int) -> float:
    """Return a function's value on named arguments, or raise Fault."""
    function = analysis.functions[entry]
    for argument in function.args.args:
        if not math.isfinite(row[argument.arg]):
            raise Fault(f"input '{argument.arg}' is not finite")
    remaining = fuel - int(analysis.costs[entry].straight)
    arguments = [row[argument.arg] for argument in function.args.args]
    return Interpreter(analysis, remaining).call(function, arguments)


def constants(found: Outline) -> Names:
    """Return the values of a module's constants, or raise LanguageError."""
    values: Names = {}
    for name, node in found.constants.items():
        try:
            values[name] = Interpreter(Analysis({}, values), 0).value(node, {})
        except Fault as fault:
            refuse(node, f"constant '{name}' has no value: {fault}")
        except KeyError as missing:
            refuse(node, f"constant {missing} is used before it is defined")
    return values


class Interpreter:
    """Runs statements and expressions of the score form, fuel counted."""

    def __init__(self, analysis: Analysis, fuel: int) -> None:
        self._analysis = analysis
        self._fuel = fuel

    def call(self, function: ast.FunctionDef, arguments: list[float]) -> float:
        """Return a function's value, or raise Fault."""
        names = {
            argument.arg: value
            for argument, value in zip(function.args.args, arguments, strict=True)
        }
        end = self._block(body_of(function), names)
        assert isinstance(end, float)
        return end

    # statements

    def _block(self, statements: list[ast.stmt], names: Names) -> End:
        for statement in statements:
            end = self._statement(statement, names)
            if end is not None:
                return end
        return None

    def _statement(self, node: ast.stmt, names: Names) -> End:
        match node:
            case ast.Return(value=ast.expr() as value):
                return self.value(value, names)
            case ast.If():
                return self._block(
                    node.body if self._true(node.test, names) else node.orelse, names
                )
            case ast.While():
                return self._while(node, names)
            case ast.For():
                return self._for(node, names)
            case ast.Break():
                return Jump.BREAK
            case ast.Continue():
                return Jump.CONTINUE
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assign(node, names)
        return None

    def _while(self, node: ast.While, names: Names) -> End:
        while self._true(node.test, names):
            self._burn(node)
            end = self._block(node.body, names)
            if end is Jump.BREAK:
                return None
            if end is not None and end is not Jump.CONTINUE:
                return end
        return None

    def _for(self, node: ast.For, names: Names) -> End:
        assert isinstance(node.target, ast.Name)
        for index in self._range(node.iter, names):
            self._burn(node)
            names[node.target.id] = float(index)
            end = self._block(node.body, names)
            if end is Jump.BREAK:
                return None
            if end is not None and end is not Jump.CONTINUE:
                return end
        return None

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, names: Names) -> None:
        assert node.value is not None
        if isinstance(node, ast.AugAssign):
            assert isinstance(node.target, ast.Name)
            right = self.value(node.value, names)
            names[node.target.id] = self._binary(node, node.op, names[node.target.id], right)
        elif isinstance(node.value, ast.Tuple):
            values = [self.value(element, names) for element in node.value.elts]
            for target in node.targets if isinstance(node, ast.Assign) else []:
                assert isinstance(target, ast.Tuple)
                self._bind(target.elts, values, names)
        else:
            value = self.value(node.value, names)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self._bind(targets, [value] * len(targets), names)

    def _bind(self, targets: Sequence[ast.expr], values: list[float], names: Names) -> None:
        for target, value in zip(targets, values, strict=True):
            assert isinstance(target, ast.Name)
            names[target.id] = value

    def _burn(self, loop: ast.AST) -> None:
        self._fuel -= self._analysis.charges[id(loop)]
        if self._fuel < 0:
            raise Fault("out of fuel", loop)

    def _range(self, node: ast.expr, names: Names) -> range:
        assert isinstance(node, ast.Call)
        whole = []
        for argument in node.args:
            value = self.value(argument, names)
            if abs(value) > WHOLE_LIMIT or value != math.floor(value):
                raise Fault(f"range takes whole numbers, not {value!r}", node)
            whole.append(int(value))
        if len(whole) == 3 and whole[2] == 0:
            raise Fault("range with step 0", node)
        return range(*whole)

    # expressions

    def value(self, node: ast.expr, names: Names) -> float:
        """Return an expression's value, which is finite, or raise Fault."""
        result = self._expression(node, names)
        if not math.isfinite(result):
            raise Fault("overflow", node)
        return result

    def _true(self, node: ast.expr, names: Names) -> bool:
        return self.value(node, names) != 0.0

    def _expression(self, node: ast.expr, names: Names) -> float:
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return float(value)
            case ast.Name(id=name):
                return names[name] if name in names else self._analysis.constants[name]
            case ast.Attribute(attr=name):
                return MATH_CONSTANTS[name]
            case ast.UnaryOp():
                return self._unary(node, names)
            case ast.BinOp():
                left, right = self.value(node.left, names), self.value(node.right, names)
                return self._binary(node, node.op, left, right)
            case ast.BoolOp():
                return self._boolean(node, names)
            case ast.Compare():
                return self._compare(node, names)
            case ast.IfExp():
                return self.value(node.body if self._true(node.test, names) else node.orelse, names)
            case ast.Call():
                return self._call(node, names)
        raise AssertionError(f"the grammar let {type(node).__name__} through")

    def _unary(self, node: ast.UnaryOp, names: Names) -> float:
        operand = self.value(node.operand, names)
        if isinstance(node.op, ast.Not):
            return float(operand == 0.0)
        return -operand if isinstance(node.op, ast.USub) else operand

    def _boolean(self, node: ast.BoolOp, names: Names) -> float:
        wanted = isinstance(node.op, ast.Or)
        result = 0.0
        for operand in node.values:
            result = self.value(operand, names)
            if (result != 0.0) is wanted:
                break
        return result

    def _compare(self, node: ast.Compare, names: Names) -> float:
        left = self.value(node.left, names)
        for operator, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand, names)
            if not COMPARISONS[type(operator)](left, right):
                return 0.0
            left = right
        return 1.0

    def _binary(self, node: ast.AST, operator: ast.operator, left: float, right: float) -> float:
        try:
            result = _OPERATIONS[type(operator)](left, right)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise Fault(_reason(error, "**"), node) from None
        if isinstance(operator, ast.FloorDiv):
            return _whole(result, node)
        if not math.isfinite(result):
            raise Fault("overflow", node)
        return result + 0.0 if isinstance(operator, ast.Mod) else result

    def _call(self, node: ast.Call, names: Names) -> float:
        if isinstance(node.func, ast.Attribute):
            values = [self.value(argument, names) for argument in node.args]
            return _apply(_MATH, node.func.attr, values, node)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in self._analysis.functions:
            values = [self.value(argument, names) for argument in node.args]
            return self.call(self._analysis.functions[name], values)
        return _apply_builtin(name, self._arguments(node, names), node)

    def _arguments(self, node: ast.Call, names: Names) -> list[float]:
        first = node.args[0]
        if isinstance(first, ast.GeneratorExp):
            return self._generate(first, names)
        spread = first.elts if isinstance(first, ast.Tuple | ast.List) else node.args
        return [self.value(argument, names) for argument in spread]

    def _generate(self, node: ast.GeneratorExp, names: Names) -> list[float]:
        part = node.generators[0]
        assert isinstance(part.target, ast.Name)
        inner = dict(names)
        values = []
        for index in self._range(part.iter, names):
            self._burn(node)
            inner[part.target.id] = float(index)
            if all(self._true(test, inner) for test in part.ifs):
                values.append(self.value(node.elt, inner))
        return values


def _whole(value: float, node: ast.AST) -> float:
    """Return a rounded result without a negative zero, or raise Fault where it is not exact."""
    if not abs(value) <= WHOLE_LIMIT:
        raise Fault("rounding beyond 2**53", node)
    return value + 0.0


def _reason(error: Exception, name: str) -> str:
    # Our own words: CPython's differ between versions, and reasons end up in verdicts.
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    return "overflow" if isinstance(error, OverflowError) else f"outside the domain of {name}"


def _apply(
    table: dict[str, Callable[..., float]], name: str, values: list[float], node: ast.AST
) -> float:
    try:
        result = float(table[name](*values))
    except (ValueError, OverflowError) as error:
        raise Fault(_reason(error, name), node) from None
    return _whole(result, node) if name in _ROUNDING else result


def _apply_builtin(name: str, values: list[float], node: ast.AST) -> float:
    if name in ("min", "max"):
        if not values:
            raise Fault(f"{name} of nothing", node)
        return min(values) if name == "min" else max(values)
    if name != "sum":
        return _apply(_BUILTINS, name, values, node)
    total = 0.0
    for value in values:
        total += value
        if not math.isfinite(total):
            raise Fault("overflow", node)
    return total


_ROUNDING = frozenset({"int", "round", "floor", "ceil", "trunc"})
_BUILTINS: dict[str, Any] = {
    "abs": abs,
    "float": float,
    "int": int,
    "round": round,
}
_MATH: dict[str, Any] = {
    "atan": math.atan,
    "atan2": math.atan2,
    "ceil": math.ceil,
    "copysign": math.copysign,
    "cos": math.cos,
    "exp": math.exp,
    "expm1": math.expm1,
    "fabs": math.fabs,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "log1p": math.log1p,
    "log2": math.log2,
    "pow": math.pow,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
    "trunc": math.trunc,
}
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: math.pow,
}
#: By node; shared with the program form's reference.
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
}
