"""Random typed expressions: what mutation inserts and what the control arm ``random`` is made of."""

from __future__ import annotations

import ast
import math
import random

from ..space import Space
from .trees import call, name, number

_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult)


def constant(rng: random.Random) -> ast.expr:
    """Return a positive literal around one."""
    return number(math.exp(rng.gauss(0.0, 1.0)))


def condition(space: Space, rng: random.Random) -> ast.expr:
    """Return a comparison of a feature with a threshold of its usual size."""
    feature = space.feature(rng)
    threshold = space.scale(feature) * math.exp(rng.gauss(0.0, 0.7))
    operation = ast.Lt() if rng.random() < 0.5 else ast.Gt()
    return ast.Compare(name(feature.name), [operation], [number(threshold)])


def expression(space: Space, rng: random.Random, depth: int) -> ast.expr:
    """Return a random number-valued expression of at most ``depth`` levels below its root."""
    if depth <= 0 or rng.random() < 0.15:
        return name(space.feature(rng).name) if rng.random() < 0.75 else constant(rng)
    left = expression(space, rng, depth - 1)
    form = rng.random()
    if form < 0.5:
        operation = rng.choice(_ARITHMETIC)()
        return ast.BinOp(left, operation, expression(space, rng, depth - 1))
    if form < 0.65:
        return ast.BinOp(left, ast.Div(), positive(expression(space, rng, depth - 1)))
    if form < 0.8:
        return call(rng.choice(("min", "max")), left, expression(space, rng, depth - 1))
    if form < 0.9:
        return logarithm(left)
    return ast.IfExp(condition(space, rng), left, expression(space, rng, depth - 1))


def positive(node: ast.expr) -> ast.expr:
    """Return an expression that is at least one, to divide by."""
    return ast.BinOp(call("abs", node), ast.Add(), number(1.0))


def logarithm(node: ast.expr) -> ast.expr:
    """Return ``log1p(abs(...))``, which is defined everywhere."""
    return call("math.log1p", call("abs", node))
