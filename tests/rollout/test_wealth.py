"""The e-processes for the mean and for failures: their means under the hypothesis, and their power."""

from __future__ import annotations

import itertools
import math
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.rollout.evidence import Evidence
from gnomon.policies.rollout.outcomes import Arm, Point
from gnomon.policies.rollout.wealth import BOUND, DILUTED, Failures, Gains, log_mean_exp

NEEDED = math.log(40)
rates = st.floats(0.0, 0.4)


def gains(differences: list[float]) -> float:
    wealth = Gains()
    for difference in differences:
        wealth = wealth.bet(difference)
    return wealth.log_e


def counted(pairs: list[tuple[int, int, int, int]], margin: float = 0.005) -> float:
    wealth = Failures(1.0, margin)
    for m, failed, n, lost in pairs:
        wealth = wealth.bet((m, failed), (n, lost))
    return wealth.log_e


@given(st.floats(0.01, BOUND), st.floats(0.0, 1.0), st.integers(1, 7))
def test_a_skewed_candidate_of_mean_zero_never_gains(win: float, more: float, n: int) -> None:
    """Small wins and rarer, larger losses that outweigh them, summed over every course of pairs."""
    loss = win + more * (BOUND - win)
    p = win / (win + loss)
    total = 0.0
    for lost in itertools.product((False, True), repeat=n):
        chance = math.prod(p if bad else 1.0 - p for bad in lost)
        total += chance * math.exp(gains([loss if bad else -win for bad in lost]))
    assert total == pytest.approx(1.0, rel=1e-9)


@given(rates, st.floats(0.0, 0.2), st.integers(1, 4), st.integers(1, 4), st.floats(0.5, 2.0))
def test_a_candidate_at_the_limit_never_gains(
    rate: float, margin: float, m: int, n: int, factor: float
) -> None:
    """Two pairs of unequal arms, summed over all counts of failures."""
    limit = min(1.0, factor * rate + margin)
    if factor * rate + margin > 1.0:
        return
    outcomes = list(itertools.product(range(m + 1), range(n + 1)))
    chances = {
        (a, b): comb(m, a) * rate**a * (1 - rate) ** (m - a)
        * comb(n, b) * limit**b * (1 - limit) ** (n - b)
        for a, b in outcomes
    }  # fmt: skip
    total = 0.0
    for one, two in itertools.product(outcomes, repeat=2):
        wealth = Failures(factor, margin)
        for failed, lost in (one, two):
            wealth = wealth.bet((m, failed), (n, lost))
        total += chances[one] * chances[two] * math.exp(wealth.log_e)
    assert total <= 1.0 + 1e-9


@given(st.lists(st.floats(allow_nan=False), max_size=30))
def test_the_wealth_of_the_mean_stays_finite(differences: list[float]) -> None:
    assert math.isfinite(gains(differences))


@pytest.mark.parametrize(("outcomes", "enough"), [(850, False), (1000, True)])
def test_a_thousand_outcomes_without_failure_show_half_a_percent(
    outcomes: int, enough: bool
) -> None:
    assert (counted([(outcomes // 10, 0, outcomes // 10, 0)] * 10) >= NEEDED) is enough


def test_failures_beyond_the_limit_lose_and_equal_ones_win() -> None:
    assert counted([(120, 0, 120, 1)] * 20) < 0.0
    assert counted([(120, 1, 120, 1)] * 80) > NEEDED


def test_a_burst_of_failures_of_stable_buys_nothing_much() -> None:
    usual = [(120, 0, 120, 0)]
    assert counted([*usual * 3, (120, 100, 120, 0)]) < counted(usual * 4) + 2 * math.log(2)


def test_no_outcome_bets_nothing() -> None:
    assert counted([(0, 0, 10, 0), (10, 0, 0, 0)]) == pytest.approx(0.0, abs=1e-12)


def evidence(means: list[float]) -> Evidence:
    found = Evidence.start((), 1000.0)
    for pair, mean in enumerate(means):
        found = found.add(Point(pair, "a", Arm(100, 1000.0), Arm(100, 100.0 * mean)))
    return found


def test_the_pooled_mean_must_be_better_too() -> None:
    """Many small wins and one loss so large that the bet on the mean does not see all of it."""
    found = evidence([7.0] * 40 + [200.0])
    assert min(found.better.log_e, found.gains.log_e) >= NEEDED
    assert not found.superior(0.025)


@pytest.mark.parametrize(("pairs", "enough"), [(DILUTED - 2, False), (DILUTED - 1, True)])
def test_a_pair_beyond_the_bound_must_be_diluted(pairs: int, enough: bool) -> None:
    found = evidence([5.0] * pairs + [17.0])
    assert min(found.better.log_e, found.gains.log_e) >= NEEDED
    assert found.superior(0.025) is enough


def test_shares_weigh() -> None:
    assert log_mean_exp([0.0, math.log(3.0)], (0.5, 0.5)) == pytest.approx(math.log(2.0))
    assert log_mean_exp([0.0, math.log(3.0)], (1.0, 0.0)) == pytest.approx(0.0)
