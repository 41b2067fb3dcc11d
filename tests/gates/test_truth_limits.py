"""Limits of a ratio: no more often wrong than they say, whatever the blocks are like."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.shadow.limits import LEAST_BATCHES, batched, merges, ratio_limits, student

Blocks = tuple[np.ndarray, np.ndarray]
BLOCKS = 40


def alike(rng: np.random.Generator) -> Blocks:
    """Blocks that differ from each other, in both policies alike."""
    load = rng.gamma(4.0, 10.0, BLOCKS)
    return load * rng.gamma(50.0, 0.02, BLOCKS), load * rng.gamma(50.0, 0.02, BLOCKS)


def uneven(rng: np.random.Generator) -> Blocks:
    """Blocks of very different sizes."""
    size = rng.lognormal(0.0, 1.0, BLOCKS)
    return size * rng.gamma(4.0, 0.25, BLOCKS), size * rng.gamma(4.0, 0.25, BLOCKS)


def spells(rng: np.random.Generator) -> Blocks:
    """What one policy does differently lasts for a block and a half."""
    drawn = rng.normal(size=(2, BLOCKS + 50))
    keep = math.exp(-1.0 / 1.5)
    for at in range(1, BLOCKS + 50):
        drawn[:, at] = keep * drawn[:, at - 1] + math.sqrt(1.0 - keep**2) * drawn[:, at]
    ours, theirs = np.exp(0.3 * drawn[:, 50:])
    return ours, theirs


def bursts(rng: np.random.Generator) -> Blocks:
    """One policy is better but for one block in five, in which it is four times as dear."""
    on = rng.random(BLOCKS) < 0.2
    return np.where(on, 2.5, 0.625) * rng.gamma(50.0, 0.02, BLOCKS), rng.gamma(50.0, 0.02, BLOCKS)


#: Regime, and the most that 2.5 % may become in it.
REGIMES = [(alike, 0.025), (uneven, 0.03), (spells, 0.08), (bursts, 0.025)]


def wrong(regime: Callable[[np.random.Generator], Blocks], runs: int, alpha: float) -> int:
    """Count how often an equal policy seems to be better."""
    found = 0
    for run in range(runs):
        ours, theirs = regime(np.random.default_rng((31, run)))
        found += ratio_limits(ours, theirs, alpha, 0)[1] < 0.0
    return found


def long_spells(rng: np.random.Generator, blocks: int) -> Blocks:
    """What one policy does differently lasts for four blocks, a tenth of the window."""
    drawn = rng.normal(size=(2, blocks + 50))
    keep = math.exp(-1.0 / 4.0)
    for at in range(1, blocks + 50):
        drawn[:, at] = keep * drawn[:, at - 1] + math.sqrt(1.0 - keep**2) * drawn[:, at]
    ours, theirs = np.exp(0.3 * drawn[:, 50:])
    return ours, theirs


def rare_bursts(rng: np.random.Generator, blocks: int) -> Blocks:
    """One policy is better but for one block in twenty, in which it is four times as dear."""
    on = rng.random(blocks) < 0.05
    ours = np.where(on, 4.0, 1.0) / 1.15 * rng.gamma(50.0, 0.02, blocks)
    return ours, rng.gamma(50.0, 0.02, blocks)


def wrong_with_history(
    regime: Callable[[np.random.Generator, int], Blocks], runs: int, history: bool
) -> int:
    """Count how often an equal policy seems to be better where three quarters came before."""
    found = 0
    for run in range(runs):
        ours, theirs = regime(np.random.default_rng((33, run)), 4 * BLOCKS)
        edges = [slice(0, 2 * BLOCKS), slice(2 * BLOCKS, 3 * BLOCKS)] if history else []
        before = [(ours[edge], theirs[edge]) for edge in edges]
        last = slice(3 * BLOCKS, None)
        found += ratio_limits(ours[last], theirs[last], 0.025, 0, before)[1] < 0.0
    return found


@pytest.mark.parametrize(("regime", "share"), [(long_spells, 0.025), (rare_bursts, 0.025)])
def test_what_came_before_tells_how_much_long_stretches_differ(
    regime: Callable[[np.random.Generator, int], Blocks], share: float
) -> None:
    assert wrong_with_history(regime, 300, history=True) <= most(300, share)
    assert wrong_with_history(regime, 300, history=False) >= 24  # the window alone cannot know


@given(seed=st.integers(0, 200), factor=st.floats(0.3, 3.0))
def test_what_a_policy_won_before_does_not_count_and_what_it_lost_does(
    seed: int, factor: float
) -> None:
    ours, theirs = alike(np.random.default_rng(seed))
    equal = [(ours, theirs)] * 2
    low, high = ratio_limits(ours, theirs, 0.025, 0, equal)
    other = ratio_limits(ours, theirs, 0.025, 0, [(factor * ours, theirs)] * 2)
    blocks = student(0.025, BLOCKS - 1) * (ours / theirs).std() / math.sqrt(BLOCKS)
    assert other[0] <= other[1] and other[1] - other[0] >= blocks
    if factor > 1.5:
        assert other[1] > high and other[1] > 0.0
    if factor < 0.6:
        assert other[0] < low and other[0] < 0.0


@given(seed=st.integers(0, 200))
def test_a_time_of_overload_before_does_not_hide_a_policy_that_always_wins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    load = rng.gamma(50.0, 0.2, 4 * BLOCKS)
    load[20:40] *= 10.0  # and in the overload its gain differs
    gain = np.where(np.arange(4 * BLOCKS) < 30, 0.8, np.where(np.arange(4 * BLOCKS) < 40, 0.1, 0.5))
    ours = gain * load * rng.gamma(50.0, 0.02, 4 * BLOCKS)
    edges = slice(0, 2 * BLOCKS), slice(2 * BLOCKS, 3 * BLOCKS)
    last = slice(3 * BLOCKS, None)
    before = [(ours[edge], load[edge]) for edge in edges]
    low, high = ratio_limits(ours[last], load[last], 0.025, 0, before)
    assert -0.8 < low < -0.5 < high < -0.2


@pytest.mark.soak
@pytest.mark.parametrize(("regime", "share"), [(long_spells, 0.025), (rare_bursts, 0.025)])
def test_what_came_before_tells_in_many_runs(
    regime: Callable[[np.random.Generator, int], Blocks], share: float
) -> None:
    assert wrong_with_history(regime, 6000, history=True) <= most(6000, share)


def most(runs: int, share: float) -> int:
    """Return a count that a binomial of this share exceeds in one of a thousand runs."""
    return math.floor(runs * share + 3.1 * math.sqrt(runs * share * (1.0 - share)) + 1.0)


@pytest.mark.parametrize(("regime", "share"), REGIMES)
def test_equal_policies_seldom_seem_better(
    regime: Callable[[np.random.Generator], Blocks], share: float
) -> None:
    assert wrong(regime, 300, 0.025) <= most(300, share)


@pytest.mark.soak
@pytest.mark.parametrize("alpha", [0.025, 0.0125, 0.003125])
@pytest.mark.parametrize(("regime", "share"), REGIMES)
def test_equal_policies_seldom_seem_better_in_many_runs(
    regime: Callable[[np.random.Generator], Blocks], share: float, alpha: float
) -> None:
    assert wrong(regime, 6000, alpha) <= most(6000, share * alpha / 0.025)


def test_a_tenth_is_found() -> None:
    found = 0
    for run in range(100):
        ours, theirs = alike(np.random.default_rng((32, run)))
        found += ratio_limits(0.9 * ours, theirs, 0.025, 0)[1] < 0.0
    assert found >= 70


@given(
    seed=st.integers(0, 500), scale=st.floats(0.01, 100.0), alpha=st.sampled_from([0.025, 0.002])
)
def test_limits_lie_on_both_sides_and_do_not_depend_on_the_unit(
    seed: int, scale: float, alpha: float
) -> None:
    ours, theirs = uneven(np.random.default_rng(seed))
    low, high = ratio_limits(ours, theirs, alpha, 0)
    assert -1.0 <= low <= ours.sum() / theirs.sum() - 1.0 <= high
    assert ratio_limits(ours * scale, theirs * scale, alpha, 0) == pytest.approx((low, high))


@given(seed=st.integers(0, 500))
def test_less_error_asks_for_a_wider_interval(seed: int) -> None:
    ours, theirs = alike(np.random.default_rng(seed))
    narrow, wide = (ratio_limits(ours, theirs, alpha, 0) for alpha in (0.025, 0.003))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_one_block_that_decides_everything_is_no_evidence() -> None:
    theirs = np.random.default_rng(0).gamma(4.0, 10.0, BLOCKS)
    ours = theirs.copy()
    ours[7] = 0.0
    low, high = ratio_limits(ours, theirs, 0.025, 0)
    assert low < 0.0 < high


@given(blocks=st.integers(1, 30), alpha=st.floats(0.001, 0.05))
def test_what_only_one_policy_had_counts_as_a_toss_per_block(blocks: int, alpha: float) -> None:
    none, some = np.zeros(BLOCKS), np.zeros(BLOCKS)
    some[:blocks] = 1.0
    sure = 0.5**blocks < alpha
    assert (ratio_limits(none, some, alpha, 0)[1] < 0.0) == sure
    assert (ratio_limits(some, none, alpha, 0)[0] > 0.0) == sure


@pytest.mark.parametrize(
    ("alpha", "freedom", "value"),
    [(0.05, 1, 6.3138), (0.025, 9, 2.2622), (0.025, 39, 2.0227), (0.005, 4, 4.6041)],
)
def test_student_is_as_in_the_tables(alpha: float, freedom: int, value: float) -> None:
    assert student(alpha, freedom) == pytest.approx(value, abs=1e-4)


@given(blocks=st.integers(16, 200))
def test_batches_are_enough_and_lose_nothing(blocks: int) -> None:
    sums = np.arange(blocks) + 1.0
    for many in merges(blocks):
        found = batched(sums, many)
        assert len(found) == blocks // many >= LEAST_BATCHES
        assert found.sum() == sums.sum()
