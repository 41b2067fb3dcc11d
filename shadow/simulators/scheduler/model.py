"""The scheduler's parameters, how they are fitted, and how a replay starts from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.scheduler import scheduler
from ....sdk.errors import TraceError
from ...traces.job_trace import JobTrace
from ..base import FloatArray, IntArray, Replay
from ..fitted import Fitted
from ..native import native
from . import kernel
from .laws import Course, JobSummary, summary_of

CLIP_MS = scheduler.objective.clip
QUANTILES = 64
#: Without a recording nobody knows how many workers there are.
UNKNOWN_WORKERS = 1


@dataclass(frozen=True, eq=False)
class SchedulerCalibration(Fitted):
    """Fitted parameters of p processes.

    Attributes:
        workers: of each process, i8[p].
        scale: factor on the recorded service times, f8[1].
        ratio: quantiles of service time over size, for jobs whose service time was not recorded, f8[k].
        gap_s: quantiles of what a dispatch takes, seconds, f8[k].
        late_fails: whether a job that misses its deadline counts as failed, bool[1].
    """

    workers: IntArray
    scale: FloatArray
    ratio: FloatArray
    gap_s: FloatArray
    late_fails: npt.NDArray[np.bool_]

    def describe(self) -> dict[str, Any]:
        """Return the parameters as JSON values."""
        return {
            "workers": self.workers.tolist(),
            "service_scale": round(float(self.scale[0]), 4),
            "service_over_size": round(float(self.ratio.mean()), 4),
            "dispatch_ms": round(float(self.gap_s.mean()) * 1e3, 4),
            "late_jobs_fail": bool(self.late_fails[0]),
        }


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> SchedulerCalibration:
    """Return the calibration that was written as these arrays."""
    return SchedulerCalibration(**dict(arrays))


def mixed_seed(seed: int) -> np.uint64:
    """Spread a small seed over 64 bits."""
    return np.uint64(int.from_bytes(hashlib.sha256(b"sched%d" % seed).digest()[:8], "little"))


# --- fitting --------------------------------------------------------------------------------------


def fitted(trace: JobTrace) -> SchedulerCalibration:
    """Return the parameters of a recording; those of an import are what it says, which may be nothing.

    Raises:
        TraceError: no job was run to its end.
    """
    known = np.flatnonzero(~np.isnan(trace.service))
    if not np.isfinite(trace.begun).any():
        ones = np.ones(1)
        unknown = (UNKNOWN_WORKERS,) * len(trace.instances)
        workers = np.array(trace.workers or unknown, np.int64)
        return SchedulerCalibration(workers, ones, ones, np.zeros(1), np.zeros(1, np.bool_))
    if not len(known):
        raise TraceError(
            f"no job of {trace.hook!r} was recorded to its end; report an outcome of every decision"
        )
    counts = trace.workers or [_workers(trace, p) for p in range(len(trace.instances))]
    workers = np.array(counts, np.int64)
    return _parameters(trace, workers, known)


def drawn(trace: JobTrace, fit: SchedulerCalibration, rng: np.random.Generator) -> Any:
    """Return the parameters fitted to blocks of time drawn with replacement."""
    known = np.flatnonzero(~np.isnan(trace.service))
    if not len(known):
        return fit
    block = ((trace.arrival[known] - trace.arrival[known[0]]) / trace.block_s).astype(np.int64)
    groups = np.split(known, np.flatnonzero(np.diff(block)) + 1)
    rows = np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))])
    return _parameters(trace, fit.workers, rows)


def _parameters(trace: JobTrace, workers: IntArray, rows: IntArray) -> SchedulerCalibration:
    known = ~np.isnan(trace.service)
    gaps = _gaps(trace, workers)
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    ratio = trace.service * 1e3 / trace.size_ms
    late = trace.arrival + trace.latency_ms / 1e3 > trace.due
    usual = _work(trace, np.flatnonzero(known))
    return SchedulerCalibration(
        workers=workers,
        scale=np.array([_work(trace, rows) / usual]),
        ratio=np.quantile(ratio[rows], at),
        gap_s=np.quantile(gaps[rows], at) if gaps[rows].any() else np.zeros(1),
        late_fails=np.array([bool(late.any() and (~trace.ok[late]).mean() > 0.5)]),
    )


def _work(trace: JobTrace, rows: IntArray) -> float:
    """Return the service time per expected work: a draw of large jobs is no draw of slow ones."""
    return float(trace.service[rows].sum() * 1e3 / trace.size_ms[rows].sum())


def _workers(trace: JobTrace, process: int) -> int:
    """Return how many workers explain best when jobs were dispatched.

    With too few of them jobs begin before a worker is free, with too many they wait beside an idle one.
    Counting the jobs that were run at once gives too many: a worker takes its next job before the last one
    is said to be done.
    """
    begun, service, oldest = _in_turn(trace, process)
    if not len(begun):
        return UNKNOWN_WORKERS
    ends = np.sort(begun + service)
    most = int((np.arange(1, len(begun) + 1) - np.searchsorted(ends, begun, side="right")).max())
    counts = range(max(1, most // 2), max(1, most) + 1)
    return min(counts, key=lambda count: _unexplained(begun, service, oldest, count))


def _in_turn(trace: JobTrace, process: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return dispatches, service times and the oldest job that waited, of a process, in turn."""
    own = np.flatnonzero((trace.instance == process) & np.isfinite(trace.begun))
    own = own[np.argsort(trace.begun[own], kind="stable")]
    service: FloatArray = np.nan_to_num(trace.service[own], nan=0.0)
    return trace.begun[own], service, _oldest(trace.arrival[own])


