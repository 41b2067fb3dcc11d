"""The trace of an LLM server: from stored admissions and their outcomes to requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Decision, Outcome, Workload
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.base import drive_to_end
from gnomon.shadow.simulators.llm_scheduler import kernel
from gnomon.shadow.simulators.llm_scheduler.simulator import LlmCalibration
from gnomon.shadow.traces.job_trace import RequestTrace, request_trace

from .engines import START_NS, calibration, requests

SIMULATOR = simulator_for(llm_scheduler)
FCFS = baseline_policy("fcfs", llm_scheduler)
HOOK = "llm.admit"
#: Memory for all, so that every request that is asked about is admitted.
ENGINE = calibration(512, 12, 5000, 16, 2)
SETTINGS = (
    "max_num_batched_tokens",
    "max_num_seqs",
    "kv_blocks",
    "block_tokens",
    "steps_in_advance",
)


def workload() -> RequestTrace:
    rng = np.random.default_rng(6)
    n = 300
    output = rng.integers(4, 150, n)
    return requests(
        np.cumsum(rng.exponential(0.07, n)),
        rng.integers(20, 500, n),
        output,
        expected=np.round(output * rng.lognormal(0, 0.3, n)) + 1.0,
    )


def recorded(trace: RequestTrace, **told: Any) -> list[tuple[Decision, Outcome]]:
    """Return what a server's hook would have recorded, first come, first served."""
    course: Any = FCFS.replay(SIMULATOR, trace, ENGINE, 0)
    state = course.courses[0].state
    stream, made = SIMULATOR.stream(trace, ENGINE, 0), list[tuple[Decision, Outcome]]()
    rows = next(stream)
    for seq in range(len(trace)):
        time_ns = START_NS + round(float(state.admitted[seq]) * 1e9)
        flat = tuple(float(value) for value in rows.ravel())
        decided = Decision(
            seq, time_ns, -1, "", "incumbent", "static", "", "incumbent", 0, -1, 0, len(rows), flat,
            1.0, "sampled", 0, 0,
        )  # fmt: skip
        values = {
            "latency_ms": float(state.last[seq] - trace.arrival[seq]) * 1e3,
            "ttft_ms": float(state.first[seq] - trace.arrival[seq]) * 1e3,
            "answered_tokens": float(trace.output[seq]),
        } | told
        pairs = tuple((name, value) for name, value in values.items() if value is not None)
        at = START_NS + round(float(state.last[seq]) * 1e9)
        outcome = Outcome(seq, at, True, "reported", pairs, "incumbent", -1, time_ns)
        made.append((decided, outcome))
        try:
            rows = stream.send(0)
        except StopIteration:
            break
    return made


def stored(folder: Path, made: list[tuple[Decision, Outcome]], said: bool = True) -> TraceStore:
    store = TraceStore(folder / "traces")
    settings = zip(SETTINGS, map(float, ENGINE.engine), strict=True)
    events = [Workload(0, START_NS, "engine", tuple(settings))] if said else []
    about = Source("0" * 16, "llm", HOOK, llm_scheduler.name, llm_scheduler.version)
    store.write(tables(about, Joined(decisions=made, workload=events)), "part")
    return store


def test_admissions_show_every_request(tmp_path: Path) -> None:
    truth = workload()
    trace = request_trace(stored(tmp_path, recorded(truth)), HOOK)
    assert len(trace) == len(truth)
    assert trace.engine == tuple(ENGINE.engine.tolist())
    for name in ("prompt", "output", "expected", "priority"):
        assert np.array_equal(getattr(trace, name), getattr(truth, name))
    assert np.diff(trace.arrival) == pytest.approx(np.diff(truth.arrival), abs=1e-6)
    assert (trace.done > trace.answered).all()
    assert trace.recorded


def test_a_recorded_server_is_calibrated_and_reproduced(tmp_path: Path) -> None:
    trace = request_trace(stored(tmp_path, recorded(workload())), HOOK)
    fitted = SIMULATOR.calibrate(trace)
    assert float(fitted.error_s[0]) < 0.02
    for policy in (RecordedPolicy(), FCFS):
        assert fidelity(trace, policy, SIMULATOR, fitted, replicas=2).answer == "ok"


def test_a_window_goes_on_from_what_was_recorded(tmp_path: Path) -> None:
    trace = request_trace(stored(tmp_path, recorded(workload())), HOOK)
    fitted = SIMULATOR.calibrate(trace)
    for cut in (0.3, 0.5, 0.75):
        window = trace.window(cut * trace.span_s, np.inf)
        replay = FCFS.replay(SIMULATOR, window, fitted, 0)
        assert window.held.sum() > 0
        assert replay.mean == pytest.approx(window.outcome.mean(), rel=0.05)
        summary = replay.summary()
        assert all(each.holds(summary) for each in llm_scheduler.invariants)


def overloaded(engine: LlmCalibration) -> RequestTrace:
    """Return a recording in which more and more requests wait, and answers outgrow the memory."""
    rng = np.random.default_rng(0)
    n = 500
    arrival = np.cumsum(rng.exponential(0.35, n))
    trace = requests(arrival, rng.integers(20, 60, n), rng.integers(400, 1500, n))
    whole: Any = FCFS.replay(SIMULATOR, trace, engine, 0)
    state = whole.courses[0].state
    told = {"admitted": state.admitted, "answered": state.first, "done": state.last}
    return replace(trace, **told, latency_ms=whole.outcome)


def test_nobody_gains_by_taking_the_memory_of_those_that_do_not_count() -> None:
    """Last come, first served would leave out for ever whoever was in the engine and lost its memory."""
    engine = calibration(2048, 256, 600, 16, 1, (8e-3, 4e-5, 8e-8, 1e-8))
    trace = overloaded(engine)
    late = trace.window(0.5 * trace.span_s, np.inf)
    newest: Any = drive_to_end(SIMULATOR.stream(late, engine, 0), lambda rows: len(rows) - 1)
    oldest: Any = FCFS.replay(SIMULATOR, late, engine, 0)
    runs = (oldest, newest)
    assert all(each.courses[0].state.cursor[kernel.RECOMPUTED] > 100 for each in runs)
    fair, unfair = (float(each.courses[0].latency_s[late.held].mean()) for each in runs)
    assert unfair == pytest.approx(fair, rel=0.05)
    for each in runs:
        summary = each.summary()
        assert all(law.holds(summary) for law in llm_scheduler.invariants)


def test_a_trace_is_saved_and_loaded(tmp_path: Path) -> None:
    trace = request_trace(stored(tmp_path, recorded(workload())), HOOK)
    trace.save(tmp_path / "t.npz")
    assert RequestTrace.load(tmp_path / "t.npz").digest == trace.digest


@pytest.mark.parametrize("column", ["prompt", "output"])
def test_requests_without_an_end_are_refused(column: str) -> None:
    columns = {"prompt": [9, 9], "output": [3, 3]} | {column: [9, 10**16]}
    with pytest.raises(TraceError, match="has 10000000000000000 tokens, more than 16777216"):
        requests([0.0, 0.0], **columns)


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    made = recorded(workload(), ttft_ms=None)
    with pytest.raises(TraceError, match="lack ttft_ms or answered_tokens"):
        request_trace(stored(tmp_path / "a", made), HOOK)
    with pytest.raises(TraceError, match="says the engine's settings"):
        request_trace(stored(tmp_path / "b", recorded(workload()), said=False), HOOK)
    with pytest.raises(TraceError, match="100 requests, too little data"):
        request_trace(stored(tmp_path / "c", recorded(workload())[:100]), HOOK)
