"""The simulator of the ``scheduler`` kind: recorded jobs before the workers in another order.

A job has its own arrival, size, weight, deadline and service time, which exist under any policy; what a
policy changes is when it is run. Fitted are the workers of each process, what dispatching takes, and how
service times relate to sizes where they are not known. Every draw is a function of seed and decision or
job, so that two policies meet the same luck.

Not modelled: service times that depend on what else is run, jobs that were in service when a recording
began, workers that come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.scheduler import scheduler
from ....recorder.store import TraceStore
from ....sdk.errors import ConfigurationError
from ....sdk.kind import Kind, Order
from ...traces.job_trace import JobTrace, job_trace
from ..base import FloatArray, Measure, Replay, Simulator, Stream, statistics
from ..native import first_class, reads
from ..queue_tables import tables_of
from . import kernel
from .bound import least_sum_ms
from .laws import JobSummary
from .model import (
    CLIP_MS,
    JobReplay,
    SchedulerCalibration,
    course_of,
    drawn,
    fitted,
    mixed_seed,
    model_of,
    replay_of,
    restore,
    state_of,
)
from .preemptive import processor_sharing, srpt

__all__ = ["JobReplay", "JobSummary", "SchedulerCalibration", "SchedulerSimulator"]

_ROWS = 256  # that a stream begins with
#: Inputs that are the same for a job at every decision.
_FIXED = ("size_ms", "priority")
_TIMED = tuple(name for name in scheduler.input_names if name not in _FIXED)

_Replayed = Callable[[JobTrace, SchedulerCalibration, int], Replay]


class SchedulerSimulator(Simulator):
    """Runs the recorded jobs in the order that another policy gives.

    Args:
        preemption_s: what an interruption adds to a job's work under ``srpt``, seconds.
    """

    trace_type = JobTrace

    def __init__(self, preemption_s: float = 0.0) -> None:
        if not 0.0 <= preemption_s < np.inf:
            raise ConfigurationError(
                f"an interruption that costs {preemption_s} s; give 0 or more seconds"
            )
        self._preemption_s = preemption_s
        self._built_in: dict[str, _Replayed] = {
            "weighted_fair": _weighted_fair,
            "srpt": self._srpt,
            "processor_sharing": _processor_sharing,
        }

    @property
    def kind(self) -> Kind:
        """``scheduler``."""
        return scheduler

    def load(self, stored: TraceStore, hook: str) -> JobTrace:
        """Read a hook's jobs from a store; raises TraceError when no replay could be faithful to them."""
        return job_trace(stored, hook)

    def incumbent(self, trace: Any) -> str:
        """Return ``recorded``; for an import, which records no policy, first come, first served."""
        return "recorded" if trace.recorded else "baseline:fcfs"

    def calibrate(self, trace: JobTrace) -> SchedulerCalibration:
        """Fit workers, dispatching and service times; raises TraceError when no job ran to its end."""
        return fitted(trace)

    def draws(self, trace: JobTrace, n: int, seed: int) -> tuple[SchedulerCalibration, ...]:
        """Return n calibrations from a bootstrap over blocks of time."""
        fit = fitted(trace)
        return tuple(
            drawn(trace, fit, np.random.default_rng((int(mixed_seed(seed)), index)))
            for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> SchedulerCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def measures(self, trace: JobTrace) -> tuple[Measure, ...]:
        """Return the latency's statistics: there are no members to have shares."""
        return statistics(scheduler)

    def observed(self, trace: JobTrace) -> FloatArray:
        """Return rows that decisions see, f8[n, m, 7]; raises TraceError where none had a choice."""
        return tables_of(self.stream(trace, self.calibrate(trace), 0), trace.hook)

    def stream(self, trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn, one process after the other."""
        model = model_of(trace, calibration, seed)
        state = state_of(model)
        rows = np.empty((_ROWS, kernel.INPUTS))
        while len(model.arrival) and kernel.advance(model, state):
            queued = kernel.observe(model, state, rows)
            if queued > len(rows):
                rows = np.empty((2 * queued, kernel.INPUTS))
                kernel.observe(model, state, rows)
            picked = yield rows[:queued]
            if not 0 <= picked < queued:
                return _replay(trace, calibration, model, state, int(state.cursor[kernel.ALL]))
            kernel.commit(model, state, picked)
        return _replay(trace, calibration, model, state, -1)

    def compiled(
        self,
        trace: JobTrace,
        calibration: SchedulerCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score of the kind's inputs; NaN is a fault."""
        model = model_of(trace, calibration, seed)
        state = state_of(model)
        sign = 1.0 if order == "lowest" else -1.0
        fault = -1
        if len(model.arrival):
            fault = kernel.run(model, state, first_class(score), sign, _reads(score))
        return _replay(trace, calibration, model, state, int(fault))

    def recorded(self, trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> Replay:
        """Replay the recorded order: of the jobs that wait, the one that was dispatched first.

        Raises:
            ConfigurationError: the trace holds no order.
        """
        if not np.isfinite(trace.begun).all():
            raise ConfigurationError(
                f"trace {trace.hook!r} records no dispatches; give --incumbent baseline:NAME"
            )
        model = model_of(trace, calibration, seed)
        state = state_of(model)
        kernel.run_ranked(model, state, trace.begun[trace.by_process])
        return _replay(trace, calibration, model, state, -1)

    def replay_built_in(
        self, name: str, trace: JobTrace, calibration: SchedulerCalibration, seed: int
    ) -> Replay:
        """Return a replay under ``weighted_fair``, ``srpt`` or ``processor_sharing``."""
        if name not in self._built_in:
            raise ConfigurationError(
                f"no built-in policy {name!r}; there are {', '.join(sorted(self._built_in))}"
            )
        return self._built_in[name](trace, calibration, seed)

    def _srpt(self, trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> Replay:
        model = model_of(trace, calibration, seed)
        expected = model.size_ms / 1e3
        begun, done = srpt(
            model.arrival, model.service, expected, model.edge, model.workers, self._preemption_s
        )
        return replay_of(trace, calibration, course_of(model, begun, done, None, 0.0), -1)

    def figures(self, trace: JobTrace, replay: Replay) -> dict[str, float]:
        """Return mean wait, mean slowdown, share of late jobs and jobs a second, where jobs were run."""
        span = max(trace.span_s, 1e-9)
        means = {name: float(values.mean()) for name, values in replay.extra.items() if len(values)}
        return {
            "wait_ms": means.get("wait_ms", np.nan),
            "slowdown": means.get("slowdown", np.nan),
            "late_share": means.get("late", np.nan),
            "jobs_per_s": len(replay.time) / span,
        }

    def bound(self, trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> float:
        """Return a mean latency in ms that no policy beats; see ``scheduler.bound``.

        Only the jobs that count take part, from their arrivals on: with others before them they could only
        be slower.
        """
        model = model_of(trace, calibration, seed)
        if not len(trace):
            return -np.inf
        return float(least_sum_ms(model, CLIP_MS).sum() / len(trace))


def _weighted_fair(trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> Replay:
    model = model_of(trace, calibration, seed)
    state = state_of(model)
    weights, group = np.unique(model.priority, return_inverse=True)
    kernel.run_fair(
        model, state, group.astype(np.int64), np.zeros(len(group)), np.zeros(len(weights))
    )
    return _replay(trace, calibration, model, state, -1)


def _processor_sharing(trace: JobTrace, calibration: SchedulerCalibration, seed: int) -> Replay:
    model = model_of(trace, calibration, seed)
    done = processor_sharing(model.arrival, model.service, model.edge, model.workers)
    course = course_of(model, model.arrival, done, None, 0.0)
    return replay_of(trace, calibration, course, -1)


def _replay(
    trace: JobTrace,
    calibration: SchedulerCalibration,
    model: kernel.Model,
    state: kernel.State,
    fault: int,
) -> JobReplay:
    done = state.begun + model.service
    course = course_of(model, state.begun, done, state.worker, float(state.clock[1]))
    return replay_of(trace, calibration, course, fault)


def _reads(score: Any) -> int:
    """Return what a compiled score reads of what takes work."""
    drawn = kernel.DRAWN if reads(score, "noise") else 0
    dated = kernel.DATED if reads(score, "slack_ms") else 0
    timed = kernel.TIMED if any(reads(score, name) for name in _TIMED) else 0
    return drawn | dated | timed
