"""What every simulator offers: calibrate from a trace, then replay it under another policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ...sdk.errors import TraceError
from ...sdk.kind import Kind, Order
from ..trace import Trace, arrays_in

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


@dataclass(frozen=True, slots=True)
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
    """

    time: FloatArray
    outcome: FloatArray
    ok: npt.NDArray[np.bool_]
    action: IntArray
    members: int
    fault: int = -1

    @property
    def mean(self) -> float:
        """Mean outcome; NaN for a policy that failed, so that it can never rank."""
        return float(self.outcome.mean()) if self.fault < 0 and len(self.outcome) else math.nan

    def summary(self) -> ReplaySummary:
        """Return what replay-level invariants see."""
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


class Simulator(Protocol):
    """Answers what would have happened to a trace's workload under another policy.

    Every method is a pure function of its arguments. ``trace`` may be a window of the trace that was
    calibrated on: arrivals and exogenous events keep their own times.
    """

    @property
    def kind(self) -> Kind:
        """The kind that it simulates."""
        ...

    def calibrate(self, trace: Trace) -> Any:
        """Fit the parameters to what was recorded; raises TraceError when that is too little."""
        ...

    def draws(self, trace: Trace, n: int, seed: int) -> tuple[Any, ...]:
        """Return n calibrations drawn from the fit's uncertainty by a bootstrap over blocks."""
        ...

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Return the calibration that these arrays were written from."""
        ...

    def stream(self, trace: Trace, calibration: Any, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn, in this process."""
        ...

    def compiled(
        self, trace: Trace, calibration: Any, seed: int, score: Any, order: Order = "lowest"
    ) -> Replay:
        """Replay with a compiled score; identical to ``stream`` bit for bit.

        Args:
            score: first-class numba function of ``len(kind.inputs)`` floats; NaN is a fault.
        """
        ...

    def built_in(self, name: str, trace: Trace, seed: int) -> Choose:
        """Return a published policy that the language cannot express, with fresh state.

        Raises:
            ConfigurationError: there is none of this name.
        """
        ...

    def bound(self, trace: Trace, calibration: Any, seed: int) -> float:
        """Return a mean outcome that no policy can beat; ``-inf`` where none is proven."""
        ...


def drive(stream: Stream, trace: Trace, choose: Choose) -> Replay:
    """Run a stream to its end with a policy of this process."""
    try:
        rows = next(stream)
        for process in trace.instance.tolist():
            rows = stream.send(choose(process, rows))
    except StopIteration as stop:
        replay: Replay = stop.value
        return replay
    raise TraceError(f"the simulator asked for more than the {len(trace)} recorded decisions")


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
