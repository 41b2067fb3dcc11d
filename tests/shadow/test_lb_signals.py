"""Stale signals: they are found in a recording, replayed as they were, and do what theory says of them."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.language import check, chooser
from gnomon.shadow.simulators import drive, simulator_for
from gnomon.shadow.simulators.load_balancer.signals import signals
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration, exponential
from .queueing import Policy, Server, System, demo, least_outstanding, lognormal, peak_ewma, poisson
from .scores import Scores

SIMULATOR = simulator_for(load_balancer)
SOURCES = {
    "jsq": "def score(inflight):\n    return inflight\n",
    "random": "def score(noise):\n    return noise\n",
    "ewma": "def score(inflight, ewma_ms, weight):\n    return (inflight + 1.0) * ewma_ms / weight\n",
    "turns": "def score(inflight, since_picked):\n    return inflight - since_picked\n",
}
SCORES = Scores(load_balancer, SOURCES)


def polled(
    refresh: float, policy: Policy = least_outstanding, shared: bool = False, gain: float = 0.1
) -> DecisionTrace:
    rng = random.Random(1)
    servers = [Server(lognormal(0.03, 0.5, rng), 2) for _ in range(4)]
    system = System(servers, 2, gain, seed=2, refresh=refresh, shared=shared)
    return system.run(poisson(190.0, 30.0, 3), policy)


@pytest.mark.parametrize("refresh", [0.05, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("policy", [least_outstanding, peak_ewma])
def test_the_time_between_refreshes_is_found(refresh: float, policy: Policy) -> None:
    found = signals(polled(refresh, policy))
    assert found.refresh_s == pytest.approx(refresh, rel=0.05)
    assert not found.shared
    off = (found.from_s - refresh / 3.0) % refresh
    assert np.minimum(off, refresh - off) == pytest.approx([0.0, 0.0], abs=0.012)


def test_signals_that_are_up_to_date_are_found_to_be() -> None:
    for trace in (polled(0.0), demo(seconds=20.0), demo(seconds=20.0, rate=20.0)):
        assert SIMULATOR.calibrate(trace).refresh_s[0] == 0.0


@pytest.mark.parametrize("refresh", [0.0, 0.1])
@pytest.mark.parametrize("shared", [False, True])
def test_whose_requests_are_counted_is_found(refresh: float, shared: bool) -> None:
    assert signals(polled(refresh, shared=shared)).shared is shared


@pytest.mark.parametrize("gain", [0.05, 0.3])
def test_the_average_s_gain_is_found_behind_refreshes(gain: float) -> None:
    fitted = SIMULATOR.calibrate(polled(0.1, gain=gain))
    assert fitted.ewma_rule[0] == pytest.approx(gain, rel=0.1)
    assert fitted.ewma_fit[0] > 0.9


@pytest.mark.parametrize(("refresh", "found"), [(0.0, 0.0), (0.3, 0.3)])
def test_decisions_at_one_time_are_not_taken_for_stale_signals(
    refresh: float, found: float
) -> None:
    """A clock that ticks every 50 ms: what changes within a tick has changed all the same."""
    rng = random.Random(1)
    servers = [Server(lognormal(mean, 0.4, rng), 2) for mean in (0.02, 0.03, 0.04)]
    times = np.floor(np.array(poisson(140.0, 20.0, 3)) * 20) / 20
    trace = System(servers, routers=2, seed=1, refresh=refresh).run(
        times.tolist(), lambda rows, _: min(range(3), key=lambda j: (-rows[j][3], j))
    )
    assert signals(trace).refresh_s == pytest.approx(found, rel=0.05)


def test_too_little_to_tell_counts_as_up_to_date() -> None:
    assert signals(polled(5.0).rows(slice(0, 300))).refresh_s == 0.0
    held = polled(0.0)
    constant = dataclasses.replace(held, features=np.zeros_like(held.features))
    assert signals(constant).refresh_s == 0.0


def test_many_processes_that_each_saw_one_change_say_nothing_of_a_period() -> None:
    n = 900
    features = np.zeros((n, 2, 5))
    features[n // 2 :, :, 0] = 1.0
    trace = dataclasses.replace(
        arrivals(np.arange(n) * 0.01, 2, 30),
        features=features,
        outcome=np.full(n, 2000.0),
    )
    assert signals(trace).refresh_s == 0.0


def test_a_recording_under_stale_signals_is_reproduced_and_fresh_ones_would_not_do() -> None:
    trace = polled(0.4)
    fitted = SIMULATOR.calibrate(trace)
    fresh = dataclasses.replace(fitted, refresh_s=np.zeros(1))
    stale_mean, fresh_mean = (
        np.mean([SIMULATOR.compiled(trace, each, seed, SCORES["jsq"]).mean for seed in range(8)])
        for each in (fitted, fresh)
    )
    assert stale_mean == pytest.approx(trace.outcome.mean(), rel=0.1)
    assert fresh_mean < 0.6 * trace.outcome.mean()


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(SOURCES)),
    seed=st.integers(0, 2**31),
    processes=st.integers(1, 3),
    refresh=st.sampled_from([0.001, 0.03, 0.3, 5.0]),
    shared=st.booleans(),
    unequal=st.booleans(),
)
def test_a_stream_equals_a_compiled_replay_under_stale_signals(
    name: str, seed: int, processes: int, refresh: float, shared: bool, unequal: bool
) -> None:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(0.01, 150)), 3, processes, 40.0)
    features = trace.features.copy()
    features[:, :, 2] = 1.0 + unequal * trace.instance[:, None]
    trace = dataclasses.replace(trace, features=features)
    table = np.sort(rng.lognormal(-3.5, 0.6, (3, 50)), axis=1)
    fitted = dataclasses.replace(
        calibration(table.tolist(), [1, 2, 1], 0.002, lost=0.05, clip_ms=500.0),
        refresh_s=np.array([refresh]),
        refresh_from_s=-rng.uniform(0.0, refresh, processes),
        shared=np.array([int(shared)]),
    )
    choose = chooser(check(SOURCES[name], load_balancer.input_names), load_balancer)
    stream = SIMULATOR.stream(trace, fitted, seed)
    plain = drive(stream, trace, lambda _process, rows: choose(rows.tolist()))
    compiled = SIMULATOR.compiled(trace, fitted, seed, SCORES[name])
    assert np.array_equal(compiled.action, plain.action)
    assert np.array_equal(compiled.outcome, plain.outcome)


def mean_under(period: float, policy: str) -> float:
    """Return the mean time in system, in services, of eight servers at load 0.9."""
    gaps = np.random.default_rng(0).exponential(1.0 / 7.2, 60_000)
    trace = arrivals(np.cumsum(gaps), 8)
    fitted = dataclasses.replace(
        calibration([exponential(1.0, 1024)] * 8), refresh_s=np.array([period])
    )
    if policy in SCORES:
        return SIMULATOR.compiled(trace, fitted, 0, SCORES[policy]).mean / 1e3
    return SIMULATOR.replay_built_in(policy, trace, fitted, 0).mean / 1e3


def test_the_shortest_queue_herds_on_old_information_and_two_choices_bear_it() -> None:
    # Mitzenmacher, How Useful Is Old Information?, IEEE TPDS 11 (1), 2000.
    shortest = [mean_under(period, "jsq") for period in (0.0, 0.5, 2.0, 8.0, 40.0)]
    two = [mean_under(period, "power_of_two_choices") for period in (0.0, 2.0, 8.0)]
    random_ = mean_under(0.0, "random")
    assert shortest == sorted(shortest)
    assert shortest[0] < two[0] < random_
    assert two[2] < shortest[3]
    assert shortest[4] > 1.5 * random_
    assert mean_under(40.0, "random") == random_  # it looks at nothing
