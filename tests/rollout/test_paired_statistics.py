"""Paired arms as statistics: no coin places the candidate, both arms answer the same lookups.

Two models. One draws misses: most lookups are the same for both arms, a share of them differs, and
of those each falls to either arm by the policies' merit. The other is real: two caches that throw
away at random, each with draws of its own, over one stream of lookups, which shows whether the luck
of one pair tells anything about the next.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from gnomon.policies.rollout.evidence import Evidence
from gnomon.policies.rollout.outcomes import Arm, Point

from .test_statistics import ALPHA, FAST, FULL, LIMIT, upper_limit

PAIRS = 60
LOOKUPS = 2000

Levels = Callable[[random.Random], Iterator[float]]


def steady(level: float) -> Levels:
    def levels(rng: random.Random) -> Iterator[float]:
        del rng
        while True:
            yield level

    return levels


def correlated(level: float) -> Levels:
    """Blocks whose miss ratio stays high or low for a while: a scan, another hour."""

    def levels(rng: random.Random) -> Iterator[float]:
        state = rng.gauss(0.0, 1.0)
        while True:
            state = 0.9 * state + math.sqrt(1.0 - 0.81) * rng.gauss(0.0, 1.0)
            yield min(0.95, max(0.05, level * math.exp(0.2 * state)))

    return levels


def drifting(level: float) -> Levels:
    """A cache that warms up: its miss ratio falls from block to block."""

    def levels(rng: random.Random) -> Iterator[float]:
        now = min(0.95, 1.5 * level)
        while True:
            now = max(0.05, now * math.exp(rng.gauss(-0.01, 0.02)))
            yield now

    return levels


@dataclass(frozen=True)
class Regime:
    """How a cache misses.

    Attributes:
        levels: miss ratio of stable, block by block.
        lookups: in a block.
        differing: share of the lookups that one arm hits and the other misses.
    """

    levels: Levels
    lookups: int = LOOKUPS
    differing: float = 0.05


REGIMES = {
    "0.3": Regime(steady(0.3)),
    "0.8": Regime(steady(0.8)),
    "correlated 0.3": Regime(correlated(0.3)),
    "correlated 0.8": Regime(correlated(0.8)),
    "drifting": Regime(drifting(0.3)),
    "few lookups": Regime(steady(0.3), lookups=20),
    "many lookups": Regime(correlated(0.3), lookups=200_000),
    "few misses": Regime(steady(0.01), lookups=200, differing=0.005),
    "hardly differing": Regime(correlated(0.3), differing=0.0005),
}


def binomial(rng: random.Random, n: int, p: float) -> int:
    """Draw how many of ``n`` happen: exactly where they are few, else as a rounded normal."""
    if p > 0.5:
        return n - binomial(rng, n, 1.0 - p)
    if n * p < 10.0:
        return _few(rng, n, p)
    return min(n, max(0, round(rng.gauss(n * p, math.sqrt(n * p * (1.0 - p))))))


def _few(rng: random.Random, n: int, p: float) -> int:
    """Count events by the gaps between them."""
    count, place = -1, 0.0
    while p > 0.0 and place <= n:
        count += 1
        place += 1.0 + math.floor(math.log(1.0 - rng.random()) / math.log1p(-p))
    return max(0, count)


def block(rng: random.Random, regime: Regime, level: float, change: float) -> tuple[int, int]:
    """Return the misses of stable and candidate in one block of the same lookups."""
    n = regime.lookups
    gained = abs(change) * level  # share of lookups that only a merit decides
    differ = binomial(rng, n, regime.differing)
    for_stable = binomial(rng, differ, 0.5)
    merit = binomial(rng, n, gained)
    common = binomial(rng, n, max(0.0, level - regime.differing / 2.0 - gained * (change < 0.0)))
    stable = common + differ - for_stable + merit * (change < 0.0)
    return min(n, stable), min(n, common + for_stable + merit * (change > 0.0))


def ends(points: Iterator[Point]) -> str:
    """Run one canary as the machine does; say how it ends and after how many pairs."""
    found = Evidence.start((), 1.0)
    for count, point in enumerate(points, 1):
        found = found.add(point)
        if found.regression(ALPHA):
            return f"abort {count}"
        if count >= 8 and found.superior(ALPHA):
            return f"promote {count}"
    return "hold"


def drawn(seed: str, regime: Regime, change: float = 0.0) -> Iterator[Point]:
    rng = random.Random(f"paired {seed}")
    levels = regime.levels(rng)
    for pair in range(PAIRS):
        both = [block(rng, regime, next(levels), change) for _ in range(2)]
        stable, candidate = (sum(arm) for arm in zip(*both, strict=True))
        n = 2 * regime.lookups
        yield Point(pair, "a", Arm(n, float(stable)), Arm(n, float(candidate)))


def tally(runs: int, name: str, change: float = 0.0) -> dict[str, int]:
    regime = REGIMES[name]
    found = [ends(drawn(f"{name} {seed}", regime, change)).split()[0] for seed in range(runs)]
    return {end: found.count(end) for end in ("abort", "promote", "hold")}


def assert_rarely_wrong(runs: int, *regimes: str) -> None:
    tallies = [tally(runs, regime) for regime in regimes]
    for end in ("abort", "promote"):
        hits = sum(counts[end] for counts in tallies)
        assert upper_limit(hits, runs * len(regimes)) <= LIMIT, (regimes, tallies)


def test_equal_policies_are_rarely_decided_upon() -> None:
    assert_rarely_wrong(FAST // 8, *REGIMES)


@pytest.mark.soak
@pytest.mark.parametrize("regime", REGIMES)
def test_equal_policies_are_rarely_decided_upon_in_each_regime(regime: str) -> None:
    assert_rarely_wrong(FULL, regime)


@pytest.mark.parametrize("regime", ["0.3", "few misses", "drifting"])
def test_policies_that_decide_alike_tie_and_are_held(regime: str) -> None:
    same = Regime(REGIMES[regime].levels, REGIMES[regime].lookups, differing=0.0)
    points = list(drawn(regime, same))
    found = Evidence.start((), 1.0)
    for point in points:
        found = found.add(point)
    assert found.pairs == PAIRS
    assert found.better.log_e == found.worse.log_e == found.gains.log_e == 0.0
    assert not found.promising()
    assert ends(iter(points)) == "hold"


@pytest.mark.parametrize(
    ("change", "end", "least"),
    [(-0.05, "promote", 0.9), (-0.1, "promote", 0.97), (0.05, "abort", 0.97), (0.1, "abort", 0.97)],
)
@pytest.mark.parametrize("regime", ["correlated 0.3", "correlated 0.8"])
def test_power_at_two_thousand_lookups_a_block(
    regime: str, change: float, end: str, least: float
) -> None:
    counts = tally(40, regime, change)
    assert counts[end] / 40 >= least, counts
    wrong = {"promote": "abort", "abort": "promote"}[end]
    assert counts[wrong] == 0


@pytest.mark.soak
@pytest.mark.parametrize("change", [0.005, 0.01, 0.02])
def test_a_worse_policy_is_not_promoted(change: float) -> None:
    counts = tally(FULL, "correlated 0.3", change)
    assert upper_limit(counts["promote"], FULL) <= 0.01, counts


@dataclass
class RandomCache:
    """Keys only; a full one throws out a key at random, by draws of its own."""

    capacity: int
    rng: random.Random
    keys: list[int] = field(default_factory=list)
    held: set[int] = field(default_factory=set)

    def misses(self, lookups: list[int]) -> int:
        return sum(self._missed(key) for key in lookups)

    def _missed(self, key: int) -> bool:
        if key in self.held:
            return False
        if len(self.keys) < self.capacity:
            self.keys.append(key)
        else:
            slot = int(self.rng.random() * self.capacity)
            self.held.discard(self.keys[slot])
            self.keys[slot] = key
        self.held.add(key)
        return True


def caches(seed: int, lookups: int, pairs: int) -> Iterator[Point]:
    """Two equal caches over one stream of Zipf keys, warmed by it as cell and ghost are."""
    rng = random.Random(f"caches {seed}")
    arms = [RandomCache(200, random.Random(rng.random())) for _ in range(2)]
    weights = [1.0 / (rank + 1) ** 0.9 for rank in range(2000)]
    for arm in arms:
        arm.misses(rng.choices(range(2000), weights, k=600))
    for pair in range(pairs):
        keys = rng.choices(range(2000), weights, k=2 * lookups)
        stable, candidate = (arm.misses(keys) for arm in arms)
        n = 2 * lookups
        yield Point(pair, "a", Arm(n, float(stable)), Arm(n, float(candidate)))


def autocorrelation(runs: list[list[float]]) -> float:
    """Return the lag-1 autocorrelation of differences whose mean is 0, pooled over runs."""
    both = [(a, b) for run in runs for a, b in pairwise(run)]
    return sum(a * b for a, b in both) / sum(b * b for _, b in both)


def assert_luck_does_not_last(runs: int, lookups: int) -> None:
    played = [list(caches(seed, lookups, 40)) for seed in range(runs)]
    gaps = [[p.candidate.sum - p.stable.sum for p in points] for points in played]
    assert any(gap for run in gaps for gap in run), "the arms must differ for this to say anything"
    assert autocorrelation(gaps) < 3.0 / math.sqrt(39 * runs)
    found = [ends(iter(points)).split()[0] for points in played]
    for end in ("abort", "promote"):
        hits = found.count(end)
        # Within what the level allows; too few runs here to show the level itself.
        assert hits <= 1 + ALPHA * runs + 3.0 * math.sqrt(ALPHA * runs), (end, found)


def test_the_luck_of_equal_caches_does_not_last() -> None:
    assert_luck_does_not_last(30, 50)


@pytest.mark.soak
@pytest.mark.parametrize("lookups", [20, 100, 500])
def test_the_luck_of_equal_caches_does_not_last_in_many_runs(lookups: int) -> None:
    assert_luck_does_not_last(400, lookups)
