"""The statistics as statistics: false alarms of equal policies, and power, over seeded runs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from gnomon.policies.rollout.evidence import Evidence
from gnomon.policies.rollout.outcomes import Arm, Point, Rail
from gnomon.sdk.assignment import Switchback

ALPHA = 0.025
PAIRS = 30
FAST, FULL = 400, 2000
COUNT = 120
#: Largest false-alarm rate that is accepted: of the upper end of the exact 95 % interval.
LIMIT = 0.035
CLIP = 1000.0
RAILS = (Rail("failures", "failure_rate", 0.005, relative=False), Rail("mean", "mean", 0.1, True))

Noise = Callable[[random.Random], Iterator[float]]


def iid(rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.lognormvariate(3.0, 0.1)


def correlated(phi: float) -> Noise:
    def noise(rng: random.Random) -> Iterator[float]:
        level = rng.gauss(0.0, 1.0)
        while True:
            level = phi * level + math.sqrt(1.0 - phi * phi) * rng.gauss(0.0, 1.0)
            yield math.exp(3.0 + 0.1 * level)

    return noise


def heavy(rng: random.Random) -> Iterator[float]:
    while True:
        yield min(CLIP, 10.0 * rng.paretovariate(1.2))


def drifting(rng: random.Random) -> Iterator[float]:
    level = 3.0
    while True:
        level += rng.gauss(0.01, 0.02)
        yield math.exp(level + 0.05 * rng.gauss(0.0, 1.0))


def alternating(rng: random.Random) -> Iterator[float]:
    """Every second block is slower: a cron job in step with the blocks, which the coin breaks up."""
    while True:
        yield 20.0 * rng.lognormvariate(0.0, 0.02)
        yield 30.0 * rng.lognormvariate(0.0, 0.02)


REGIMES: dict[str, Noise] = {
    "iid": iid,
    "ar06": correlated(0.6),
    "ar09": correlated(0.9),
    "heavy": heavy,
    "drift": drifting,
    "alternating": alternating,
}


@dataclass(frozen=True)
class Change:
    """What a candidate does.

    Attributes:
        effect: relative change of a block's mean.
        rare, share: another change, of this share of the blocks.
        fails: failure rates of stable and candidate.
    """

    effect: float = 0.0
    rare: float = 0.0
    share: float = 0.0
    fails: tuple[float, float] = (0.0, 0.0)

    def of(self, rng: random.Random) -> float:
        return self.rare if self.share and rng.random() < self.share else self.effect

    def failures(self, rng: random.Random, candidate: bool) -> int:
        rate = self.fails[candidate]
        return sum(rng.random() < rate for _ in range(COUNT)) if rate else 0


NOTHING = Change()


def upper_limit(hits: int, runs: int, level: float = 0.025) -> float:
    """Return the exact (Clopper-Pearson) upper limit of a binomial share."""
    low, high = hits / runs, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        tail = sum(
            math.exp(
                math.lgamma(runs + 1)
                - math.lgamma(k + 1)
                - math.lgamma(runs - k + 1)
                + k * math.log(middle)
                + (runs - k) * math.log1p(-middle)
            )
            for k in range(hits + 1)
        )
        low, high = (middle, high) if tail > level else (low, middle)
    return high


def play(
    seed: int, noise: Noise, change: Change = NOTHING, carry: float = 0.0, drop: float = 0.0
) -> str:
    """Run one canary over paired blocks as assigned by its salt; say how it ends and when.

    Args:
        seed: of the run.
        noise: of the blocks.
        change: by the candidate.
        carry: share of the effect that stays in the block after a candidate's.
        drop: chance that a pair is left out, for a block drawn at random.
    """
    rng = random.Random(f"canary {seed}")
    design = Switchback(rng.randbytes(16), "a", 1, 0, 0, 0.5)
    blocks, found, touched = noise(rng), Evidence.start(RAILS, CLIP), False
    for pair in range(PAIRS):
        means = {}
        for block in (2 * pair, 2 * pair + 1):
            candidate = design.candidate(block)
            share = 1.0 if candidate else carry * touched
            means[candidate] = min(CLIP, next(blocks) * (1.0 + change.of(rng) * share))
            touched = candidate
        stable, treated = (
            Arm(COUNT, COUNT * means[side], change.failures(rng, side)) for side in (False, True)
        )
        gap = ("lag", rng.choice(("stable", "candidate"))) if rng.random() < drop else ("", "")
        found = found.add(Point(pair, "a", stable, treated, gap[0], gap[1]))
        if found.regression(ALPHA):
            return f"abort {pair + 1}"
        doubt = found.doubt(few=found.superior(ALPHA))
        if doubt:
            return "doubt"
        if pair >= 7 and found.superior(ALPHA):
            return f"promote {pair + 1}"
    return "hold"


def tally(runs: int, noise: Noise, *change: Change, **how: float) -> dict[str, int]:
    ends = [play(seed, noise, *change, **how).split()[0] for seed in range(runs)]
    return {end: ends.count(end) for end in ("abort", "promote", "hold", "doubt")}


def assert_rarely_wrong(runs: int, *regimes: str) -> None:
    tallies = [tally(runs, REGIMES[regime]) for regime in regimes]
    for end in ("abort", "promote"):
        hits = sum(counts[end] for counts in tallies)
        assert upper_limit(hits, runs * len(regimes)) <= LIMIT, (regimes, tallies)


def test_equal_policies_are_rarely_decided_upon() -> None:
    """All regimes pooled: one regime's 400 runs are too few to tell 2.5 % from 3.5 %."""
    assert_rarely_wrong(FAST, *REGIMES)


