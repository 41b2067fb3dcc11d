"""Off-policy evaluation against closed forms: values, variances, intervals, and when there is no number."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import CandidateError, ConfigurationError, TraceError
from gnomon.sdk.explore import explored
from gnomon.sdk.language import check
from gnomon.shadow.offpolicy.estimates import evaluate
from gnomon.shadow.offpolicy.table import OffPolicyOptions, off_policy
from gnomon.shadow.offpolicy.target import target_of
from gnomon.shadow.traces.trace import DecisionTrace

from .accesses import lookups

MEANS, SPREADS = np.array([10.0, 16.0]), np.array([2.0, 5.0])  # of the two arms' outcomes
LOGGED = np.array([0.8, 0.2])


def two_arms(n: int, seed: int, logged: np.ndarray = LOGGED) -> DecisionTrace:
    """Decisions between two arms, drawn with known chances; outcomes are normal and known in law."""
    rng = np.random.default_rng(seed)
    action = (rng.random(n) >= logged[0]).astype(np.int32)
    features = np.zeros((n, 2, len(load_balancer.inputs)))
    features[:, 1, 0] = 1.0  # arm 1 has one in flight, arm 0 none
    features[:, :, 2] = 1.0
    features[:, :, -2] = 1.0
    features[:, :, -1] = rng.random((n, 2))
    return DecisionTrace(
        hook="arms",
        kind="load_balancer",
        start_ns=0,
        members=("a", "b"),
        instances=("p",),
        time=np.linspace(0.0, 39.9, n),
        instance=np.zeros(n, np.int32),
        action=action,
        features=features,
        outcome=rng.normal(MEANS[action], SPREADS[action]),
        ok=np.ones(n, bool),
        propensity=logged[action],
    )


def always(probability: list[float], n: int) -> np.ndarray:
    return np.tile(np.array(probability), (n, 1))


def wrong_propensities() -> DecisionTrace:
    """Arms drawn evenly by a service that says otherwise."""
    trace = two_arms(4000, 0, np.array([0.5, 0.5]))
    return replace(trace, propensity=LOGGED[trace.action])


TARGETS = [[0.8, 0.2], [0.5, 0.5], [0.0, 1.0], [0.3, 0.7]]


@pytest.mark.parametrize("target", TARGETS)
def test_the_estimators_are_unbiased_and_their_variances_known(target: list[float]) -> None:
    n, runs = 2000, 60
    found = [evaluate(two_arms(n, seed), always(target, n), seed=seed) for seed in range(runs)]
    truth = float(np.array(target) @ MEANS)
    second = MEANS**2 + SPREADS**2
    variance = {
        "ips": (np.array(target) ** 2 / LOGGED @ second - truth**2) / n,
        "snips": (np.array(target) ** 2 / LOGGED @ ((MEANS - truth) ** 2 + SPREADS**2)) / n,
        "dr": (np.array(target) ** 2 / LOGGED @ SPREADS**2)
        / n,  # the model is right: only noise is left
    }
    for name, expected in variance.items():
        values = np.array([getattr(each, name).value for each in found])
        assert abs(values.mean() - truth) < 3.5 * math.sqrt(expected / runs) + 0.02, name
        ratio = values.var(ddof=1) / expected
        assert 0.55 < ratio < 1.65, (name, ratio)  # chi-square of 59 degrees, p = 0.001
        widths = [getattr(each, name).normal for each in found]
        said = np.mean([((w.high - w.low) / 2 / 1.96) ** 2 for w in widths])
        assert said == pytest.approx(expected, rel=0.1), name


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    n, runs, target = 1500, 120, [0.4, 0.6]
    truth = float(np.array(target) @ MEANS)
    held = {"blocks": 0, "normal": 0, "bernstein": 0}
    for seed in range(runs):
        ips = evaluate(two_arms(n, seed), always(target, n), largest_outcome=40.0, seed=seed).ips
        assert ips is not None and ips.bernstein is not None
        for name in held:
            interval = getattr(ips, name)
            held[name] += interval.low <= truth <= interval.high
    assert held["bernstein"] == runs  # it holds for anything, so it is wide
    assert 0.87 * runs <= held["normal"] <= runs
    assert 0.84 * runs <= held["blocks"] <= runs


def test_a_small_example_by_hand() -> None:
    """Eight decisions in eight blocks: every number can be checked with a pencil."""
    trace = two_arms(8, 0)
    action = np.array([0, 1, 0, 1, 0, 0, 1, 0], np.int32)
    trace = replace(
        trace,
        time=np.arange(8.0),
        action=action,
        outcome=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        propensity=np.where(action == 0, 0.5, 0.25),
    )
    found = evaluate(trace, always([0.5, 0.5], 8), least_effective=1.0)
    # weights 1 2 1 2 1 1 2 1: sum 11, sum of squares 17, weighted outcomes 1+4+3+8+5+6+14+8 = 49
    assert found.mean_weight == pytest.approx(11 / 8)
    assert found.effective == pytest.approx(121 / 17)
    assert found.ips is not None and found.snips is not None and found.change is not None
    assert found.ips.value == pytest.approx(49 / 8)
    assert found.snips.value == pytest.approx(49 / 11)
    assert found.change.estimate == pytest.approx(49 / 11 / 4.5 - 1.0)
    assert found.agreement == 0.5


def test_the_recorded_policy_is_worth_what_was_recorded() -> None:
    trace = two_arms(1000, 3)
    found = evaluate(trace, always(LOGGED.tolist(), 1000))
    assert found.effective == pytest.approx(1000)
    for each in (found.ips, found.snips):
        assert each is not None and each.value == pytest.approx(found.recorded)
    assert found.change is not None
    assert found.change.low == pytest.approx(0.0) == found.change.high


def test_clipping_biases_and_says_so() -> None:
    trace = two_arms(4000, 1)
    whole = evaluate(trace, always([0.0, 1.0], 4000))
    cut = evaluate(trace, always([0.0, 1.0], 4000), clip=2.0)
    assert whole.clipped == 0.0 and whole.largest_weight == 5.0
    assert cut.clipped == pytest.approx((trace.action == 1).mean())
    assert cut.ips is not None and whole.ips is not None
    assert cut.ips.value == pytest.approx(whole.ips.value * 2.0 / 5.0)


@pytest.mark.parametrize(
    ("trace", "target", "why"),
    [
        (
            replace(two_arms(1000, 0), propensity=np.ones(1000)),
            [0.0, 1.0],
            "left nothing to chance",
        ),
        (two_arms(400, 0), [0.0, 1.0], "worth .. decisions, fewer than 100"),
        (two_arms(1000, 0, np.array([1.0 - 1e-15, 1e-15])), [0.0, 1.0], "nothing to chance"),
        (wrong_propensities(), [0.0, 1.0], r"are 2\.\d+ on average instead of 1"),
    ],
)
def test_there_is_no_number_without_overlap(
    trace: DecisionTrace, target: list[float], why: str
) -> None:
    found = evaluate(trace, always(target, len(trace)))
    assert found.overlap == "no overlap"
    assert re.search(why, found.why), found.why
    assert (found.ips, found.snips, found.dr, found.change) == (None, None, None, None)


def test_part_of_the_log_without_exploration_is_no_overlap() -> None:
    trace = two_arms(1000, 0)
    certain = np.arange(1000) < 10
    trace = replace(trace, propensity=np.where(certain, 1.0, trace.propensity))
    found = evaluate(trace, always([0.5, 0.5], 1000))
    assert found.overlap == "no overlap"
    assert found.unsupported == pytest.approx(0.005)


def test_one_deterministic_policy_on_its_own_log_needs_no_exploration() -> None:
    trace = replace(two_arms(1000, 0), propensity=np.ones(1000))
    itself = np.eye(2)[trace.action]
    found = evaluate(trace, itself)
    assert found.snips is not None and found.snips.value == pytest.approx(found.recorded)


def test_few_blocks_of_time_are_refused() -> None:
    trace = two_arms(1000, 0)
    with pytest.raises(TraceError, match="too few to say how blocks vary"):
        evaluate(replace(trace, time=trace.time / 40.0), always([0.5, 0.5], 1000))


# --- probabilities -----------------------------------------------------------------------------------


def probabilities(source: str, trace: DecisionTrace, redraws: int = 32) -> tuple[np.ndarray, str]:
    score = check(source, load_balancer.input_names).bind()
    found = target_of(
        trace,
        source,
        load_balancer,
        lambda rows: np.array([score(*row) for row in rows.tolist()]),
        seed=1,
        redraws=redraws,
    )
    return found.probability, found.how


def test_a_score_that_reads_no_noise_is_exact_and_ties_are_shared() -> None:
    trace = two_arms(50, 0)
    picked, how = probabilities("def score(inflight):\n    return inflight\n", trace)
    assert how == "exact"
    assert np.array_equal(picked, always([1.0, 0.0], 50))
    tied, _ = probabilities("def score(weight):\n    return weight\n", trace)
    assert np.array_equal(tied, always([0.5, 0.5], 50))


def test_noise_is_drawn_anew() -> None:
    """Weighted random: a race of exponential clocks, so that the chances are the weights' shares."""
    trace = two_arms(300, 0)
    trace.features[:, 1, 2] = 3.0
    source = load_balancer.baselines["weighted_random"].source or ""
    found, how = probabilities(source, trace, redraws=64)
    assert how == "64 redraws of noise"
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert found[:, 1].mean() == pytest.approx(0.75, abs=4 * math.sqrt(0.1875 / (300 * 64)))


