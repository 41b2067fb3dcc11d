"""Mutation and crossover of plain Python: each operator is a few edits of the text, or None.

What comes out need not run; the evaluator says so, and pays for it. So operators change little, keep whole
numbers whole, and leave imports, definitions and what a loop runs over alone.
"""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..search.keyless.trees import literal
from .places import Body, Place, Places
from .spans import Edit, Span

Edits = list[Edit]
Operator = Callable[[Places, random.Random], Edits | None]
_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_ORDER: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_EQUAL: tuple[type[ast.cmpop], ...] = (ast.Eq, ast.NotEq)
_CALLS = {
    "min": "max",
    "max": "min",
    "argmin": "argmax",
    "argmax": "argmin",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
}
#: Statements that others lean on.
_KEPT = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def written(value: float, *, whole: bool) -> str:
    """Return a literal of six significant digits; a whole number stays whole."""
    if whole:
        return str(round(value))
    text = f"{value:.6g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"


def is_whole(node: ast.expr) -> bool:
    """Return whether a literal is written as a whole number."""
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int)


def put(place: Place, value: float) -> Edit:
    """Return the edit that writes another number; a new minus stands in brackets."""
    text = written(value, whole=is_whole(place.node))
    if text.startswith("-") and not isinstance(place.node, ast.UnaryOp):
        text = f"({text})"
    return Edit(*place.span, text)


def jitter(places: Places, rng: random.Random) -> Edits | None:
    """Change one literal: by a factor or a step, sometimes its sign or to a round number."""
    place = _pick(places.of("literal"), rng)
    value = literal(place.node) if place is not None else None
    if place is None or value is None:
        return None
    if is_whole(place.node):
        near = [value + 1, value - 1, value * math.exp(rng.gauss(0.0, 0.5))]
        return [put(place, rng.choice(near))]
    if rng.random() < 0.15:
        return [put(place, rng.choice((0.0, 0.5, 1.0, 2.0, -value)))]
    return [put(place, (value or 0.1) * math.exp(rng.gauss(0.0, 0.5)))]


def swap_operator(places: Places, rng: random.Random) -> Edits | None:
    """Exchange an operation, a comparison, ``and`` for ``or``, or a function for its opposite."""
    place = _pick([place for place in places.expressions if _others(place.node)], rng)
    if place is None:
        return None
    made = rng.choice(_others(place.node))
    return [Edit(*place.span, f"({ast.unparse(made)})")]


