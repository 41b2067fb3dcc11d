"""Fit the LLM server's costs to recorded times, and draw others that explain them as well.

Requests are replayed in the order in which they were admitted, whatever policy that was, and the costs of a
step are chosen so that the times of admission, first and last token lie nearest to the recorded ones
(Levenberg-Marquardt on the logarithms). Uncertainty is that of a bootstrap over blocks of time, each of
which moves the fit by one Gauss-Newton step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....sdk.errors import TraceError
from ...traces.job_trace import RequestTrace
from ..base import FloatArray, IntArray
from . import kernel
from .model import LlmCalibration, model_of, parts_of, state_of

#: Settings where nobody tells: vLLM's defaults.
BUDGET, SEATS, BLOCK = 2048, 256, 16
#: The seats are the limit where the median of the requests that ran is this part of the most.
CROWDED = 0.9
#: Fewer requests with recorded times say too little about four costs.
LEAST_ANSWERED = 30
_ROUNDS, _TRIES = 40, 8
_HOPS, _HOP = 4, 0.2
_LEAST = np.log([1e-5, 1e-7, 1e-10, 1e-12])  # seconds; below it a cost is none
_MOST = np.log([1.0, 1e-2, 1e-4, 1e-6])
_START = np.array([1e-2, 1e-4, 1e-7, 1e-8])
#: An import that records no times is replayed with the costs of an 8B model on one large GPU.
ASSUMED = np.array([8e-3, 4e-5, 8e-8, 1e-8])


@dataclass(frozen=True, eq=False)
class Evidence:
    """A fit with what its uncertainty is drawn from.

    Attributes:
        fit: the most likely parameters.
        left: recorded times less replayed ones, seconds, f8[k].
        slope: change of the replayed times with the logarithm of each cost, f8[k, 4].
        block: of time that each recorded time lies in, i8[k].
    """

    fit: LlmCalibration
    left: FloatArray
    slope: FloatArray
    block: IntArray


@dataclass(frozen=True, eq=False)
class _Fitting:
    """What is compared: k recorded times."""

    trace: RequestTrace
    engine: IntArray
    known: npt.NDArray[np.bool_]  # [3, n]
    recorded: FloatArray

    def at(self, logs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what is left of the recorded times, f8[k], and how replayed ones change, f8[k, 4].

        The change is that of the same batches: others, which a change of the costs may bring, are jumps.
        """
        cost: FloatArray = np.exp(logs)
        times, slope = replayed(self.trace, LlmCalibration(self.engine, cost, np.zeros(1)))
        return self.recorded - times[self.known], slope[self.known] * cost


def evidence(trace: RequestTrace) -> Evidence:
    """Return the fit to a recording; an import without times gets assumed costs.

    Raises:
        TraceError: too few requests have recorded times.
    """
    known = np.isfinite(_times(trace))
    engine = _settings(trace)
    if not known.any():
        fit = LlmCalibration(engine, ASSUMED, np.array([np.nan]))
        return Evidence(fit, np.zeros(0), np.zeros((0, 4)), np.zeros(0, np.int64))
    if int(known[2].sum()) < LEAST_ANSWERED:
        raise TraceError(
            f"{int(known[2].sum())} requests of trace {trace.hook!r} have recorded times, too few to "
            f"calibrate; record at least {LEAST_ANSWERED}"
        )
    depths = (1, 2) if trace.engine[kernel.DEPTH] == 0 else (int(engine[kernel.DEPTH]),)
    found = [_fitted(trace, _with(engine, kernel.DEPTH, depth), known) for depth in depths]
    return min(found, key=lambda each: float(each.fit.error_s[0]))


def drawn(evidence: Evidence, rng: np.random.Generator) -> LlmCalibration:
    """Return the costs that blocks of time drawn with replacement would have given."""
    fit = evidence.fit
    if not len(evidence.left):
        spread = rng.normal(0.0, 0.2)  # of assumed costs nobody knows the scale
        return LlmCalibration(fit.engine, fit.cost * np.exp(spread), fit.error_s)
    blocks = int(evidence.block.max()) + 1
    weight = np.bincount(rng.integers(0, blocks, blocks), minlength=blocks)[evidence.block]
    still = _solved(evidence.slope, evidence.left, np.ones(len(weight)), 1e-6)  # short of a jump
    moved = _solved(evidence.slope, evidence.left, weight.astype(np.float64), 1e-6) - still
    logs = np.clip(np.log(fit.cost) + np.clip(moved, -1.0, 1.0), _LEAST, _MOST)
    return LlmCalibration(fit.engine, np.exp(logs), fit.error_s)


def replayed(trace: RequestTrace, calibration: LlmCalibration) -> tuple[FloatArray, FloatArray]:
    """Replay the recorded order of admissions.

    Returns:
        admission, first and last token of every request, seconds, f8[3, n], and how they change with the
        costs, f8[3, n, 4].
    """
    times = np.full((3, len(trace.arrival)), np.nan)
    slope = np.zeros((3, len(trace.arrival), 4))
    for rows in parts_of(trace):
        model = model_of(trace, rows, calibration, 0)
        state = state_of(trace, rows, model)
        kernel.run_ranked(model, state, order(trace)[rows])
        times[:, rows] = state.admitted, state.first, state.last
        slope[:, rows] = np.moveaxis(state.slope, 1, 0)
    return times, slope


