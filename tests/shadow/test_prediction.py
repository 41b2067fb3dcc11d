"""What a calibration on one policy says about another, against what that other one then does."""

from __future__ import annotations

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
