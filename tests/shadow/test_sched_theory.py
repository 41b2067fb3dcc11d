"""The scheduler against queueing theory, within three standard errors of batch means."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gnomon.policies.scheduler import scheduler
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator

from .queues import calibration, jobs, poisson

SIMULATOR = SchedulerSimulator()
POLICIES = {name: baseline_policy(name, scheduler) for name in scheduler.baselines}
N = 1_000_000
_GRID = np.linspace(0.0, 60.0, 200_001)


def sojourn(
    name: str, rho: float, workers: int, service: np.ndarray, seed: int
) -> tuple[float, float]:
    """Return the mean time in system, and its standard error, in units of the mean service time."""
    n = len(service)
    trace = jobs(poisson(rho * workers, n, seed), service)
    replay = POLICIES[name].replay(SIMULATOR, trace, calibration(workers), 0)
    batches = replay.course.latency_s[n // 20 :]
    batches = batches[: len(batches) // 40 * 40].reshape(40, -1).mean(axis=1)
    return float(batches.mean()), float(batches.std(ddof=1) / math.sqrt(len(batches)))


def exponential(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed + 1000).exponential(1.0, n)


def hyperexponential(n: int, seed: int) -> np.ndarray:
    """Return draws of mean 1 and second moment 6.5: nine in ten are short."""
    rng = np.random.default_rng(seed + 2000)
    return rng.exponential(np.where(rng.random(n) < 0.9, 0.5, 5.5))


def constant(n: int, _seed: int) -> np.ndarray:
    return np.ones(n)


def erlang_c(workers: int, rho: float) -> float:
    blocking = 1.0
    for k in range(1, workers + 1):
        blocking = workers * rho * blocking / (k + workers * rho * blocking)
    return blocking / (1.0 - rho * (1.0 - blocking))


def cumulative(values: np.ndarray) -> np.ndarray:
    return np.concatenate(([0.0], np.cumsum((values[1:] + values[:-1]) / 2.0 * _GRID[1])))


def shortest_first(rho: float) -> float:
    """Return M/M/1 under SJF: the mean over sizes of ``rho / (1 - rho_x)^2``, plus 1."""
    density = np.exp(-_GRID)
    below = rho * cumulative(_GRID * density)
    return 1.0 + float(cumulative(density * rho / (1.0 - below) ** 2)[-1])


def shortest_remaining(rho: float) -> float:
    """Return M/M/1 under SRPT (Schrage and Miller, 1966)."""
    density, above = np.exp(-_GRID), np.exp(-_GRID)
    below = rho * cumulative(_GRID * density)
    second = rho * (cumulative(_GRID**2 * density) + _GRID**2 * above)
    waiting = second / (2.0 * (1.0 - below) ** 2)
    residence = cumulative(1.0 / (1.0 - below))
    return float(cumulative(density * (waiting + residence))[-1])


def agrees(found: tuple[float, float], theory: float, widest: float) -> None:
    """Check a mean within three standard errors, which must be small enough to tell."""
    mean, error = found
    assert error < widest * theory
    assert abs(mean - theory) < 3.0 * error, (mean, error, theory)


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_one_worker_is_m_m_1(rho: float) -> None:
    agrees(sojourn("fcfs", rho, 1, exponential(N, 1), 1), 1.0 / (1.0 - rho), 0.03)


@pytest.mark.parametrize(("workers", "rho"), [(4, 0.8), (16, 0.9)])
def test_workers_are_m_m_c(workers: int, rho: float) -> None:
    expected = 1.0 + erlang_c(workers, rho) / (workers * (1.0 - rho))
    agrees(sojourn("fcfs", rho, workers, exponential(N, 2), 2), expected, 0.01)


@pytest.mark.parametrize(
    ("draw", "second"), [(exponential, 2.0), (hyperexponential, 6.5), (constant, 1.0)]
)
def test_any_service_is_pollaczek_khinchine(
    draw: Callable[[int, int], np.ndarray], second: float
) -> None:
    rho = 0.7
    expected = 1.0 + rho * second / (2.0 * (1.0 - rho))
    agrees(sojourn("fcfs", rho, 1, draw(N, 3), 3), expected, 0.03)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_shortest_job_first(rho: float) -> None:
    agrees(sojourn("sjf", rho, 1, exponential(N, 4), 4), shortest_first(rho), 0.01)


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_shortest_remaining_processing_time(rho: float) -> None:
    agrees(sojourn("srpt", rho, 1, exponential(N, 5), 5), shortest_remaining(rho), 0.02)


@pytest.mark.parametrize("draw", [exponential, hyperexponential, constant])
def test_processor_sharing_does_not_care_how_service_is_distributed(
    draw: Callable[[int, int], np.ndarray],
) -> None:
    agrees(sojourn("processor_sharing", 0.7, 1, draw(N, 6), 6), 1.0 / 0.3, 0.02)


def test_the_published_values_of_these_formulas() -> None:
    assert shortest_first(0.8) == pytest.approx(2.8823, abs=2e-4)
    assert shortest_first(0.9) == pytest.approx(4.1971, abs=5e-4)
    assert shortest_remaining(0.8) == pytest.approx(2.3528, abs=2e-4)
    assert shortest_remaining(0.9) == pytest.approx(3.5521, abs=5e-4)
    assert 1.0 + erlang_c(16, 0.9) / 1.6 == pytest.approx(1.3696, abs=1e-4)


def test_fair_queueing_gives_classes_their_weights_while_all_of_them_wait() -> None:
    n = 3000
    weight = np.array([1.0, 2.0, 3.0])[np.arange(n) % 3]
    trace = jobs(np.arange(n) * 1e-6, np.full(n, 1.0), priority=weight)
    replay = POLICIES["weighted_fair"].replay(SIMULATOR, trace, calibration(1), 0)
    early = replay.course.begun < 600.0
    served = [int(early[weight == each].sum()) for each in (1.0, 2.0, 3.0)]
    assert served == pytest.approx([100, 200, 300], abs=2)


def test_an_interruption_costs_what_it_is_said_to_cost() -> None:
    trace = jobs([0.0, 1.0], [3.0, 1.0])
    free, dear = SchedulerSimulator(), SchedulerSimulator(preemption_s=0.5)
    assert free.replay_built_in("srpt", trace, calibration(), 0).outcome == pytest.approx(
        [4000.0, 1000.0]
    )
    assert dear.replay_built_in("srpt", trace, calibration(), 0).outcome == pytest.approx(
        [4500.0, 1000.0]
    )
