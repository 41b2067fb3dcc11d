"""Lowering of the program form, by the score form's: only arrays, calls and the fuel's place are new.

The text runs in Python alone. It raises ``_Fault`` where a score would return NaN and counts fuel and
elements in the meter ``_m``, which every function and operation is handed. Every index is tested in
the text before it is used.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from ._analysis import Analysis
from ._array_ops import BINARY, COMPARISONS
from ._array_types import Ranks
from ._expressions import Scope
from ._grammar import body_of
from ._lower import Statements
from ._text import walk
from ._value import Value

_LENGTHS = {"len": "len({})", "shape0": "len({})", "shape1": "{}.columns"}


def lower_program(analysis: Analysis, ranks: Ranks, entry: str, parameters: Sequence[str]) -> str:
    """Return the lowered text of a program, callees first; its entry function is ``_program``.

    Args:
        analysis: of the checked source.
        ranks: of its expressions.
        entry: the source's function that is the program.
        parameters: of the lowered entry, in order; a superset of the source's.
    """
    texts = []
    for name, function in analysis.functions.items():
        if name in ranks.results:
            named = [argument.arg for argument in function.args.args]
            head = f"_f_{name}", named
            if name == entry:
                head = "_program", list(parameters)
            texts.append(_ArrayStatements(analysis, ranks).function(function, *head))
    return "".join(texts)


class _ArrayStatements(Statements):
    def __init__(self, analysis: Analysis, ranks: Ranks) -> None:
        super().__init__(Scope(analysis, frozenset(), False))
        self.fail = "raise _Fault"
        self._ranks = ranks
        self._running = ""
        self._read: list[str] = []
        #: Whole numbers that cannot reach a length, which is that of an array under one name.
        self._below: set[tuple[str, str]] = set()

    def function(self, function: ast.FunctionDef, name: str, parameters: list[str]) -> str:
        """Return the text of one function."""
        self._running = name
        self._read = _reads(function.body)
        self._block(body_of(function))
        head = f"def {name}({', '.join([*parameters, '_m'])}):"
        return "\n".join([head, *(f" {line}" for line in self.lines or ["pass"]), ""])

    def charge(self, loop: ast.AST) -> list[str]:
        cost = self.scope.analysis.charges[id(loop)]
        return [f"_m.fuel -= {cost}", f"if _m.fuel < 0: {self.fail}"]

    # statements

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr():
                self.emit(self.value(node.value).text)
            case ast.Return(value=None):
                self.emit("return")
            case _:
                super()._statement(node)

    def _return(self, value: Value) -> None:
        self.emit(f"return {self.checked(value).text}")

    def _for(self, node: ast.For) -> None:
        # The whole number behind the loop's name can be an index as it is, unless the name is reused;
        # the name itself is only needed where it is read as a number.
        assert isinstance(node.target, ast.Name)
        name, before = node.target.id, self.counters
        index = self.temporary()
        self.emit(f"for {index} in {self.range_text(node.iter)}:")
        if name not in _names(node.body, ast.Store):
            self.count(name, index, node.iter, node.body)
        body = self._branch(node.body)
        self.counters = before
        inside = _reads(node.body).count(name) == self._read.count(name)
        read = not inside or any(re.search(rf"\b{name}\b", line) for line in body)
        item = [f"{name} = {index} + 0.0"] if read else []
        self.indent([*self.charge(node), *item, *body])

    def count(self, name: str, index: str, iterable: ast.expr, body: Sequence[ast.stmt]) -> None:
        super().count(name, index, iterable, body)
        match iterable:
            case ast.Call(args=[ast.Call(func=ast.Name(id=length), args=[ast.Name(id=array)])]):
                if length in _LENGTHS and array not in _names(body, ast.Store):
                    self._below.add((index, _LENGTHS[length].format(array)))

    def _whole(self, node: ast.expr) -> str:
        match node:
            case ast.Call(func=ast.Name(id=length), args=[ast.Name(id=array)]):
                if length in _LENGTHS:
                    return _LENGTHS[length].format(array)
        return super()._whole(node)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        if isinstance(node, ast.AugAssign):
            self._augment(node)
        elif isinstance(node, ast.Assign) and any(map(_has_subscript, node.targets)):
            self._assign_places(node)
        else:
            super()._assign(node)

    def _assign_places(self, node: ast.Assign) -> None:
        # Values are held by names of their own, because an earlier target may change what they read.
        parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        values = []
        for part in parts:
            value, name = self.checked(self.value(part)), self.temporary()
            self.emit(f"{name} = {value.text}")
            values.append(Value(name, True, True))
        for target in node.targets:
            places = target.elts if isinstance(target, ast.Tuple) else [target]
            for place, value in zip(places, values, strict=True):
                self._put(place, value)

    def _store(self, targets: Sequence[ast.expr], values: Sequence[Value]) -> None:
        super()._store(targets, values)
        for target in targets:
            self._hold(target)

    def _hold(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name) and id(target) in self._ranks.arrays:
            self.emit(f"_m.hold('{self._running} {target.id}', {target.id})")

    def _put(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.emit(f"{target.id} = {value.text}")
            self._hold(target)
            return
        assert isinstance(target, ast.Subscript)
        array = self.value(target.value).text
        rank = self._ranks.arrays.get(id(target), 0)
        if isinstance(target.slice, ast.Slice):
            self.emit(f"_put_all(_m, {array}, {value.text})")
        elif rank:
            index = self._index(target.slice, f"len({array})")
            self.emit(f"_put_row(_m, {array}, {index}, {value.text})")
        else:
            self.emit(f"{self._place(target)} = {value.text}")

    def _augment(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Subscript):
            self._augment_place(node, node.target)
        elif id(node.target) in self._ranks.arrays:
            array = self.value(node.target)
            result = self._arrays(BINARY[type(node.op)], [array, self.value(node.value)])
            self.emit(f"_put_all(_m, {array.text}, {result.text})")
        else:
            super()._assign(node)

    def _augment_place(self, node: ast.AugAssign, target: ast.Subscript) -> None:
        array = self.value(target.value).text
        if id(target) in self._ranks.arrays:
            index = self._index(target.slice, f"len({array})")
            row = Value(f"_row(_m, {array}, {index})", True)
            result = self._arrays(BINARY[type(node.op)], [row, self.value(node.value)])
            self.emit(f"_put_row(_m, {array}, {index}, {result.text})")
            return
        place = self._place(target)
        result = self.binary(node.op, Value(place, True), self.value(node.value))
        self.emit(f"{place} = {self.checked(result).text}")

    # expressions

    def value(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.Call) and id(node) in self._ranks.operations:
            return self._operation(node)
        if id(node) not in self._ranks.arrays or isinstance(node, ast.Name | ast.Call):
            return super().value(node)
        match node:
            case ast.BinOp():
                values = [self.value(node.left), self.value(node.right)]
                return self._arrays(BINARY[type(node.op)], values)
            case ast.Compare():
                values = [self.value(node.left), self.value(node.comparators[0])]
                return self._arrays(COMPARISONS[type(node.ops[0])], values)
            case ast.UnaryOp():
                return self._arrays("_negated", [self.value(node.operand)])
        raise AssertionError(f"{type(node).__name__} cannot be an array")

    def _arrays(self, name: str, values: list[Value]) -> Value:
        arguments = ["_m", *(self.checked(value).text for value in values)]
        return Value(f"{name}({', '.join(arguments)})", True)

    def _operation(self, node: ast.Call) -> Value:
        values = [self.value(argument) for argument in node.args]
        if isinstance(node.func, ast.Attribute):
            return self._arrays(f"_each_{node.func.attr}", values)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in _LENGTHS:
            return Value(f"({_LENGTHS[name].format(values[0].text)} + 0.0)", True)
        if name in ("abs", "int", "round"):
            return self._arrays(f"_each_{name}", values)
        return self._arrays(f"_o_{name}", values)

    def _helper(self, name: str, nodes: list[ast.expr]) -> Value:
        arguments = [self.checked(self.value(node)).text for node in nodes]
        return Value(f"_f_{name}({', '.join([*arguments, '_m'])})", True)

    # indices

    def _subscript(self, node: ast.Subscript) -> Value:
        array = self.value(node.value).text
        if isinstance(node.slice, ast.Slice):
            low, high = node.slice.lower, node.slice.upper
            bounds = [
                "0.0" if low is None else self.checked(self.value(low)).text,
                f"(len({array}) + 0.0)" if high is None else self.checked(self.value(high)).text,
            ]
            return Value(f"_slice(_m, {array}, {', '.join(bounds)})", True)
        if id(node) in self._ranks.arrays:
            return Value(f"_row(_m, {array}, {self._index(node.slice, f'len({array})')})", True)
        return Value(self._place(node), True)

    def _place(self, node: ast.Subscript) -> str:
        array = self.value(node.value).text
        if isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
            row = self._index(node.slice.elts[0], f"len({array})")
            return f"{array}[{row}][{self._index(node.slice.elts[1], f'{array}.columns')}]"
        return f"{array}[{self._index(node.slice, f'len({array})')}]"

    def _index(self, node: ast.expr, limit: str) -> str:
        if isinstance(node, ast.Tuple):
            node = node.elts[0]
        if isinstance(node, ast.Name) and node.id in self.counters:
            index = self.counters[node.id]
            if (index, limit) not in self._below:
                self.emit(f"if not 0 <= {index} < {limit}: {self.fail}")
            return index
        value = self.value(node)
        if value.number is not None and value.number.is_integer() and value.number >= 0:
            self.emit(f"if {limit} <= {int(value.number)}: {self.fail}")
            return str(int(value.number))
        name = self.named(value).text
        self.emit(f"if not 0.0 <= {name} < {limit} or {name} % 1.0 != 0.0: {self.fail}")
        return f"int({name})"


def _has_subscript(target: ast.expr) -> bool:
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return any(isinstance(part, ast.Subscript) for part in parts)


def _names(body: Sequence[ast.stmt], context: type[ast.expr_context]) -> list[str]:
    return [
        child.id
        for node in body
        for child in walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, context)
    ]


def _reads(body: Sequence[ast.stmt]) -> list[str]:
    """Return the names that are read, once for each time."""
    found = []
    for child in (child for node in body for child in walk(node)):
        if isinstance(child, ast.AugAssign):
            child = child.target
        elif not (isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load)):
            continue
        if isinstance(child, ast.Name):
            found.append(child.id)
    return found
