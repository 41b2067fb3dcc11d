"""What one policy did on one trace: measured replay by replay, small enough to keep and to send."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...sdk.errors import CandidateError, ConfigurationError
from ...sdk.invariant import Invariant, broken_over
from ...sdk.kind import Kind
from ..policy import Policy
from ..simulators.base import IntArray, Replay, Simulator
from ..splits import segments
from ..traces.trace import Trace

#: Stretches of equally many decisions that a replay's mean outcome is kept of.
SEGMENTS = 20


@dataclass(frozen=True, slots=True)
class Slo:
    """A level of service: a decision meets it if its work succeeded with a metric at most the limit.

    Attributes:
        metric: the objective, one of the kind's metrics, or what its simulator measures besides.
        limit: in the metric's unit, inclusive.
    """

    metric: str
    limit: float

    def __str__(self) -> str:
        """Return it as the command line takes it."""
        return f"{self.metric}={self.limit:g}"


def slo_of(text: str, kind: Kind) -> Slo:
    """Return the level that ``VALUE`` (of the objective) or ``METRIC=VALUE`` names.

    Raises:
        ConfigurationError: it is no such text, or no outcome could miss it.
    """
    metric, _, value = text.rpartition("=")
    try:
        slo = Slo(metric or kind.objective.name, float(value))
    except ValueError as error:
        raise ConfigurationError(f"slo {text!r} is none; write VALUE or METRIC=VALUE") from error
    clips = {each.name: each.clip for each in (kind.objective, *kind.metrics)}
    if not math.isfinite(slo.limit) or slo.limit < 0.0:
        raise ConfigurationError(f"slo {text!r} must be a finite number, at least 0; give another")
    if slo.limit >= clips.get(slo.metric, math.inf):
        raise ConfigurationError(
            f"slo {text!r} is met by every outcome, as {slo.metric} counts as at most "
            f"{clips[slo.metric]:g}; give a lower one"
        )
    return slo


@dataclass(frozen=True, eq=False)
class Setting:
    """What every policy of one comparison is replayed on.

    Attributes:
        trace: at the size that is asked about.
        simulator: of its kind.
        calibration: fitted to the trace.
        slos: levels of service that a decision must all meet to count as good.
        invariants: that are asked of every replay; None for the kind's.
    """

    trace: Trace
    simulator: Simulator
    calibration: Any
    slos: tuple[Slo, ...] = ()
    invariants: tuple[Invariant, ...] | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of one replay.

    Attributes:
        mean, p50, p99: of the objective.
        failure_rate: part of the decisions whose work failed.
        shares: part of the decisions per member.
        segments: mean outcome of stretches of equally many decisions.
        figures: what else a person compares policies of the kind by.
        good: part of the decisions that met every level of service; NaN where none is asked for.
        good_per_s: how many did, per second of the trace.
        broken: replay invariants of severity ``block`` that did not hold.
        warned: those of severity ``warn``.
    """

    mean: float
    p50: float
    p99: float
    failure_rate: float
    shares: tuple[float, ...]
    segments: tuple[float, ...]
    figures: dict[str, float]
    good: float
    good_per_s: float
    broken: tuple[str, ...]
    warned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What a policy did in some replicas.

    Attributes:
        tier: how it ran.
        replicas: numbers of each.
        blocks: indices of the blocks of time in which anything was decided, ascending.
        sums: outcomes per block, all replicas together.
        fault: what went wrong; then there is nothing else but the layers.
        layers: of isolation that were in force.
    """

    tier: str
    replicas: tuple[Numbers, ...] = ()
    blocks: tuple[int, ...] = ()
    sums: tuple[float, ...] = ()
    fault: str = ""
    layers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as values that :meth:`of_json` takes back, bit for bit."""
        return asdict(self)

    @staticmethod
    def of_json(data: dict[str, Any]) -> Measured:
        """Return what :meth:`as_json` was made of."""
        replicas = tuple(Numbers(**{k: _frozen(v) for k, v in n.items()}) for n in data["replicas"])
        plain = {
            name: _frozen(data[name]) for name in ("tier", "blocks", "sums", "fault", "layers")
        }
        return Measured(replicas=replicas, **plain)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def measured(policy: Policy, setting: Setting, seeds: Sequence[int]) -> Measured:
    """Replay a policy once per seed and keep the numbers; a candidate's failure is one of them.

    Raises:
        ConfigurationError: the policy cannot be replayed here, or a level of service names no metric.
    """
    try:
        tier = tier_of(policy, setting.simulator)
        found = merged([_of(tier, run, setting) for run in replayed(policy, setting, seeds)])
    except CandidateError as error:
        found = Measured(policy.tier, fault=str(error))
    return replace(found, layers=policy.layers)


