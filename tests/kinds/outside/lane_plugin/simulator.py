"""The simulator of the ``lanes`` kind.

What would exist under any policy is taken from the recording as it is: the jobs of every process, each
with its lane, its arrival (the decision's time less the wait that the policy saw) and its service time
(the ``job`` event's). So one replay differs from another in the order of service only, and outcomes
are paired job by job: a replay's arrays are in the order in which the jobs were served when recorded.

So are the gaps: what passed between the moment that a worker was free and a job there, and the decision;
the n-th decision of a process has the n-th gap, whatever is picked.

Fitted is the number of workers of each process (the most jobs that were in service at once). Not
modelled: service times that depend on the policy, jobs that are in service or left over when a window
of the trace begins or ends, and costs of the decision.

Everything is plain Python around the compiled score: see ``tests/kinds/test_lane_simulator.py`` for
what that gives in decisions a second.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gnomon import ConfigurationError, Kind
from gnomon.shadow.simulators import (
    Choose,
    Measure,
    Replay,
    Simulator,
    Stream,
    drive,
    register_simulator,
)
from gnomon.shadow.simulators.base import statistics
from gnomon.shadow.traces.trace import decision_trace

from .kind import GAIN, lanes
from .recording import (
    NOISE,
    OLDEST,
    PRIORITY,
    SERVICE,
    SINCE,
    WAITING,
    FloatArray,
    LaneTrace,
    services,
)

if TYPE_CHECKING:
    from gnomon.recorder.store import TraceStore

BLOCK_S = 1.0
#: Of the numbers of jobs in service, which one the workers are taken to be: clocks are not exact.
BUSIEST = 0.995


@dataclass(frozen=True, slots=True)
class LaneSummary:
    """What a replay-level invariant of this kind sees.

    Attributes:
        arrived, served: jobs per lane.
        shortest_wait_ms: of any job.
    """

    arrived: tuple[int, ...]
    served: tuple[int, ...]
    shortest_wait_ms: float


@dataclass(frozen=True, kw_only=True)
class LaneReplay(Replay):
    """A replay that also knows from which lane every job was taken.

    Attributes:
        jobs: lane of every job that there was, i8[N].
        wait_ms: of the jobs that were served, f8[n].
    """

    jobs: npt.NDArray[np.int64]
    wait_ms: FloatArray

    def summary(self) -> LaneSummary:
        """Return arrivals and services per lane."""
        return LaneSummary(
            tuple(np.bincount(self.jobs, minlength=self.members).tolist()),
            tuple(np.bincount(self.action, minlength=self.members).tolist()),
            float(self.wait_ms.min(initial=0.0)),
        )


@dataclass(frozen=True, eq=False)
class LaneCalibration:
    """Fitted parameters.

    Attributes:
        workers: of every process, i8[p].
        scale: factor on the recorded service times, per lane, f8[m].
        gap_scale: factor on the recorded gaps, f8[1].
        gap_ms: median gap, for people, f8[1].
    """

    workers: npt.NDArray[np.int64]
    scale: FloatArray
    gap_scale: FloatArray
    gap_ms: FloatArray

    @property
    def digest(self) -> str:
        """sha256 hex of all parameters."""
        return hashlib.sha256(
            b"".join(each.tobytes() for each in self.arrays().values())
        ).hexdigest()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all parameters as named arrays."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def describe(self) -> dict[str, Any]:
        """Return the parameters as JSON values."""
        return {
            "workers": self.workers.tolist(),
            "service_scale": self.scale.tolist(),
            "gap_scale": float(self.gap_scale[0]),
            "median_gap_ms": float(self.gap_ms[0]),
        }


class LaneSimulator(Simulator):
    """Serves the recorded jobs in another order."""

    trace_type = LaneTrace

    @property
    def kind(self) -> Kind:
        """``lanes``."""
        return lanes

    def load(self, stored: TraceStore, hook: str) -> LaneTrace:
        """Read decisions, and the job that each began; raises TraceError when too many are unknown."""
        decided = decision_trace(stored, hook)
        columns = {each.name: getattr(decided, each.name) for each in fields(decided)}
        return LaneTrace(**columns, service_ms=services(decided, stored.workload(hook)))

    def calibrate(self, trace: LaneTrace) -> LaneCalibration:
        """Fit the workers; service times and gaps are taken as they were."""
        workers = np.array([_busiest(trace, p) for p in range(len(trace.instances))], np.int64)
        gap_ms = np.median(_gaps(trace, workers)) * 1e3
        ones = np.ones(len(trace.members))
        return LaneCalibration(workers, ones, np.ones(1), np.array([gap_ms]))

    def draws(self, trace: LaneTrace, n: int, seed: int) -> tuple[LaneCalibration, ...]:
        """Return n calibrations from a bootstrap over blocks of a second."""
        fitted = self.calibrate(trace)
        gaps = _gaps(trace, fitted.workers)
        return tuple(
            _drawn(trace, fitted, gaps, np.random.default_rng((seed, index))) for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> LaneCalibration:
        """Return the calibration that these arrays were written from."""
        return LaneCalibration(**arrays)

    def measures(self, trace: LaneTrace) -> tuple[Measure, ...]:
        """Return the objective's statistics; each lane's share is workload and always right."""
        return statistics(self.kind)

    def stream(self, trace: LaneTrace, calibration: LaneCalibration, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn, process by process as recorded."""
        rng = np.random.default_rng(seed)
        gaps = _gaps(trace, calibration.workers) * calibration.gap_scale[0]
        pools = [_Pool(trace, calibration, gaps, p) for p in range(len(trace.instances))]
        wait_ms = np.full(len(trace), np.nan)
        rows = np.zeros((len(trace.members), len(lanes.inputs)))
        for index, process in enumerate(trace.instance.tolist()):
            pool = pools[process]
            pool.look(rows)
            rows[:, NOISE] = rng.random(len(rows))
            picked = yield rows
            if not (0 <= picked < len(rows) and pool.waiting[picked]):
                return _replay(trace, wait_ms, index)
            job, wait_ms_of_it = pool.serve(picked)
            wait_ms[job] = wait_ms_of_it
        return _replay(trace, wait_ms, -1)

    def compiled(
        self,
        trace: LaneTrace,
        calibration: LaneCalibration,
        seed: int,
        score: Any,
        order: Any = "lowest",
    ) -> Replay:
        """Replay with a compiled score, in plain Python but for the score itself."""
        sign = 1.0 if order == "lowest" else -1.0
        stream = self.stream(trace, calibration, seed)
        return drive(stream, trace, lambda _process, rows: _best(score, sign, rows.tolist()))

    def built_in(self, name: str, trace: LaneTrace, seed: int) -> Choose:
        """Return ``deficit_round_robin``, with state of its own per process."""
        if name != "deficit_round_robin":
            raise ConfigurationError(f"no built-in policy {name!r}; there is deficit_round_robin")
        turns = [_DeficitRoundRobin() for _ in trace.instances]
        return lambda process, rows: turns[process](rows.tolist())