def _unexplained(begun: FloatArray, service: FloatArray, oldest: FloatArray, count: int) -> float:
    return float(np.abs(_since_due(begun, service, oldest, count)).sum())


def _gaps(trace: JobTrace, workers: IntArray) -> FloatArray:
    """Return, per job, the seconds from its dispatch being due to its being made, f8[n]."""
    gaps = np.zeros(len(trace.arrival))
    for process, count in enumerate(workers.tolist()):
        own = np.flatnonzero((trace.instance == process) & np.isfinite(trace.begun))
        own = own[np.argsort(trace.begun[own], kind="stable")]
        gaps[own] = np.maximum(_since_due(*_in_turn(trace, process), count), 0.0)
    return gaps


@native
def _oldest(arrival: Any) -> Any:
    """Return, per dispatch in turn, the arrival of the oldest job that was not dispatched before."""
    oldest = np.empty_like(arrival)
    least = np.inf
    for at in range(len(arrival) - 1, -1, -1):
        least = min(least, arrival[at])
        oldest[at] = least
    return oldest


@native
def _since_due(begun: Any, service: Any, oldest: Any, count: Any) -> Any:
    """Return, per dispatch, the seconds since it was due; below 0 where no worker was free yet."""
    since = np.zeros(len(begun))
    free = np.full(count, -np.inf)
    before = -np.inf
    for at in range(len(begun)):
        slot = int(np.argmin(free))
        since[at] = begun[at] - max(max(free[slot], oldest[at]), before)
        free[slot] = begun[at] + service[at]
        before = begun[at]
    return since


# --- replaying ------------------------------------------------------------------------------------