def tier_of(policy: Policy, simulator: Simulator) -> str:
    """Return how a policy really runs: a compiled score may be called from Python."""
    return simulator.score_tier if policy.tier == "compiled" else policy.tier


def replayed(policy: Policy, setting: Setting, seeds: Sequence[int]) -> Iterator[Replay]:
    """Yield one replay per seed; all are in memory at once only where a policy decides all at once."""
    where = (setting.simulator, setting.trace, setting.calibration)
    if policy.tier == "out of process":
        yield from policy.replays(*where, seeds)
        return
    for seed in seeds:
        yield policy.replay(*where, seed)


def bound_of(setting: Setting, seeds: Sequence[int]) -> float:
    """Return a mean over these replays that no policy can beat; each has a bound of its own luck.

    Where two seeds agree bit for bit luck plays no part.
    """
    found: list[float] = []
    for seed in seeds:
        found.append(setting.simulator.bound(setting.trace, setting.calibration, seed))
        if len(found) == 2 and found[0] == found[1]:
            return found[0]
    return float(np.mean(found))


def measured_of(tier: str, replays: Sequence[Replay], setting: Setting) -> Measured:
    """Return the numbers of replays that were made already."""
    return merged([_of(tier, replay, setting) for replay in replays])


def merged(parts: Sequence[Measured]) -> Measured:
    """Return measurements of several sets of replicas as those of all; the first fault is the whole's."""
    fault = next((part for part in parts if part.fault), None)
    if fault is not None:
        return replace(fault, replicas=(), blocks=(), sums=())
    totals: dict[int, float] = {}
    for part in parts:
        for block, value in zip(part.blocks, part.sums, strict=True):
            totals[block] = totals.get(block, 0.0) + value
    blocks = tuple(sorted(totals))
    return Measured(
        parts[0].tier,
        tuple(numbers for part in parts for numbers in part.replicas),
        blocks,
        tuple(totals[block] for block in blocks),
        layers=tuple(
            each for each in parts[0].layers if all(each in part.layers for part in parts)
        ),
    )


def _of(tier: str, replay: Replay, setting: Setting) -> Measured:
    if replay.fault >= 0:
        return Measured(tier, fault=f"a score faulted at decision {replay.fault}")
    blocks, sums = _block_sums(replay, setting.trace)
    return Measured(tier, (_numbers(replay, setting),), blocks, sums)


def _numbers(replay: Replay, setting: Setting) -> Numbers:
    p50, p99 = np.quantile(replay.outcome, (0.50, 0.99))
    good = _good(replay, setting)
    asked = setting.invariants
    broken = broken_over(
        replay.summary(), setting.simulator.kind.invariants if asked is None else asked
    )
    span = setting.trace.span_s
    return Numbers(
        mean=replay.mean,
        p50=float(p50),
        p99=float(p99),
        failure_rate=float(1.0 - replay.ok.mean()),
        shares=replay.shares,
        segments=segments(replay, SEGMENTS),
        figures={
            name: float(value)
            for name, value in setting.simulator.figures(setting.trace, replay).items()
        },
        good=good / len(replay.time) if setting.slos else math.nan,
        good_per_s=good / span if setting.slos and span > 0.0 else math.nan,
        broken=tuple(each.name for each in broken if each.severity == "block"),
        warned=tuple(each.name for each in broken if each.severity == "warn"),
    )


def _good(replay: Replay, setting: Setting) -> int:
    """Return how many decisions succeeded within every level of service; an unknown value is above."""
    good = np.asarray(replay.ok, bool)
    objective = setting.simulator.kind.objective.name
    for slo in setting.slos:
        known = {objective: replay.outcome, **replay.extra}
        if slo.metric not in known:
            raise ConfigurationError(
                f"slo {str(slo)!r} names no metric that replays of this kind have; "
                f"there are {', '.join(sorted(known))}"
            )
        good = good & (known[slo.metric] <= slo.limit)
    return int(good.sum())


def _block_sums(replay: Replay, trace: Trace) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the outcomes' sums per block of time, counted from the trace's first moment."""
    index: IntArray = np.floor((replay.time - trace.time[0]) / trace.block_s).astype(np.int64)
    blocks, at = np.unique(index, return_inverse=True)
    sums = np.bincount(at, weights=replay.outcome, minlength=len(blocks))
    return tuple(blocks.tolist()), tuple(map(float, sums))
