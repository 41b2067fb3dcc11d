"""Laws of queues hold over every replay, fail when a replay is broken, and no policy beats the bound."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.scheduler import scheduler
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators.base import drive_to_end
from gnomon.shadow.simulators.scheduler import kernel
from gnomon.shadow.simulators.scheduler.bound import least_sum_ms
from gnomon.shadow.simulators.scheduler.model import model_of
from gnomon.shadow.simulators.scheduler.simulator import JobReplay, SchedulerSimulator

from .queues import calibration, jobs, latencies, poisson

SIMULATOR = SchedulerSimulator()
POLICIES = [baseline_policy(name, scheduler) for name in scheduler.baselines]
LAWS = [each.name for each in scheduler.invariants if each.name != "no_starvation"]


def broken(replay: JobReplay) -> set[str]:
    summary = replay.summary()
    return {each.name for each in scheduler.invariants if not each.holds(summary)}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    workers=st.integers(1, 5),
    processes=st.integers(1, 3),
    rate=st.floats(0.3, 15.0),
    gap=st.sampled_from([[0.0], [0.0, 0.05, 0.4]]),
    which=st.integers(0, len(POLICIES) - 1),
)
def test_the_laws_hold_whatever_is_replayed(
    seed: int, workers: int, processes: int, rate: float, gap: list[float], which: int
) -> None:
    rng = np.random.default_rng(seed)
    trace = jobs(
        poisson(rate, 200, seed),
        rng.lognormal(-1.0, 1.2, 200),
        processes,
        priority=rng.choice([1.0, 3.0], 200),
    )
    fitted = calibration(workers, processes, gap_s=np.array(gap))
    replay = POLICIES[which].replay(SIMULATOR, trace, fitted, seed)
    assert not broken(replay) & {*LAWS}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    workers=st.integers(1, 4),
    processes=st.integers(1, 2),
    rate=st.floats(0.2, 10.0),
    scale=st.sampled_from([1.0, 30.0, 300.0]),  # beyond the clip too
    which=st.integers(-1, len(POLICIES) - 1),
)
def test_no_policy_beats_the_bound(
    seed: int, workers: int, processes: int, rate: float, scale: float, which: int
) -> None:
    rng = np.random.default_rng(seed)
    arrival = poisson(rate, 120, seed) * scale
    trace = jobs(arrival, rng.lognormal(-1.0, 1.2, 120) * scale, processes)
    trace = trace.rows(slice(int(rng.integers(0, 60)), 120))
    fitted = calibration(workers, processes)
    if which < 0:
        stream = SIMULATOR.stream(trace, fitted, seed)
        replay: Any = drive_to_end(stream, lambda rows: int(rng.integers(len(rows))))
    else:
        replay = POLICIES[which].replay(SIMULATOR, trace, fitted, seed)
    assert replay.mean >= SIMULATOR.bound(trace, fitted, seed) * (1.0 - 1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), clip_s=st.sampled_from([2.0, 5.0, 60.0]))
def test_no_order_beats_the_bound_not_even_one_that_gives_jobs_up(seed: int, clip_s: float) -> None:
    rng = np.random.default_rng(seed)
    arrival, service = np.sort(rng.uniform(0, 2, 6)), rng.lognormal(-0.5, 1.0, 6)
    model = model_of(jobs(arrival, service), calibration(), 0)
    least = least_sum_ms(model, clip_s * 1e3).sum() / 1e3
    for order in itertools.permutations(range(6)):
        now, total = 0.0, 0.0
        for job in order:  # an order may leave the worker idle, or a job for later than its clip
            now = max(now, arrival[job]) + service[job]
            total += min(now - arrival[job], clip_s)
        assert total >= least - 1e-9


def test_the_bound_is_reached_where_jobs_are_known_and_equal() -> None:
    trace = jobs(np.arange(500) * 0.09, np.full(500, 0.1))  # busy for 50 s, and none clipped
    replay = POLICIES[0].replay(SIMULATOR, trace, calibration(), 0)
    assert replay.mean == pytest.approx(SIMULATOR.bound(trace, calibration(), 0), rel=1e-9)


def played() -> JobReplay:
    trace = jobs(poisson(3.0, 400), np.random.default_rng(1).exponential(0.5, 400))
    replay: Any = POLICIES[0].replay(SIMULATOR, trace, calibration(2), 0)
    return replay


MUTATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    # a job ran before it arrived
    "conservation": lambda c: {"begun": np.where(np.arange(400) == 7, c.arrival - 1.0, c.begun)},
    # a latency is reported that nobody had
    "littles_law": lambda c: {"latency_s": c.latency_s * 1.001},
    # a job was cut short
    "busy_time": lambda c: {"done": np.where(np.arange(400) == 9, c.begun, c.done)},
    # everything is late although workers idle
    "work_conservation": lambda c: {"begun": c.begun + 0.01, "done": c.done + 0.01},
}


@pytest.mark.parametrize("law", MUTATIONS)
def test_a_broken_replay_breaks_its_law(law: str) -> None:
    replay = played()
    assert not broken(replay)
    changed = replace(replay.course, **MUTATIONS[law](replay.course))
    assert law in broken(replace(replay, course=changed))


def test_a_worker_with_two_jobs_at_once_is_found() -> None:
    replay = played()
    course = replay.course
    all_on_one = replace(course, worker=np.zeros_like(course.worker))
    assert broken(replace(replay, course=all_on_one)) == {"busy_time"}


def test_a_job_that_never_ran_is_found() -> None:
    replay = played()
    lost = np.where(np.arange(400) == 3, np.nan, replay.course.begun)
    assert "conservation" in broken(replace(replay, course=replace(replay.course, begun=lost)))


def test_a_kernel_that_lets_workers_idle_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = kernel.advance

    def dawdling(model: Any, state: Any) -> bool:
        going: bool = advance(model, state)
        state.clock[0] += 0.05 * going
        return going

    monkeypatch.setattr(kernel, "advance", dawdling)
    trace = jobs(poisson(3.0, 400), np.full(400, 0.3))
    stream = SIMULATOR.stream(trace, calibration(2), 0)
    replay: Any = drive_to_end(stream, lambda _rows: 0)
    assert "work_conservation" in broken(replay)


def test_a_policy_that_starves_is_found() -> None:
    service = np.where(np.arange(2000) == 50, 0.5, 0.1)  # a large job among small ones without end
    trace = jobs(np.maximum(np.arange(2000) - 10, 0) * 0.0999, service)
    found = {
        name: broken(baseline_policy(name, scheduler).replay(SIMULATOR, trace, calibration(), 0))  # type: ignore[arg-type]
        for name in scheduler.baselines
    }
    assert found["sjf"] == found["srpt"] == {"no_starvation"}
    assert found["fcfs"] == found["aging"] == found["highest_response_ratio"] == set()


def test_plain_python_gives_the_sums_of_the_summary() -> None:
    rng = np.random.default_rng(8)
    arrival, service = poisson(4.0, 300, 8), rng.exponential(0.4, 300)
    found = latencies(arrival.tolist(), service.tolist(), 3, lambda _now, _queue: 0)
    replay: Any = POLICIES[0].replay(SIMULATOR, jobs(arrival, service), calibration(3), 0)
    summary = replay.summary()
    assert summary.latencies_s == pytest.approx(sum(found))
    assert summary.work_s == pytest.approx(service.sum())
    longest = max(at - each for at, each in zip(found, service.tolist(), strict=True))
    assert summary.longest_in_order_ms == pytest.approx(longest * 1e3)
