"""Decision invariants, checked by the host on what a candidate picks in a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...sdk.invariant import Invariant, Violation, violated, warned
from ...sdk.kind import Kind

Floats = npt.NDArray[np.float64]
#: At most so many counterexamples are kept of one replay.
_MOST_VIOLATIONS = 3


def blocking(invariants: Sequence[Invariant]) -> tuple[Invariant, ...]:
    """Return those that refuse a single decision."""
    return tuple(i for i in invariants if i.scope == "decision" and i.severity == "block")


@dataclass
class Watch:
    """Checks the decision invariants on every decision of a replay.

    Attributes:
        kind: what is decided.
        invariants: that block.
        warns: that warn; they are asked in the first of several replays only.
        found: the first violations.
        warned: how often each that warns did not hold.
    """

    kind: Kind
    invariants: Sequence[Invariant]
    found: list[Violation] = field(default_factory=list)
    warns: Sequence[Invariant] = ()
    warned: Counter[str] = field(default_factory=Counter)

    def __call__(self, stream: int, rows: Floats, pick: int) -> None:
        """Keep the decision if an invariant of severity ``block`` does not hold."""
        if self.warns and stream == 0:
            items = [self.kind.item_type(*row) for row in rows.tolist()]
            self.warned.update(warned(self.warns, items, items[pick]))
        if len(self.found) >= _MOST_VIOLATIONS:
            return
        broken = broken_by(self.kind, self.invariants, rows.tolist(), pick)
        if broken is not None:
            self.found.append(broken)


def broken_by(
    kind: Kind, invariants: Sequence[Invariant], rows: Sequence[Sequence[float]], pick: int
) -> Violation | None:
    """Return the first invariant that a decision breaks, with the decision, or None."""
    items = [kind.item_type(*row) for row in rows]
    invariant = violated(invariants, items, pick)
    if invariant is None:
        return None
    picked = ", ".join(f"{k}={v:g}" for k, v in items[pick]._asdict().items())
    detail = f"{invariant.description or invariant.name} Picked item {pick}: {picked}."
    return Violation(invariant.name, tuple(tuple(row) for row in rows), pick, detail)


def as_case(kind: Kind, broken: Violation, source: str) -> dict[str, Any]:
    """Return a violation as JSON values from which the decision can be made again."""
    return {
        "invariant": broken.invariant,
        "inputs": list(kind.input_names),
        "items": [list(row) for row in broken.items],
        "action": broken.action,
        "detail": broken.detail,
        "source": source,
    }
