"""How well the simulator reproduces what the incumbent was recorded doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..sdk.errors import TraceError
from .policy import Policy
from .simulators.base import FloatArray, IntArray, Measure, Replay, Simulator
from .splits import block_starts
from .traces.trace import Trace

Answer = Literal["ok", "beyond tolerance", "inconclusive", "nothing recorded"]

REPLICAS = 20
#: An interval wider than this many tolerances to either side cannot tell good from bad.
WIDEST = 2.0
#: A half with fewer decisions cannot either.
LEAST_IN_HALF = 100
#: Relative error of how much dearer busy times are than quiet ones.
RESPONSE_TOLERANCE = 0.05
#: Busy times have at least this many times the decisions of quiet ones, or there is nothing to respond to.
LEAST_CONTRAST = 1.1
#: Blocks of busy, and of quiet, time that say how they vary.
LEAST_BUSY_BLOCKS = 8
_RESAMPLES = 300
_SOME = 4  # replicas in a resample; all of them would only cost more
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Row:
    """One number, recorded and simulated.

    Attributes:
        metric: ``mean``, ``p50``, ``p99`` of the objective, the same of another metric with its name
            before, ``share MEMBER``, or ``busy over quiet``.
        stretch: ``first half`` or ``second half`` of the trace's time, ``whole``, or ``thirds by load``.
        recorded: in the objective's unit, or a part of all decisions.
        simulated: mean of the replicas.
        error: relative, or a difference of shares.
        low, high: 95 % interval of the error: the recording is one draw, the replicas are others.
        tolerance: of the error's size.
        answer: ``ok``; ``beyond tolerance`` by more than the interval; ``inconclusive``: too little
            data to tell.
    """

    metric: str
    stretch: str
    recorded: float
    simulated: float
    error: float
    low: float
    high: float
    tolerance: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The table, and the answer that it gives.

    Attributes:
        rows: per stretch and metric; those of the whole trace are for reading only.
        answer: the worst of the rows of either half; ``nothing recorded`` when the trace holds a
            workload without outcomes, as an import does.
        policy: name of the incumbent that was replayed.
        replicas: how many replays were averaged.
        calibration: digest of the calibration.
    """

    rows: tuple[Row, ...]
    answer: Answer
    policy: str
    replicas: int
    calibration: str

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return asdict(self)


_Run: TypeAlias = tuple[FloatArray, IntArray]  # outcomes and picks
_Resampled: TypeAlias = Callable[[_Run], Callable[[IntArray], float]]


@dataclass(frozen=True, eq=False)
class _Stretch:
    """A window of time with what was recorded in it and what each replica did."""

    name: str
    time: FloatArray
    block_s: float
    recorded: _Run
    replicas: tuple[_Run, ...]


def fidelity(
    trace: Trace,
    incumbent: Policy,
    simulator: Simulator,
    calibration: Any = None,
    *,
    replicas: int = REPLICAS,
    seed: int = 0,
) -> Fidelity:
    """Replay the incumbent and compare it with the recording, in each half of time.

    Args:
        trace: recorded under the incumbent.
        incumbent: the policy that was in production.
        simulator: of the trace's kind.
        calibration: fitted here when it is None.
        replicas: replays to average, with seeds from ``seed`` on.
        seed: of the replays and of the resampling.

    Raises:
        TraceError: the trace cannot be calibrated on.
        ConfigurationError: the incumbent cannot be replayed.
    """
    fitted = simulator.calibrate(trace) if calibration is None else calibration
    runs = incumbent.replays(simulator, trace, fitted, range(seed, seed + replicas))
    return compared(
        trace, runs, simulator, policy=incumbent.name, calibration=fitted.digest, seed=seed
    )


