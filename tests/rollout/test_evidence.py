"""The evidence by itself: bets, intervals, guardrails, and what is left out."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.betting import (
    FRACTIONS,
    Betting,
    Side,
    effect_of,
    log_ratio,
    scale_of,
    size,
)
from gnomon.policies.rollout.evidence import Evidence
from gnomon.policies.rollout.outcomes import Arm, Point, Rail
from gnomon.policies.rollout.wealth import log_mean_exp
from gnomon.sdk.measure import BUCKETS, bucket

CLIP = 1000.0
FAILURES = Rail("failures", "failure_rate", 0.01, relative=False)
TAIL = Rail("tail", "p99", 0.10, relative=True)

positive = st.floats(1e-3, 1e3)


def arm(mean: float, count: int = 100, failures: int = 0) -> Arm:
    histogram = [0] * BUCKETS
    histogram[bucket(mean, CLIP)] = count
    return Arm(count, mean * count, failures, tuple(histogram))


def point(stable: float, candidate: float, failures: tuple[int, int] = (0, 0)) -> Point:
    return Point(0, "a", arm(stable, failures=failures[0]), arm(candidate, failures=failures[1]))


def evidence(points: list[Point], *rails: Rail) -> Evidence:
    found = Evidence.start(rails, CLIP)
    for item in points:
        found = found.add(item)
    return found


@given(st.lists(st.tuples(st.floats(0.01, 10.0), positive), min_size=1, max_size=8))
def test_the_mean_wealth_over_all_coins_is_exactly_one(pairs: list[tuple[float, float]]) -> None:
    """The sharp null: sizes are fixed, coins are fair; the average over all 2^n outcomes is 1."""
    total = 0.0
    for coins in itertools.product((-1.0, 1.0), repeat=len(pairs)):
        side, past = Side(), list[float]()
        for coin, (magnitude, _) in zip(coins, pairs, strict=True):
            side = side.bet(coin * magnitude, scale_of(past))
            past.append(magnitude)
        total += math.exp(side.log_e)
    assert total / 2 ** len(pairs) == pytest.approx(1.0, rel=1e-9)


@given(st.integers(1, 7), st.floats(0.0, 2.0), st.randoms(use_true_random=False))
def test_an_unhelpful_shift_never_gains(n: int, shift: float, rng: random.Random) -> None:
    """Composite null: the candidate adds a constant of the wrong sign; the mean wealth is at most 1."""
    sizes = [rng.lognormvariate(0.0, 1.0) for _ in range(n)]
    total = 0.0
    for coins in itertools.product((-1.0, 1.0), repeat=n):
        wealth, past = Betting(), list[float]()
        for coin, magnitude in zip(coins, sizes, strict=True):
            difference = coin * magnitude - shift
            # The scale is of earlier magnitudes that do not depend on the coins: the hypothesis.
            wealth = wealth.bet(size(difference, scale_of(past)))
            past.append(magnitude)
        total += math.exp(wealth.log_e)
    assert total / 2**n <= 1.0 + 1e-9


@given(st.integers(0, 12), st.integers(0, 12))
def test_signs_agree_with_exact_arithmetic(wins: int, losses: int) -> None:
    wealth = Betting()
    for outcome in [1.0] * wins + [-1.0] * losses:
        wealth = wealth.bet(outcome)
    shares = [Fraction(round(10 * f), 10) for f in FRACTIONS]
    exact = sum((1 + f) ** wins * (1 - f) ** losses for f in shares) / len(shares)
    assert math.exp(wealth.log_e) == pytest.approx(float(exact), rel=1e-9)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.floats(0.0, 10.0))
def test_sizes_are_odd_and_never_fall(one: float, other: float, scale: float) -> None:
    low, high = min(one, other), max(one, other)
    assert -1.0 <= size(low, scale) <= size(high, scale) <= 1.0
    assert size(-one, scale) == -size(one, scale)


def test_ties_bet_nothing() -> None:
    found = evidence([point(5.0, 5.0)] * 20)
    assert (found.better.log_e, found.worse.log_e, found.pairs) == (0.0, 0.0, 20)


@pytest.mark.parametrize(("wins", "enough"), [(6, False), (7, True)])
def test_seven_wins_in_a_row_are_enough(wins: int, enough: bool) -> None:
    found = evidence([point(10.0, 9.0)] * wins)
    assert (found.better.log_e >= math.log(40)) is enough
    assert (evidence([point(9.0, 10.0)] * wins).regression(0.025) != "") is enough


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=30))
def test_swapping_the_arms_swaps_the_evidence(pairs: list[tuple[float, float]]) -> None:
    one = evidence([point(a, b) for a, b in pairs])
    other = evidence([point(b, a) for a, b in pairs])
    assert one.better.log_e == pytest.approx(other.worse.log_e)
    assert one.worse.log_e == pytest.approx(other.better.log_e)
    assert one.effect().estimate >= -1.0


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=60), st.floats(-1, 1))
def test_the_interval_moves_with_the_differences(xs: list[float], shift: float) -> None:
    before = effect_of(xs, 0.05)
    after = effect_of([x + shift for x in xs], 0.05)
    assert before.low <= before.estimate <= before.high
    assert after.low + 1 == pytest.approx((before.low + 1) * math.exp(shift), abs=1e-9)
    if math.isfinite(before.high):
        assert after.high + 1 == pytest.approx((before.high + 1) * math.exp(shift), rel=1e-9)


def test_little_data_leaves_the_interval_open() -> None:
    assert effect_of([], 0.05).high == math.inf
    assert effect_of([-0.1] * 3, 0.05).low == -1.0
    narrow = effect_of([-0.1] * 20, 0.05)
    assert narrow.low == narrow.high == pytest.approx(math.expm1(-0.1))


def test_a_zero_mean_is_infinitely_better() -> None:
    assert log_ratio(0.0, 0.0) == 0.0
    assert log_ratio(0.0, 1.0) == -math.inf
    found = evidence([point(1.0, 0.0)] * 8)
    assert found.better.log_e > math.log(40)
    assert found.effect().high == -1.0


def test_a_guardrail_within_its_margin_is_fine() -> None:
    good = [point(10.0, 7.0, (0, 0))] * 10
    found = evidence(good, FAILURES, TAIL)
    assert found.superior(0.025)
    assert found.regression(0.025) == ""


def test_a_broken_guardrail_blocks_and_aborts() -> None:
    found = evidence([point(10.0, 9.0, (0, 5))] * 9, FAILURES)
    assert not found.superior(0.025)
    assert "guardrail failures exceeded" in found.regression(0.025)


def test_a_few_very_bad_pairs_block_promotion_though_most_are_fine() -> None:
    pairs = [point(10.0, 7.0)] * 15
    assert evidence(pairs, FAILURES).superior(0.025)
    found = evidence([*pairs, point(10.0, 7.0, (0, 60))], FAILURES)
    assert found.better.log_e >= math.log(40)
    assert not found.superior(0.025)
    assert not found.promising()


def test_a_relative_margin_scales_with_the_stable_arm() -> None:
    assert TAIL.limit(50.0) == pytest.approx(55.0)
    assert FAILURES.limit(0.02) == pytest.approx(0.03)
    assert math.isnan(TAIL.value(Arm(), CLIP))


def test_pairs_left_out_for_one_arm_only_are_doubted() -> None:
    found = evidence([point(10.0, 9.0)] * 100)
    for _ in range(11):
        found = found.add(Point(0, "a", Arm(), Arm(), "excluded: lag", "candidate"))
    assert "for one arm more" in found.doubt()
    even = evidence([point(10.0, 9.0)] * 100)
    for fault in ("candidate", "stable") * 11:
        even = even.add(Point(0, "a", Arm(), Arm(), "excluded: lag", fault))
    assert even.doubt() == ""


def test_more_than_a_fifth_left_out_is_doubted() -> None:
    found = evidence([point(10.0, 9.0)] * 8)
    gap = Point(0, "a", Arm(), Arm(), "no report", "both")
    found = found.add(gap).add(gap)
    assert found.doubt() == ""
    assert "3 of 11" in found.add(gap).doubt()
    assert evidence([gap], FAILURES).doubt() == ""
    assert evidence([gap], FAILURES).doubt(few=True) != ""


@given(st.lists(st.floats(-800, 800), min_size=1, max_size=10))
def test_log_mean_exp_stays_within_its_arguments(logs: list[float]) -> None:
    assert min(logs) - 1e-6 <= log_mean_exp(logs) <= max(logs) + 1e-6
    assert log_mean_exp([-math.inf, -math.inf]) == -math.inf


@pytest.mark.parametrize(("count", "held"), [(80, True), (95, False), (100, False), (150, False)])
def test_a_candidate_that_loses_decisions_is_doubted(count: int, held: bool) -> None:
    """More are welcome: callers that wait for answers ask a faster policy more often."""
    points = [Point(0, "a", arm(10.0), arm(9.0, count)) for _ in range(12)]
    assert ("fewer outcomes" in evidence(points).doubt()) is held


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9))
def test_a_fair_coin_gains_nothing_from_uneven_counts(sizes: list[int]) -> None:
    total = 0.0
    for coins in itertools.product((False, True), repeat=len(sizes)):
        pairs = [
            (50, size) if coin else (size, 50) for size, coin in zip(sizes, coins, strict=True)
        ]
        points = [Point(0, "a", arm(1.0, one), arm(1.0, other)) for one, other in pairs]
        total += math.exp(evidence(points).thinned.log_e)
    assert total / 2 ** len(sizes) == pytest.approx(1.0, rel=1e-9)
