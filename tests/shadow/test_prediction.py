"""What a calibration on one policy says about another, against what that other one then does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import simulator_for

from .queueing import Policy, demo, least_outstanding, peak_ewma

SIMULATOR = simulator_for(load_balancer)


@pytest.mark.parametrize(
    ("name", "policy"), [("peak_ewma", peak_ewma), ("least_outstanding", least_outstanding)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_policy_that_never_ran_is_predicted(name: str, policy: Policy, seed: int) -> None:
    recorded = demo(seed, seconds=50.0)
    actual = demo(seed, seconds=50.0, policy=policy)
    assert np.array_equal(recorded.time, actual.time)
    fitted = SIMULATOR.calibrate(recorded)
    runs = baseline_policy(name, load_balancer).replays(SIMULATOR, recorded, fitted, range(10))
    predicted = float(np.mean([run.mean for run in runs]))
    tail = float(np.mean([np.quantile(run.outcome, 0.99) for run in runs]))
    assert predicted == pytest.approx(actual.outcome.mean(), rel=0.06)
    assert tail == pytest.approx(np.quantile(actual.outcome, 0.99), rel=0.20)
    shares = [np.bincount(each.action, minlength=4) / len(actual) for each in (runs[0], actual)]
    assert np.abs(shares[0] - shares[1]).max() < 0.03


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_second_half_is_predicted_from_the_first(seed: int) -> None:
    """Slow spells are workload: they come when they were recorded, and nothing else of that half is used."""
    whole = demo(seed, seconds=60.0)
    half = whole.span_s / 2.0
    spells = SIMULATOR.calibrate(whole)
    fitted = dataclasses.replace(
        SIMULATOR.calibrate(whole.window(0.0, half)),
        level=spells.level,
        level_from_s=spells.level_from_s,
    )
    later = whole.window(half, np.inf)
    policy = baseline_policy("weighted_round_robin", load_balancer)
    runs = policy.replays(SIMULATOR, later, fitted, range(10))
    for quantile, rel in ((0.5, 0.03), (0.99, 0.20)):
        told = float(np.mean([np.quantile(run.outcome, quantile) for run in runs]))
        assert told == pytest.approx(np.quantile(later.outcome, quantile), rel=rel)
    assert float(np.mean([run.mean for run in runs])) == pytest.approx(
        later.outcome.mean(), rel=0.05
    )
