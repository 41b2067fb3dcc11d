"""Logs of batch systems: what a line says comes out as a job, or is counted, or refused."""

from __future__ import annotations

import gzip
import heapq
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gnomon.commands import traces as command
from gnomon.policies.scheduler import scheduler
from gnomon.recorder.importers import ImportedJobs, JobRequest, _swf, import_jobs
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators.scheduler.simulator import SchedulerSimulator
from gnomon.shadow.traces.job_trace import JobTrace, job_trace

SIMULATOR = SchedulerSimulator()
HEAD = "; Version: 2.2\n; UnixStartTime: 1000000000\n;MaxProcs:   4\n; Note: caf\xe9 MaxProcs: 9\n"


def line(submit: Any = 0, wait: Any = 0, run: Any = 5, **given: Any) -> str:
    """Return a line of a job of one processor that completed."""
    said = {"procs": 1, "asked_procs": 1, "asked": 10, "status": 1} | given
    words = (
        1, submit, wait, run, said["procs"], -1, -1, said["asked_procs"], said["asked"], -1,
        said["status"], 3, 1, -1, 1, -1, -1, -1,
    )  # fmt: skip
    return "  ".join(str(word) for word in words)


def many(n: int = 200) -> list[str]:
    return [line(at) for at in range(n)]


def taken(folder: Path, lines: list[str], name: str = "log.swf", **request: Any) -> ImportedJobs:
    """Import these lines below a header into the store ``traces``."""
    content = (request.pop("head", HEAD) + "\n".join(lines)).encode("latin-1")
    content = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)(content)
    (folder / name).write_bytes(content)
    return import_jobs(
        TraceStore(folder / "traces"), JobRequest(folder / name, "batch.next", **request)
    )


def read(folder: Path) -> JobTrace:
    return job_trace(TraceStore(folder / "traces"), "batch.next")


def test_the_names_of_the_kind_are_those_of_the_contract(tmp_path: Path) -> None:
    assert _swf._KIND == (scheduler.name, scheduler.version)
    assert scheduler.objective.clip == _swf._CLIP_MS
    taken(tmp_path, many(3))
    fields = {each.name: set(each.fields) for each in scheduler.workload}
    for row in TraceStore(tmp_path / "traces").workload("batch.next").to_pylist():
        said = dict(row["numbers"] or ()) | dict(row["texts"] or ())
        assert said.keys() == fields[row["event"]]


@pytest.mark.parametrize("name", ["log.swf", "log.swf.gz", "log.swf.xz"])
def test_what_a_log_says_is_read_as_a_trace(tmp_path: Path, name: str) -> None:
    lines = [line(2 * at, at % 3, 1 + at % 5, asked=at % 7 or -1) for at in range(300)]
    found = taken(tmp_path, lines, name)
    assert (found.jobs, found.measured, found.workers, found.span_s) == (300, 300, 4, 598.0)
    assert (found.unsized, found.failed, found.clipped, found.turned_back) == (43, 0, 0, 0)
    trace, at = read(tmp_path), np.arange(300)
    assert (trace.start_ns, trace.workers, trace.recorded) == (10**18, (4,), True)
    assert trace.arrival == pytest.approx(2.0 * at)
    assert trace.begun - trace.arrival == pytest.approx(at % 3)
    assert trace.service == pytest.approx(1 + at % 5)
    asked = np.where(at % 7, at % 7, (at % 7).sum() / 257)
    assert trace.size_ms == pytest.approx(asked * 1e3)
    assert trace.latency_ms == pytest.approx((at % 3 + 1 + at % 5) * 1e3)
    assert np.isinf(trace.due).all() and trace.ok.all() and (trace.priority == 1.0).all()