def compared(
    trace: Trace,
    runs: Sequence[Replay],
    simulator: Simulator,
    *,
    policy: str,
    calibration: str,
    seed: int = 0,
) -> Fidelity:
    """Compare replays of the incumbent, one per replica, with the recording.

    Args:
        trace: what was recorded.
        runs: replays of it.
        simulator: says what to compare.
        policy: name of the incumbent.
        calibration: digest of what was replayed with.
        seed: of the resampling.

    Raises:
        TraceError: a replay is cut short by a fault of the incumbent.
    """
    if any(run.fault >= 0 for run in runs):
        raise TraceError(f"incumbent {policy!r} failed in its replay; give another one")
    if not trace.recorded or not len(trace):
        return Fidelity((), "nothing recorded", policy, len(runs), calibration)
    measures = simulator.measures(trace)
    known = {name: _stretches(trace, runs, name) for name in {"", *(m.of for m in measures)}}
    rng = np.random.default_rng(seed)
    rows = tuple(
        _row(known[measure.of][part], measure, rng)
        for part in range(len(known[""]))
        for measure in measures
        if known[measure.of]
    )
    rows += _response(trace, runs, rng)
    answer = _worst([row.answer for row in rows if row.stretch != "whole"])
    return Fidelity(rows, answer, policy, len(runs), calibration)


def _stretches(trace: Trace, runs: Sequence[Replay], of: str) -> tuple[_Stretch, ...]:
    """Return both halves and the whole, of the objective or another metric; none where it is unknown.

    An outcome whose metric was not recorded counts on neither side.
    """
    recorded = trace.metrics.get(of) if of else trace.outcome
    simulated = [run.extra.get(of) if of else run.outcome for run in runs]
    if recorded is None or any(each is None for each in simulated):
        return ()
    there = np.isfinite(recorded)
    middle = (trace.time[0] + trace.time[-1]) / 2.0
    parts = {
        "first half": there & (trace.time < middle),
        "second half": there & (trace.time >= middle),
        "whole": there,
    }
    if not all(rows.any() for rows in parts.values()):
        return ()
    return tuple(
        _Stretch(
            name,
            trace.time[rows],
            trace.block_s,
            (recorded[rows], trace.picked[rows]),
            tuple(
                (each[rows], run.action[rows])
                for each, run in zip(simulated, runs, strict=True)
                if each is not None
            ),
        )
        for name, rows in parts.items()
    )


def _row(stretch: _Stretch, measure: Measure, rng: np.random.Generator) -> Row:
    recorded = measure.value(*stretch.recorded)
    simulated = float(np.mean([measure.value(*run) for run in stretch.replicas]))
    error = _error(measure, simulated, recorded)
    width = _Z * _standard_error(stretch, measure, rng)
    return Row(
        metric=measure.name,
        stretch=stretch.name,
        recorded=recorded,
        simulated=simulated,
        error=error,
        low=error - width,
        high=error + width,
        tolerance=measure.tolerance,
        answer=_answer(error, width, measure.tolerance, len(stretch.time)),
    )


