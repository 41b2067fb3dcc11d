"""Lowering of expressions: text for a value or a condition, and the tests that must run before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ._analysis import Analysis, range_constants
from ._names import EXP_LIMIT, MATH_CONSTANTS, WHOLE_LIMIT
from ._value import Value, constant

T = TypeVar("T")

_MAX = "1.7976931348623157e+308"
_WHOLE = repr(WHOLE_LIMIT)
_SYMBOLS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
#: What must hold of x, below and above, before a function of math is called; "" is any finite number.
_DOMAINS: dict[str, tuple[str, str]] = {
    "exp": ("", f" <= {EXP_LIMIT!r}"),
    "expm1": ("", f" <= {EXP_LIMIT!r}"),
    "log": ("0.0 < ", ""),
    "log10": ("0.0 < ", ""),
    "log1p": ("-1.0 < ", ""),
    "log2": ("0.0 < ", ""),
    "sqrt": ("0.0 <= ", ""),
}
#: Functions whose helper makes NaN of whatever has no exact whole result.
_ROUNDING = {
    "ceil": "_ceil",
    "floor": "_floor",
    "int": "_trunc",
    "round": "_round",
    "trunc": "_trunc",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a function is lowered in.

    Attributes:
        analysis: of the whole source.
        metered: functions that count fuel while they run.
        returns_fuel: whether this function is handed the fuel and gives the rest back.
    """

    analysis: Analysis
    metered: frozenset[str]
    returns_fuel: bool


