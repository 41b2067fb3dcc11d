"""A sequential rerandomisation test of sticky arms, exact under its hypothesis at all looks together.

Units are hashed into slices and the first slices are the candidate's. If the candidate changes
nothing for any unit, the slices' whole courses of counts and outcomes are interchangeable, and any
other choice of as many slices could as well have been the candidate's. So the real assignment is
put among :data:`DRAWS` - 1 others, drawn beforehand, and scored beside them at every look. A look
lets the highest scores cross, so many that the assignments that ever crossed stay within the
level's share; who has crossed stays so. By symmetry the real one ever crosses with probability at
most the level, whatever depends on whatever: persistent units, correlated or heavy-tailed outcomes,
uneven slices, looks that use the same data again (spending a level over looks: Lan and DeMets 1983;
with randomisation tests: Plamadeala and Rosenberger 2012).

With enough slices the score is studentised, which keeps the level in the limit of many slices also
when the arms have equal means and different spreads (Chung and Romano 2013).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import nlargest
from operator import itemgetter
from typing import Any

#: Assignments of slices to arms that are compared, the real one included.
DRAWS = 2000
#: Looks after which half of a level has been spent; it is never spent whole.
HALF_SPENT = 8.0
#: Slices that an arm needs before scores are studentised, and neighbours are merged down to.
ENOUGH = 100


@dataclass(frozen=True, slots=True)
class Crossing:
    """One one-sided test: which assignments have crossed so far; number 0 is the real one.

    Attributes:
        level: share of the assignments that may ever cross.
        crossed: numbers of those that did.
        looks: so far.
        p: share of the assignments that scored at least as high as the real one at the last look.
    """

    level: float
    crossed: tuple[int, ...] = ()
    looks: int = 0
    p: float = 1.0

    def look(self, scores: Sequence[float], *, cross: bool = True) -> Crossing:
        """Return the test after one more look.

        Args:
            scores: of all assignments, the real one first; high speaks against the hypothesis.
            cross: whether any may cross; if not, only ``p`` is brought up to date.
        """
        p = sum(map(float(scores[0]).__le__, scores)) / len(scores)
        if not cross:
            return replace(self, p=p)
        looks = self.looks + 1
        spent = self.level * looks / (looks + HALF_SPENT)
        allowed = math.floor(spent * len(scores)) - len(self.crossed)
        crossed = self.crossed
        if allowed > 0:
            gone = set(crossed)
            waiting = (i for i in range(len(scores)) if i not in gone)
            highest = nlargest(allowed + 1, waiting, key=scores.__getitem__)
            # Among equals none is preferred: all that tie with the first one refused are refused.
            bound = scores[highest[allowed]] if allowed < len(highest) else -math.inf
            new = [i for i in highest[:allowed] if scores[i] > bound]
            crossed = tuple(sorted((*crossed, *new)))
        return replace(self, crossed=crossed, looks=looks, p=p)

    @property
    def refused(self) -> bool:
        """Whether the real assignment has crossed: the hypothesis is refused at the level."""
        return 0 in self.crossed

    @property
    def blunt(self) -> bool:
        """Whether the level is finer than the assignments can tell."""
        return self.level * DRAWS < 1.0


def scores(
    values: Sequence[float], weights: Sequence[float], treated: int, *, studentised: bool
) -> list[float]:
    """Return every assignment's score for the candidate's mean being higher, the real one first.

    Args:
        values: sums of the outcome by slice, the candidate's ``treated`` slices first.
        weights: numbers of outcomes by slice.
        treated: how many slices an assignment gives to the candidate.
        studentised: divide by the arms' own spread; if not, by that of all slices.

    Returns:
        Differences of the two ratios of sums, linearised, in standard errors clustered by slice; all
        are 0 where an arm has fewer than two slices or there are no outcomes.
    """
    n, total = len(values), math.fsum(weights)
    if treated < 2 or n - treated < 2 or total <= 0.0:
        return [0.0] * DRAWS
    ratio = math.fsum(values) / total
    parts = [complex(v - ratio * w, w) for v, w in zip(values, weights, strict=True)]
    squares = [part.real * part.real for part in parts]
    whole = math.fsum(squares)
    found = []
    for choose in _assignments(n, treated):
        both = sum(choose(parts))
        lift, weight = both.real, both.imag
        own, rest = whole * treated / n, whole * (n - treated) / n
        if studentised:
            own = sum(choose(squares))
            own, rest = own - lift * lift / treated, whole - own - lift * lift / (n - treated)
        found.append(_score(lift, weight, total - weight, own, rest, treated, n))
    return found


def _score(
    lift: float, weight: float, rest: float, own: float, others: float, treated: int, n: int
) -> float:
    """Return lift over its standard error, from both arms' weights and sums of squares."""
    if weight <= 0.0 or rest <= 0.0:
        return 0.0
    variance = own / (weight * weight) * treated / (treated - 1)
    variance += others / (rest * rest) * (n - treated) / (n - treated - 1)
    gain = lift * (1.0 / weight + 1.0 / rest)
    if variance <= 1e-18 * gain * gain:  # arms without any spread: told apart, or the same
        return math.copysign(math.inf, gain) if gain else 0.0
    return gain / math.sqrt(variance)


@lru_cache(maxsize=4)
def _assignments(n: int, treated: int) -> tuple[Callable[[Sequence[Any]], tuple[Any, ...]], ...]:
    """Return functions that choose the candidate's slices; the draws are fixed, the salt is not."""
    return tuple(itemgetter(*chosen) for chosen in assignments(n, treated))


def assignments(n: int, treated: int) -> list[list[int]]:
    """Return the slices that each assignment gives to the candidate, the real one's first."""
    rng = random.Random(f"assignments of {treated} of {n}")
    return [[*range(treated)], *(rng.sample(range(n), treated) for _ in range(DRAWS - 1))]


def merged(values: Sequence[float], size: int) -> list[float]:
    """Return the sums of neighbours, ``size`` at a time."""
    if size == 1:
        return list(values)
    return [math.fsum(values[i : i + size]) for i in range(0, len(values), size)]


def merging(slices: int, treated: int) -> int:
    """Return how many neighbours are merged: as many as leave both arms enough; for speed only."""
    both = math.gcd(slices, treated)
    most = max(1, min(treated, slices - treated) // ENOUGH)
    return max(size for size in range(1, most + 1) if both % size == 0)
