"""Simulators made of plain functions: what a service's own kind needs to be replayed.

The functions say how the world answers; everything that all simulators share is done here: the host's
features, clipping, draws, faults, calibrations as values, and replays with compiled scores.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...policies.registry import register
from ...sdk.errors import ConfigurationError
from ...sdk.kind import HOST_FEATURES, Kind, Order
from ..traces.trace import DecisionTrace, clipped
from .base import Choose, FloatArray, Measure, Replay, Simulator, Stream, drive

#: What a calibration holds: numbers and arrays by name.
Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a world says at the end of a replay.

    Attributes:
        outcome: the objective's metric of every decision, f8[n]; one that is NaN never came: it counts as the
            clip, and as a failure.
        ok: whether the work succeeded, bool[n]; None where all that came did.
        extra: what else was measured, by name, f8[n] each.
    """

    outcome: Sequence[float] | FloatArray
    ok: Sequence[bool] | npt.NDArray[np.bool_] | None = None
    extra: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))


class Luck:
    """Draws that are functions of seed, decision and lane, so that all policies meet the same.

    Args:
        seed: of the replay.
    """

    def __init__(self, seed: int) -> None:
        self._seed = np.uint64(int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8]))

    def uniform(self, decision: int, lane: int = 0) -> float:
        """Return a draw from [0, 1).

        Args:
            decision: index of the decision, or of whatever the draw is for.
            lane: tells several draws for one decision apart.
        """
        return float(self.uniforms(np.array([decision]), lane)[0])

    def uniforms(self, decisions: npt.NDArray[Any], lane: int = 0) -> FloatArray:
        """Return a draw from [0, 1) for each decision, f8[n] (finaliser of splitmix64)."""
        with np.errstate(over="ignore"):
            x = self._seed + decisions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            x = x + np.uint64(lane + 1) * np.uint64(0xD1342543DE82EF95)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


#: (trace, values of the calibration, luck) to a generator that yields the items' own features of the next
#: decision, m x features, is sent the index of the pick, and returns the outcomes.
World: TypeAlias = Callable[
    [DecisionTrace, Values, Luck],
    "Generator[Any, int, Outcomes | Sequence[float] | FloatArray]",
]
Calibrate: TypeAlias = Callable[[DecisionTrace], Values]
Draw: TypeAlias = Callable[[DecisionTrace, np.random.Generator], Values]


