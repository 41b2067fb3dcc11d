"""Replay a trace under any number of policies and compare them with the incumbent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..policies.registry import kind as kind_named
from ..sdk.errors import CandidateError
from .fidelity import REPLICAS, Fidelity, compared
from .policy import Policy, baseline_policy
from .report.shown import Part, Shown, Table, percent, plain
from .simulators import simulator_for
from .simulators.base import Replay, Simulator
from .splits import Interval, paired_effect
from .trace import Trace

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """What one policy did, on average over the replicas.

    Attributes:
        policy: its name.
        tier: how it ran: ``built-in``, ``compiled``, ``plain Python``, ``out of process``.
        mean, p50, p99: of the objective, in its unit; NaN when the policy failed.
        failure_rate: part of the decisions whose work failed.
        shares: part of the decisions per member; empty where items come and go.
        change: of the mean against the incumbent, relative, with a 95 % interval; None when the
            policy failed or is the incumbent.
        broken: names of replay invariants of severity ``block`` that did not hold in some replica.
        fault: what went wrong; empty when nothing did.
    """

    policy: str
    tier: str
    mean: float
    p50: float
    p99: float
    failure_rate: float
    shares: tuple[float, ...]
    change: Interval | None
    broken: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class ReplayTable(Shown):
    """A comparison of policies on one trace.

    Attributes:
        hook, kind: of the trace.
        trace: digest.
        decisions: how many.
        members: names of the items; empty where they come and go.
        unit: of the objective.
        statistics: those of the objective that say anything.
        fidelity: how well the incumbent was reproduced.
        calibration: the fitted parameters, in words and JSON values.
        bound: mean outcome that no policy can beat; ``-inf`` where none is proven.
        replicas: replays per policy.
        rows: the incumbent, then the others, best mean first, those that failed last.
    """

    hook: str
    kind: str
    trace: str
    decisions: int
    members: tuple[str, ...]
    unit: str
    statistics: tuple[str, ...]
    fidelity: Fidelity
    calibration: dict[str, Any]
    bound: float
    replicas: int
    rows: tuple[PolicyRow, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON values; numbers that JSON does not have are null."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    @property
    def digits(self) -> int:
        """Significant digits that are shown: where the mean alone says anything it is a share."""
        return 6 if self.statistics == ("mean",) else 4

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: fidelity first, then the comparison."""
        over = f" over {', '.join(self.members)}" if self.members else ""
        return (
            f"{self.decisions} decisions of {self.hook}{over}",
            *((_fidelity(self.fidelity, self.digits),) if self.fidelity.rows else ()),
            f"fidelity: {self.fidelity.answer}",
            _comparison(self),
            *_refused(self.rows),
        )