class _Pool:
    """The workers of one process and the jobs that wait for them.

    Jobs are indices of the trace's rows. Time goes from one decision to the next.
    """

    def __init__(
        self, trace: LaneTrace, calibration: LaneCalibration, gaps: FloatArray, process: int
    ) -> None:
        own = np.flatnonzero(trace.instance == process)
        arrival = trace.arrival[own]
        self._coming = deque(
            (float(arrival[k]), int(own[k])) for k in np.argsort(arrival, kind="stable")
        )
        self._lane = trace.action
        self._service_s = trace.service_ms / 1e3 * calibration.scale[trace.action]
        self._gap_s = gaps[own].tolist()
        self.waiting: list[deque[tuple[float, int]]] = [deque() for _ in trace.members]
        self._free = [-np.inf] * int(calibration.workers[process])
        self._done: list[tuple[float, int]] = []  # jobs in service by their ends
        self._now = -np.inf
        self._decided = 0
        self._begin(trace.features[own[0]] if len(own) else None)

    def _begin(self, first: FloatArray | None) -> None:
        rows = np.zeros((len(self.waiting), 6)) if first is None else first
        self._priority = rows[:, PRIORITY].tolist()
        self._average = rows[:, SERVICE].tolist()
        self._last = (-rows[:, SINCE]).tolist()

    def look(self, rows: FloatArray) -> None:
        """Go on to the next decision and show what its policy sees."""
        self._advance()
        for lane, jobs in enumerate(self.waiting):
            oldest_ms = (self._now - jobs[0][0]) * 1e3 if jobs else 0.0
            rows[lane, : SINCE + 1] = (
                len(jobs),
                oldest_ms,
                self._priority[lane],
                self._average[lane],
                self._decided - self._last[lane],
            )

    def serve(self, lane: int) -> tuple[int, float]:
        """Give the free worker a lane's oldest job; return the job and its wait in ms."""
        arrival, job = self.waiting[lane].popleft()
        end = self._now + self._service_s[job]
        heapq.heapreplace(self._free, end)
        heapq.heappush(self._done, (end, job))
        self._last[lane] = self._decided
        self._decided += 1
        return job, (self._now - arrival) * 1e3

    def _advance(self) -> None:
        """Let time pass until a worker is free, a job waits, and the worker has noticed."""
        first = min((jobs[0][0] for jobs in self.waiting if jobs), default=np.inf)
        if self._coming:
            first = min(first, self._coming[0][0])
        self._now = max(self._now, max(self._free[0], first) + self._gap_s[self._decided])
        while self._coming and self._coming[0][0] <= self._now:
            came, job = self._coming.popleft()
            self.waiting[self._lane[job]].append((came, job))
        while self._done and self._done[0][0] <= self._now:
            self._learn(heapq.heappop(self._done)[1])

    def _learn(self, job: int) -> None:
        lane, service_ms = self._lane[job], self._service_s[job] * 1e3
        gain = GAIN if self._average[lane] else 1.0
        self._average[lane] += gain * (service_ms - self._average[lane])


