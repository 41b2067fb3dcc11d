"""Changes with intervals: as of whole replays, exact where they can be, and right as often as they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.replay.cells import Measured, Setting, bound_of, measured, measured_of, merged
from gnomon.shadow.replay.effects import (
    LEVEL,
    Change,
    change,
    joint_level,
    mean_change,
    seed_of_blocks,
)
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.splits import paired_effect

from .queueing import demo


def blocks(values: list[float]) -> Measured:
    return Measured("built-in", (), tuple(range(len(values))), tuple(values))


def test_it_is_the_effect_of_the_whole_replays() -> None:
    trace, simulator = demo(seed=3, seconds=12.0), simulator_for(load_balancer)
    setting = Setting(trace, simulator, simulator.calibrate(trace))
    one, other = (baseline_policy(name, load_balancer) for name in ("peak_ewma", "random"))
    ours, theirs = (
        policy.replays(simulator, trace, setting.calibration, range(3)) for policy in (one, other)
    )
    whole = paired_effect(ours, theirs, trace.block_s, 5)
    found = change(
        measured_of("", ours, setting), measured_of("", theirs, setting), trace.block_s, 5
    )
    parts = found.interval(LEVEL)
    for name in ("estimate", "low", "high"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9)


def test_a_bound_is_of_the_same_luck_as_the_means_beside_it() -> None:
    trace, simulator = demo(seed=3, seconds=12.0), simulator_for(load_balancer)
    setting = Setting(trace, simulator, simulator.calibrate(trace))
    each = [simulator.bound(trace, setting.calibration, seed) for seed in range(5)]
    assert len({*each}) == 5
    assert bound_of(setting, range(5)) == pytest.approx(np.mean(each))


def test_batches_are_the_whole() -> None:
    trace, simulator = demo(seed=3, seconds=9.0), simulator_for(load_balancer)
    setting = Setting(trace, simulator, simulator.calibrate(trace))
    policy = baseline_policy("least_outstanding", load_balancer)
    whole = measured(policy, setting, range(5))
    parts = merged([measured(policy, setting, seeds) for seeds in (range(2), range(2, 5))])
    assert [dataclasses.astuple(r)[:8] for r in parts.replicas] == [
        dataclasses.astuple(r)[:8] for r in whole.replicas
    ]
    assert parts.blocks == whole.blocks
    np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-12)


@given(
    base=st.lists(st.floats(0.1, 100.0), min_size=8, max_size=40),
    factor=st.floats(0.25, 4.0),
    seed=st.integers(0, 99),
)
def test_a_uniform_change_is_certain(base: list[float], factor: float, seed: int) -> None:
    found = change(blocks([factor * each for each in base]), blocks(base), 1.0, seed)
    for level in (LEVEL, joint_level(20)):
        interval = found.interval(level)
        for value in (interval.estimate, interval.low, interval.high):
            assert value == pytest.approx(factor - 1.0, abs=1e-9)


def test_blocks_that_only_one_policy_has_count_as_nothing_for_the_other() -> None:
    ours = Measured("", (), tuple(range(9)), (1.0,) * 9)
    theirs = Measured("", (), tuple(range(1, 10)), (1.0,) * 9)
    assert change(ours, theirs, 1.0, 0).estimate == 0.0


def test_of_too_few_blocks_limits_are_open() -> None:
    few = change(blocks([1.0] * 7), blocks([2.0] * 7), 2.0, 0).interval(0.95)
    assert (few.estimate, few.low, few.high) == (-0.5, -1.0, np.inf)
    enough = change(blocks([1.0] * 8), blocks([2.0] * 8), 2.0, 0).interval(0.95)
    assert (enough.low, enough.high) == (-0.5, -0.5)


def uneven(seed: int) -> Change:
    rng = np.random.default_rng(seed)
    base = rng.exponential(10.0, 200)
    ours = base * rng.normal(0.9, 0.3, 200)
    return change(blocks(ours.tolist()), blocks(base.tolist()), 1.0, seed)


def test_the_mean_over_traces_has_the_limits_of_a_mean() -> None:
    changes = [uneven(seed) for seed in range(4)]
    alone = [each.interval(LEVEL) for each in changes]
    over = mean_change(changes).interval(LEVEL)
    assert over.estimate == pytest.approx(np.mean([each.estimate for each in alone]))
    for side, end in ((-1.0, "low"), (1.0, "high")):
        reach = np.linalg.norm([getattr(each, end) - each.estimate for each in alone]) / 4
        assert getattr(over, end) == pytest.approx(over.estimate + side * reach)


def test_sizes_of_one_trace_depend_on_each_other_and_narrow_nothing() -> None:
    one = uneven(0)
    over, alone = mean_change([one] * 5).interval(LEVEL), one.interval(LEVEL)
    assert (over.low, over.high) == pytest.approx((alone.low, alone.high))
    assert seed_of_blocks(0, "a") == seed_of_blocks(0, "a") != seed_of_blocks(0, "b")


def test_what_only_one_policy_had_on_some_trace_has_no_upper_limit_on_average() -> None:
    nothing = change(blocks([1.0] * 9), blocks([0.0] * 9), 1.0, 3)
    over = mean_change([uneven(0), nothing]).interval(LEVEL)
    assert (over.estimate, over.high) == (np.inf, np.inf)
    assert -1.0 <= over.low < np.inf


def test_very_many_blocks_are_taken_together() -> None:
    values = np.random.default_rng(2).exponential(10.0, 5500)
    (found,) = change(blocks(values.tolist()), blocks([10.0] * 5500), 1.0, 0).traces
    assert len(found.ours) == len(found.theirs) == 5500 // 6
    assert found.ours.sum() == pytest.approx(values.sum())


def test_intervals_hold_as_often_as_they_say_and_all_at_once_too() -> None:
    """Ten equal policies: each interval misses no change in 5 % of traces, any of the joint ones too."""
    rng = np.random.default_rng(1)
    alone = together = 0
    runs, policies = 50, 10
    level = joint_level(policies)
    for seed in range(runs):
        base = rng.gamma(4.0, 1.0, 60)
        found = [
            change(
                blocks((base + rng.normal(0.0, 1.0, 60)).tolist()), blocks(base.tolist()), 1.0, seed
            )
            for _ in range(policies)
        ]
        wrong = [_misses(each.interval(LEVEL)) for each in found]
        alone += sum(wrong)
        together += any(_misses(each.interval(level)) for each in found)
    assert 0.01 < alone / (runs * policies) < 0.05
    assert together / runs < 0.1  # without the correction it would be 0.3


def _misses(interval: object) -> bool:
    return interval.low > 0.0 or interval.high < 0.0  # type: ignore[attr-defined]
