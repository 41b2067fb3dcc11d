"""Typed mutation and crossover of policies: number stays number, truth value stays truth value."""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Callable

from ....sdk.kind import SINCE_PICKED
from ....sdk.language import syntax_tree
from ..space import Space, log_sum
from .grammar import condition, constant, expression, logarithm, positive
from .simplify import simplified
from .trees import (
    Slot,
    call,
    function,
    literal,
    locals_of,
    name,
    names,
    number,
    render,
    size,
    size_of,
    slots,
    wrapped,
)

Operator = Callable[[ast.Module, Space, random.Random], bool]
_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult)
_COMPARISONS: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_TRIES = 8
_BASE = "base"
_FIRST = 1e300  # before every score that means something


def mutated(source: str, space: Space, rng: random.Random) -> tuple[str, str] | None:
    """Return a mutated program and the names of the operators used, joined by ``+``.

    None when several attempts changed nothing or outgrew both the space's limit and their parent.

    Args:
        source: of a program that passed the language check.
    """
    limit = _limit(space, source)
    for _ in range(_TRIES):
        tree = syntax_tree(source)
        applied = _apply_some(tree, space, rng)
        text = _finished(tree, space, limit)
        if applied and text is not None and text != source:
            return text, "+".join(applied)
    return None


def _apply_some(tree: ast.Module, space: Space, rng: random.Random) -> list[str]:
    count = rng.choices((1, 2, 3), (0.7, 0.2, 0.1))[0]
    chosen = rng.choices(list(OPERATORS), [weight for weight, _ in OPERATORS.values()], k=count)
    return [operator for operator in chosen if OPERATORS[operator][1](tree, space, rng)]


def _limit(space: Space, *sources: str) -> int:
    """Return the size that a child may have: a parent that is over the limit may shrink slowly."""
    return max(space.limit, *map(size_of, sources))


def _finished(tree: ast.Module, space: Space, limit: int) -> str | None:
    tree = simplified(tree)
    return render(tree, space.kind.input_names) if size(tree) <= limit else None


def crossed(mother: str, father: str, space: Space, rng: random.Random) -> str | None:
    """Return a program made of two, or None when they have nothing to exchange within the limit.

    Either an expression of the mother is replaced by one of the father, or, for programs of one
    expression, both are joined: as a weighted sum, or one for each side of a condition.
    """
    limit = _limit(space, mother, father)
    for _ in range(_TRIES):
        tree = syntax_tree(mother)
        donors = movable(syntax_tree(father))
        done = (
            _joined(tree, donors, space, rng) if rng.random() < 0.4 else _grafted(tree, donors, rng)
        )
        text = _finished(tree, space, limit) if done else None
        if text is not None and text not in (mother, father):
            return text
    return None


def movable(tree: ast.Module) -> list[Slot]:
    """Return the expressions of a program that mean the same elsewhere: they use features alone."""
    bound, found = locals_of(tree) & names(tree), slots(tree)
    return [slot for slot in found if not names(slot.node) & bound] if bound else found


def probing(source: str, space: Space, decisions: int) -> str | None:
    """Return a program that picks what was not picked for so many decisions, and else as before.

    None when the program does not return one expression, or would outgrow the kind's limit.
    """
    tree = syntax_tree(source)
    root = _returned(slots(tree))
    if root is None:
        return None
    first = -_FIRST if space.kind.order == "lowest" else _FIRST
    recent = ast.Compare(name(SINCE_PICKED.name), [ast.Lt()], [number(float(decisions))])
    root.put(ast.IfExp(recent, root.node, number(first)))
    return _finished(tree, space, space.kind.max_nodes)


def bare(source: str, space: Space) -> list[str]:
    """Return the programs that are left where one condition, loop or update is taken out, in order."""
    made = []
    for which in range(len(_statements(syntax_tree(source)))):
        tree = syntax_tree(source)
        body, at = _statements(tree)[which]
        del body[at]
        made.append(_finished(tree, space, space.kind.max_nodes))
    return [text for text in made if text is not None]


