"""What every simulator offers: calibrate from a trace, then replay it under another policy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ...sdk.errors import ConfigurationError, TraceError
from ...sdk.kind import Kind, Metric, Order
from ..traces.trace import DecisionTrace, Trace, arrays_in, decision_trace

if TYPE_CHECKING:
    from ...recorder.store import TraceStore

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
#: Yields the rows (members x inputs) of the next decision, is sent the index of the pick (-1: the
#: policy failed, the replay ends) and returns the replay. Rows are valid until the next ``send``.
Stream: TypeAlias = "Generator[FloatArray, int, Replay]"
#: Picks: (index of the deciding process, rows) to the index of a member.
Choose: TypeAlias = Callable[[int, FloatArray], int]


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay-level invariant sees.

    Attributes:
        decisions: how many were asked for.
        completions: how many of them have an outcome.
        picks: per member.
        longest_unpicked: per member, the most decisions in a row without a pick, those before the
            first and after the last included.
        lowest_outcome: the smallest outcome, in the objective's unit; 0 without any.
    """

    decisions: int
    completions: int
    picks: tuple[int, ...]
    longest_unpicked: tuple[int, ...]
    lowest_outcome: float


@dataclass(frozen=True)
class Replay:
    """What a policy did to a trace's workload.

    Attributes:
        time: when each decision was made, seconds since the trace's start, f8[n].
        outcome: the objective's metric, clipped, f8[n].
        ok: whether the work succeeded, bool[n].
        action: index of the picked member, i8[n].
        members: how many there were.
        fault: index of the decision on which the policy failed, -1 when it did not; the arrays end
            before it.
        extra: what else was measured of every decision, by name (of the kind's ``metrics``, where it
            declares them), f8[n] each.
    """

    time: FloatArray
    outcome: FloatArray
    ok: npt.NDArray[np.bool_]
    action: IntArray
    members: int
    fault: int = -1
    extra: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def mean(self) -> float:
        """Mean outcome; NaN for a policy that failed, so that it can never rank."""
        return float(self.outcome.mean()) if self.fault < 0 and len(self.outcome) else math.nan

    @property
    def shares(self) -> tuple[float, ...]:
        """Part of the decisions per member; empty where there are none."""
        if not self.members or not len(self.action):
            return ()
        counts = np.bincount(self.action, minlength=self.members)
        return tuple(float(count) for count in counts / len(self.action))

    def summary(self) -> Any:
        """Return what replay-level invariants see; a kind may show its own more."""
        picks = np.bincount(self.action, minlength=self.members)
        return ReplaySummary(
            decisions=len(self.time) + (self.fault >= 0),
            completions=int(np.isfinite(self.outcome).sum()),
            picks=tuple(int(count) for count in picks),
            longest_unpicked=tuple(self._unpicked(member) for member in range(self.members)),
            lowest_outcome=float(self.outcome.min(initial=0.0)),
        )

    def _unpicked(self, member: int) -> int:
        at = np.flatnonzero(self.action == member)
        edges = np.concatenate(([-1], at, [len(self.action)]))
        return int(np.diff(edges).max()) - 1