def _others(node: ast.expr) -> list[ast.expr]:
    """Return what an operation may be exchanged for."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
        return [
            ast.BinOp(node.left, op(), node.right)
            for op in _ARITHMETIC
            if not isinstance(node.op, op)
        ]
    if isinstance(node, ast.Compare):
        group = next((g for g in (_ORDER, _EQUAL) if isinstance(node.ops[0], g)), ())
        others = [op for op in group if not isinstance(node.ops[0], op)]
        return [ast.Compare(node.left, [op(), *node.ops[1:]], node.comparators) for op in others]
    if isinstance(node, ast.BoolOp):
        return [ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)]
    return _opposite(node) if isinstance(node, ast.Call) else []


def _opposite(node: ast.Call) -> list[ast.expr]:
    callee: ast.expr = node.func
    if isinstance(callee, ast.Name) and callee.id in _CALLS:
        callee = ast.Name(_CALLS[callee.id], ast.Load())
    elif isinstance(callee, ast.Attribute) and callee.attr in _CALLS:
        callee = ast.Attribute(callee.value, _CALLS[callee.attr], ast.Load())
    else:
        return []
    return [ast.Call(callee, node.args, node.keywords)]


def swap_name(places: Places, rng: random.Random) -> Edits | None:
    """Calculate with another variable of the same function."""
    place = _pick([p for p in places.of("name") if p.around.number and not p.around.inner], rng)
    if place is None or not isinstance(place.node, ast.Name):
        return None
    others = [n for n in places.numbers(place.around.function) if n != place.node.id]
    return [Edit(*place.span, rng.choice(others))] if others else None


def wrap(places: Places, rng: random.Random) -> Edits | None:
    """Put a number into a larger expression."""
    place = _pick([*places.of("number"), *_calculated(places)], rng)
    if place is None:
        return None
    inner = f"({places.text.text(place.span)})"
    if place.around.whole:
        return [Edit(*place.span, f"({inner} {rng.choice('+-')} 1)")]
    factor = written(math.exp(rng.gauss(0.0, 0.3)), whole=False)
    others = places.numbers(place.around.function) or [factor]
    forms = (
        f"({inner} * {factor})",
        f"({inner} + {written(rng.gauss(0.0, 1.0), whole=False)})",
        f"(abs{inner} ** {factor})",
        f"({inner} * {rng.choice(others)})",
        f"({inner} + {factor} * {rng.choice(others)})",
        f"({inner} / (1.0 + abs({rng.choice(others)})))",
    )
    return [Edit(*place.span, rng.choice(forms))]


def _calculated(places: Places) -> list[Place]:
    return [place for place in places.of("name") if place.around.number]


def hoist(places: Places, rng: random.Random) -> Edits | None:
    """Replace a sum, product and so on by one of its parts."""
    found = [p for p in places.of("number") if isinstance(p.node, ast.BinOp)]
    place = _pick(found, rng)
    if place is None or not isinstance(place.node, ast.BinOp):
        return None
    kept = rng.choice((place.node.left, place.node.right))
    return [Edit(*place.span, f"({places.text.text(places.text.span(kept))})")]


def exchange(places: Places, rng: random.Random) -> Edits | None:
    """Exchange two numbers of one function, neither within the other."""
    found = [place for place in places.of("number", "literal") if not place.around.whole]
    first = _pick(found, rng)
    if first is None:
        return None
    apart = [
        p
        for p in found
        if p.around.function == first.around.function and not _overlap(p.span, first.span)
    ]
    second = _pick(apart, rng)
    if second is None:
        return None
    texts = [f"({places.text.text(place.span)})" for place in (first, second)]
    return [Edit(*first.span, texts[1]), Edit(*second.span, texts[0])]


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def negate(places: Places, rng: random.Random) -> Edits | None:
    """Turn a condition into its opposite."""
    place = _pick(places.of("bool"), rng)
    return None if place is None else [Edit(*place.span, f"(not ({places.text.text(place.span)}))")]


def drop(places: Places, rng: random.Random) -> Edits | None:
    """Leave a statement out."""
    found = _movable(places)
    if not found:
        return None
    body, index = rng.choice(found)
    lines = body.lines[index]
    line = places.text.text(lines)
    indent = line[: len(line) - len(line.lstrip())]
    return [Edit(*lines, f"{indent}pass\n" if len(body.nodes) == 1 else "")]


def repeat(places: Places, rng: random.Random) -> Edits | None:
    """Do a statement twice."""
    found = [(b, i) for b, i in _movable(places) if not isinstance(b.nodes[i], ast.Return)]
    if not found:
        return None
    body, index = rng.choice(found)
    lines = body.lines[index]
    return [Edit(lines.end, lines.end, places.text.text(lines))]


def reorder(places: Places, rng: random.Random) -> Edits | None:
    """Exchange two statements that follow each other."""
    found = [
        (body, index)
        for body, index in _movable(places)
        if index + 1 < len(body.nodes)
        and not isinstance(body.nodes[index + 1], (*_KEPT, ast.Return))
    ]
    if not found:
        return None
    body, index = rng.choice(found)
    one, other = body.lines[index], body.lines[index + 1]
    if not places.text.text(other).endswith("\n"):
        return None
    return [
        Edit(*one, places.text.text(other)),
        Edit(*other, places.text.text(one)),
    ]


def _movable(places: Places) -> list[tuple[Body, int]]:
    """Return the statements that may go or come twice: none that defines, imports or only explains."""
    return [
        (body, index)
        for body in places.bodies
        for index, node in enumerate(body.nodes)
        if not isinstance(node, _KEPT) and not _is_text(node) and not isinstance(node, ast.Pass)
    ]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def function_from(places: Places, father: Places, rng: random.Random) -> Edits | None:
    """Take over a function of the same name."""
    found = [
        (Edit(*places.text.span(ours), father.text.text(father.text.span(theirs))))
        for name, ours in places.functions.items()
        for theirs in [father.functions.get(name)]
        if theirs is not None
        and ours.col_offset == theirs.col_offset
        and ast.dump(ours) != ast.dump(theirs)
    ]
    return [rng.choice(found)] if found else None


def expression_from(places: Places, father: Places, rng: random.Random) -> Edits | None:
    """Take over an expression of the function of the same name, whose variables are known there."""
    target = _pick(places.of("number", "bool"), rng)
    if target is None:
        return None
    function = target.around.function
    known = _names(place.node for place in places.expressions if place.around.function == function)
    donors = [
        place
        for place in father.of(target.sort)
        if place.around == replace(target.around, number=place.around.number)
        and _names([place.node]) <= known
        and father.text.text(place.span) != places.text.text(target.span)
    ]
    donor = _pick(donors, rng)
    return None if donor is None else [Edit(*target.span, f"({father.text.text(donor.span)})")]


def _names(nodes: Iterable[ast.expr]) -> set[str]:
    return {inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _pick(found: Sequence[Place], rng: random.Random) -> Place | None:
    return rng.choice(found) if found else None


#: Weight and function of every operator, by the name that the log shows.
OPERATORS: dict[str, tuple[float, Operator]] = {
    "jitter": (2.0, jitter),
    "swap_operator": (1.0, swap_operator),
    "swap_name": (1.0, swap_name),
    "wrap": (1.5, wrap),
    "hoist": (0.7, hoist),
    "exchange": (0.5, exchange),
    "negate": (0.5, negate),
    "drop": (0.7, drop),
    "repeat": (0.3, repeat),
    "reorder": (0.5, reorder),
}
