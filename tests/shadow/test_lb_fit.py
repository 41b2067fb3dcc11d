"""Calibration: the parameters of known systems are found again."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import load_calibrations, save_calibrations, simulator_for
from gnomon.shadow.simulators.load_balancer.levels import levels
from gnomon.shadow.traces.trace import DecisionTrace

from .queueing import Server, System, demo, lognormal, poisson, weighted

SIMULATOR = simulator_for(load_balancer)


def alone(slots: int, mean: float, load: float, seed: int, overhead: float = 0.0) -> DecisionTrace:
    """Return a capture of one backend under this load."""
    server = Server(lognormal(mean, 0.4, random.Random(seed)), slots, overhead=overhead)
    system = System([server], seed=seed)
    return system.run(poisson(load * slots / mean, 2500 * mean / load / slots, seed), weighted)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("load", [0.7, 0.9])
def test_slots_are_found(slots: int, load: float) -> None:
    assert SIMULATOR.calibrate(alone(slots, 0.03, load, seed=slots)).slots.tolist() == [slots]


def test_dozens_of_slots_are_found_where_they_were_full() -> None:
    rng = random.Random(1)
    servers = [Server(lognormal(mean, 0.5, rng), 32) for mean in (0.1, 0.2)]
    trace = System(servers, routers=2).run(
        poisson(320.0, 20.0, 3), lambda rows, _: min((0, 1), key=lambda j: (-rows[j][3], j))
    )
    fitted = SIMULATOR.calibrate(trace)
    assert fitted.slots[1] == pytest.approx(32, abs=4)
    assert (fitted.slots >= 20).all()
    assert fitted.service_s.mean(axis=1) == pytest.approx([0.1, 0.2], rel=0.1)
    replay = baseline_policy("round_robin", load_balancer).replay(SIMULATOR, trace, fitted, 0)
    assert replay.mean == pytest.approx(trace.outcome.mean(), rel=0.15)


def test_exponential_service_does_not_hide_slots() -> None:
    rng = random.Random(3)
    server = Server(lambda: rng.expovariate(1 / 0.03), 3)
    trace = System([server], seed=3).run(poisson(80.0, 40.0, 4), weighted)
    fitted = SIMULATOR.calibrate(trace)
    assert fitted.slots.tolist() == [3]
    assert fitted.service_s.mean() == pytest.approx(0.03, rel=0.08)


def test_overhead_is_told_from_service() -> None:
    fitted = SIMULATOR.calibrate(alone(2, 0.03, 0.9, seed=5, overhead=0.006))
    assert fitted.overhead_s[0] == pytest.approx(0.006, abs=0.003)
    assert fitted.service_s.mean() == pytest.approx(0.03, rel=0.08)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("slots", [2, 3])
def test_a_capture_like_the_demo_s_is_taken_apart(seed: int, slots: int) -> None:
    fitted = SIMULATOR.calibrate(demo(seed, seconds=40.0, slots=slots, rate=70.0 * slots))
    assert fitted.slots.tolist() == [slots] * 4
    assert fitted.service_s.mean(axis=1) == pytest.approx([0.022, 0.03, 0.04, 0.05], rel=0.13)
    assert fitted.ewma_rule.tolist() == pytest.approx([0.1, 0.1], abs=1e-6)
    assert fitted.ewma_fit[0] > 0.999
    steady, spoilt = fitted.level[:3], fitted.level[3]
    assert steady.max() < 1.3
    assert 2.0 < spoilt.max() < 3.0


def test_levels_begin_and_end_when_spells_did() -> None:
    rng = np.random.default_rng(0)
    start = np.sort(rng.uniform(0, 60, 1200))
    slow = (start > 20) & (start < 22)
    fitted = levels(start, 0.03 * rng.lognormal(0, 0.3, 1200) * np.where(slow, 2.5, 1.0))
    assert fitted.begin[1:] == pytest.approx([20.0, 22.0], abs=0.25)
    assert fitted.factor == pytest.approx([1.0, 2.5, 1.0], rel=0.15)


def test_a_few_times_that_are_far_too_short_make_no_level() -> None:
    rng = np.random.default_rng(2)
    start = np.sort(rng.uniform(0, 60, 1000))
    service = 0.03 * rng.lognormal(0, 0.3, 1000)
    service[[0, 1, 400, 700]] = 1e-4  # an answer was seen late, the next one counts from there
    assert levels(start, service).factor.tolist() == [1.0]


@given(seed=st.integers(0, 500))
def test_steady_service_has_one_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.uniform(0, 60, 600))
    fitted = levels(start, 0.03 * rng.lognormal(0, 0.4, 600))
    assert len(fitted.factor) <= 2
    assert np.all(np.abs(np.log(fitted.factor)) < 0.7)


def test_long_captures_are_cut_into_levels_in_groups() -> None:
    rng = np.random.default_rng(1)
    start = np.sort(rng.uniform(0, 600, 20_000))
    slow = (start > 200) & (start < 230)
    fitted = levels(start, 0.03 * rng.lognormal(0, 0.3, 20_000) * np.where(slow, 2.0, 1.0))
    assert fitted.begin[1:] == pytest.approx([200.0, 230.0], abs=1.0)
    assert fitted.factor == pytest.approx([1.0, 2.0, 1.0], rel=0.08)


@pytest.mark.parametrize("gain", [0.05, 0.3])
def test_the_moving_average_s_gain_is_found_and_first_values_too(gain: float) -> None:
    servers = [Server(lognormal(0.03, 0.3, random.Random(at)), 2) for at in range(3)]
    trace = System(servers, 2, gain, first_ewma=0.0, seed=1).run(poisson(90, 15, 2), weighted)
    assert SIMULATOR.calibrate(trace).ewma_rule.tolist() == pytest.approx([gain, gain], abs=1e-6)


def test_an_average_that_never_moves_is_held() -> None:
    trace = demo(seconds=10.0)
    features = trace.features.copy()
    features[:, :, 1] = 40.0
    fitted = SIMULATOR.calibrate(dataclasses.replace(trace, features=features))
    assert fitted.ewma_rule.tolist() == [0.0, 0.0]


def test_failures_and_missing_outcomes_are_counted_apart() -> None:
    trace = demo(seconds=20.0)
    lost = np.arange(len(trace)) % 20 == 0
    failed = np.arange(len(trace)) % 10 == 1
    changed = dataclasses.replace(
        trace, ok=~(lost | failed), outcome=np.where(lost, 2000.0, trace.outcome)
    )
    fitted = SIMULATOR.calibrate(changed)
    assert fitted.lost == pytest.approx([0.05] * 4, abs=0.02)
    assert fitted.failed == pytest.approx([0.1] * 4, abs=0.03)
    assert fitted.service_s.mean(axis=1) == pytest.approx([0.022, 0.03, 0.04, 0.05], rel=0.25)


def test_a_member_that_was_hardly_picked_is_refused_by_name() -> None:
    trace = demo(seconds=5.0)
    action = np.where(trace.action == 2, 0, trace.action).astype(np.int32)
    with pytest.raises(TraceError, match=r"'backend-2'.*explore"):
        SIMULATOR.calibrate(dataclasses.replace(trace, action=action))


def test_draws_differ_but_not_between_runs() -> None:
    trace = demo(seed=3, seconds=20.0)
    draws = SIMULATOR.draws(trace, 4, seed=1)
    again = SIMULATOR.draws(trace, 4, seed=1)
    assert [draw.digest for draw in draws] == [draw.digest for draw in again]
    assert len({draw.digest for draw in draws}) == 4
    assert SIMULATOR.draws(trace, 4, seed=2)[0].digest != draws[0].digest
    means = np.array([draw.service_s.mean(axis=1) for draw in draws])
    assert means.mean(axis=0) == pytest.approx([0.022, 0.03, 0.04, 0.05], rel=0.15)


def test_of_slots_that_were_never_full_no_more_are_assumed_than_were_ever_busy() -> None:
    trace = alone(8, 0.03, 0.12, seed=1)
    answer = trace.time + trace.outcome / 1e3
    busy = max(((trace.time <= at) & (answer > at)).sum() for at in trace.time)
    assert busy < 8
    assert {int(draw.slots[0]) for draw in SIMULATOR.draws(trace, 8, seed=0)} <= {busy - 1, busy}


def test_slots_that_the_data_leave_open_differ_between_draws() -> None:
    trace = alone(3, 0.03, 0.35, seed=4).rows(slice(0, 260))
    assert len({int(draw.slots[0]) for draw in SIMULATOR.draws(trace, 24, seed=0)}) > 1


def test_calibrations_survive_a_file(tmp_path: Path) -> None:
    draws = SIMULATOR.draws(demo(seconds=8.0), 3, seed=0)
    path = tmp_path / "calibrations.npz"
    save_calibrations(path, draws)
    again = load_calibrations(path, SIMULATOR)
    assert [each.digest for each in again] == [each.digest for each in draws]
    assert again[0].describe() == draws[0].describe()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_what_holds_no_calibrations_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibrations.npz"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="calibrate again"):
        load_calibrations(path, SIMULATOR)


def test_a_calibration_of_other_members_is_refused() -> None:
    trace = demo(seconds=8.0)
    fitted = SIMULATOR.calibrate(trace)
    fewer = dataclasses.replace(
        trace, members=trace.members[:3], features=trace.features[:, :3], action=trace.action % 3
    )
    with pytest.raises(TraceError, match="4 members"):
        next(SIMULATOR.stream(fewer, fitted, 0))
