"""Intervals on paired replays: right where the truth is known, silent where there is too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import TraceError
from gnomon.shadow.gates.effects import (
    block_length,
    statistic_effect,
    worst_mean_effect,
)
from gnomon.shadow.simulators.base import Replay


def replay(outcome: np.ndarray, ok: np.ndarray | None = None, rate: float = 100.0) -> Replay:
    n = len(outcome)
    return Replay(
        time=np.arange(n) / rate,
        outcome=outcome,
        ok=np.ones(n, dtype=bool) if ok is None else ok,
        action=np.zeros(n, dtype=np.int64),
        members=2,
    )


def noise(seed: int, n: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4.0, 10.0, n)


def test_a_constant_gain_is_found_exactly() -> None:
    base = replay(noise(0))
    effect = worst_mean_effect([replay(base.outcome * 0.9)], [base], 0.025, 0)
    assert effect.estimate == pytest.approx(-0.1)
    assert effect.low == pytest.approx(-0.1) and effect.high == pytest.approx(-0.1)


def test_the_same_policy_is_never_better() -> None:
    base = replay(noise(0))
    effect = worst_mean_effect([base, base], [base, base], 0.025, 0)
    assert (effect.estimate, effect.low, effect.high) == (0.0, 0.0, 0.0)


def test_the_worst_calibration_decides_the_limit() -> None:
    base = replay(noise(0))
    good, bad = replay(base.outcome * 0.5), replay(base.outcome * 1.1)
    effect = worst_mean_effect([good, bad, good], [base] * 3, 0.025, 0)
    assert effect.high == pytest.approx(0.1) and effect.low == pytest.approx(-0.5)
    assert effect.estimate == pytest.approx(-0.5)


def _false_passes(runs: int, alpha: float) -> int:
    """Count how often a policy that is no better seems to be: equal distributions, paired noise."""
    passes = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        shared = np.repeat(rng.gamma(4.0, 10.0, 40), 25)  # blocks that differ from each other
        one = replay(shared + rng.gamma(2.0, 5.0, 1000))
        two = replay(shared + rng.gamma(2.0, 5.0, 1000))
        passes += worst_mean_effect([one], [two], alpha, run).high < 0.0
    return passes


def test_a_policy_that_is_no_better_seldom_seems_so() -> None:
    # 200 runs at 2.5 %: 5 expected, more than 13 has probability below 0.001
    assert _false_passes(200, 0.025) <= 13


@pytest.mark.soak
def test_a_policy_that_is_no_better_seldom_seems_so_in_many_runs() -> None:
    # resampling 40 blocks is slightly too sure of itself: allow 4 % for 2.5 %
    assert _false_passes(4000, 0.025) <= 160


def test_too_few_blocks_say_nothing() -> None:
    short = replay(noise(0, 20))
    with pytest.raises(TraceError, match="too few"):
        worst_mean_effect([short], [short], 0.025, 0)


def test_the_99th_percentile_has_99_of_100_at_or_below_it() -> None:
    ours, theirs = noise(1, 4000), noise(2, 4000)
    effect = statistic_effect([replay(ours)], [replay(theirs)], "p99", False, alpha=0.05, seed=0)
    expected = np.sort(ours)[3959] - np.sort(theirs)[3959]
    assert effect.estimate == pytest.approx(expected, abs=1e-9)
    assert effect.low < effect.estimate < effect.high


def test_a_heavier_tail_shows_only_in_the_tail() -> None:
    base = noise(3, 4000)
    worse = base.copy()
    worse[np.argsort(base)[-60:]] *= 3.0
    tail = statistic_effect([replay(worse)], [replay(base)], "p99", True, alpha=0.05, seed=0)
    assert tail.low > 0.10


def test_failures_are_compared_in_absolute_terms() -> None:
    n = 4000
    ok = np.ones(n, dtype=bool)
    some = ok.copy()
    some[::50] = False
    effect = statistic_effect(
        [replay(noise(0, n), some)],
        [replay(noise(0, n), ok)],
        "failure_rate",
        False,
        alpha=0.05,
        seed=0,
    )
    assert effect.estimate == pytest.approx(0.02)
    assert 0.015 < effect.low <= effect.high < 0.025


def test_failures_where_there_were_none_are_infinitely_worse() -> None:
    n = 1000
    some = np.ones(n, dtype=bool)
    some[5] = False
    base = replay(noise(0, n))
    effect = statistic_effect(
        [replay(noise(0, n), some)], [base], "failure_rate", True, alpha=0.05, seed=0
    )
    assert effect.estimate == math.inf
    same = statistic_effect([base], [base], "failure_rate", True, alpha=0.05, seed=0)
    assert same.estimate == same.high == 0.0


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["mean", "p99", "failure_rate"]), st.booleans())
def test_a_policy_never_differs_from_itself(seed: int, statistic: str, relative: bool) -> None:
    base = replay(noise(seed), np.random.default_rng(seed).random(1000) < 0.9)
    effect = statistic_effect([base], [base], statistic, relative, alpha=0.05, seed=seed)  # type: ignore[arg-type]
    assert effect.estimate == effect.low == effect.high == 0.0


@given(st.floats(0.1, 1e5))
def test_blocks_are_many_and_not_tiny(span_s: float) -> None:
    length = block_length(span_s)
    assert length >= 0.2 and span_s / length <= 40.0 + 1e-9
