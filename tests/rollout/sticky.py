"""Simulated canaries of sticky units: regimes of traffic, and how a run of looks ends.

The evidence is that of ``policies/rollout/units.py``. Only the sums over assignments, nearly all of a look's
work, may be taken by numpy instead: ``numpy_scores``, which a test holds to the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from gnomon.policies.rollout import looks
from gnomon.policies.rollout.outcomes import Rail
from gnomon.policies.rollout.rerandomise import DRAWS, assignments
from gnomon.policies.rollout.units import Slices, UnitEvidence

ALPHA = 0.025
CLIP = 30.0
SLICES = 1000

Numbers = np.ndarray[Any, np.dtype[Any]]
#: Of so many decisions: their slices, and their outcomes without the candidate.
Regime = Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]


def lognormal(rng: np.random.Generator, cv: float, n: int) -> Numbers:
    """Return draws of mean 1."""
    sd = math.sqrt(math.log1p(cv * cv))
    return np.exp(rng.normal(-sd * sd / 2.0, sd, n))


def iid(rng: np.random.Generator, n: int, cv: float = 0.53) -> tuple[Numbers, Numbers]:
    """So many units that each decides once."""
    return rng.integers(SLICES, size=n), lognormal(rng, cv, n)


def noisy(rng: np.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    """A coefficient of variation of 1."""
    return iid(rng, n, 1.0)


def autocorrelated(rng: np.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    """A level that all units share and that wanders, AR(1) of 0.99 from decision to decision, a third apart."""
    at, values = iid(rng, n)
    steps = 0.3 * math.sqrt(1.0 - 0.99**2) * rng.normal(size=n)
    level = list(accumulate(steps.tolist(), lambda level, step: 0.99 * level + step))
    return at, values * np.exp(level)


def clustered(rng: np.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    """200 units that keep their own level, a third apart."""
    return _units(rng, n, 200, None)


def heavy(rng: np.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    """Pareto outcomes of infinite variance, clipped."""
    return rng.integers(SLICES, size=n), 0.2 * (1.0 + rng.pareto(1.2, n))


def uneven(rng: np.random.Generator, n: int) -> tuple[Numbers, Numbers]:
    """2,000 units of which a few make most decisions (Zipf 0.8), each with its own level."""
    shares = np.arange(1, 2001) ** -0.8
    return _units(rng, n, 2000, shares / shares.sum())


def _units(
    rng: np.random.Generator, n: int, units: int, shares: Numbers | None
) -> tuple[Numbers, Numbers]:
    home, level = rng.integers(SLICES, size=units), lognormal(rng, 0.3, units)
    who = rng.choice(units, n, p=shares)
    return home[who], level[who] * lognormal(rng, 0.53, n)


REGIMES: dict[str, Regime] = {
    "iid": iid,
    "autocorrelated": autocorrelated,
    "clustered": clustered,
    "heavy": heavy,
    "uneven": uneven,
}


@dataclass(frozen=True)
class Course:
    """One canary.

    Attributes:
        effect: relative change of every outcome by the candidate.
        share: of the slices that are the candidate's.
        first, horizon: decisions at the first look, and after which it ends undecided.
        growth: of the decisions from look to look; at 1.2 every look is tested.
        rails: guardrails.
        lost: share of the candidate's decisions that are never counted.
    """

    effect: float = 0.0
    share: float = 0.1
    first: int = 300
    horizon: int = 8000
    growth: float = 1.2
    rails: tuple[Rail, ...] = ()
    lost: float = 0.0


def play(seed: int, regime: Regime, course: Course) -> tuple[str, int]:
    """Run one canary and say how it ends, and after how many decisions."""
    treated = round(SLICES * course.share)
    evidence = UnitEvidence.start(course.rails, CLIP, ALPHA, ALPHA, 1)
    for n, slices in _looks(np.random.default_rng([seed, 3]), regime, course, treated):
        evidence = evidence.look(slices, treated)
        if evidence.regression(ALPHA):
            return "abort", n
        if evidence.doubt():
            return "doubt", n
        if evidence.superior(ALPHA):
            return "promote", n
    return "hold", course.horizon


def _looks(
    rng: np.random.Generator, regime: Regime, course: Course, treated: int
) -> Iterator[tuple[int, Slices]]:
    """Yield the decisions so far and their sums, look by look."""
    at, values = regime(rng, course.horizon)
    own = at < treated
    values = np.minimum(CLIP, values * np.where(own, 1.0 + course.effect, 1.0))
    kept = ~own | (rng.random(course.horizon) >= course.lost)
    count, sums, none = np.zeros(SLICES, int), np.zeros(SLICES), (0,) * SLICES
    before, now = 0, course.first
    while now <= course.horizon:
        part = np.flatnonzero(kept[before:now]) + before
        count += np.bincount(at[part], minlength=SLICES)
        sums += np.bincount(at[part], values[part], SLICES)
        yield now, Slices(tuple(count.tolist()), tuple(sums.tolist()), none, none)
        before, now = now, math.ceil(now * course.growth)


@contextmanager
def by_numpy() -> Iterator[None]:
    """Have assignments scored by :func:`numpy_scores` meanwhile."""
    plain = looks.scores
    looks.scores = numpy_scores
    try:
        yield
    finally:
        looks.scores = plain


def numpy_scores(
    values: Sequence[float], weights: Sequence[float], treated: int, *, studentised: bool
) -> list[float]:
    """Return what ``rerandomise.scores`` does, for the same arguments."""
    n, total = len(values), math.fsum(weights)
    if treated < 2 or n - treated < 2 or total <= 0.0:
        return [0.0] * DRAWS
    given = np.asarray(weights, float)
    parts = np.asarray(values) - math.fsum(values) / total * given
    chosen, squares = _chosen(n, treated), parts * parts
    lift, weight = _sums(parts, chosen), _sums(given, chosen)
    whole = squares.sum()
    own, rest = np.full(DRAWS, whole * treated / n), np.full(DRAWS, whole * (n - treated) / n)
    if studentised:
        own = _sums(squares, chosen)
        own, rest = own - lift**2 / treated, whole - own - lift**2 / (n - treated)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = own / weight**2 * treated / (treated - 1)
        variance += rest / (total - weight) ** 2 * (n - treated) / (n - treated - 1)
        gain = lift * (1.0 / weight + 1.0 / (total - weight))
        found = gain / np.sqrt(variance)
        flat = variance <= 1e-18 * gain * gain
    found = np.where(flat, np.where(gain == 0.0, 0.0, np.copysign(np.inf, gain)), found)
    result: list[float] = np.where((weight <= 0.0) | (weight >= total), 0.0, found).tolist()
    return result


def _sums(values: Numbers, chosen: Numbers) -> Numbers:
    result: Numbers = np.take(values, chosen, mode="clip").sum(0)
    return result


@lru_cache(maxsize=4)
def _chosen(n: int, treated: int) -> Numbers:
    """Return the chosen slices, a column for each assignment."""
    return np.ascontiguousarray(np.asarray(assignments(n, treated), np.intp).T)
