"""Replaying queues before workers: ours compiled, the same loop in plain Python, and SimPy, on one workload.

Poisson arrivals at 0.95 of what eight workers can serve, exponential service of 1 s. The whole queue is
scored again at every dispatch. Three scores, as in ``SCORES``; what counts is the geometric mean of their
rates, checks and fuel compiled in, everything from the trace to the replay's arrays included. The plain loop
must answer exactly as the compiled one, or the comparison is refused. The LLM server's rate is of steps.
"""

from __future__ import annotations

import heapq
import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import numpy as np
from results import Peer, Row

from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.policies.scheduler import scheduler
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.llm_scheduler.fit import ASSUMED
from gnomon.shadow.simulators.llm_scheduler.kernel import STEPS
from gnomon.shadow.simulators.llm_scheduler.simulator import LlmCalibration
from gnomon.shadow.simulators.scheduler.simulator import SchedulerCalibration
from gnomon.shadow.traces.job_trace import JobTrace, RequestTrace

WORKERS = 8
LOAD = 0.95
TARGET_PER_S = 8e6
SCORES = {
    "fcfs": "def score(wait_ms):\n    return -wait_ms\n",
    "sjf": "def score(size_ms):\n    return size_ms\n",
    "aging": (
        "def score(wait_ms, size_ms, priority, slack_ms):\n"
        "    s = size_ms / (1.0 + 0.0002 * wait_ms)\n"
        "    if slack_ms < 2000.0:\n        s *= 0.5\n    return s - 0.1 * priority\n"
    ),
}


def workload(jobs: int, workers: int = WORKERS) -> JobTrace:
    """Return jobs of known service times, with priorities and deadlines."""
    rng = np.random.default_rng(0)
    arrival = np.cumsum(rng.exponential(1.0 / (LOAD * workers), jobs))
    service = rng.exponential(1.0, jobs)
    unknown = np.full(jobs, np.nan)
    return JobTrace(
        hook="bench.next",
        kind=scheduler.name,
        start_ns=1_700_000_000_000_000_000,
        instances=("0" * 16,),
        since=-np.inf,
        unserved=0,
        arrival=arrival,
        instance=np.zeros(jobs, np.int32),
        held=np.zeros(jobs, np.bool_),
        size_ms=service * 1e3,
        priority=rng.integers(1, 4, jobs).astype(np.float64),
        due=arrival + 10.0 * service,
        begun=unknown,
        service=service,
        latency_ms=unknown,
        ok=np.ones(jobs, np.bool_),
    )


def calibration(workers: int = WORKERS) -> SchedulerCalibration:
    """Return workers that take no time to dispatch to."""
    ones = np.ones(1)
    count = np.full(1, workers, np.int64)
    return SchedulerCalibration(count, ones, ones, np.zeros(1), np.zeros(1, np.bool_))


def compiled_rate(trace: JobTrace, source: str, repeats: int) -> list[float]:
    """Return jobs per CPU second of the calling thread, compiling left out, one per repeat."""
    simulator, fitted = simulator_for(scheduler), calibration()
    score = compile_score(check(source, scheduler.input_names))
    simulator.compiled(trace.rows(slice(0, 100)), fitted, 0, score)
    return [
        len(trace) / _seconds(lambda: simulator.compiled(trace, fitted, 0, score))
        for _ in range(repeats)
    ]


def plain_rate(trace: JobTrace, source: str) -> float:
    """Return jobs per CPU second of the plain loop; raises ValueError when it answers otherwise."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - a constant of this module
    inputs = source.partition("(")[2].partition(")")[0].split(", ")
    answered: list[float] = []
    spent = _seconds(lambda: answered.extend(_plain(trace, names["score"], inputs)))
    score = compile_score(check(source, scheduler.input_names))
    ours = simulator_for(scheduler).compiled(trace, calibration(), 0, score)
    if not np.array_equal(np.minimum(answered, scheduler.objective.clip), ours.outcome):
        raise ValueError("the plain loop and the compiled replay differ; correct one of them")
    return len(trace) / spent


def _plain(trace: JobTrace, score: Callable[..., float], inputs: Sequence[str]) -> list[float]:
    """Return latencies in ms: every queued job scored at every dispatch, the lowest picked."""
    arrival, service = trace.arrival.tolist(), trace.service.tolist()
    size, priority, due = trace.size_ms.tolist(), trace.priority.tolist(), trace.due.tolist()
    seen: dict[str, Callable[[float, int], float]] = {
        "wait_ms": lambda now, job: (now - arrival[job]) * 1e3,
        "size_ms": lambda _now, job: size[job],
        "priority": lambda _now, job: priority[job],
        "slack_ms": lambda now, job: (due[job] - now) * 1e3,
    }
    read = [seen[name] for name in inputs]
    free, queue, coming = [-np.inf] * WORKERS, list[int](), 0
    latencies = [0.0] * len(arrival)
    while coming < len(arrival) or queue:
        now = max(free[0], arrival[queue[0] if queue else coming])
        while coming < len(arrival) and arrival[coming] <= now:
            queue.append(coming)
            coming += 1
        scores = [score(*[each(now, job) for each in read]) for job in queue]
        job = queue.pop(scores.index(min(scores)))
        heapq.heapreplace(free, now + service[job])
        latencies[job] = (now + service[job] - arrival[job]) * 1e3
    return latencies


def simpy_rate(trace: JobTrace) -> float | None:
    """Return jobs per CPU second of SimPy's priority resource, shortest first; None where it is missing."""
    try:
        simpy = importlib.import_module("simpy")
    except ImportError:
        return None
    environment = simpy.Environment()
    workers = simpy.PriorityResource(environment, capacity=WORKERS)

    def job(seconds: float) -> Any:
        with workers.request(priority=seconds) as worker:
            yield worker
            yield environment.timeout(seconds)

    def arrivals() -> Any:
        for now, seconds in zip(trace.arrival.tolist(), trace.service.tolist(), strict=True):
            yield environment.timeout(now - environment.now)
            environment.process(job(seconds))

    environment.process(arrivals())
    return len(trace) / _seconds(environment.run)


