"""Fidelity: says yes to a true model, no to a wrong one, and nothing on too little data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.sdk.kind import Metric
from gnomon.shadow.fidelity import compared, fidelity
from gnomon.shadow.policy import Policy, RecordedPolicy, ScorePolicy, baseline_policy
from gnomon.shadow.simulators import Measure, simulator_for
from gnomon.shadow.simulators.base import Replay, metric_statistics
from gnomon.shadow.traces.trace import DecisionTrace

from .queueing import demo

SIMULATOR = simulator_for(load_balancer)


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return demo(seed=0, seconds=40.0)


@pytest.fixture(scope="module")
def incumbent() -> Policy:
    return baseline_policy("weighted_round_robin", load_balancer)


@pytest.mark.parametrize("seed", [0, 4])
def test_the_policy_that_ran_is_reproduced(seed: int, incumbent: Policy) -> None:
    found = fidelity(demo(seed, seconds=40.0), incumbent, SIMULATOR)
    assert found.answer == "ok", [row for row in found.rows if row.answer != "ok"]
    assert found.replicas == 20
    *halves, response = found.rows
    names = {row.metric for row in halves}
    assert names == {"mean", "p50", "p99", *(f"share backend-{at}" for at in range(4))}
    assert {row.stretch for row in halves} == {"first half", "second half", "whole"}
    assert (response.metric, response.stretch) == ("busy over quiet", "thirds by load")
    for row in found.rows:
        assert row.low <= row.error <= row.high


def test_another_policy_is_not(trace: DecisionTrace) -> None:
    other = baseline_policy("round_robin", load_balancer)
    found = fidelity(trace, other, SIMULATOR)
    assert found.answer == "beyond tolerance"
    wrong = {row.metric for row in found.rows if row.answer == "beyond tolerance"}
    assert {"share backend-0", "share backend-3"} <= wrong


@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_a_wrong_calibration_is_found_out(
    factor: float, trace: DecisionTrace, incumbent: Policy
) -> None:
    fitted = SIMULATOR.calibrate(trace)
    wrong = dataclasses.replace(fitted, service_s=fitted.service_s * factor)
    found = fidelity(trace, incumbent, SIMULATOR, wrong)
    assert found.answer == "beyond tolerance"
    assert any(row.metric == "p50" and row.answer != "ok" for row in found.rows)


def test_an_error_in_one_half_of_time_blocks(trace: DecisionTrace, incumbent: Policy) -> None:
    late = trace.time > trace.time[-1] / 2
    slower = dataclasses.replace(trace, outcome=np.where(late, trace.outcome * 1.6, trace.outcome))
    fitted = SIMULATOR.calibrate(trace)
    found = fidelity(slower, incumbent, SIMULATOR, fitted)
    answers = {(row.metric, row.stretch): row.answer for row in found.rows}
    assert found.answer == "beyond tolerance"
    assert answers["p50", "first half"] == "ok"
    assert answers["p50", "second half"] == "beyond tolerance"


def bursty(trace: DecisionTrace, drag: float) -> DecisionTrace:
    """Thin every other stretch of two seconds, and make what is left dearer the busier it is."""
    busy = (trace.time // 2.0) % 2 == 1
    kept = busy | (np.arange(len(trace)) % 3 == 0)
    outcome = np.where(busy, trace.outcome * (1.0 + drag), trace.outcome)
    columns = {name: getattr(trace, name) for name in trace.COLUMNS} | {"outcome": outcome}
    return dataclasses.replace(trace, **{name: column[kept] for name, column in columns.items()})


def response(trace: DecisionTrace, replayed: DecisionTrace) -> Any:
    """Compare a recording with replays that are another one; return the row about load."""
    run = Replay(replayed.time, replayed.outcome, replayed.ok, replayed.action.astype(np.int64), 4)
    rows = compared(trace, [run] * 2, SIMULATOR, policy="p", calibration="c").rows
    return next((row for row in rows if row.metric == "busy over quiet"), None)


def test_a_wrong_response_to_load_is_found_out(trace: DecisionTrace) -> None:
    recorded = bursty(trace, 0.25)
    wrong = response(recorded, bursty(trace, 0.0))
    assert wrong.answer == "beyond tolerance"
    assert wrong.error == pytest.approx(
        -0.2, abs=0.01
    )  # busy times are a quarter dearer than in the model
    same = response(recorded, recorded)
    assert (same.answer, same.error) == ("ok", 0.0)
    assert same.high - same.low < 1e-9


def test_where_load_hardly_differs_there_is_no_response(trace: DecisionTrace) -> None:
    steady = trace.rows(slice(0, 4000))
    even = dataclasses.replace(steady, time=np.arange(len(steady)) / 100.0)
    assert response(even, even) is None
    short = bursty(trace.window(0.0, 15.0), 0.25)  # fewer than eight blocks of busy time
    assert response(short, short) is None


def test_too_little_data_is_inconclusive(trace: DecisionTrace, incumbent: Policy) -> None:
    fitted = SIMULATOR.calibrate(trace)
    short = trace.rows(slice(0, 180))
    assert fidelity(short, incumbent, SIMULATOR, fitted).answer == "inconclusive"


def test_it_is_the_same_twice_and_another_with_another_seed(
    trace: DecisionTrace, incumbent: Policy
) -> None:
    fitted = SIMULATOR.calibrate(trace)
    one, two, three = (
        fidelity(trace, incumbent, SIMULATOR, fitted, replicas=5, seed=seed) for seed in (1, 1, 2)
    )
    assert one == two != three
    assert one.as_json()["rows"][0]["metric"] == "mean"


def test_an_incumbent_that_fails_has_no_fidelity(trace: DecisionTrace) -> None:
    source = "import math\n\n\ndef score(inflight):\n    return math.sqrt(2.0 - inflight)\n"
    policy = ScorePolicy("faulty", source, load_balancer)
    fitted = SIMULATOR.calibrate(trace)
    runs = policy.replays(SIMULATOR, trace, fitted, range(2))
    with pytest.raises(TraceError, match="'faulty' failed"):
        compared(trace, runs, SIMULATOR, policy="faulty", calibration=fitted.digest)


class Served(DecisionTrace):
    """A trace that also says how long each request waited; for some it does not."""

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        waited = 0.25 * self.outcome
        waited[::7] = np.nan
        return {"wait_ms": waited}


class Waiting(type(SIMULATOR)):  # type: ignore[misc]
    """Simulates the wait too, as a part of the answer's time."""

    part = 0.25

    def measures(self, trace: DecisionTrace) -> tuple[Measure, ...]:
        metric = Metric("wait_ms", "ms", 2000.0)
        unknown = Metric("steps", "1", 10.0, statistics=("mean",))
        return (*super().measures(trace), *metric_statistics(metric), *metric_statistics(unknown))

    def stream(self, trace: DecisionTrace, calibration: Any, seed: int) -> Any:
        found = yield from super().stream(trace, calibration, seed)
        return dataclasses.replace(found, extra={"wait_ms": self.part * found.outcome})


@pytest.mark.parametrize(("part", "answer"), [(0.25, "ok"), (0.5, "beyond tolerance")])
def test_a_metric_besides_the_objective_is_held_to_the_recording_too(
    part: float, answer: str, trace: DecisionTrace
) -> None:
    served = Served(**{f.name: getattr(trace, f.name) for f in dataclasses.fields(trace)})
    simulator = Waiting()
    simulator.part = part
    found = fidelity(served, RecordedPolicy(), simulator, replicas=4)
    rows = {(row.metric, row.stretch): row for row in found.rows}
    assert not any(metric.startswith("steps") for metric, _ in rows)  # nobody recorded those
    waits = [rows[f"wait_ms {name}", "whole"] for name in ("mean", "p50", "p99")]
    assert waits[0].recorded == pytest.approx(np.nanmean(served.metrics["wait_ms"]))
    assert {row.answer for (metric, _), row in rows.items() if metric.startswith("wait")} == {
        answer
    }
    assert found.answer == answer
    objective = fidelity(trace, RecordedPolicy(), SIMULATOR, replicas=4)
    assert [row.metric for row in objective.rows] == [
        row.metric for row in found.rows if not row.metric.startswith("wait")
    ]
