"""Costs of an LLM server are found again, and recorded vLLM runs are predicted from their first halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.recorder.importers import RequestImport, import_requests
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.opening import opened
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.llm_scheduler import kernel
from gnomon.shadow.simulators.llm_scheduler.fit import ASSUMED, evidence
from gnomon.shadow.traces.job_trace import RequestTrace
from gnomon.shadow.traces.trace import load_trace

from .engines import calibration, requests, until

SIMULATOR = simulator_for(llm_scheduler)
FCFS = baseline_policy("fcfs", llm_scheduler)
COST = (6e-3, 8e-5, 3e-7, 2e-8)
RUNS = ("RTX4090__Llama-3.1-8B", "RTXPRO6000__Qwen3-32B")


def recording(depth: int = 2, engine: tuple[int, ...] = (512, 16, 500, 16, 0)) -> RequestTrace:
    """Return requests with the times that a server of known costs would have had."""
    rng = np.random.default_rng(4)
    n = 250
    arrival = np.cumsum(rng.exponential(0.08, n))
    trace = requests(arrival, rng.integers(20, 600, n), rng.integers(5, 200, n), engine=engine)
    truth = calibration(512, 16, 500, 16, depth, COST)
    (course,) = FCFS.replay(SIMULATOR, trace, truth, 0).courses
    return replace(
        trace,
        admitted=course.state.admitted,
        answered=course.state.first,
        done=course.state.last,
        latency_ms=course.latency_s * 1e3,
    )


@pytest.mark.parametrize("depth", [1, 2])
def test_costs_and_steps_in_advance_are_found_again(depth: int) -> None:
    fitted = SIMULATOR.calibrate(recording(depth))
    assert fitted.engine[kernel.DEPTH] == depth
    assert float(fitted.error_s[0]) < 0.02
    steps = np.array([[1, 8, 3000, 0], [1, 512, 0, 512 * 256], [1, 200, 1500, 20_000]])
    assert steps @ fitted.cost == pytest.approx(steps @ np.array(COST), rel=0.06)


def test_settings_that_nobody_told_are_found() -> None:
    by_memory = SIMULATOR.calibrate(recording(engine=(512, 256, 0, 16, 2)))
    assert by_memory.engine[kernel.BLOCKS] < 1500
    by_seats = SIMULATOR.calibrate(recording(engine=(512, 0, 500, 16, 2)))
    assert by_seats.engine[kernel.SEATS] in (16, 256)


def test_draws_lie_around_the_fit() -> None:
    noisy = recording()
    rng = np.random.default_rng(9)
    noisy = replace(noisy, answered=noisy.answered + rng.normal(0, 0.05, len(noisy)))
    found = SIMULATOR.draws(noisy, 8, 3)
    assert len({each.digest for each in found}) == 8
    fitted = SIMULATOR.calibrate(noisy)
    ratio = np.array([each.cost / fitted.cost for each in found])
    assert (np.abs(np.log(ratio)) <= 1.0 + 1e-9).all()
    assert ratio[:, 0].min() < 1.0 < ratio[:, 0].max()
    assert ratio[:, 0].std() < 0.1
    assert found[0].digest == SIMULATOR.draws(noisy, 8, 3)[0].digest


def test_a_recording_is_reproduced_in_either_half() -> None:
    trace = recording()
    assert fidelity(trace, RecordedPolicy(), SIMULATOR, replicas=2).answer == "ok"
    wrong = baseline_policy("shortest_output", llm_scheduler)
    assert fidelity(trace, wrong, SIMULATOR, replicas=2).answer != "ok"


def test_an_import_without_times_gets_assumed_costs_that_nobody_is_sure_of() -> None:
    rng = np.random.default_rng(1)
    trace = requests(np.arange(300) * 0.01, rng.integers(1, 900, 300), rng.integers(1, 90, 300))
    assert SIMULATOR.calibrate(trace).cost.tolist() == ASSUMED.tolist()
    assert len({each.digest for each in SIMULATOR.draws(trace, 8, 0)}) == 8
    replay = FCFS.replay(SIMULATOR, trace, SIMULATOR.calibrate(trace), 0)
    assert replay.fault == -1
    assert np.isfinite(replay.outcome).all()


def test_too_few_times_are_refused() -> None:
    trace = until(recording(), 1.0)
    with pytest.raises(TraceError, match="too few to calibrate"):
        SIMULATOR.calibrate(trace)


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> Any:
    """Return a recorded vLLM run, imported with the true lengths of answers."""
    file = data / "llm" / "llmservingsim_vllm" / request.param / "requests.jsonl"
    store = TraceStore(tmp_path / "traces")
    import_requests(store, RequestImport("vllm-requests", file, "llm.admit", expected="exact"))
    return load_trace(store.files.root, "llm.admit")


#: Statistic and the error that is allowed of it.
TOLERANCES = {"mean": 0.10, "p50": 0.10, "p90": 0.10, "p99": 0.20}


def statistics(values: np.ndarray) -> dict[str, float]:
    quantiles = {f"p{at}": float(np.quantile(values, at / 100)) for at in (50, 90, 99)}
    return {"mean": float(values.mean())} | quantiles


def test_the_second_half_of_a_vllm_run_is_predicted_from_the_first(run: RequestTrace) -> None:
    middle = float(run.done.max()) / 2.0
    fitted = SIMULATOR.calibrate(until(run, middle))
    replay = FCFS.replay(SIMULATOR, run, fitted, 0)
    late = run.done > middle
    assert late.sum() > 100
    recorded = {
        "queue_ms": (run.admitted - run.arrival) * 1e3,
        "ttft_ms": (run.answered - run.arrival) * 1e3,
        "latency_ms": run.latency_ms,
        "tpot_ms": (run.done - run.answered) / (run.output - 1) * 1e3,
    }
    simulated = {**replay.extra, "latency_ms": replay.outcome}
    for name, values in recorded.items():
        true, found = statistics(values[late]), statistics(simulated[name][late])
        for statistic, tolerance in TOLERANCES.items():
            error = found[statistic] / true[statistic] - 1.0
            assert abs(error) < tolerance, (name, statistic, error)


def test_a_vllm_run_is_faithful_and_its_settings_are_found(run: RequestTrace) -> None:
    found = evidence(run).fit
    assert found.engine[kernel.DEPTH] == 2  # both ran with asynchronous scheduling
    table = fidelity(run, FCFS, SIMULATOR, found, replicas=1)
    assert table.answer == "ok"
    if run.engine[kernel.BLOCKS]:
        unknown = replace(run, engine=(*run.engine[:2], 0, *run.engine[3:]))
        blocks = int(SIMULATOR.calibrate(unknown).engine[kernel.BLOCKS])
        assert blocks == pytest.approx(run.engine[kernel.BLOCKS], rel=0.05)


def test_nobody_gains_by_making_those_wait_who_came_before_a_window(run: RequestTrace) -> None:
    """Both servers are far behind, so that last come, first served looks well on those who come last."""
    late = run.window(0.75 * run.span_s, np.inf)
    assert (late.arrival[late.counted] < late.since).sum() > 20
    fitted = SIMULATOR.calibrate(run)
    oldest = FCFS.replay(SIMULATOR, late, fitted, 0)
    last = check("def score(wait_ms):\n    return wait_ms\n", llm_scheduler.input_names)
    newest = SIMULATOR.compiled(late, fitted, 0, compile_score(last))
    assert newest.mean > 0.93 * oldest.mean  # another mix of sizes, no more
    came = newest.time >= late.since
    assert newest.outcome[came].mean() < 0.97 * oldest.outcome[came].mean()


def test_a_public_workload_opens_with_an_incumbent(data: Path, tmp_path: Path) -> None:
    file = data / "llm" / "AzureLLMInferenceTrace_conv.csv.gz"
    store = TraceStore(tmp_path / "traces")
    import_requests(store, RequestImport("azure-llm", file, "llm.admit", limit=3000))
    trace, target = opened(tmp_path / "traces")
    assert (len(trace), target.incumbent.name) == (3000, "fcfs")
    fitted = SIMULATOR.calibrate(trace)
    fcfs, shortest = (
        baseline_policy(name, llm_scheduler).replay(SIMULATOR, trace, fitted, 0)
        for name in ("fcfs", "shortest_prompt")
    )
    assert fcfs.summary().completions == shortest.summary().completions == 3000
