"""One lowering for every tier: a checked source becomes straight Python text over float64 locals.

The text signals a fault by returning NaN and never raises. Plus, minus, times, absolute value and the
numerator of a division hand a value that is not finite on to their result, so a tree of them is
tested once, at its root; variables, comparisons, arguments and results are always finite.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ._analysis import Analysis, calls
from ._expressions import Expressions, Scope
from ._flow import ends_here
from ._grammar import body_of
from ._reads import certain_reads, leading
from ._text import walk
from ._value import Value


def lower(analysis: Analysis, entry: str, inputs: Sequence[str], fuel: int) -> str:
    """Return the lowered text of a program; its entry function is named ``_score``.

    Args:
        analysis: of the checked source.
        entry: the source's function that is the score.
        inputs: parameters of the lowered entry, in order; a superset of the source's.
        fuel: charged per evaluation; no counter is compiled in where it cannot run out.
    """
    statements, start = _entry_scope(analysis, entry, fuel)
    statements.open(analysis.functions[entry], start)
    return helpers(analysis, entry, fuel) + statements.closed(f"def _score({', '.join(inputs)}):")


def lower_inline(
    analysis: Analysis, entry: str, inputs: Sequence[str], fuel: int, fail: str
) -> list[str] | None:
    """Return the entry's statements for use inside a loop over rows, by the same lowering.

    They leave the score in ``_value``, or run ``fail`` on a fault. None where the score returns before
    its end or assigns to an input, so that its statements cannot stand in a loop.
    """
    function = analysis.functions[entry]
    returns = sum(isinstance(node, ast.Return) for node in walk(function))
    if (
        returns > 1
        or not isinstance(function.body[-1], ast.Return)
        or not _assigned(function).isdisjoint(inputs)
    ):
        return None
    statements, start = _entry_scope(analysis, entry, fuel)
    statements.fail = fail
    statements.inline = True
    statements.open(function, start)
    return statements.lines


def helpers(analysis: Analysis, entry: str, fuel: int) -> str:
    """Return the lowered text of the functions that an entry calls, callees first."""
    metered = _metered(analysis, entry, fuel)
    reached = _reached(analysis, entry) - {entry}
    texts = []
    for name, function in analysis.functions.items():
        if name in reached:
            texts.append(Statements(Scope(analysis, metered, name in metered)).helper(function))
    return "".join(texts)


def _metered(analysis: Analysis, entry: str, fuel: int) -> frozenset[str]:
    return analysis.looping if analysis.costs[entry].bound > fuel else frozenset()


def _entry_scope(analysis: Analysis, entry: str, fuel: int) -> tuple[Statements, int | None]:
    metered = _metered(analysis, entry, fuel)
    remaining = fuel - int(analysis.costs[entry].straight)
    return Statements(Scope(analysis, metered, False)), remaining if entry in metered else None


def _reached(analysis: Analysis, entry: str) -> set[str]:
    names = {entry}
    for name in reversed(analysis.functions):
        if name in names:
            names |= calls(analysis.functions[name]) & analysis.functions.keys()
    return names


class Statements(Expressions):
    """Lowers the statements of one function."""

    inline = False

    def open(self, function: ast.FunctionDef, fuel: int | None) -> None:
        """Lower the entry's statements, with the tests of its inputs before them."""
        self.counts_fuel = fuel is not None
        self._inputs(function)
        if fuel is not None:
            self.emit(f"_fuel = {fuel}")
        statements = body_of(function)
        for index, statement in enumerate(statements):
            self._statement(statement)
            if index < leading(statements):
                self.unverified -= certain_reads(statement)

    def helper(self, function: ast.FunctionDef) -> str:
        """Return the text of a function that the entry calls."""
        self.counts_fuel = self.scope.returns_fuel
        parameters = [argument.arg for argument in function.args.args]
        if self.counts_fuel:
            parameters.append("_fuel")
        self._block(body_of(function))
        return self.closed(f"def _f_{function.name}({', '.join(parameters)}):")

    def closed(self, head: str) -> str:
        """Return the function's text under its first line."""
        if not self.lines[-1].startswith("return"):
            # Never reached, as every path returns; it keeps the compiled tier's result type a float.
            self.emit(self.fail)
        return "\n".join([head, *(f" {line}" for line in self.lines), ""])

    def _inputs(self, function: ast.FunctionDef) -> None:
        named = [argument.arg for argument in function.args.args]
        statements = body_of(function)
        ready: set[str] = set()
        assigned: set[str] = set()
        for statement in statements[: leading(statements)]:
            ready |= certain_reads(statement) - assigned
            assigned |= _assigned(statement)
        self.unverified = {name for name in named if name in ready}
        rest = [f"({name} - {name})" for name in named if name not in ready]
        if rest:
            self.emit(f"if {' + '.join(rest)} != 0.0: {self.fail}")

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)
            if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                return

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Return(value=ast.expr() as value):
                self._return(self.value(value))
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assign(node)
            case ast.If():
                self._if(node)
            case ast.While():
                self._while(node)
            case ast.For():
                self._for(node)
            case ast.Break():
                self.emit("break")
            case ast.Continue():
                self.emit("continue")
            case ast.Pass():
                self.emit("pass")

    def _return(self, value: Value) -> None:
        if self.inline:
            self.emit(f"_value = {self.checked(value).text}")
            return
        text = value.text
        if not value.finite:
            name = self.named(value).text
            text = f"{name} if {name} - {name} == 0.0 else _NAN"
        self.emit(f"return ({text}), _fuel" if self.scope.returns_fuel else f"return {text}")

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        assert node.value is not None
        if isinstance(node, ast.AugAssign):
            left = self.value(node.target)
            self._store([node.target], [self.binary(node.op, left, self.value(node.value))])
        elif isinstance(node.value, ast.Tuple):
            values = [self.checked(self.value(element)) for element in node.value.elts]
            for target in node.targets if isinstance(node, ast.Assign) else []:
                assert isinstance(target, ast.Tuple)
                self._store(target.elts, values)
        elif isinstance(node, ast.Assign) and len(node.targets) > 1:
            value = self.named(self.checked(self.value(node.value)))
            for target in node.targets:
                self._store([target], [value])
        else:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            self._store([target], [self.value(node.value)])

    def _store(self, targets: Sequence[ast.expr], values: Sequence[Value]) -> None:
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if names:
            self.emit(f"{', '.join(names)} = {', '.join(value.text for value in values)}")
        for name, value in zip(names, values, strict=True):
            if not value.finite:
                self.emit(f"if {name} - {name} != 0.0: {self.fail}")

    def _if(self, node: ast.If) -> None:
        self.emit(f"if {self.condition(node.test)}:")
        self.indent(self._branch(node.body))
        if node.orelse:
            self.emit("else:")
            self.indent(self._branch(node.orelse))

    def _branch(self, statements: list[ast.stmt]) -> list[str]:
        return self.captured(lambda: self._block(statements))[0]

    def _while(self, node: ast.While) -> None:
        lines, test = self.captured(lambda: self.condition(node.test))
        if ends_here(node.test):
            lines, test = [], "True"
        body = self._branch(node.body)
        if lines:
            body = [*lines, f"if not {test}: break", *self.charge(node), *body]
            test = "True"
        else:
            body = [*self.charge(node), *body]
        self.emit(f"while {test}:")
        self.indent(body)

    def _for(self, node: ast.For) -> None:
        assert isinstance(node.target, ast.Name)
        index = self.temporary()
        self.emit(f"for {index} in {self.range_text(node.iter)}:")
        body = self._branch(node.body)
        self.indent([*self.charge(node), f"{node.target.id} = {index} + 0.0", *body])


def _assigned(node: ast.stmt) -> set[str]:
    return {
        child.id
        for child in walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    }