def in_order(arrival: np.ndarray, service: np.ndarray, workers: int) -> np.ndarray:
    """Return the waits, seconds, of jobs that are run in order of arrival."""
    free, waits = [0.0] * workers, []
    for at, takes in zip(arrival.tolist(), service.tolist(), strict=True):
        begun = max(at, free[0])
        heapq.heapreplace(free, begun + takes)
        waits.append(round(begun - at, 6))
    return np.array(waits)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_queue_in_order_of_arrival_is_reproduced(tmp_path: Path, workers: int) -> None:
    rng = np.random.default_rng(workers)
    arrival = np.round(np.cumsum(rng.exponential(2.5 / workers, 1500)), 3)
    service = np.round(rng.exponential(2.0, 1500) + 0.001, 3)
    waits = in_order(arrival, service, workers)
    rows = zip(arrival, waits, service, strict=True)
    lines = [line(*row, asked=row[2]) for row in rows]
    taken(tmp_path, lines, workers=workers)
    trace = read(tmp_path)
    fcfs, sjf = (baseline_policy(name, scheduler) for name in ("fcfs", "sjf"))
    replay = fcfs.replay(SIMULATOR, trace, SIMULATOR.calibrate(trace), 0)
    assert replay.extra["wait_ms"] == pytest.approx(waits * 1e3, abs=0.1)
    assert SIMULATOR.incumbent(trace) == "recorded"
    for policy in (fcfs, RecordedPolicy()):
        assert fidelity(trace, policy, SIMULATOR, replicas=2).answer == "ok"
    assert fidelity(trace, sjf, SIMULATOR, replicas=2).answer != "ok"


def test_workers_are_saved_and_change_no_digest_where_they_are_unknown(tmp_path: Path) -> None:
    taken(tmp_path, many())
    trace = read(tmp_path)
    silent = replace(trace, workers=())
    for each in (trace, silent):
        each.save(tmp_path / "saved.npz")
        loaded = JobTrace.load(tmp_path / "saved.npz")
        assert (loaded.workers, loaded.digest) == (each.workers, each.digest)
    assert trace.digest != silent.digest
    assert "workers" in trace._head() and "workers" not in silent._head()
    for wrong in ((0,), (1, 1)):
        with pytest.raises(TraceError, match="numbers of workers for 1 processes"):
            replace(trace, workers=wrong)


def test_where_no_wait_is_known_run_times_and_workers_still_are(tmp_path: Path) -> None:
    found = taken(tmp_path, [line(at, -1, 7, asked=-1) for at in range(300)], workers=8)
    assert (found.measured, found.unsized) == (0, 300)
    trace = read(tmp_path)
    assert (trace.recorded, SIMULATOR.incumbent(trace)) == (False, "baseline:fcfs")
    assert trace.size_ms == pytest.approx(np.full(300, 7000.0))
    fitted = SIMULATOR.calibrate(trace)
    replay = baseline_policy("fcfs", scheduler).replay(SIMULATOR, trace, fitted, 0)
    assert replay.outcome == pytest.approx(np.full(300, 7000.0))  # 7 are busy at a time, of 8
    assert SIMULATOR.draws(trace, 1, 0)[0].workers.tolist() == [8]


def test_what_is_no_job_of_one_processor_is_counted(tmp_path: Path) -> None:
    odd = [
        line(procs=2), line(procs=-1, asked_procs=16), line(procs=-1, asked_procs=-1),
        line(run=0, status=5), line(run=-1), line(-1), line(status=2), line(status=3),
        line(status=4), line(900, run=6, status=5), line(901, run=6, status=0),
        line(902, procs=-1), line(903, status=-1), line(899),
    ]  # fmt: skip
    found = taken(tmp_path, [*many(), *odd, "", "; a comment at the end"])
    assert (found.jobs, found.failed, found.turned_back) == (205, 2, 1)
    left = (found.several, found.uncounted, found.never_ran, found.parts, found.undated)
    assert left == (2, 1, 2, 3, 1)
    trace = read(tmp_path)
    assert trace.arrival[-5:].tolist() == [899.0, 900.0, 901.0, 902.0, 903.0]
    assert trace.ok[-5:].tolist() == [True, False, False, True, True]


def test_processors_can_be_ignored_times_divided_and_jobs_limited(tmp_path: Path) -> None:
    lines = [line(100 * at, 50, 200, procs=16) for at in range(300)]
    request = {"processors": "ignore", "speedup": 100.0, "limit": 250}
    found = taken(tmp_path, lines, **request)
    assert (found.jobs, found.several, found.clipped, found.span_s) == (250, 0, 0, 249.0)
    trace = read(tmp_path)
    assert (trace.service[0], trace.size_ms[0], trace.latency_ms[0]) == (2.0, 100.0, 2500.0)
    assert trace.arrival[:2].tolist() == [0.0, 1.0]