class Expressions:
    """Lowers expressions of one function into text, emitting the statements that come before it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.lines: list[str] = []
        self.unverified: set[str] = set()
        #: Locals that hold, as a whole number, what a loop's name holds as a float.
        self.counters: dict[str, str] = {}
        self.counts_fuel = False
        self.fail = "return _NAN, -1" if scope.returns_fuel else "return _NAN"
        self._renamed: dict[str, str] = {}
        self._temporaries = 0
        self._branches = 0

    # output

    def emit(self, line: str) -> None:
        """Append a statement at the present place."""
        self.lines.append(line)

    def indent(self, lines: list[str]) -> None:
        """Append a block under the statement just emitted."""
        self.lines += [f" {line}" for line in lines or ["pass"]]

    def captured(self, make: Callable[[], T]) -> tuple[list[str], T]:
        """Return what a call emits, which may not always run, and its result."""
        outer, self.lines = self.lines, []
        self._branches += 1
        result = make()
        self._branches -= 1
        inner, self.lines = self.lines, outer
        return inner, result

    def temporary(self) -> str:
        """Return a fresh local name."""
        self._temporaries += 1
        return f"_{self._temporaries}"

    def charge(self, loop: ast.AST) -> list[str]:
        """Return the statements that charge one iteration of a loop."""
        if not self.counts_fuel:
            return []
        cost = self.scope.analysis.charges[id(loop)]
        return [f"_fuel -= {cost}", f"if _fuel < 0: {self.fail}"]

    def count(self, name: str, index: str, iterable: ast.expr, body: Sequence[ast.stmt]) -> None:
        """Note that in a loop's body a local holds, as a whole number, what a name holds."""
        self.counters = self.counters | {name: index}

    # tests

    def named(self, value: Value) -> Value:
        """Return a value as an atom, bound to a temporary where it is not one."""
        if value.atom:
            return value
        name = self.temporary()
        self.emit(f"{name} = {value.text}")
        return Value(name, value.finite, True)

    def checked(self, value: Value) -> Value:
        """Return a value that is finite from here on."""
        if value.finite:
            return value
        name = self.named(value).text
        self.emit(f"if {name} - {name} != 0.0: {self.fail}")
        return self._verified(name)

    def atom(self, node: ast.expr) -> Value:
        """Lower an expression to a finite atom."""
        return self.named(self.checked(self.value(node)))

    def _verified(self, name: str) -> Value:
        if not self._branches:
            self.unverified.discard(name)
        return Value(name, True, True)

    # values

    def value(self, node: ast.expr) -> Value:
        """Lower an expression to a value."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return constant(float(number))
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute(attr=name):
                return constant(MATH_CONSTANTS[name])
            case ast.UnaryOp(op=ast.Not()) | ast.Compare():
                return Value(f"(1.0 if {self.condition(node)} else 0.0)", True)
            case ast.UnaryOp():
                return self._signed(node)
            case ast.BinOp():
                return self.binary(node.op, self.value(node.left), self.value(node.right))
            case ast.BoolOp():
                return self._boolean(node.op, node.values)
            case ast.IfExp():
                test = self.condition(node.test)
                return self._either(
                    test, lambda: self.value(node.body), lambda: self.value(node.orelse)
                )
            case ast.Call():
                return self._call(node)
        raise AssertionError(f"the grammar let {type(node).__name__} through")

    def _name(self, name: str) -> Value:
        if name in self._renamed:
            return Value(self._renamed[name], True, True)
        if name in self.scope.analysis.constants:
            return constant(self.scope.analysis.constants[name])
        return Value(name, name not in self.unverified, True)

    def _signed(self, node: ast.UnaryOp) -> Value:
        operand = self.value(node.operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        if operand.number is not None:
            return constant(-operand.number)
        return Value(f"(-{operand.text})", operand.finite)

    def binary(self, operator: ast.operator, left: Value, right: Value) -> Value:
        """Lower an operation on two lowered operands."""
        match operator:
            case ast.Div():
                right = self._divisor(right)
                text = f"({left.text} / {right.text})"
                return Value(text, left.finite and abs(right.number or 0.0) >= 1.0)
            case ast.Mod():
                left, right = self.checked(left), self._divisor(right)
                return Value(f"({left.text} % {right.text} + 0.0)", True)
            case ast.FloorDiv():
                left, right = self.checked(left), self._divisor(right)
                return self._within(Value(f"({left.text} // {right.text} + 0.0)", False))
            case ast.Pow():
                left, right = self.checked(left), self.checked(right)
                return Value(f"_pow({left.text}, {right.text})", False)
        return Value(f"({left.text} {_SYMBOLS[type(operator)]} {right.text})", False)

    def _divisor(self, value: Value) -> Value:
        if value.number:
            return value
        name = self.named(value).text
        test = f"{name} == 0.0" if value.finite else f"{name} - {name} != 0.0 or {name} == 0.0"
        self.emit(f"if {test}: {self.fail}")
        return self._verified(name)

    def _within(self, value: Value) -> Value:
        name = self.named(value).text
        self.emit(f"if not -{_WHOLE} <= {name} <= {_WHOLE}: {self.fail}")
        return Value(name, True, True)

    def _boolean(self, operator: ast.boolop, operands: Sequence[ast.expr]) -> Value:
        # Each step reads the one before by name, so that a long chain nests no deeper than a short one.
        result = self.value(operands[0])
        for operand in operands[1:]:
            before = self.named(self.checked(result))
            both = [partial(Value, *before), partial(self.value, operand)]
            if isinstance(operator, ast.And):
                both.reverse()
            result = self._either(f"{before.text} != 0.0", *both)
        return result

    def _either(self, test: str, body: Callable[[], Value], orelse: Callable[[], Value]) -> Value:
        first, then = self.captured(body)
        second, other = self.captured(orelse)
        finite = then.finite and other.finite
        if not first and not second:
            return Value(f"({then.text} if {test} else {other.text})", finite)
        name = self.temporary()
        self.emit(f"if {test}:")
        self.indent([*first, f"{name} = {then.text}"])
        self.emit("else:")
        self.indent([*second, f"{name} = {other.text}"])
        return Value(name, finite, True)

    # conditions

    def condition(self, node: ast.expr) -> str:
        """Lower an expression to the text of a truth value."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return "True" if number else "False"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"(not {self.condition(operand)})"
            case ast.BoolOp():
                parts = [partial(self.condition, part) for part in node.values]
                return self._joined(parts, "and" if isinstance(node.op, ast.And) else "or")
            case ast.Compare():
                return self._compare(node)
        return f"({self.atom(node).text} != 0.0)"

    def _compare(self, node: ast.Compare) -> str:
        left = self.atom(node.left)

        def pair(operator: ast.cmpop, operand: ast.expr) -> str:
            nonlocal left
            right = self.atom(operand)
            text = f"({left.text} {_COMPARISONS[type(operator)]} {right.text})"
            left = right
            return text

        pairs = zip(node.ops, node.comparators, strict=True)
        return self._joined([partial(pair, *both) for both in pairs], "and")

    def _joined(self, parts: Sequence[Callable[[], str]], word: str) -> str:
        texts = [parts[0]()]
        for part in parts[1:]:
            lines, more = self.captured(part)
            if lines:
                flag = self.temporary()
                self.emit(f"{flag} = {f' {word} '.join(texts)}")
                self.emit(f"if {flag}:" if word == "and" else f"if not {flag}:")
                self.indent([*lines, f"{flag} = {more}"])
                texts = [flag]
            else:
                texts.append(more)
        return texts[0] if len(texts) == 1 else f"({f' {word} '.join(texts)})"

    # calls

    def _call(self, node: ast.Call) -> Value:
        if isinstance(node.func, ast.Attribute):
            return self._function(node.func.attr, node.args)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in self.scope.analysis.functions:
            return self._helper(name, node.args)
        if name in ("min", "max", "sum"):
            return self._fold(name, node.args)
        return self._function(name, node.args)

    def _helper(self, name: str, nodes: list[ast.expr]) -> Value:
        arguments = [self.checked(self.value(node)).text for node in nodes]
        if name not in self.scope.metered:
            return Value(f"_f_{name}({', '.join(arguments)})", False)
        result = self.temporary()
        self.emit(f"{result}, _fuel = _f_{name}({', '.join([*arguments, '_fuel'])})")
        return Value(result, False, True)

    def _function(self, name: str, nodes: list[ast.expr]) -> Value:
        values = [self.value(node) for node in nodes]
        if name == "float":
            return values[0]
        if name in ("abs", "fabs"):
            return Value(f"abs({values[0].text})", values[0].finite)
        if name in _ROUNDING:
            return Value(f"{_ROUNDING[name]}({values[0].text})", False)
        if name in _DOMAINS:
            return Value(f"_{name}({self._inside(name, values[0]).text})", True)
        arguments = ", ".join(self.checked(value).text for value in values)
        return Value(f"_{name}({arguments})", name != "pow")

    def _inside(self, name: str, value: Value) -> Value:
        below, above = _DOMAINS[name]
        if not value.finite:
            below, above = below or f"-{_MAX} <= ", above or f" <= {_MAX}"
        argument = self.named(value).text
        self.emit(f"if not {below}{argument}{above}: {self.fail}")
        return self._verified(argument)

    def _fold(self, name: str, nodes: list[ast.expr]) -> Value:
        first = nodes[0]
        if isinstance(first, ast.GeneratorExp):
            return self._generate(name, first)
        if isinstance(first, ast.Tuple | ast.List):
            nodes = first.elts
        if name == "sum":
            texts = ["0.0", *(self.value(node).text for node in nodes)]
            return Value(f"({' + '.join(texts)})", False)
        return self._extreme("<" if name == "min" else ">", [self.atom(node) for node in nodes])

    def _extreme(self, symbol: str, values: list[Value]) -> Value:
        if len(values) == 1:
            return values[0]
        if len(values) == 2:
            left, right = values[0].text, values[1].text
            return Value(f"({right} if {right} {symbol} {left} else {left})", True)
        best = self.temporary()
        self.emit(f"{best} = {values[0].text}")
        for value in values[1:]:
            self.emit(f"if {value.text} {symbol} {best}: {best} = {value.text}")
        return Value(best, True, True)

    # loops inside expressions

    def range_text(self, node: ast.expr) -> str:
        """Lower ``range(...)``: its arguments become whole numbers, or the score faults."""
        limits = range_constants(node, self.scope.analysis.constants)
        if limits is not None and limits[2] != 0:
            return f"range({limits[0]}, {limits[1]}, {limits[2]})"
        assert isinstance(node, ast.Call)
        names = [self._whole(argument) for argument in node.args]
        if len(names) == 3:
            self.emit(f"if {names[2]} == 0: {self.fail}")
        return f"range({', '.join(names)})"

    def _whole(self, node: ast.expr) -> str:
        value = self.named(self.value(node)).text
        self.emit(f"if not -{_WHOLE} <= {value} <= {_WHOLE} or {value} % 1.0 != 0.0: {self.fail}")
        name = self.temporary()
        self.emit(f"{name} = int({value})")
        return name

    def _generate(self, name: str, node: ast.GeneratorExp) -> Value:
        part = node.generators[0]
        assert isinstance(part.target, ast.Name)
        over = self.range_text(part.iter)
        best, some, index, element = (self.temporary() for _ in range(4))
        self.emit(f"{best} = 0.0")
        self.emit(f"{some} = False")
        self.emit(f"for {index} in {over}:")
        before = self._renamed, self.counters
        self._renamed = self._renamed | {part.target.id: element}
        self.count(part.target.id, index, part.iter, [])
        body, _ = self.captured(lambda: self._element(name, node, best, some))
        self._renamed, self.counters = before
        used = any(re.search(rf"\b{element}\b", line) for line in body)
        item = [f"{element} = {index} + 0.0"] if used else []
        self.indent([*self.charge(node), *item, *body])
        if name == "sum":
            return Value(best, False, True)
        self.emit(f"if not {some}: {self.fail}")
        return Value(best, True, True)

    def _element(self, name: str, node: ast.GeneratorExp, best: str, some: str) -> None:
        for test in node.generators[0].ifs:
            self.emit(f"if not {self.condition(test)}: continue")
        if name == "sum":
            self.emit(f"{best} = {best} + {self.value(node.elt).text}")
            return
        value = self.atom(node.elt).text
        self.emit(f"if not {some} or {value} {'<' if name == 'min' else '>'} {best}:")
        self.indent([f"{best} = {value}", f"{some} = True"])
