"""Simulated canaries of sticky units: regimes of traffic, and how a run of looks ends."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from gnomon.policies.rollout.evidence import Rail
from gnomon.policies.rollout.units import Slices, UnitEvidence

ALPHA = 0.025
CLIP = 30.0
SLICES = 1000

#: Of a decision: its slice, and its outcome without the candidate.
Traffic = Callable[[], tuple[int, float]]


def lognormal(rng: random.Random, cv: float) -> float:
    """Return a draw of mean 1."""
    sd = math.sqrt(math.log1p(cv * cv))
    return math.exp(rng.gauss(-sd * sd / 2.0, sd))


def iid(rng: random.Random, cv: float = 0.53) -> Traffic:
    """So many units that each decides once."""
    return lambda: (rng.randrange(SLICES), lognormal(rng, cv))


def noisy(rng: random.Random) -> Traffic:
    """A coefficient of variation of 1."""
    return iid(rng, 1.0)


def clustered(rng: random.Random) -> Traffic:
    """200 units that keep their own level, a third apart."""
    units = [(rng.randrange(SLICES), lognormal(rng, 0.3)) for _ in range(200)]

    def draw() -> tuple[int, float]:
        at, level = rng.choice(units)
        return at, level * lognormal(rng, 0.53)

    return draw


def heavy(rng: random.Random) -> Traffic:
    """Pareto outcomes of infinite variance, clipped."""
    return lambda: (rng.randrange(SLICES), min(CLIP, 0.2 * rng.paretovariate(1.2)))


def uneven(rng: random.Random) -> Traffic:
    """2,000 units of which a few make most decisions (Zipf 0.8), each with its own level."""
    units = [(rng.randrange(SLICES), lognormal(rng, 0.3)) for _ in range(2000)]
    shares: list[float] = []
    for rank in range(1, len(units) + 1):
        shares.append((shares[-1] if shares else 0.0) + rank**-0.8)

    def draw() -> tuple[int, float]:
        at, level = rng.choices(units, cum_weights=shares)[0]
        return at, level * lognormal(rng, 0.53)

    return draw


REGIMES: dict[str, Callable[[random.Random], Traffic]] = {
    "iid": iid,
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
        growth: of the decisions from look to look.
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


def play(seed: int, regime: Callable[[random.Random], Traffic], course: Course) -> tuple[str, int]:
    """Run one canary and say how it ends, and after how many decisions."""
    rng = random.Random(f"sticky {seed}")
    draw, treated = regime(rng), round(SLICES * course.share)
    evidence = UnitEvidence.start(course.rails, CLIP, ALPHA, ALPHA, 1)
    count, sums = [0] * SLICES, [0.0] * SLICES
    none, due = (0,) * SLICES, float(course.first)
    for n in range(1, course.horizon + 1):
        at, value = draw()
        if at >= treated or not course.lost or rng.random() >= course.lost:
            count[at] += 1
            sums[at] += min(CLIP, value * (1.0 + course.effect) if at < treated else value)
        if n < due:
            continue
        due = max(due + 1.0, due * course.growth)
        evidence = evidence.look(Slices(tuple(count), tuple(sums), none, none), treated)
        if evidence.regression(ALPHA):
            return "abort", n
        if evidence.doubt():
            return "doubt", n
        if evidence.superior(ALPHA):
            return "promote", n
    return "hold", course.horizon
