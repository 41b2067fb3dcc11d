"""The programs that were scored again on validation, and which of them wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .gains import EQUAL


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program that was scored again on validation.

    Attributes:
        name: of the published policy, ``incumbent``, or ``evolved``.
        program: id of the source.
        source: of the policy.
        operator: that made it; ``published`` when it was not proposed in this run.
        nodes: size of the syntax tree.
        train, validation: scores, lower is better; NaN where there is none.
        segments: mean outcome per stretch of validation; may be empty.
    """

    name: str
    program: str
    source: str
    operator: str
    nodes: int
    train: float
    validation: float
    segments: tuple[float, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether it has a score on both windows."""
        return math.isfinite(self.train) and math.isfinite(self.validation)


def measured(train: float, validation: float, segments: tuple[float, ...] = ()) -> Finalist:
    """Return the incumbent as a finalist where its scores are measured and it is no program."""
    return Finalist("incumbent", "incumbent", "", "measured", 0, train, validation, segments)


def in_order(finalists: Sequence[Finalist]) -> tuple[Finalist, ...]:
    """Return finalists best on validation first; last those without a score on both windows."""
    return tuple(sorted(finalists, key=_order))


def _order(finalist: Finalist) -> tuple[bool, float, float, int, str]:
    validation, train = (
        score if math.isfinite(score) else math.inf
        for score in (finalist.validation, finalist.train)
    )
    return not finalist.sound, validation, train, finalist.nodes, finalist.program


def winner_of(finalists: Sequence[Finalist], within: float = EQUAL) -> Finalist | None:
    """Return the shortest of the programs that are as good as the best on validation.

    Who failed on train or on validation takes no part: the one may show what the other is too short for. An
    evolved program takes part only if it beats every published one on train as well: the best of many on
    validation alone is often only lucky there.
    """
    scored = taking_part(finalists)
    if not scored:
        return None
    lowest = min(finalist.validation for finalist in scored)
    equal = [f for f in scored if f.validation <= lowest + within * abs(lowest)]
    return min(equal, key=lambda f: (f.nodes, f.name == "evolved", f.validation, f.program))


def taking_part(finalists: Sequence[Finalist]) -> list[Finalist]:
    """Return the finalists that may win: with a score on both windows, and not evolved ones that do worse on train
    than a published policy."""
    whole = [f for f in finalists if f.sound]
    given = min((f.train for f in whole if f.name != "evolved"), default=math.inf)
    return [f for f in whole if f.name != "evolved" or f.train < given]


def best_published(finalists: Sequence[Finalist]) -> Finalist | None:
    """Return the published policy that comes first, or None."""
    return next((f for f in in_order(finalists) if f.name not in {"evolved", "incumbent"}), None)
