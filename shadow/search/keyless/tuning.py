"""The constants of a program, tuned by CMA-ES.

Structure and constants are separate problems, and constants need few evaluations. A tuning asks for a
whole generation, hears of its results in the order of the log, and only then moves on.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ....sdk.language import syntax_tree
from .trees import Slot, literal, number, render, slots

if TYPE_CHECKING:
    from .dialect import Dialect

_SIGMA = 0.4
_GENERATIONS = 8
_PATIENCE = 2
_SENTINEL = 1e100


# A run of the tuner looks at all of an archive, most of which it has looked at before.
@functools.lru_cache(4096)
def constants(source: str) -> tuple[float, ...]:
    """Return the numeric literals of a program's score function, in the order of its tree."""
    return tuple(value for value in map(_value, slots(syntax_tree(source))) if value is not None)


def with_constants(source: str, values: Sequence[float], inputs: tuple[str, ...]) -> str:
    """Return a program with other numeric literals, each of four significant digits."""
    tree = syntax_tree(source)
    places = [slot for slot in slots(tree) if _value(slot) is not None]
    for slot, value in zip(places, values, strict=True):
        slot.put(number(value))
    return render(tree, inputs)


@functools.lru_cache(4096)
def skeleton(source: str) -> str:
    """Return what a program is without its constants; programs that differ in them alone share it."""
    tree = syntax_tree(source)
    for slot in slots(tree):
        if _value(slot) is not None:
            slot.put(ast.Constant(0.0))
    return ast.dump(tree)


def _value(slot: Slot) -> float | None:
    """Return what may be tuned; a number as large as a sentinel's only has to be larger than all others."""
    value = literal(slot.node)
    return value if value is not None and abs(value) < _SENTINEL else None


class Tuning:
    """One run of CMA-ES over the literals of one program.

    Args:
        source: of a program with at least one literal.
        score: its own score, lower is better.
        dialect: of the program's form.
        seed: of the run's own random numbers.
        unit: least size of a literal's first steps; those of larger literals are their own size.
    """

    def __init__(
        self, source: str, score: float, dialect: Dialect, seed: int, unit: float = 0.2
    ) -> None:
        self.source = source
        self.best = score
        self._dialect = dialect
        self._start = dialect.constants(source)
        self._units = [max(abs(value), unit) for value in self._start]
        self._strategy = _strategy(len(self._start), seed)
        self._points: list[Any] = []
        self._scores: dict[int, float] = {}
        self._asked = 0
        self._generations = self._stale = 0

    @property
    def over(self) -> bool:
        """Whether it has converged, or has had its share."""
        return self._generations >= _GENERATIONS or self._stale >= _PATIENCE

    def ask(self) -> tuple[int, str] | None:
        """Return the next program with a ticket for :meth:`tell`; None while results are awaited."""
        if self.over:
            return None
        if not self._points:
            self._points = self._strategy.ask()
        if self._asked == len(self._points):
            return None
        self._asked += 1
        return self._asked - 1, self._program(self._points[self._asked - 1])

    def _program(self, point: Sequence[float]) -> str:
        moved = zip(self._start, self._units, point, strict=True)
        values = [start + unit * float(offset) for start, unit, offset in moved]
        return self._dialect.with_constants(self.source, values)

    def tell(self, ticket: int, score: float) -> None:
        """Take the score of an asked program; infinite when it has none."""
        self._scores[ticket] = score
        if len(self._scores) == len(self._points):
            self._finish_generation()

    def _finish_generation(self) -> None:
        scores = [self._scores[ticket] for ticket in range(len(self._points))]
        finite = [score for score in scores if math.isfinite(score)]
        # CMA-ES ranks; a program without a score only has to rank last.
        last = max(finite, default=0.0) + 1.0
        self._strategy.tell(self._points, [s if math.isfinite(s) else last for s in scores])
        lowest = min(finite, default=math.inf)
        self._stale = 0 if lowest < self.best else self._stale + 1
        if (
            len(set(scores)) == 1 and self._stale
        ):  # its constants change nothing that is decided, or nothing is sound
            self._stale = _PATIENCE
        self.best = min(self.best, lowest)
        self._generations += 1
        self._points, self._scores, self._asked = [], {}, 0


def _strategy(dimensions: int, seed: int) -> Any:
    import cma  # late: it brings matplotlib
    import numpy as np

    generator = np.random.default_rng(seed)
    options = {
        "verbose": -9,
        "seed": np.nan,  # leaves numpy's global generator alone
        "randn": lambda *shape: generator.standard_normal(shape),
    }
    return cma.CMAEvolutionStrategy([0.0] * dimensions, _SIGMA, options)