@dataclass(frozen=True)
class FunctionCalibration:
    """Values that a function fitted, as arrays.

    Attributes:
        values: by name; a number is an array without dimensions.
    """

    values: Mapping[str, npt.NDArray[Any]]

    @property
    def digest(self) -> str:
        """sha256 hex of all values."""
        digest = hashlib.sha256()
        for name in sorted(self.values):
            value = np.ascontiguousarray(self.values[name])
            digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all values."""
        return dict(self.values)

    def describe(self) -> dict[str, Any]:
        """Return all values as JSON values."""
        return {name: value.tolist() for name, value in self.values.items()}


class FunctionSimulator(Simulator):
    """A simulator whose parts are functions; made by :func:`simulator`."""

    def __init__(
        self, kind: Kind, world: World, calibrate: Calibrate, parts: Mapping[str, Any]
    ) -> None:
        self._kind, self._world, self._calibrate, self._parts = kind, world, calibrate, dict(parts)
        if not parts["compiled"]:
            self.score_tier = "plain Python"

    @property
    def kind(self) -> Kind:
        """The kind that it simulates."""
        return self._kind

    @property
    def world(self) -> World:
        """The function that plays the world."""
        return self._world

    def incumbent(self, trace: Any) -> str:
        """Return what was given, ``recorded`` by default."""
        return str(self._parts["incumbent"])

    def calibrate(self, trace: DecisionTrace) -> FunctionCalibration:
        """Fit with the given function; raises ConfigurationError when that gives no numbers."""
        return self._calibration(self._calibrate(trace))

    def draws(self, trace: DecisionTrace, n: int, seed: int) -> tuple[FunctionCalibration, ...]:
        """Return n calibrations: of the given function, or fitted to blocks of time drawn anew."""
        draw: Draw = self._parts["draws"] or (lambda t, rng: self._calibrate(_resampled(t, rng)))
        rngs = (np.random.default_rng((seed % 2**32, index)) for index in range(n))
        return tuple(self._calibration(draw(trace, rng)) for rng in rngs)

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> FunctionCalibration:
        """Return the calibration that these arrays were written from."""
        return FunctionCalibration(MappingProxyType(dict(arrays)))

    def measures(self, trace: DecisionTrace) -> tuple[Measure, ...]:
        """Return what was given for fidelity; by default the objective's statistics and the shares."""
        given = self._parts["measures"]
        return tuple(given(trace)) if given else super().measures(trace)

    def stream(self, trace: DecisionTrace, calibration: FunctionCalibration, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn."""
        values = MappingProxyType(dict(calibration.values))
        world = self._world(trace, values, Luck(seed))
        if not isinstance(world, Generator):
            raise self._wrong(
                f"returned {type(world).__name__} at once; yield rows, then return outcomes"
            )
        host = _Host(trace, self._kind, seed)
        picks, asked = np.zeros(len(trace), np.int64), 0
        try:
            own = next(world)
            for index in range(len(trace)):
                asked = index + 1
                picked = yield host.rows(index, own)
                if not 0 <= picked < len(trace.members):
                    world.close()
                    return self._faulted(trace, index)
                picks[index] = picked
                host.picked(index, picked)
                own = world.send(picked)
        except StopIteration as stop:
            if asked < len(trace):
                raise self._wrong(f"asked for {asked} of {len(trace)} decisions") from None
            return self._replay(trace, picks, stop.value)
        raise self._wrong(f"asked for more than the {len(trace)} decisions of the trace")

    def compiled(
        self,
        trace: DecisionTrace,
        calibration: FunctionCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score: in Python around it, unless a faster way was given."""
        given = self._parts["compiled"]
        if given:
            replay: Replay = given(trace, calibration.values, seed, score, order)
            return replay
        sign = 1.0 if order == "lowest" else -1.0
        stream = self.stream(trace, calibration, seed)
        return drive(stream, trace, lambda _process, rows: _best(score, sign, rows.tolist()))

    def built_in(self, name: str, trace: Any, seed: int) -> Choose:
        """Return a published policy of those given; raises ConfigurationError for none."""
        made = self._parts["built_in"].get(name)
        if made is None:
            return super().built_in(name, trace, seed)
        choose: Choose = made(trace, seed)
        return choose

    def figures(self, trace: Any, replay: Replay) -> dict[str, float]:
        """Return what the given function says; nothing by default."""
        given = self._parts["figures"]
        return dict(given(trace, replay)) if given else {}

    def sized(self, trace: Any, share: float) -> Any:
        """Return what the given function makes of the trace; raises ConfigurationError without one."""
        given = self._parts["sized"]
        return given(trace, share) if given else super().sized(trace, share)

    def bound(self, trace: Any, calibration: FunctionCalibration, seed: int) -> float:
        """Return what the given function proves; ``-inf`` without one."""
        given = self._parts["bound"]
        return (
            float(given(trace, calibration.values))
            if given
            else super().bound(trace, calibration, seed)
        )

    def _calibration(self, values: Values) -> FunctionCalibration:
        if not isinstance(values, Mapping):
            raise self._wrong(f"fitted {values!r}; return numbers and arrays by name")
        arrays = {str(name): np.asarray(value) for name, value in values.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise self._wrong(
                    f"fitted {name!r} as {values[name]!r}, which is no number or array"
                )
        return FunctionCalibration(MappingProxyType(arrays))

    def _faulted(self, trace: DecisionTrace, index: int) -> Replay:
        """Return a replay that ended early: outcomes are told at the end, so there are none."""
        nothing = np.zeros(0)
        picks = np.zeros(0, np.int64)
        return Replay(nothing, nothing, np.zeros(0, bool), picks, len(trace.members), index)

    def _replay(self, trace: DecisionTrace, picks: npt.NDArray[np.int64], told: Any) -> Replay:
        said = told if isinstance(told, Outcomes) else Outcomes(told if told is not None else ())
        outcome = self._column(said.outcome, trace)
        came = ~np.isnan(outcome)
        ok = came if said.ok is None else came & self._column(said.ok, trace).astype(bool)
        extra = {name: self._column(value, trace) for name, value in said.extra.items()}
        if (outcome < 0.0).any():
            raise self._wrong(f"told an outcome of {outcome.min():g}; outcomes are not negative")
        return Replay(
            time=trace.time,
            outcome=clipped(outcome, self._kind),
            ok=ok,
            action=picks,
            members=len(trace.members),
            extra=MappingProxyType(extra),
        )

    def _column(self, told: Any, trace: DecisionTrace) -> FloatArray:
        try:
            column = np.asarray(told, np.float64)
        except (TypeError, ValueError) as error:
            raise self._wrong(f"told outcomes that are no numbers ({error})") from error
        if column.shape != (len(trace),):
            raise self._wrong(
                f"told {len(np.atleast_1d(column))} outcomes of {len(trace)} decisions, of shape "
                f"{column.shape}; return one for each"
            )
        return column

    def _wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"the simulator of kind {self._kind.name!r} {what}; correct it")


class _Host:
    """Adds what the host shows of every item: decisions since it was picked, and noise."""

    def __init__(self, trace: DecisionTrace, kind: Kind, seed: int) -> None:
        m = len(trace.members)
        self._kind, self._shape = kind, (m, len(kind.features))
        self._low = np.array([feature.low for feature in kind.features])
        self._high = np.array([feature.high for feature in kind.features])
        self._instance = trace.instance
        self._since = [_first_since(trace, process) for process in range(len(trace.instances))]
        luck = Luck(seed ^ 0x5EED)
        decisions = np.arange(len(trace))
        self._noise = np.stack([luck.uniforms(decisions, lane) for lane in range(m)], axis=1)
        self._rows = np.zeros((m, len(kind.inputs)))

    def rows(self, index: int, own: Any) -> FloatArray:
        """Return all inputs of every item at a decision."""
        try:
            given = np.asarray(own, np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the simulator of kind {self._kind.name!r} shows items that are no numbers ({error}); correct it"
            ) from error
        if given.shape != self._shape:
            raise ConfigurationError(
                f"the simulator of kind {self._kind.name!r} shows items of shape {given.shape}, not "
                f"{self._shape} (items x features without the host's); correct it"
            )
        outside = ~((given >= self._low) & (given <= self._high))
        if outside.any():
            item, at = (int(each[0]) for each in np.nonzero(outside))
            raise ConfigurationError(
                f"the simulator of kind {self._kind.name!r} shows {self._kind.features[at].name}="
                f"{given[item, at]:g}, outside of the feature's range; correct one of them"
            )
        self._rows[:, : -len(HOST_FEATURES)] = given
        self._rows[:, -2] = self._since[self._instance[index]]
        self._rows[:, -1] = self._noise[index]
        return self._rows

    def picked(self, index: int, item: int) -> None:
        """Count the decision for every item of its process."""
        since = self._since[self._instance[index]]
        since += 1.0
        since[item] = 1.0


def _first_since(trace: DecisionTrace, process: int) -> FloatArray:
    """Return what a process first saw as decisions since each item was picked."""
    own = np.flatnonzero(trace.instance == process)
    if not len(own):
        return np.ones(len(trace.members))
    first: FloatArray = trace.features[own[0], :, -2].copy()
    return first


def _resampled(trace: DecisionTrace, rng: np.random.Generator) -> DecisionTrace:
    """Return a trace of blocks of time drawn with replacement, one after the other."""
    block = ((trace.time - trace.time[0]) / trace.block_s).astype(np.int64)
    groups = np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1)
    drawn = [groups[k] for k in rng.integers(0, len(groups), len(groups))]
    rows = np.concatenate(drawn)
    place = np.repeat(np.arange(len(drawn)), [len(each) for each in drawn])
    into = (trace.time[rows] - trace.time[0]) - block[rows] * trace.block_s
    columns = {name: getattr(trace, name)[rows] for name in trace.COLUMNS}
    return replace(trace, **columns | {"time": np.maximum.accumulate(place * trace.block_s + into)})