def order(trace: RequestTrace) -> FloatArray:
    """Return by what requests are admitted: when they were; then, when they arrived, those that were not."""
    after = float(np.nanmax(np.append(trace.admitted, -np.inf), initial=0.0))
    return np.where(np.isnan(trace.admitted), after + trace.arrival, trace.admitted)


def _times(trace: RequestTrace) -> FloatArray:
    return np.stack((trace.admitted, trace.answered, trace.done))


def _fitted(trace: RequestTrace, engine: IntArray, known: npt.NDArray[np.bool_]) -> Evidence:
    fitting = _Fitting(trace, engine, known, _times(trace)[known])
    logs, left, slope = _nearest_of_some(fitting)
    error = np.array([float(np.sqrt((left**2).mean()))])
    time = fitting.recorded - fitting.recorded.min()
    block = (time / max(trace.block_s, 1e-9)).astype(np.int64)
    block = np.unique(block, return_inverse=True)[1]
    fit = LlmCalibration(engine, np.exp(logs), error)
    return Evidence(fit, left, slope, block)


def _nearest_of_some(fitting: _Fitting) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best of a fit and a few that begin near the best so far: other batches, another valley."""
    rng = np.random.default_rng(0)
    best = _nearest(fitting, np.log(_START))
    for _ in range(_HOPS):
        found = _nearest(fitting, np.clip(best[0] + rng.normal(0.0, _HOP, 4), _LEAST, _MOST))
        if float(found[1] @ found[1]) < float(best[1] @ best[1]):
            best = found
    return best


def _nearest(fitting: _Fitting, logs: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the logarithms of the costs, what is left of the recorded times, and the slope there."""
    left, slope = fitting.at(logs)
    damping = 1e-2
    for _ in range(_ROUNDS):
        before = float(left @ left)
        for _ in range(_TRIES):
            moved = np.clip(_solved(slope, left, np.ones(len(left)), damping), -1.0, 1.0)
            trial: FloatArray = np.clip(logs + moved, _LEAST, _MOST)
            after, steeper = fitting.at(trial)
            if float(after @ after) < before:
                logs, left, slope, damping = trial, after, steeper, damping / 5.0
                break
            damping *= 4.0
        if before - float(left @ left) <= 1e-6 * before:
            break
    return logs, left, slope


def _solved(slope: FloatArray, left: FloatArray, weight: FloatArray, damping: float) -> FloatArray:
    """Return the step that least squares takes, damped in proportion to each direction's own weight."""
    own = slope.T @ (slope * weight[:, None])
    square = own + np.diag(damping * np.diag(own) + 1e-12)
    step: FloatArray = np.asarray(np.linalg.solve(square, slope.T @ (left * weight)), np.float64)
    return step


def _with(engine: IntArray, place: int, value: int) -> IntArray:
    changed = engine.copy()
    changed[place] = value
    return changed


def _settings(trace: RequestTrace) -> IntArray:
    """Return the engine's settings; those that nobody told are vLLM's, or what the recording shows."""
    budget, seats, blocks, block, depth = trace.engine
    block = block or BLOCK
    running, held = _under_pressure(trace)
    crowd = int(running.max(initial=0))
    full = seats or CROWDED * crowd
    by_seats = crowd > 0 and (crowd if seats else float(np.median(running))) >= full
    if not seats:
        seats = crowd if by_seats else SEATS
    if not blocks:
        tokens = trace.prompt + trace.output
        limited = len(held) > 0 and not by_seats
        blocks = -(-(int(np.median(held)) if limited else int(tokens.sum())) // block)
        blocks = max(blocks, -(-int(tokens.max(initial=1)) // block)) + (not limited) * len(tokens)
    return np.array([budget or BUDGET, seats, blocks, block, depth or 1], np.int64)


def _under_pressure(trace: RequestTrace) -> tuple[IntArray, FloatArray]:
    """Return the requests that ran, and the tokens they held, whenever one was admitted and others waited.

    Something was full then: the seats, if there were ever as many or nearly always the same number, else
    the memory.
    """
    pace = _pace(trace)
    running, held = list[int](), list[float]()
    for rows in parts_of(trace):
        own = rows[np.isfinite(trace.admitted[rows])]
        admitted, first = trace.admitted[own], np.nan_to_num(trace.answered[own], nan=np.inf)
        done = np.nan_to_num(trace.done[own], nan=np.inf)
        for now in np.unique(admitted).tolist():
            if not bool(((trace.arrival[own] < now) & (now < admitted)).any()):
                continue
            runs = (admitted <= now) & (now < done)
            made = np.clip((now - first[runs]) / pace, 0.0, trace.output[own][runs])
            running.append(int(runs.sum()))
            held.append(float((trace.prompt[own][runs] + made).sum()))
    return np.array(running, np.int64), np.array(held)


def _pace(trace: RequestTrace) -> float:
    """Return the seconds per token of an answer, the median over those that are known whole."""
    spent = (trace.done - trace.answered) / np.maximum(trace.output - 1, 1)
    known = spent[np.isfinite(spent) & (trace.output > 1)]
    return max(float(np.median(known)), 1e-9) if len(known) else 1.0
