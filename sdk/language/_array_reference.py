"""The reference tier of the program form: walks the syntax tree, arrays flat with their shape.

It shares neither code nor representation with the lowered text's operations, so that a differential
test can tell the two apart. It is slow and it says why a program faulted.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

from ._analysis import Analysis
from ._array_reference_ops import Grid, Reading, Term, apply_each, operate
from ._array_table import EACH, OPERATION_FUEL, OPERATIONS
from ._contract import HostOperation
from ._grammar import body_of
from ._interpret import COMPARISONS, End, Fault, Interpreter, Jump, Names
from ._names import REMAINDER_FUEL

Host = Mapping[str, tuple[HostOperation, Callable[..., Term]]]


class ArrayInterpreter(Interpreter):
    """Runs a program form, fuel and elements counted.

    Args:
        analysis: of the checked source.
        fuel: left after the entry's straight cost.
        elements: that may be made.
        host: the host's operations, declared and callable on terms.
    """

    def __init__(self, analysis: Analysis, fuel: int, elements: int, host: Host) -> None:
        super().__init__(analysis, fuel)
        self._elements = elements
        self._host = host
        self._arrays: dict[str, Grid] = {}
        self._held: dict[str, int] = {}
        self._running = ""

    @property
    def fuel(self) -> int:
        """What is left."""
        return self._fuel

    def invoke(self, function: ast.FunctionDef, terms: list[Term]) -> Term | None:
        """Return a function's value, or None where it returns nothing; or raise Fault."""
        outer, caller = self._arrays, self._running
        self._arrays, self._running = {}, function.name
        names: Names = {}
        for argument, term in zip(function.args.args, terms, strict=True):
            if isinstance(term, Grid):
                self._arrays[argument.arg] = term
            else:
                names[argument.arg] = term
        end = self._block(body_of(function), names)
        self._arrays, self._running = outer, caller
        return end if isinstance(end, float | Grid) else None

    def spend(self, fuel: int, node: ast.AST) -> None:
        """Charge fuel."""
        self._fuel -= fuel
        if self._fuel < 0:
            raise Fault("out of fuel", node)

    def made(self, term: Term, node: ast.AST) -> Term:
        """Charge for a term that was made, and return it."""
        if isinstance(term, Grid):
            self.room(term.charge, node)
            self.spend(term.charge, node)
        elif not math.isfinite(term):
            raise Fault("overflow", node)
        return term

    def room(self, number: int, node: ast.AST) -> None:
        """Fault before so many elements are made, where they could not be paid for."""
        if number > self._elements:
            raise Fault("out of elements", node)
        if number > self._fuel:
            raise Fault("out of fuel", node)

    # statements

    def _statement(self, node: ast.stmt, names: Names) -> End:
        match node:
            case ast.Return(value=None):
                return Jump.RETURN
            case ast.Return(value=ast.expr() as value):
                return self.term(value, names)
            case ast.Expr(value=ast.Call() as call):
                self._call_helper(call, names)
                return None
        return super()._statement(node, names)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, names: Names) -> None:
        assert node.value is not None
        if isinstance(node, ast.AugAssign):
            self._augment(node, names)
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(node.value, ast.Tuple):
            values = [self.term(part, names) for part in node.value.elts]
        else:
            values = [self.term(node.value, names)]
        for target in targets:
            places = target.elts if isinstance(target, ast.Tuple) else [target]
            for place, value in zip(places, values, strict=True):
                self._place(place, value, names)

    def _augment(self, node: ast.AugAssign, names: Names) -> None:
        target = node.target
        if isinstance(target, ast.Subscript):
            array, indices = self._array(target.value), self._indices(target, names)
            old, right = self._at(array, indices, target), self.term(node.value, names)
            self._store(array, indices, self._combine(node, node.op, old, right), target)
            return
        old, right = self.term(target, names), self.term(node.value, names)
        value = self._combine(node, node.op, old, right)
        if isinstance(old, Grid):
            self._overwrite(old, value, node)
        else:
            self._place(target, value, names)

    def _place(self, target: ast.expr, value: Term, names: Names) -> None:
        if isinstance(target, ast.Name):
            self._name(target, value, names)
            return
        assert isinstance(target, ast.Subscript)
        array = self._array(target.value)
        if isinstance(target.slice, ast.Slice):
            self._overwrite(array, value, target)
            return
        self._store(array, self._indices(target, names), value, target)

    def _store(self, array: Grid, indices: list[float], value: Term, node: ast.AST) -> None:
        at, length = array.span(indices, Reading(node))
        if length is None:
            assert isinstance(value, float)
            array.cells[at] = value
            return
        self.spend(length, node)
        cells = value.cells if isinstance(value, Grid) else [value] * length
        if len(cells) != length:
            raise Fault(f"{len(cells)} elements written over {length}", node)
        array.cells[at : at + length] = cells

    def _overwrite(self, array: Grid, value: Term, node: ast.AST) -> None:
        self.spend(array.charge, node)
        if isinstance(value, Grid) and value.shape != array.shape:
            raise Fault(f"shape {value.shape} written over {array.shape}", node)
        count = len(array.cells)
        array.cells[:] = list(value.cells) if isinstance(value, Grid) else [value] * count

    def _name(self, target: ast.Name, value: Term, names: Names) -> None:
        if not isinstance(value, Grid):
            names[target.id] = value
            return
        self._arrays[target.id] = value
        key = f"{self._running} {target.id}"
        more = value.charge - self._held.get(key, 0)
        if more > 0:
            self.room(more, target)
            self._elements -= more
            self._held[key] = value.charge

    # expressions

    def _expression(self, node: ast.expr, names: Names) -> float:
        result = self._term(node, names)
        assert isinstance(result, float)
        return result

    def term(self, node: ast.expr, names: Names) -> Term:
        """Return an expression's value, all of it finite, or raise Fault."""
        result = self._term(node, names)
        if isinstance(result, float) and not math.isfinite(result):
            raise Fault("overflow", node)
        return result

    def _term(self, node: ast.expr, names: Names) -> Term:
        match node:
            case ast.Name(id=name) if name in self._arrays and name not in names:
                return self._arrays[name]
            case ast.BinOp():
                left, right = self.term(node.left, names), self.term(node.right, names)
                return self._combine(node, node.op, left, right)
            case ast.Compare(ops=[operator], comparators=[second]):
                left, right = self.term(node.left, names), self.term(second, names)
                test = COMPARISONS[type(operator)]
                return self._each(node, [left, right], lambda x, y: float(test(x, y)))
            case ast.UnaryOp(op=ast.USub()):
                operand = self.term(node.operand, names)
                return self._each(node, [operand], lambda x: -x)
            case ast.Subscript():
                return self._read(node, names)
            case ast.Call():
                return self._called(node, names)
        return super()._expression(node, names)

    def _combine(self, node: ast.AST, operator: ast.operator, left: Term, right: Term) -> Term:
        fuel = REMAINDER_FUEL if isinstance(operator, ast.FloorDiv | ast.Mod) else 1
        return self._each(
            node, [left, right], lambda x, y: self._binary(node, operator, x, y), fuel
        )

    def _each(
        self, node: ast.AST, terms: list[Term], function: Callable[..., float], fuel: int = 1
    ) -> Term:
        if all(isinstance(term, float) for term in terms):
            return function(*terms)
        self.spend(OPERATION_FUEL, node)
        self.spend((fuel - 1) * self._read_all(terms, node), node)
        return self.made(apply_each(function, terms, Reading(node)), node)

    def _read_all(self, terms: list[Term], node: ast.AST) -> int:
        total = sum(term.charge for term in terms if isinstance(term, Grid))
        self.spend(total, node)
        return total

    def _array(self, node: ast.expr) -> Grid:
        assert isinstance(node, ast.Name)
        return self._arrays[node.id]

    def _indices(self, node: ast.Subscript, names: Names) -> list[float]:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return [self.value(part, names) for part in parts]

    def _read(self, node: ast.Subscript, names: Names) -> Term:
        array, reading = self._array(node.value), Reading(node)
        if isinstance(node.slice, ast.Slice):
            low, high = node.slice.lower, node.slice.upper
            start = 0.0 if low is None else self.value(low, names)
            stop = float(len(array.cells)) if high is None else self.value(high, names)
            end = reading.whole(stop, len(array.cells) + 1, "slice")
            begin = reading.whole(start, end + 1, "slice")
            return self.made(Grid(array.cells[begin:end], (end - begin,)), node)
        return self._at(array, self._indices(node, names), node)

    def _at(self, array: Grid, indices: list[float], node: ast.AST) -> Term:
        at, length = array.span(indices, Reading(node))
        if length is None:
            return array.cells[at]
        return self.made(Grid(array.cells[at : at + length], (length,)), node)

    # calls

    def _called(self, node: ast.Call, names: Names) -> Term:
        if node.args and isinstance(node.args[0], ast.Tuple | ast.List | ast.GeneratorExp):
            return super()._call(node, names)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Name):
            name = node.func.id
            if name in self._analysis.functions:
                result = self._call_helper(node, names)
                assert result is not None
                return result
        terms = [self.term(argument, names) for argument in node.args]
        if name in self._host:
            return self._host_call(name, terms, node)
        if name in EACH and isinstance(terms[0], Grid):
            return self._each(node, terms, lambda x: self._scalar(node, [x]))
        if name in OPERATIONS and not (name in ("min", "max", "sum") and len(terms) > 1):
            return self._operate(name, terms, node)
        assert all(isinstance(term, float) for term in terms)
        return self._scalar(node, [term for term in terms if isinstance(term, float)])

    def _scalar(self, node: ast.Call, values: list[float]) -> float:
        """Call a function of numbers on numbers, as the score form does."""
        constants: list[ast.expr] = [ast.Constant(value) for value in values]
        call = ast.copy_location(ast.Call(node.func, constants, []), node)
        return super()._call(call, {})

    def _operate(self, name: str, terms: list[Term], node: ast.AST) -> Term:
        if name not in ("len", "shape0", "shape1"):
            self.spend(OPERATION_FUEL, node)
            total = self._read_all(terms, node)
            if name in ("sort", "argsort"):
                self.spend(total * (total.bit_length() - 1) if total else 0, node)
        result = operate(name, terms, Reading(node), lambda number: self.room(number, node))
        return self.made(result, node)

    def _host_call(self, name: str, terms: list[Term], node: ast.AST) -> Term:
        operation, function = self._host[name]
        self.spend(operation.fuel, node)
        self.spend((operation.each - 1) * self._read_all(terms, node), node)
        result = function(*terms)
        cells = result.cells if isinstance(result, Grid) else [result]
        if not all(math.isfinite(cell) for cell in cells):
            raise Fault(f"'{name}' gave a number that is not finite", node)
        return self.made(result, node)

    def _call_helper(self, node: ast.Call, names: Names) -> Term | None:
        assert isinstance(node.func, ast.Name)
        terms = [self.term(argument, names) for argument in node.args]
        return self.invoke(self._analysis.functions[node.func.id], terms)