@pytest.mark.soak
@pytest.mark.parametrize("regime", REGIMES)
def test_equal_policies_are_rarely_decided_upon_in_each_regime(regime: str) -> None:
    assert_rarely_wrong(FULL, regime)


def test_dropping_pairs_by_chance_does_not_raise_false_alarms() -> None:
    counts = tally(FAST, iid, drop=0.08)
    assert upper_limit(counts["abort"], FAST) <= LIMIT, counts
    assert upper_limit(counts["promote"], FAST) <= LIMIT, counts


def test_carry_over_hides_an_effect_but_never_turns_it_round() -> None:
    clean, carried = (tally(100, iid, Change(-0.15), carry=c) for c in (0.0, 0.5))
    assert clean["promote"] >= carried["promote"]
    assert carried["abort"] == 0


@pytest.mark.parametrize(
    ("effect", "end", "least"),
    [(-0.3, "promote", 0.97), (-0.15, "promote", 0.6), (0.15, "abort", 0.6), (0.3, "abort", 0.97)],
)
def test_power_at_a_block_noise_of_ten_percent(effect: float, end: str, least: float) -> None:
    counts = tally(150, iid, Change(effect))
    assert counts[end] / 150 >= least, counts
    wrong = {"promote": "abort", "abort": "promote"}[end]
    assert counts[wrong] == 0


def test_a_worse_policy_is_not_promoted() -> None:
    counts = tally(FAST, correlated(0.6), Change(0.05))
    assert counts["promote"] <= 4


def test_the_exact_limit_agrees_with_the_rule_of_three() -> None:
    assert upper_limit(0, 400) == pytest.approx(1.0 - 0.025 ** (1 / 400), rel=1e-6)
    assert 0.024 < upper_limit(4, 400) < 0.027


#: Candidates that must not be promoted though most of their pairs win: too many failures, or rare
#: losses that outweigh the gains of the other blocks.
NULLS = {
    "failures": Change(-0.1, fails=(0.0, 0.007)),
    "failures at the limit": Change(-0.3, fails=(0.002, 0.007)),
    "rare doublings": Change(-0.05, 1.0, 0.1),
    "rare losses": Change(-0.06, 0.3, 0.2),
}


def quiet(rng: random.Random) -> Iterator[float]:
    """So little noise that every block without a loss wins its pair."""
    while True:
        yield rng.lognormvariate(3.0, 0.02)


def assert_rarely_promoted(change: Change, runs: int) -> None:
    counts = tally(runs, quiet, change)
    assert upper_limit(counts["promote"], runs) <= LIMIT, counts


@pytest.mark.parametrize("name", NULLS)
def test_most_pairs_winning_does_not_promote(name: str) -> None:
    assert_rarely_promoted(NULLS[name], 150)


@pytest.mark.soak
@pytest.mark.parametrize("name", NULLS)
def test_most_pairs_winning_does_not_promote_in_many_runs(name: str) -> None:
    assert_rarely_promoted(NULLS[name], FULL)


def test_a_quarter_less_is_promoted_within_a_short_canary() -> None:
    ends = [play(seed, iid, Change(-0.25)) for seed in range(100)]
    assert sum(end in {f"promote {pairs}" for pairs in range(8, 14)} for end in ends) >= 90


def test_equal_failures_within_the_margin_are_promoted_later() -> None:
    rare = Change(-0.25, fails=(0.001, 0.001))
    assert tally(60, iid, rare)["promote"] >= 45
