"""The money of a search: what its calls have cost, and what those under way can cost at most."""

from __future__ import annotations

import math


class Purse:
    """Keeps to a cap, calls under way included.

    A call of unknown cost counts as what was set aside for it, never as nothing.

    Args:
        dollars: the cap; may be infinite.

    Attributes:
        refused: whether a call was not made for want of money.
    """

    def __init__(self, dollars: float) -> None:
        self._dollars = dollars
        self._set_aside: dict[int, float] = {}
        self._paid = 0.0
        self.refused = False

    @property
    def left(self) -> float:
        """Dollars that may still be set aside."""
        if math.isinf(self._dollars):
            return math.inf
        return self._dollars - self._paid - sum(self._set_aside.values())

    def affords(self, reserve: float) -> bool:
        """Return whether a call may be made that can cost so much."""
        self.refused = not reserve <= self.left
        return not self.refused

    def reserve(self, step: int, dollars: float) -> None:
        """Set money aside for a call."""
        self._set_aside[step] = dollars

    def settle(self, step: int, cost: float | None) -> None:
        """Take what a step has cost; None where that is not known."""
        reserved = self._set_aside.pop(step, 0.0)
        self._paid += reserved if cost is None else cost
