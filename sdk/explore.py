"""Giving a share of decisions to a uniform draw, with the exact probability of what was done."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .guard import Row
from .invariant import Invariant, violated
from .kind import Kind


def explored(
    kind: Kind,
    invariants: Sequence[Invariant],
    rows: list[Row],
    base: int,
    epsilon: float,
    generator: random.Random,
) -> tuple[int, float, bool]:
    """Return the action, its propensity, and whether the draw chose it.

    With k permitted items, the rule's own pick has probability 1 - epsilon (+ epsilon / k when it is
    permitted) and every other permitted item epsilon / k. With none permitted the rule decides alone.

    Args:
        kind: of the hook.
        invariants: an item is permitted when picking it breaks none of severity ``block``.
        rows: all inputs, one row per item.
        base: what the rule picked.
        epsilon: share of decisions that are drawn, 0 to 1.
        generator: of the draws.
    """
    permitted = _permitted(kind, invariants, rows)
    if not permitted:
        return base, 1.0, False
    drawn = generator.random() < epsilon
    action = generator.choice(permitted) if drawn else base
    share = epsilon / len(permitted) if action in permitted else 0.0
    return action, share + (1.0 - epsilon if action == base else 0.0), drawn


def _permitted(kind: Kind, invariants: Sequence[Invariant], rows: list[Row]) -> Sequence[int]:
    if not any(i.scope == "decision" and i.severity == "block" for i in invariants):
        return range(len(rows))
    items = [*map(kind.item_type._make, rows)]
    # each is asked a list of its own: a predicate may sort it in place
    return [i for i in range(len(items)) if violated(invariants, [*items], i) is None]
