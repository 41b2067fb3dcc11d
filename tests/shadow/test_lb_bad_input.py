"""Odd and broken input to the load balancer's simulator: a documented result, or an error that names it."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from gnomon.policies.load_balancer import conservation, load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.sdk.language import check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import drive, simulator_for

from .models import arrivals, calibration
from .queueing import demo

SIMULATOR = simulator_for(load_balancer)
JSQ = check("def score(inflight):\n    return inflight\n", load_balancer.input_names)


@pytest.mark.parametrize("name", sorted(load_balancer.baselines))
def test_with_one_server_every_policy_does_the_same(name: str) -> None:
    trace = arrivals(np.cumsum(np.random.default_rng(0).exponential(0.02, 300)), 1, 2, 5.0)
    fitted = calibration([[0.005, 0.01, 0.05]], [2])
    replay = baseline_policy(name, load_balancer).replay(SIMULATOR, trace, fitted, 0)
    expected = SIMULATOR.compiled(trace, fitted, 0, compile_score(JSQ))
    assert (replay.action == 0).all()
    assert np.array_equal(replay.outcome, expected.outcome)


def test_with_all_servers_down_every_outcome_is_the_clip_and_nothing_is_calibrated() -> None:
    trace = arrivals(np.arange(300) * 0.01, 3)
    fitted = calibration([[0.01]] * 3, lost=1.0, clip_ms=2000.0)
    replay = SIMULATOR.compiled(trace, fitted, 0, compile_score(JSQ))
    assert (replay.outcome == 2000.0).all()
    assert not replay.ok.any()
    assert conservation(replay.summary())
    assert SIMULATOR.bound(trace, fitted, 0) <= 2000.0
    down = dataclasses.replace(
        demo(seconds=5.0),
        outcome=np.full(len(demo(seconds=5.0)), 2000.0),
        ok=np.zeros(len(demo(seconds=5.0)), bool),
    )
    with pytest.raises(TraceError, match="'backend-0' .* 0 answers"):
        SIMULATOR.calibrate(down)


@pytest.mark.parametrize("latency_ms", [0.0, -5.0, np.nan])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_answers_in_no_time_are_refused_by_name_and_number(latency_ms: float, share: float) -> None:
    trace = demo(seconds=10.0)
    some = np.random.default_rng(0).random(len(trace)) < share
    broken = dataclasses.replace(trace, outcome=np.where(some, latency_ms, trace.outcome))
    with pytest.raises(TraceError, match=r"'backend-0' .* after 0 ms or less; measure"):
        SIMULATOR.calibrate(broken)


def test_a_few_answers_in_no_time_are_left_out() -> None:
    trace = demo(seconds=20.0)
    few = np.random.default_rng(0).random(len(trace)) < 0.02
    fitted = SIMULATOR.calibrate(
        dataclasses.replace(trace, outcome=np.where(few, 0.0, trace.outcome))
    )
    assert (fitted.service_s > 0.0).all()
    assert (fitted.overhead_s >= 0.0).all()
    assert fitted.service_s.mean(axis=1) == pytest.approx([0.022, 0.03, 0.04, 0.05], rel=0.15)


def test_equal_times_are_replayed_in_order_and_alike_in_both_tiers() -> None:
    trace = arrivals(np.repeat(np.arange(60) * 0.02, 5), 3, 2)
    fitted = calibration([[0.01, 0.02]] * 3, [1, 2, 1])
    compiled = SIMULATOR.compiled(trace, fitted, 0, compile_score(JSQ))
    choose = chooser(JSQ, load_balancer)
    stream = SIMULATOR.stream(trace, fitted, 0)
    plain = drive(stream, trace, lambda _process, rows: choose(rows.tolist()))
    assert np.array_equal(compiled.action, plain.action)
    assert conservation(compiled.summary())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = SIMULATOR.calibrate(
            dataclasses.replace(
                demo(seconds=10.0), time=np.floor(demo(seconds=10.0).time * 20) / 20
            )
        )
    assert (whole.service_s > 0.0).all()


@pytest.mark.parametrize("times", [[0.0, 2.0, 1.0], [0.0, np.nan, 1.0], [0.0, 1.0, np.inf]])
def test_times_that_go_back_or_are_none_are_refused(times: list[float]) -> None:
    with pytest.raises(TraceError, match="order of time"):
        arrivals(times, 2)


@pytest.mark.parametrize(("column", "value"), [("instance", 2), ("instance", -1), ("action", 3)])
def test_processes_and_picks_that_are_none_are_refused(column: str, value: int) -> None:
    """Compiled code would take them for places in memory."""
    trace = arrivals(np.arange(10) * 0.1, 3, 2)
    with pytest.raises(TraceError, match=f"has {column} {value} of"):
        dataclasses.replace(trace, **{column: np.full(10, value, np.int32)})


def test_an_empty_window_has_no_mean_and_a_lone_decision_has_one() -> None:
    trace = arrivals([0.0, 1.0], 2)
    fitted = calibration([[0.01]] * 2)
    empty = SIMULATOR.compiled(trace.rows(slice(0, 0)), fitted, 0, compile_score(JSQ))
    assert np.isnan(empty.mean)
    assert SIMULATOR.figures(trace, empty) == {}
    lone = SIMULATOR.compiled(trace.rows(slice(0, 1)), fitted, 0, compile_score(JSQ))
    assert lone.mean == pytest.approx(10.0)
    assert conservation(lone.summary())
