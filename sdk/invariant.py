"""Named predicates that must hold, per decision or over a whole replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["decision", "replay"]
Severity = Literal["block", "warn"]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A named predicate over one decision, or over one whole replay.

    Attributes:
        name: identifier, unique within a hook.
        holds: for scope ``decision``: ``holds(items, picked) -> bool``, where ``items`` is a sequence
            of named tuples of the kind's features (one per item) and ``picked`` is one of them.
            For scope ``replay``: ``holds(summary) -> bool`` over the simulator's replay summary.
        scope: ``decision`` or ``replay``.
        severity: ``block`` refuses the decision (the incumbent answers) or the candidate;
            ``warn`` is only counted and reported.
        description: one sentence for reports.
    """

    name: str
    holds: Callable[..., bool]
    scope: Scope = "decision"
    severity: Severity = "block"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """One decision, or one replay, on which an invariant did not hold.

    Attributes:
        invariant: name of the invariant.
        items: the features that were seen, one tuple of floats per item; empty for a replay.
        action: index of the item that was picked; -1 for a replay.
        detail: the broken relation with its values, in words.
    """

    invariant: str
    items: tuple[tuple[float, ...], ...]
    action: int
    detail: str


def violated(
    invariants: Sequence[Invariant], items: Sequence[Any], action: int
) -> Invariant | None:
    """Return the first decision invariant of severity ``block`` that does not hold, or None.

    A predicate that raises counts as not holding.
    """
    picked = items[action]
    for invariant in invariants:
        if invariant.scope != "decision" or invariant.severity != "block":
            continue
        try:
            if not invariant.holds(items, picked):
                return invariant
        except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
            return invariant
    return None