class Calibration(Protocol):
    """A simulator's parameters, fitted to a trace; a frozen value that can be written to a file."""

    @property
    def digest(self) -> str:
        """sha256 hex of all parameters."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all parameters as named arrays."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the parameters that a person would ask for, as JSON values with units in names."""
        ...


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a simulator must reproduce.

    Attributes:
        name: for tables.
        value: of outcomes f8[n] and actions i8[n].
        tolerance: of the error's size.
        relative: whether the error is a part of the recorded value, or a difference.
        each: where the number is a mean, what it is the mean of, f8[n]; resampling is then cheap.
        of: what stands for the outcomes: a name of the trace's ``metrics`` and of a replay's ``extra``;
            empty for the objective.
        quantile: where the number is a quantile of the outcomes, which; resampling is then cheap, too.
    """

    name: str
    value: Callable[[FloatArray, IntArray], float]
    tolerance: float
    relative: bool = True
    each: Callable[[FloatArray, IntArray], FloatArray] | None = None
    of: str = ""
    quantile: float | None = None


class Simulator(ABC):
    """Answers what would have happened to a trace's workload under another policy.

    Every method is a pure function of its arguments. ``trace`` may be a window of the trace that was
    calibrated on: arrivals and exogenous events keep their own times. What is not abstract suits a
    kind whose workload is its decisions.
    """

    trace_type: ClassVar[type[Trace]] = DecisionTrace
    #: Names of baselines in program form that ``replay_built_in`` replays too, with the same answers.
    compiled_programs: ClassVar[frozenset[str]] = frozenset()
    #: What runs around a compiled score: ``compiled`` code, or ``plain Python``.
    score_tier: str = "compiled"

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """The kind that it simulates."""

    def load(self, stored: TraceStore, hook: str) -> Trace:
        """Read a hook's trace from a store; raises TraceError when no replay could be faithful to it."""
        return decision_trace(stored, hook)

    def incumbent(self, trace: Trace) -> str:
        """Return what ``--incumbent`` is when nobody says; raises ConfigurationError when unknown."""
        return "recorded"

    @abstractmethod
    def calibrate(self, trace: Any) -> Any:
        """Fit the parameters to what was recorded; raises TraceError when that is too little."""

    @abstractmethod
    def draws(self, trace: Any, n: int, seed: int) -> tuple[Any, ...]:
        """Return n calibrations drawn from the fit's uncertainty by a bootstrap over blocks."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Return the calibration that these arrays were written from."""

    def measures(self, trace: Any) -> tuple[Measure, ...]:
        """Return what fidelity compares: the objective's statistics, and each member's share."""
        return (*statistics(self.kind), *shares(trace.members))

    def observed(self, trace: Any) -> FloatArray:
        """Return item tables that decisions of this trace see, f8[n, m, F]: recorded ones, or replayed."""
        features: FloatArray = trace.features
        return features

    @abstractmethod
    def stream(self, trace: Any, calibration: Any, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn, in this process."""

    @abstractmethod
    def compiled(
        self, trace: Any, calibration: Any, seed: int, score: Any, order: Order = "lowest"
    ) -> Replay:
        """Replay with a compiled score; identical to ``stream`` bit for bit.

        Args:
            trace, calibration, seed, order: as for ``stream``; the order is the kind's.
            score: first-class numba function of ``len(kind.inputs)`` floats; NaN is a fault.
        """

    def recorded(self, trace: Any, calibration: Any, seed: int) -> Replay:
        """Replay what was recorded, pick by pick."""
        picks = iter(trace.action.tolist())
        stream = self.stream(trace, calibration, seed)
        return drive(stream, trace, lambda _process, _rows: next(picks))

    def replay_built_in(self, name: str, trace: Any, calibration: Any, seed: int) -> Replay:
        """Replay under a published policy that the language cannot express, with fresh state.

        Raises:
            ConfigurationError: there is none of this name.
        """
        choose = self.built_in(name, trace, seed)
        return drive(self.stream(trace, calibration, seed), trace, choose)

    def built_in(self, name: str, trace: Any, seed: int) -> Choose:
        """Return a published policy that picks from the rows; raises ConfigurationError for none."""
        raise ConfigurationError(f"kind {self.kind.name!r} has no built-in policy {name!r}")

    def figures(self, trace: Any, replay: Replay) -> dict[str, float]:
        """Return what else a person compares policies of this kind by, for a table; by name with unit.

        For example a cache's byte miss ratio, or the imbalance of a balancer's members.
        """
        return {}

    def sized(self, trace: Any, share: float) -> Any:
        """Return the trace as of a service of another size, a share of what the workload touches.

        Raises:
            ConfigurationError: size means nothing for this kind.
        """
        raise ConfigurationError(f"kind {self.kind.name!r} has no size to vary; leave out --sizes")

    def bound(self, trace: Any, calibration: Any, seed: int) -> float:
        """Return a mean outcome that no policy can beat; ``-inf`` where none is proven."""
        return -math.inf


#: Statistic of the objective: how it is taken, and the relative error that fidelity allows.
_STATISTICS: dict[str, tuple[Callable[[FloatArray], float], float]] = {
    "mean": (lambda outcome: float(outcome.mean()), 0.10),
    "p50": (lambda outcome: float(np.quantile(outcome, 0.50)), 0.10),
    "p99": (lambda outcome: float(np.quantile(outcome, 0.99)), 0.20),
}
_QUANTILES = {"p50": 0.50, "p99": 0.99}
SHARE_TOLERANCE = 0.05  # as a part of all decisions


def statistics(kind: Kind) -> tuple[Measure, ...]:
    """Return the objective's statistics that say anything."""
    return tuple(_statistic(name) for name in kind.objective.statistics)


def metric_statistics(metric: Metric) -> tuple[Measure, ...]:
    """Return the statistics of a metric besides the objective that say anything.

    A trace that was recorded with it gives the metric in its ``metrics``, a replay in its ``extra``; where
    either has none, there is nothing to compare.
    """
    return tuple(_statistic(name, metric.name) for name in metric.statistics)


def _statistic(name: str, of: str = "") -> Measure:
    take, tolerance = _STATISTICS[name]
    each = (lambda outcome, _: outcome) if name == "mean" else None
    said = f"{of} {name}".strip()
    return Measure(
        said,
        lambda outcome, _: take(outcome),
        tolerance,
        each=each,
        of=of,
        quantile=_QUANTILES.get(name),
    )


def shares(members: tuple[str, ...]) -> tuple[Measure, ...]:
    """Return the part of all decisions that each member had."""
    return tuple(_share(f"share {name}", member) for member, name in enumerate(members))


def _share(name: str, member: int) -> Measure:
    def each(_outcome: FloatArray, action: IntArray) -> FloatArray:
        picked: FloatArray = (action == member).astype(np.float64)
        return picked

    def value(outcome: FloatArray, action: IntArray) -> float:
        return float(each(outcome, action).mean())

    return Measure(name, value, SHARE_TOLERANCE, relative=False, each=each)


def drive(stream: Stream, trace: DecisionTrace, choose: Choose) -> Replay:
    """Run a stream to its end with a policy of this process."""
    try:
        rows = next(stream)
        for process in trace.instance.tolist():
            rows = stream.send(choose(process, rows))
    except StopIteration as stop:
        replay: Replay = stop.value
        return replay
    raise TraceError(f"the simulator asked for more than the {len(trace)} recorded decisions")


def drive_to_end(stream: Stream, pick: Callable[[FloatArray], int]) -> Replay:
    """Run a stream to its end with a policy that sees rows only, however often it is asked."""
    try:
        rows = next(stream)
        while True:
            rows = stream.send(pick(rows))
    except StopIteration as stop:
        replay: Replay = stop.value
        return replay


def save_calibrations(path: Path, calibrations: tuple[Any, ...]) -> None:
    """Write calibrations to one ``.npz`` file, without pickle."""
    flat = {
        f"{index}/{name}": array
        for index, calibration in enumerate(calibrations)
        for name, array in calibration.arrays().items()
    }
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **flat)


def load_calibrations(path: Path, simulator: Simulator) -> tuple[Any, ...]:
    """Read what :func:`save_calibrations` wrote; raises TraceError for anything else."""
    grouped: dict[int, dict[str, npt.NDArray[Any]]] = {}
    try:
        for key, array in arrays_in(path).items():
            index, _, name = key.partition("/")
            grouped.setdefault(int(index), {})[name] = array
        return tuple(simulator.restore(grouped[index]) for index in range(len(grouped)))
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path} holds no calibrations ({error}); calibrate again") from error