class _DeficitRoundRobin:
    """Lanes in turn, each for as long as its deficit pays for its average job."""

    def __init__(self) -> None:
        self._deficit: dict[int, float] = {}
        self._turn = 0

    def __call__(self, rows: list[list[float]]) -> int:
        if not any(row[WAITING] for row in rows):
            return 0
        while True:
            lane = self._turn % len(rows)
            row, cost = rows[lane], max(rows[lane][SERVICE], 0.1)
            left = self._deficit.get(lane, 0.0)
            if row[WAITING] and left >= cost:
                self._deficit[lane] = left - cost
                return lane
            if not row[WAITING]:
                self._deficit[lane] = 0.0
            self._turn += 1
            following = self._turn % len(rows)
            quantum = rows[following][PRIORITY]
            self._deficit[following] = self._deficit.get(following, 0.0) + quantum


def _best(score: Callable[..., float], sign: float, rows: list[list[float]]) -> int:
    """Return the row with the lowest signed score, ties by noise then index; -1 on a fault."""
    keys = [(sign * score(*row), row[NOISE]) for row in rows]
    if any(math.isnan(key) for key, _ in keys):
        return -1
    return min(range(len(keys)), key=keys.__getitem__)


def _busiest(trace: LaneTrace, process: int) -> int:
    """Return the most jobs of a process in service at once, but for what one in 200 decisions saw."""
    own = trace.instance == process
    if not own.any():
        return 1
    begin = trace.time[own]
    ends = np.sort(begin + trace.service_ms[own] / 1e3)
    busy = np.arange(1, len(begin) + 1) - np.searchsorted(ends, begin, side="right")
    return max(1, int(np.quantile(busy, BUSIEST, method="lower")))


def _gaps(trace: LaneTrace, workers: npt.NDArray[np.int64]) -> FloatArray:
    """Return, per decision, the seconds since a worker was free and a job there, f8[n]."""
    gaps = np.zeros(len(trace))
    for process, count in enumerate(workers.tolist()):
        own = np.flatnonzero(trace.instance == process)
        free = [-np.inf] * count
        # the oldest job of any lane, as it was seen, arrived first
        first = trace.time[own] - trace.features[own, :, OLDEST].max(axis=1) / 1e3
        for index, arrived in zip(own.tolist(), first.tolist(), strict=True):
            now = float(trace.time[index])
            gaps[index] = max(0.0, now - max(free[0], arrived))
            heapq.heapreplace(free, now + float(trace.service_ms[index]) / 1e3)
    return gaps


def _drawn(
    trace: LaneTrace, fitted: LaneCalibration, gaps: FloatArray, rng: np.random.Generator
) -> LaneCalibration:
    """Return a calibration fitted to blocks of time drawn with replacement."""
    block = ((trace.time - trace.time[0]) / BLOCK_S).astype(np.int64)
    groups = np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1)
    rows = np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))])
    gap_scale = gaps[rows].mean() / gaps.mean() if gaps.any() else 1.0
    gap_ms = np.array([np.median(gaps[rows]) * 1e3])
    return LaneCalibration(fitted.workers, _scales(trace, rows), np.array([gap_scale]), gap_ms)


def _scales(trace: LaneTrace, rows: npt.NDArray[Any]) -> FloatArray:
    """Return, per lane, the mean service time of some rows over that of all."""
    scale = np.ones(len(trace.members))
    for lane in range(len(scale)):
        own, some = trace.action == lane, trace.action[rows] == lane
        usual = float(trace.service_ms[own].mean()) if own.any() else 0.0
        if some.any() and usual > 0.0:
            scale[lane] = trace.service_ms[rows][some].mean() / usual
    return scale


def _replay(trace: LaneTrace, wait_ms: FloatArray, fault: int) -> LaneReplay:
    """Return the jobs that were served, in the order in which they were when recorded."""
    served = np.flatnonzero(~np.isnan(wait_ms))
    lane = trace.action[served].astype(np.int64)
    priority = trace.features[0, :, PRIORITY] if len(trace) else np.ones(0)
    return LaneReplay(
        time=trace.time[served],
        outcome=np.minimum(wait_ms[served] * priority[lane], lanes.objective.clip),
        ok=trace.ok[served],
        action=lane,
        members=len(trace.members),
        fault=fault,
        jobs=trace.action.astype(np.int64),
        wait_ms=wait_ms[served],
    )


register_simulator(LaneSimulator())
