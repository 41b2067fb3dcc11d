"""The trace of a queue: from stored decisions to jobs, windows, and recordings that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.scheduler import scheduler
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Workload
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.opening import opened
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators.base import drive_to_end
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator
from gnomon.shadow.traces.job_trace import JobTrace, job_trace
from gnomon.shadow.traces.trace import load_trace

from .queues import START_NS, Service, calibration, fcfs, jobs, poisson, sjf

SIMULATOR = SchedulerSimulator()
HOOK = "pool.next"


def served(
    seed: int = 0, n: int = 1500, policy: Any = fcfs, rate: float = 70.0, **given: Any
) -> Service:
    """Return a service of two workers at nine tenths of what they can do."""
    service = Service(seed=seed + 100, **given)
    size_ms = np.random.default_rng(seed + 200).exponential(25.0, n) + 0.5
    service.run(poisson(rate, n, seed), size_ms, policy)
    return service


def test_decisions_show_every_job(tmp_path: Path) -> None:
    service = served(policy=sjf)
    trace = job_trace(service.stored(tmp_path), HOOK)
    assert (len(trace), trace.unserved, trace.since, trace.members) == (1500, 0, -np.inf, ())
    arrival = poisson(70.0, 1500, 0)
    assert np.allclose(np.diff(trace.arrival), np.diff(arrival), atol=1e-8)
    size_ms = np.random.default_rng(200).exponential(25.0, 1500) + 0.5
    assert np.array_equal(trace.size_ms, size_ms)
    assert np.isinf(trace.due).mean() == pytest.approx(0.5, abs=0.05)
    assert trace.recorded
    assert np.allclose(trace.begun + trace.service - trace.arrival, trace.latency_ms / 1e3)


def test_a_recording_is_calibrated_and_reproduced(tmp_path: Path) -> None:
    trace = job_trace(served(policy=sjf).stored(tmp_path), HOOK)
    fitted = SIMULATOR.calibrate(trace)
    assert fitted.workers.tolist() == [2]
    assert float(fitted.gap_s.mean()) == pytest.approx(1e-4, rel=0.2)
    assert fitted.late_fails[0]
    assert float(fitted.ratio.mean()) == pytest.approx(1.0, abs=0.03)
    for policy in (RecordedPolicy(), baseline_policy("sjf", scheduler)):
        table = fidelity(trace, policy, SIMULATOR, replicas=4)
        assert table.answer == "ok"
        assert max(abs(row.error) for row in table.rows) < 0.02
    replay = SIMULATOR.recorded(trace, fitted, 0)
    assert replay.ok.mean() == pytest.approx(trace.ok.mean(), abs=0.01)
    other = fidelity(trace, baseline_policy("fcfs", scheduler), SIMULATOR, replicas=4)
    assert other.answer == "beyond tolerance"


def test_the_second_half_is_predicted_from_the_first(tmp_path: Path) -> None:
    """Service times of the second half are drawn by size: nothing that was measured there is used."""
    trace = job_trace(served(n=6000, seed=3).stored(tmp_path), HOOK)
    middle = trace.span_s / 2.0
    fitted = SIMULATOR.calibrate(trace.window(-np.inf, middle))
    second = trace.window(middle, np.inf)
    unknown = np.where(second.held, second.service, np.nan)
    blind = replace(second, service=unknown)
    runs = [SIMULATOR.recorded(blind, fitted, seed).outcome for seed in range(20)]
    for take, tolerance in (
        (np.mean, 0.10),
        (np.median, 0.10),
        (lambda x: np.quantile(x, 0.99), 0.20),
    ):
        predicted = np.mean([take(run) for run in runs])
        assert predicted == pytest.approx(take(second.outcome), rel=tolerance)


@settings(max_examples=20)
@given(cut=st.floats(0.1, 0.9), seed=st.integers(0, 50), workers=st.integers(1, 3))
def test_a_window_goes_on_from_what_was_recorded(cut: float, seed: int, workers: int) -> None:
    rng = np.random.default_rng(seed)
    trace = jobs(poisson(2.0 * workers, 300, seed), rng.exponential(0.45, 300))
    fitted = calibration(workers)
    fcfs = baseline_policy("fcfs", scheduler)
    whole: Any = fcfs.replay(SIMULATOR, trace, fitted, 0)
    told = replace(trace, begun=whole.course.begun, latency_ms=np.minimum(whole.outcome, 60_000.0))
    window = told.window(cut * trace.span_s, np.inf)
    later = fcfs.replay(SIMULATOR, window, fitted, 0)
    assert np.allclose(later.outcome, whole.outcome[-len(window) :], rtol=1e-9)
    summary = later.summary()
    assert all(each.holds(summary) for each in scheduler.invariants)
    assert window.held.sum() <= workers


def overloaded(policy: str = "fcfs") -> tuple[JobTrace, Any]:
    """Return a recording in which more and more jobs wait, and its calibration."""
    rng = np.random.default_rng(7)
    trace = jobs(poisson(3.0, 1200, 7), rng.exponential(0.4, 1200))
    whole: Any = baseline_policy(policy, scheduler).replay(SIMULATOR, trace, calibration(1), 0)
    told = {"begun": whole.course.begun, "latency_ms": np.minimum(whole.outcome, 60_000.0)}
    return replace(trace, **told), calibration(1)


def test_nobody_gains_by_making_those_wait_who_came_before_a_window() -> None:
    """Last come, first served only moves the waiting to others: all of them count."""
    trace, fitted = overloaded()
    late = trace.window(0.75 * trace.span_s, np.inf)
    assert (late.arrival < late.since).sum() > 20  # they waited already, and count
    last = SIMULATOR.stream(late, fitted, 0)
    newest = drive_to_end(last, lambda rows: len(rows) - 1)
    oldest = baseline_policy("fcfs", scheduler).replay(SIMULATOR, late, fitted, 0)
    total = [float(each.course.latency_s.sum()) for each in (newest, oldest)]  # type: ignore[attr-defined]
    assert total[0] >= 0.9 * total[1]
    arrived = late.time >= late.since
    assert newest.outcome[arrived].mean() < 0.7 * oldest.outcome[arrived].mean()  # alone they would


@pytest.mark.parametrize("cut", [0.2, 0.75])
def test_no_policy_beats_the_bound_on_a_window_either(cut: float) -> None:
    trace, fitted = overloaded()
    late = trace.window(cut * trace.span_s, np.inf)
    bound = SIMULATOR.bound(late, fitted, 0)
    assert bound > 0.0
    for name in scheduler.baselines:
        replay = baseline_policy(name, scheduler).replay(SIMULATOR, late, fitted, 0)
        assert replay.mean >= bound * (1.0 - 1e-9), name


def test_windows_of_a_workload_without_outcomes_begin_with_nothing_to_do() -> None:
    trace = jobs(poisson(2.0, 300), np.full(300, 0.6))
    window = trace.window(20.0, np.inf)
    assert window.arrival[0] == window.since
    assert not window.held.any()
    assert not trace.recorded
    assert len(trace.rows(slice(0, 0))) == 0


def test_a_trace_is_saved_and_loaded(tmp_path: Path) -> None:
    trace = job_trace(served(n=400).stored(tmp_path), HOOK)
    trace.save(tmp_path / "t.npz")
    assert JobTrace.load(tmp_path / "t.npz").digest == trace.digest
    assert opened(tmp_path / "t.npz")[1].incumbent.name == "recorded"


def test_processes_have_queues_of_their_own(tmp_path: Path) -> None:
    one, other = served(n=400, seed=1), served(n=400, seed=2)
    one.stored(tmp_path, "0" * 16)
    trace = job_trace(other.stored(tmp_path, "1" * 16), HOOK)
    assert len(trace) == 800
    assert np.bincount(trace.instance).tolist() == [400, 400]
    assert SIMULATOR.calibrate(trace).workers.tolist() == [2, 2]
    assert fidelity(trace, RecordedPolicy(), SIMULATOR, replicas=2).answer == "ok"


def test_jobs_that_still_waited_are_cut_off_or_counted(tmp_path: Path) -> None:
    service = Service(workers=1)
    size_ms = np.full(1200, 20.0)
    service.run(poisson(52.0, 1200), size_ms, fcfs, until=20.0)
    trace = job_trace(service.stored(tmp_path), HOOK)
    assert trace.unserved == 0  # they arrived last
    large = np.where(np.arange(1200) % 80 == 0, 600.0, 20.0)
    starving = Service(workers=1)
    starving.run(poisson(60.0, 1200), large, sjf, until=18.0)
    left = job_trace(starving.stored(tmp_path / "s"), HOOK)
    assert 0 < left.unserved <= 0.05 * len(left)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "by place": ({"named": False}, "name of its own"),
    "sampled": ({"every": 2}, "whole time windows"),
    "short": ({"n": 150}, "150 jobs"),
    "zero size": ({"zero": True}, "size_ms of a job of trace 'pool.next' is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_recording_that_no_replay_can_be_faithful_to_is_refused(
    tmp_path: Path, case: str
) -> None:
    given, message = REFUSED[case]
    service = served(n=given.get("n", 600), named=given.get("named", True))
    if "every" in given:
        service.records = service.records[:: given["every"]]
    if "zero" in given:
        decided, outcome = service.records[5]
        at = decided.action * 7 + 1
        features = (*decided.features[:at], 0.0, *decided.features[at + 1 :])
        service.records[5] = (decided._replace(features=features), outcome)
    with pytest.raises(TraceError, match=message):
        job_trace(service.stored(tmp_path), HOOK)


def test_many_starved_jobs_are_refused(tmp_path: Path) -> None:
    size_ms = np.where(np.arange(1500) % 5 == 0, 400.0, 10.0)
    service = Service(workers=1)
    service.run(poisson(60.0, 1500), size_ms, sjf, until=20.0)
    with pytest.raises(TraceError, match="still waited when the recording ended"):
        job_trace(service.stored(tmp_path), HOOK)


def test_a_pause_and_another_policy_end_a_stretch(tmp_path: Path) -> None:
    service = served(n=900)
    service.records = [
        (decided._replace(policy="f" * 64 if decided.seq < 300 else "incumbent"), outcome)
        for decided, outcome in service.records
    ]
    trace = job_trace(service.stored(tmp_path), HOOK)
    assert len(trace) == 600


def arrivals(store: TraceStore, given: list[tuple[float, ...]]) -> TraceStore:
    names = ("size_ms", "priority", "deadline_ms")
    events = [
        Workload(seq, START_NS + round(row[0] * 1e9), "arrival",
                 (("job", str(seq)), *zip(names, row[1:], strict=True)))
        for seq, row in enumerate(given)
    ]  # fmt: skip
    about = Source("0" * 16, "pool", HOOK, scheduler.name, scheduler.version)
    store.write(tables(about, Joined(workload=events)), "part")
    return store


def test_arrivals_alone_are_a_workload_without_outcomes(tmp_path: Path) -> None:
    rows = [(at * 0.01, 5.0 + at % 7, 1.0, 86_400_000.0 if at % 2 else 80.0) for at in range(300)]
    trace: Any = load_trace(arrivals(TraceStore(tmp_path), rows).files.root, HOOK)
    assert (len(trace), trace.recorded) == (300, False)
    assert np.isinf(trace.due[1])
    assert trace.due[0] - trace.arrival[0] == pytest.approx(0.08)
    fitted = SIMULATOR.calibrate(trace)
    replay = baseline_policy("edf", scheduler).replay(SIMULATOR, trace, fitted, 0)
    assert (replay.outcome >= trace.size_ms - 1e-6).all()
    assert opened(tmp_path)[1].incumbent.name == "fcfs"


@pytest.mark.parametrize(
    ("value", "message"), [(-1.0, "size_ms of a job of trace 'pool.next' is -1"), (0.0, "is 0")]
)
def test_a_workload_of_impossible_sizes_is_refused(
    tmp_path: Path, value: float, message: str
) -> None:
    rows = [(at * 0.01, 5.0 if at else value, 1.0, 80.0) for at in range(300)]
    with pytest.raises(TraceError, match=message):
        job_trace(arrivals(TraceStore(tmp_path), rows), HOOK)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TraceError, match="not in order of time"):
        jobs([1.0, 0.5], [1.0, 1.0])
    with pytest.raises(TraceError, match="is not 2 long"):
        jobs([0.0, 1.0], [1.0, 1.0], priority=np.ones(3))
    with pytest.raises(TraceError, match="service time of trace 'pool.next' is -2 s"):
        jobs([0.0, 1.0], [1.0, -2.0], size_ms=np.ones(2))
    with pytest.raises(TraceError, match="unknown processes"):
        jobs([0.0, 1.0], [1.0, 1.0], instance=np.array([0, 1], np.int32))
    assert len(jobs([1.0, 1.0, 1.0], [1.0] * 3)) == 3  # at the same time is no error