def replay(
    trace: Trace,
    policies: Sequence[Policy] = (),
    *,
    incumbent: Policy,
    replicas: int = REPLICAS,
    seed: int = 0,
    progress: Progress = lambda _line: None,
) -> ReplayTable:
    """Replay a trace under the incumbent and other policies, all with the same luck.

    Args:
        trace: as recorded under the incumbent.
        policies: to compare; all published policies of the kind when empty.
        incumbent: the policy that was in production.
        replicas: replays per policy, with seeds from ``seed`` on.
        seed: of all draws.
        progress: is told what happens next, one line at a time.

    Raises:
        TraceError: the trace cannot be calibrated on or compared within.
        ConfigurationError: the incumbent cannot be replayed.
    """
    kind = kind_named(trace.kind)
    simulator = simulator_for(kind)
    progress(f"calibrating on {len(trace)} decisions (compiling, when run for the first time)")
    calibration = simulator.calibrate(trace)
    progress(f"replaying {incumbent.name} {replicas} times")
    run = _Run(trace, simulator, calibration, range(seed, seed + replicas))
    base = incumbent.replays(simulator, trace, calibration, run.seeds)
    faithful = compared(
        trace, base, simulator, policy=incumbent.name, calibration=calibration.digest, seed=seed
    )
    others = policies or [baseline_policy(name, kind) for name in kind.baselines]
    rows = [run.row(policy, base, progress) for policy in others if policy is not incumbent]
    rows.sort(key=lambda row: (bool(row.fault), row.mean))
    return ReplayTable(
        hook=trace.hook,
        kind=trace.kind,
        trace=trace.digest,
        decisions=len(trace),
        members=trace.members,
        unit=kind.objective.unit,
        statistics=kind.objective.statistics,
        fidelity=faithful,
        calibration=calibration.describe(),
        bound=simulator.bound(trace, calibration, seed),
        replicas=replicas,
        rows=(run.summarised(incumbent, base, None), *rows),
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """What every policy is replayed on."""

    trace: Trace
    simulator: Simulator
    calibration: Any
    seeds: range

    def row(self, policy: Policy, base: Sequence[Replay], progress: Progress) -> PolicyRow:
        progress(f"replaying {policy.name} {len(self.seeds)} times")
        try:
            replays = policy.replays(self.simulator, self.trace, self.calibration, self.seeds)
        except CandidateError as error:
            return self._failed(policy, str(error))
        faults = [replay.fault for replay in replays if replay.fault >= 0]
        if faults:
            return self._failed(policy, f"a score faulted at decision {faults[0]}")
        change = paired_effect(replays, base, self.trace.block_s, self.seeds[0])
        return self.summarised(policy, replays, change)

    def summarised(
        self, policy: Policy, replays: Sequence[Replay], change: Interval | None
    ) -> PolicyRow:
        numbers = np.mean([_numbers(each) for each in replays], axis=0)
        mean, p50, p99, failure_rate, *shares = (float(number) for number in numbers)
        return PolicyRow(
            policy.name,
            policy.tier,
            mean,
            p50,
            p99,
            failure_rate,
            tuple(shares),
            change,
            self._broken(replays),
        )

    def _broken(self, replays: Sequence[Replay]) -> tuple[str, ...]:
        summaries = [replay.summary() for replay in replays]
        return tuple(
            invariant.name
            for invariant in self.simulator.kind.invariants
            if invariant.scope == "replay" and invariant.severity == "block"
            if not all(invariant.holds(summary) for summary in summaries)
        )

    @staticmethod
    def _failed(policy: Policy, fault: str) -> PolicyRow:
        nan = float("nan")
        return PolicyRow(policy.name, policy.tier, nan, nan, nan, nan, (), None, fault=fault)


def _numbers(replay: Replay) -> list[float]:
    p50, p99 = np.quantile(replay.outcome, (0.50, 0.99))
    return [replay.mean, float(p50), float(p99), float(1.0 - replay.ok.mean()), *replay.shares]


def _fidelity(found: Fidelity, digits: int) -> Table:
    return Table(
        ("metric", "stretch", "recorded", "simulated", "error (95 %)", "answer"),
        tuple(
            (
                row.metric,
                row.stretch,
                f"{row.recorded:.{digits}g}",
                f"{row.simulated:.{digits}g}",
                f"{row.error:+.1%} ({row.low:+.0%} … {row.high:+.0%})",
                row.answer,
            )
            for row in found.rows
        ),
        f"{found.policy}, recorded and simulated",
    )


def _comparison(table: ReplayTable) -> Table:
    bound = f"{table.bound:.{table.digits}g}"
    limit = f"; no policy can have a mean below {bound}" if table.bound > 0 else ""
    unit = "" if table.unit == "1" else f", in {table.unit}"
    return Table(
        ("policy", "tier", *table.statistics, "failed", "change of the mean"),
        tuple((row.policy, row.tier, *_cells(row, table)) for row in table.rows),
        f"{table.replicas} replays each{unit}{limit}",
    )


def _refused(rows: Sequence[PolicyRow]) -> tuple[str, ...]:
    """Say what verification makes of what the table says breaks."""
    broken = sorted({name for row in rows for name in row.broken})
    if not broken:
        return ()
    return (f"gnomon verify refuses a policy that breaks {', '.join(broken)} over a replay.",)


def _cells(row: PolicyRow, table: ReplayTable) -> tuple[str, ...]:
    if row.fault:
        return (*("–" for _ in table.statistics), "–", row.fault)
    places = 6 if table.digits == 6 else 2
    values = (f"{getattr(row, name):.{places}f}" for name in table.statistics)
    return (*values, f"{row.failure_rate:.2%}", _change(row))


def _change(row: PolicyRow) -> str:
    change = "incumbent"
    if row.change:
        change = (
            f"{percent(row.change.estimate)} "
            f"({percent(row.change.low, 0)} … {percent(row.change.high, 0)})"
        )
    return f"{change}, breaks {', '.join(row.broken)}" if row.broken else change
