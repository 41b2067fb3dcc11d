"""The load balancer's bound: nothing beats it, and where theory says so it is reached."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import drive, simulator_for
from gnomon.shadow.simulators.load_balancer import bound as bounds
from gnomon.shadow.simulators.load_balancer.model import model_of
from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerCalibration
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration, exponential

SIMULATOR = simulator_for(load_balancer)
JSQ, RANDOM = (
    compile_score(check(source, load_balancer.input_names))
    for source in (
        "def score(inflight):\n    return inflight\n",
        "def score(noise):\n    return noise\n",
    )
)
SPELLS = [(-np.inf, 1.0), (1.0, 0.5), (2.0, 3.0)]
CLIPS = st.sampled_from([30.0, 120.0, 400.0, 1e12])


def unequal(rng: np.random.Generator, members: int, clip_ms: float) -> LoadBalancerCalibration:
    """Return backends whose service times differ in scale, and a little in shape."""
    scale, spread = rng.uniform(0.5, 3.0, members), rng.uniform(0.3, 0.8, members)
    table = np.exp(rng.normal(-3.5, 1.0, 32) * spread[:, None] - 1.5) * scale[:, None]
    slots = rng.integers(1, 4, members).tolist()
    return calibration(table.tolist(), slots, 0.002, SPELLS, lost=0.01, clip_ms=clip_ms)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), clip=CLIPS, rate=st.sampled_from([20.0, 80.0, 400.0]))
def test_neither_published_nor_random_policies_beat_it(seed: int, clip: float, rate: float) -> None:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(1.0 / rate, 250)), 3, 2, 40.0)
    fitted = unequal(rng, 3, clip)
    limit = SIMULATOR.bound(trace, fitted, seed) * (1.0 - 1e-9)
    for score in (JSQ, RANDOM):
        assert SIMULATOR.compiled(trace, fitted, seed, score).mean >= limit
    for name in ("power_of_two_choices", "join_idle_queue", "smooth_weighted_round_robin"):
        assert SIMULATOR.replay_built_in(name, trace, fitted, seed).mean >= limit
    weights = rng.normal(0.0, 1.0, 5)
    stream = SIMULATOR.stream(trace, fitted, seed)
    assert drive(stream, trace, lambda _, rows: int((rows @ weights).argmin())).mean >= limit


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), clip=CLIPS)
def test_not_even_the_best_of_all_assignments_beats_it(seed: int, clip: float) -> None:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(0.01, 6)), 2)
    fitted = dataclasses.replace(unequal(rng, 2, clip), lost=np.zeros(2))
    means = []
    for assignment in itertools.product((0, 1), repeat=len(trace)):
        picks = iter(assignment)
        stream = SIMULATOR.stream(trace, fitted, seed)
        means.append(drive(stream, trace, lambda _process, _rows, picks=picks: next(picks)).mean)
    assert min(means) >= SIMULATOR.bound(trace, fitted, seed) * (1.0 - 1e-9)


def srpt(arrival: list[float], work: list[float], clip: float) -> float:
    """Return the mean time in system under SRPT, written apart: every step of the way."""
    left, done = dict[int, float](), dict[int, float]()
    times = [*arrival, math.inf]
    for index, now in enumerate(times[:-1]):
        left[index] = work[index]
        room = times[index + 1] - now
        while left and room > 0.0:
            job = min(left, key=lambda each: (left[each], each))
            spent = min(left[job], room)
            left[job] -= spent
            room -= spent
            if left[job] <= 0.0:
                done[job] = times[index + 1] - room if room < math.inf else now
                del left[job]
            now += spent
            if job in done and math.isinf(room):
                done[job] = now
    return float(np.mean([min(done[each] - arrival[each], clip) for each in done]))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_on_one_server_it_is_what_srpt_takes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(1.2, 80)), 1)
    fitted = calibration([rng.exponential(1.0, 64).tolist()])
    model = model_of(trace, fitted, seed)
    work = model.service[0, bounds._columns(model.seed, 80, 1, 64)]
    expected = srpt(trace.time.tolist(), work.tolist(), math.inf)
    assert SIMULATOR.bound(trace, fitted, seed) == pytest.approx(expected * 1e3, rel=1e-9)


def test_on_one_server_with_equal_sizes_a_replay_reaches_it() -> None:
    rng = np.random.default_rng(3)
    trace = arrivals(np.cumsum(rng.exponential(1.2, 500)), 1)
    fitted = calibration([[1.0]], overhead=0.25)  # first come, first served is SRPT here
    replay = SIMULATOR.compiled(trace, fitted, 0, JSQ)
    assert replay.mean == pytest.approx(SIMULATOR.bound(trace, fitted, 0), rel=1e-9)


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 1.4254), (0.8, 2.3528), (0.9, 3.5521)])
def test_it_is_the_closed_form_of_m_m_1_under_srpt(rho: float, expected: float) -> None:
    gaps = np.random.default_rng(0).exponential(1.0 / rho, 400_000)
    trace = arrivals(np.cumsum(gaps), 1)
    found = SIMULATOR.bound(trace, calibration([exponential(1.0)]), 1) / 1e3
    assert found == pytest.approx(expected, rel=0.015)


def test_it_is_reached_by_a_lone_idle_backend() -> None:
    trace = arrivals(np.arange(300) * 10.0, 1)
    fitted = calibration([exponential(0.05, 64)], overhead=0.01)
    replay = SIMULATOR.compiled(trace, fitted, 5, JSQ)
    assert replay.mean == pytest.approx(SIMULATOR.bound(trace, fitted, 5), rel=1e-12)


def test_pooling_counts_under_load_and_the_fastest_backend_without() -> None:
    fitted = calibration([exponential(0.01, 64), exponential(0.03, 64)])
    busy, idle = (arrivals(np.arange(4000) / rate, 2) for rate in (130.0, 1.0))
    alone = SIMULATOR.bound(idle, fitted, 0)
    assert alone == pytest.approx(10.0, rel=0.05)
    assert SIMULATOR.bound(busy, fitted, 0) > 1.3 * alone


def test_a_clip_only_lowers_it_and_stays_close_while_queues_are_shorter() -> None:
    trace = arrivals(np.cumsum(np.random.default_rng(1).exponential(1.0 / 80.0, 20_000)), 1)
    free, clipped, tight = (
        SIMULATOR.bound(trace, calibration([exponential(0.01, 64)], clip_ms=clip), 0)
        for clip in (1e12, 2000.0, 20.0)
    )
    assert 0.98 * free <= clipped <= free
    assert tight < clipped
    assert tight <= 20.0


def test_an_empty_trace_and_a_backend_without_service_time_have_no_pooled_bound() -> None:
    fitted = calibration([[0.0], [0.01]], overhead=0.005)
    empty = DecisionTrace.rows(arrivals([0.0], 2), slice(0, 0))
    assert SIMULATOR.bound(empty, fitted, 0) == -math.inf
    assert SIMULATOR.bound(arrivals([0.0, 1.0], 2), fitted, 0) == pytest.approx(5.0)
