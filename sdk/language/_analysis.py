"""What is known of a checked source before it runs: call order, constants, size and fuel."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import LanguageError
from ._grammar import Outline, body_of, refuse
from ._names import REMAINDER_FUEL, WHOLE_LIMIT
from ._text import MAX_DEPTH, children, depth, walk

#: Statements and expressions nested, followed through calls.
MAX_CALL_DEPTH = 2 * MAX_DEPTH


class Cost(NamedTuple):
    """Fuel of a piece of code, one unit per statement and expression.

    Attributes:
        straight: charged on entry, whatever path is taken; bodies of loops are not in it.
        bound: the most that it can use with its loops; infinite where that is not known.
    """

    straight: float
    bound: float

    def plus(self, other: Cost) -> Cost:
        """Return the cost of one after the other."""
        return Cost(self.straight + other.straight, self.bound + other.bound)


@dataclass(slots=True)
class Analysis:
    """A checked source with what its tiers need to agree on.

    Attributes:
        functions: by name, every function after those that it calls.
        constants: values of the module's constants.
        costs: of each function.
        charges: fuel of one iteration, by the identity of the loop's node.
        looping: functions that need a fuel counter while they run.
    """

    functions: dict[str, ast.FunctionDef]
    constants: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    charges: dict[int, int] = field(default_factory=dict)
    looping: frozenset[str] = frozenset()


def analyse(found: Outline, constants: dict[str, float], entry: str) -> Analysis:
    """Order and cost a source that the grammar has accepted."""
    functions = _call_order(found.functions)
    result = Analysis(functions, constants)
    levels: dict[str, int] = {}
    for name, function in functions.items():
        levels[name] = depth(function) + max(
            (levels[other] for other in calls(function) & functions.keys()), default=0
        )
        if levels[name] > MAX_CALL_DEPTH:
            refuse(function, f"calls nested deeper than {MAX_CALL_DEPTH}")
        result.costs[name] = _Meter(result).block(body_of(function))
    result.looping = _looping(functions)
    if entry not in functions:
        raise LanguageError(f"no function '{entry}'; define 'def {entry}(...)'")
    return result


def count_nodes(found: Outline) -> int:
    """Return the number of statements and expressions of a source."""
    roots: list[ast.AST] = list(found.constants.values())
    for function in found.functions.values():
        roots += [function.args, *body_of(function)]
    counted = (ast.expr, ast.stmt)
    return len(found.functions) + sum(
        isinstance(node, counted) for root in roots for node in walk(root)
    )


def calls(function: ast.FunctionDef) -> set[str]:
    """Return the names of what a function calls by a plain name, built-ins included."""
    return {
        node.func.id
        for node in walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def trip_count(iterable: ast.expr, constants: dict[str, float]) -> int | None:
    """Return how often a loop over ``range(...)`` runs when its arguments are constants, or None."""
    limits = range_constants(iterable, constants)
    if limits is None or limits[2] == 0:
        return None
    return len(range(*limits))


def range_constants(iterable: ast.expr, constants: dict[str, float]) -> tuple[int, int, int] | None:
    """Return start, stop and step of a range of whole constants, or None."""
    assert isinstance(iterable, ast.Call)
    values = [_literal(argument, constants) for argument in iterable.args]
    whole = [int(value) for value in values if value is not None and _is_whole(value)]
    if len(whole) != len(values):
        return None
    if len(whole) == 1:
        return 0, whole[0], 1
    return whole[0], whole[1], whole[2] if len(whole) == 3 else 1


def _is_whole(value: float) -> bool:
    # Beyond the limit every range faults when it runs, in every tier.
    return abs(value) <= WHOLE_LIMIT and value == math.floor(value)


def _literal(node: ast.expr, constants: dict[str, float]) -> float | None:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return constants.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _literal(operand, constants)
            return None if inner is None else -inner
    return None


def _call_order(functions: dict[str, ast.FunctionDef]) -> dict[str, ast.FunctionDef]:
    ordered: dict[str, ast.FunctionDef] = {}
    open_: set[str] = set()

    def place(name: str) -> None:
        if name in ordered:
            return
        if name in open_:
            refuse(functions[name], f"'{name}' calls itself; recursion is not allowed")
        open_.add(name)
        for other in sorted(calls(functions[name]) & functions.keys()):
            place(other)
        ordered[name] = functions[name]

    for name in functions:
        place(name)
    return ordered


def _looping(functions: dict[str, ast.FunctionDef]) -> frozenset[str]:
    names: set[str] = set()
    for name, function in functions.items():
        own = any(
            isinstance(node, ast.For | ast.While | ast.GeneratorExp) for node in walk(function)
        )
        if own or calls(function) & names:
            names.add(name)
    return frozenset(names)


class _Meter:
    """Adds up the cost of statements and expressions and notes the charge of every loop."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def block(self, nodes: list[ast.stmt] | list[ast.expr]) -> Cost:
        total = Cost(0, 0)
        for node in nodes:
            total = total.plus(self._node(node))
        return total

    def _node(self, node: ast.AST) -> Cost:
        own = Cost(1, 1) if isinstance(node, ast.expr | ast.stmt) else Cost(0, 0)
        match node:
            case ast.While():
                test = self._node(node.test)
                self._charge(node, test.plus(self.block(node.body)))
                return Cost(own.straight + test.straight, math.inf)
            case ast.For():
                body = self._charge(node, self.block(node.body))
                return own.plus(self._ranged(node.iter, body))
            case ast.GeneratorExp():
                part = node.generators[0]
                body = self._charge(node, self.block([*part.ifs, node.elt]))
                return own.plus(self._ranged(part.iter, body))
            case ast.Call(func=ast.Name(id=name)) if name in self._analysis.functions:
                own = own.plus(self._analysis.costs[name])
            case (
                ast.BinOp(op=ast.FloorDiv() | ast.Mod())
                | ast.AugAssign(op=ast.FloorDiv() | ast.Mod())
            ):
                own = own.plus(Cost(REMAINDER_FUEL, REMAINDER_FUEL))
        return own.plus(self._children(node))

    def _children(self, node: ast.AST) -> Cost:
        total = Cost(0, 0)
        for child in children(node):
            total = total.plus(self._node(child))
        return total

    def _charge(self, node: ast.AST, body: Cost) -> Cost:
        self._analysis.charges[id(node)] = int(body.straight) + 1
        return Cost(body.straight + 1, body.bound + 1)

    def _ranged(self, iterable: ast.expr, body: Cost) -> Cost:
        header = self._node(iterable)
        trips = trip_count(iterable, self._analysis.constants)
        if trips is None:
            return Cost(header.straight, math.inf)
        return Cost(header.straight, header.bound + (trips * body.bound if trips else 0))
