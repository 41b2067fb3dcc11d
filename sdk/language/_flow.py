"""Every name is assigned before it is read, and every path returns a value."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ._grammar import body_of, refuse
from ._text import children

#: Names assigned on every path that leads here; None where no path does.
State = frozenset[str] | None


def check_flow(
    function: ast.FunctionDef, constants: Iterable[str], *, may_end: bool = False
) -> None:
    """Refuse a function that may read an unassigned name or, unless it may, end without returning."""
    start = frozenset(argument.arg for argument in function.args.args) | frozenset(constants)
    end = _Flow().block(body_of(function), start)
    if end is not None and not may_end:
        refuse(function, f"a path through '{function.name}' ends without return")


def ends_here(test: ast.expr) -> bool:
    """Return whether a loop with this test never ends by the test: ``while True``."""
    return isinstance(test, ast.Constant) and bool(test.value)


def _meet(left: State, right: State) -> State:
    if left is None:
        return right
    return left if right is None else left & right


class _Flow:
    def __init__(self) -> None:
        self._breaks: list[State] = []

    def block(self, statements: list[ast.stmt], state: State) -> State:
        for statement in statements:
            state = self._statement(statement, state)
        return state

    def _statement(self, node: ast.stmt, state: State) -> State:
        match node:
            case ast.Return():
                if node.value is not None:
                    self._read(node.value, state)
                return None
            case ast.Expr():
                self._read(node.value, state)
            case ast.Break():
                self._breaks[-1] = _meet(self._breaks[-1], state)
                return None
            case ast.Continue():
                return None
            case ast.If():
                self._read(node.test, state)
                return _meet(self.block(node.body, state), self.block(node.orelse, state))
            case ast.While():
                return self._while(node, state)
            case ast.For():
                return self._for(node, state)
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign():
                return self._assign(node, state)
        return state

    def _while(self, node: ast.While, state: State) -> State:
        self._read(node.test, state)
        self._breaks.append(None)
        self.block(node.body, state)
        broken = self._breaks.pop()
        return broken if ends_here(node.test) else state

    def _for(self, node: ast.For, state: State) -> State:
        self._read(node.iter, state)
        self._breaks.append(None)
        self.block(node.body, _with(state, [node.target]))
        self._breaks.pop()
        return state

    def _assign(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign, state: State) -> State:
        if isinstance(node, ast.AugAssign):
            self._read(node.target, state)
        if node.value is not None:
            self._read(node.value, state)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Subscript):
                    self._read(part, state)
                state = _with(state, [part])
        return state

    def _read(self, node: ast.expr, state: State) -> None:
        if state is None:
            return
        if isinstance(node, ast.GeneratorExp):
            self._generator(node, state)
        elif isinstance(node, ast.Name):
            if node.id not in state:
                refuse(node, f"'{node.id}' may be read before it is assigned")
        else:
            for child in _operands(node):
                self._read(child, state)

    def _generator(self, node: ast.GeneratorExp, state: State) -> None:
        part = node.generators[0]
        self._read(part.iter, state)
        inner = _with(state, [part.target])
        for child in [*part.ifs, node.elt]:
            self._read(child, inner)


def _operands(node: ast.expr) -> list[ast.expr]:
    """Return the expressions that a node reads: not the name of what it calls."""
    if isinstance(node, ast.Call):
        return node.args
    if isinstance(node, ast.Attribute):
        return []
    return [child for child in children(node) if isinstance(child, ast.expr)]


def _with(state: State, targets: list[ast.expr]) -> State:
    if state is None:
        return None
    return state | {target.id for target in targets if isinstance(target, ast.Name)}
