"""The simulator of the ``llm_scheduler`` kind: recorded requests before a continuous-batching engine.

The engine's rules are those of vLLM's V1 scheduler (``kernel``); what a step takes is fitted to recorded
times. A request has its own arrival, prompt and length of answer, which exist under any policy. Every draw is a
function of seed and decision or request, so that two policies meet the same luck.

Not modelled: prefixes that are found in the cache, speculative tokens, several models on one GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.llm_scheduler import llm_scheduler
from ....recorder.store import TraceStore
from ....sdk.errors import ConfigurationError
from ....sdk.kind import Kind, Order
from ...traces.job_trace import RequestTrace, request_trace
from ..base import FloatArray, IntArray, Measure, Replay, Simulator, Stream, statistics
from ..native import first_class
from ..queue_tables import tables_of
from . import fit, kernel
from .model import (
    LlmCalibration,
    RequestCourse,
    RequestReplay,
    RequestSummary,
    mixed_seed,
    model_of,
    parts_of,
    replay_of,
    restore,
    state_of,
)

__all__ = ["LlmCalibration", "LlmSchedulerSimulator", "RequestReplay", "RequestSummary"]

_ROWS = 256  # that a stream begins with
#: Runs the requests of one process to their ends; returns the decision of a fault, or -1.
_Run = Callable[[kernel.Model, kernel.State, IntArray], int]


class LlmSchedulerSimulator(Simulator):
    """Admits the recorded requests in the order that another policy gives."""

    trace_type = RequestTrace

    @property
    def kind(self) -> Kind:
        """``llm_scheduler``."""
        return llm_scheduler

    def load(self, stored: TraceStore, hook: str) -> RequestTrace:
        """Read a hook's requests; raises TraceError when no replay could be faithful to them."""
        return request_trace(stored, hook)

    def incumbent(self, trace: Any) -> str:
        """Return ``recorded``; for an import without admissions first come, first served."""
        return "recorded" if np.isfinite(trace.admitted).all() else "baseline:fcfs"

    def calibrate(self, trace: RequestTrace) -> LlmCalibration:
        """Fit what a step takes; raises TraceError where too few times were recorded."""
        return fit.evidence(trace).fit

    def draws(self, trace: RequestTrace, n: int, seed: int) -> tuple[LlmCalibration, ...]:
        """Return n calibrations from a bootstrap over blocks of time."""
        evidence = fit.evidence(trace)
        return tuple(
            fit.drawn(evidence, np.random.default_rng((int(mixed_seed(seed)), index)))
            for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> LlmCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def measures(self, trace: RequestTrace) -> tuple[Measure, ...]:
        """Return the latency's statistics: there are no members to have shares."""
        return statistics(llm_scheduler)

    def observed(self, trace: RequestTrace) -> FloatArray:
        """Return rows that admissions see, f8[n, m, 9]; raises TraceError where none had a choice."""
        return tables_of(self.stream(trace, self.calibrate(trace), 0), trace.hook)

    def stream(self, trace: RequestTrace, calibration: LlmCalibration, seed: int) -> Stream:
        """Return a generator that asks for every admission in turn, one process after the other."""
        parts, courses, asked = parts_of(trace), list[RequestCourse](), 0
        rows = np.empty((_ROWS, kernel.INPUTS))
        for own in parts:
            model = model_of(trace, own, calibration, seed)
            state = state_of(trace, own, model)
            decided = False
            while kernel.advance(model, state, decided):
                queued = kernel.observe(model, state, rows)
                if queued > len(rows):
                    rows = np.empty((2 * queued, kernel.INPUTS))
                    kernel.observe(model, state, rows)
                picked = yield rows[:queued]
                if not 0 <= picked < queued:
                    courses.append(_course(model, state))
                    return replay_of(trace, parts, courses, asked)
                kernel.admit(model, state, picked)
                decided = True
                asked += 1
            courses.append(_course(model, state))
        return replay_of(trace, parts, courses, -1)

    def compiled(
        self,
        trace: RequestTrace,
        calibration: LlmCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score of the kind's inputs; NaN is a fault."""
        native, sign = first_class(score), 1.0 if order == "lowest" else -1.0
        return _run_all(
            trace,
            calibration,
            seed,
            lambda model, state, _rows: int(kernel.run(model, state, native, sign)),
        )

    def recorded(self, trace: RequestTrace, calibration: LlmCalibration, seed: int) -> Replay:
        """Replay the recorded order: of the requests that wait, the one that was admitted first.

        Raises:
            ConfigurationError: the trace holds no order.
        """
        if not np.isfinite(trace.admitted).all():
            raise ConfigurationError(
                f"trace {trace.hook!r} records no admissions; give --incumbent baseline:NAME"
            )
        rank = fit.order(trace)

        def ranked(model: kernel.Model, state: kernel.State, rows: IntArray) -> int:
            kernel.run_ranked(model, state, rank[rows])
            return -1

        return _run_all(trace, calibration, seed, ranked)

    def figures(self, trace: RequestTrace, replay: Replay) -> dict[str, float]:
        """Return queueing, first token, time per token, late requests, and tokens a second."""
        means = {name: float(values.mean()) for name, values in replay.extra.items() if len(values)}
        counted = trace.output[trace.counted]
        last = float((replay.time + replay.outcome / 1e3).max(initial=0.0))
        span = max(last - float(trace.time.min(initial=0.0)), 1e-9)
        ttft = replay.extra["ttft_ms"]
        return {
            "queue_ms": means.get("queue_ms", np.nan),
            "ttft_ms": means.get("ttft_ms", np.nan),
            "ttft_p99_ms": float(np.quantile(ttft, 0.99)) if len(ttft) else np.nan,
            "tpot_ms": means.get("tpot_ms", np.nan),
            "late_share": means.get("late", np.nan),
            "tokens_per_s": float(counted.sum()) / span,
        }


def _run_all(
    trace: RequestTrace, calibration: LlmCalibration, seed: int, run: _Run
) -> RequestReplay:
    parts, courses, asked = parts_of(trace), list[RequestCourse](), 0
    for rows in parts:
        model = model_of(trace, rows, calibration, seed)
        state = state_of(trace, rows, model)
        fault = run(model, state, rows)
        courses.append(_course(model, state))
        if fault >= 0:
            return replay_of(trace, parts, courses, asked + fault)
        asked += int(state.cursor[kernel.DECIDED])
    return replay_of(trace, parts, courses, -1)


def _course(model: kernel.Model, state: kernel.State) -> RequestCourse:
    return RequestCourse(model, state, state.last - model.arrival)
