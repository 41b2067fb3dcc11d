"""Windows in time, and paired effects."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import TraceError
from gnomon.shadow.simulators import Replay
from gnomon.shadow.splits import paired_effect, segments, split

from .queueing import demo


def replay(outcome: np.ndarray, seconds: float = 40.0) -> Replay:
    n = len(outcome)
    time = np.linspace(0.0, seconds, n, endpoint=False)
    return Replay(time, outcome, np.ones(n, bool), np.zeros(n, np.int64), 1)


def test_splits_are_consecutive_and_lose_nothing() -> None:
    trace = demo(seconds=20.0)
    parts = split(trace)
    windows = list(parts.windows().values())
    assert [*parts.windows()] == ["train", "validation", "holdout"]
    assert np.array_equal(np.concatenate([each.time for each in windows]), trace.time)
    assert [each.span_s / trace.span_s for each in windows] == pytest.approx(
        [0.5, 0.25, 0.25], abs=0.02
    )
    assert len({each.digest for each in windows}) == 3


def test_a_quarter_without_decisions_is_refused() -> None:
    trace = demo(seconds=10.0)
    hole = (trace.time < 5.0) | (trace.time > 7.6)
    columns = trace.COLUMNS
    holed = dataclasses.replace(trace, **{name: getattr(trace, name)[hole] for name in columns})
    with pytest.raises(TraceError, match="a quarter without"):
        split(holed)


@given(seed=st.integers(0, 1000), factor=st.floats(0.2, 3.0))
def test_a_uniform_change_is_known_exactly(seed: int, factor: float) -> None:
    base = np.random.default_rng(seed).exponential(10.0, 2000)
    effect = paired_effect(replay(base * factor), replay(base), seed=seed)
    assert effect.estimate == pytest.approx(factor - 1.0)
    assert (effect.low, effect.high) == pytest.approx((factor - 1.0, factor - 1.0))


def test_the_interval_covers_no_effect_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        load = np.repeat(rng.exponential(10.0, 40), 25)  # blocks of one second differ, in both
        one, other = (replay(load * rng.lognormal(0, 0.5, 1000)) for _ in range(2))
        effect = paired_effect(one, other, seed=seed)
        covered += effect.low <= 0.0 <= effect.high
    assert 0.90 <= covered / 200


def test_replicas_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    ones = [replay(rng.exponential(10.0, 1000)) for _ in range(10)]
    others = [replay(rng.exponential(10.0, 1000)) for _ in range(10)]
    single, many = paired_effect(ones[0], others[0]), paired_effect(ones, others)
    assert many.high - many.low < 0.6 * (single.high - single.low)


def test_too_few_blocks_and_failed_policies_have_no_effect() -> None:
    short = replay(np.ones(100), seconds=5.0)
    with pytest.raises(TraceError, match="5 blocks of 1 s are too few"):
        paired_effect(short, short)
    good = replay(np.ones(100))
    with pytest.raises(TraceError, match="failed"):
        paired_effect(dataclasses.replace(good, fault=99), good)


@given(n=st.integers(1, 30), count=st.integers(1, 12))
def test_segments_average_stretches_in_order(n: int, count: int) -> None:
    means = segments(replay(np.arange(n) * 1.0), count)
    assert len(means) == min(n, count)
    assert list(means) == sorted(means)
    assert means[0] <= (n - 1) / 2 <= means[-1]


def _misses(*at: int) -> Replay:
    outcome = np.zeros(1000)
    outcome[list(at)] = 1.0
    return replay(outcome)


def test_nothing_against_nothing_is_no_change_and_something_is_infinitely_more() -> None:
    none, few = _misses(), _misses(10, 500)
    same = paired_effect(none, none)
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)
    more = paired_effect(few, none)
    assert (more.estimate, more.high) == (np.inf, np.inf)
    assert more.low < 0.0  # two blocks with a miss may be luck
    less = paired_effect(none, few)
    assert (less.estimate, less.low) == (-1.0, -1.0)
    assert less.high > 0.0
    many = _misses(*range(0, 1000, 50))
    assert paired_effect(many, none).low > 0.0 > paired_effect(none, many).high