def test_latencies_that_the_objective_does_not_tell_apart_are_counted(tmp_path: Path) -> None:
    assert taken(tmp_path, [*many(), line(run=61), line(wait=-1, run=3600)]).clipped == 2
    assert read(tmp_path).outcome[np.isfinite(read(tmp_path).outcome)].max() == 60_000.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("1 2 3", "line 205 of .* has 3 fields, not 18"),
        (line() + " 7", "has 19 fields, not 18"),
        (line("soon"), "line 205 of .* is no job .*soon"),
        (line("\xff\x1b[31m"), "is no job"),
        (line("nan"), "has a value that is infinite"),
        (line(run="inf"), "has a value that is infinite"),
        (line(1e300), "a time beyond 1e[+]09 s"),
        (line(asked=1e12), "a time beyond"),
        ("7" * 70_000, "a line of more than 64 KiB|has 1 fields"),
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number(
    tmp_path: Path, bad: str, message: str
) -> None:
    with pytest.raises(TraceError, match=message) as refused:
        taken(tmp_path, [*many(), bad])
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
    assert not (tmp_path / "traces").exists()


@given(st.binary(max_size=300))
def test_no_file_makes_anything_but_a_clear_error(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "log").write_bytes(content)
        with pytest.raises(TraceError):
            import_jobs(TraceStore(Path(name) / "t"), JobRequest(Path(name) / "log", "x"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"limit": 0}, "a limit of 0 jobs"),
        ({"workers": 0}, "workers=0: nobody"),
        ({"workers": 2**21}, "workers=2097152"),
        ({"processors": "all"}, "processors='all'"),
        ({"speedup": 0.0}, "speedup=0.0: times"),
        ({"speedup": float("nan")}, "speedup=nan"),
        ({"head": ""}, "says MaxProcs nowhere; give --set workers=N"),
        ({"head": "; MaxProcs: 99999999\n"}, "says MaxProcs 99999999"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        taken(tmp_path, many(), **request_)
    assert not (tmp_path / "traces").exists()


def test_times_beyond_every_clock_are_refused(tmp_path: Path) -> None:
    head = "; MaxProcs: 4\n; UnixStartTime: 999999999999\n"
    for wrong in ({"head": head}, {"speedup": 1e-6}):
        with pytest.raises(TraceError, match="s after 1970, which no clock shows"):
            taken(tmp_path, [*many(), line(10**6)], **wrong)


def test_a_log_without_jobs_and_a_hook_that_exists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no jobs that can be taken \(1 left out\)"):
        taken(tmp_path, [line(procs=64)])
    taken(tmp_path, many())
    with pytest.raises(TraceError, match="holds a hook 'batch.next' already"):
        taken(tmp_path, many())
    with pytest.raises(TraceError, match="no file"):
        import_jobs(TraceStore(tmp_path / "traces"), JobRequest(tmp_path / "none", "other"))


def test_the_command_imports_and_says_what_it_came_to(tmp_path: Path) -> None:
    lines = [*many(), line(procs=8), line(5, run=99, asked=-1)]
    (tmp_path / "t.swf").write_text(HEAD + "\n".join(lines), "latin-1")
    app = typer.Typer()
    command.register(app)
    words = ["traces", "import", "swf", str(tmp_path / "t.swf"), "--hook", "batch.next", "--out"]
    one, two, three = (str(tmp_path / name) for name in ("one", "two", "three"))
    ran = CliRunner().invoke(app, [*words, one, "--set", "workers=2", "--json"])
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert (said["jobs"], said["several"], said["workers"]) == (201, 1, 2)
    shown = " ".join(CliRunner().invoke(app, [*words, two]).stdout.split())
    assert "201 jobs over 199.000 s" in shown
    assert "1 lines left out: of several processors" in shown
    assert "1 jobs come after a later one" in shown
    assert "1 jobs asked for no time" in shown
    assert "1 latencies are beyond 60 s" in shown
    for setting in ("workers=many", "seats=4"):
        bad = CliRunner().invoke(app, [*words, three, "--set", setting])
        assert (bad.exit_code, "is no setting of a log" in bad.output) == (2, True)