def extended(source: str, space: Space) -> str | None:
    """Return a program that decides as before, with weights of 0 on the logarithms of all features to tune.

    (But for values that differ in their last digits, which a logarithm may not tell apart.)

    What it returns last is squeezed into its logarithm, which keeps its order, so that weights mean much the
    same whatever its size; where it is a product of powers, they are exponents. None when it ends otherwise,
    or would outgrow the kind's limit.
    """
    tree = syntax_tree(source)
    body = function(tree).body
    last = body[-1]
    if not isinstance(last, ast.Return) or last.value is None or _BASE in names(tree):
        return None
    kept = ast.Assign([ast.Name(_BASE, ast.Store())], last.value)
    base = name(_BASE)
    squeezed = call("math.copysign", call("math.log1p", call("abs", base)), base)
    body[-1:] = [kept, ast.Return(ast.BinOp(squeezed, ast.Add(), log_sum(space, 0.0)))]
    return _finished(tree, space, space.kind.max_nodes)


def _grafted(tree: ast.Module, donors: list[Slot], rng: random.Random) -> bool:
    target = _pick(slots(tree), rng)
    fitting = [slot for slot in donors if target is not None and slot.type == target.type]
    donor = _pick(fitting, rng)
    if target is None or donor is None:
        return False
    target.put(donor.node)
    return True


def _joined(tree: ast.Module, donors: list[Slot], space: Space, rng: random.Random) -> bool:
    root = _returned(slots(tree))
    donor = _returned(donors)
    if root is None or donor is None:
        return False
    if rng.random() < 0.5:
        root.put(ast.IfExp(condition(space, rng), root.node, donor.node))
    else:
        scaled = ast.BinOp(constant(rng), ast.Mult(), donor.node)
        root.put(ast.BinOp(root.node, ast.Add(), scaled))
    return True


def _returned(found: list[Slot]) -> Slot | None:
    roots = [slot for slot in found if isinstance(slot.owner, ast.Return)]
    return roots[0] if len(roots) == 1 and roots[0].type == "number" else None


def _pick(found: list[Slot], rng: random.Random) -> Slot | None:
    return rng.choice(found) if found else None


def _numbers(tree: ast.Module) -> list[Slot]:
    return [slot for slot in slots(tree) if slot.type == "number"]


def jitter(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Change one literal: mostly by a factor, sometimes its sign or to a round number."""
    slot = _pick([slot for slot in slots(tree) if literal(slot.node) is not None], rng)
    value = literal(slot.node) if slot is not None else None
    if slot is None or value is None:
        return False
    if rng.random() < 0.15:
        slot.put(number(rng.choice((0.0, 0.5, 1.0, 2.0, -value))))
    else:
        slot.put(number((value or 0.1) * math.exp(rng.gauss(0.0, 0.5))))
    return True


def swap_operator(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Exchange an operation for another of the same type and arity."""
    node = _pick([slot for slot in slots(tree) if _swappable(slot.node)], rng)
    return node is not None and _swap(node.node, rng)


def _swappable(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, _ARITHMETIC)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], _COMPARISONS)


def _swap(node: ast.expr, rng: random.Random) -> bool:
    if isinstance(node, ast.BinOp):
        node.op = rng.choice([op for op in _ARITHMETIC if not isinstance(node.op, op)])()
    elif isinstance(node, ast.Compare):
        node.ops[0] = rng.choice([op for op in _COMPARISONS if not isinstance(node.ops[0], op)])()
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func = name("max" if node.func.id == "min" else "min")
    return True