def test_a_fault_is_the_candidates() -> None:
    with pytest.raises(CandidateError, match="faulted at decision 0"):
        probabilities("def score(inflight):\n    return 1.0 / inflight\n", two_arms(20, 0))


@given(
    epsilon=st.floats(0.05, 0.9),
    items=st.integers(2, 5),
    base=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_what_a_hook_records_is_the_chance_of_what_it_did(
    epsilon: float, items: int, base: int, seed: int
) -> None:
    """Weights of the rule itself and of any other rule are 1 on average under ``explore=``."""
    generator, base = random.Random(seed), base % items
    rows = [[0.0] * len(load_balancer.inputs)] * items
    drawn = [explored(load_balancer, (), rows, base, epsilon, generator) for _ in range(400)]
    of = {action: propensity for action, propensity, _ in drawn}
    assert of.get(base, 1 - epsilon + epsilon / items) == pytest.approx(
        1 - epsilon + epsilon / items
    )
    assert all(p == pytest.approx(epsilon / items) for action, p in of.items() if action != base)


# --- tables ------------------------------------------------------------------------------------------


def test_policies_from_files_and_published_ones_are_estimated_alike() -> None:
    trace = two_arms(3000, 2)
    source = load_balancer.baselines["least_outstanding"].source or ""
    faulty = "def score(inflight):\n    return 1.0 / inflight\n"
    table = off_policy(
        trace,
        load_balancer,
        [("mine", source, True), ("least_outstanding", source, False), ("faulty", faulty, True)],
        OffPolicyOptions(isolation="process"),
    )
    mine, published, failed = table.rows
    assert mine.found == published.found
    assert mine.found is not None and mine.found.snips is not None
    assert mine.found.snips.value == pytest.approx(MEANS[0], abs=0.2)
    assert failed.found is None and "faulted at decision 0" in failed.fault
    assert not table.overlapping
    assert "least_outstanding" in str(table) and "overlap" in str(table)
    assert table.as_json()["rows"][2]["found"] is None


def test_what_holds_no_decisions_is_refused() -> None:
    with pytest.raises(TraceError, match="replay it instead"):
        off_policy(lookups([1, 2] * 50, 1), load_balancer, [], OffPolicyOptions())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"clip": 0.0}, "clip=0 leaves no weight"),
        ({"least_effective": 0.0}, "is no sample"),
        ({"seed": -1}, "seed=-1: choose a number from 0 on"),
    ],
)
def test_options_that_make_no_sense_are_refused(how: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OffPolicyOptions(**how)


def test_outcomes_of_nothing_do_not_change() -> None:
    trace = replace(two_arms(4000, 1), outcome=np.zeros(4000))
    found = evaluate(trace, always([0.5, 0.5], 4000))
    assert found.change is not None
    assert (found.change.estimate, found.change.low, found.change.high) == (0.0, 0.0, 0.0)


def test_features_that_are_not_finite_leave_the_model_a_model() -> None:
    trace = two_arms(4000, 1)
    trace.features[5, 0, 1], trace.features[9, 1, 1] = np.inf, np.nan
    trace.features[:, :, 3] = np.nan
    found = evaluate(trace, always([0.5, 0.5], 4000))
    assert found.dr is not None
    assert found.dr.blocks.low < 13.0 < found.dr.blocks.high


def test_decisions_of_few_blocks_of_time_give_no_interval_and_no_number() -> None:
    """100 of 4,000 weigh 40 each, so that the mean weight is 1, and all of them lie in one block."""
    trace = two_arms(4000, 1, np.array([1.0 - 1.0 / 40.0, 1.0 / 40.0]))
    action = np.zeros(4000, np.int32)
    action[100:200] = 1
    propensity = np.where(action == 1, 1.0 / 40.0, 1.0 - 1.0 / 40.0)
    packed = replace(
        trace, action=action, propensity=propensity, time=np.repeat(np.arange(10.0), 400)
    )
    found = evaluate(packed, always([0.0, 1.0], 4000), least_effective=100.0)
    assert found.mean_weight == pytest.approx(1.0)
    assert (found.overlap, found.snips) == ("no overlap", None)
    assert "in 1 blocks of time only" in found.why


def test_nothing_recorded_is_refused() -> None:
    with pytest.raises(TraceError, match="is empty"):
        evaluate(two_arms(100, 0).rows(slice(0, 0)), np.zeros((0, 2)))


def test_tiny_weights_are_counted_as_others_are() -> None:
    found = evaluate(two_arms(4000, 1), always([0.5, 0.5], 4000), clip=1e-300)
    assert found.effective == pytest.approx(4000.0)


def test_a_wrong_model_does_not_bias_the_doubly_robust_estimate() -> None:
    """Outcomes that no linear model of the features can tell: only the variance suffers."""
    n, runs, target = 2000, 80, [0.3, 0.7]
    values, truth = [], 0.0
    for seed in range(runs):
        trace = two_arms(n, seed)
        hidden = np.random.default_rng(1000 + seed).random(n)
        means = np.stack((10.0 + 8.0 * (hidden > 0.5), 10.0 + 8.0 * (hidden < 0.3)), axis=1)
        trace.features[:, 0, 1] = np.sin(40.0 * hidden)  # seen, and of no use in a straight line
        outcome = means[np.arange(n), trace.action]
        truth += float((means * target).sum(axis=1).mean()) / runs
        found = evaluate(replace(trace, outcome=outcome), always(target, n))
        assert found.dr is not None
        values.append(found.dr.value)
    error = np.std(values, ddof=1) / math.sqrt(runs)
    assert abs(np.mean(values) - truth) < 3.0 * error