def llm_rate(requests: int, repeats: int) -> list[float]:
    """Return steps per CPU second of an LLM server under first come, first served, one per repeat."""
    rng = np.random.default_rng(0)
    unknown = np.full(requests, np.nan)
    trace = RequestTrace(
        hook="bench.admit",
        kind=llm_scheduler.name,
        start_ns=1_700_000_000_000_000_000,
        instances=("0" * 16,),
        since=-np.inf,
        unserved=0,
        engine=(2048, 128, 4000, 16, 2),
        arrival=np.cumsum(rng.exponential(0.1, requests)),
        instance=np.zeros(requests, np.int32),
        held=np.zeros(requests, np.bool_),
        prompt=rng.integers(50, 2000, requests),
        output=rng.integers(10, 500, requests),
        expected=np.full(requests, 250.0),
        priority=np.ones(requests),
        due=np.full(requests, np.inf),
        admitted=unknown,
        answered=unknown,
        done=unknown,
        latency_ms=unknown,
        ok=np.ones(requests, np.bool_),
    )
    simulator: Any = simulator_for(llm_scheduler)
    fitted = LlmCalibration(np.array(trace.engine, np.int64), ASSUMED, np.zeros(1))
    score = compile_score(check(SCORES["fcfs"], llm_scheduler.input_names))
    (course,) = simulator.compiled(trace, fitted, 0, score).courses
    steps = int(course.state.cursor[STEPS])
    return [
        steps / _seconds(lambda: simulator.compiled(trace, fitted, 0, score))
        for _ in range(repeats)
    ]


def rows(jobs: int = 500_000, slow: int = 20_000, repeats: int = 5) -> list[Row]:
    """Return the figures: each score, their geometric mean, beside plain Python and SimPy.

    Args:
        jobs: of a compiled replay.
        slow: of the plain loop and of SimPy.
        repeats: of each compiled replay.
    """
    trace, short = workload(jobs), workload(slow)
    rates = {name: compiled_rate(trace, source, repeats) for name, source in SCORES.items()}
    plain = {name: plain_rate(short, source) for name, source in SCORES.items()}
    made = [
        _row(name, rates[name], None, Peer("plain Python", python_version(), plain[name]))
        for name in SCORES
    ]
    together = [statistics.geometric_mean(each) for each in zip(*rates.values(), strict=True)]
    slowly = Peer("plain Python", python_version(), statistics.geometric_mean(plain.values()))
    made.append(_row("geometric mean", together, TARGET_PER_S, slowly))
    simulated = simpy_rate(short)
    peer = Peer("SimPy", _version("simpy"), simulated) if simulated else None
    note = "" if peer else "SimPy is not installed"
    made.append(_row("sjf, beside SimPy", rates["sjf"], None, peer, note))
    steps = llm_rate(max(200, jobs // 250), repeats)
    spread = (min(steps), max(steps))
    name = "llm_scheduler, 128 seats: steps of the engine"
    return [*made, Row(name, statistics.median(steps), "steps/s", "higher", None, spread)]


def _seconds(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return max(time.thread_time() - begin, 1e-9)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _row(
    name: str, values: Sequence[float], target: float | None, peer: Peer | None, note: str = ""
) -> Row:
    return Row(
        f"scheduler, {WORKERS} workers, load {LOAD}: {name}",
        statistics.median(values),
        "jobs/s",
        "higher",
        target,
        (min(values), max(values)),
        peer,
        note,
    )