def swap_feature(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Exchange a feature for another."""
    known = set(space.kind.input_names)
    used = [s for s in slots(tree) if isinstance(s.node, ast.Name) and s.node.id in known]
    slot = _pick(used, rng)
    if slot is None:
        return False
    slot.put(name(space.feature(rng).name))
    return True


def hoist(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Replace an expression by a part of itself of the same type."""
    slot = _pick([slot for slot in slots(tree) if _parts(slot)], rng)
    if slot is None:
        return False
    slot.put(rng.choice(_parts(slot)).node)
    return True


def _parts(slot: Slot) -> list[Slot]:
    inside = slots(wrapped(slot.node))[1:]
    return [part for part in inside if part.type == slot.type]


def wrap(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Put an expression into a larger one."""
    slot = _pick(_numbers(tree), rng)
    if slot is None:
        return False
    slot.put(rng.choice(_WRAPPERS)(slot.node, space, rng))
    return True


def _scaled(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.BinOp(node, ast.Mult(), constant(rng))


def _shifted(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.BinOp(node, ast.Add(), constant(rng))


def _times_feature(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.BinOp(node, ast.Mult(), expression(space, rng, 0))


def _plus_feature(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    feature = space.feature(rng)
    weight = number(math.exp(rng.gauss(0.0, 1.0)) / space.scale(feature))
    return ast.BinOp(node, ast.Add(), ast.BinOp(weight, ast.Mult(), name(feature.name)))


def _over_feature(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.BinOp(node, ast.Div(), positive(name(space.feature(rng).name)))


def _clamped(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    limit = number(space.scale(space.feature(rng)) * math.exp(rng.gauss(0.0, 0.7)))
    return call(rng.choice(("min", "max")), node, limit)


def _logged(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return logarithm(node)


def _powered(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.BinOp(call("abs", node), ast.Pow(), number(rng.choice((0.5, 1.5, 2.0))))


def _chosen(node: ast.expr, space: Space, rng: random.Random) -> ast.expr:
    return ast.IfExp(condition(space, rng), node, expression(space, rng, 1))


_WRAPPERS = (
    _scaled,
    _shifted,
    _times_feature,
    _plus_feature,
    _plus_feature,
    _over_feature,
    _clamped,
    _logged,
    _powered,
    _chosen,
)


def subtree(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Replace an expression by a random one of its type."""
    slot = _pick(slots(tree), rng)
    if slot is None:
        return False
    fresh = condition(space, rng) if slot.type == "bool" else expression(space, rng, 2)
    slot.put(fresh)
    return True


def exchange(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Exchange two expressions of features alone, neither within the other."""
    found = movable(tree)
    first = _pick(found, rng)
    if first is None:
        return False
    apart = [slot for slot in found if slot.type == first.type and _disjoint(first.node, slot.node)]
    second = _pick(apart, rng)
    if second is None:
        return False
    first.put(second.node)
    second.put(first.node)
    return True


def drop(tree: ast.Module, space: Space, rng: random.Random) -> bool:
    """Take a condition, a loop or an update out; the language check says whether the rest stands alone."""
    places = _statements(tree)
    if not places:
        return False
    body, at = rng.choice(places)
    del body[at]
    return True


def _statements(tree: ast.Module) -> list[tuple[list[ast.stmt], int]]:
    """Return where the statements are that may be taken out: the list that holds each, and its index."""
    return [(body, at) for body in _bodies(function(tree)) for at in _droppable(body)]


def _bodies(node: ast.stmt) -> list[list[ast.stmt]]:
    own = [getattr(node, name, []) for name in ("body", "orelse")]
    return [*own, *(deep for body in own for inner in body for deep in _bodies(inner))]


def _droppable(body: list[ast.stmt]) -> list[int]:
    if len(body) < 2:
        return []
    return [at for at, node in enumerate(body) if isinstance(node, _DROPPABLE)]


_DROPPABLE = (ast.If, ast.For, ast.While, ast.AugAssign)


def _disjoint(left: ast.expr, right: ast.expr) -> bool:
    return all(node is not right for node in ast.walk(left)) and all(
        node is not left for node in ast.walk(right)
    )


#: Weight and function of every operator, by the name that the log shows.
OPERATORS: dict[str, tuple[float, Operator]] = {
    "jitter": (1.0, jitter),
    "swap_operator": (1.0, swap_operator),
    "swap_feature": (1.0, swap_feature),
    "hoist": (1.0, hoist),
    "wrap": (3.0, wrap),
    "subtree": (1.0, subtree),
    "exchange": (0.5, exchange),
    "drop": (0.5, drop),
}
