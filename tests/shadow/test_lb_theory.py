"""The load balancer against queueing theory, within three standard errors of batch means."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration, exponential
from .scores import score

SIMULATOR = simulator_for(load_balancer)
BATCHES = 25
RANDOM = "def score(noise):\n    return noise\n"


def workload(rate: float, n: int, members: int, seed: int = 0) -> DecisionTrace:
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, n)
    return arrivals(np.cumsum(gaps), members)


def sojourn(rho: float, servers: int, slots: int, policy: str, n: int = 500_000) -> np.ndarray:
    """Return times in system in units of the mean service time, after a start-up, in batches."""
    trace = workload(rho * servers * slots, n, servers)
    fitted = calibration([exponential(1.0)] * servers, [slots] * servers)
    if policy == "random":
        replay = SIMULATOR.compiled(trace, fitted, 1, score(RANDOM, load_balancer))
    else:
        replay = SIMULATOR.replay_built_in(policy, trace, fitted, 1)
    return (replay.outcome[n // 5 :] / 1e3).reshape(BATCHES, -1)


def agrees(batches: np.ndarray, expected: float, most_error: float) -> bool:
    """Return whether the mean of batches is within three standard errors, which are small themselves."""
    error = batches.std(ddof=1) / math.sqrt(len(batches))
    assert error < most_error * expected  # else agreement says nothing
    return abs(batches.mean() - expected) <= 3.0 * error


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_one_server_is_m_m_1(rho: float) -> None:
    times = sojourn(rho, 1, 1, "random", 1_000_000)
    assert agrees(times.mean(axis=1), 1.0 / (1.0 - rho), 0.04)
    assert agrees(np.quantile(times, 0.99, axis=1), math.log(100.0) / (1.0 - rho), 0.06)


def erlang_c(c: int, rho: float) -> float:
    """Return the mean time in system of M/M/c in units of the mean service time."""
    blocking = 1.0
    for k in range(1, c + 1):
        blocking = c * rho * blocking / (k + c * rho * blocking)
    return 1.0 + blocking / (1.0 - rho * (1.0 - blocking)) / (c * (1.0 - rho))


@pytest.mark.parametrize(("c", "rho"), [(2, 0.8), (4, 0.8), (16, 0.9)])
def test_slots_are_m_m_c(c: int, rho: float) -> None:
    assert agrees(sojourn(rho, 1, c, "random").mean(axis=1), erlang_c(c, rho), 0.03)


def test_a_random_split_is_independent_queues() -> None:
    assert agrees(sojourn(0.7, 5, 1, "random").mean(axis=1), 1.0 / 0.3, 0.02)


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9])
def test_two_choices_among_many_servers_are_the_mean_field(rho: float) -> None:
    expected = sum(rho ** (2**i - 2) for i in range(1, 12))
    assert agrees(sojourn(rho, 500, 1, "power_of_two_choices").mean(axis=1), expected, 0.02)


def test_idle_queues_among_many_servers_hardly_wait() -> None:
    waits = sojourn(0.7, 200, 1, "join_idle_queue").mean() - 1.0
    assert 0.0 <= waits < 0.01  # an idle one is always known, as in the limit of many servers


def test_the_shortest_queue_lies_between_one_fast_queue_and_a_random_split() -> None:
    two = sojourn(0.8, 4, 1, "power_of_two_choices").mean()
    assert erlang_c(4, 0.8) < two < sojourn(0.8, 4, 1, "random").mean()


@pytest.mark.parametrize("shape", ["fixed", "two sizes", "lognormal"])
def test_one_queue_is_m_g_1(shape: str) -> None:
    sizes = {
        "fixed": [1.0],
        "two sizes": [0.5] * 9 + [5.5],
        "lognormal": np.random.default_rng(1).lognormal(0.0, 0.8, 2048).tolist(),
    }[shape]
    table = np.array(sizes) / np.mean(sizes)
    rho, n = 0.7, 500_000
    replay = SIMULATOR.compiled(
        workload(rho, n, 1), calibration([table.tolist()]), 1, score(RANDOM, load_balancer)
    )
    times = (replay.outcome[n // 5 :] / 1e3).reshape(BATCHES, -1).mean(axis=1)
    expected = 1.0 + rho * (table**2).mean() / (2.0 * (1.0 - rho))  # Pollaczek-Khinchine
    assert agrees(times, expected, 0.03)


@pytest.mark.soak
@pytest.mark.parametrize(("rho", "most_error"), [(0.5, 0.002), (0.7, 0.002), (0.9, 0.004)])
def test_two_choices_are_the_mean_field_in_the_long_run(rho: float, most_error: float) -> None:
    expected = sum(rho ** (2**i - 2) for i in range(1, 12))
    times = sojourn(rho, 500, 1, "power_of_two_choices", 5_000_000).mean(axis=1)
    error = times.std(ddof=1) / math.sqrt(len(times))
    assert error < most_error * expected
    # a finite system is off by about 1/500 of the queue beyond the mean field
    assert abs(times.mean() - expected) <= 3.0 * error + expected / 500.0