def _response(trace: Trace, runs: Sequence[Replay], rng: np.random.Generator) -> tuple[Row, ...]:
    """Return a row for how much dearer busy times are than quiet ones; none where loads hardly differ.

    Blocks of time are ranked by how much there was to decide, which no policy changes. A model that is right
    on average and wrong about load is wrong about every policy that loads members otherwise: what slows down
    with load in the service and not in the model shows as too dear when quiet and too cheap when busy. Too
    little data to tell counts as ok here; the other rows ask for enough.
    """
    found = _by_load(trace)
    if found is None:
        return ()
    starts, level = found
    size = np.diff(np.append(starts, len(trace.time))).astype(np.float64)
    counts = rng.multinomial(len(starts), np.full(len(starts), 1.0 / len(starts)), _RESAMPLES)
    weights = np.vstack([np.ones(len(starts)), counts])

    def ratio(outcome: FloatArray) -> FloatArray:
        """Return busy over quiet, of all blocks first, then of every resample."""
        cost = np.add.reduceat(outcome, starts)
        busy, quiet = (
            weights[:, level == third] @ np.column_stack((cost, size))[level == third]
            for third in (1, -1)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((busy[:, 0] / busy[:, 1]) / (quiet[:, 0] / quiet[:, 1]))

    recorded, simulated = ratio(trace.outcome), np.array([ratio(run.outcome) for run in runs])
    some = simulated[rng.integers(0, len(runs), (_SOME, _RESAMPLES)), np.arange(1, 1 + _RESAMPLES)]
    errors = some.mean(axis=0) / recorded[1:] - 1.0
    error = float(simulated[:, 0].mean() / recorded[0] - 1.0)
    width = _Z * float(np.std(errors))
    if not np.isfinite(width + error):  # quiet times cost nothing, or a resample has none
        return ()
    answer: Answer = "beyond tolerance" if abs(error) - width > RESPONSE_TOLERANCE else "ok"
    return (
        Row(
            metric="busy over quiet",
            stretch="thirds by load",
            recorded=float(recorded[0]),
            simulated=float(simulated[:, 0].mean()),
            error=error,
            low=error - width,
            high=error + width,
            tolerance=RESPONSE_TOLERANCE,
            answer=answer,
        ),
    )


def _by_load(trace: Trace) -> tuple[IntArray, IntArray] | None:
    """Return where blocks of time start, and whether each is of the busy (1), quiet (-1) or other (0) third."""
    starts = block_starts(trace.time, trace.block_s)
    third = len(starts) // 3
    if third < LEAST_BUSY_BLOCKS or not np.isfinite(trace.outcome).all():
        return None
    size = np.diff(np.append(starts, len(trace.time)))
    order = np.argsort(size, kind="stable")
    level = np.zeros(len(starts), np.int64)
    level[order[:third]], level[order[-third:]] = -1, 1
    if size[level == 1].sum() < LEAST_CONTRAST * size[level == -1].sum():
        return None
    return starts, level


def _error(measure: Measure, simulated: float, recorded: float) -> float:
    scale = abs(recorded) or 1.0
    return (simulated - recorded) / (scale if measure.relative else 1.0)


def _answer(error: float, width: float, tolerance: float, decisions: int) -> Answer:
    if decisions < LEAST_IN_HALF:
        return "inconclusive"
    if abs(error) - width > tolerance:
        return "beyond tolerance"
    return "inconclusive" if width > WIDEST * tolerance else "ok"


def _worst(answers: Sequence[Answer]) -> Answer:
    order: tuple[Answer, ...] = ("beyond tolerance", "inconclusive", "ok")
    for answer in order:
        if answer in answers:
            return answer
    return "inconclusive"


def _standard_error(stretch: _Stretch, measure: Measure, rng: np.random.Generator) -> float:
    """Return the standard error of a row's error, from blocks of time drawn with replacement.

    The recording and a few replicas give the same blocks: slow spells are in both, and are no news.
    """
    block = ((stretch.time - stretch.time[0]) / stretch.block_s).astype(np.int64)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(block)) + 1))
    value = _of_blocks(measure, starts, len(block))
    recorded = value(stretch.recorded)
    replicas = [value(replica) for replica in stretch.replicas]
    errors = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(0, len(starts), len(starts))
        some = [replicas[i] for i in rng.integers(0, len(replicas), _SOME)]
        simulated = float(np.mean([of(drawn) for of in some]))
        errors.append(_error(measure, simulated, recorded(drawn)))
    return float(np.std(errors))


def _of_blocks(measure: Measure, starts: IntArray, n: int) -> _Resampled:
    """Return what makes a run into: indices of drawn blocks to the measure over them."""
    groups = np.split(np.arange(n), starts[1:])
    sizes = np.diff(np.append(starts, n))
    each = measure.each

    def whole(run: _Run) -> Callable[[IntArray], float]:
        def of(drawn: IntArray) -> float:
            rows = np.concatenate([groups[i] for i in drawn])
            return measure.value(run[0][rows], run[1][rows])

        return of

    def mean(run: _Run) -> Callable[[IntArray], float]:
        assert each is not None
        sums = np.add.reduceat(each(*run), starts)
        return lambda drawn: float(sums[drawn].sum() / sizes[drawn].sum())

    def ranked(run: _Run) -> Callable[[IntArray], float]:
        assert measure.quantile is not None
        place, order = measure.quantile, np.argsort(run[0], kind="stable")
        ordered, owner = run[0][order], np.repeat(np.arange(len(starts)), sizes)[order]

        def of(drawn: IntArray) -> float:
            upto = np.cumsum(np.bincount(drawn, minlength=len(starts))[owner])
            at = int(np.searchsorted(upto, place * (upto[-1] - 1), side="right"))
            return float(ordered[at])

        return of

    if each is not None:
        return mean
    return whole if measure.quantile is None else ranked