def _best(score: Callable[..., float], sign: float, rows: list[list[float]]) -> int:
    """Return the row with the lowest signed score, ties by noise, then the first; -1 on a fault."""
    keys = [(sign * score(*row), row[-1]) for row in rows]
    if any(math.isnan(key) for key, _ in keys):
        return -1
    return min(range(len(keys)), key=keys.__getitem__)


def simulator(
    kind: Kind,
    *,
    calibrate: Calibrate = lambda _trace: {},
    draws: Draw | None = None,
    incumbent: str = "recorded",
    measures: Callable[[DecisionTrace], Sequence[Measure]] | None = None,
    built_in: Mapping[str, Callable[[DecisionTrace, int], Choose]] = MappingProxyType({}),
    figures: Callable[[DecisionTrace, Replay], Mapping[str, float]] | None = None,
    sized: Callable[[DecisionTrace, float], DecisionTrace] | None = None,
    bound: Callable[[DecisionTrace, Values], float] | None = None,
    compiled: Callable[..., Replay] | None = None,
) -> Callable[[World], FunctionSimulator]:
    """Make a function that plays a kind's world into its simulator, known to all commands.

    The function is given a trace, the fitted values and luck. It yields what the items of the next decision
    look like (one row of the kind's own features per item; the host adds its own), is sent the index of the
    item that was picked, and returns the outcomes of all decisions, in order. Nothing it yields may depend
    on later decisions; :func:`gnomon.testing.check_simulator` finds out.

    Without ``compiled`` a score is compiled and called from Python, which the tables call ``plain Python``;
    about 100,000 decisions a second.

    Args:
        kind: of score form, whose workload is its decisions over fixed members; registered here too.
        calibrate: trace to values (numbers and arrays by name) that the world is given.
        draws: (trace, generator) to values drawn from the fit's uncertainty; by default fitted to blocks
            of time drawn with replacement.
        incumbent: what ``--incumbent`` is when nobody says.
        measures: what fidelity compares.
        built_in: baselines without a source: (trace, seed) to (process, rows) to an index.
        figures: what else a table shows of a replay.
        sized: the trace as of a service of another size.
        bound: (trace, values) to a mean outcome that no policy can beat.
        compiled: (trace, values, seed, score, order) to the same replay, faster.

    Raises:
        ConfigurationError: the kind is of program form, or another one of its name is known.
    """
    if kind.form != "score":
        raise ConfigurationError(
            f"kind {kind.name!r} is of program form; subclass Simulator for it instead"
        )
    register(kind)
    parts = {
        "draws": draws,
        "incumbent": incumbent,
        "measures": measures,
        "built_in": built_in,
        "figures": figures,
        "sized": sized,
        "bound": bound,
        "compiled": compiled,
    }

    def made(world: World) -> FunctionSimulator:
        from . import register_simulator

        found = FunctionSimulator(kind, world, calibrate, parts)
        register_simulator(found)
        return found

    return made