def model_of(trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> kernel.Model:
    """Return the constants of a replay; raises TraceError when the processes differ in number."""
    if len(calibration.workers) != len(trace.instances):
        raise TraceError(
            f"the calibration is of {len(calibration.workers)} processes, trace {trace.hook!r} has "
            f"{len(trace.instances)}; calibrate on this trace"
        )
    spread = mixed_seed(seed)
    rng = np.random.default_rng(int(spread))
    counts = np.bincount(trace.instance[~trace.held], minlength=len(trace.instances))
    return kernel.Model(
        arrival=trace.ordered(trace.arrival),
        service=trace.ordered(_service(trace, calibration, rng)),
        size_ms=trace.ordered(trace.size_ms),
        priority=trace.ordered(trace.priority),
        due=trace.ordered(trace.due),
        luck=rng.integers(0, 2**64, len(trace), np.uint64),
        edge=np.concatenate(([0], np.cumsum(counts))),
        workers=calibration.workers,
        gap=calibration.gap_s,
        busy=_busy(trace, calibration),
        since=trace.since,
        seed=spread,
    )


def _busy(trace: JobTrace, calibration: SchedulerCalibration) -> FloatArray:
    """Return until when each worker has a job that is held, seconds, -inf for none, f8[p, c]."""
    busy = np.full((len(trace.instances), int(calibration.workers.max(initial=1))), -np.inf)
    for process, workers in enumerate(calibration.workers.tolist()):
        held = trace.held & (trace.instance == process)
        until = np.sort(trace.begun[held] + trace.service[held] * calibration.scale[0])[-workers:]
        busy[process, : len(until)] = until
    return busy


def _service(
    trace: JobTrace, calibration: SchedulerCalibration, rng: np.random.Generator
) -> FloatArray:
    """Return the seconds that each job takes: as recorded, or drawn by its size where that is unknown."""
    service: FloatArray = trace.service * calibration.scale[0]
    unknown = np.flatnonzero(np.isnan(service))
    if len(unknown):
        ratio = rng.choice(calibration.ratio, len(unknown))
        service[unknown] = trace.size_ms[unknown] / 1e3 * ratio
    return service


def state_of(model: kernel.Model) -> kernel.State:
    """Return empty queues and idle workers."""
    n = len(model.arrival)
    return kernel.State(
        queue=np.empty(n, np.int64),
        value=np.empty(n),
        joined=np.zeros(n, np.int64),
        begun=np.full(n, np.nan),
        worker=np.zeros(n, np.int32),
        free=model.busy[0].copy(),
        cursor=np.zeros(kernel.PLACES, np.int64),
        clock=np.array([model.since, 0.0]),
    )


@dataclass(frozen=True, kw_only=True)
class JobReplay(Replay):
    """A replay that also knows what every job went through.

    Attributes:
        course: of all jobs, those before a window included.
        own: which of them count, in the order of the outcomes; an index.
        due: seconds when each job that counts is late, f8[n], where being late is a failure; else None.
    """

    course: Course
    own: Any
    due: FloatArray | None = None

    def summary(self) -> JobSummary:
        """Return the sums that the laws of queues relate."""
        return replace(summary_of(self.course), wrong_outcomes=self._wrong())

    def _wrong(self) -> int:
        """Count outcomes that are not what the job went through, and late jobs that count as a success."""
        taken = np.minimum(self.course.latency_s[self.own] * 1e3, CLIP_MS)
        if len(taken) != len(self.outcome):
            return len(taken)
        lost = ~self.ok & (self.outcome == CLIP_MS)
        wrong = ~lost & (self.outcome != taken)
        if self.due is not None:
            wrong |= self.ok & (self.course.done[self.own] > self.due)
        return int(wrong.sum())


def course_of(
    model: kernel.Model,
    begun: FloatArray,
    done: FloatArray,
    worker: npt.NDArray[np.int32] | None,
    dispatching_s: float,
) -> Course:
    """Return what the jobs went through."""
    return Course(
        model.arrival,
        begun,
        done,
        model.service,
        done - model.arrival,
        worker,
        model.edge,
        model.workers,
        np.maximum(model.busy, model.since),
        dispatching_s,
    )


class _WhenAsked(Mapping[str, FloatArray]):
    """Columns that are made when somebody asks for them: a search asks for none."""

    def __init__(self, made: Mapping[str, Callable[[], FloatArray]]) -> None:
        self._made = made

    def __getitem__(self, name: str) -> FloatArray:
        return self._made[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _places(trace: JobTrace, course: Course, fault: int) -> tuple[Any, Any]:
    """Return what takes, by arrival, what counts out of a course's columns, and out of the trace's."""
    if fault >= 0:
        own = trace.by_arrival[np.isfinite(course.begun[trace.by_arrival])]
        return own, trace.by_process[own]
    everything = slice(None)
    if trace.single:
        return everything, everything
    return trace.by_arrival, trace.by_process[trace.by_arrival]


def replay_of(
    trace: JobTrace, calibration: SchedulerCalibration, course: Course, fault: int
) -> JobReplay:
    """Return the replay of the jobs that count, in order of arrival; at a fault those that were run."""
    own, jobs = _places(trace, course, fault)
    latency_ms = course.latency_s[own] * 1e3
    ok, outcome = trace.ok[jobs], np.minimum(latency_ms, CLIP_MS)
    if not ok.all():
        lost = ~ok & (trace.latency_ms[jobs] >= CLIP_MS)
        outcome = np.where(lost, CLIP_MS, outcome)
        was_late = trace.arrival[jobs] + trace.latency_ms[jobs] / 1e3 > trace.due[jobs]
        ok = ok | (calibration.late_fails[0] & was_late & ~lost)
    if calibration.late_fails[0]:
        ok = ok & ~(course.done[own] > trace.due[jobs])
    return JobReplay(
        time=trace.arrival[jobs],
        outcome=outcome,
        ok=ok,
        action=np.zeros(len(outcome), np.int64),
        members=0,
        fault=fault,
        extra=_WhenAsked(
            {
                "wait_ms": lambda: (course.begun[own] - course.arrival[own]) * 1e3,
                "slowdown": lambda: course.latency_s[own] / course.service[own],
                "late": lambda: (course.done[own] > trace.due[jobs]).astype(np.float64),
            }
        ),
        course=course,
        own=own,
        due=trace.due[jobs] if calibration.late_fails[0] else None,
    )
